"""The selected channel's values beside what its codes can represent."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..report.text import escape
from . import marks as m
from .charts import span

if TYPE_CHECKING:
    from ..study.histogram import ChannelHistogram
    from .kit import Kit
    from .view import PanelView


class HistogramChart:
    """Histogram of the selected channel; the range that codes can represent as a band; clip lines at its ends."""

    def __init__(self, kit: Kit) -> None:
        on = m.scales()
        self._x, self._y = m.axis(on["x"], "value"), m.axis(on["y"], "values per bin", vertical=True)
        self._band = m.path(on, m.SKY, fill="bottom", fill_colors=[m.SKY], fill_opacities=[0.22], stroke_width=0.0)
        self._values = m.path(on, m.BLUE, fill="bottom", fill_colors=[m.BLUE], fill_opacities=[0.75], stroke_width=1.0)
        self._clips = m.path(on, m.VERMILLION, line_style="dashed", stroke_width=2.0)
        self._ends = m.path(on, m.GREY, line_style="dotted", stroke_width=1.5)
        parts = [self._band, self._values, self._clips, self._ends]
        self._figure = m.figure(parts, [self._x, self._y], height=230)
        self._title, self._legend = kit.html(), kit.html()
        self.widget = kit.column([self._title, self._figure, self._legend], "perchq-chart perchq-histogram")

    def apply(self, view: PanelView) -> None:
        """Draw the channel that ``view`` selects."""
        if view.report is None or view.row is None:
            return
        hist = view.report.histogram(view.row)
        self._title.value = f"<h4>Values of channel <b>{escape(view.channel)}</b> and what the codes can represent</h4>"
        self._draw(hist)
        self._legend.value = _histogram_legend(hist)

    def _draw(self, hist: ChannelHistogram) -> None:
        top = float(hist.counts.max(initial=1.0)) * 1.08
        ends = [hist.quant_lo, hist.quant_hi, hist.min_val, hist.max_val]
        known = [value for value in ends if np.isfinite(value)] or [0.0, 1.0]
        low, high = min(known), max(known)
        pad = 0.03 * (high - low) if high > low else max(abs(high), 1.0) * 0.1
        m.set_axis(self._x, low - pad, high + pad, 7)
        m.set_axis(self._y, 0.0, top, whole=True)
        if hist.counts.size:
            m.set_xy(self._values, *m.steps(hist.edges, hist.counts))
        self._values.visible = bool(hist.counts.size)
        self._ends.visible = bool(np.isfinite(ends[2:]).all())
        if np.isfinite(ends[:2]).all():
            m.set_xy(self._band, ends[:2], [top, top])
            m.set_xy(self._clips, [[ends[0]] * 2, [ends[1]] * 2], [[0.0, top]] * 2)
        if self._ends.visible:
            m.set_xy(self._ends, [[ends[2]] * 2, [ends[3]] * 2], [[0.0, top]] * 2)


def _histogram_legend(hist: ChannelHistogram) -> str:
    codes = f"{hist.quant_min:g}…{hist.quant_max:g}"
    keys = [
        m.swatch(m.BLUE, "values"),
        m.swatch(m.SKY, f"codes {codes}{hist.whose} represent {span(hist.quant_lo, hist.quant_hi)}"),
        m.swatch(m.VERMILLION, "clip lines", "┆"),
        m.swatch(m.GREY, span(hist.min_val, hist.max_val, "range ", "no finite value, so no range"), "⁞"),
    ]
    if hist.n_below or hist.n_above:
        keys.append(m.swatch(m.VERMILLION, f"{hist.n_below:,} values clipped below, {hist.n_above:,} above", "▲"))
    if hist.n_nonfinite:
        keys.append(m.swatch(m.ORANGE, f"{hist.n_nonfinite:,} NaN or infinite, left out", "!"))
    return f'<div class="perchq-legend">{"".join(keys)}</div>'
