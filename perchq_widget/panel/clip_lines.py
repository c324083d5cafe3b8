"""The clip lines' handles: dragging one asks for the clip ratio that puts the line there."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import bqplot as bq
import numpy as np

from ..study.clip_ratio import LEAST_RATIO, RATIO_STEP

Ends = tuple[float, float]
_PIXELS = 1600.0  # of a wide chart: a line that is less than one of them off need not be moved


def ratio_at(place: float, full: float) -> float | None:
    """The clip ratio that puts a line at ``place`` which is at ``full`` when nothing is clipped; None where none does.

    Of those that the slider has: it would answer any other with its nearest, and a pixel is worth about a step.
    """
    if full == 0 or not math.isfinite(full) or not math.isfinite(place):
        return None
    return offered(place / full)


def offered(ratio: float) -> float:
    """The nearest ratio that the slider has."""
    return min(max(round(round(ratio / RATIO_STEP) * RATIO_STEP, 3), LEAST_RATIO), 1.0)


class ClipLines:
    """An interval selector of which only the ends can be taken hold of. It is there only where dragging applies.

    A drag in progress is left alone: the browser owns the handles until it ends. Then they go where the lines are.
    """

    def __init__(self, figure: Any, scale: Any, on_clip: Callable[[float], None]) -> None:
        self._figure, self._scale, self._on_clip = figure, scale, on_clip
        self._quiet = False
        self._full: Ends = (math.nan, math.nan)
        self._lines: Ends = (math.nan, math.nan)
        self._grabbed: Ends = (math.nan, math.nan)  # where the handles were when the browser got them

    @property
    def selector(self) -> Any:
        """The selector, None where lines cannot be dragged."""
        return self._figure.interaction

    def apply(self, lines: Ends, full: Ends) -> None:
        """Follow the lines in force; ``full`` is where they are at clip ratio 1, NaN where ratios do not apply."""
        self._lines, self._full = lines, full
        if not np.isfinite([*lines, *full]).all() or full[0] >= full[1]:
            self._remove()
            return
        if self.selector is None:
            made = bq.interacts.BrushIntervalSelector(scale=self._scale, color="transparent")
            made.observe(self._moved, ["selected", "brushing"])
            self._figure.interaction = made
        if not self.selector.brushing:
            self._snap()

    def _remove(self) -> None:
        made = self.selector
        if made is not None:
            self._figure.interaction = None
            made.close()

    def _snap(self) -> None:
        at, pixel = self.selector.selected, (self._scale.max - self._scale.min) / _PIXELS
        if at is None or len(at) != 2 or np.abs(np.subtract(at, self._lines)).max() > pixel:
            with self._silently():
                self.selector.selected = np.array(self._lines, np.float64)
            self._grabbed = self._lines

    @contextmanager
    def _silently(self) -> Iterator[None]:
        # What Python sets is not a drag.
        self._quiet = True
        try:
            yield
        finally:
            self._quiet = False

    def _moved(self, change: Any) -> None:
        if self._quiet or self.selector is None:
            return
        if change["name"] == "selected":
            self._dragged(change["new"])
        elif not change["new"]:
            self._snap()

    def _dragged(self, selected: Any) -> None:
        """Ask for the ratio of the end that moved; both have moved only where the drag was a symmetric one."""
        if selected is None or len(selected) != 2:
            return
        off = [abs(float(at) - was) for at, was in zip(selected, self._grabbed, strict=True)]
        end = int(off[1] > off[0])
        ratio = ratio_at(float(selected[end]), self._full[end])
        if ratio is not None and max(off) > 0:
            self._on_clip(ratio)
