"""Histograms of every channel, normalised by its own range: mergeable, streamable, with what no bin holds counted.

Bin j of channel c covers [(first_c + j) w_c, (first_c + j + 1) w_c): bins are anchored at zero. Zero is on every
runtime's grid, so that a rounding error depends on x / scale alone; with a width in proportion to the scale, one table
of errors then serves all channels (:mod:`~perchq_widget.core.range_search`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from .blocks import Array, Blocks, as_carried, cut, scratch
from .errors import QuantValueError, choose_from
from .ranges import ChannelRanges, channel_ranges
from .reduce import small_buffers

SEARCH_BINS, ESTIMATE_BINS = 2048, 4096
UNITS = ("range", "magnitude", "binary")
#: float32 divides magnitudes between these by any width of theirs.
PLAIN = (1e-30, 1e30)
#: Channels that are counted at a time where they are the fastest axis: their bins fit a second-level cache.
LANES = 32
_SLACK = 1 + 2.0**-19  # keeps the topmost value inside its bin however a quotient is rounded
_LEAST = 1e-307  # has a finite reciprocal

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False, slots=True)
class ChannelHistograms:
    """Counts of shape (C, B) and, of shape (C,), where each channel's bins lie and what they leave out.

    ``counts`` are uint16, uint32 or uint64 as the channels' length asks; real zeros are not in them but in ``n_zero``.
    ``below`` and ``above``: finite values beyond the bins; ``n_nonfinite``: NaN and infinities. ``min_val`` and
    ``max_val`` are of the finite values, inf and -inf where there is none; ``n`` counts all elements of a channel. A
    channel of nothing but zeros has width 0. ``unit`` says how widths come about; of one tensor ("per tensor") there
    is one channel. ``low`` and ``high`` are the ends that the bins were laid out for, zero between them.
    """

    counts: npt.NDArray[Any]
    first: Counts
    width: Floats
    n: int
    n_zero: Counts
    n_nonfinite: Counts
    below: Counts
    above: Counts
    min_val: Floats
    max_val: Floats
    low: Floats
    high: Floats
    unit: str

    @property
    def n_bins(self) -> int:
        """B."""
        return int(self.counts.shape[1])

    @property
    def n_finite(self) -> Counts:
        """Finite values per channel."""
        return self.n - self.n_nonfinite

    def edges(self, channel: int) -> Floats:
        """The B + 1 edges of one channel's bins, float64."""
        steps = self.first[channel] + np.arange(self.n_bins + 1)
        return np.asarray(steps * self.width[channel], np.float64)

    def add(self, block: Array, ch_axis: int) -> ChannelHistograms:
        """These values and those of ``block``; bins are widened by powers of two until they hold both."""
        dtype = values_dtype(block)
        observed = channel_ranges(block, ch_axis, dtype)
        if len(observed.min_val) != len(self.width):
            raise QuantValueError(
                f"a batch must have {len(self.width)} channels on ch_axis {ch_axis}, got {len(observed.min_val)}"
            )
        low, high = observed.known()
        ends = np.minimum(self.low, low), np.maximum(self.high, high)
        frame = _Frame(ends, self._grown(*ends), self.n_bins, self.unit)
        return self.merge(_counted(block, ch_axis, observed, frame, dtype))

    def merge(self, other: ChannelHistograms) -> ChannelHistograms:
        """The histograms of both parts' values together.

        Widths must be powers of two of one another, as they always are with unit "binary" and after :meth:`add`.
        """
        _check_mergeable(self, other)
        ends = np.minimum(self.low, other.low), np.maximum(self.high, other.high)
        width = self._grown(*ends, np.maximum(self.width, other.width))
        frame = _Frame(ends, width, self.n_bins, self.unit)
        n = self.n + other.n
        a, b = (each._laid_out(frame) for each in (self, other))
        sums = {name: getattr(self, name) + getattr(other, name) for name in _COUNTED}
        return replace(
            self, counts=(a + b).astype(count_dtype(n)), first=frame.first, width=width, n=n, low=ends[0], high=ends[1],
            min_val=np.minimum(self.min_val, other.min_val), max_val=np.maximum(self.max_val, other.max_val), **sums,
        )  # fmt: skip

    def _grown(self, low: Floats, high: Floats, least: Floats | None = None) -> Floats:
        """The width, a power of two times the present one, that holds low..high and is no less than ``least``."""
        start = self.width if least is None else least
        start = np.where(start > 0, start, bin_widths(low, high, self.unit, self.n_bins))
        if self.unit == "magnitude":
            high = np.maximum(-low, high)
            low = -high
        return _until_held(low, high, start, self.n_bins)

    def _laid_out(self, frame: _Frame) -> Counts:
        """Counts, int64, in the bins of ``frame``, which hold them all and are wider by powers of two."""
        counts = self.counts.astype(np.int64)
        some = self.width > 0
        shift = np.zeros(len(some), np.int64)
        shift[some] = np.rint(np.log2(frame.width[some] / self.width[some])).astype(np.int64)
        rows = np.flatnonzero(((shift > 0) | (self.first != frame.first)) & some)
        if rows.size:
            steps = self.first[rows, None] + np.arange(self.n_bins)
            place = (steps >> np.minimum(shift[rows], 62)[:, None]) - frame.first[rows, None]
            place = np.where(counts[rows] > 0, place, 0) + np.arange(len(rows))[:, None] * self.n_bins
            sums = np.bincount(place.ravel(), counts[rows].ravel().astype(np.float64), place.size)
            counts[rows] = sums.reshape(place.shape).astype(np.int64)
        return counts


