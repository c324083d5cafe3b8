"""A format whose blocks share a scale, as one frozen record."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from .grids import BLOCK_DTYPES, FloatGrid, IntGrid
from .kernels import Decoder, FloatArray, Kernel
from .trace import Note


@dataclass(frozen=True, eq=False, slots=True)
class BlockFit:
    """What a format takes from blocks: one number per block, flat. ``scale`` is as stored, in its own dtype.

    ``multiplier``: what values are multiplied by on their way to codes, where the stored scale does not tell it.
    """

    scale: npt.NDArray[Any]
    multiplier: FloatArray | None = None
    minimum: npt.NDArray[Any] | None = None


class FitRule(Protocol):
    """Blocks as columns, float32 of shape (elements, blocks), all finite -> BlockFit of ``blocks`` numbers."""

    def __call__(self, x: FloatArray, scale_rule: str | None, global_scale: np.float32 | None, note: Note, /) -> BlockFit:
        """Choose the scales; pass the intermediate values through ``note``."""


#: (scale as stored, global scale) -> (step of a level, factor from values to levels or None), both float32
Effective = Callable[[npt.NDArray[Any], np.float32 | None], tuple[FloatArray, FloatArray | None]]


@dataclass(frozen=True, eq=False, slots=True)
class BlockFormat:
    """One shared-scale format as one runtime computes it; runtimes' records list theirs."""

    dtype: str
    grid: IntGrid | FloatGrid  # of an element's levels
    code_dtype: np.dtype[Any]
    scale_dtype: np.dtype[Any]  # as stored
    fit: FitRule
    effective: Effective
    kernel: Kernel
    decoder: Decoder
    codes_of: Callable[[FloatArray], npt.NDArray[Any]]
    levels_of: Callable[[npt.NDArray[Any]], FloatArray]
    global_scale: Callable[[np.float32, Note], np.float32] | None = None  # from the largest magnitude
    flat: bool = False  # blocks of the flattened tensor
    minimum_bits: int = 0
    keeps_zero: bool = True

    @property
    def block_size(self) -> int:
        """Elements of a block, unless another size is chosen."""
        return BLOCK_DTYPES[self.dtype][1]
