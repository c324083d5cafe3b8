"""Many channels as few columns: what a chart can tell apart, and no channel's worst lost on the way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

#: The narrowest chart is some 350 pixels wide, the widest 1,300.
MOST_COLUMNS = 512
_APART = 128  # columns up to which each stands alone; above, side by side


@dataclass(frozen=True, slots=True)
class Columns:
    """``n`` channels in columns of ``per`` each, the last of what is left. Channel i lies at x = i."""

    n: int
    per: int

    @property
    def size(self) -> int:
        """How many columns."""
        return -(-self.n // self.per)

    @property
    def apart(self) -> bool:
        """Whether there is a gap between columns."""
        return self.size <= _APART

    def lowest(self, values: Floats) -> Floats:
        """Of (n,) values the lowest in each column; NaN where a column has none."""
        return values if self.per == 1 else np.asarray(np.fmin.reduceat(values, self._starts))

    def highest(self, values: Floats) -> Floats:
        """Of (n,) values the highest in each column; NaN where a column has none."""
        return values if self.per == 1 else np.asarray(np.fmax.reduceat(values, self._starts))

    def any(self, marked: Mask) -> Mask:
        """Which columns have a channel that is marked."""
        return marked if self.per == 1 else np.asarray(np.logical_or.reduceat(marked, self._starts))

    def rows(self, column: int) -> range:
        """The channels of a column."""
        return range(column * self.per, min(self.n, (column + 1) * self.per))

    def at(self, x: float) -> int:
        """The column nearest to ``x``."""
        return min(max(int((x + 0.5) // self.per), 0), self.size - 1)

    def bars_x(self) -> Floats:
        """Where the points of :meth:`bars_y` stand."""
        left, right = self._edges
        if self.apart:
            return np.stack([left, left, right, right], axis=1).ravel()
        return np.concatenate([left[:1], np.stack([left, right], axis=1).ravel(), right[-1:]])

    def bars_y(self, tops: Floats, floor: float) -> Floats:
        """One outline around a bar per column, from ``floor`` to its top, to be filled inside; no top may be NaN."""
        if self.apart:
            bottom = np.full_like(tops, floor)
            return np.stack([bottom, tops, tops, bottom], axis=1).ravel()
        return np.concatenate([[floor], np.repeat(tops, 2), [floor]])

    @property
    def interpolation(self) -> Literal["linear", "step-after"]:
        """How a mark joins the points of :meth:`steps_y`."""
        return "linear" if self.apart else "step-after"

    def steps_x(self) -> Floats:
        """Where the points of :meth:`steps_y` stand."""
        left, right = self._edges
        return self.bars_x() if self.apart else np.concatenate([left[:1], left, right[-1:], right[-1:]])

    def steps_y(self, tops: Floats, floor: float) -> Floats:
        """The outline of :meth:`bars_y` in half as many points where columns touch, joined by ``interpolation``."""
        return self.bars_y(tops, floor) if self.apart else np.concatenate([[floor], tops, tops[-1:], [floor]])

    def lines_x(self) -> Floats:
        """Where the points of :meth:`lines_y` stand."""
        left, right = self._edges
        return np.stack([left, right, right] if self.apart else [left, right], axis=1).ravel()

    def lines_y(self, values: Floats, foot: float) -> Floats:
        """A stroke across each column at its value, joined where columns touch; none where it is NaN.

        bqplot puts a label of its own at the last point: that is finite, at ``foot`` where nothing is to be drawn.
        """
        gap = np.full_like(values, np.nan)
        y = np.stack([values, values, gap] if self.apart else [values, values], axis=1).ravel()
        y[-1] = values[-1] if np.isfinite(values[-1]) else foot
        return y

    @property
    def _starts(self) -> npt.NDArray[np.int64]:
        return np.arange(0, self.n, self.per)

    @property
    def _edges(self) -> tuple[Floats, Floats]:
        air = 0.1 * self.per if self.apart else 0.0
        left = self._starts.astype(np.float64) - 0.5
        return left + air, np.minimum(left + self.per, self.n - 0.5) - air


def columns_of(n: int, most: int = MOST_COLUMNS) -> Columns:
    """``n`` channels, one or more, in at most ``most`` columns of equally many."""
    return Columns(n, max(1, -(-n // most)))
