"""Reductions of a block to one number per channel. ``axis`` is the block's axis that counts channels."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from .blocks import Array

#: Magnitudes for which float32 squares neither overflow nor lose their errors to underflow.
SAFE = (1e-10, 1e15)


def dot(a: Array, b: Array, axis: int) -> Array:
    """Sum of products per channel."""
    return np.asarray(np.vecdot(a, b) if axis == 0 else np.einsum("ij,ij->j", a, b))


def total(a: Array, ones: Array, axis: int) -> Array:
    """Sum per channel, as a product with ones: twice as fast as a sum."""
    n = a.shape[1 - axis]
    return np.asarray(np.vecdot(a, ones[:n]) if axis == 0 else ones[:n] @ a)


def count(mask: Array, axis: int) -> Array:
    """True values per channel, counted in bytes: at most 255 (columns) or 8 x 128 (rows) at a time."""
    if axis == 1:
        narrow = np.uint8 if len(mask) < 256 else np.int64
        return np.asarray(np.add.reduce(mask.view(np.uint8), axis=0, dtype=narrow))
    groups = mask.shape[1] // 1024
    tail = mask[:, groups * 1024 :].sum(1)
    if not groups:
        return np.asarray(tail)
    words = np.ascontiguousarray(mask[:, : groups * 1024]).view(np.uint64).reshape(len(mask), groups, 128)
    return np.asarray(words.sum(2).view(np.uint8).sum(1) + tail)


def clamp(a: Array, low: Array, high: Array, axis: int, out: Array) -> None:
    """``a`` limited to low..high, which vary along ``axis``."""
    if low.size == 1:
        np.clip(a, low.flat[0], high.flat[0], out=out)
    elif axis == 0 or a.ndim > 2:
        np.clip(a, low, high, out=out)
    else:  # np.clip is five times slower where the bounds vary along the last axis
        np.minimum(a, high, out=out)
        np.maximum(out, low, out=out)


def settle(levels: Array, inverse: Array) -> None:
    """In place: level 0 where an infinite reciprocal, that of a subnormal scale, made NaN of zero."""
    if np.isinf(inverse).any():
        levels[np.isnan(levels)] = 0


@contextmanager
def small_buffers() -> Iterator[None]:
    """Keep numpy from copying one number per channel into long buffers, which makes such products three times slower.

    A ufunc whose inner loop is shorter than numpy's buffer (8,192) stretches the loop by buffering; a block's rows are
    shorter. The setting belongs to the context, so that other threads keep theirs.
    """
    before = np.setbufsize(1024)
    try:
        yield
    finally:
        np.setbufsize(before)
