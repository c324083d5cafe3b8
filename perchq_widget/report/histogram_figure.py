"""The selected channel as a filled step histogram, with the quantization range on it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from perchq_widget.report import svg
from perchq_widget.report.svg import Axis, Label
from perchq_widget.report.text import clean_name, code_text, plural, short_number

if TYPE_CHECKING:
    from perchq_widget.study.histogram import ChannelHistogram

# A range that is wider than this many widths of the data on one side is cut there and continued by an arrow.
_REACH = 12.0


def draw_histogram(hist: ChannelHistogram, title: str, width: float, height: float) -> str:
    """Counts per bin, range band, clip lines with code, value and clipped count, minimum and maximum."""
    x = Axis(*_domain(hist), 64, width - 20)
    y = Axis(0.0, max(1.0, float(np.max(hist.counts))), height - 52, 72)
    parts = [
        svg.heading(title, width, [("values", svg.BLUE, 0.85), (f"range of the codes{hist.whose}", svg.SKY, 0.35)]),
        svg.upright(16, (y.start + y.end) / 2, "values per bin"),
        _band(hist, x, y),
        _grid(x, y),
        svg.path(_steps(hist, x, y), fill=svg.BLUE, opacity=0.85),
        svg.line(x.start, y.start, x.end, y.start, svg.GREY),
        _clip_lines(hist, x, y),
        _clip_labels(hist, x),
        _x_ticks(x, y.start),
        _extremes(hist, x, y.start, width),
    ]
    return svg.document(width, height, title, parts)


def draw_nothing(hist: ChannelHistogram, title: str, width: float, height: float) -> str:
    """The figure of a channel that holds no finite value."""
    note = "No finite value to draw; NaN, infinite or too large for the format: " + f"{hist.n_nonfinite:,}"
    words = svg.text(width / 2, height / 2, note, anchor="middle", fill=svg.GREY)
    return svg.document(width, height, title, [svg.heading(title, width), words])


def histogram_title(hist: ChannelHistogram) -> str:
    """Heading of the figure: the channel, and what was left out of it."""
    left_out = f", {hist.n_nonfinite:,} not finite left out" if hist.n_nonfinite else ""
    return f"Channel {clean_name(hist.channel)}: {plural(int(np.sum(hist.counts)), 'value')}{left_out}"


def _domain(hist: ChannelHistogram) -> tuple[float, float]:
    """Data and quantization range, the latter cut where it would leave the data a sliver; a little air around."""
    low, high = float(hist.edges[0]), float(hist.edges[-1])
    reach = _REACH * ((high - low) or abs(high) or 1.0)
    ends = [end for end in (hist.quant_lo, hist.quant_hi) if math.isfinite(end)]
    lo = max(min([low, *ends]), low - reach)
    hi = min(max([high, *ends]), high + reach)
    air = 0.03 * ((hi - lo) or abs(hi) or 1.0)
    return lo - air, hi + air


def _band(hist: ChannelHistogram, x: Axis, y: Axis) -> str:
    if not (math.isfinite(hist.quant_lo) and math.isfinite(hist.quant_hi)):
        return ""
    left, right = x(hist.quant_lo), x(hist.quant_hi)
    return svg.rect(left, y.end - 6, right - left, y.start - y.end + 6, svg.SKY, 0.2)


def _grid(x: Axis, y: Axis) -> str:
    parts = []
    for tick in y.ticks(3):
        parts.append(svg.line(x.start, y(tick), x.end, y(tick), svg.FAINT))
        parts.append(svg.text(x.start - 6, y(tick) + 4, short_number(tick), size=11, anchor="end", fill=svg.GREY))
    return "".join(parts)


def _steps(hist: ChannelHistogram, x: Axis, y: Axis) -> str:
    """Path around the bins; a bin that holds anything is at least a pixel high, or lone outliers would vanish."""
    commands = [f"M{svg.num(x(float(hist.edges[0])))} {svg.num(y.start)}"]
    for count, edge in zip(hist.counts.tolist(), hist.edges[1:].tolist(), strict=True):
        top = min(y(count), y.start - 1) if count > 0 else y.start
        commands.append(f"V{svg.num(top)}H{svg.num(x(edge))}")
    return "".join(commands) + f"V{svg.num(y.start)}Z"


def _ends(hist: ChannelHistogram) -> list[tuple[float, float, int]]:
    """Value, code and clipped count of both ends of the quantization range that are finite."""
    ends = [(hist.quant_lo, hist.quant_min, hist.n_below), (hist.quant_hi, hist.quant_max, hist.n_above)]
    return [end for end in ends if math.isfinite(end[0])]


def _clip_lines(hist: ChannelHistogram, x: Axis, y: Axis) -> str:
    inside = [x(value) for value, _, _ in _ends(hist) if x.lo <= value <= x.hi]
    return "".join(svg.line(at, y.end - 10, at, y.start, svg.VERMILLION, 1.5) for at in inside)


def _clip_labels(hist: ChannelHistogram, x: Axis) -> str:
    """Two rows above the plot: what the end codes stand for, and how many values fall beyond each."""
    codes, counts = [], []
    for value, code, clipped in _ends(hist):
        arrow = "← " if value < x.lo else "→ " if value > x.hi else ""
        codes.append(Label(x(value), f"{arrow}code {code_text(code)} = {short_number(value, 6)}", svg.VERMILLION_INK))
        note = f"{clipped:,} clipped" if clipped else "none clipped"
        counts.append(Label(x(value), note, svg.VERMILLION_INK if clipped else svg.GREY, bool(clipped), 11))
    ends = x.start - 50, x.end + 14
    marks = "".join(
        svg.triangle(at - label.width / 2 - 6, 51, svg.VERMILLION)
        for at, label in zip(svg.spread(counts, *ends, gap=26), counts, strict=True)
        if label.bold
    )
    return svg.row_of(codes, 40, *ends) + svg.row_of(counts, 55, *ends, gap=26) + marks


def _x_ticks(x: Axis, base: float) -> str:
    parts = []
    for tick in x.ticks(7):
        parts.append(svg.line(x(tick), base, x(tick), base + 4, svg.GREY))
        parts.append(svg.text(x(tick), base + 17, short_number(tick), size=11, anchor="middle", fill=svg.GREY))
    return "".join(parts)


def _extremes(hist: ChannelHistogram, x: Axis, base: float, width: float) -> str:
    """Ticks at the smallest and largest value, labelled in the row under the axis."""
    low, high = float(hist.min_val), float(hist.max_val)
    seen = [(name, value) for name, value in (("min", low), ("max", high)) if math.isfinite(value)]
    marks = "".join(svg.triangle(x(value), base + 24, svg.BLUE, size=3.5) for _, value in seen)
    labels = [Label(x(value), f"{name} {short_number(value, 6)}", svg.BLUE_INK) for name, value in seen]
    labels.append(Label((x.start + x.end) / 2, "value", svg.GREY, size=11))
    return marks + svg.row_of(labels, base + 42, 8, width - 8)
