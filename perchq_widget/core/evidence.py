"""What observers look at: a tensor's ranges, and its histograms once one asks for them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from .blocks import Array
from .histograms import ChannelHistograms, channel_histograms, tensor_histogram
from .ranges import ChannelRanges

Floats = npt.NDArray[np.float64]

#: Channels that are looked at together: their histograms take some ten megabytes.
TOGETHER = 4096


class Evidence:
    """The values that one set of parameters each is to be found for: channels, or the tensor as a single unit.

    ``observed`` are the tensor's ranges, its values taken as ``dtype``. Histograms are kept, so that several observers
    on one tensor count it once.
    """

    def __init__(
        self, array: Array, ch_axis: int, observed: ChannelRanges, dtype: np.dtype[Any], *, whole: bool
    ) -> None:
        self.array, self.ch_axis, self.observed, self.dtype, self.whole = array, ch_axis, observed, dtype, whole
        low, high = np.reshape(observed.whole(), (2, 1)) if whole else observed.known()
        self.low, self.high = low, high
        self._counted: dict[tuple[str, int], ChannelHistograms] = {}

    @property
    def n_units(self) -> int:
        """U: channels, or 1."""
        return len(self.low)

    @property
    def n(self) -> int:
        """Elements of a unit."""
        return self.array.size // self.n_units

    @property
    def n_finite(self) -> npt.NDArray[np.int64]:
        """Finite values of each unit."""
        return self.observed.n_finite.sum(keepdims=True) if self.whole else self.observed.n_finite

    def histograms(self, unit: str, n_bins: int) -> ChannelHistograms:
        """One histogram per unit; see :func:`~perchq_widget.core.histograms.channel_histograms`."""
        if (unit, n_bins) not in self._counted:
            options: dict[str, Any] = {"unit": unit, "n_bins": n_bins, "dtype": self.dtype}
            self._counted[unit, n_bins] = (
                tensor_histogram(self.array, self.observed, **options)
                if self.whole
                else channel_histograms(self.array, self.ch_axis, self.observed, **options)
            )
        return self._counted[unit, n_bins]

    def parts(self) -> Iterator[Evidence]:
        """Itself, or where there are more channels than are looked at together, some of them at a time."""
        if self.n_units <= TOGETHER:
            yield self
            return
        moved = np.moveaxis(self.array, self.ch_axis, 0)
        for start in range(0, self.n_units, TOGETHER):
            some = slice(start, start + TOGETHER)
            part = np.moveaxis(moved[some], 0, self.ch_axis)
            yield Evidence(part, self.ch_axis, _some(self.observed, some), self.dtype, whole=False)

    def rows(self) -> Array:
        """All values, (U, n) in ``dtype``: a copy unless they lie so."""
        moved = self.array if self.whole else np.moveaxis(self.array, self.ch_axis, 0)
        with np.errstate(over="ignore"):
            return np.asarray(moved.reshape(self.n_units, -1).astype(self.dtype, copy=False))


def _some(observed: ChannelRanges, rows: slice) -> ChannelRanges:
    """The ranges of some channels."""
    facts: dict[str, Any] = {each.name: getattr(observed, each.name) for each in fields(observed)}
    some: dict[str, Any] = {name: part[rows] for name, part in facts.items() if isinstance(part, np.ndarray)}
    return replace(observed, **some)