_COUNTED = ("n_zero", "n_nonfinite", "below", "above")


def count_dtype(n: int) -> np.dtype[Any]:
    """The narrowest dtype that counts to ``n``."""
    return np.dtype(np.uint16 if n < 1 << 16 else np.uint32 if n < 1 << 32 else np.uint64)


def values_dtype(array: Array) -> np.dtype[Any]:
    """What values of ``array`` are counted as, unless the runtime computes in something else."""
    wide = array.dtype.itemsize > 4 or (array.dtype.kind in "iu" and array.dtype.itemsize > 2)
    return np.dtype(np.float64 if wide else np.float32)


def channel_histograms(
    array: Array,
    ch_axis: int,
    observed: ChannelRanges,
    *,
    unit: str = "range",
    n_bins: int = SEARCH_BINS,
    dtype: np.dtype[Any] | None = None,
    frame: tuple[npt.ArrayLike, npt.ArrayLike] | None = None,
) -> ChannelHistograms:
    """Count ``array`` per channel of ``ch_axis`` in one pass, without a full-size temporary.

    ``observed`` are the tensor's ranges, its values taken as ``dtype``. ``unit``: "range" gives every channel bins of
    its width / (B - 1), zero included; "magnitude" bins of its largest magnitude / (B / 2 - 1) on each side; "binary"
    the least power of two that will do, so that the histograms of parts merge into exactly that of the whole.
    ``frame``: (low, high) to cover instead of the observed ends; values beyond are counted on each side.
    """
    _check(unit, n_bins)
    given = observed.known() if frame is None else frame
    low, high = np.asarray(given[0], np.float64), np.asarray(given[1], np.float64)
    shape = observed.min_val.shape
    low, high = np.broadcast_to(np.minimum(low, 0.0), shape), np.broadcast_to(np.maximum(high, 0.0), shape)
    laid_out = _Frame((low, high), bin_widths(low, high, unit, n_bins), n_bins, unit, frame is not None)
    return _counted(array, ch_axis, observed, laid_out, values_dtype(array) if dtype is None else dtype)


