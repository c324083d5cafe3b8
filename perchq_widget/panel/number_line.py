"""The calculator's chart: one channel's range, what its codes represent, and its sample before and after."""

from __future__ import annotations

from typing import TYPE_CHECKING

import bqplot as bq
import numpy as np

from ..report.text import code_text, escape, format_number, short_number
from . import marks as m
from .charts import span

if TYPE_CHECKING:
    from ..study.histogram import ChannelHistogram
    from .kit import Kit
    from .view import PanelView


_SIDE = 3  # codes shown on each side of the sample's own


class NumberLine:
    """The calculator's channel: its range, what its codes represent, its sample, and the steps around the sample.

    The lowest row has a scale of its own: it shows the sample between the neighbouring codes.
    """

    def __init__(self, kit: Kit) -> None:
        on = m.scales()
        near = {"x": bq.LinearScale(allow_padding=False), "y": on["y"]}
        self._x, self._near = m.axis(on["x"], "value"), near["x"]
        m.set_bounds(on["y"], -0.9, 3.5)
        self._range = m.path(on, m.BLUE, stroke_width=12.0, opacities=[0.8])
        self._codes = m.path(on, m.SKY, stroke_width=12.0, opacities=[0.8])
        self._clips = m.path(on, m.VERMILLION, line_style="dashed", stroke_width=2.0)
        self._sample = m.points(on, m.GREY, "circle", 90)
        self._levels = m.path(near, m.SKY, stroke_width=2.0)
        self._before, self._after = m.points(near, m.GREY, "circle", 90), m.points(near, m.PINK, "diamond", 110)
        self._names = bq.Label(
            x=np.zeros(2 * _SIDE + 1), y=np.full(2 * _SIDE + 1, -0.62), text=[""] * (2 * _SIDE + 1), scales=near,
            colors=[m.GREY], default_size=11, font_weight="normal", align="middle",
        )
        rows = m.axis(on["y"], "", vertical=True)
        rows.grid_lines = "none"
        rows.tick_values = np.array([0.0, 1.0, 2.0, 3.0])
        rows.tick_labels = {"0": "nearest", "1": "sample", "2": "codes", "3": "range"}
        wide = [self._range, self._codes, self._clips, self._sample]
        parts = [*wide, self._levels, self._names, self._before, self._after]
        self._figure = m.figure(parts, [self._x, rows], height=230)
        self._title, self._legend = kit.html(), kit.html()
        self.widget = kit.column([self._title, self._figure, self._legend], "perchq-chart perchq-number-line")

    def apply(self, view: PanelView) -> None:
        """Draw the channel that ``view`` selects."""
        if view.report is None or view.row is None:
            return
        hist = view.report.histogram(view.row)
        self._title.value = f"<h4>Channel <b>{escape(view.channel)}</b>: its range, its codes, its sample</h4>"
        self._draw(hist)
        self._draw_steps(hist)
        self._legend.value = _line_legend(hist)

    def _draw(self, hist: ChannelHistogram) -> None:
        *ends, sample = m.drawable(
            [hist.min_val, hist.max_val, hist.quant_lo, hist.quant_hi, _known(hist.sample)]
        )
        low, high = min(*ends, sample), max(*ends, sample)
        pad = 0.04 * (high - low) if high > low else max(abs(high), 1.0) * 0.1
        m.set_axis(self._x, low - pad, high + pad, 7)
        m.set_xy(self._range, _seen(ends[:2], 2 * pad), [3.0, 3.0])
        m.set_xy(self._codes, _seen(ends[2:], 2 * pad), [2.0, 2.0])
        m.set_xy(self._clips, [[ends[2]] * 2, [ends[3]] * 2], [[0.6, 2.5]] * 2)
        m.set_xy(self._sample, [sample], [1.0])

    def _draw_steps(self, hist: ChannelHistogram) -> None:
        sample, after = _known(hist.sample), _known(hist.dequantized)
        there = bool(np.isfinite(after))  # what overflows the convention's dtype has no neighbours to show
        for mark in (self._levels, self._names, self._before, self._after):
            mark.visible = there
        if there:
            self._draw_near(hist, sample, after)

    def _draw_near(self, hist: ChannelHistogram, sample: float, after: float) -> None:
        at = np.array(hist.near_values)
        here = int(np.argmin(np.abs(at - after)))
        furthest = float(np.abs(at - after).max()) or hist.scale
        reach = max((_SIDE + 0.6) / _SIDE * furthest, 1.15 * abs(sample - after))
        m.set_bounds(self._near, *m.drawable([after - reach, after + reach]))
        named = _named(at, here, 2 * reach)
        # One path for all steps: a missing y is a gap in it, but not at its end, where bqplot puts a label.
        steps = np.tile([-0.3, 0.3, np.nan], at.size)
        m.set_xy(self._levels, np.repeat(m.drawable(at.tolist()), 3)[:-1], steps[:-1])
        # bqplot draws labels of old and new data together while their number changes: it stays the same.
        rest = 2 * _SIDE + 1 - at.size
        texts = [code_text(code) if known else "" for code, known in zip(hist.near_codes, named, strict=True)]
        with self._names.hold_sync(), self._names.hold_trait_notifications():
            self._names.x = m.drawable([*at.tolist(), *[after] * rest])
            self._names.text = np.array([*texts, *[""] * rest])
        m.set_xy(self._before, m.drawable([sample]), [0.0])
        m.set_xy(self._after, m.drawable([after]), [0.0])


def _named(at: m.Floats, here: int, width: float) -> list[bool]:
    """Which of the codes at ``at`` have room for a name: the sample's own, and what is not too near to a named one."""
    known = [at[here]]
    for value in at:
        if all(abs(value - other) > width / 16 for other in known):
            known.append(value)
    return [bool(value in known) for value in at]


def _seen(ends: list[float], room: float) -> list[float]:
    """A range without width as a bar that is just wide enough to be seen."""
    least = 0.03 * room
    return ends if ends[1] - ends[0] >= 2 * least else [ends[0] - least, ends[1] + least]


def _known(value: float | None) -> float:
    return float("nan") if value is None else value


def _off(hist: ChannelHistogram) -> str:
    """How far the value lands from the sample: in steps where all are equal, and in full while that says something."""
    back, sample = _known(hist.dequantized), _known(hist.sample)
    if isinstance(hist.quant_min, float):
        return f"{back - sample:+.3g}"
    step = back / hist.scale - sample / hist.scale
    return f"{step:+.2f} steps" if abs(step) < 1000 else f"{short_number(step, 3)} steps"


def _line_legend(hist: ChannelHistogram) -> str:
    keys = [
        m.swatch(m.BLUE, f"range {span(hist.min_val, hist.max_val)}"),
        m.swatch(m.SKY, f"codes {hist.quant_min:g}…{hist.quant_max:g} represent {span(hist.quant_lo, hist.quant_hi)}"),
        m.swatch(m.VERMILLION, "clip lines", "┆"),
    ]
    if hist.sample is not None and hist.dequantized is not None:
        keys.append(m.swatch(m.GREY, f"sample {format_number(hist.sample)}", "●"))
        keys.append(m.swatch(m.PINK, f"dequantized {format_number(hist.dequantized)}, {_off(hist)} off", "◆"))
    return f'<div class="perchq-legend">{"".join(keys)}</div>'
