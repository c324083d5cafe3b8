"""The selected channel's error against the clip ratio, split into rounding and clipping; a click sets the ratio."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.metrics import decibels
from ..report.text import escape
from ..study.sweep import ErrorCurve as Curve
from ..study.sweep import error_curve
from . import marks as m
from .charts import Picking, redraw
from .clip_lines import offered
from .histogram_chart import channel_key

if TYPE_CHECKING:
    from ..study.channels import ChannelTable
    from .kit import Kit
    from .view import PanelView

_ABOVE, _LEAST_SPAN = 12.0, 6.0  # dB: what the parts show above the total, and the least that the axis spans
_DB = "SQNR (dB)"
_HELP = "A click sets the clip ratio there. With the keyboard: Use optimum, or the arrow keys of the slider Clip ratio."
_MSE = "mean squared error"


class ErrorCurve:
    """Error of one channel at every clip ratio: in total, by rounding alone and by clipping alone.

    The curve is computed when the channel or a setting other than the ratio changes; a move of the ratio only moves the
    mark of the current point. ``on_clip`` is called with the ratio of a click, or of the optimum.
    """

    def __init__(self, kit: Kit, on_clip: Callable[[float], None]) -> None:
        on = m.scales()
        self._x, self._y = m.axis(on["x"], "clip ratio"), m.axis(on["y"], _DB, vertical=True)
        self._on_clip = on_clip
        self._rounding = m.path(on, m.SKY, line_style="dashed", stroke_width=2.0)
        self._clipping = m.path(on, m.VERMILLION, line_style="dash_dotted", stroke_width=2.0)
        self._total = m.path(on, m.BLUE, stroke_width=2.5)
        self._best = m.points(on, m.ORANGE, "triangle-up", 130)
        self._pick = Picking(on, self._clicked)
        parts = [self._rounding, self._clipping, self._total, self._pick.line, self._best, self._pick.head]
        self._figure = m.figure([*parts, self._pick.hit], [self._x, self._y], height=230)
        self._title, self._legend = kit.html(), kit.html()
        self._use = kit.button(self._use_optimum, description="Use optimum", tooltip="Clip where the error is least")
        self._toggle = kit.button(self._flip, description="MSE", tooltip="Mean squared error in place of SQNR")
        self._in_db = True
        self._known: tuple[object, Any, Curve] | None = None
        self._view: PanelView | None = None
        buttons = kit.row([self._use, self._toggle], "perchq-toggle")
        self.parts = (self._title, self._figure, self._legend, buttons)  # not all are shown where there is no curve
        self.widget = kit.column(self.parts, "perchq-chart perchq-curve")

    def apply(self, view: PanelView) -> None:
        """Draw the channel that ``view`` selects."""
        if view.report is None or view.row is None:
            return
        self._view = view
        known, curve = self._known, self._curve(view.report.study, view.row)
        if known is not self._known or self._view.channel not in self._title.value:
            self._draw(curve)
        self._mark_now(curve, view)

    def _curve(self, table: ChannelTable, row: int) -> Curve:
        """The curve, computed anew where anything but the ratio is another."""
        key = (*channel_key(table, row), replace(table.scheme, clip_ratio=1.0), table.range_from)
        if table.calibration is not None or self._known is None or self._known[0] != key:
            self._known = key, table.array, error_curve(table, row)
        return self._known[2]

    def _draw(self, curve: Curve) -> None:
        """The lines, which only a new curve changes."""
        # taken out and not hidden: bqplot lays out a figure without size too, and fails at it
        self.widget.children = (self._title, self._legend) if curve.reason else self.parts
        name = "" if self._view is None else escape(self._view.channel)
        self._title.value = f'<h4 title="{_HELP}">Error of channel <b>{name}</b> by clip ratio</h4>'
        if curve.reason:
            return
        low, high = self._set_axes(curve)
        redraw(self._pick.hit, [0.0, 1.0], [low, high])
        lines = (self._rounding, self._clipping, self._total)
        for mark, noise in zip(lines, (curve.rounding, curve.clipping, curve.noise), strict=True):
            redraw(mark, curve.ratios, _inside(self._height(noise, curve), low, high))
        best = self._height(curve.noise[[curve.best]], curve)
        redraw(self._best, [curve.optimum], _inside(best, low, high) - 0.05 * (high - low))

    def _height(self, noise: m.Floats, curve: Curve) -> m.Floats:
        """Where sums of squared errors lie on the axis."""
        if self._in_db:
            return decibels(curve.signal, noise)
        with np.errstate(divide="ignore"):
            return np.log10(noise / max(curve.n, 1))

    def _set_axes(self, curve: Curve) -> tuple[float, float]:
        m.set_axis(self._x, 0.0, 1.0, 5)
        low, high = _ends(self._height(curve.noise, curve), self._in_db)
        powers = np.arange(np.ceil(low), np.floor(high) + 1)
        powers = powers[:: max(1, int(np.ceil(powers.size / 7)))]
        labels = {str(int(power)): f"1e{int(power)}" for power in powers}
        with self._y.hold_sync():  # before the ticks: see set_axis
            self._y.label = _DB if self._in_db else _MSE
            self._y.tick_labels = None if self._in_db else labels
        m.set_axis(self._y, low, high, at=None if self._in_db else powers)
        return low, high

    def _mark_now(self, curve: Curve, view: PanelView) -> None:
        """The ratio in force with the error that the table has for it, and both points in words."""
        if curve.reason:
            text = f"no curve: {curve.reason}"
            legend = f'<div class="perchq-legend">{m.swatch(m.GREY, text, "⊘")}</div>'
        else:
            assert view.table is not None
            assert view.row is not None
            now = float(view.report.study.scheme.clip_ratio) if view.report is not None else 1.0
            sqnr, mse = (float(view.table[name].iloc[view.row]) for name in ("sqnr_db", "mse"))
            low, high = self._y.scale.min, self._y.scale.max
            height = np.array([sqnr]) if self._in_db else self._height(np.array([mse * curve.n]), curve)
            redraw(self._pick.line, [now, now], [low, high])
            redraw(self._pick.head, [now], _inside(height, low, high))
            legend = _legend(curve, now, sqnr, mse if not self._in_db else None)
        if self._legend.value != legend:
            self._legend.value = legend

    def _flip(self) -> None:
        self._in_db = not self._in_db
        self._toggle.description = "MSE" if self._in_db else "SQNR"
        if self._known is not None and self._view is not None:
            self._draw(self._known[2])
            self._mark_now(self._known[2], self._view)

    def _use_optimum(self) -> None:
        if self._known is not None and not self._known[2].reason:
            self._on_clip(float(self._known[2].optimum))

    def _clicked(self, x: float, _y: float) -> None:
        if self._known is not None and not self._known[2].reason:
            self._on_clip(offered(x))


def _ends(total: m.Floats, in_db: bool) -> tuple[float, float]:
    """The ends of the axis: the total from end to end, and some of the parts beyond it."""
    finite = total[np.isfinite(total)]
    if finite.size == 0:
        return 0.0, 1.0
    beyond, least = (_ABOVE, _LEAST_SPAN) if in_db else (_ABOVE / 10, 1.0)
    low, high = float(finite.min()), float(finite.max())
    if in_db:
        return low - 0.05 * max(high - low, least), max(high, low + least) + beyond
    return min(low, high - least) - beyond, high + 0.05 * max(high - low, least)


def _inside(heights: m.Floats, low: float, high: float) -> m.Floats:
    """Heights without infinities: what leaves the chart does so at once."""
    span = high - low
    return np.clip(heights, low - 0.2 * span, high + 0.2 * span)


def _db(value: float) -> str:
    return "no error" if value == np.inf else "no signal" if value == -np.inf else f"{value:.1f} dB"


def _legend(curve: Curve, now: float, sqnr: float, mse: float | None) -> str:
    best = _db(float(curve.sqnr_db[curve.best])) if mse is None else f"MSE {curve.mse[curve.best]:.3g}"
    current = _db(sqnr) if mse is None else f"MSE {mse:.3g}"
    sample = "" if curve.exact else f"; from {curve.n_used:,} of {curve.n:,} values"
    keys = [
        m.swatch(m.BLUE, f"error, click to clip there{sample}", "━"),
        m.swatch(m.SKY, "by rounding alone", "╍"),
        m.swatch(m.VERMILLION, "by clipping alone", "┅"),
        m.swatch(m.ORANGE, f"optimum {curve.optimum:.3g}: {best}", "▲"),
        m.swatch(m.PINK, f"now {now:.3g}: {current}", "◆"),
    ]
    return f'<div class="perchq-legend">{"".join(keys)}</div>'
