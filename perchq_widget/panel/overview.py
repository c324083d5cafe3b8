"""SQNR of all channels at a glance, before the pinned baseline."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import bqplot as bq
import numpy as np

from ..report.rows import clipped_rows
from ..report.summary import decibels
from ..report.svg import Label, fit, spread
from ..report.text import clean_name, escape, shorten
from . import marks as m
from .baseline import mismatch
from .charts import Ends, Mask, Picking, count, median, name_channels, redraw, round_ends, steady_ends, valueless
from .columns import Columns, columns_of

if TYPE_CHECKING:
    from .kit import Kit
    from .view import PanelView

_INK = "#444444"  # readable upon bars of every colour; the style sheet turns it light on dark pages
_NAMED, _NAME_PX, _PLOT_PX = 3, 96.0, 350.0  # names above the plot, and what the narrowest has room for
_ROOM = 0.24  # of the bars' height, above them: for names and the selected channel's mark
_SAME_DB = 0.005  # less than two decimals show


@dataclass(frozen=True, eq=False, slots=True)
class Drawn:
    """The numbers behind one picture: per channel SQNR (NaN: no value), clipped or not, SQNR of the baseline.

    ``tensor``: a channel counts as clipped where a value lies more than one code outside; else where its sample does.
    """

    sqnr: m.Floats
    clipped: Mask
    columns: Columns
    names: tuple[str, ...]
    worst: tuple[int, ...]
    baseline: m.Floats | None = None
    baseline_name: str = ""
    unlike: str = ""  # why there is a baseline that is not drawn
    tensor: bool = False


class OverviewChart:
    """SQNR of all channels as bars, a column each or for several; a click selects the nearest.

    Names stand in a row above the bars, each with a line to its own; below them a mark where channels are clipped.
    """

    def __init__(self, kit: Kit, on_select: Callable[[int], None]) -> None:
        on = m.scales()
        self._x, self._y = m.axis(on["x"], "channel"), m.axis(on["y"], "SQNR (dB)", vertical=True)
        self._on_select = on_select
        self._drawn: Drawn | None = None
        self._ends: Ends | None = None
        self._tops = np.zeros(1)
        # One mark for four paths, because bqplot's cost is per mark: the highest of each column, the lowest of those
        # without clipped channels, of those with, and the marks below the bars.
        colors = [m.SKY, m.BLUE, m.VERMILLION, m.VERMILLION]
        self._bars = m.path(on, colors, fill="inside", fill_colors=colors, fill_opacities=[0.4, 0.85, 0.85, 1.0],
                            stroke_width=0.0)  # fmt: skip
        self._base = m.path(on, _INK, stroke_width=1.5, visible=False)
        self._leaders = m.path(on, [m.GREY] * _NAMED, stroke_width=1.0)
        self._worst = m.points(on, m.ORANGE, "triangle-down", 90)
        none = np.zeros(_NAMED)
        self._labels = bq.Label(x=none, y=none, text=[""] * _NAMED, scales=on, colors=[m.GREY], default_size=11,
                                font_weight="normal", align="middle")  # fmt: skip
        self.picking = Picking(on, self._clicked)
        parts = [self._bars, self._base, self._leaders, self.picking.line, self._worst, self.picking.head]
        self._figure = m.figure([*parts, self._labels, self.picking.hit], [self._x, self._y], height=240)
        self._title, self._legend = kit.html(), kit.html()
        self.widget = kit.column([self._title, self._figure, self._legend], "perchq-chart perchq-overview")

    def apply(self, view: PanelView, *, data: bool) -> None:
        """Draw all channels (``data``), or only move the marks of the selected one."""
        if view.report is None or view.row is None:
            return
        if data:
            self._draw(view)
        assert self._ends is not None
        low, high = self._ends
        self.picking.select(view.row, low, high - 0.68 * _ROOM / (1 + _ROOM) * (high - low))

    def _draw(self, view: PanelView) -> None:
        name_channels(self._x, view)
        self._drawn = drawn = drawn_of(view)
        self._ends = ends = steady_ends(self._ends, sqnr_ends(drawn))
        low, high = ends
        foot = low - 0.07 * (high - low)  # the bars stand above the marks of the clipped
        m.set_axis(self._y, foot, high)
        self.picking.cover(drawn.sqnr.size, foot, high)
        self._draw_bars(drawn, ends)
        self._draw_baseline(drawn, ends)
        self._draw_names(drawn, ends)
        self._title.value = _title(drawn)
        self._legend.value = _legend(drawn)

    def _draw_bars(self, drawn: Drawn, ends: Ends) -> None:
        low, high = ends
        columns, unit = drawn.columns, high - low
        heights = heights_of(drawn.sqnr, ends)
        tops, clipped = columns.lowest(heights), columns.any(drawn.clipped)
        self._tops = np.where(np.isnan(tops), low, tops)
        upper = columns.highest(heights) if columns.per > 1 else tops
        rows = [
            columns.steps_y(np.where(np.isnan(upper), low, upper), low),
            columns.steps_y(np.where(clipped, low, self._tops), low),
            columns.steps_y(np.where(clipped, self._tops, low), low),
            columns.steps_y(np.where(clipped, low - 0.015 * unit, low - 0.055 * unit), low - 0.055 * unit),
        ]
        redraw(self._bars, columns.steps_x(), np.stack(rows), interpolation=columns.interpolation)

    def _draw_baseline(self, drawn: Drawn, ends: Ends) -> None:
        self._base.visible = drawn.baseline is not None
        if drawn.baseline is not None:
            lowest = drawn.columns.lowest(heights_of(drawn.baseline, ends))
            redraw(self._base, drawn.columns.lines_x(), drawn.columns.lines_y(lowest, ends[0]))

    def _draw_names(self, drawn: Drawn, ends: Ends) -> None:
        """Names of the worst channels in a row, and a line from each to its bar; always as many, see NumberLine."""
        low, high = ends
        for mark in (self._leaders, self._worst, self._labels):
            mark.visible = bool(drawn.worst)
        if not drawn.worst:
            return
        rest = _NAMED - len(drawn.worst)
        rows = np.array([*drawn.worst, *[drawn.worst[0]] * rest], dtype=np.float64)
        tops = heights_of(drawn.sqnr, ends)[rows.astype(int)] + 0.03 * (high - low)
        names, at = placed_names(drawn)
        at, names = [*at, *[at[0]] * rest], [*names, *[""] * rest]
        row, under = (high - part * _ROOM / (1 + _ROOM) * (high - low) for part in (0.2, 0.42))
        redraw(self._worst, rows, tops)
        redraw(self._leaders, np.stack([at, rows], axis=1), np.stack([np.full(_NAMED, under), tops], axis=1))
        with self._labels.hold_sync(), self._labels.hold_trait_notifications():
            self._labels.x, self._labels.y = np.array(at), np.full(_NAMED, row)
            self._labels.text = np.array(names)

    def _clicked(self, x: float, y: float) -> None:
        self._on_select(self.nearest(x, y))

    def nearest(self, x: float, y: float) -> int:
        """The row that a click at (x, y) means: of columns under one finger's width that whose top is nearest to it.

        Of several channels in a column the worst.
        """
        assert self._drawn is not None
        columns, n = self._drawn.columns, self._tops.size
        middle, reach = (x + 0.5) / columns.per - 0.5, max(0.5, n / 150)
        near = np.arange(max(0, int(np.ceil(middle - reach))), min(n, int(np.floor(middle + reach)) + 1))
        column = columns.at(x) if near.size == 0 else int(near[np.argmin(np.abs(self._tops[near] - y))])
        rows = columns.rows(column)
        sqnr = self._drawn.sqnr[rows.start : rows.stop]
        return rows[int(np.argmin(np.where(np.isnan(sqnr), np.inf, sqnr)))]


def drawn_of(view: PanelView) -> Drawn:
    """What the overview draws of ``view``, which has a report."""
    assert view.table is not None
    sqnr = view.table["sqnr_db"].to_numpy(dtype=np.float64)
    sqnr = np.where(valueless(view.table), np.nan, sqnr)
    pin, baseline, unlike = view.baseline, None, mismatch(view)
    if pin is not None and not unlike:
        then = pin.report.study.known
        baseline = np.where(valueless(then), np.nan, then["sqnr_db"].to_numpy(dtype=np.float64))
    name = "" if pin is None else pin.name
    columns = columns_of(sqnr.size)
    worst, tensor = worst_rows(sqnr), view.kind == "tensor"
    return Drawn(sqnr, clipped_rows(view.table), columns, view.names, worst, baseline, name, unlike, tensor)


def worst_rows(sqnr: m.Floats, most: int = _NAMED) -> tuple[int, ...]:
    """The rows of lowest SQNR, worst first, the first of equals; none that is without error or without a value."""
    values = np.where(np.isnan(sqnr), np.inf, sqnr)
    limit = np.partition(values, most - 1)[most - 1] if values.size > most else np.inf
    low = np.flatnonzero((values <= limit) & (values < np.inf))
    return tuple(low[np.argsort(values[low], kind="stable")][:most].tolist())


def sqnr_ends(drawn: Drawn) -> Ends:
    """Round ends of the axis, from 0 dB where that shows the bars well, with room for names above them."""
    known = drawn.sqnr if drawn.baseline is None else np.concatenate([drawn.sqnr, drawn.baseline])
    finite = known[np.isfinite(known)]
    if finite.size == 0:
        return 0.0, 1.0
    low, high = float(finite.min()), float(finite.max())
    middle = 0.5 * (low + high)
    low, high = min(low, middle - 1.0), max(high, middle + 1.0)  # two dB at least: less is no difference
    if low <= 0 or low > 0.6 * high:
        low -= 0.08 * (high - low)  # so that the lowest bar can be seen
    return round_ends(low, high, _ROOM, zero=True)


def heights_of(sqnr: m.Floats, ends: Ends) -> m.Floats:
    """Where bars end: those without error at the top, those of zeros with errors just above the foot."""
    low, high = ends
    return np.clip(sqnr, low + 0.012 * (high - low), low + (high - low) / (1 + _ROOM))


def placed_names(drawn: Drawn) -> tuple[list[str], list[float]]:
    """Names of the worst channels, cut to size, and where they stand so that none overlap or leave the plot."""
    n = len(drawn.names)
    wide = (n + 0.2) / _PLOT_PX
    names = [fit(clean_name(drawn.names[row]), _NAME_PX, 11) for row in drawn.worst]
    labels = [Label((row + 0.6) / wide, name, size=11) for row, name in zip(drawn.worst, names, strict=True)]
    return names, [centre * wide - 0.6 for centre in spread(labels, 0.0, _PLOT_PX, 8)]


def _title(drawn: Drawn) -> str:
    """What the picture shows in words, for those who do not see it too."""
    what = "one to select it" if drawn.columns.per == 1 else "a column to select its worst"
    head = f"<h4>SQNR of {count(drawn.sqnr.size, 'channel')} · click {what}</h4>"
    known = drawn.sqnr[~np.isnan(drawn.sqnr)]
    words = "no channel has a finite value"
    if known.size:
        worst = f" ({shorten(clean_name(drawn.names[drawn.worst[0]]), 24)})" if drawn.worst else ""
        lowest, middle, highest = (decibels(float(each)) for each in (known.min(), median(known), known.max()))
        words = f"lowest {lowest}{worst}, median {middle}, highest {highest}"
        words = f"all: {lowest}" if lowest == middle == highest else words
    return f'{head}<div class="perchq-caption">{escape(words)}</div>'


def _legend(drawn: Drawn) -> str:
    sqnr, per = drawn.sqnr, drawn.columns.per
    beyond = " by more than a code" if drawn.tensor else ""
    keys = [m.swatch(m.BLUE, f"not clipped{beyond}")]
    if per > 1:
        keys = [m.swatch(m.BLUE, f"each column: {per} channels, lowest"), m.swatch(m.SKY, "and highest")]
    clipped = int(drawn.clipped.sum())
    text = f"clipped{beyond}: {count(clipped, 'channel')}, underlined" if clipped else f"clipped{beyond}: no channel"
    keys.append(m.swatch(m.VERMILLION, text, "▬"))
    if drawn.worst:
        names = ", ".join(shorten(clean_name(drawn.names[row]), 24) for row in drawn.worst)
        keys.append(m.swatch(m.ORANGE, f"worst: {names}", "▼"))
    keys.append(m.swatch(m.PINK, "selected", "◆"))
    keys += _baseline_keys(drawn)
    exact, none = int(np.isposinf(sqnr).sum()), int(np.isneginf(sqnr).sum())
    if exact:
        keys.append(m.swatch(m.GREY, f"{count(exact, 'channel')} without error, drawn at the top", "∞"))
    if none:
        keys.append(m.swatch(m.ORANGE, f"{count(none, 'channel')} of zeros with errors, drawn at the foot", "▼"))
    empty = int(np.isnan(sqnr).sum())
    if empty:
        keys.append(m.swatch(m.ORANGE, f"{count(empty, 'channel')} without a finite value, not drawn", "✕"))
    return f'<div class="perchq-legend">{"".join(keys)}</div>'


def _baseline_keys(drawn: Drawn) -> list[str]:
    if drawn.unlike:
        return [m.swatch(m.GREY, f"baseline not drawn: {drawn.unlike}", "—")]
    if drawn.baseline is None:
        return []
    better = int((drawn.sqnr > drawn.baseline + _SAME_DB).sum())
    worse = int((drawn.sqnr < drawn.baseline - _SAME_DB).sum())
    name = shorten(clean_name(drawn.baseline_name), 40)
    lowest = "" if drawn.columns.per == 1 else ", lowest of each column"
    return [m.swatch(_INK, f"baseline {name}{lowest}; now {better:,} better, {worse:,} worse", "━")]
