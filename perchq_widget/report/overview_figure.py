"""SQNR of every channel in one picture: bars while they can be told apart, one path above that."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from perchq_widget.report import svg
from perchq_widget.report.svg import Axis, Label
from perchq_widget.report.text import clean_name, plural, short_number

_MOST_BARS = 64


@dataclass(frozen=True, slots=True, eq=False)
class Overview:
    """What the figure shows: ``labels`` and SQNR per channel, indices of two of them, the low-SQNR mark."""

    labels: Sequence[str]
    sqnr_db: NDArray[np.float64]
    selected: int | None = None
    worst: int | None = None
    low_db: float | None = None

    @property
    def few(self) -> bool:
        """Whether every channel gets a bar."""
        return self.sqnr_db.size <= _MOST_BARS

    @property
    def finite(self) -> NDArray[np.float64]:
        """The values that have a height."""
        return self.sqnr_db[np.isfinite(self.sqnr_db)]

    @property
    def low(self) -> NDArray[np.bool_]:
        """Which channels' SQNR is under the mark."""
        return self.sqnr_db < (-math.inf if self.low_db is None else self.low_db)


def draw_overview(view: Overview, title: str, width: float, height: float) -> str:
    """Bars or a path, the low-SQNR line, exact and undefined channels marked apart, worst and selected labelled."""
    x = Axis(-0.5, max(view.sqnr_db.size, 1) - 0.5, 52, width - 16)
    y = Axis(*_domain(view), height - 40, 62)
    parts = [
        svg.heading(title, width, _keys(view, y)),
        svg.upright(14, (y.start + y.end) / 2, "SQNR, dB"),
        _grid(x, y) if view.finite.size else "",
        _bars(view, x, y) if view.few else _trace(view, x, y),
        _threshold(view, x, y),
        _marks(view, x, y),
        svg.line(x.start, y.start, x.end, y.start, svg.GREY),
        _channel_axis(view, x, y.start),
        _callouts(view, x, y, width),
    ]
    return svg.document(width, height, title, parts)


def overview_title(view: Overview) -> str:
    """Heading of the figure, with the channels that have no height counted."""
    exact = int(np.count_nonzero(np.isposinf(view.sqnr_db)))
    extra = f", {exact:,} exact" if exact else ""
    return f"SQNR of {plural(view.sqnr_db.size, 'channel')}, dB{extra}"


def _keys(view: Overview, y: Axis) -> list[tuple[str, str, float]]:
    if view.low_db is None or not (y.lo < view.low_db < y.hi or view.low.any()):
        return []
    return [(f"low: under {short_number(view.low_db)} dB", svg.ORANGE, 1.0)]


def _domain(view: Overview) -> tuple[float, float]:
    """Bars stand on zero; a path has no foot, so its axis follows the values, and the mark where that is near."""
    values = view.finite if view.finite.size else np.array([0.0, 1.0])
    lo, hi = float(values.min()), float(values.max())
    if view.few:
        lo, hi = min(lo, 0.0), max(hi, 0.0)
    elif view.low_db is not None and lo - 10 < view.low_db < hi + 10:
        lo, hi = min(lo, view.low_db), max(hi, view.low_db)
    air = 0.06 * ((hi - lo) or abs(hi) or 1.0)
    return (lo if lo == 0 else lo - air), hi + air


def _grid(x: Axis, y: Axis) -> str:
    parts = []
    for tick in y.ticks(4):
        parts.append(svg.line(x.start, y(tick), x.end, y(tick), svg.FAINT))
        parts.append(svg.text(x.start - 6, y(tick) + 4, short_number(tick), size=11, anchor="end", fill=svg.GREY))
    return "".join(parts)


def _threshold(view: Overview, x: Axis, y: Axis) -> str:
    """The line under which SQNR is called low."""
    if view.low_db is None or not y.lo < view.low_db < y.hi:
        return ""
    return svg.line(x.start, y(view.low_db), x.end, y(view.low_db), svg.ORANGE, 1.5, "5 4")


def _bars(view: Overview, x: Axis, y: Axis) -> str:
    thick = min(40.0, 0.7 * (x.end - x.start) / max(1, view.sqnr_db.size))
    zero, parts = y(0.0), []
    for index, (value, low) in enumerate(zip(view.sqnr_db.tolist(), view.low.tolist(), strict=True)):
        if math.isfinite(value):
            fill = svg.PINK if index == view.selected else svg.ORANGE if low else svg.BLUE
            top, bottom = min(y(value), zero), max(y(value), zero)
            parts.append(svg.rect(x(index) - thick / 2, top, thick, max(bottom - top, 1), fill, 0.9))
    return "".join(parts)


def _trace(view: Overview, x: Axis, y: Axis) -> str:
    """One path: per pixel column a stroke from the lowest to the highest channel in it, so that no outlier is lost."""
    heights = np.isfinite(view.sqnr_db)
    if not heights.any():
        return ""
    values, at = view.sqnr_db[heights], _pixels(view, x)[heights].astype(np.int64)
    starts = np.flatnonzero(np.r_[True, np.diff(at) > 0])
    low, high = np.minimum.reduceat(values, starts), np.maximum.reduceat(values, starts)
    rows = zip(at[starts].tolist(), low.tolist(), high.tolist(), strict=True)
    points = (f"{column} {svg.num(y(bottom))}L{column} {svg.num(y(top))}" for column, bottom, top in rows)
    return svg.path("M" + "L".join(points), stroke=svg.BLUE)


