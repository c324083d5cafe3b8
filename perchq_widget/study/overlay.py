"""What quantization makes of a channel's distribution: the values that codes stand for, and how often each occurs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from perchq_widget.core.elements import levels_of
from perchq_widget.core.grids import CodebookGrid, Grid, carrier
from perchq_widget.core.kernels import Expanded
from perchq_widget.core.reduce import clamp

from .channel_sample import ChannelSample, channel_sample
from .channels import ChannelTable
from .units import element_params, numbers_in_channel, unit_of

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False, slots=True)
class Overlay:
    """The channel after quantization, drawn over its histogram.

    ``codes`` and ``values`` (L,): every code in force and the real value it stands for, ascending; of the widest unit
    where a channel has several. ``edges`` (M + 1,) and ``heights`` (M,): how many dequantized values lie between two
    edges, per width of a histogram's bin, so that both can be read on one axis. Edges lie halfway between codes, with
    so many codes between them as it takes to be at least as wide as a bin. ``exact`` is False where a sample of a long
    channel stands for the rest.
    """

    codes: Floats
    values: Floats
    edges: Floats
    heights: Floats
    exact: bool


def overlay(table: ChannelTable, index: int, bins: Floats) -> Overlay:
    """The overlay of one channel on a histogram of these edges, through the convention's own kernel and decoder."""
    shared = table.qparams.granularity not in ("channel", "tensor")
    own = np.unique(numbers_in_channel(table, index)) if shared else None
    codes, values = code_values(table, _widest(table, index, own))
    if own is None:
        sample = channel_sample(table, index)
        back = _read_back(table, sample.values, unit_of(table, index if table.qparams.scale.ndim else 0).params(table))
        return Overlay(codes, values, *_by_code(back, sample, values, bins), sample.exact)
    kept = table.channel_values(index)
    _, params = element_params(table, index)
    back = _read_back(table, kept, params)
    return Overlay(codes, values, *_by_bin(back[np.isfinite(back)], bins), True)


def code_values(table: ChannelTable, unit: int) -> tuple[Floats, Floats]:
    """(codes, values): the codes in force and what they stand for in one unit, ascending by value."""
    q = table.qparams
    params = unit_of(table, unit).params(table)
    codes = levels_in_force(q.grid)
    by_index = isinstance(q.grid, CodebookGrid) and np.dtype(q.code_dtype).kind == "u"  # others store the values
    stored = np.arange(codes.size) if by_index else codes.astype(q.code_dtype)
    with np.errstate(all="ignore"):
        levels = np.asarray(q.levels_of(stored[None], params))
        q.decoder.values(levels, params, levels)
    values = levels[0].astype(np.float64)
    if isinstance(q.grid, CodebookGrid):
        order = np.argsort(values)
        return codes[order], values[order]
    return codes, values


@lru_cache(maxsize=16)
def levels_in_force(grid: Grid) -> Floats:
    """The codes in force, of a codebook its values, in the order of its indices; shared, so read-only."""
    levels = np.array(grid.values if isinstance(grid, CodebookGrid) else grid.levels, np.float64)
    levels.flags.writeable = False
    return levels


def _widest(table: ChannelTable, index: int, own: npt.NDArray[np.int64] | None) -> int:
    if own is None:
        return index if table.qparams.scale.ndim else 0
    with np.errstate(over="ignore"):
        low, high = (np.ravel(end)[own] for end in table.qparams.represented())
        return int(own[np.argmax(high - low)])


def _read_back(table: ChannelTable, values: npt.NDArray[Any], params: Expanded) -> npt.NDArray[Any]:
    """What the codes of values stand for; of a value that is not finite, NaN or the end that it saturates to."""
    q = table.qparams
    levels = levels_of(values[None], q, params)
    clamp(levels, params.low, params.high, params.axis, levels)
    with np.errstate(all="ignore"):
        q.decoder.values(levels, params, levels)
    assert levels.dtype == carrier(q.working_dtype)
    return np.asarray(levels[0])


def _by_code(
    back: npt.NDArray[Any], sample: ChannelSample, values: Floats, bins: Floats
) -> tuple[Floats, Floats]:
    """Edges and heights where all values share one set of codes."""
    at = np.searchsorted(values, back.astype(np.float64))  # exact: both came through the same decoder
    counts = np.bincount(at, weights=sample.weights, minlength=values.size)[: values.size]
    first, last = int(at.min()), min(int(at.max()), values.size - 1) + 1
    edges, width = _between(values)[first : last + 1], float(bins[1] - bins[0])
    place = np.floor((edges[:-1] - bins[0]) / width)
    starts = np.flatnonzero(np.concatenate([[True], place[1:] != place[:-1]]))
    heights = np.add.reduceat(counts[first:last], starts)
    edges = edges[np.concatenate([starts, [last - first]])]
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        heights = heights * (width / np.diff(edges))
    return edges, heights


def _between(values: Floats) -> Floats:
    """The edges of cells around values (L,), halfway to the neighbours; the outermost as far out as in, (L + 1,)."""
    if values.size == 1:
        half = max(abs(float(values[0])) * 1e-3, 1e-12)
        return np.array([values[0] - half, values[0] + half])
    middle = values[1:] / 2 + values[:-1] / 2
    return np.concatenate([[2 * values[0] - middle[0]], middle, [2 * values[-1] - middle[-1]]])


def _by_bin(back: npt.NDArray[Any], bins: Floats) -> tuple[Floats, Floats]:
    """Edges and heights in the histogram's own bins; what lies outside them is in the outermost."""
    n = bins.size - 1
    at = (back.astype(np.float64) - bins[0]) * (n / (bins[-1] - bins[0]))
    counts = np.bincount(np.clip(at, 0, n - 1).astype(np.int64), minlength=n)
    return bins, counts.astype(np.float64)
