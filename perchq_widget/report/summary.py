"""The summary of a result as lines to print, each with its unit."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from perchq_widget.report.text import clean_name, format_cell, format_number, plural, short_number


def summary_rows(summary: Mapping[str, Any], kind: str) -> list[list[str]]:
    """``[label, text]`` pairs in reading order; a key of ``summary`` that has no line here is not shown."""
    return [
        ["Channels", short_number(summary["channels"])],
        ["Clipped", _clipped(summary, kind)],
        *_non_finite(summary),
        *_errors(summary),
        ["Worst channel", f"{clean_name(str(summary['worst_channel']))}, {decibels(summary['worst_sqnr_db'])}"],
        *_groups(summary),
        ["Scale range", _range(summary["scale_min"], summary["scale_max"])],
        *_bits(summary),
    ]


def _errors(summary: Mapping[str, Any]) -> list[list[str]]:
    """Means and sums over the values; without a finite one there is nothing that they could say."""
    if summary.get("n") == 0:
        labels = ("Mean absolute error", "Largest absolute error", "Percentage error", "Overall SQNR")
        return [[label, "no value"] for label in labels]
    return [
        ["Mean absolute error", short_number(summary["mean_abs_error"])],
        ["Largest absolute error", short_number(summary["max_abs_error"])],
        _percentage(summary),
        ["Overall SQNR", decibels(summary["sqnr_db"])],
    ]


def _percentage(summary: Mapping[str, Any]) -> list[str]:
    """A mean over samples for the calculator, a ratio of sums for a tensor."""
    if "mean_pct_error" not in summary:
        return ["Percentage error", f"{short_number(summary['pct_error'])} %"]
    infinite = summary.get("infinite_pct_errors", 0)
    apart = f", {plural(infinite, 'infinite one')} left out" if infinite else ""
    return ["Mean percentage error", f"{short_number(summary['mean_pct_error'])} %{apart}"]


def _non_finite(summary: Mapping[str, Any]) -> list[list[str]]:
    count = summary.get("non_finite", 0)
    return [["Not finite, left out", plural(count, "value")]] if count else []


def _groups(summary: Mapping[str, Any]) -> list[list[str]]:
    """The worst of the groups beside the median one; nothing where channels have one scale."""
    if "worst_group" not in summary:
        return []
    name, worst = clean_name(str(summary["worst_group"])), decibels(summary["worst_group_sqnr_db"])
    return [["Worst group", f"{name}, {worst} (median group {decibels(summary['median_group_sqnr_db'])})"]]


def _bits(summary: Mapping[str, Any]) -> list[list[str]]:
    """What a value costs to store, its share of scales counted."""
    bits = summary.get("bits_per_weight")
    return [] if bits is None else [["Bits per weight", f"{short_number(bits)}, scales counted"]]


def decibels(value: float) -> str:
    """SQNR with its unit; the infinite ones in words."""
    if value == math.inf:
        return "no error"
    if value == -math.inf:
        return "signal lost"
    return "no value" if math.isnan(value) else f"{format_cell('sqnr_db', float(value))} dB"


def _clipped(summary: Mapping[str, Any], kind: str) -> str:
    channels, pct = summary["clipped_channels"], summary["clipped_pct"]
    if not channels:
        return "none"
    if kind != "tensor":
        return f"{short_number(channels)} of {short_number(summary['channels'])} channels ({short_number(pct)} %)"
    return f"{plural(summary['clipped'], 'value')} ({short_number(pct)} %) in {plural(channels, 'channel')}"


def _range(low: float, high: float) -> str:
    return format_number(low) if low == high else f"{format_number(low)} to {format_number(high)}"
