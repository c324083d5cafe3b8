"""One channel's distribution beside its quantization range. Summaries cross to the browser, samples never do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from perchq_widget.core.elements import one_channel, raw_codes
from perchq_widget.core.errors import QuantTypeError, QuantValueError

from .channels import ChannelTable

MAX_BINS = 4096


@dataclass(frozen=True, eq=False, slots=True)
class ChannelHistogram:
    """``edges`` (B + 1,) and ``counts`` (B,), both float64; empty for the calculator, which has one ``sample``.

    ``quant_lo`` and ``quant_hi`` are what quant_min and quant_max dequantize to; ``n_below`` and ``n_above`` the
    values clipped on each side; ``n_nonfinite`` those that no bin can hold.
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
    zero_point: int
    quant_min: int
    quant_max: int
    n_below: int
    n_above: int
    n_nonfinite: int
    sample: float | None
    dequantized: float | None


def channel_histogram(table: ChannelTable, channel: int | str, bins: int = 128) -> ChannelHistogram:
    """Histogram of one channel in ``bins`` equal bins from its minimum to its maximum."""
    if isinstance(bins, bool) or not isinstance(bins, (int, np.integer)):
        raise QuantTypeError(f"bins must be an integer, got {bins!r}")
    if not 1 <= bins <= MAX_BINS:
        raise QuantValueError(f"bins must lie in 1..{MAX_BINS}, got {bins}")
    index = table.index_of(channel)
    row = table.frame.iloc[index]
    facts = _facts(table, index, row)
    if table.kind != "tensor":
        code = int(row["quantized"]), int(row["raw_quantized"])
        sides = int(code[1] < code[0]), int(code[1] > code[0])
        none = np.empty(0)
        return ChannelHistogram(**facts, edges=none, counts=none, n_below=sides[0], n_above=sides[1], n_nonfinite=0,
                                sample=float(row["sample"]), dequantized=float(row["dequantized"]))  # fmt: skip
    with np.errstate(over="ignore"):  # beyond the convention's dtype is infinite, as in the table
        values = table.channel_values(index).astype(table.qparams.rules.dtype)
    finite = values[np.isfinite(values)].astype(np.float64)
    edges, counts = _bins(finite, bins)
    below, above = _clipped_sides(table, index, finite)
    return ChannelHistogram(**facts, edges=edges, counts=counts, n_below=below, n_above=above,
                            n_nonfinite=values.size - finite.size, sample=None, dequantized=None)  # fmt: skip


def _facts(table: ChannelTable, index: int, row: Any) -> dict[str, Any]:
    q = table.qparams
    scale, zero_point = float(row["scale"]), int(row["zero_point"])
    return {
        "channel": table.channels[index],
        "index": index,
        "quant_lo": (q.quant_min - zero_point) * scale,
        "quant_hi": (q.quant_max - zero_point) * scale,
        "min_val": float(row["min"]),
        "max_val": float(row["max"]),
        "scale": scale,
        "zero_point": zero_point,
        "quant_min": q.quant_min,
        "quant_max": q.quant_max,
    }


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


def _clipped_sides(table: ChannelTable, index: int, values: npt.NDArray[np.float64]) -> tuple[int, int]:
    """How many values the grid clips on each side, by the convention's own kernel."""
    q = table.qparams
    raw = raw_codes(values[None, :], q, one_channel(slice(index, index + 1), q))
    return int((raw < q.quant_min).sum()), int((raw > q.quant_max).sum())
