"""The range of every channel, min..max, and what its codes represent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..report.text import clean_name, escape, short_number, shorten
from . import marks as m
from .charts import Ends, Picking, count, median, name_channels, redraw, round_ends, span, steady_ends
from .columns import Columns, columns_of

if TYPE_CHECKING:
    from ..study.channels import ChannelTable
    from .kit import Kit
    from .view import PanelView

_FAR = 8.0  # times the median channel's reach: beyond that a few channels would flatten the rest
_FEW = 0.1  # of all channels
_HIDDEN = 8.0  # times what the channels hold: where codes reach that far, their lines would flatten all channels
_ROOM = 0.06


@dataclass(frozen=True, eq=False, slots=True)
class Ranges:
    """The numbers behind one picture, arrays of (n,).

    ``low``, ``high`` and ``reach``, the larger magnitude of the two, are NaN where a channel has no finite value.
    ``limit`` is how far from zero the picture goes at most, and ``most`` how far the channels within it reach.
    ``codes`` is what codes can represent, None where no range belongs to a channel; ``codes_fit``: it is drawn.
    """

    low: m.Floats
    high: m.Floats
    reach: m.Floats
    limit: float
    most: float
    codes: tuple[m.Floats, m.Floats] | None
    codes_fit: bool
    shared_by: str
    columns: Columns
    names: tuple[str, ...]


class RangeChart:
    """Ranges of all channels as a band and what the codes represent as two lines; a click selects a channel."""

    def __init__(self, kit: Kit, on_select: Callable[[int], None]) -> None:
        on = m.scales()
        self._x, self._y = m.axis(on["x"], "channel"), m.axis(on["y"], "value", vertical=True)
        self._on_select = on_select
        self._ranges: Ranges | None = None
        self._ends: Ends | None = None
        pair = {"fill_colors": [m.BLUE, m.BLUE], "fill_opacities": [0.6, 0.0], "opacities": [0.7, 0.7]}
        self._band = m.path(on, [m.BLUE, m.BLUE], fill="between", stroke_width=1.0, **pair)
        self._codes = m.path(on, [m.VERMILLION, m.VERMILLION], stroke_width=1.5)
        self._beyond = m.path(on, m.ORANGE, fill="inside", fill_colors=[m.ORANGE], fill_opacities=[1.0],
                              stroke_width=0.0, visible=False)  # fmt: skip
        self.picking = Picking(on, self._clicked)
        parts = [self._band, self._codes, self._beyond, self.picking.line, self.picking.head, self.picking.hit]
        self._figure = m.figure(parts, [self._x, self._y], height=240)
        self._title, self._legend = kit.html(), kit.html()
        self.widget = kit.column([self._title, self._figure, self._legend], "perchq-chart perchq-ranges")

    def apply(self, view: PanelView, *, data: bool) -> None:
        """Draw all channels (``data``), or only mark the selected one."""
        if view.report is None or view.row is None:
            return
        if data:
            self._draw(view)
        assert self._ends is not None
        low, high = self._ends
        self.picking.select(view.row, low, high - 0.05 * (high - low))

    def _draw(self, view: PanelView) -> None:
        name_channels(self._x, view)
        self._ranges = ranges = ranges_of(view)
        self._ends = ends = steady_ends(self._ends, value_ends(ranges))
        m.set_axis(self._y, *ends)
        self.picking.cover(ranges.low.size, *ends)
        columns, (foot, top) = ranges.columns, ends
        x = columns.lines_x()
        band = [columns.highest(ranges.high), columns.lowest(ranges.low)]
        redraw(self._band, x, [columns.lines_y(np.clip(each, foot, top), foot) for each in band])
        self._codes.visible = ranges.codes_fit
        if ranges.codes is not None and ranges.codes_fit:
            codes = [columns.lowest(ranges.codes[0]), columns.highest(ranges.codes[1])]
            wide = 2.0 if columns.apart else 0.8  # between neighbours a joined line rises and falls
            redraw(self._codes, x, [columns.lines_y(_inside(each, ends), foot) for each in codes], stroke_width=wide)
        self._draw_beyond(ranges, ends)
        self._title.value = _title(ranges)
        self._legend.value = _legend(ranges)

    def _draw_beyond(self, ranges: Ranges, ends: Ends) -> None:
        """A strip at the upper edge over the channels that reach further than the plot."""
        beyond = ranges.reach > ranges.limit
        self._beyond.visible = bool(beyond.any())
        if self._beyond.visible:
            columns, (low, high) = ranges.columns, ends
            foot = high - 0.03 * (high - low)
            y = columns.steps_y(np.where(columns.any(beyond), high, foot), foot)
            redraw(self._beyond, columns.steps_x(), y, interpolation=columns.interpolation)

    def _clicked(self, x: float, _y: float) -> None:
        self._on_select(self.nearest(x))

    def nearest(self, x: float) -> int:
        """The row that a click at ``x`` means: of several channels in a column the one that reaches furthest."""
        assert self._ranges is not None
        rows = self._ranges.columns.rows(self._ranges.columns.at(x))
        reach = self._ranges.reach[rows.start : rows.stop]
        return rows[int(np.argmax(np.where(np.isnan(reach), -1.0, reach)))]


def ranges_of(view: PanelView) -> Ranges:
    """What the chart draws of ``view``, which has a report."""
    assert view.table is not None
    assert view.report is not None
    low, high = (view.table[name].to_numpy(dtype=np.float64) for name in ("min", "max"))
    low, high = (np.where(np.isfinite(each), each, np.nan) for each in (low, high))
    reach = _reach(low, high)
    limit = limit_of(reach)
    most = float(np.fmax.reduce(np.where(reach <= limit, reach, 0.0)))
    codes, shared_by = code_ends(view.report.study, low.size)
    fit = codes is not None and (most == 0.0 or median(_reach(*codes)) <= _HIDDEN * most)
    return Ranges(low, high, reach, limit, most, codes, fit, shared_by, columns_of(low.size), view.names)


def _reach(low: m.Floats, high: m.Floats) -> m.Floats:
    return np.asarray(np.fmax(np.abs(low), np.abs(high)))


def limit_of(reach: m.Floats) -> float:
    """How far from zero a picture reaches: all channels, but for a few that would flatten the rest."""
    known = reach[~np.isnan(reach)]
    if known.size < 4:
        return np.inf
    far = known > _FAR * median(known)
    if not 0 < far.sum() <= max(1, _FEW * known.size) or not (known[~far] > 0).any():
        return np.inf
    return 1.25 * float(known[~far].max())


def value_ends(ranges: Ranges) -> Ends:
    """Round ends of the axis around what is drawn."""
    shown = [each[ranges.reach <= ranges.limit] for each in (ranges.low, ranges.high)]
    if ranges.codes is not None and ranges.codes_fit:
        most = min(ranges.limit, max(_HIDDEN * ranges.most, 1e-300) if ranges.most else np.inf)
        shown += [each[np.abs(each) <= most] for each in ranges.codes]
    values = np.concatenate([[0.0], *shown])
    low, high = float(np.fmin.reduce(values)), float(np.fmax.reduce(values))
    if np.isfinite(ranges.limit):
        high = max(high, 0.0)
    return round_ends(low, high, _ROOM) if high > low else (-1.0, 1.0)


def code_ends(study: ChannelTable, n: int) -> tuple[tuple[m.Floats, m.Floats] | None, str]:
    """Lowest and highest value that codes represent in each of ``n`` channels, and what shares a scale there, "" for
    the channel or the tensor itself.

    Where a channel has several scales, the ends of the widest; None where scales do not lie along the channels.
    """
    params, shape = study.qparams, study.shape
    granularity, size = params.layout
    with np.errstate(over="ignore"):
        ends = [np.asarray(end) for end in params.represented()]
    if ends[0].ndim == 0 or granularity in ("tensor", "channel"):
        return (np.broadcast_to(ends[0].ravel(), n), np.broadcast_to(ends[1].ravel(), n)), ""
    if granularity == "block" and isinstance(size, tuple) and shape is not None and len(shape) == 2:
        axis = study.ch_axis
        low, high = (np.repeat(cut, size[axis])[:n] for cut in _widest(ends, 1 - axis))
        return (low, high), params.granularity
    rows = granularity == "group" or (granularity == "flat" and study.ch_axis == 0)
    if rows and ends[0].size % n == 0:  # as many for each channel, one channel after the other
        low, high = _widest([end.reshape(n, -1) for end in ends], 1)
        return (low, high), params.granularity
    return None, params.granularity


def _widest(ends: list[m.Floats], axis: int) -> tuple[m.Floats, m.Floats]:
    return np.asarray(ends[0].min(axis=axis)), np.asarray(ends[1].max(axis=axis))


def _inside(values: m.Floats, ends: Ends) -> m.Floats:
    """Lines only where they lie in the plot."""
    return np.where((values >= ends[0]) & (values <= ends[1]), values, np.nan)


def _title(ranges: Ranges) -> str:
    """What the picture shows in words, for those who do not see it too."""
    n, reach = ranges.low.size, ranges.reach
    head = f"<h4>Ranges of {count(n, 'channel')} · click to select</h4>"
    known = reach[~np.isnan(reach)]
    if known.size == 0:
        return f'{head}<div class="perchq-caption">no channel has a finite value</div>'
    wide, narrow = int(np.nanargmax(reach)), int(np.nanargmin(reach))
    words = (
        f"widest {_range(ranges, wide)}, median up to ±{short_number(median(known), 3)}, "
        f"narrowest {_range(ranges, narrow)}"
    )
    return f'{head}<div class="perchq-caption">{escape(words)}</div>'


def _range(ranges: Ranges, row: int) -> str:
    low, high = (short_number(float(each[row]), 3) for each in (ranges.low, ranges.high))
    return f"{low} … {high} ({shorten(clean_name(ranges.names[row]), 24)})"


def _legend(ranges: Ranges) -> str:
    per, reach = ranges.columns.per, ranges.reach
    whole = f"each column: {per} channels, the widest; " if per > 1 else ""
    keys = [m.swatch(m.BLUE, f"{whole}min … max")]
    keys.append(m.swatch(m.VERMILLION, _codes_text(ranges), "━"))
    keys.append(m.swatch(m.PINK, "selected", "◆"))
    beyond, empty = int((reach > ranges.limit).sum()), int(np.isnan(reach).sum())
    if beyond:
        far = int(np.nanargmax(reach))
        most = f"up to ±{short_number(float(reach[far]), 3)} ({shorten(clean_name(ranges.names[far]), 24)})"
        keys.append(m.swatch(m.ORANGE, f"{count(beyond, 'channel')} beyond the plot, {most}", "▀"))
    if empty:
        keys.append(m.swatch(m.ORANGE, f"{count(empty, 'channel')} without a finite value, not drawn", "✕"))
    return f'<div class="perchq-legend">{"".join(keys)}</div>'


def _codes_text(ranges: Ranges) -> str:
    if ranges.codes is None:
        return f"what codes represent is not drawn: a {ranges.shared_by} has no channel of its own"
    whose = f", of each channel's widest {ranges.shared_by}" if ranges.shared_by else ""
    if not ranges.codes_fit:
        far = short_number(float(_reach(*ranges.codes).max()), 3)
        return f"codes represent up to ±{far}{whose}: far beyond the plot"
    low, high = (end.min() if which else end.max() for which, end in ((1, ranges.codes[0]), (0, ranges.codes[1])))
    return f"ends of what codes represent{whose}, at most {span(float(low), float(high))}"
