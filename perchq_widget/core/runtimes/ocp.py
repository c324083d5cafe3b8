"""The microscaling (MX) formats of the Open Compute Project: blocks of 32 that share a power of two."""

from __future__ import annotations

from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
import numpy.typing as npt

from ..block_format import BlockFit, BlockFormat, Effective, FitRule, largest_of
from ..block_kernels import STEPS
from ..grids import FloatGrid, Grid, IntGrid, float_grid
from ..kernels import CAST_PRODUCT, K1, FloatArray
from ..record import SYMMETRIC, Convention, Support
from ..small_floats import codes_in, values_of
from ..trace import Note

E8M0 = np.dtype(ml_dtypes.float8_e8m0fnu)
BIAS, LARGEST_BYTE, NOT_A_NUMBER = 127, 254, 255
SCALE_RULES = ("floor", "even", "ceil", "rceil")
_MANTISSA = 23  # bits of a float32's
_BYTES = np.arange(NOT_A_NUMBER)
#: Of every byte of E8M0, the power of two.
POWERS = np.append(np.ldexp(np.float32(1), _BYTES - BIAS), np.nan).astype(np.float32)
#: ... and what values are multiplied by.
RECIPROCALS = np.append(np.ldexp(np.float32(1), BIAS - _BYTES), np.nan).astype(np.float32)


class Element(NamedTuple):
    """What the scale rules ask of an element format: the exponent of its largest value, mantissa bits, that value."""

    exponent: int
    mantissa_bits: int
    largest: float

    @classmethod
    def of(cls, grid: FloatGrid) -> Element:
        """Of a float format."""
        return cls(int(np.floor(np.log2(grid.quant_max))), grid.mantissa_bits, float(grid.quant_max))


INT8 = Element(0, 6, 127 / 64)


