"""One channel's distribution beside its quantization range. Summaries cross to the browser, samples never do."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from perchq_widget.core.elements import levels_of
from perchq_widget.core.errors import QuantTypeError, QuantValueError

from .channels import ChannelTable
from .clip_ratio import full_ends, why_no_ratio
from .overlay import Overlay, overlay
from .units import element_params, numbers_in_channel

MAX_BINS = 4096
#: Codes on each side of the calculator's own that are drawn.
NEAR = 3
#: Values of a channel above which only those near the ends of the range are asked whether they are clipped.
MANY = 1 << 17


@dataclass(frozen=True, eq=False, slots=True)
class ChannelHistogram:
    """``edges`` (B + 1,) and ``counts`` (B,), both float64; empty for the calculator, which has one ``sample``.

    ``quant_lo`` and ``quant_hi`` are what quant_min and quant_max dequantize to, where a channel has several scales in
    the widest of its groups. ``n_below`` and ``n_above`` are the values clipped on each side, ``n_nonfinite`` those
    that no bin can hold. ``zero_point`` is None in formats that have none. ``near_codes`` and ``near_values`` are the
    codes next to the calculator's sample and their real values, ascending; ``end_step`` is the distance between the two
    highest values. ``shared_by``: "group", "block" or "token" where a channel has several scales, else "".

    ``full_lo`` and ``full_hi`` are what the codes would represent at clip ratio 1; NaN where ratios do not apply, and
    ``no_ratio`` says why. ``overlay`` holds the codes' values and the distribution after quantization; None for the
    calculator and where no value is finite.
    """

    channel: str
    index: int
    edges: npt.NDArray[np.float64]
    counts: npt.NDArray[np.float64]
    quant_lo: float
    quant_hi: float
    min_val: float
    max_val: float
    scale: float
    zero_point: int | None
    quant_min: int | float
    quant_max: int | float
    n_below: int
    n_above: int
    n_nonfinite: int
    sample: float | None
    dequantized: float | None
    end_step: float = math.nan
    near_codes: tuple[float, ...] = ()
    near_values: tuple[float, ...] = ()
    shared_by: str = ""
    full_lo: float = math.nan
    full_hi: float = math.nan
    no_ratio: str = ""
    overlay: Overlay | None = None

    @property
    def clipped_pct(self) -> tuple[float, float]:
        """The share of the finite values that are clipped below and above, in percent."""
        n = max(float(self.counts.sum()), 1.0)
        return 100.0 * self.n_below / n, 100.0 * self.n_above / n

    @property
    def whose(self) -> str:
        """ " of its widest group" where the range is one of several, else ""."""
        return f" of its widest {self.shared_by}" if self.shared_by else ""


@dataclass(frozen=True, eq=False, slots=True)
class ChannelBins:
    """``edges`` (B + 1,) and ``counts`` (B,) of the finite values, float64; they do not depend on the scheme."""

    edges: npt.NDArray[np.float64]
    counts: npt.NDArray[np.float64]
    n_nonfinite: int


def channel_bins(table: ChannelTable, channel: int, bins: int = 128) -> ChannelBins:
    """Equal bins from the channel's minimum to its maximum."""
    values = _working(table, channel)
    finite = np.isfinite(values)
    kept = (values if finite.all() else values[finite]).astype(np.float64)
    edges, counts = _bins(kept, bins)
    return ChannelBins(edges, counts, values.size - kept.size)


def channel_histogram(
    table: ChannelTable, channel: int | str, bins: int = 128, known: ChannelBins | None = None
) -> ChannelHistogram:
    """Histogram of one channel in ``bins`` equal bins from its minimum to its maximum.

    ``known`` are this channel's bins, from a time when only the scheme was another.
    """
    if isinstance(bins, bool) or not isinstance(bins, (int, np.integer)):
        raise QuantTypeError(f"bins must be an integer, got {bins!r}")
    if not 1 <= bins <= MAX_BINS:
        raise QuantValueError(f"bins must lie in 1..{MAX_BINS}, got {bins}")
    index = table.index_of(channel)
    row = table.known.iloc[index]
    facts = _facts(table, index, row)
    if table.kind != "tensor":
        return _one_sample(table, row, facts)
    found = channel_bins(table, index, bins) if known is None else known
    below, above = _clipped_sides(table, index)
    ends = _full_ends(table, index, facts)
    over = overlay(table, index, found.edges) if found.counts.size else None
    return ChannelHistogram(**facts, **ends, edges=found.edges, counts=found.counts, n_below=below, n_above=above,
                            n_nonfinite=found.n_nonfinite, sample=None, dequantized=None, overlay=over)  # fmt: skip


