"""GGUF's blocks whose scales llama.cpp searches for: K-quants, the IQ family, the ternary ones and NVFP4.

Files give their scales, in two levels: a float16 for a block of 256 elements and some bits for each part of it. Here a
part is a block, with the product of both in float32 as its scale. No rule chooses such scales from values.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ..block_format import BlockFormat
from ..block_kernels import EXACT_FROM_MINIMUM, PLUS_MINIMUM, STEPS
from ..codebooks import codebook, nearest_product
from ..grids import STORED_DTYPES, CodebookGrid, IntGrid
from ..kernels import K1, FloatArray

SINGLE = np.dtype(np.float32)
INT8, UINT8 = np.dtype(np.int8), np.dtype(np.uint8)

#: Magnitudes of an element's levels; codes are the places of the signed levels in ascending order.
MAGNITUDES: dict[str, tuple[int, ...]] = {
    "iq2_xxs": (8, 25, 43),
    "iq2_xs": (8, 25, 43),
    "iq2_s": (8, 25, 43),
    "iq3_xxs": (4, 12, 20, 28, 36, 44, 52, 62),
    "iq3_s": (1, 3, 5, 7, 9, 11, 13, 15),
}
#: -1, 0 and 1, each an eighth of a step below and above: a bit of the block tells which side all its levels are on.
SHIFTED_TERNARY = (-1.125, -0.875, -0.125, 0.125, 0.875, 1.125)
#: IQ4's list, with steps that widen outwards.
FOUR_BITS = (-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113)
#: E2M1's values doubled, as integers, by code; 8 is a second zero that no quantizer writes.
DOUBLED = np.array([0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12], np.float32)
LISTED = np.unique(DOUBLED)
CODE_AT = np.array([int(np.flatnonzero(value == DOUBLED)[0]) for value in LISTED], np.uint8)

#: Bits that a file spends on one block's scale and minimum, its share of those of 256 elements included.
_OVERHEAD = {
    "q2_k": 10, "q3_k": 7, "q4_k": 16, "q5_k": 16, "q6_k": 9, "iq1_s": 6, "iq1_m": 6, "iq2_xxs": 6, "iq2_xs": 5,
    "iq2_s": 5, "iq3_xxs": 6, "iq3_s": 6, "iq4_nl": 16, "iq4_xs": 8, "tq1_0": 16, "tq2_0": 16, "gguf_nvfp4": 8,
}  # fmt: skip


def reciprocal(scale: FloatArray) -> FloatArray:
    """1 / scale in float32; 0 where that is infinite."""
    with np.errstate(divide="ignore", over="ignore"):
        inverse = np.float32(1) / scale
    return np.where(np.isinf(inverse), np.float32(0), inverse)


def by_inverse(scale: npt.NDArray[Any], global_scale: np.float32 | None) -> tuple[FloatArray, FloatArray]:
    """The stored scale is the step of a level, and values are multiplied by its reciprocal."""
    wide = scale.astype(np.float32)
    return wide, reciprocal(wide)


def _integers(dtype: str, bits: int, low: int, high: int) -> BlockFormat:
    """Codes are levels."""
    return BlockFormat(
        dtype=dtype, grid=IntGrid(dtype, bits, True, low, high), code_dtype=INT8, scale_dtype=SINGLE, kernel=K1,
        decoder=STEPS, flat_too=True, overhead_bits=_OVERHEAD[dtype],
    )  # fmt: skip


def _with_minimum(dtype: str) -> BlockFormat:
    """Codes count steps from the minimum, which a file has as the positive number to take off."""
    bits = int(STORED_DTYPES[dtype][0])
    return BlockFormat(
        dtype=dtype, grid=IntGrid(dtype, bits, False, 0, (1 << bits) - 1), code_dtype=UINT8, scale_dtype=SINGLE,
        kernel=EXACT_FROM_MINIMUM, decoder=PLUS_MINIMUM, codes_of=lambda levels: levels.astype(np.uint8),
        flat_too=True, minimum_bits=32, overhead_bits=_OVERHEAD[dtype], keeps_zero=False,
    )  # fmt: skip


def _listed(dtype: str, levels: tuple[float, ...]) -> BlockFormat:
    """Codes are places in a list of levels."""
    values = np.array(levels, np.float32)
    book = codebook(values, (values[1:] + values[:-1]) / 2)
    grid = CodebookGrid(dtype, (len(levels) - 1).bit_length(), tuple(values.tolist()), UINT8, len(levels))
    return BlockFormat(
        dtype=dtype, grid=grid, code_dtype=UINT8, scale_dtype=SINGLE, effective=by_inverse,
        kernel=nearest_product(book), decoder=STEPS, codes_of=book.index_of,
        levels_of=lambda codes: np.take(values, codes, mode="clip"),
        flat_too=True, overhead_bits=_OVERHEAD[dtype], keeps_zero=0 in levels,
    )  # fmt: skip


def _nvfp4() -> BlockFormat:
    book = codebook(LISTED, (LISTED[1:] + LISTED[:-1]) / 2)
    return BlockFormat(
        dtype="gguf_nvfp4", grid=CodebookGrid("gguf_nvfp4", 4, tuple(LISTED.tolist()), UINT8), code_dtype=UINT8,
        scale_dtype=SINGLE, effective=by_inverse, kernel=nearest_product(book), decoder=STEPS,
        codes_of=lambda levels: CODE_AT[book.index_of(levels)],
        levels_of=lambda codes: np.take(DOUBLED, codes, mode="clip"), flat_too=True,
        overhead_bits=_OVERHEAD["gguf_nvfp4"],
    )  # fmt: skip


def signed(magnitudes: tuple[int, ...]) -> tuple[float, ...]:
    """The magnitudes with both signs, ascending."""
    return (*(-float(each) for each in reversed(magnitudes)), *map(float, magnitudes))


STORED_BLOCKS = (
    *map(_with_minimum, ("q2_k", "q4_k", "q5_k")),
    _integers("q3_k", 3, -4, 3),
    _integers("q6_k", 6, -32, 31),
    _integers("tq1_0", 2, -1, 1),
    _integers("tq2_0", 2, -1, 2),  # the library never writes 2, but reads it
    *(_listed(dtype, signed(magnitudes)) for dtype, magnitudes in MAGNITUDES.items()),
    *(_listed(dtype, SHIFTED_TERNARY) for dtype in ("iq1_s", "iq1_m")),
    *(_listed(dtype, FOUR_BITS) for dtype in ("iq4_nl", "iq4_xs")),
    _nvfp4(),
)