def scale_bytes(scale: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """The bytes of E8M0 scales."""
    return np.ascontiguousarray(scale).view(np.uint8)


def as_scale(exponent: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Exponents as E8M0, held in its range."""
    return np.asarray(np.clip(exponent + BIAS, 0, LARGEST_BYTE).astype(np.uint8).view(E8M0))


def exponent_of(largest: FloatArray, added: int = 0) -> npt.NDArray[np.int32]:
    """floor(log2) of normal float32, by their exponent bits, after ``added`` was added to all bits; -127 below."""
    raised = np.ascontiguousarray(largest).view(np.int32) + np.int32(added)
    return np.asarray((raised >> _MANTISSA) - BIAS, np.int32)


def mx_rule(element: Element) -> FitRule:
    """The four scale rules for one element format."""

    def fit(x: FloatArray, scale_rule: str | None, global_scale: np.float32 | None, note: Note) -> BlockFit:
        largest = largest_of(x, note)
        if scale_rule == "rceil":
            return _rceil(largest, element, note)
        if scale_rule == "even":
            half = 1 << _MANTISSA - element.mantissa_bits - 1
            why = f"largest rounded to {element.mantissa_bits} mantissa bits first, by adding half of the last one"
            power = note("power", "floor(log2(rounded(largest)))", exponent_of(largest, half), why)
        elif scale_rule == "ceil":
            why = "the exponent bits, plus 1 where the mantissa is not 0"
            power = note("power", "ceil(log2(largest))", exponent_of(largest, (1 << _MANTISSA) - 1), why)
        else:
            power = note("power", "floor(log2(largest))", exponent_of(largest), "the exponent bits")
        why = f"{element.exponent} is the exponent of the format's largest value, {element.largest:g}"
        exponent = note("exponent", f"power - {element.exponent}", power - element.exponent, why)
        return BlockFit(_noted(as_scale(exponent), note))

    return fit


def _rceil(largest: FloatArray, element: Element, note: Note) -> BlockFit:
    """Round the scale up, so that nothing is clipped; of a scale of 2^-127 the values are left as they are."""
    fits = note("fits", f"largest / {element.largest:g}", largest / np.float32(element.largest))
    with np.errstate(divide="ignore"):
        power = np.ceil(np.log2(fits.astype(np.float64)).astype(np.float32))
    exponent = note("exponent", "ceil(log2(fits))", np.maximum(power, np.float32(-BIAS)), "log2 in float32")
    scale = _noted(as_scale(exponent), note)
    encoded = scale_bytes(scale)
    return BlockFit(scale, multiplier=np.where(encoded == 0, np.float32(1), RECIPROCALS[encoded]))


def _noted(scale: npt.NDArray[Any], note: Note) -> npt.NDArray[Any]:
    note("scale", "2^exponent", POWERS[scale_bytes(scale)], "stored as the byte exponent + 127, from 0 to 254")
    return scale


def _floor_factor() -> FloatArray:
    """torchao divides by no less than 2^-126, though it stores 2^-127."""
    factors = RECIPROCALS.copy()
    factors[0] = factors[1]
    return factors


def powers(steps: FloatArray, factors: FloatArray | None) -> Effective:
    """Step and factor by the scale's byte."""

    def effective(
        scale: npt.NDArray[Any], global_scale: np.float32 | None
    ) -> tuple[FloatArray, FloatArray | None]:
        encoded = scale_bytes(scale)
        return steps[encoded], None if factors is None else factors[encoded]

    return effective


def _float_blocks(dtype: str) -> BlockFormat:
    grid = float_grid(ELEMENTS[dtype])
    rule = mx_rule(Element.of(grid))
    return BlockFormat(
        dtype=dtype, grid=grid, code_dtype=grid.storage, scale_dtype=E8M0, fit=rule, short_fit=rule,
        effective=powers(POWERS, _floor_factor()), kernel=CAST_PRODUCT, decoder=STEPS,
        codes_of=codes_in(grid.storage), levels_of=values_of,
    )  # fmt: skip


def _int_blocks() -> BlockFormat:
    grid: Grid = IntGrid("mxint8", 8, True, -127, 127)
    steps = (POWERS * np.float32(1 / 64)).astype(np.float32)
    rule = mx_rule(INT8)

    def without_multiplier(
        x: FloatArray, scale_rule: str | None, global_scale: np.float32 | None, note: Note
    ) -> BlockFit:
        return BlockFit(rule(x, scale_rule, global_scale, note).scale)

    return BlockFormat(
        dtype="mxint8", grid=grid, code_dtype=np.dtype(np.int8), scale_dtype=E8M0, fit=without_multiplier,
        short_fit=without_multiplier, step_text="scale / 64", effective=powers(steps, None), kernel=K1, decoder=STEPS,
    )  # fmt: skip


ELEMENTS = {
    "mxfp8_e4m3fn": "float8_e4m3fn",
    "mxfp8_e5m2": "float8_e5m2",
    "mxfp6_e2m3fn": "float6_e2m3fn",
    "mxfp6_e3m2fn": "float6_e3m2fn",
    "mxfp4": "float4_e2m1fn",
}
FORMATS = (*ELEMENTS, "mxint8")

OCP = Convention(
    name="ocp",
    title="OCP Microscaling (MX)",
    used_by="MX hardware and emulations: torchao's MX tensors, microxcaling",
    supports=(Support(FORMATS, SYMMETRIC, ("group",), scale_rules=SCALE_RULES, group_sizes=(32,)),),
    block_formats=(*map(_float_blocks, ELEMENTS), _int_blocks()),
    short_group=True,
    checked="torchao 0.18.0, CPU, x86-64; mxint8 by microxcaling's rule, which was not run",
    source="OCP Microscaling Formats 1.0, section 6.3, as torchao's to_mx and to_dtype compute it in float32; mxint8 "
    "as microxcaling: round(64 * x / 2^floor(log2(amax))), from -127 to 127",
)
