"""Which share of its range each channel is best quantized with: all channels, all candidates.

Candidates are i / n of both ends, for i = 1 to n. A rounding error depends on x / scale alone and a clipping error on
the zero point besides, so channels of one zero point share one table of errors, bins x candidates, and all their sums
of errors are one matrix product. Of equal candidates the larger range is taken.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from .bin_errors import integral, kernel_errors, to_grid
from .blocks import Array
from .conventions import require_allowed
from .elements import one_channel
from .evidence import Evidence
from .grids import FloatGrid, IntGrid, carried
from .histograms import SEARCH_BINS, ChannelHistograms
from .qparams import QParams, qparams_of
from .record import Params
from .schemes import QuantScheme
from .sharing import MANY, in_turns
from .trace import silent

Floats = npt.NDArray[np.float64]

#: Up to so many values in all, or in each channel, every candidate is tried on the values themselves.
FEW, SHORT = 1 << 18, 64
#: Bins of a histogram of a whole tensor, which costs no more than one of few.
TENSOR_BINS = 1 << 14
#: Candidates that are looked at together.
STEP = 128
ZERO_POINTS = 256  # more are grouped
ROWS = 64  # of a matrix product
MOST_ROWS = 1024  # that share the making of a table
#: Multiplications up to which a BLAS library stays in the thread that calls it. Its own threads wait spinning: where
#: other processes want the cores too, thousands of small products took twenty times as long.
ONE_THREAD = 1 << 18


def best_ratios(evidence: Evidence, scheme: QuantScheme, n_candidates: int, power: float = 2.0) -> Floats:
    """(U,): the share of its range with which each unit's sum of abs(e) ** power is least; 1 where none is better.

    Candidates whose scale the convention holds at a floor are passed over: they are a wider range in disguise.
    """
    few = evidence.array.size <= FEW or evidence.n <= SHORT
    few &= not (require_allowed(scheme).exact and evidence.n_units > 512)  # exact fractions take their time
    costs = _Tried(evidence, scheme, power) if few else _Counted(evidence, scheme, power)
    return search(evidence.n_units, n_candidates, costs)


def search(n_units: int, n_candidates: int, costs: Costs) -> Floats:
    """The candidate of least cost per unit, the largest of equals; 1 where every cost is infinite or NaN."""
    best, least = np.ones(n_units), np.full(n_units, np.inf)
    for stop in range(n_candidates, 0, -STEP):
        ratios = np.arange(stop, max(stop - STEP, 0), -1) / n_candidates
        found = costs.of(ratios)
        found[np.isnan(found)] = np.inf
        at = np.argmin(found, axis=1)
        lowest = found[np.arange(n_units), at]
        better = lowest < least
        best[better], least[better] = ratios[at[better]], lowest[better]
    return best


class Costs:
    """What candidates cost."""

    def of(self, ratios: Floats) -> Floats:
        """(U, candidates); inf where a candidate is out of the question."""
        raise NotImplementedError


def params_at(evidence: Evidence, scheme: QuantScheme, ratio: float) -> tuple[Params, npt.NDArray[np.bool_]]:
    """What the convention's rule makes of each unit's range times ``ratio``, and for which units that can be used."""
    rules = require_allowed(scheme)
    rule = rules.range_rule if scheme.family == "integer" else rules.float_rule
    assert rule is not None  # the table allows no format without a rule
    dtype = evidence.dtype
    with np.errstate(all="ignore"):
        low, high = (np.asarray((end * ratio).astype(dtype)) for end in (evidence.low, evidence.high))
        params = rule(low, high, scheme, silent)
        scale = params.scale.astype(np.float64)
        usable = np.isfinite(scale) & (scale > 0) & np.isfinite(1 / scale)
    if usable.all():
        return params, usable
    with np.errstate(all="ignore"):
        stand_in = replace(
            params,
            scale=np.where(usable, params.scale, 1).astype(params.scale.dtype),
            zero_point=np.where(usable, params.zero_point, int(np.clip(0, scheme.quant_min, scheme.quant_max))),
            exact=None,
            multiplier=None if params.multiplier is None else np.where(usable, params.multiplier, 1).astype(np.float32),
        )
    return stand_in, usable


def qparams_at(evidence: Evidence, scheme: QuantScheme, params: Params) -> QParams:
    """Parameters of all units; of a tensor as of one channel."""
    if require_allowed(scheme).tensor_kernel is None or not evidence.whole:
        return qparams_of(params, replace(scheme, granularity="channel"), 0)
    one = replace(params, scale=params.scale.reshape(()), zero_point=params.zero_point.reshape(()))
    return qparams_of(one, scheme, None)


class _Tried(Costs):
    """Every candidate on the values themselves, through the convention's own kernel."""

    def __init__(self, evidence: Evidence, scheme: QuantScheme, power: float) -> None:
        self.evidence, self.scheme, self.power = evidence, scheme, power
        rows = evidence.rows()
        known = np.isfinite(rows)
        self.known = None if known.all() else known
        self.values = carried(rows if self.known is None else np.where(known, rows, rows.dtype.type(0)), evidence.dtype)

    def of(self, ratios: Floats) -> Floats:
        """(U, candidates)."""
        found = np.full((self.evidence.n_units, len(ratios)), np.inf)
        for place, ratio in enumerate(ratios):
            params, usable = params_at(self.evidence, self.scheme, float(ratio))
            qparams = qparams_at(self.evidence, self.scheme, params)
            with np.errstate(all="ignore"):
                e = kernel_errors(self.values, qparams, one_channel(slice(None), qparams))
                if self.known is not None:
                    e[~self.known] = 0
                e = np.vecdot(e, e) if self.power == 2 else (np.abs(e) ** self.power).sum(1)
            found[usable, place] = e[usable]
        return found


