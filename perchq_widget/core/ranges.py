"""Per-channel ranges: minimum and maximum of the finite values, and how many are not finite."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .blocks import Array, cut


@dataclass(frozen=True, eq=False, slots=True)
class ChannelRanges:
    """All of shape (C,). A channel with no finite value has min_val = inf and max_val = -inf."""

    min_val: npt.NDArray[np.float64]
    max_val: npt.NDArray[np.float64]
    n: int  # elements per channel
    n_nan: npt.NDArray[np.int64]
    n_inf: npt.NDArray[np.int64]

    @property
    def n_finite(self) -> npt.NDArray[np.int64]:
        """Finite values per channel."""
        return self.n - self.n_nan - self.n_inf

    def known(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """(min_val, max_val) with zeros where a channel has no finite value."""
        empty = self.n_finite == 0
        return np.where(empty, 0.0, self.min_val), np.where(empty, 0.0, self.max_val)


def channel_ranges(array: Array, ch_axis: int, dtype: np.dtype[Any]) -> ChannelRanges:
    """Ranges of ``array`` along ``ch_axis``, its values taken as ``dtype``. One pass, no full-size temporary."""
    blocks = cut(array, ch_axis)
    found = np.zeros((4, blocks.n_channels))  # rows: min, max, NaN count, inf count
    found[0], found[1] = np.inf, -np.inf
    along = 1 - blocks.axis
    for channels, block in blocks.walk(dtype):
        low, high = block.min(along), block.max(along)
        if not (np.isfinite(low).all() and np.isfinite(high).all()):
            low, high = _finite_ends(block, along, found[:, channels])
        np.minimum(found[0, channels], low, out=found[0, channels])
        np.maximum(found[1, channels], high, out=found[1, channels])
    n_nan, n_inf = found[2:].astype(np.int64)
    return ChannelRanges(found[0], found[1], array.size // blocks.n_channels, n_nan, n_inf)


def _finite_ends(block: Array, along: int, found: Array) -> tuple[Array, Array]:
    """Min and max over the finite values; counts the others into ``found``."""
    found[2] += np.isnan(block).sum(along)
    found[3] += np.isinf(block).sum(along)
    finite = np.isfinite(block)
    low = np.where(finite, block, np.inf).min(along)
    return low, np.where(finite, block, -np.inf).max(along)