def _pixels(view: Overview, x: Axis) -> NDArray[np.float64]:
    """Where each channel stands on the horizontal axis."""
    first, last = x(0), x(max(1, view.sqnr_db.size - 1))
    return np.linspace(first, last, view.sqnr_db.size) if view.sqnr_db.size > 1 else np.full(view.sqnr_db.size, first)


def _marks(view: Overview, x: Axis, y: Axis) -> str:
    """Diamonds at the top for exact channels, ▼ for lost and for low ones, strokes for those without a value."""
    at, values = _pixels(view, x), view.sqnr_db
    parts = [svg.diamond(pixel, y.end - 2, svg.BLUE, 3.5) for pixel in _thinned(at[np.isposinf(values)])]
    parts += [svg.triangle(pixel, y.start - 6, svg.VERMILLION, up=False) for pixel in _thinned(at[np.isneginf(values)])]
    parts += [svg.line(pixel - 3, y.start - 3, pixel + 3, y.start - 9, svg.GREY, 1.5) for pixel in _none(at, values)]
    if view.few:
        low = np.flatnonzero(view.low & np.isfinite(values))
        tops = [min(y(float(values[index])), y(0.0)) - 7 for index in low]
        parts += [svg.triangle(at[index], top, svg.ORANGE, up=False) for index, top in zip(low, tops, strict=True)]
    return "".join(parts)


def _none(at: NDArray[np.float64], values: NDArray[np.float64]) -> list[float]:
    return _thinned(at[np.isnan(values)])


def _thinned(pixels: NDArray[np.float64], apart: float = 4) -> list[float]:
    """Marks no closer than ``apart`` pixels: thousands of channels share them."""
    kept: list[float] = []
    for pixel in pixels.tolist():
        if not kept or pixel - kept[-1] >= apart:
            kept.append(pixel)
    return kept


def _channel_axis(view: Overview, x: Axis, base: float) -> str:
    """Names below the bars, long ones cut, where there is room for most; else round indices."""
    names = [clean_name(label) for label in view.labels] if view.few else []
    room = (x.end - x.start) / max(1, view.sqnr_db.size) - 6
    fitting = sum(svg.text_width(name, 11) <= room for name in names)
    if names and (fitting == len(names) or (room > 60 and 2 * fitting >= len(names))):
        spots = [(index, svg.fit(name, room, 11)) for index, name in enumerate(names)]
    else:
        spots = [(round(tick), f"{round(tick):,}") for tick in x.ticks(8) if tick == round(tick) and tick >= 0]
    parts = []
    for index, name in spots:
        parts.append(svg.line(x(index), base, x(index), base + 4, svg.GREY))
        parts.append(svg.text(x(index), base + 17, name, size=11, anchor="middle", fill=svg.GREY))
    axis = svg.text((x.start + x.end) / 2, base + 34, "channel", size=11, anchor="middle", fill=svg.GREY)
    return "".join(parts) + axis


def _callouts(view: Overview, x: Axis, y: Axis, width: float) -> str:
    """Worst and selected channel named above the plot, each with a line down to its bar or point."""
    wanted: dict[int, list[str]] = {}
    for word, index in (("worst", view.worst), ("selected", view.selected)):
        if index is not None and 0 <= index < view.sqnr_db.size:
            wanted.setdefault(index, []).append(word)
    labels = [_callout(view, index, " and ".join(words), x) for index, words in wanted.items()]
    centres = svg.spread(labels, 8, width - 8)
    parts = [svg.row_of(labels, 42, 8, width - 8)]
    for index, centre in zip(wanted, centres, strict=True):
        colour = svg.PINK if index == view.selected else svg.VERMILLION
        foot = _height(float(view.sqnr_db[index]), y)
        parts.append(svg.path(f"M{svg.num(centre)} 48L{svg.num(x(index))} 56V{svg.num(foot)}", stroke=colour))
        parts.append(svg.circle(x(index), foot, 3, colour))
    return "".join(parts)


def _callout(view: Overview, index: int, words: str, x: Axis) -> Label:
    value = float(view.sqnr_db[index])
    reading = "exact" if value == math.inf else f"{value:.1f} dB" if math.isfinite(value) else "no value"
    if value == -math.inf:
        reading = "signal lost"
    name = svg.fit(clean_name(view.labels[index]), 180)
    fill = svg.PINK_INK if index == view.selected else svg.VERMILLION_INK
    return Label(x(index), f"{words}: {name}, {reading}", fill)


def _height(value: float, y: Axis) -> float:
    if math.isnan(value):
        return y.start
    return y(min(max(value, y.lo), y.hi)) if math.isfinite(value) else (y.end if value > 0 else y.start)
