"""Results that follow a moving control: what is shown at once, and the rest when somebody asks for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from perchq_widget.core.bin_errors import EstimatedErrors, estimated_errors
from perchq_widget.core.codec import Parameters
from perchq_widget.core.evidence import Evidence
from perchq_widget.core.findings import Finding
from perchq_widget.core.fitting import Ends, searched_ends
from perchq_widget.core.histograms import ESTIMATE_BINS, ChannelHistograms, channel_histograms
from perchq_widget.core.live import live_errors
from perchq_widget.core.metrics import CLIPPED, MAX, NOISE, ROWS, ChannelErrors, GroupErrors, channel_errors
from perchq_widget.core.ranges import ChannelRanges
from perchq_widget.core.schemes import QuantScheme
from perchq_widget.core.tails import Tails, tails_of

from .channels import ChannelTable
from .tensor import Facts, Fitted, Request, fitted

if TYPE_CHECKING:
    import pandas as pd

#: Elements up to which every move is answered exactly. Above, histograms answer, unless they had more than half as many
#: bins as there are values.
EXACT_MOST = 1 << 25
#: Elements below which a pass is quick anyway.
WORTH_TAILS = 1 << 20
#: Searches whose ends are remembered.
MOST_SEARCHED = 32
_LATER = ("frame", "summary", "findings", "groups")


class LiveTable(ChannelTable):
    """A table whose slower columns are computed when ``frame``, ``summary``, ``findings`` or ``groups`` is asked for.

    ``known`` and its like are there at once; ``estimated`` says that they are estimates, until the table is complete.
    """

    _known: ChannelTable
    _complete: Callable[[], ChannelTable]
    _estimated: bool

    def __init__(self, known: ChannelTable, complete: Callable[[], ChannelTable], estimated: bool = False) -> None:
        for each in fields(known):
            if each.name not in _LATER:
                object.__setattr__(self, each.name, getattr(known, each.name))
        object.__setattr__(self, "_known", known)
        object.__setattr__(self, "_complete", complete)
        object.__setattr__(self, "_estimated", estimated)

    @cached_property
    def _whole(self) -> ChannelTable:
        return self._complete()

    @property
    def complete(self) -> bool:
        """Whether every column is there already."""
        return "_whole" in self.__dict__

    @property
    def exact(self) -> bool:
        """Whether what is ``known`` was computed from all values."""
        return self.complete or not self._estimated

    @property
    def _now(self) -> ChannelTable:
        return self._whole if self.complete else self._known

    @property
    def known(self) -> pd.DataFrame:
        """The columns that are there already."""
        return self._now.frame

    @property
    def known_summary(self) -> dict[str, Any]:
        """Of the summary, what is there already."""
        return self._now.summary

    @property
    def known_findings(self) -> tuple[Finding, ...]:
        """Of the findings, those that are there already."""
        return self._now.findings

    @property
    def frame(self) -> pd.DataFrame:
        """The whole table."""
        return self._whole.frame

    @property
    def summary(self) -> dict[str, Any]:
        """The whole summary."""
        return self._whole.summary

    @property
    def findings(self) -> tuple[Finding, ...]:
        """All findings."""
        return self._whole.findings

    @property
    def groups(self) -> GroupErrors | None:
        """The errors of each channel's groups."""
        return self._whole.groups

    @cached_property
    def channels(self) -> list[str]:
        """Channel names, in the table's order."""
        return self._known.channels


class TensorFacts(Facts):
    """What one tensor is like whatever the scheme, kept for as long as it is looked at."""

    def __init__(self, array: npt.NDArray[Any]) -> None:
        super().__init__(array)
        self._ranges: dict[tuple[int, np.dtype[Any]], ChannelRanges] = {}
        self._tails: dict[tuple[int, np.dtype[Any]], Tails] = {}
        self._histograms: dict[tuple[int, np.dtype[Any]], ChannelHistograms] = {}
        self._searched: dict[tuple[int, QuantScheme], Ends | None] = {}
        self._evidence: tuple[object, Evidence] | None = None

    def ranges(self, axis: int, dtype: np.dtype[Any]) -> ChannelRanges:
        """Ranges along ``axis``, the values taken as ``dtype``."""
        if (axis, dtype) not in self._ranges:
            self._ranges[axis, dtype] = super().ranges(axis, dtype)
        return self._ranges[axis, dtype]

    def searched(self, axis: int, scheme: QuantScheme, observed: ChannelRanges) -> Ends | None:
        """The ends that the scheme's observer finds. The clip ratio comes after them: moving it searches nothing."""
        key = axis, replace(scheme, clip_ratio=1.0)
        if key not in self._searched:
            if len(self._searched) >= MOST_SEARCHED:
                self._searched.clear()
            self._searched[key] = searched_ends(
                self.array, axis, scheme, observed, lambda dtype, whole: self._seen(axis, observed, dtype, whole)
            )
        return self._searched[key]

    def _seen(self, axis: int, observed: ChannelRanges, dtype: np.dtype[Any], whole: bool) -> Evidence:
        """The histograms of the last search, if they are of the same values."""
        key = axis, dtype, whole
        if self._evidence is None or self._evidence[0] != key:
            self._evidence = key, Evidence(self.array, axis, observed, dtype, whole=whole)
        return self._evidence[1]

    def live_table(self, request: Request) -> ChannelTable:
        """The result at once, its slower columns later."""
        ready = fitted(self, request)
        key = ready.axis, ready.qparams.working_dtype
        if key in self._histograms and _one_scale(ready.qparams):
            estimates = estimated_errors(self._histograms[key], ready.qparams, ready.observed)
            return LiveTable(ready.table(_incomplete(estimates, ready)), lambda: _measured(ready), estimated=True)
        errors = live_errors(self.array, ready.axis, ready.qparams, ready.observed, self._tails.get(key))
        known = ready.table(errors)
        return known if errors.complete else LiveTable(known, lambda: _measured(ready))

    def prepare(self, table: ChannelTable) -> None:
        """While nothing moves: learn what makes the next moves of a control fast."""
        axis, dtype = key = table.ch_axis, table.qparams.working_dtype
        if not _one_scale(table.qparams) or key in self._tails or key in self._histograms:
            return
        if self.array.size > EXACT_MOST and 2 * ESTIMATE_BINS * self.array.shape[axis] <= self.array.size:
            self._histograms[key] = channel_histograms(
                self.array, axis, self.ranges(*key), n_bins=ESTIMATE_BINS, dtype=dtype
            )
        elif self.array.size >= WORTH_TAILS:
            self._tails[key] = tails_of(self.array, *key, self.ranges(*key))


def _one_scale(qparams: Parameters) -> bool:
    return qparams.granularity in ("channel", "tensor")


def _incomplete(estimates: EstimatedErrors, ready: Fitted) -> ChannelErrors:
    sums = np.zeros((ROWS, len(estimates.noise)))
    sums[NOISE], sums[CLIPPED], sums[MAX] = estimates.noise, estimates.clipped, estimates.max_noise
    return ChannelErrors.of(ready.observed, sums, ready.qparams.keeps_zero, None, complete=False)


def _measured(ready: Fitted) -> ChannelTable:
    return ready.table(channel_errors(ready.array, ready.axis, ready.qparams, ready.observed))
