"""The selected channel's values before and after quantization, beside what its codes can represent."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import bqplot as bq
import numpy as np

from ..report.text import escape, short_number
from ..study.histogram import ChannelBins, channel_bins, channel_histogram
from . import marks as m
from .charts import redraw, span
from .clip_lines import ClipLines

if TYPE_CHECKING:
    from ..study.channels import ChannelTable
    from ..study.histogram import ChannelHistogram
    from .kit import Kit
    from .view import PanelView

BINS = 128
MOST_TICKS = 64
_EMPTY = 0.5  # the count at the foot of a logarithmic axis: no bin has one below 1 but 0
_POWERS = ("1", "10", "100", "1k", "10k", "100k", "1M", "10M", "100M", "1G", "10G", "100G")
_HELP = "Drag a dashed line to clip: all channels follow. With the keyboard: the slider Clip ratio, and its arrow keys."


class HistogramChart:
    """Histogram of the selected channel, its dequantized distribution, the grid as ticks, and clip lines to drag.

    ``on_clip`` is called with the clip ratio that a dragged line asks for. Bins depend on the tensor and the channel
    alone and are sent once for each; a move sends paths.
    """

    def __init__(self, kit: Kit, on_clip: Callable[[float], None]) -> None:
        on = m.scales()
        self._x, self._y = m.axis(on["x"], "value"), m.axis(on["y"], "values per bin", vertical=True)
        self._band = m.path(on, m.SKY, fill="bottom", fill_colors=[m.SKY], fill_opacities=[0.22], stroke_width=0.0)
        self._values = m.path(on, m.BLUE, fill="inside", fill_colors=[m.BLUE], fill_opacities=[0.75], stroke_width=1.0)
        self._after = m.path(on, m.ORANGE, stroke_width=1.6)
        self._codes = m.path(on, m.GREY, stroke_width=1.0)
        self._clips = m.path(on, m.VERMILLION, line_style="dashed", stroke_width=2.0)
        self._ends = m.path(on, m.GREY, line_style="dotted", stroke_width=1.5)
        self._shares = bq.Label(
            x=np.zeros(2), y=np.zeros(2), text=["", ""], scales=on, colors=[m.VERMILLION], default_size=12,
            font_weight="bold", align="middle",
        )
        parts = [self._band, self._values, self._after, self._codes, self._clips, self._ends, self._shares]
        self._figure = m.figure(parts, [self._x, self._y], height=230)
        self._lines = ClipLines(self._figure, on["x"], on_clip)
        self._title, self._legend = kit.html(), kit.html()
        self._toggle = kit.button(
            self._flip, "perchq-toggle", description="Log counts", tooltip="Logarithmic or linear counts"
        )
        self._log = False
        self._known: tuple[object, Any, ChannelBins] | None = None
        self._hist: ChannelHistogram | None = None
        children = [self._title, self._figure, self._legend, self._toggle]
        self.widget = kit.column(children, "perchq-chart perchq-histogram")

    def apply(self, view: PanelView) -> None:
        """Draw the channel that ``view`` selects."""
        if view.report is None or view.row is None:
            return
        table = view.report.study
        self._hist = hist = channel_histogram(table, view.row, BINS, self._bins(table, view.row))
        self._draw(hist)
        draggable = self._lines.selector is not None
        self._title.value = _title(view.channel, draggable)
        self._legend.value = _legend(hist, draggable)

    def _bins(self, table: ChannelTable, row: int) -> ChannelBins:
        """The channel's bins, counted once for as long as it is looked at."""
        key = (*channel_key(table, row), table.qparams.working_dtype)
        if self._known is None or self._known[0] != key:
            # the array is kept, so that no other one can come to lie where it does
            self._known = key, table.array, channel_bins(table, row, BINS)
        return self._known[2]

    def _flip(self) -> None:
        self._log = not self._log
        self._toggle.description = "Linear counts" if self._log else "Log counts"
        if self._hist is not None:
            self._draw(self._hist)

    def _draw(self, hist: ChannelHistogram) -> None:
        low, high = _domain(hist)
        m.set_axis(self._x, low, high, 7)
        foot, top = self._draw_counts(hist)
        ends = (hist.quant_lo, hist.quant_hi)
        known = bool(np.isfinite(ends).all())
        self._ends.visible = bool(np.isfinite([hist.min_val, hist.max_val]).all())
        for mark in (self._band, self._clips):
            mark.visible = known
        if known:
            redraw(self._band, ends, [top, top])
            redraw(self._clips, [[ends[0]] * 2, [ends[1]] * 2], [[foot, top]] * 2)
        if self._ends.visible:
            redraw(self._ends, [[hist.min_val] * 2, [hist.max_val] * 2], [[foot, top]] * 2)
        self._name_shares(hist, foot, top)
        self._lines.apply(ends, (hist.full_lo, hist.full_hi))

    def _draw_counts(self, hist: ChannelHistogram) -> tuple[float, float]:
        """Both distributions and the ticks; returns the ends of the axis."""
        largest = float(hist.counts.max(initial=1.0))
        base, top = self._height(0.0), self._height(largest)
        top += 0.2 * (top - base)
        foot = base - 0.06 * (top - base)
        if self._log:
            labels = {str(power): text for power, text in enumerate(_POWERS)}
            at = np.arange(0, np.floor(np.log10(largest)) + 1)
            self._y.tick_labels = labels  # before the ticks: see set_axis
            m.set_axis(self._y, foot, top, whole=True, at=at)
        else:
            self._y.tick_labels = None
            m.set_axis(self._y, foot, top, whole=True)
        over = hist.overlay
        self._values.visible = self._after.visible = self._codes.visible = over is not None
        if over is not None:
            redraw(self._values, *_outline(hist.edges, self._height(hist.counts), base))
            redraw(self._after, *_outline(over.edges, np.minimum(self._height(over.heights), top), base))
            self._draw_codes(hist, foot, base)
        return foot, top

    def _height(self, counts: Any) -> Any:
        return np.log10(np.maximum(counts, _EMPTY)) if self._log else counts

    def _draw_codes(self, hist: ChannelHistogram, foot: float, base: float) -> None:
        """A tick for each code, in one path with gaps; bqplot puts a label where a gap is last."""
        at = code_ticks(hist, self._x.scale.min, self._x.scale.max)
        self._codes.visible = at.size > 0
        if at.size:
            ends = [foot, foot + 0.8 * (base - foot), np.nan]
            redraw(self._codes, np.repeat(at, 3)[:-1], np.tile(ends, at.size)[:-1])

    def _name_shares(self, hist: ChannelHistogram, foot: float, top: float) -> None:
        """The share clipped on each side at its line: outside where there is room, and on two heights."""
        low, width = self._x.scale.min, self._x.scale.max - self._x.scale.min
        room = 0.08 * width
        at = [_beside(hist.quant_lo, low, width, -room), _beside(hist.quant_hi, low, width, room)]
        below, above = (_percent(share) for share in hist.clipped_pct)
        known = bool(np.isfinite(at).all()) and hist.counts.size > 0
        texts = [f"◂ {below}", f"{above} ▸"] if known else ["", ""]
        with self._shares.hold_sync(), self._shares.hold_trait_notifications():
            self._shares.x = np.array(at if known else [low, low])
            self._shares.y = np.array([foot + 0.93 * (top - foot), foot + 0.85 * (top - foot)])
            self._shares.text = np.array(texts)


