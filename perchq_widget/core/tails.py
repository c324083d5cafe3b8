"""The largest values of every channel, kept so that clipping need not be looked for in all of them.

A range that shrinks clips few values, and the kernels are monotone: what lies inside what the codes represent is never
clipped. A pass can therefore treat all values as if none were, and these few are put right afterwards. That saves a
third of the time of a pass over a tensor whose clip ratio is being moved.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .blocks import Array, as_carried, cut, scratch
from .codec import Parameters
from .elements import levels_of
from .layouts import Units
from .ranges import ChannelRanges

Floats = npt.NDArray[np.float64]
SHARE = 0.03  # of the values, that are kept
_SAMPLE = 1 << 16
_ALMOST_HALF = 0.45
_MARGIN = 1e-5  # float32's rounding of a value's share of its range


@dataclass(frozen=True, eq=False, slots=True)
class Tails:
    """Values whose share of their channel's own range, on their side of zero, is ``floor`` or more, largest first.

    ``values``, ``channels`` and ``shares`` have one entry per value kept.
    """

    values: Array
    channels: npt.NDArray[np.int32]
    shares: npt.NDArray[np.float32]
    floor: float

    def covers(self, qparams: Parameters, ranges: ChannelRanges) -> npt.NDArray[np.bool_]:
        """(C,): channels all of whose clipped values are among the kept ones."""
        return np.asarray((_unclipped_share(qparams, ranges) >= self.floor) & (ranges.n_finite == ranges.n))

    def corrections(
        self, qparams: Parameters, ranges: ChannelRanges, where: npt.NDArray[np.bool_]
    ) -> tuple[Floats, Floats, Floats]:
        """(clipped, added noise, largest error) per channel of ``where``: what clipping changes, 0 elsewhere."""
        n_channels = len(where)
        limits = np.where(where, _unclipped_share(qparams, ranges), np.inf)
        n = int(np.searchsorted(-self.shares, -limits.min(initial=np.inf), side="right"))
        some = np.flatnonzero(self.shares[:n] >= limits[self.channels[:n]])
        x, of = self.values[some], self.channels[some]
        params = qparams.expand(Units(of, (1, of.size)), 1)
        raw = levels_of(x[None], qparams, params)
        kept = np.minimum(np.maximum(raw, params.low), params.high)
        out = raw[0] != kept[0]
        before, after = (np.where(out, self._errors(level, x, qparams, params), 0.0) for level in (raw, kept))
        largest = np.zeros(n_channels)
        np.maximum.at(largest, of, np.abs(after))
        clipped, noise = (np.bincount(of, each, n_channels) for each in (out, after**2 - before**2))
        return clipped.astype(np.float64), noise.astype(np.float64), largest

    @staticmethod
    def _errors(levels: Array, x: Array, qparams: Parameters, params: Any) -> Floats:
        qparams.decoder.values(levels, params, levels)
        return np.asarray((levels[0] - x).astype(np.float64))


def _unclipped_share(qparams: Parameters, ranges: ChannelRanges) -> Floats:
    """The share of its range up to which no value of a channel is clipped, whichever side is reached first."""
    low, high = ranges.known()
    first, last = (np.broadcast_to(end, low.shape) for end in qparams.represented())
    # Up to half a step further values are rounded to the end and not clipped; less, for the quotient is rounded too.
    beyond = _ALMOST_HALF * qparams.grid.top_step * qparams.effective() if qparams.working_dtype.itemsize >= 4 else 0.0
    first, last = first - beyond, last + beyond
    share = np.full(low.shape, np.inf)
    np.divide(last, high, out=share, where=high > 0)
    below = np.full(low.shape, np.inf)
    np.divide(first, low, out=below, where=low < 0)
    return np.asarray(np.minimum(share, below) * (1 - _MARGIN))


def tails_of(array: Array, ch_axis: int, dtype: np.dtype[Any], ranges: ChannelRanges) -> Tails:
    """The tails of ``array``, about ``SHARE`` of its values. One pass, no full-size temporary."""
    array, wide = as_carried(array, dtype)
    low, high = ranges.known()
    with np.errstate(divide="ignore", over="ignore"):
        to_share = tuple(
            np.where(end * side > 0, 1.0 / end, 0.0).astype(np.float32) for end, side in ((high, 1), (low, -1))
        )
    blocks = cut(array, ch_axis)
    floor = _floor(array, ch_axis, to_share)
    found: list[tuple[Array, ...]] = []
    buffers: list[Array] = []
    for channels, x in blocks.walk(wide):
        if not buffers or buffers[0].size < x.size:
            buffers = [scratch(x.size, np.dtype(np.float32), place) for place in (0, 1)]
        shares, other = (buffer[: x.size].reshape(x.shape) for buffer in buffers)
        over_high, over_low = (np.expand_dims(end[channels], 1 - blocks.axis) for end in to_share)
        with np.errstate(over="ignore", invalid="ignore", under="ignore"):
            np.multiply(x, over_high, out=shares, casting="same_kind")
            np.multiply(x, over_low, out=other, casting="same_kind")
            np.maximum(shares, other, out=shares)
            at = np.flatnonzero(shares >= floor)
        lane = at // x.shape[1] if blocks.axis == 0 else at % x.shape[1]
        found.append((x.ravel()[at], (lane + channels.start).astype(np.int32), shares.ravel()[at]))
    values, of, each = (np.concatenate(part) for part in zip(*found, strict=True))
    order = np.argsort(-each)
    return Tails(values[order], of[order], each[order], floor)


def _floor(array: Array, ch_axis: int, to_share: tuple[Array, ...]) -> float:
    """The share that about ``SHARE`` of the values exceed, from evenly spaced ones."""
    moved = np.moveaxis(array, ch_axis, 0)
    n = moved.size // len(moved)
    step = max(1, moved.size // _SAMPLE)
    index = np.arange(0, moved.size, step + (step % 2 == 0))  # odd, so that it falls on all places of a channel
    of, rest = index // n, index % n
    place = np.unravel_index(rest, moved.shape[1:]) if moved.ndim > 1 else ()
    x = moved[(of, *place)].astype(np.float64)
    shares = np.maximum(x * to_share[0][of], x * to_share[1][of])
    return float(np.quantile(shares[np.isfinite(shares)], 1 - SHARE)) if np.isfinite(shares).any() else 1.0
