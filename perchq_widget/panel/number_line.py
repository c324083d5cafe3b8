"""The calculator's chart: one channel's range, what its codes represent, and its sample before and after."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ipywidgets as w
import numpy as np

from ..report.text import escape, format_number
from . import marks as m
from .charts import span

if TYPE_CHECKING:
    from ..study.histogram import ChannelHistogram
    from .state import PanelView


class NumberLine:
    """The calculator's channel: calibration range, representable range, the sample and what becomes of it."""

    def __init__(self) -> None:
        on = m.scales()
        self._x = m.axis(on["x"], "value")
        m.set_bounds(on["y"], -0.6, 2.5)
        self._range = m.path(on, m.BLUE, stroke_width=14.0, opacities=[0.75])
        self._codes = m.path(on, m.SKY, stroke_width=14.0, opacities=[0.8])
        self._clips = m.path(on, m.VERMILLION, line_style="dashed", stroke_width=2.0)
        self._sample = m.path(on, m.GREY, stroke_width=1.5)
        self._before, self._after = m.points(on, m.GREY, "circle", 110), m.points(on, m.PINK, "diamond", 110)
        rows = m.axis(on["y"], "", vertical=True)
        rows.grid_lines = "none"
        rows.tick_values = np.array([0.0, 1.0, 2.0])
        rows.tick_labels = {"0": "sample", "1": "codes", "2": "range"}
        parts = [self._range, self._codes, self._clips, self._sample, self._before, self._after]
        self._figure = m.figure(parts, [self._x, rows], height=230)
        self._title, self._legend = w.HTML(), w.HTML()
        self.widget = w.VBox([self._title, self._figure, self._legend])
        self.widget.add_class("perchq-chart").add_class("perchq-number-line")

    def apply(self, view: PanelView) -> None:
        """Draw the channel that ``view`` selects."""
        if view.report is None or view.row is None:
            return
        hist = view.report.histogram(view.row)
        self._title.value = f"<h4>Channel <b>{escape(view.channel)}</b>: its range, its codes, its sample</h4>"
        self._draw(hist)
        self._legend.value = _line_legend(hist)

    def _draw(self, hist: ChannelHistogram) -> None:
        ends = [hist.min_val, hist.max_val, hist.quant_lo, hist.quant_hi]
        sample, after = _known(hist.sample), _known(hist.dequantized)
        known = [value for value in (*ends, sample, after) if np.isfinite(value)] or [0.0, 1.0]
        low, high = min(known), max(known)
        pad = 0.04 * (high - low) if high > low else max(abs(high), 1.0) * 0.1
        m.set_axis(self._x, low - pad, high + pad, 7)
        m.set_xy(self._range, ends[:2], [2.0, 2.0])
        m.set_xy(self._codes, ends[2:], [1.0, 1.0])
        m.set_xy(self._clips, [[ends[2]] * 2, [ends[3]] * 2], [[-0.4, 1.5]] * 2)
        m.set_xy(self._sample, [sample, sample], [0.0, 2.3])
        m.set_xy(self._before, [sample], [0.0])
        m.set_xy(self._after, [after], [0.0])


def _known(value: float | None) -> float:
    return float("nan") if value is None else value


def _line_legend(hist: ChannelHistogram) -> str:
    keys = [
        m.swatch(m.BLUE, f"range {span(hist.min_val, hist.max_val)}"),
        m.swatch(m.SKY, f"codes {hist.quant_min}…{hist.quant_max} represent {span(hist.quant_lo, hist.quant_hi)}"),
        m.swatch(m.VERMILLION, "clip lines", "┆"),
    ]
    if hist.sample is not None and hist.dequantized is not None:
        keys.append(m.swatch(m.GREY, f"sample {format_number(hist.sample)}", "●"))
        keys.append(m.swatch(m.PINK, f"dequantized {format_number(hist.dequantized)}", "◆"))
    return f'<div class="perchq-legend">{"".join(keys)}</div>'
