"""Cutting a tensor into blocks that stay in cache, whatever its rank, strides and channel axis.

Two orientations keep memory access sequential: *rows* blocks are (channels, elements); where the channel axis
is the fastest in memory, *columns* blocks are (elements, channels).

One thread on purpose: at this block size a numpy call takes some 10 microseconds, and two threads lose more in
handing over the interpreter than they gain (measured: 37 ms alone, 46 ms as a pair, for 4096 x 4096 float32).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .grids import carrier

Array = npt.NDArray[Any]

BLOCK = 1 << 17  # elements per block: a float32 block and its scratch fit a second-level cache
RUN = 1 << 12  # elements per channel in one float32 sum, so that its rounding error stays near 1e-7
SLAB = 1 << 12  # channels of a columns block
PAGE = 4096
NARROW = 64  # fewer channels than this make column blocks inefficient


@dataclass(frozen=True, eq=False, slots=True)
class Blocks:
    """A canonical view of a tensor and how to walk it. Build with :func:`cut`."""

    view: Array  # rows: (C, outer, *rest); columns: (elements, C)
    columns: bool

    @property
    def n_channels(self) -> int:
        """C, the channels."""
        return int(self.view.shape[1] if self.columns else self.view.shape[0])

    @property
    def n_outer(self) -> int:
        """Steps of the outer element axis."""
        return int(self.view.shape[0] if self.columns else self.view.shape[1])

    @property
    def n_rest(self) -> int:
        """Elements below one step of the outer axis, per channel."""
        return 1 if self.columns else math.prod(self.view.shape[2:])

    @property
    def axis(self) -> int:
        """The axis of a block that counts channels."""
        return 1 if self.columns else 0

    def walk(self, dtype: np.dtype[Any]) -> Iterator[tuple[slice, Array]]:
        """Blocks in ``dtype``, each with its channels. A block may be reused: do not keep it."""
        wide = min(self.n_channels, SLAB) if self.columns else None
        outer = min(self.n_outer, max(1, (BLOCK // wide if wide else RUN) // self.n_rest))
        channels = wide or min(self.n_channels, max(1, BLOCK // (outer * self.n_rest)))
        buffer = scratch(channels * outer * self.n_rest, dtype, 2)
        for c0 in range(0, self.n_channels, channels):
            part = slice(c0, min(c0 + channels, self.n_channels))
            for a0 in range(0, self.n_outer, outer):
                span = slice(a0, a0 + outer)
                yield part, _gather(self.view[span, part] if self.columns else self.view[part, span], buffer)


def as_carried(array: Array, dtype: np.dtype[Any]) -> tuple[Array, np.dtype[Any]]:
    """``array`` with ``dtype``'s numbers, and the dtype to walk it in, which carries them exactly.

    Only an array of another dtype than a half-width ``dtype`` is copied.
    """
    wide = carrier(dtype)
    with np.errstate(over="ignore"):  # beyond a half-width dtype becomes inf, which is counted as such
        return (array if wide == dtype else array.astype(dtype, copy=False)), wide


def scratch(size: int, dtype: np.dtype[Any], place: int = 0) -> Array:
    """An uninitialised flat array whose start depends on nothing but ``place``: 64-byte aligned, a page apart or less.

    Where the allocator puts an array changes with what the process did before, and vector code on buffers that
    straddle cache lines, or that start at the same offset of a page, runs up to twice as slow.
    """
    raw = np.empty(size * dtype.itemsize + 2 * PAGE, np.uint8)
    start = -raw.ctypes.data % PAGE + place * (PAGE // 4 + 64)
    return raw[start : start + size * dtype.itemsize].view(dtype)


def _gather(piece: Array, buffer: Array) -> Array:
    """``piece`` as a 2-d block: itself where dtype and strides allow, else copied into ``buffer``."""
    shape = (piece.shape[0], math.prod(piece.shape[1:]))
    if piece.dtype == buffer.dtype and piece.strides[-1] == piece.itemsize:
        flat = reshaped(piece, shape)
        if flat is not None:
            return flat
    block = buffer[: piece.size].reshape(piece.shape)
    with np.errstate(over="ignore"):  # beyond the working dtype becomes inf, which is counted as such
        np.copyto(block, piece, casting="unsafe")
    return block.reshape(shape)


def reshaped(array: Array, shape: tuple[int, ...]) -> Array | None:
    """A view of that shape, or None where only a copy could have it."""
    try:
        return array.reshape(shape, copy=False)
    except ValueError:
        return None


def cut(array: Array, ch_axis: int) -> Blocks:
    """The canonical view of ``array`` (rank at least 1) for channels on ``ch_axis`` (not negative)."""
    if array.strides[ch_axis] == array.itemsize and array.shape[ch_axis] >= NARROW:
        columns = np.moveaxis(array, ch_axis, -1)
        flat = reshaped(columns, (-1, array.shape[ch_axis]))
        if flat is not None:
            return Blocks(flat, columns=True)
    moved = np.moveaxis(array, ch_axis, 0)
    flat = reshaped(moved, (moved.shape[0], moved.size // moved.shape[0]))
    if flat is not None:
        return Blocks(flat, columns=False)
    longest_first = sorted(range(1, moved.ndim), key=lambda axis: -moved.shape[axis])
    return Blocks(moved.transpose(0, *longest_first), columns=False)
