"""FP4 in blocks of 16 with two levels of scales (NVFP4) in its three dialects, and those runtimes' own MX formats.

The block scale is a float8_e4m3fn relative to one float32 of the tensor. The dialects agree but for orders of
operations and what they do at zero: an ulp of the quotient moves a code now and then.
"""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np

from ..block_format import BlockFit, BlockFormat, FitRule, largest_of
from ..block_kernels import POSITIVE_ZERO, SIGN_OF_QUOTIENT, STEPS
from ..codebooks import codebook, nearest_product
from ..grids import CodebookGrid, float_grid
from ..kernels import CAST_PRODUCT, CAST_QUOTIENT, FloatArray, Kernel
from ..small_floats import codes_in, values_of
from ..trace import Note
from .ocp import (
    BIAS,
    E8M0,
    NOT_A_NUMBER,
    POWERS,
    RECIPROCALS,
    Element,
    as_scale,
    exponent_of,
    powers,
)

E2M1, E4M3 = float_grid("float4_e2m1fn"), float_grid("float8_e4m3fn")
SCALE = np.dtype(ml_dtypes.float8_e4m3fn)
SIX, LARGEST_SCALE = np.float32(6), np.float32(448)
#: 6 * 448: the largest value that a block of the largest scale can hold.
SPAN = np.float32(2688)


def _as_e4m3(scale: FloatArray, lowest: float, note: Note) -> Any:
    held = np.clip(scale, np.float32(lowest), LARGEST_SCALE)
    rounded = held.astype(SCALE)
    note("block_scale", "float8_e4m3fn(relative)", rounded.astype(np.float32), f"from {lowest:g} to 448, half to even")
    return rounded


def span_share(largest: np.float32, note: Note) -> np.float32:
    """The global scale: the share of 2688 in the tensor's largest magnitude."""
    return note("global_scale", "tensor_largest / 2688", np.float32(largest) / SPAN, "2688 = 6 * 448")


def inverse_share(largest: np.float32, note: Note) -> np.float32:
    """compressed-tensors keeps the inverse, as (1 / largest) * 2688; where that is infinite it takes 1."""
    inverse = note("inverse", "1 / tensor_largest", np.float32(1) / max(largest, np.finfo(np.float32).tiny))
    found = note("global_scale", "inverse * 2688", inverse * SPAN, "2688 = 6 * 448")
    return found if np.isfinite(found) else note("global_scale", "1", np.float32(1), "the inverse is beyond float32")


def modelopt_fit(x: FloatArray, scale_rule: str | None, global_scale: np.float32 | None, note: Note) -> BlockFit:
    """ModelOpt: amax / (6 * global), 1 for a block of zeros, held at 2^-9 and more."""
    assert global_scale is not None
    largest = largest_of(x, note)
    relative = note("relative", "largest / (6 * global_scale)", largest / (SIX * global_scale))
    if (relative == 0).any():
        relative = note("relative", "1", np.where(relative == 0, np.float32(1), relative), "a block of zeros")
    return BlockFit(_as_e4m3(relative, 2.0**-9, note))


def torchao_fit(x: FloatArray, scale_rule: str | None, global_scale: np.float32 | None, note: Note) -> BlockFit:
    """torchao: (amax / 6) / global, held at 2^-6 and more."""
    assert global_scale is not None
    sixth = note("sixth", "largest / 6", largest_of(x, note) / SIX)
    relative = note("relative", "sixth / global_scale", sixth / global_scale)
    return BlockFit(_as_e4m3(relative, 2.0**-6, note))


def compressed_fit(x: FloatArray, scale_rule: str | None, global_scale: np.float32 | None, note: Note) -> BlockFit:
    """compressed-tensors: global * (amax / 6); 0.125 where that rounds to 0."""
    assert global_scale is not None
    sixth = note("sixth", "largest / 6", largest_of(x, note) / SIX)
    relative = note("relative", "global_scale * sixth", global_scale * sixth)
    scale = _as_e4m3(relative, -448.0, note)
    zero = scale.astype(np.float32) == 0
    if zero.any():
        scale = np.where(zero, SCALE.type(0.125), scale)
        note("block_scale", "0.125", scale.astype(np.float32), "stands for a scale of 0")
    return BlockFit(scale)


def _scale_times_global(scale: Any, global_scale: np.float32 | None) -> tuple[FloatArray, None]:
    assert global_scale is not None
    return scale.astype(np.float32) * global_scale, None


def _torchao_effective(scale: Any, global_scale: np.float32 | None) -> tuple[FloatArray, FloatArray]:
    assert global_scale is not None
    wide = scale.astype(np.float32)
    return global_scale * wide, (np.float32(1) / global_scale) / wide


def _scale_over_global(scale: Any, global_scale: np.float32 | None) -> tuple[FloatArray, None]:
    assert global_scale is not None
    return scale.astype(np.float32) / global_scale, None


