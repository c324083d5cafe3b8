"""SQNR now minus the baseline, of every channel, as one path."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from . import marks as m
from .charts import count, redraw
from .columns import Columns, columns_of

if TYPE_CHECKING:
    from .kit import Kit

_LEAST_DB = 0.1  # smaller differences do not fill the chart


class DeltaChart:
    """Up is better than the baseline, down is worse; made when there first is one."""

    def __init__(self, kit: Kit) -> None:
        on = m.scales()
        self._x, self._y = m.axis(on["x"], "channel"), m.axis(on["y"], "difference (dB)", vertical=True)
        self._zero = m.path(on, m.GREY, stroke_width=1.0)
        self._path = m.path(
            on, m.BLUE, fill="inside", fill_colors=[m.BLUE], fill_opacities=[0.75], stroke_width=1.0
        )
        self._n = 0
        self._bounds = (0.0, 0.0)
        self._figure = m.figure([self._path, self._zero], [self._x, self._y], height=150)
        self._legend = kit.html()
        self.widget = kit.column([self._figure, self._legend], "perchq-chart perchq-delta")

    def draw(self, deltas: m.Floats) -> None:
        """Show differences in dB, one per channel in the table's order; infinite ones at the chart's ends."""
        low, high = bounds(deltas)
        if (low, high) != self._bounds:
            m.set_axis(self._y, low, high, 4)
            self._bounds = (low, high)
        columns = columns_of(deltas.size)
        x, y = outline(np.clip(deltas, low, high), columns)
        if deltas.size != self._n:
            self._n = deltas.size
            m.set_axis(self._x, -0.6, deltas.size - 0.4, 8, whole=True)
            m.set_xy(self._zero, [-0.6, deltas.size - 0.4], [0.0, 0.0])
        redraw(self._path, x, y)
        text = _legend(deltas, columns.per)
        if self._legend.value != text:
            self._legend.value = text


def bounds(deltas: m.Floats) -> tuple[float, float]:
    """Round ends with zero between them, which stay where they are while a control moves a little."""
    finite = deltas[np.isfinite(deltas)]
    low, high = min(0.0, float(finite.min(initial=0.0))), max(0.0, float(finite.max(initial=0.0)))
    step = m.round_step(max(high - low, _LEAST_DB) * 0.2)
    return step * float(np.floor(low / step - 0.2)), step * float(np.ceil(high / step + 0.2))


def outline(deltas: m.Floats, columns: Columns) -> tuple[m.Floats, m.Floats]:
    """(x, y) of one closed path: a bar per channel; of many channels the highest and the lowest of each column."""
    x = columns.bars_x()
    if columns.per == 1:
        return x, columns.bars_y(deltas, 0.0)
    above, below = np.maximum(columns.highest(deltas), 0.0), np.minimum(columns.lowest(deltas), 0.0)
    y = np.concatenate([columns.bars_y(above, 0.0), columns.bars_y(below, 0.0)[::-1]])
    return np.concatenate([x, x[::-1]]), y


def _legend(deltas: m.Floats, per: int) -> str:
    keys = [m.swatch(m.BLUE, "SQNR now minus baseline: above zero is better")]
    if per > 1:
        keys.append(m.swatch(m.BLUE, f"each column spans the differences of {per:,} channels", "↕"))
    endless = int(np.isinf(deltas).sum())
    if endless:
        keys.append(m.swatch(m.GREY, f"{count(endless, 'channel')} without error now or then, drawn at the ends", "∞"))
    return f'<div class="perchq-legend">{"".join(keys)}</div>'
