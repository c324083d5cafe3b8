"""What the charts share: words, the ends of an axis that stays, coordinates sent once, a click and a selection."""

from __future__ import annotations

import base64
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import bqplot as bq
import ipywidgets as w
import numpy as np
import numpy.typing as npt

from ..report.text import clean_name, short_number, shorten
from . import marks as m

if TYPE_CHECKING:
    import pandas as pd

    from ..report.documents import ChannelReport
    from .view import PanelView

Ends = tuple[float, float]
Mask = npt.NDArray[np.bool_]
MANY_NAMES = 12
# A transparent pixel: stretched over the plot it is the one element that reports where it was clicked.
_PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAAC0lEQVR42mNgAAIAAAUAAen63NgAAAAASUVORK5CYII="
)
_LEAST = 1e-300


def span(low: float, high: float, before: str = "", nothing: str = "") -> str:
    """A range as a legend writes it; ``nothing`` where it has no ends."""
    return nothing if np.isnan([low, high]).any() else f"{before}{short_number(low)} … {short_number(high)}"


def count(n: int, noun: str) -> str:
    """A number of things, in the singular where it is one."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def without_value(report: ChannelReport) -> Mask:
    """Which channels hold no finite value, so that their SQNR of -inf means nothing more than that."""
    return valueless(report.study.known)


def valueless(table: pd.DataFrame) -> Mask:
    """The same, of the report's table."""
    if "n" in table:
        return np.asarray(table["n"].to_numpy() == 0)
    return np.zeros(len(table), dtype=bool)


def median(values: m.Floats) -> float:
    """The middle of one or more values, some of which may be infinite."""
    low, high = (values.size - 1) // 2, values.size // 2
    ends = np.partition(values, [low, high])[[low, high]]
    return float(ends.mean()) if np.isfinite(ends).all() else float(ends[0])


def round_ends(low: float, high: float, room: float = 0.0, *, zero: bool = False) -> Ends:
    """Round numbers around ``low`` and ``high``, and ``room`` times their distance more above.

    ``zero``: begin at 0 where ``low`` is above it and no more than 60 % of the height lie below ``low`` then.
    """
    if zero and 0 <= low <= 0.6 * high:
        low = 0.0
    if not high - low > max(1e-9 * max(abs(low), abs(high)), _LEAST):
        pad = max(0.1 * max(abs(low), abs(high)), _LEAST)
        low, high = low - pad * (low != 0), high + pad
    high += room * (high - low)
    step = m.round_step((high - low) / 6)
    ends = m.drawable([math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step])
    return ends[0], ends[1]


def steady_ends(last: Ends | None, new: Ends) -> Ends:
    """``last`` while ``new`` ends lie in it and are at least half as far apart: an axis that jumps cannot be read.

    Where they leave it at an end, half as much again is added there, for what moves goes on; but not beyond 0.
    """
    if last is None or not 0.5 <= (new[1] - new[0]) / (last[1] - last[0]) <= 1.5:
        return new  # no small move
    if last[0] <= new[0] and new[1] <= last[1]:
        return last
    (low, high), more = new, 0.5 * (new[1] - new[0])
    step = m.round_step((high - low) / 6)
    if new[0] < last[0]:
        low = math.floor((new[0] - more) / step) * step
    if new[1] > last[1]:
        high = math.ceil((new[1] + more) / step) * step
    low, high = m.drawable([max(low, 0.0) if new[0] >= 0 else low, min(high, 0.0) if new[1] <= 0 else high])
    return low, high


def redraw(mark: Any, x: npt.ArrayLike, y: npt.ArrayLike, **looks: Any) -> None:
    """Give a mark its coordinates in one message, as float32 where that is as good, and ``looks``, other traits.

    What it has is not sent again.
    """
    new = {"x": _light(x), "y": _light(y)}
    changed = {name: to for name, to in new.items() if not np.array_equal(getattr(mark, name), to, equal_nan=True)}
    changed |= {name: to for name, to in looks.items() if getattr(mark, name) != to}
    if changed:
        with mark.hold_sync(), mark.hold_trait_notifications():
            for name, to in changed.items():
                setattr(mark, name, to)


def _light(values: npt.ArrayLike) -> npt.NDArray[Any]:
    exact = np.asarray(values, dtype=np.float64)
    low, high = float(np.fmin.reduce(exact, axis=None)), float(np.fmax.reduce(exact, axis=None))
    largest = max(-low, high)
    light = 1e-30 < largest < 1e37 and high - low > 1e-3 * largest
    return exact.astype(np.float32) if light else exact


def name_channels(axis: Any, view: PanelView) -> None:
    """Ends, ticks and label of the axis along the channels: names where they are few, else numbers."""
    n, kind = len(view.names), "ranges" if view.report is None else view.report.kind
    few, limit = n <= MANY_NAMES, max(6, 60 // n)
    with axis.hold_sync():  # before the ticks: see set_axis
        axis.label = f"channel (axis {view.intent.ch_axis})" if kind == "tensor" else "channel"
        axis.tick_labels = (
            {str(i): shorten(clean_name(name), limit) for i, name in enumerate(view.names)} if few else None
        )
    m.set_axis(axis, -0.6, n - 0.4, 8, whole=True, at=np.arange(n, dtype=np.float64) if few else None)


class Picking:
    """What takes a click anywhere in a plot, and the marks of the channel that is selected."""

    def __init__(self, on: dict[str, Any], on_click: Callable[[float, float], None]) -> None:
        self._on_click = on_click
        self.line = m.path(on, m.PINK, stroke_width=2.0)
        self.head = m.points(on, m.PINK, "diamond", 80)
        self.hit = bq.Image(image=w.Image(value=_PIXEL, format="png"), scales=on)
        self.hit.on_element_click(self._clicked)

    def cover(self, n: int, low: float, high: float) -> None:
        """Take clicks over ``n`` channels, from ``low`` to ``high``."""
        redraw(self.hit, [-0.6, n - 0.4], [low, high])

    def select(self, row: int, low: float, high: float) -> None:
        """Mark the channel of that row."""
        redraw(self.line, [row, row], [low, high])
        redraw(self.head, [row], [high])

    def _clicked(self, _mark: Any, message: Any) -> None:
        where = message["data"]
        self._on_click(float(where["click_x"]), float(where["click_y"]))