def channel_key(table: ChannelTable, row: int) -> tuple[object, ...]:
    """What is the same while the same channel of the same tensor is looked at."""
    array = table.array
    assert array is not None
    where = array.__array_interface__["data"][0]
    return where, array.shape, array.strides, array.dtype.str, table.ch_axis, row


def code_ticks(hist: ChannelHistogram, low: float, high: float) -> m.Floats:
    """Where to draw ticks: every code between ``low`` and ``high``, or as many as can be told apart.

    Of equal steps every 2nd, 4th, 8th code counted from the zero point; of a float format those that are far enough
    from the last one.
    """
    assert hist.overlay is not None
    inside = (hist.overlay.values >= low) & (hist.overlay.values <= high)
    codes, values = hist.overlay.codes[inside], hist.overlay.values[inside]
    if values.size <= MOST_TICKS:
        return values
    if isinstance(hist.quant_min, int):
        zero = 0 if hist.zero_point is None else hist.zero_point
        every = 1 << int(np.ceil(np.log2(values.size / MOST_TICKS)))
        return np.asarray(values[(codes - zero) % every == 0])
    cell = (high - low) / MOST_TICKS
    _, first = np.unique(np.floor((values - low) / cell), return_index=True)
    kept = values[first]
    return np.asarray(kept[np.concatenate([[True], np.diff(kept) > 0.4 * cell])])


