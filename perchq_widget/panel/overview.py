"""SQNR of all channels at a glance."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import bqplot as bq
import ipywidgets as w
import numpy as np

from ..report.rows import row_flags
from ..report.text import clean_name, shorten
from . import marks as m
from .charts import count, without_value

if TYPE_CHECKING:
    from .kit import Kit
    from .view import PanelView

# A transparent pixel: stretched over the plot it is the one element that reports where it was clicked.
_PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAAC0lEQVR42mNgAAIAAAUAAen63NgAAAAASUVORK5CYII="
)
_MANY_NAMES = 12


class OverviewChart:
    """SQNR of every channel as one path; clipped channels as a second one; a click selects the nearest bar."""

    def __init__(self, kit: Kit, on_select: Callable[[int], None]) -> None:
        on = m.scales()
        self._x, self._y = m.axis(on["x"], "channel"), m.axis(on["y"], "SQNR (dB)", vertical=True)
        self._on_select = on_select
        self._tops = np.zeros(1)
        fill = {"fill": "bottom", "stroke_width": 1.0}
        self._good = m.path(on, m.BLUE, fill_colors=[m.BLUE], fill_opacities=[0.75], **fill)
        self._clipped = m.path(on, m.VERMILLION, fill_colors=[m.VERMILLION], fill_opacities=[0.85], **fill)
        self._chosen = m.path(on, m.PINK, stroke_width=2.0)
        self._worst, self._pick = m.points(on, m.ORANGE, "triangle-down", 120), m.points(on, m.PINK, "diamond", 120)
        self._hit = bq.Image(image=w.Image(value=_PIXEL, format="png"), scales=on)
        self._hit.on_element_click(self._clicked)
        parts = [self._good, self._clipped, self._chosen, self._worst, self._pick, self._hit]
        self._figure = m.figure(parts, [self._x, self._y], height=230)
        self._title, self._legend = kit.html(), kit.html()
        self.widget = kit.column([self._title, self._figure, self._legend], "perchq-chart perchq-overview")

    def apply(self, view: PanelView, *, data: bool) -> None:
        """Draw all channels (``data``), or only move the marks of the selected one."""
        if view.report is None or view.row is None:
            return
        if data:
            self._draw(view)
        low, high = self._y.scale.min, self._y.scale.max
        m.set_xy(self._chosen, [view.row, view.row], [low, high])
        m.set_xy(self._pick, [view.row], [high - 0.05 * (high - low)])

    def _draw(self, view: PanelView) -> None:
        assert view.table is not None
        assert view.report is not None
        sqnr = view.table["sqnr_db"].to_numpy(dtype=np.float64)
        clipped = np.array(["clipped" in flags for flags in row_flags(view.table)])
        low, high = _y_bounds(sqnr)
        self._tops = np.clip(sqnr, low, high - 0.06 * (high - low))
        m.set_xy(self._hit, [-0.6, sqnr.size - 0.4], [low, high])
        m.set_axis(self._y, low, high)
        m.set_xy(self._good, *m.bars(np.where(clipped, low, self._tops), low))
        m.set_xy(self._clipped, *m.bars(np.where(clipped, self._tops, low), low))
        worst = int(np.argmin(sqnr))
        m.set_xy(self._worst, [worst], [self._tops[worst]])
        self._name_ticks(view)
        self._title.value = f"<h4>SQNR of {count(sqnr.size, 'channel')} · click one to select it</h4>"
        self._legend.value = _overview_legend(sqnr, clipped, without_value(view.report), view.names[worst])

    def _name_ticks(self, view: PanelView) -> None:
        n, kind = len(view.names), "ranges" if view.report is None else view.report.kind
        few, limit = n <= _MANY_NAMES, max(6, 60 // n)
        with self._x.hold_sync():  # before the ticks: see set_axis
            self._x.label = f"channel (axis {view.intent.ch_axis})" if kind == "tensor" else "channel"
            self._x.tick_labels = (
                {str(i): shorten(clean_name(name), limit) for i, name in enumerate(view.names)} if few else None
            )
        m.set_axis(self._x, -0.6, n - 0.4, 8, whole=True, at=np.arange(n, dtype=np.float64) if few else None)

    def _clicked(self, _mark: Any, message: Any) -> None:
        where = message["data"]
        self._on_select(self.nearest(float(where["click_x"]), float(where["click_y"])))

    def nearest(self, x: float, y: float) -> int:
        """The row of the bar that a click at (x, y) means: of bars under one finger's width, the nearest top."""
        n = self._tops.size
        reach = max(0.5, n / 150)
        rows = np.arange(max(0, int(np.ceil(x - reach))), min(n, int(np.floor(x + reach)) + 1))
        if rows.size == 0:
            return int(np.clip(round(x), 0, n - 1))
        return int(rows[np.argmin(np.abs(self._tops[rows] - y))])


def _y_bounds(sqnr: m.Floats) -> tuple[float, float]:
    """Round ends, which stay where they are while a control moves a little: a moved axis draws every path twice."""
    finite = sqnr[np.isfinite(sqnr)]
    if finite.size == 0:
        return 0.0, 1.0
    low, high = float(finite.min()), float(finite.max())
    span = max(high - low, 2.0)
    step = m.round_step(0.2 * span)
    return step * float(np.floor((low - 0.25 * span) / step)), step * float(np.ceil((high + 0.2 * span) / step))


def _overview_legend(sqnr: m.Floats, clipped: Any, empty: Any, worst: str) -> str:
    keys = [
        m.swatch(m.BLUE, "not clipped"),
        m.swatch(m.VERMILLION, f"clipped: {count(int(clipped.sum()), 'channel')}", "▲"),
        m.swatch(m.ORANGE, f"worst: {shorten(clean_name(worst), 40)}", "▼"),
        m.swatch(m.PINK, "selected", "◆"),
    ]
    exact, none = int(np.isposinf(sqnr).sum()), int((np.isneginf(sqnr) & ~empty).sum())
    if exact:
        keys.append(m.swatch(m.GREY, f"{count(exact, 'channel')} without error, drawn at the top", "∞"))
    if none:
        keys.append(m.swatch(m.ORANGE, f"{count(none, 'channel')} of zeros with errors, drawn at the foot", "▼"))
    if empty.any():
        text = f"{count(int(empty.sum()), 'channel')} without a finite value, drawn at the foot"
        keys.append(m.swatch(m.ORANGE, text, "▼"))
    return f'<div class="perchq-legend">{"".join(keys)}</div>'
