"""Words that the charts and the details share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..report.text import short_number

if TYPE_CHECKING:
    from ..report.documents import ChannelReport


def span(low: float, high: float, before: str = "", nothing: str = "") -> str:
    """A range as a legend writes it; ``nothing`` where it has no ends."""
    return nothing if np.isnan([low, high]).any() else f"{before}{short_number(low)} … {short_number(high)}"


def without_value(report: ChannelReport) -> Any:
    """Which channels hold no finite value, so that their SQNR of -inf means nothing more than that."""
    frame = report.study.frame
    return frame["n"].to_numpy() == 0 if "n" in frame.columns else np.zeros(len(frame), dtype=bool)


def count(n: int, noun: str) -> str:
    """A number of things, in the singular where it is one."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"