def tensor_histogram(
    array: Array, observed: ChannelRanges, *, unit: str, n_bins: int, dtype: np.dtype[Any] | None = None
) -> ChannelHistograms:
    """The histogram of all of ``array``, whose ranges are ``observed``, as one channel."""
    _check(unit, n_bins)
    low, high = (np.asarray(end).reshape(1) for end in observed.whole())
    some = bool((observed.n_finite > 0).any())
    extremes = (low, high) if some else (np.array([np.inf]), np.array([-np.inf]))
    ends = np.minimum(low, 0.0), np.maximum(high, 0.0)
    array = array[None] if array.ndim == 1 else array
    axis = int(np.argmin(array.shape))
    lanes = array.shape[axis]
    one = _Frame(ends, bin_widths(*ends, unit, n_bins), n_bins, unit)
    every = _Frame((np.repeat(ends[0], lanes), np.repeat(ends[1], lanes)), np.repeat(one.width, lanes), n_bins, unit)
    bad, zeros = (observed.n_nan + observed.n_inf).sum(keepdims=True), observed.n_zero.sum(keepdims=True)
    counts = np.zeros((1, n_bins), np.int64)
    dtype = values_dtype(array) if dtype is None else dtype
    for _, found in _walk(array, axis, every, np.full(lanes, bool(bad[0])), dtype, together=True):
        counts[0] += found[0, 1:-1]
    counts[0, -one.first[0]] -= zeros[0] + bad[0]
    none = np.zeros(1, np.int64)
    return ChannelHistograms(
        counts.astype(count_dtype(array.size)), one.first, one.width, array.size, zeros, bad, none, none,
        extremes[0], extremes[1], *ends, unit,
    )  # fmt: skip


def _check(unit: str, n_bins: int) -> None:
    choose_from("unit", unit, UNITS)
    if n_bins < 8 or n_bins % 2:
        raise QuantValueError(f"n_bins must be an even whole number of at least 8, got {n_bins!r}")


