"""Element kernels of formats whose blocks share a scale, where they are not those of integers and floats."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .grids import FloatGrid
from .kernels import Decoder, Expanded, FloatArray, Kernel
from .trace import Formula


def _positive_zero_quotient(x: FloatArray, p: Expanded, out: FloatArray) -> None:
    np.divide(x, p.scale, out=out)
    np.add(out, np.float32(0), out=out)  # the sign is asked of the quotient by < 0, which -0 is not
    assert isinstance(p.grid, FloatGrid)
    p.grid.round(out, np.empty_like(out))


def _rounded(known: Any) -> Any:
    value = np.array([known["quotient"]], np.float32)
    known["grid"].round(value, np.empty_like(value))
    return value[0]


SIGN_OF_QUOTIENT = Kernel(
    "cast",
    _positive_zero_quotient,
    (
        Formula("quotient", "x / scale", lambda k: k["x"] / k["scale"] + np.float32(0)),
        Formula("level", "round(quotient)", _rounded, "to the nearest value of the format, half to even"),
    ),
    "half to even, saturating",
)


def _half_up(x: FloatArray, p: Expanded, out: FloatArray) -> None:
    assert p.multiplier is not None
    if p.origin is not None:
        np.subtract(x, p.origin, out=out)
        x = out
    np.multiply(x, p.multiplier, out=out)
    np.add(out, p.zero + np.float32(0.5), out=out)
    np.floor(out, out=out)
    np.subtract(out, p.zero, out=out)
    endless = np.isinf(p.multiplier)
    if endless.any():  # ggml casts infinities to integers; on x86-64 they give code 0
        np.copyto(out, -p.zero, where=endless)


def _cut(known: Mapping[str, Any]) -> Any:
    zero = np.float32(known["zero_point"])
    return -zero if np.isinf(known["multiplier"]) else np.floor(known["shifted"]) - zero


_BY_MULTIPLIER = Formula("quotient", "x * multiplier", lambda k: k["x"] * k["multiplier"])
_FROM_MINIMUM = Formula("quotient", "(x - origin) * multiplier", lambda k: (k["x"] - k["origin"]) * k["multiplier"])
_SHIFTED = Formula(
    "shifted", "quotient + (zero_point + 0.5)", lambda k: k["quotient"] + np.float32(k["zero_point"] + 0.5)
)
_CUT = Formula("level", "floor(shifted) - zero_point", _cut, "half up: the fraction is cut off")
HALF_UP = Kernel("half up", _half_up, (_BY_MULTIPLIER, _SHIFTED, _CUT), "half up")
HALF_UP_FROM_MINIMUM = Kernel("half up", _half_up, (_FROM_MINIMUM, _SHIFTED, _CUT), "half up")


def _exact_from_minimum(x: FloatArray, p: Expanded, out: FloatArray) -> None:
    assert p.minimum is not None
    np.subtract(x, p.minimum, out=out)
    np.divide(out, p.scale, out=out)
    np.rint(out, out=out)
    _settle_ties(x, p.scale, p.minimum, p.low, p.high, out)


def _exact_half_up(x: FloatArray, p: Expanded, out: FloatArray) -> None:
    _half_up(x, p, out)
    _settle_ties(x, p.scale, p.minimum, p.low, p.high, out)


def _settle_ties(x: Any, scale: Any, minimum: Any, low: Any, high: Any, out: FloatArray) -> None:
    """Where rounding missed the level whose value is ``x``, put it in.

    Beside a minimum that is large for its step, the sum of both is rounded by half a step and more, so that several
    levels have one value: the one found may then lie outside the codes, or beside a level that has it.
    """
    inside = np.clip(out, low, high)
    missed = _value_of(inside, scale, minimum) != x
    np.copyto(out, inside, where=~missed)
    if not missed.any():
        return
    for step in (np.float32(-1), np.float32(1)):
        beside = np.clip(inside + step, low, high)
        np.copyto(out, beside, where=missed & (_value_of(beside, scale, minimum) == x))


def _value_of(levels: FloatArray, scale: Any, minimum: Any) -> FloatArray:
    return np.asarray(levels * scale + minimum)


def _settled(level: Any, known: Mapping[str, Any]) -> Any:
    out = np.array([level], np.float32)
    low, high = (np.float32(known[name]) for name in ("quant_min", "quant_max"))
    _settle_ties(known["x"], known["scale"], known["minimum"], low, high, out)
    return out[0]


_OR_EXACT = "or the code beside it whose value is x"
EXACT_HALF_UP = Kernel(
    "half up",
    _exact_half_up,
    (
        _FROM_MINIMUM,
        _SHIFTED,
        Formula("level", _CUT.text, lambda k: _settled(_cut(k), k), f"{_CUT.why}; {_OR_EXACT}"),
    ),
    "half up",
)
EXACT_FROM_MINIMUM = Kernel(
    "exact",
    _exact_from_minimum,
    (
        Formula("quotient", "(x - minimum) / scale", lambda k: (k["x"] - k["minimum"]) / k["scale"]),
        Formula(
            "level", "round(quotient)", lambda k: _settled(np.rint(k["quotient"]), k), f"half to even; {_OR_EXACT}"
        ),
    ),
    "half to even",
)


def _steps(levels: FloatArray, p: Expanded, out: FloatArray) -> None:
    np.multiply(levels, p.scale, out=out)


def _plus_minimum(levels: FloatArray, p: Expanded, out: FloatArray) -> None:
    assert p.minimum is not None
    np.multiply(levels, p.scale, out=out)
    np.add(out, p.minimum, out=out)


def _positive_zero_product(levels: FloatArray, p: Expanded, out: FloatArray) -> None:
    np.multiply(levels, p.scale, out=out)
    np.add(out, np.float32(0), out=out)


STEPS = Decoder("product", _steps, Formula(
    "dequantized", "level * scale", lambda k: k["clamped"] * k["scale"]))  # fmt: skip
PLUS_MINIMUM = Decoder("plus minimum", _plus_minimum, Formula(
    "dequantized", "level * scale + minimum", lambda k: k["clamped"] * k["scale"] + k["minimum"]))  # fmt: skip
POSITIVE_ZERO = Decoder("product", _positive_zero_product, Formula(
    "dequantized", "level * scale", lambda k: k["clamped"] * k["scale"] + np.float32(0)))  # fmt: skip
