"""A calculator's channel: its range, what the codes can represent, and the grid around the sample."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from perchq_widget.report import svg
from perchq_widget.report.svg import Axis, Label
from perchq_widget.report.text import clean_name, code_text, short_number

if TYPE_CHECKING:
    from perchq_widget.study.histogram import ChannelHistogram

# How much further than the furthest code that is shown the axis goes.
_AIR = 3.5 / 3


def draw_number_line(hist: ChannelHistogram, title: str, width: float, height: float) -> str:
    """Above: the whole range with the representable range as a band. Below: the steps around the sample."""
    keys = [("given range", svg.BLUE, 1.0), ("range of the codes", svg.SKY, 0.35)]
    parts = [svg.heading(title, width, keys), _whole(hist, width)]
    if hist.dequantized is not None and hist.scale > 0 and math.isfinite(hist.scale):
        parts.append(_zoom(hist, hist.dequantized, width, height))
    return svg.document(width, height, title, parts)


def number_line_title(hist: ChannelHistogram) -> str:
    """Heading of the figure: the channel, its sample and what became of it."""
    name = clean_name(hist.channel)
    if hist.sample is None or hist.dequantized is None:
        return f"Channel {name}"
    return f"Channel {name}: {short_number(hist.sample, 8)} becomes {short_number(hist.dequantized, 8)}"


def _finite(*values: float | None) -> list[float]:
    return [float(value) for value in values if value is not None and math.isfinite(value)]


def _whole(hist: ChannelHistogram, width: float) -> str:
    points = _finite(hist.quant_lo, hist.quant_hi, hist.min_val, hist.max_val, hist.sample)
    if not points:
        return ""
    lo, hi = min(points), max(points)
    air = 0.04 * ((hi - lo) or abs(hi) or 1.0)
    x = Axis(lo - air, hi + air, 30, width - 30)
    return _range_band(hist, x) + _given_range(hist, x) + _sample_dot(hist, x, width)


def _range_band(hist: ChannelHistogram, x: Axis) -> str:
    """What the codes can represent, its ends labelled above with code and value."""
    ends = _finite(hist.quant_lo, hist.quant_hi)
    if len(ends) < 2:
        return ""
    left, right = x(ends[0]), x(ends[1])
    labels = [
        Label(at, f"code {code_text(code)} = {short_number(value, 6)}", svg.VERMILLION_INK)
        for at, code, value in zip((left, right), (hist.quant_min, hist.quant_max), ends, strict=True)
    ]
    lines = "".join(svg.line(at, 50, at, 84, svg.VERMILLION, 1.5) for at in (left, right))
    return svg.rect(left, 54, right - left, 26, svg.SKY, 0.35) + lines + svg.row_of(labels, 44, 8, x.end + 22)


def _given_range(hist: ChannelHistogram, x: Axis) -> str:
    """The channel's own minimum and maximum as a bracket on the axis."""
    seen = [(name, value) for name, value in (("min", hist.min_val), ("max", hist.max_val)) if math.isfinite(value)]
    axis = svg.line(x.start, 67, x.end, 67, svg.GREY)
    bars = "".join(svg.line(x(value), 60, x(value), 74, svg.BLUE, 2) for _, value in seen)
    if len(seen) == 2:
        bars += svg.line(x(seen[0][1]), 67, x(seen[1][1]), 67, svg.BLUE, 3)
    return axis + bars


def _sample_dot(hist: ChannelHistogram, x: Axis, width: float) -> str:
    labels = [
        Label(x(value), f"{name} {short_number(value, 6)}", svg.BLUE_INK)
        for name, value in (("min", hist.min_val), ("max", hist.max_val))
        if math.isfinite(value)
    ]
    dot = ""
    if hist.sample is not None and math.isfinite(hist.sample):
        dot = svg.circle(x(hist.sample), 67, 5, svg.PINK)
        labels.append(Label(x(hist.sample), f"sample {short_number(hist.sample, 6)}", svg.PINK_INK, bold=True))
    return dot + svg.row_of(labels, 100, 8, width - 8)


