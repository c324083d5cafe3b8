"""GGUF's blocks of 32, as ggml's reference quantizers make them: Q8_0, Q4_0, Q4_1, Q5_0, Q5_1 and MXFP4.

Scales and minima are stored as float16, but codes come from the float32 numbers before they are rounded. A scale of
Q4_0 and Q5_0 has the sign that takes the largest magnitude to the lowest code.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ..block_format import BlockFit, BlockFormat, FitRule, largest_of
from ..block_kernels import EXACT_HALF_UP, HALF_UP, HALF_UP_FROM_MINIMUM, PLUS_MINIMUM, STEPS
from ..codebooks import codebook, nearest_product
from ..grids import CodebookGrid, IntGrid
from ..kernels import K8_AWAY, FloatArray
from ..record import AFFINE, SYMMETRIC, Convention, Support
from ..trace import Note
from .gguf_stored import CODE_AT, DOUBLED, LISTED, STORED_BLOCKS, by_inverse, reciprocal
from .ocp import E8M0, scale_bytes

HALF = np.dtype(np.float16)
UINT8 = np.dtype(np.uint8)


def _with_inverse(scale: FloatArray, note: Note, infinite: bool = False, **others: Any) -> BlockFit:
    """The scale as it is stored, and the reciprocal of what it was before.

    An infinite reciprocal takes the library to casts of infinities, which C leaves undefined; on x86-64 they give
    code 0. So does a multiplier of 0, where level 0 has that code; else the kernel must know: ``infinite`` keeps it.
    """
    inverse = reciprocal(scale)
    if infinite:
        inverse = np.where((inverse == 0) & (scale != 0), np.float32(np.inf), inverse)
    note("multiplier", "1 / d", inverse, "0 where d is 0")
    kept = note("scale", "float16(d)", scale.astype(HALF), "as stored; codes come from d")
    return BlockFit(kept, multiplier=inverse, **others)


def q8_fit(x: FloatArray, scale_rule: str | None, global_scale: np.float32 | None, note: Note) -> BlockFit:
    """Q8_0: d = amax / 127."""
    return _with_inverse(note("d", "largest / 127", largest_of(x, note) / np.float32(127)), note)


def signed_rule(divisor: int) -> FitRule:
    """Q4_0 and Q5_0: d = the value of the largest magnitude, with its sign, over -8 or -16."""

    def fit(x: FloatArray, scale_rule: str | None, global_scale: np.float32 | None, note: Note) -> BlockFit:
        x = np.ascontiguousarray(x)
        high, low = x.max(0), x.min(0)
        extreme = np.where(high >= -low, high, low)
        both = np.flatnonzero(high == -low)
        if both.size:  # then it is the first of them, which decides the sign of a zero, too
            first = np.abs(x[:, both]).argmax(0)
            extreme[both] = x[first, both]
        extreme = note("extreme", "the first value of the largest magnitude", extreme, "of the block, with its sign")
        return _with_inverse(note("d", f"extreme / -{divisor}", extreme / np.float32(-divisor)), note, infinite=True)

    return fit


def minimum_rule(steps: int) -> FitRule:
    """Q4_1 and Q5_1: d = (max - min) / 15 or 31, without zero in the range."""

    def fit(x: FloatArray, scale_rule: str | None, global_scale: np.float32 | None, note: Note) -> BlockFit:
        x = np.ascontiguousarray(x)
        high, low = note("max", "max(x)", x.max(0), "of the block"), note("origin", "min(x)", x.min(0))
        with np.errstate(over="ignore"):
            d = note("d", f"(max - origin) / {steps}", (high - low) / np.float32(steps))
            kept = note("minimum", "float16(origin)", low.astype(HALF), "as stored; codes come from origin")
        return _with_inverse(d, note, minimum=kept, origin=low)

    return fit


def mxfp4_fit(x: FloatArray, scale_rule: str | None, global_scale: np.float32 | None, note: Note) -> BlockFit:
    """MXFP4: the byte floor(log2(amax)) + 125, log2 in float32, which rounds up just below a power of two.

    Below 2^-125 it wraps around, as the library's cast does, and all codes of the block are 0.
    """
    largest = largest_of(x, note)
    with np.errstate(divide="ignore", invalid="ignore"):
        exponent = np.where(largest > 0, np.floor(np.log2(largest)) - 2 + 127, 0)
        encoded = exponent.astype(np.int32).astype(np.uint8)
    note("byte", "floor(log2(largest)) + 125", encoded, "log2 in float32; 0 for a block of zeros")
    note("scale", "2^(byte - 128)", HALF_POWERS[encoded], "half of E8M0's power, as ggml doubles the elements")
    return BlockFit(encoded.view(E8M0))


#: ggml_e8m0_to_fp32_half: of every byte half the power of two, since it keeps E2M1's values doubled, as integers.
HALF_POWERS = np.ldexp(np.float32(1), np.arange(256) - 128).astype(np.float32)
_FACTORS = np.ldexp(np.float32(1), 127 - np.arange(256)).astype(np.float32)
# Ties go to the smaller magnitude: below zero that is the upper side.
_MIDDLES = ((LISTED[1:] + LISTED[:-1]) / 4).astype(np.float32)
BOOK = codebook(
    LISTED, np.where(_MIDDLES < 0, np.nextafter(_MIDDLES, np.float32(-7)), _MIDDLES).astype(np.float32), 2.0
)


def _half_powers(scale: npt.NDArray[Any], global_scale: np.float32 | None) -> tuple[FloatArray, FloatArray]:
    encoded = scale_bytes(scale)
    return HALF_POWERS[encoded], _FACTORS[encoded]


def _indices(zero: int) -> Any:
    return lambda levels: (levels + np.float32(zero)).astype(np.uint8)


def _centred(zero: int) -> Any:
    return lambda codes: codes.astype(np.float32) - np.float32(zero)


def _signed(dtype: str, bits: int) -> BlockFormat:
    zero = 1 << bits - 1
    return BlockFormat(
        dtype=dtype, grid=IntGrid(dtype, bits, True, 0, 2 * zero - 1), code_dtype=UINT8, scale_dtype=HALF,
        fit=signed_rule(zero), effective=by_inverse, kernel=HALF_UP, decoder=STEPS, zero=zero, flat_too=True,
        codes_of=_indices(zero), levels_of=_centred(zero),
    )  # fmt: skip


def _with_minimum(dtype: str, bits: int) -> BlockFormat:
    steps = (1 << bits) - 1
    return BlockFormat(
        dtype=dtype, grid=IntGrid(dtype, bits, False, 0, steps), code_dtype=UINT8, scale_dtype=HALF,
        fit=minimum_rule(steps), effective=by_inverse, kernel=HALF_UP_FROM_MINIMUM,
        given_kernel=EXACT_HALF_UP, decoder=PLUS_MINIMUM,
        codes_of=_indices(0), minimum_bits=16, keeps_zero=False, flat_too=True,
    )  # fmt: skip


GGUF_BLOCKS = (
    BlockFormat(
        dtype="q8_0", grid=IntGrid("q8_0", 8, True, -128, 127), code_dtype=np.dtype(np.int8), scale_dtype=HALF,
        fit=q8_fit, effective=by_inverse, kernel=K8_AWAY, decoder=STEPS, flat_too=True,
    ),
    _signed("q4_0", 4),
    _with_minimum("q4_1", 4),
    _signed("q5_0", 5),
    _with_minimum("q5_1", 5),
    BlockFormat(
        dtype="gguf_mxfp4", grid=CodebookGrid("gguf_mxfp4", 4, tuple(LISTED.tolist()), UINT8), code_dtype=UINT8,
        scale_dtype=E8M0, fit=mxfp4_fit, effective=_half_powers, kernel=nearest_product(BOOK), decoder=STEPS,
        codes_of=lambda levels: CODE_AT[BOOK.index_of(levels)],
        levels_of=lambda codes: np.take(DOUBLED, codes, mode="clip"), flat_too=True,
    ),
)  # fmt: skip
GGUF = Convention(
    name="gguf",
    title="GGUF, ggml's reference quantizers",
    used_by="llama.cpp and everything that loads GGUF files",
    supports=(
        Support(("q8_0", "q4_0", "q5_0", "gguf_mxfp4"), SYMMETRIC, ("group",), group_sizes=(32,)),
        Support(("q4_1", "q5_1"), AFFINE, ("group",), group_sizes=(32,)),
    ),
    block_formats=GGUF_BLOCKS,
    stored_formats=STORED_BLOCKS,
    checked="gguf 0.19.0, CPU, x86-64",
    source="gguf.quants.quantize and dequantize, which follow ggml's quantize_row_*_ref, on float32",
)