def _working(table: ChannelTable, channel: int) -> npt.NDArray[Any]:
    """The channel's values in the dtype that is computed in."""
    with np.errstate(over="ignore"):  # beyond the dtype that is computed in is infinite, as in the table
        return table.channel_values(channel).astype(table.qparams.working_dtype, copy=False)


def _full_ends(table: ChannelTable, index: int, facts: dict[str, Any]) -> dict[str, Any]:
    reason = why_no_ratio(table)
    if reason:
        return {"no_ratio": reason}
    if table.scheme.clip_ratio == 1.0:
        return {"full_lo": facts["quant_lo"], "full_hi": facts["quant_hi"]}
    ends = full_ends(table, index)
    if ends is None:
        return {"no_ratio": "the whole range has no finite scale"}
    return {"full_lo": ends[0], "full_hi": ends[1]}


def _one_sample(table: ChannelTable, row: Any, facts: dict[str, Any]) -> ChannelHistogram:
    """A calculator's channel: no bins, but the sample and the codes around it."""
    code, raw, none = row["quantized"], row["raw_quantized"], np.empty(0)
    levels = table.qparams.grid.levels
    at = int(np.argmin(np.abs(levels - float(code))))
    near = levels[max(0, at - NEAR) : at + NEAR + 1]
    back = (near - (facts["zero_point"] or 0)) * facts["scale"]
    return ChannelHistogram(**facts, edges=none, counts=none, n_below=int(raw < code), n_above=int(raw > code),
                            n_nonfinite=0, sample=float(row["sample"]), dequantized=float(row["dequantized"]),
                            near_codes=tuple(near.tolist()), near_values=tuple(back.tolist()))  # fmt: skip


def _facts(table: ChannelTable, index: int, row: Any) -> dict[str, Any]:
    q, zero_point = table.qparams, float(row["zero_point"])
    low, high = _widest(table, index)
    return {
        "channel": table.channels[index],
        "index": index,
        "quant_lo": low,
        "quant_hi": high,
        "min_val": float(row["min"]),
        "max_val": float(row["max"]),
        "scale": float(row["scale"]),
        "zero_point": None if math.isnan(zero_point) else int(zero_point),
        "shared_by": "" if q.granularity in ("channel", "tensor") else q.granularity,
        "quant_min": q.quant_min,
        "quant_max": q.quant_max,
        "end_step": q.grid.top_step * float(row["scale"]),
    }


def _widest(table: ChannelTable, index: int) -> tuple[float, float]:
    """What the codes can represent in that unit of a channel that reaches furthest."""
    own = np.unique(numbers_in_channel(table, index))
    with np.errstate(over="ignore"):
        low, high = (np.ravel(end)[own] for end in table.qparams.represented())
        widest = int(np.argmax(high - low))
    return float(low[widest]), float(high[widest])


def _bins(values: npt.NDArray[np.float64], bins: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Equal bins over the values; one value alone gets a bin of its own width around it."""
    if values.size == 0:
        return np.empty(0), np.empty(0)
    low, high = float(values.min()), float(values.max())
    if not high - low > abs(low) * 1e-12:  # too narrow for float64 to cut, or a single value
        half = max(abs(low) * 1e-3, 1e-12)
        return np.array([low - half, high + half]), np.array([float(values.size)])
    edges = np.linspace(low, high, bins + 1)
    position = np.minimum(((values - low) * (bins / (high - low))).astype(np.int64), bins - 1)
    return edges, np.bincount(position, minlength=bins).astype(np.float64)


def _clipped_sides(table: ChannelTable, index: int) -> tuple[int, int]:
    """How many finite values are clipped on each side, by the convention's own kernel and each value's own unit."""
    q, values = table.qparams, _working(table, index)
    if q.granularity in ("channel", "tensor") and values.size > MANY:
        values = values[_at_ends(table, index, values)]  # no other can be clipped
    _, params = element_params(table, index)
    levels = levels_of(values[None], q, params)
    low, high = levels < params.low, levels > params.high
    if not np.isfinite(values).all():
        finite = np.isfinite(values[None])
        low, high = low & finite, high & finite
    return int(np.count_nonzero(low)), int(np.count_nonzero(high))


def _at_ends(table: ChannelTable, index: int, values: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Which values lie less than a step inside the range, or outside."""
    q, at = table.qparams, (index,) if table.qparams.scale.ndim else ()
    low, high = (float(end[at]) for end in q.represented())
    step = q.grid.top_step * float(q.effective()[at])
    return np.asarray((values < low + step) | (values > high - step))
