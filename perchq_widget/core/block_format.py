"""A format whose blocks share a scale, as one frozen record."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from .errors import QuantValueError
from .grids import STORED_DTYPES, Grid, block_shape
from .kernels import Decoder, FloatArray, Kernel
from .trace import Note

_MAGNITUDE = np.int32(0x7FFFFFFF)


@dataclass(frozen=True, eq=False, slots=True)
class BlockFit:
    """What a format takes from blocks: one number per block, flat. ``scale`` and ``minimum`` are as they are stored.

    ``multiplier``: what values are multiplied by on their way to codes, where the stored scale does not tell it.
    ``origin``: what is taken off before, where the minimum is rounded for storage.
    """

    scale: npt.NDArray[Any]
    multiplier: FloatArray | None = None
    minimum: npt.NDArray[Any] | None = None
    origin: FloatArray | None = None


class FitRule(Protocol):
    """Blocks as columns, float32 of shape (elements, blocks), all finite -> BlockFit of ``blocks`` numbers."""

    def __call__(self, x: FloatArray, scale_rule: str | None, global_scale: np.float32 | None, note: Note) -> BlockFit:
        """Choose the scales; pass the intermediate values through ``note``."""


def unfitted(x: FloatArray, scale_rule: str | None, global_scale: np.float32 | None, note: Note) -> BlockFit:
    """The rule of the formats in STORED_DTYPES: there is none. The table of what is allowed refuses them before."""
    raise QuantValueError("formats that are only stored have no rule that takes scales from values: give BlockParams")


#: (scale as stored, global scale) -> (step of a level, factor from values to levels or None), both float32
Effective = Callable[[npt.NDArray[Any], np.float32 | None], tuple[FloatArray, FloatArray | None]]


def stored(scale: npt.NDArray[Any], global_scale: np.float32 | None) -> tuple[FloatArray, FloatArray | None]:
    """The stored scale is the step of a level, and values are divided by it."""
    return scale.astype(np.float32), None


def plain_codes(levels: FloatArray) -> npt.NDArray[Any]:
    """Levels as int8."""
    return levels.astype(np.int8)


def plain_levels(codes: npt.NDArray[Any]) -> FloatArray:
    """Codes as float32."""
    return codes.astype(np.float32)


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class BlockFormat:
    """One shared-scale format as one runtime computes it; runtimes' records list theirs.

    ``zero``: the code of level 0 where codes are levels plus a constant. ``short_fit``: the rule for a last block of
    fewer elements, where the runtime has such; None where it refuses them. ``flat``: blocks of the flattened tensor;
    ``flat_too``: those as well, in which case ``ch_axis`` decides. ``overhead_bits``: what a file spends on the scale
    and the minimum of one block, where that is not the size of their numbers. ``given_kernel``: for parameters as they
    are stored, without the multiplier and the origin that codes came from.
    """

    dtype: str
    grid: Grid  # of an element's levels, before ``zero`` is added
    code_dtype: np.dtype[Any]
    scale_dtype: np.dtype[Any]  # as stored
    kernel: Kernel
    decoder: Decoder
    fit: FitRule = unfitted
    effective: Effective = stored
    codes_of: Callable[[FloatArray], npt.NDArray[Any]] = plain_codes
    levels_of: Callable[[npt.NDArray[Any]], FloatArray] = plain_levels
    zero: int = 0
    short_fit: FitRule | None = None
    global_scale: Callable[[np.float32, Note], np.float32] | None = None  # from the largest magnitude
    given_kernel: Kernel | None = None
    flat: bool = False
    flat_too: bool = False
    minimum_bits: int = 0
    overhead_bits: int | None = None
    keeps_zero: bool = True
    step_text: str = "scale"  # ``effective`` in words: a level's step from the stored scale (and the global one)
    factor_text: str = "1 / scale"  # and what values are multiplied by

    @property
    def block_size(self) -> int:
        """Elements of a block, unless another size is chosen."""
        return block_shape(self.dtype)[1]

    @property
    def only_stored(self) -> bool:
        """Whether its scales are given and never chosen."""
        return self.dtype in STORED_DTYPES


def largest_of(x: FloatArray, note: Note) -> FloatArray:
    """The largest magnitude of every column."""
    rows = x.T
    if rows.flags.c_contiguous:  # as integers magnitudes have the same order, and are four times as fast one by one
        bits = np.bitwise_and(rows.reshape(-1).view(np.int32), _MAGNITUDE)
        top = np.maximum.reduceat(bits, np.arange(0, bits.size, rows.shape[1])).view(np.float32)
    else:
        top = np.abs(np.maximum(x.max(0), -x.min(0)))
    return note("largest", "max(|x|)", top, "of the block")