def _nvfp4(fit: FitRule, **others: Any) -> BlockFormat:
    return BlockFormat(
        dtype="nvfp4", grid=E2M1, code_dtype=E2M1.storage, scale_dtype=SCALE, fit=fit,
        codes_of=codes_in(E2M1.storage), levels_of=values_of, **others,
    )  # fmt: skip


# ModelOpt's MXFP4 counts the bounds below a magnitude: a tie goes to the smaller one, and only x > 0 has no sign bit.
_HALVES = np.array([0.0, 0.5, 1, 1.5, 2, 3, 4, 6], np.float32)
_BOUNDS = ((_HALVES[1:] + _HALVES[:-1]) / 2).astype(np.float32)
_SIGNED_HALVES = (*(-_HALVES[::-1]).tolist(), *_HALVES.tolist())
_SIGNED_BOUNDS = (*np.nextafter(-_BOUNDS[::-1], np.float32(-7)).tolist(), 0.0, *_BOUNDS.tolist())


def modelopt_mx_fit(x: FloatArray, scale_rule: str | None, global_scale: np.float32 | None, note: Note) -> BlockFit:
    """ModelOpt's MXFP4: amax / 6 rounded up to a power of two, from 2^-127."""
    fits = note("fits", "largest / 6", largest_of(x, note) / SIX)
    with np.errstate(divide="ignore"):
        power = np.ceil(np.log2(fits.astype(np.float64)).astype(np.float32))
    exponent = note("exponent", "ceil(log2(fits))", np.maximum(power, np.float32(-BIAS)), "log2 in float32")
    return BlockFit(note_power(as_scale(exponent), note))


def note_power(scale: Any, note: Note) -> Any:
    """Take note of an E8M0 scale's value."""
    note("scale", "2^exponent", POWERS[scale.view(np.uint8)], "stored as the byte exponent + 127")
    return scale


def compressed_mx_rule(element: Element, mantissa_bits: int) -> FitRule:
    """compressed-tensors' MX scales: the largest magnitude rounded to ``mantissa_bits``, then its exponent."""

    def fit(x: FloatArray, scale_rule: str | None, global_scale: np.float32 | None, note: Note) -> BlockFit:
        power = exponent_of(largest_of(x, note), 1 << 22 - mantissa_bits)
        why = f"largest rounded to {mantissa_bits} mantissa bits first, by adding half of the last one"
        note("power", "floor(log2(rounded(largest)))", power, why)
        exponent = note("exponent", f"power - {element.exponent}", power - element.exponent)
        scale = as_scale(exponent)
        if (power > BIAS).any():  # the rounded magnitude is infinite
            scale = np.where(power > BIAS, np.uint8(NOT_A_NUMBER), scale.view(np.uint8)).view(E8M0)
        return BlockFit(note_power(scale, note))

    return fit


def _mx(dtype: str, grid: Any, fit: FitRule, kernel: Kernel, factors: FloatArray | None, **others: Any) -> BlockFormat:
    return BlockFormat(
        dtype=dtype, grid=grid, code_dtype=grid.storage, scale_dtype=E8M0, fit=fit, kernel=kernel, decoder=STEPS,
        effective=powers(POWERS, factors), codes_of=codes_in(grid.storage), levels_of=values_of, **others,
    )  # fmt: skip


MODELOPT_BLOCKS = (
    _nvfp4(
        modelopt_fit, short_fit=modelopt_fit, global_scale=span_share, effective=_scale_times_global,
        step_text="block_scale * global_scale", kernel=SIGN_OF_QUOTIENT, decoder=POSITIVE_ZERO,
    ),
    _mx(
        "mxfp4", CodebookGrid("mxfp4", 4, _SIGNED_HALVES, E2M1.storage), modelopt_mx_fit,
        nearest_product(codebook(_SIGNED_HALVES, _SIGNED_BOUNDS)), RECIPROCALS,
    ),
)  # fmt: skip
TORCHAO_BLOCKS = (
    _nvfp4(
        torchao_fit, global_scale=span_share, effective=_torchao_effective, step_text="global_scale * block_scale",
        factor_text="(1 / global_scale) / block_scale", kernel=CAST_PRODUCT, decoder=STEPS,
    ),
)
COMPRESSED_TENSORS_BLOCKS = (
    _nvfp4(
        compressed_fit, global_scale=inverse_share, effective=_scale_over_global,
        step_text="block_scale / global_scale", kernel=SIGN_OF_QUOTIENT, decoder=STEPS,
    ),
    _mx("mxfp4", E2M1, compressed_mx_rule(Element.of(E2M1), 1), SIGN_OF_QUOTIENT, None),
    _mx("mxfp8_e4m3fn", E4M3, compressed_mx_rule(Element.of(E4M3), 1), CAST_QUOTIENT, None),
)  # fmt: skip
