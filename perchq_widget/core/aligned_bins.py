"""Bins that lie alike on the grid of every channel's own scale: one table of errors serves all of these channels.

Bins are anchored at zero, and as wide in steps of the scale wherever scale and bins are in the same proportion to the
range. Then the error that rounding makes in a bin depends on the bin's number alone; all that is a channel's own is
where its bins begin and where it is clipped. That is three passes over the counts in place of fifteen.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from .blocks import Array

Floats = npt.NDArray[np.float64]
Places = npt.NDArray[np.int64]
Rows = slice | npt.NDArray[np.intp]
_ALIKE = 2e-6  # relative: float32's rounding of a scale, some thousand bins further still a small part of a step


class AlignedBins:
    """Sums of squared errors over bins, in squares of the step, for codes that are whole numbers.

    ``first`` (C,) numbers each channel's first bin from zero, ``width`` (C,) is that of its bins in steps, ``low`` and
    ``high`` (C,) are the levels of its lowest and highest code.
    """

    def __init__(self, first: Places, width: Floats, low: Floats, high: Floats, n_bins: int) -> None:
        self.first, self.low, self.high, self.n_bins = first, low, high, n_bins
        self.step = float(np.median(width))
        with np.errstate(divide="ignore", invalid="ignore"):
            self.alike = np.abs(width / self.step - 1) < _ALIKE
        self.base = int(first.min())
        x = (self.base + np.arange(int(first.max()) + n_bins - self.base + 1)) * self.step
        level = np.rint(x)
        # the integral of the squared distance to the nearest level, from zero to x
        table = (np.diff(level / 12 + (x - level) ** 3 / 3) / max(self.step, 1e-300)).astype(np.float32)
        self.windows = sliding_window_view(table, n_bins)

    def noise(self, rows: Rows, weights: Array) -> Floats | None:
        """The sums of some channels, whose counts are ``weights``; None where they do not lie alike.

        A bin belongs to what is clipped or not as its centre does.
        """
        below, above = self._cuts(rows)
        inside = slice(int(below.max()), int(above.min()))
        if not self.alike[rows].all() or inside.start >= inside.stop:
            return None
        total: Floats = np.vecdot(weights[:, inside], self._rounding(rows, inside)).astype(np.float64)
        for bins, cut, end in (
            (slice(0, inside.start), below, self.low),
            (slice(inside.stop, self.n_bins), above, self.high),
        ):
            if bins.start < bins.stop:
                number = np.arange(bins.start, bins.stop)
                clipped = number < cut[:, None] if end is self.low else number >= cut[:, None]
                total += self._outside(rows, weights, bins, clipped, end[rows])
        return total

    def _cuts(self, rows: Rows) -> tuple[Places, Places]:
        """Per channel, its first bin that is not clipped below, and the first that is clipped above."""
        cuts = [end[rows] / self.step - self.first[rows] - 0.5 for end in (self.low - 0.5, self.high + 0.5)]
        below, above = (np.clip(np.ceil(cut), 0, self.n_bins).astype(np.int64) for cut in cuts)
        return below, above

    def _rounding(self, rows: Rows, bins: slice) -> Array:
        return np.asarray(self.windows[:, bins][self.first[rows] - self.base])

    def _outside(self, rows: Rows, weights: Array, bins: slice, clipped: Array, end: Floats) -> Floats:
        """Bins that some channels clip: there the error is the distance to the end of what is represented."""
        centre = (np.arange(bins.start, bins.stop) + 0.5) * self.step
        far = centre.astype(np.float32) - (end - self.first[rows] * self.step)[:, None].astype(np.float32)
        far *= far
        far += np.float32(self.step**2 / 12)
        return np.asarray(np.vecdot(weights[:, bins], np.where(clipped, far, self._rounding(rows, bins))), np.float64)
