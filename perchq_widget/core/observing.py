"""Ranges by every policy: of each channel, or of the tensor."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from .blocks import Array, cut
from .conventions import require_allowed
from .entropy_search import least_divergence
from .evidence import Evidence
from .histograms import SEARCH_BINS, ChannelHistograms
from .observers import MSE, Entropy, LpNorm, MeanStd, MinMax, MovingAverage, Observer, Percentile, observer_of
from .range_search import FEW, SHORT, TENSOR_BINS, best_ratios
from .ranges import ChannelRanges, channel_ranges
from .schemes import QuantScheme

Floats = npt.NDArray[np.float64]
Ends = tuple[Floats, Floats]
#: Rows of a histogram that are added up at a time.
ROWS = 64


def observed_ends(
    array: Array,
    ch_axis: int,
    scheme: QuantScheme,
    observed: ChannelRanges,
    evidence: Callable[[np.dtype[Any], bool], Evidence] | None = None,
) -> Ends:
    """(min_val, max_val) that the scheme's observer takes from ``array``: of shape (C,), per tensor of shape ().

    ``observed`` are the tensor's ranges in the dtype that the convention computes in. A channel without a finite value
    has 0..0; one whose values are all the same keeps them. ``clip_ratio`` is not in it. ``evidence`` gives what is
    known of the values already, taken as a dtype, per channel or as a whole.
    """
    dtype = require_allowed(scheme).working_dtype(array.dtype)
    whole = scheme.granularity == "tensor"
    seen = Evidence(array, ch_axis, observed, dtype, whole=whole) if evidence is None else evidence(dtype, whole)
    low, high = ends_of(seen, scheme)
    return (low[0], high[0]) if whole else (low, high)


def ends_of(evidence: Evidence, scheme: QuantScheme, observer: Observer | str | None = None) -> Ends:
    """As :func:`observed_ends`, of shape (U,), from evidence that several observers can share.

    ``observer`` stands in for the scheme's own.
    """
    policy = observer_of(scheme.observer if observer is None else observer)
    find = _POLICIES[type(policy)]
    parts = [find(part, scheme, policy) for part in evidence.parts()]
    low, high = (np.concatenate(ends) for ends in zip(*parts, strict=True))
    known = np.isfinite(low) & np.isfinite(high) & (low <= high)
    return np.where(known, low, evidence.low), np.where(known, high, evidence.high)


def _min_max(evidence: Evidence, scheme: QuantScheme, policy: Any) -> Ends:
    return evidence.low, evidence.high


def _shrunk(evidence: Evidence, ratios: Floats) -> Ends:
    return evidence.low * ratios, evidence.high * ratios


def _mse(evidence: Evidence, scheme: QuantScheme, policy: MSE) -> Ends:
    return _shrunk(evidence, best_ratios(evidence, scheme, policy.n_candidates))


def _lp_norm(evidence: Evidence, scheme: QuantScheme, policy: LpNorm) -> Ends:
    return _shrunk(evidence, best_ratios(evidence, scheme, policy.n_candidates, policy.p))


def _entropy(evidence: Evidence, scheme: QuantScheme, policy: Entropy) -> Ends:
    return _shrunk(evidence, least_divergence(evidence, scheme, policy.n_candidates))


def _percentile(evidence: Evidence, scheme: QuantScheme, policy: Percentile) -> Ends:
    """Order statistics, interpolated as numpy's percentile does: half the rest lies on each side.

    Exact for small tensors and short channels, else to within a bin: a 2,047th of the range, a 16,383rd per tensor.
    """
    if evidence.array.size <= FEW or evidence.n <= SHORT:
        return _sorted_quantiles(evidence, (100.0 - policy.percentile) / 200.0)
    histograms = evidence.histograms("range", TENSOR_BINS if evidence.whole else SEARCH_BINS)
    share = (100.0 - policy.percentile) / 200.0
    low, high = np.empty(evidence.n_units), np.empty(evidence.n_units)
    for start in range(0, evidence.n_units, ROWS):
        rows = slice(start, start + ROWS)
        low[rows], high[rows] = _quantiles(histograms, rows, share)
    return np.maximum(low, evidence.low), np.minimum(high, evidence.high)


def _sorted_quantiles(evidence: Evidence, share: float) -> Ends:
    rows = evidence.rows().astype(np.float64)
    rows[~np.isfinite(rows)] = np.inf  # behind all others
    rows.sort(axis=1)
    last = np.maximum(evidence.n_finite, 1) - 1
    found = []
    for place in (share * last, (1 - share) * last):
        below = np.floor(place).astype(np.int64)
        first, second = (
            np.take_along_axis(rows, np.minimum(rank, last)[:, None], 1)[:, 0] for rank in (below, below + 1)
        )
        some = evidence.n_finite > 0
        first, second = np.where(some, first, 0.0), np.where(some, second, 0.0)
        found.append(first + (second - first) * (place - below))
    return found[0], found[1]


def _quantiles(histograms: ChannelHistograms, rows: slice, share: float) -> Ends:
    """The quantiles ``share`` and 1 - ``share`` of some channels."""
    cumulative = np.cumsum(histograms.counts[rows], axis=1, dtype=np.float64)
    n = np.maximum(histograms.n_finite[rows], 1)
    found = []
    for place in (share * (n - 1), (1 - share) * (n - 1)):
        below = np.floor(place)
        values = [_ranked(histograms, rows, cumulative, np.minimum(rank, n - 1)) for rank in (below, below + 1)]
        found.append(values[0] + (values[1] - values[0]) * (place - below))
    return found[0], found[1]


def _ranked(histograms: ChannelHistograms, rows: slice, cumulative: Floats, rank: Floats) -> Floats:
    """The value of that rank, counted from 0; zeros, which have no bin, stand between the negative and the others."""
    first, width, zeros = histograms.first[rows], histograms.width[rows], histograms.n_zero[rows]
    every = np.arange(len(first))
    negative = np.where(first < 0, cumulative[every, np.maximum(-first - 1, 0)], 0.0)
    rest = np.where(rank >= negative + zeros, rank - zeros, rank)
    step = float(cumulative[:, -1].max() + 1)  # rows one above the other, so that one search finds all
    stacked = (cumulative + (every * step)[:, None]).ravel()
    place = np.searchsorted(stacked, rest + every * step, side="right") - every * cumulative.shape[1]
    place = np.minimum(place, cumulative.shape[1] - 1)
    before = np.where(place > 0, cumulative[every, np.maximum(place - 1, 0)], 0.0)
    inside = (rest - before + 0.5) / np.maximum(cumulative[every, place] - before, 1)
    value = (first + place + inside) * width
    value = np.where((rank >= negative) & (rank < negative + zeros), 0.0, value)
    n = cumulative[:, -1] + zeros
    value = np.where((rank == 0) & (n > 0), histograms.min_val[rows], value)
    return np.where((rank == n - 1) & (n > 0), histograms.max_val[rows], value)


def _mean_std(evidence: Evidence, scheme: QuantScheme, policy: MeanStd) -> Ends:
    """Two passes, so that a small spread around a large mean keeps its digits."""
    n = np.maximum(evidence.n_finite, 1)
    mean = _sums(evidence, None) / n
    spread = policy.n_sigmas * np.sqrt(_sums(evidence, mean) / n)
    return np.clip(mean - spread, evidence.low, evidence.high), np.clip(mean + spread, evidence.low, evidence.high)


def _sums(evidence: Evidence, mean: Floats | None) -> Floats:
    """Sums of the finite values of each unit, or of their squared distances from ``mean``."""
    blocks = cut(evidence.array, evidence.ch_axis)
    total = np.zeros(blocks.n_channels)
    of_channel = None if mean is None else np.broadcast_to(mean, total.shape)
    dirty = bool((evidence.observed.n_nan + evidence.observed.n_inf).any())
    for channels, block in blocks.walk(np.dtype(np.float64)):
        x = block
        if dirty:
            known = np.isfinite(block.astype(evidence.dtype))
            x = np.where(known, block, 0.0)
        if of_channel is not None:
            x = x - of_channel[channels].reshape((-1, 1) if blocks.axis == 0 else (1, -1))
            if dirty:
                x = np.where(known, x, 0.0)
            np.multiply(x, x, out=x)
        total[channels] += x.sum(1 - blocks.axis)
    return total.sum(keepdims=True) if evidence.whole else total


def _moving_average(evidence: Evidence, scheme: QuantScheme, policy: MovingAverage) -> Ends:
    """torch's rule in float32: the first batch's ends, then a step of averaging_constant towards each next one's."""
    working: np.dtype[Any] = np.dtype(np.float32 if evidence.dtype.itemsize <= 4 else np.float64)
    ends: list[npt.NDArray[Any]] | None = None
    constant = np.float32(policy.averaging_constant)
    for batch in _batches(evidence, policy.n_batches):
        found = Evidence(
            batch, evidence.ch_axis, channel_ranges(batch, evidence.ch_axis, evidence.dtype), evidence.dtype,
            whole=evidence.whole,
        )  # fmt: skip
        some = found.n_finite > 0
        now = [end.astype(working) for end in (found.low, found.high)]
        if ends is None:
            ends, started = now, some
            continue
        moved = [old + constant * (new - old) for old, new in zip(ends, now, strict=True)]
        moved = [np.where(started, step, new) for step, new in zip(moved, now, strict=True)]
        ends = [np.where(some, step, old) for step, old in zip(moved, ends, strict=True)]
        started = started | some
    assert ends is not None
    return ends[0].astype(np.float64), ends[1].astype(np.float64)


def _batches(evidence: Evidence, n_batches: int) -> list[Array]:
    """Runs along the first axis that is not the channels', nearly equal where it does not divide; one where there is
    no such axis.
    """
    others = [axis for axis in range(evidence.array.ndim) if axis != evidence.ch_axis]
    axis = others[0] if others else 0 if evidence.whole else None
    if axis is None:
        return [evidence.array]
    return np.array_split(evidence.array, min(n_batches, evidence.array.shape[axis]), axis)


_POLICIES: Mapping[type[Observer], Callable[[Evidence, QuantScheme, Any], Ends]] = {
    MinMax: _min_max,
    MovingAverage: _moving_average,
    Percentile: _percentile,
    MSE: _mse,
    LpNorm: _lp_norm,
    Entropy: _entropy,
    MeanStd: _mean_std,
}
