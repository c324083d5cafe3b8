"""What every observer makes of one tensor, one observer at a time, and which is best for each channel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import nan
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ..core.conventions import why_not
from ..core.errors import QuantError
from ..core.observers import POLICIES
from ..study.comparison_table import comparable_sqnr, leading_of
from ..study.live import TensorFacts
from ..study.tensor import Request
from .pins import AS_STORED

if TYPE_CHECKING:
    from ..core.schemes import QuantScheme
    from ..study.channels import ChannelTable
    from .pins import Pin
    from .view import PanelView


@dataclass(frozen=True, eq=False)
class Baked:
    """What one observer makes of the tensor: its figures, each channel's SQNR, and the seconds that it took.

    ``refused`` says why the settings do not allow it, "" if they do; then ``by_channel`` has shape (C,), NaN for a
    channel without a value.
    """

    name: str
    sqnr_db: float = nan
    worst_channel: str = ""
    worst_sqnr_db: float = nan
    median_sqnr_db: float = nan
    clipped_pct: float = nan
    seconds: float = nan
    by_channel: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros(0), repr=False)
    refused: str = ""


def observers_for(in_use: str) -> tuple[str, ...]:
    """Every policy with its own parameters, and the observer in use where its parameters are others."""
    return tuple(dict.fromkeys((*POLICIES, in_use)))


def refusal(scheme: QuantScheme, observer: str) -> str:
    """Why the settings do not allow an observer, "" if they do."""
    try:
        found = why_not(replace(scheme, observer=observer))
    except QuantError as error:
        return str(error)
    return "" if found is None else str(found)


def bake(study: ChannelTable, names: Sequence[str], scheme: QuantScheme, facts: TensorFacts) -> Baked:
    """Analyze the tensor of ``study`` with the scheme's observer, exactly; where it cannot be, the reason.

    ``names`` are the channels'; ``facts`` are of this tensor and alone, so that no figure is an estimate.
    """
    began = perf_counter()
    try:
        table = facts.live_table(Request(scheme, study.ch_axis, study.name))
    except QuantError as error:
        return Baked(scheme.observer, refused=str(error))
    return _baked(scheme.observer, table, names, perf_counter() - began)


def baked_stored(view: PanelView) -> tuple[Baked, ...]:
    """What the tensor's file holds, as a row beside the observers, where that is in view or pinned; else nothing."""
    reports = [view.report] if view.intent.as_stored else [pin.report for pin in view.pins if is_of(pin, view)]
    return tuple(_baked(AS_STORED, report.study, view.names, nan) for report in reports[:1] if report is not None)


def is_of(pin: Pin, view: PanelView) -> bool:
    """Whether a pin holds the stored parameters of the tensor in view, along the same axis."""
    then, now = pin.intent, view.intent
    return then.as_stored and (then.tensor, then.ch_axis) == (now.tensor, now.ch_axis)


def _baked(name: str, table: ChannelTable, names: Sequence[str], seconds: float) -> Baked:
    by_channel = table.known["sqnr_db"].to_numpy(np.float64)
    found, worst = table.known_summary, int(np.argmin(by_channel))
    return Baked(
        name,
        float(found["sqnr_db"]),
        names[worst],
        float(by_channel[worst]),
        _median(by_channel),
        float(found["clipped_pct"]),
        seconds,
        comparable_sqnr(table.known),
    )


def _median(values: npt.NDArray[np.float64]) -> float:
    """The middle value, the lower of two: between infinite ones there is no mean."""
    return float(np.partition(values, (values.size - 1) // 2)[(values.size - 1) // 2])


def leading(baked: Sequence[Baked]) -> npt.NDArray[np.bool_]:
    """Which of ``baked`` have the highest SQNR of a channel, equals included; shape (outcomes, C)."""
    return leading_of(np.stack([each.by_channel for each in baked]))


def share_along(leads: npt.NDArray[np.bool_], most: int) -> npt.NDArray[np.float64]:
    """The share of channels led, in at most ``most`` runs of neighbouring channels."""
    starts = np.unique(np.linspace(0, leads.size, min(most, leads.size), endpoint=False).astype(np.int64))
    sizes = np.diff([*starts.tolist(), leads.size])
    return np.asarray(np.add.reduceat(leads.astype(np.float64), starts) / sizes)