def _zoom(hist: ChannelHistogram, value: float, width: float, height: float) -> str:
    """The grid of codes around the dequantized value; beyond the first or last code the ground is grey: clipped."""
    reach = _AIR * max((abs(near - value) for near in hist.near_values), default=3 * hist.scale) or hist.scale
    x = Axis(value - reach, value + reach, 30, width - 30)
    base = height - 62
    steps = np.diff(hist.near_values) if len(hist.near_values) > 1 else np.array([hist.scale])
    even = bool(np.allclose(steps, steps[0], rtol=1e-6))
    size = f", one step = {short_number(float(np.mean(steps)), 6)}" if even else ", where steps differ"
    return "".join(
        [
            svg.text(12, base - 52, f"Around the sample{size}", bold=True),
            _beyond(hist, x, base),
            svg.line(x.start, base, x.end, base, svg.GREY),
            _steps(hist, value, x, base),
            _pair(hist, value, x, base, width),
        ]
    )


def _beyond(hist: ChannelHistogram, x: Axis, base: float) -> str:
    half = hist.end_step / 2
    parts = []
    for left, right in ((x.lo, hist.quant_lo - half), (hist.quant_hi + half, x.hi)):
        if math.isfinite(left) and math.isfinite(right) and right > left:
            parts.append(svg.rect(x(left), base - 14, x(right) - x(left), 28, svg.FAINT, 0.7))
            wide = x(right) - x(left) > svg.text_width("clipped", 11)
            parts.append(
                svg.text((x(left) + x(right)) / 2, base + 11, "clipped", size=11, anchor="middle", fill=svg.GREY)
                if wide
                else ""
            )
    return "".join(parts)


def _steps(hist: ChannelHistogram, value: float, x: Axis, base: float) -> str:
    """The codes around the sample at their real values; labels that would run into one before them are left out."""
    chosen = min(range(len(hist.near_values)), key=lambda index: abs(hist.near_values[index] - value), default=-1)
    parts, taken = [], [(x(hist.near_values[chosen]), _room(hist, chosen))] if chosen >= 0 else []
    for index, (code, real) in enumerate(zip(hist.near_codes, hist.near_values, strict=True)):
        at, width = x(real), _room(hist, index)
        ink = svg.INK if index == chosen else svg.GREY
        parts.append(svg.line(at, base - 9, at, base + 9, ink, 2 if index == chosen else 1))
        if index != chosen and any(abs(at - other) < (width + room) / 2 + 6 for other, room in taken):
            continue
        taken.append((at, width))
        name, bold = f"code {code_text(code)}", index == chosen
        parts.append(svg.text(at, base + 24, name, size=11, anchor="middle", fill=ink, bold=bold))
        parts.append(svg.text(at, base + 38, short_number(real, 6), size=11, anchor="middle", fill=ink))
    return "".join(parts)


def _room(hist: ChannelHistogram, index: int) -> float:
    """Width of a code's label in pixels."""
    texts = f"code {code_text(hist.near_codes[index])}", short_number(hist.near_values[index], 6)
    return max(svg.text_width(text, 11) for text in texts)


def _pair(hist: ChannelHistogram, value: float, x: Axis, base: float, width: float) -> str:
    """Dequantized value and sample, each with its label above; an arrow where the sample lies outside the window."""
    labels = [Label(x(value), f"dequantized {short_number(value, 8)}", svg.BLUE_INK, bold=True)]
    marks = svg.diamond(x(value), base, svg.BLUE)
    sample = hist.sample
    if sample is not None and math.isfinite(sample):
        arrow = "← " if sample < x.lo else "→ " if sample > x.hi else ""
        labels.append(Label(x(sample), f"{arrow}sample {short_number(sample, 8)}", svg.PINK_INK, bold=True))
        marks = svg.line(x(sample), base, x(value), base, svg.PINK, 3) + marks
        marks += svg.circle(x(sample), base, 4.5, svg.PINK)
        error = f"dequantized minus sample = {short_number(value - sample, 4)}"
        marks += svg.text(width / 2, base + 56, error, anchor="middle")
    return marks + svg.row_of(labels, base - 24, 8, width - 8)