@dataclass(frozen=True, eq=False, slots=True)
class Alike:
    """Units that share one table: their numbers, and where their bins and their codes lie in steps of the scale."""

    rows: npt.NDArray[np.int64]
    start: int  # the first bin of any of them
    stop: int
    width: float  # of a bin, in steps
    low: float  # the lowest level
    high: float

    def parts(self, most: int) -> list[Alike]:
        """Itself, in parts of at most so many units."""
        return [replace(self, rows=self.rows[start : start + most]) for start in range(0, len(self.rows), most)]

    def weights(self, histograms: ChannelHistograms, rows: npt.NDArray[np.int64]) -> Array:
        """(rows, bins from start to stop), float32: the counts of some of them, each where its bins lie."""
        counts, offset = histograms.counts, histograms.first[rows] - self.start
        if not offset.any() and self.stop - self.start == counts.shape[1]:
            return counts[rows].astype(np.float32)
        laid = np.zeros((len(rows), self.stop - self.start), np.float32)
        windows = np.lib.stride_tricks.sliding_window_view(laid, counts.shape[1], axis=1, writeable=True)
        windows[np.arange(len(rows)), offset] = counts[rows]
        return laid


class Shared:
    """The units of a histogram grouped by zero point, and which candidates keep a scale in proportion."""

    def __init__(self, evidence: Evidence, scheme: QuantScheme, n_bins: int) -> None:
        self.evidence, self.scheme = evidence, scheme
        self.histograms = evidence.histograms("magnitude" if scheme.symmetric else "range", n_bins)
        self.params, self.usable = params_at(evidence, scheme, 1.0)
        self.usable &= self.histograms.width > 0
        qparams = qparams_at(evidence, scheme, self.params)
        assert isinstance(qparams.grid, IntGrid | FloatGrid)
        self.grid: IntGrid | FloatGrid = qparams.grid
        self.scale = np.broadcast_to(qparams.effective(), self.usable.shape)
        # a range within one step, as under a scale held at a floor, has nothing to be searched for
        self.usable &= self.histograms.width * n_bins >= self.scale
        self.zero = np.broadcast_to(qparams.zero_point, self.usable.shape)
        span = int(qparams.quant_max - qparams.quant_min) if isinstance(self.grid, IntGrid) else 0
        self.coarse = max(1, -(-span // ZERO_POINTS))

    def groups(self) -> Iterator[Alike]:
        """Units of one zero point (of 16-bit formats nearly one), with bins as wide in steps within half a bin."""
        rows = np.flatnonzero(self.usable)
        if not rows.size:
            return
        width = self.histograms.width[rows] / self.scale[rows]
        size = np.rint(np.log(width) * self.histograms.n_bins).astype(np.int64)
        keys, group = np.unique(np.stack([self.zero[rows] // self.coarse, size]), axis=1, return_inverse=True)
        order = np.argsort(group.ravel(), kind="stable")
        for part in np.split(order, np.cumsum(np.bincount(group.ravel(), minlength=keys.shape[1]))[:-1]):
            own = rows[part]
            first, zero = self.histograms.first[own], float(np.median(self.zero[own]))
            low, high = self.grid.quant_min - zero, self.grid.quant_max - zero
            stop = int(first.max()) + self.histograms.n_bins
            yield Alike(own, int(first.min()), stop, float(np.mean(width[part])), low, high)

    def proportional(self, ratios: Floats) -> npt.NDArray[np.bool_]:
        """(U, candidates): whether the scale is the ratio's share of the whole range's, with its zero point."""
        found = np.repeat(self.usable[:, None], len(ratios), axis=1)
        if require_allowed(self.scheme).exact:
            return found  # textbook formulas have no floors
        for place, ratio in enumerate(ratios):
            params, usable = params_at(self.evidence, self.scheme, float(ratio))
            near = np.abs(params.scale.astype(np.float64) / (self.scale * ratio) - 1) < 1 / 128
            found[:, place] &= usable & near & (np.abs(params.zero_point - self.zero) <= self.coarse)
        return found


def product(weights: Array, table: Array) -> Array:
    """``weights @ table.T`` in steps that stay in one thread."""
    step = max(8, ONE_THREAD // (len(weights) * len(table)))
    total = np.zeros((len(weights), len(table)), np.float32)
    for start in range(0, weights.shape[1], step):
        total += weights[:, start : start + step] @ table[:, start : start + step].T
    return total


class _Counted(Costs):
    """Matrix products of histograms with tables of errors."""

    def __init__(self, evidence: Evidence, scheme: QuantScheme, power: float) -> None:
        self.shared, self.power = Shared(evidence, scheme, TENSOR_BINS if evidence.whole else SEARCH_BINS), power
        self.groups = [part for each in self.shared.groups() for part in each.parts(MOST_ROWS)]

    def of(self, ratios: Floats) -> Floats:
        """(U, candidates), in steps of the whole range's scale."""
        found = np.full((self.shared.evidence.n_units, len(ratios)), np.inf)

        def work(turn: int, n_threads: int) -> None:
            for alike in self.groups[turn::n_threads]:
                table = self._table(alike, ratios)
                for start in range(0, len(alike.rows), ROWS):
                    rows = alike.rows[start : start + ROWS]
                    found[rows] = product(alike.weights(self.shared.histograms, rows), table)

        in_turns(MANY if len(self.groups) > 1 else 0, work)
        found[~self.shared.proportional(ratios)] = np.inf
        return found

    def _table(self, alike: Alike, ratios: Floats) -> Array:
        """(candidates, bins): the mean of abs(e) ** power over each bin, float32."""
        grid = self.shared.grid
        plain = isinstance(grid, IntGrid) and self.power <= 4
        dtype: np.dtype[Any] = np.dtype(np.float32 if plain else np.float64)
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            edges = np.arange(alike.start, alike.stop + 1) * alike.width
            x = edges.astype(dtype) * (1 / ratios[:, None]).astype(dtype)
            k, out = np.empty_like(x), np.empty_like(x)
            to_grid(x, (dtype.type(alike.low), dtype.type(alike.high)), grid, k)
            x -= k
            integral(k, x, grid, out, self.power)
            table = np.subtract(out[:, 1:], out[:, :-1], out=x[:, 1:])
            table *= (ratios[:, None] ** (self.power + 1) / (alike.width * (self.power + 1))).astype(dtype)
            return np.asarray(np.minimum(table, np.finfo(np.float32).max / 1e12).astype(np.float32))