def bin_widths(low: Floats, high: Floats, unit: str, n_bins: int) -> Floats:
    """The width of bins that hold low <= 0 <= high; 0 where both are 0."""
    if unit == "magnitude":
        return np.asarray(np.maximum(-low, high) * (_SLACK / (n_bins // 2 - 1)))
    least = (high / (n_bins - 1) - low / (n_bins - 1)) * _SLACK
    if unit == "range":
        return np.asarray(least)
    some = least > 0
    exponent = np.floor(np.log2(np.where(some, least, 1.0))).astype(np.int64) - 1
    width = np.where(some, np.ldexp(1.0, np.maximum(exponent, -1022)), 0.0)
    return _until_held(low, high, width, n_bins)


def _until_held(low: Floats, high: Floats, width: Floats, n_bins: int) -> Floats:
    """``width`` doubled until floor(low / width) and floor(high / width) are less than B apart."""
    width = width.copy()
    while True:
        usable = np.where(width > 0, width, 1.0)
        short = (width > 0) & (np.floor(high / usable) - np.floor(low / usable) >= n_bins)
        if not short.any():
            return width
        width[short] *= 2


def _check_mergeable(a: ChannelHistograms, b: ChannelHistograms) -> None:
    same = a.unit == b.unit and a.counts.shape == b.counts.shape
    both = (a.width > 0) & (b.width > 0) if same else np.zeros(0, bool)
    if both.any():
        power = np.log2(a.width[both] / b.width[both])
        same = bool((np.abs(power - np.rint(power)) < 1e-12).all())
    if not same:
        raise QuantValueError(
            "histograms merge where channels, bins and unit are the same and widths are powers of two of one another: "
            "build them with unit 'binary', or add() one part after the other"
        )


class _Frame:
    """Where bins lie. ``limited``: values may lie beyond them."""

    def __init__(
        self, ends: tuple[Floats, Floats], width: Floats, n_bins: int, unit: str, limited: bool = False
    ) -> None:
        self.ends, self.width, self.n_bins, self.unit, self.limited = ends, width, n_bins, unit, limited
        top = np.maximum(-ends[0], ends[1])
        plain = bool(((top == 0) | ((top > PLAIN[0]) & (top < PLAIN[1]))).all())
        self.dtype = np.dtype(np.float32 if plain else np.float64)
        self.inverse = (1 / np.where(width > 0, np.maximum(width, _LEAST), 1.0)).astype(self.dtype)
        low = np.floor(ends[0].astype(self.dtype) * self.inverse).astype(np.int64)
        symmetric = np.full(len(width), -(n_bins // 2))
        self.first: Counts = np.where(width > 0, symmetric if unit == "magnitude" else low, 0)


def _counted(
    array: Array, ch_axis: int, observed: ChannelRanges, frame: _Frame, dtype: np.dtype[Any]
) -> ChannelHistograms:
    bad, every = observed.n_nan + observed.n_inf, np.arange(len(frame.width))
    counts = np.zeros((len(every), frame.n_bins), count_dtype(observed.n))
    beyond = np.zeros((2, len(every)), np.int64)
    for channels, found in _walk(array, ch_axis, frame, bad > 0, dtype):
        counts[channels] += found[:, 1:-1].astype(counts.dtype)
        beyond[:, channels] += found[:, [0, -1]].T
    counts[every, -frame.first] -= (observed.n_zero + bad).astype(counts.dtype)
    return ChannelHistograms(
        counts, frame.first, frame.width, observed.n, observed.n_zero, bad, beyond[0], beyond[1], observed.min_val,
        observed.max_val, *frame.ends, frame.unit,
    )  # fmt: skip


def _walk(
    array: Array,
    ch_axis: int,
    frame: _Frame,
    dirty: npt.NDArray[np.bool_],
    dtype: np.dtype[Any],
    together: bool = False,
) -> Iterator[tuple[slice, Counts]]:
    """Blocks of some channels with their counts, (channels, 1 + B + 1): what lies beyond stands at the ends.

    Zeros, NaN and infinities are all counted where zero is. ``together``: one row for all channels of a block.
    """
    array, wide = as_carried(array, dtype)
    cells = frame.n_bins + 2
    working = np.dtype(np.float64) if wide.itemsize > 4 else frame.dtype
    inverse, offset = frame.inverse.astype(working), 1 - frame.first
    room: list[Array] = []
    with small_buffers():
        for channels, x, axis in _blocks(cut(array, ch_axis), wide):
            if not room or room[0].size < x.size:
                room = [scratch(x.size, working, 0), scratch(x.size, np.dtype(np.int64), 1)]
            steps, place = (each[: x.size].reshape(x.shape) for each in room)
            shape = (-1, 1) if axis == 0 else (1, -1)
            if dirty[channels].any():
                x = np.where(np.isfinite(x), x, wide.type(0))
            np.multiply(x, inverse[channels].reshape(shape), out=steps, dtype=working)
            np.floor(steps, out=steps)
            if frame.limited:
                low = frame.first[channels].reshape(shape).astype(working)
                np.clip(steps, low - 1, low + frame.n_bins, out=steps)
            np.copyto(place, steps, casting="unsafe")
            rows = np.arange(channels.stop - channels.start) * (0 if together else cells)
            place += (rows + offset[channels]).reshape(shape)
            lanes = 1 if together else len(rows)
            yield channels, np.bincount(place.ravel(), minlength=lanes * cells).reshape(lanes, cells)


def _blocks(blocks: Blocks, dtype: np.dtype[Any]) -> Iterator[tuple[slice, Array, int]]:
    """Blocks of few channels at a time, whichever axis is the fastest."""
    step = LANES if blocks.columns else blocks.n_channels
    for c0 in range(0, blocks.n_channels, step):
        part = slice(c0, min(c0 + step, blocks.n_channels))
        some = replace(blocks, view=blocks.view[:, part]) if blocks.columns else blocks
        for channels, x in some.walk(dtype):
            yield slice(c0 + channels.start, c0 + channels.stop), x, blocks.axis
