"""Which share of its range keeps most of each channel's distribution: the least Kullback-Leibler divergence.

As calibration in TensorRT and ONNX Runtime defines it: P is the histogram within the candidate range, what lies beyond
added to the outermost bins; Q is the same histogram without that, every code's count spread evenly over those of its
bins that are not empty in P. Both are sums over codes of differences of cumulative counts, so that a candidate costs
as many look-ups as there are codes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from .blocks import Array
from .evidence import Evidence
from .histograms import SEARCH_BINS
from .range_search import Alike, Costs, Shared, search
from .schemes import QuantScheme
from .sharing import MANY, in_turns

Floats = npt.NDArray[np.float64]

#: Counts that stand in for none where P has some, as ONNX Runtime's calibrator has it.
LEAST_COUNT = 1e-4
#: Codes times channels times candidates that are looked up together.
LOOK_UPS = 1 << 16
ROWS = 32  # whose sums stay in cache


def least_divergence(evidence: Evidence, scheme: QuantScheme, n_candidates: int) -> Floats:
    """(U,): the share of its range whose quantized distribution is nearest to each unit's own.

    1 for units of fewer values than codes, which have no distribution that codes could keep.
    """
    if evidence.n < scheme.grid.n_levels:
        return np.ones(evidence.n_units)
    return search(evidence.n_units, n_candidates, _Divergence(evidence, scheme))


class _Divergence(Costs):
    def __init__(self, evidence: Evidence, scheme: QuantScheme) -> None:
        self.shared = Shared(evidence, scheme, SEARCH_BINS)
        self.groups = [part for each in self.shared.groups() for part in each.parts(ROWS)]
        levels = self.shared.grid.levels
        middles = (levels[1:] + levels[:-1]) / 2
        #: Rounding boundaries between codes, and the outermost as far out as the next code would begin.
        self.boundaries = np.concatenate([[2 * levels[0] - middles[0]], middles, [2 * levels[-1] - middles[-1]]])

    def of(self, ratios: Floats) -> Floats:
        """(U, candidates)."""
        found = np.full((self.shared.evidence.n_units, len(ratios)), np.inf)

        def work(turn: int, n_threads: int) -> None:
            for alike in self.groups[turn::n_threads]:
                found[alike.rows] = self._of_group(alike, ratios).T

        in_turns(MANY, work)
        found[~self.shared.proportional(ratios)] = np.inf
        return found

    def _of_group(self, alike: Alike, ratios: Floats) -> Array:
        """(candidates, rows)."""
        sums = _Sums(alike.weights(self.shared.histograms, alike.rows).T)
        zero = self.shared.grid.quant_min - alike.low
        # of every candidate, the first bin of each code and the first beyond the last
        place = np.rint((self.boundaries - zero) * ratios[:, None] / alike.width - alike.start).astype(np.int64)
        place = np.clip(place, 0, len(sums.mass) - 1)
        result = np.empty((len(ratios), len(alike.rows)))
        step = max(1, LOOK_UPS // (place.shape[1] * len(alike.rows)))
        with np.errstate(divide="ignore", invalid="ignore"):
            for start in range(0, len(ratios), step):
                result[start : start + step] = sums.divergence(place[start : start + step])
        # with less than a bin for each code, nothing but the clipped share would be measured
        result[ratios * self.shared.histograms.n_bins < self.shared.grid.n_levels] = np.inf
        return result


class _Sums:
    """Cumulative sums over bins, (bins + 1, rows): of counts in float32 where that holds them exactly."""

    def __init__(self, counts: Array) -> None:
        bins, rows = counts.shape
        self.counts = counts
        mass = np.float32 if counts.sum(0, dtype=np.float64).max(initial=0) < 1 << 24 else np.float64
        self.mass, self.occupied = np.zeros((bins + 1, rows), mass), np.zeros((bins + 1, rows), np.float32)
        self.own = np.zeros((bins + 1, rows))
        np.cumsum(counts, axis=0, out=self.mass[1:], dtype=mass)
        np.cumsum(counts > 0, axis=0, out=self.occupied[1:], dtype=np.float32)
        np.cumsum(_times_log(counts), axis=0, out=self.own[1:], dtype=np.float64)

    def divergence(self, place: npt.NDArray[np.int64]) -> Array:
        """KL(P || Q) of each candidate, whose codes begin at the bins ``place`` (candidates, codes + 1)."""
        total = np.maximum(self.mass[-1], 1)
        first, last = place[:, 0], place[:, -1]
        left, right = self.mass[first], self.mass[-1] - self.mass[last]
        inside = self.mass[last] - self.mass[first]
        counts = _steps(self.mass, place).astype(np.float32, copy=False)
        filled = _steps(self.occupied, place)
        own = self.own[last] - self.own[first]
        shared = _times_log_ratio(counts, filled).sum(1).astype(np.float64)
        for outside, bin_, code in ((left, first, 0), (right, np.maximum(last - 1, first), -1)):
            inner = self.counts[np.minimum(bin_, len(self.counts) - 1)]
            own += _times_log(inner + outside) - _times_log(inner)
            # what is added to an empty bin makes it one more over which the code's count is spread
            more = filled[:, code] + ((inner == 0) & (outside > 0))
            shared += _moved(counts[:, code], filled[:, code], more, outside)
        kept = np.maximum(inside, LEAST_COUNT)
        return np.asarray(own / total - np.log(total) - shared / total + np.log(kept))


def _steps(sums: Array, place: npt.NDArray[np.int64]) -> Array:
    """What each code adds: (candidates, codes, rows)."""
    found = np.take(sums, place, axis=0)
    return np.asarray(found[:, 1:] - found[:, :-1])


def _times_log(counts: Array) -> Array:
    return np.asarray(counts * np.log(np.maximum(counts, 1e-30)))


def _times_log_ratio(counts: Array, filled: Array) -> Array:
    """counts log(counts / filled), 0 where there are none."""
    share: Any = np.maximum(counts, np.float32(1e-30))
    share /= np.maximum(filled, np.float32(1))
    np.log(share, out=share)
    share *= counts
    return np.asarray(share)


def _moved(counts: Array, filled: Array, more: Array, outside: Array) -> Array:
    """The change of the sum of p log q at an outermost code, from what lies beyond it."""
    q = np.maximum(counts, LEAST_COUNT * np.maximum(more, 1)) / np.maximum(more, 1)
    return np.asarray(counts * np.log(q) + outside * np.log(q) - _times_log_ratio(counts, filled))
