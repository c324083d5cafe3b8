"""The element kernels of real runtimes, K1 to K8: value -> level, and level -> value.

A *level* is the code before the zero point is added and before the clamp; of a float format, the value on its grid
before saturation. Kernels write levels, so that clipping can be counted and ``dequantized = level * scale`` needs no
subtraction. With the same scale and zero point the eight differ on ties and one ulp beside them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .exact import ExactParams
from .grids import FloatGrid, Grid
from .trace import Formula

FloatArray = npt.NDArray[Any]


@dataclass(frozen=True, eq=False, slots=True)
class Expanded:
    """Parameters shaped to broadcast against one block, in the dtype that carries the working dtype's numbers.

    ``narrow``: the working dtype, where it is one of half a width, to which every result is to be rounded.
    """

    scale: FloatArray
    inverse: FloatArray  # 1 / scale, rounded once
    zero: FloatArray  # zero point
    low: FloatArray  # quant_min - zero_point, the lowest level
    high: FloatArray  # quant_max - zero_point
    grid: Grid
    axis: int  # of the block, along which the parameters vary
    multiplier: FloatArray | None = None  # where the runtime multiplies by a number taken from the range itself
    minimum: FloatArray | None = None  # where the format adds one to each value
    exact: tuple[ExactParams, ...] | None = None
    origin: FloatArray | None = None  # the minimum before it was rounded for storage, taken off on the way to levels
    narrow: FloatGrid | None = None

    def part(self, lanes: slice) -> Expanded:
        """The parameters of some of the lanes along ``axis``; those that serve all of them stay."""
        index = (lanes,) if self.axis == 0 else (slice(None), lanes)

        def some(values: FloatArray | None) -> Any:
            return values if values is None or values.size == 1 else values[index]

        exact = self.exact if self.exact is None or len(self.exact) == 1 else self.exact[lanes]
        return Expanded(
            some(self.scale), some(self.inverse), some(self.zero), some(self.low), some(self.high), self.grid,
            self.axis, some(self.multiplier), some(self.minimum), exact, some(self.origin), self.narrow,
        )  # fmt: skip


#: (block, its parameters, output of the block's shape)
Encode = Callable[[FloatArray, Expanded, FloatArray], None]


@dataclass(frozen=True, eq=False, slots=True)
class Kernel:
    """value -> level, as one runtime does it, and the same in words. ``formulas`` end in one named "level"."""

    name: str
    levels: Encode
    formulas: tuple[Formula, ...]
    rounding: str


@dataclass(frozen=True, eq=False, slots=True)
class Decoder:
    """level -> value, in place of the output, and the same in words."""

    name: str
    values: Encode
    formula: Formula


def _narrowed(p: Expanded, out: FloatArray) -> None:
    """A result as the working dtype has it, in place."""
    if p.narrow is not None:
        p.narrow.round(out, np.empty_like(out))


def round_half_away(x: FloatArray) -> None:
    """In place, exact for every float32: the number below 1/2 is added, for x + 0.5 would take 0.49999997 to 1."""
    below_half = np.nextafter(x.dtype.type(0.5), x.dtype.type(0))
    np.add(x, np.copysign(below_half, x), out=x)
    np.trunc(x, out=x)


def _away(value: Any) -> Any:
    out = np.array(value)
    round_half_away(out)
    return out[()]


def _times(x: FloatArray, factor: FloatArray, p: Expanded, out: FloatArray) -> None:
    np.multiply(x, factor, out=out)
    _narrowed(p, out)


def _over(x: FloatArray, divisor: FloatArray, p: Expanded, out: FloatArray) -> None:
    np.divide(x, divisor, out=out)
    _narrowed(p, out)


def _k1(x: FloatArray, p: Expanded, out: FloatArray) -> None:
    _over(x, p.scale, p, out)
    np.rint(out, out=out)


def _k2(x: FloatArray, p: Expanded, out: FloatArray) -> None:
    _times(x, p.inverse, p, out)
    np.rint(out, out=out)


def _k3(x: FloatArray, p: Expanded, out: FloatArray) -> None:
    _times(x, p.inverse, p, out)
    _round_with_zero(p, out)


def _k5(x: FloatArray, p: Expanded, out: FloatArray) -> None:
    _over(x, p.scale, p, out)
    _round_with_zero(p, out)


def _round_with_zero(p: Expanded, out: FloatArray) -> None:
    """rint(out + zero) - zero: the sum is rounded to the working dtype before it is rounded to a code."""
    np.add(out, p.zero, out=out)
    _narrowed(p, out)
    np.rint(out, out=out)
    np.subtract(out, p.zero, out=out)


def _k6(x: FloatArray, p: Expanded, out: FloatArray) -> None:
    _over(x, p.scale, p, out)
    round_half_away(out)


def _k8_even(x: FloatArray, p: Expanded, out: FloatArray) -> None:
    _times(x, _multiplier(p), p, out)
    np.rint(out, out=out)


def _k8_away(x: FloatArray, p: Expanded, out: FloatArray) -> None:
    _times(x, _multiplier(p), p, out)
    round_half_away(out)


def _multiplier(p: Expanded) -> FloatArray:
    assert p.multiplier is not None  # chosen only for parameters that have one
    return p.multiplier


def _cast_quotient(x: FloatArray, p: Expanded, out: FloatArray) -> None:
    _over(x, p.scale, p, out)
    _round_to_grid(p, out)


def _cast_product(x: FloatArray, p: Expanded, out: FloatArray) -> None:
    _times(x, _multiplier(p), p, out)
    _round_to_grid(p, out)


def _round_to_grid(p: Expanded, out: FloatArray) -> None:
    assert isinstance(p.grid, FloatGrid)
    p.grid.round(out, np.empty_like(out))


def _on_grid(known: Mapping[str, Any]) -> Any:
    grid: FloatGrid = known["grid"]
    out = np.array([known["quotient"]], np.float32)
    grid.round(out, np.empty_like(out))
    return out[0]


_QUOTIENT = Formula("quotient", "x / scale", lambda k: k["x"] / k["scale"])
_INVERSE = Formula("inverse", "1 / scale", lambda k: type(k["scale"])(1) / k["scale"])
_BY_INVERSE = Formula("quotient", "x * inverse", lambda k: k["x"] * k["inverse"])
_BY_MULTIPLIER = Formula("quotient", "x * multiplier", lambda k: k["x"] * k["multiplier"])
_EVEN = Formula("level", "round(quotient)", lambda k: np.rint(k["quotient"]), "half to even")
_AWAY = Formula("level", "round(quotient)", lambda k: _away(k["quotient"]), "half away from zero")
_SHIFTED = Formula("shifted", "quotient + zero_point", lambda k: k["quotient"] + type(k["quotient"])(k["zero_point"]))
_EVEN_SHIFTED = Formula(
    "level",
    "round(shifted) - zero_point",
    lambda k: np.rint(k["shifted"]) - type(k["quotient"])(k["zero_point"]),
    "half to even, after the zero point was added",
)
_GRID = Formula("level", "round(quotient)", _on_grid, "to the nearest value of the format, half to even")

K1 = Kernel("K1", _k1, (_QUOTIENT, _EVEN), "half to even")
K2 = Kernel("K2", _k2, (_INVERSE, _BY_INVERSE, _EVEN), "half to even")
K3 = Kernel("K3", _k3, (_INVERSE, _BY_INVERSE, _SHIFTED, _EVEN_SHIFTED), "half to even")
K5 = Kernel("K5", _k5, (_QUOTIENT, _SHIFTED, _EVEN_SHIFTED), "half to even")
K6 = Kernel("K6", _k6, (_QUOTIENT, _AWAY), "half away from zero")
K8_EVEN = Kernel("K8", _k8_even, (_BY_MULTIPLIER, _EVEN), "half to even")
K8_AWAY = Kernel("K8", _k8_away, (_BY_MULTIPLIER, _AWAY), "half away from zero")
CAST_QUOTIENT = Kernel("cast", _cast_quotient, (_QUOTIENT, _GRID), "half to even, saturating")
CAST_PRODUCT = Kernel("cast", _cast_product, (_BY_MULTIPLIER, _GRID), "half to even, saturating")


def _product(levels: FloatArray, p: Expanded, out: FloatArray) -> None:
    _times(levels, p.scale, p, out)


def _divided(levels: FloatArray, p: Expanded, out: FloatArray) -> None:
    _over(levels, _multiplier(p), p, out)


PRODUCT = Decoder("product", _product, Formula(
    "dequantized", "(code - zero_point) * scale", lambda k: k["clamped"] * k["scale"]))  # fmt: skip
DIVIDED = Decoder("divided", _divided, Formula(
    "dequantized", "code / multiplier", lambda k: k["clamped"] / k["multiplier"]))  # fmt: skip
