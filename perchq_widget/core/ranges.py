"""What a channel's values are like before any quantization: range, sums, zeros, and what is not finite.

All of it depends on the tensor alone, so one pass serves every scheme that is tried on it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .blocks import Array, as_carried, cut, scratch
from .reduce import SAFE, dot, total

_MIN, _MAX, _NAN, _INF, _ZERO, _SIGNAL, _ABS = range(7)


@dataclass(frozen=True, eq=False, slots=True)
class ChannelRanges:
    """All of shape (C,), over the finite values. A channel without any has min_val = inf and max_val = -inf.

    signal: sum x^2, abs_signal: sum |x|.
    """

    min_val: npt.NDArray[np.float64]
    max_val: npt.NDArray[np.float64]
    n: int  # elements per channel
    n_nan: npt.NDArray[np.int64]
    n_inf: npt.NDArray[np.int64]
    n_zero: npt.NDArray[np.int64]
    signal: npt.NDArray[np.float64]
    abs_signal: npt.NDArray[np.float64]

    @property
    def n_finite(self) -> npt.NDArray[np.int64]:
        """Finite values per channel."""
        return self.n - self.n_nan - self.n_inf

    def known(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """(min_val, max_val) with zeros where a channel has no finite value."""
        empty = self.n_finite == 0
        return np.where(empty, 0.0, self.min_val), np.where(empty, 0.0, self.max_val)

    def whole(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """(min_val, max_val) of the tensor, of shape (); zeros if it has no finite value."""
        some = self.n_finite > 0
        ends = (self.min_val[some].min(), self.max_val[some].max()) if some.any() else (0.0, 0.0)
        return np.asarray(ends[0]), np.asarray(ends[1])

    @property
    def unsafe(self) -> npt.NDArray[np.bool_]:
        """Channels whose squares float32 could lose or overflow."""
        low, high = self.known()
        return _unsafe(np.maximum(-low, high))


def channel_ranges(array: Array, ch_axis: int, dtype: np.dtype[Any]) -> ChannelRanges:
    """Facts of ``array`` along ``ch_axis``, its values taken as ``dtype``. One pass, no full-size temporary."""
    array, dtype = as_carried(array, dtype)
    blocks = cut(array, ch_axis)
    found = np.zeros((7, blocks.n_channels))
    found[_MIN], found[_MAX] = np.inf, -np.inf
    buffer, ones = np.empty(0, dtype), np.empty(0, dtype)
    for channels, block in blocks.walk(dtype):
        if buffer.size < block.size:
            buffer, ones = scratch(block.size, dtype), np.ones(block.shape[1 - blocks.axis], dtype)
        _add(block, blocks.axis, buffer[: block.size].reshape(block.shape), ones, found[:, channels])
    n_nan, n_inf, n_zero = found[[_NAN, _INF, _ZERO]].astype(np.int64)
    return ChannelRanges(
        found[_MIN],
        found[_MAX],
        array.size // blocks.n_channels,
        n_nan,
        n_inf,
        n_zero,
        found[_SIGNAL],
        found[_ABS],
    )


def _add(x: Array, axis: int, size: Array, ones: Array, found: Array) -> None:
    """Add one block to ``found``, a (rows, channels) view."""
    along = 1 - axis
    low, high = x.min(along), x.max(along)
    top = np.maximum(-low, high)
    if not np.isfinite(top.max()):  # NaN passes through both
        found[_NAN] += np.isnan(x).sum(along)
        found[_INF] += np.isinf(x).sum(along)
        finite = np.isfinite(x)
        low, high = np.where(finite, x, np.inf).min(along), np.where(finite, x, -np.inf).max(along)
        x, top = np.where(finite, x, 0), np.maximum(-low, high)
        found[_ZERO] -= (~finite).sum(along)
    np.minimum(found[_MIN], low, out=found[_MIN])
    np.maximum(found[_MAX], high, out=found[_MAX])
    if not (top.min() > SAFE[0] and top.max() < SAFE[1]) and _unsafe(top).any():
        x, size, ones = x.astype(np.float64), np.empty(x.shape), ones.astype(np.float64)
    with np.errstate(over="ignore", under="ignore"):  # the caller judges magnitudes
        found[_SIGNAL] += dot(x, x, axis)
        np.abs(x, out=size)
        found[_ABS] += total(size, ones, axis)
    if size.min() == 0:
        found[_ZERO] += (x == 0).sum(along)


def _unsafe(top: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    return (top > 0) & ~((top > SAFE[0]) & (top < SAFE[1]))
