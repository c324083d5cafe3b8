"""Errors of a histogram's bins: what values spread evenly over a bin lose to a grid, as an integral.

With k the level that x goes to and f = x / scale - k, the integral of |f|^p from 0 to x is G(k) + sign(f) |f|^(p+1) /
(p + 1), clipped or not, where G(k) adds up the cells below k. So one difference per bin gives its mean error exactly,
however many steps or fractions of one a bin is wide, and whatever side a runtime takes ties to.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .aligned_bins import AlignedBins
from .blocks import BLOCK, Array, scratch
from .codec import Parameters
from .elements import one_channel, raw_codes
from .errors import QuantValueError
from .grids import FloatGrid, IntGrid, carried
from .histograms import ChannelHistograms
from .kernels import Expanded
from .ranges import ChannelRanges
from .reduce import settle
from .sharing import in_turns

Floats = npt.NDArray[np.float64]
Rows = slice | npt.NDArray[np.intp]
#: Bins that are looked at together where one table serves all channels: few buffers are in use then.
ALIGNED_BLOCK = BLOCK * 4
_EXPONENT = np.int32(0x7F800000)


@dataclass(frozen=True, eq=False, slots=True)
class EstimatedErrors:
    """Per channel, shape (C,): ``noise`` sum of e^2 (float64), ``clipped`` values (whole numbers), ``max_noise``."""

    noise: Floats
    clipped: npt.NDArray[np.int64]
    max_noise: Floats


def to_grid(x: Array, ends: tuple[Array, Array], grid: IntGrid | FloatGrid, out: Array) -> None:
    """Into ``out``: the level of x (in steps of the scale) after rounding and the clamp to ``ends``."""
    if isinstance(grid, FloatGrid):
        single = x.astype(np.float32)
        grid.round(single, np.empty_like(single))
        np.copyto(out, single)
    else:
        np.rint(x, out=out)
    np.minimum(out, ends[1], out=out)
    np.maximum(out, ends[0], out=out)


def integral(k: Array, f: Array, grid: IntGrid | FloatGrid, out: Array, power: float = 2.0) -> None:
    """Into ``out``: the integral of |f|^power from 0 to k + f, times power + 1. ``k`` is overwritten."""
    above = power + 1.0
    if power == 2.0:
        np.multiply(f, f, out=out)
        np.multiply(out, f, out=out)
    else:
        np.abs(f, out=out)
        np.power(out, out.dtype.type(above), out=out)
        np.copysign(out, f, out=out)
    cell = 2 * 0.5**above
    if isinstance(grid, IntGrid):
        k *= k.dtype.type(cell)
        out += k
    else:
        out += _cells(k, grid, power, cell)


def _cells(k: Array, grid: FloatGrid, power: float, cell: float) -> Array:
    """What the cells between 0 and k add up to: binade by binade, a geometric series."""
    size = np.abs(k)
    single = size.astype(np.float32)
    least = 2.0**grid.min_exponent
    binade = np.maximum((single.view(np.int32) & _EXPONENT).view(np.float32).astype(np.float64), least)
    above = power + 1
    whole = least**above + (binade**above - least**above) / (2**above - 1)
    total = cell * 2.0 ** (-grid.mantissa_bits * power) * (whole + (size - binade) * binade**power)
    return np.asarray(np.copysign(total, k))


def estimated_errors(histograms: ChannelHistograms, qparams: Parameters, observed: ChannelRanges) -> EstimatedErrors:
    """What the errors of the counted values are under ``qparams`` of granularity "channel" or "tensor".

    ``observed`` are the same values' ranges. The bins at both ends hold the ends, whose errors are exact; in between
    rounding and clipping are integrated over each bin, its values taken as evenly spread. In working dtypes of half a
    width, where numbers lie as far apart as steps, a bin stands for the number nearest its centre and the runtime's own
    kernel is asked. Within 0.05 dB of the exact noise with 4,096 bins where values spread over them; data that lie on a
    grid of their own can differ by more.
    """
    if qparams.granularity not in ("channel", "tensor"):
        raise QuantValueError(
            f"histograms are per channel, and these parameters per {qparams.granularity}: measure the tensor itself"
        )
    n_channels = len(histograms.width)
    found = np.zeros((3, n_channels))

    with _quiet():
        first = _Worker(histograms, qparams, observed)

    def work(turn: int, n_threads: int) -> None:
        with _quiet():
            _add(_Worker(histograms, qparams, observed) if turn else first, found, turn, n_threads)

    # What takes few passes is over before two threads have shared it.
    in_turns(0 if first.is_aligned else histograms.counts.size, work)
    with _quiet():
        return first.result(found)


def _add(worker: _Worker, found: Floats, turn: int, n_threads: int) -> None:
    n_channels, n_bins = worker.histograms.counts.shape
    few = ALIGNED_BLOCK if worker.is_aligned else BLOCK if n_threads > 1 else BLOCK // 2
    step = max(1, few // n_bins)
    # Channels that lie alike are looked at beside those that are clipped at the same places.
    order = np.argsort(worker.histograms.first, kind="stable") if worker.is_aligned else None
    for start in range(turn * step, n_channels, step * n_threads):
        part = slice(start, min(start + step, n_channels))
        rows = part if order is None else order[part]
        found[:, rows] = worker.sums(rows)


def _quiet() -> AbstractContextManager[None]:
    return np.errstate(over="ignore", under="ignore", invalid="ignore", divide="ignore")


class _Worker:
    """Sums over the bins of some channels at a time."""

    def __init__(self, histograms: ChannelHistograms, qparams: Parameters, observed: ChannelRanges) -> None:
        self.histograms, self.qparams = histograms, qparams
        grid = qparams.grid
        assert isinstance(grid, IntGrid | FloatGrid)  # what parameters per channel have
        self.grid = grid
        self.scale = np.broadcast_to(qparams.effective(), histograms.width.shape)
        self.width = histograms.width / self.scale  # of a bin, in steps; 0 where all values are zero
        params = one_channel(slice(None), qparams)
        self.low, self.high = (
            np.broadcast_to(end.ravel().astype(np.float64), self.scale.shape) for end in (params.low, params.high)
        )
        low, high = observed.known()
        ends = carried(np.stack([low, high, np.zeros_like(low)], axis=1), qparams.working_dtype)
        self.end_errors = np.abs(kernel_errors(ends, qparams, params))
        raw = raw_codes(ends[:, :2], qparams, params)
        self.clips = (raw[:, 0] < qparams.quant_min).astype(np.int64), (raw[:, 1] > qparams.quant_max).astype(np.int64)
        self.end_bins = self._bins_of(low), self._bins_of(high)
        self.steps = np.arange(histograms.n_bins + 1)
        self.buffers: list[Array] = []
        self.aligned: AlignedBins | None = None
        if isinstance(grid, IntGrid) and qparams.working_dtype.itemsize >= 4:
            self.aligned = AlignedBins(histograms.first, self.width, self.low, self.high, histograms.n_bins)

    @property
    def is_aligned(self) -> bool:
        """Whether one table of errors serves all channels."""
        return self.aligned is not None and bool(self.aligned.alike.all())

    def _bins_of(self, values: Floats) -> npt.NDArray[np.int64]:
        width = self.histograms.width
        place = np.floor(values / np.where(width > 0, width, 1.0)).astype(np.int64) - self.histograms.first
        return np.asarray(np.clip(place, 0, self.histograms.n_bins - 1))

    def sums(self, rows: Rows) -> Floats:
        """(3, rows): the sum of e^2, the number of values clipped, the largest error in steps."""
        weights = self.histograms.counts[rows].astype(np.float32)
        clipped = self._clipped(rows, weights)
        noise = np.zeros(len(weights))
        for place, side in zip(self.end_bins, (0, 1), strict=True):
            at = np.arange(len(weights)), place[rows]
            noise += weights[at] * self.end_errors[rows, side] ** 2
            weights[at] = 0
        inside, most = self._inside(rows, weights)
        return np.stack([noise + inside, clipped, most])

    def _inside(self, rows: Rows, weights: Array) -> tuple[Floats, Floats]:
        """The sum of e^2 over the bins, and the largest error in steps."""
        if self.qparams.working_dtype.itemsize < 4:
            return self._asked(rows, weights)
        found = None if self.aligned is None else self.aligned.noise(rows, weights)
        if found is None:
            return self._integrated(rows, weights)
        return found * self.scale[rows] ** 2, np.full(len(weights), 0.5)

    def _integrated(self, rows: Rows, weights: Array) -> tuple[Floats, Floats]:
        whole = isinstance(self.grid, IntGrid)
        dtype: np.dtype[Any] = np.dtype(np.float32 if whole else np.float64)
        x, k, out = self._room(len(weights), dtype)
        np.add(self.histograms.first[rows, None].astype(dtype), self.steps.astype(dtype), out=x)
        x *= self.width[rows, None].astype(dtype)
        to_grid(x, (self.low[rows, None].astype(dtype), self.high[rows, None].astype(dtype)), self.grid, k)
        x -= k
        most = np.full(len(x), 0.5)
        if not whole:  # a float's steps grow with its values
            size = np.abs(x)
            most = np.where(weights > 0, np.maximum(size[:, :-1], size[:, 1:]), 0).max(1)
        integral(k, x, self.grid, out)
        means = np.subtract(out[:, 1:], out[:, :-1], out=x[:, 1:])
        some = self.width[rows] > 0
        per_value = np.where(some, self.scale[rows] ** 2 / np.where(some, 3 * self.width[rows], 1.0), 0.0)
        return np.vecdot(weights.astype(dtype, copy=False), means) * per_value, most

    def _room(self, n_rows: int, dtype: np.dtype[Any]) -> list[Array]:
        """Three blocks of one row per channel and one column per edge, the same memory each time."""
        n_edges = len(self.steps)
        if not self.buffers or self.buffers[0].size < n_rows * n_edges:
            self.buffers = [scratch(n_rows * n_edges, dtype, place) for place in range(3)]
        return [each[: n_rows * n_edges].reshape(n_rows, n_edges) for each in self.buffers]

    def _clipped(self, rows: Rows, weights: Array) -> Floats:
        """Values beyond the outermost rounding boundaries; the bins there are cut in proportion."""
        total, every = np.zeros(len(weights)), np.arange(len(weights))
        width = np.where(self.width[rows] > 0, self.width[rows], 1.0)
        half, first, n_bins = self.grid.top_step / 2, self.histograms.first[rows], self.histograms.n_bins
        bins = np.arange(n_bins, dtype=np.float32)
        for clips, end, above in ((self.clips[1], self.high + half, True), (self.clips[0], self.low - half, False)):
            hit = clips[rows] > 0
            if not hit.any():
                continue
            place = np.where(hit, end[rows] / width - first, n_bins if above else 0)
            place = np.clip(place, 0, n_bins)
            cut = np.minimum(place, n_bins - 1).astype(np.int64)
            some = slice(int(cut.min()), n_bins) if above else slice(0, int(cut.max()) + 1)
            at = cut[:, None].astype(np.float32)
            beyond = np.greater(bins[some], at) if above else np.less(bins[some], at)
            share = np.where(hit, (1 - place + cut) if above else place - cut, 0.0)
            total += np.vecdot(weights[:, some], beyond.astype(np.float32)) + weights[every, cut] * share
        return total

    def _asked(self, rows: Rows, weights: Array) -> tuple[Floats, Floats]:
        """By the kernel itself, at the number of the working dtype that is nearest each bin's centre."""
        assert isinstance(rows, slice)  # only channels that lie alike are put in another order
        bins = np.arange(self.histograms.n_bins) + 0.5
        x = (self.histograms.first[rows, None] + bins) * self.histograms.width[rows, None]
        values = carried(x.astype(np.float32), self.qparams.working_dtype)
        e = kernel_errors(values, self.qparams, one_channel(rows, self.qparams))
        most = np.where(weights > 0, np.abs(e), 0).max(1) / self.scale[rows]
        return np.asarray(np.vecdot(weights.astype(np.float64), e * e)), most

    def result(self, found: Floats) -> EstimatedErrors:
        """With what the channels' ends and their zeros tell exactly, and what lies beyond the bins taken for ends."""
        own = self.histograms
        noise = found[0] + own.n_zero * self.end_errors[:, 2] ** 2
        for side, beyond in enumerate((own.below, own.above)):
            noise += beyond * self.end_errors[:, side] ** 2
        n_clipped = np.rint(found[1]).astype(np.int64) + own.below + own.above
        clips = self.clips[0] + self.clips[1]
        clipped = np.where(clips > 0, np.maximum(n_clipped, clips), 0)
        between = own.n_finite - own.n_zero > 2
        rounded = np.where(between, np.minimum(found[2] * self.scale, np.maximum(-own.low, own.high)), 0.0)
        return EstimatedErrors(noise, clipped, np.maximum(self.end_errors.max(1), rounded))


def kernel_errors(values: Array, qparams: Parameters, params: Expanded) -> Floats:
    """What the runtime makes of ``values`` less ``values``, float64; of the block's shape."""
    levels = np.empty(values.shape, values.dtype)
    qparams.kernel.levels(values, params, levels)
    settle(levels, params.inverse)
    np.minimum(levels, params.high, out=levels)
    np.maximum(levels, params.low, out=levels)
    qparams.decoder.values(levels, params, levels)
    return np.asarray(levels.astype(np.float64) - values)