def _domain(hist: ChannelHistogram) -> tuple[float, float]:
    """The ends of the axis. They stay where they are while a clip line moves: those of the whole range are in it."""
    full = np.isfinite([hist.full_lo, hist.full_hi]).all()
    ends = [hist.full_lo, hist.full_hi] if full else [hist.quant_lo, hist.quant_hi]
    known = m.drawable([value for value in (*ends, hist.min_val, hist.max_val) if np.isfinite(value)]) or [0.0, 1.0]
    low, high = min(known), max(known)
    pad = 0.03 * (high - low) if high > low else max(abs(high), 1.0) * 0.1
    return low - pad, high + pad


def _outline(edges: m.Floats, heights: m.Floats, base: float) -> tuple[m.Floats, m.Floats]:
    """One path around bins of any width, closed to ``base`` at both ends."""
    return np.repeat(edges, 2), np.concatenate([[base], np.repeat(heights, 2), [base]])


def _beside(line: float, low: float, width: float, room: float) -> float:
    """The middle of a text ``room`` away from a line, on its other side where it would leave the chart."""
    inside = low <= line + 2 * room <= low + width
    return line + room if inside else line - room


def _percent(share: float) -> str:
    return "<0.01 %" if 0 < share < 0.01 else f"{share:.2g} %" if share < 10 else f"{share:.0f} %"


def _title(channel: str, draggable: bool) -> str:
    name = f"Values of channel <b>{escape(channel)}</b>"
    if not draggable:
        return f"<h4>{name} and what the codes can represent</h4>"
    return f'<h4 title="{_HELP}">{name} · drag a line to clip</h4>'


def _legend(hist: ChannelHistogram, draggable: bool) -> str:
    codes = f"{hist.quant_min:g}…{hist.quant_max:g}"
    keys = [m.swatch(m.BLUE, "values")]
    if hist.overlay is not None:
        sampled = "" if hist.overlay.exact else " (from a sample)"
        keys.append(m.swatch(m.ORANGE, f"after quantization{sampled}", "━"))
    keys += [
        m.swatch(m.SKY, f"codes {codes}{hist.whose} represent {span(hist.quant_lo, hist.quant_hi)}"),
        m.swatch(m.VERMILLION, "clip lines, to drag" if draggable else "clip lines", "┆"),
        m.swatch(m.GREY, span(hist.min_val, hist.max_val, "range ", "no finite value, so no range"), "⁞"),
    ]
    if hist.n_below or hist.n_above:
        keys.append(m.swatch(m.VERMILLION, f"{hist.n_below:,} values clipped below, {hist.n_above:,} above", "▲"))
    if hist.n_nonfinite:
        keys.append(m.swatch(m.ORANGE, f"{hist.n_nonfinite:,} NaN or infinite, left out", "!"))
    if not draggable:
        reason = hist.no_ratio if hist.no_ratio else f"both ends are {short_number(hist.full_lo)}"
        keys.append(m.swatch(m.GREY, f"the lines cannot be dragged: {reason}", "⊘"))
    return f'<div class="perchq-legend">{"".join(keys)}</div>'
