"""The state in view against the pinned baseline: whether they can be compared, per channel, and in words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ..report.comparison import signed_db
from ..report.summary import decibels
from ..report.text import clean_name, escape, short_number, shorten
from ..study.comparison_table import delta

if TYPE_CHECKING:
    from .pins import Pin
    from .view import PanelView

Floats = npt.NDArray[np.float64]
_SAME_DB = 0.005  # less than two decimals show


def mismatch(view: PanelView) -> str:
    """Why the baseline cannot be compared with what is in view, "" if it can or if there is none."""
    pin = view.baseline
    if pin is None or view.report is None:
        return ""
    name, then, now = repr(shorten(clean_name(pin.name), 40)), pin.report.study, view.report.study
    if _other_tensor(view, pin):
        return f"{name} is of {_called(pin.intent.tensor)} and not of {_called(view.intent.tensor)}"
    if then.kind == "tensor" and then.ch_axis != now.ch_axis:
        return f"{name} has its channels along axis {then.ch_axis} and not along axis {now.ch_axis}"
    if len(then.channels) != len(view.names):
        return f"{name} has {len(then.channels):,} channels and not {len(view.names):,}"
    if tuple(then.channels) != view.names:
        return f"{name} has channels of other names"
    return ""


def _other_tensor(view: PanelView, pin: Pin) -> bool:
    """Of a last result that is still shown the intent no longer tells the tensor; its name and memory do."""
    assert view.report is not None
    then, now = pin.report.study, view.report.study
    if view.stale:
        return then.array is not now.array and then.name != now.name
    return pin.intent.tensor != view.intent.tensor


def _called(tensor: str | None) -> str:
    return "other data" if tensor is None else f"{shorten(clean_name(tensor), 60)!r}"


def sqnr_deltas(view: PanelView) -> Floats | None:
    """Per channel, SQNR now minus SQNR of the baseline, in dB, in the order of ``view.table``.

    None where there is no baseline for what is in view. Infinite where one of the two is; 0 where both are.
    """
    if view.baseline is None or view.table is None or mismatch(view):
        return None
    then, now = view.baseline.report.study.frame, view.table
    return delta(now["sqnr_db"].to_numpy(np.float64), then["sqnr_db"].to_numpy(np.float64))


def baseline_columns(view: PanelView) -> pd.DataFrame | None:
    """Per channel sqnr_delta_db and clipped_delta_pct, now minus the baseline, in the order of ``view.table``.

    Needs only what is known while a control moves. None where there is no baseline for what is in view.
    """
    sqnr = sqnr_deltas(view)
    if sqnr is None or view.baseline is None:
        return None
    clipped = delta(_clipped_pct(view.table), _clipped_pct(view.baseline.report.study.frame))
    return pd.DataFrame({"sqnr_delta_db": sqnr, "clipped_delta_pct": clipped})


def _clipped_pct(table: Any) -> Floats:
    """A calculator's channel is one sample: clipped or not."""
    if "clipped_pct" in table:
        return np.asarray(table["clipped_pct"].to_numpy(np.float64))
    return np.asarray(100.0 * table["clipped"].to_numpy(np.float64))


def summary_html(view: PanelView, deltas: Floats) -> str:
    """One line: overall SQNR, worst channel and clipped values against the baseline, and how many channels gained."""
    assert view.baseline is not None
    assert view.report is not None
    now, then = view.report.study.known_summary, view.baseline.report.study.summary
    overall, worst = (signed_db(_change(now[name], then[name])) for name in ("sqnr_db", "worst_sqnr_db"))
    clipped = float(now["clipped_pct"] - then["clipped_pct"])
    better, worse = int((deltas > _SAME_DB).sum()), int((deltas < -_SAME_DB).sum())
    lowest = escape(shorten(clean_name(str(now["worst_channel"])), 24))
    parts = [
        f"overall <b>{escape(decibels(now['sqnr_db']))}</b> ({overall})",
        f"worst {lowest} <b>{escape(decibels(now['worst_sqnr_db']))}</b> ({worst})",
        f"clipped <b>{short_number(now['clipped_pct'], 3)} %</b> ({_points(clipped)})",
        f"channels ▲ better {better:,}, ▼ worse {worse:,}, same {deltas.size - better - worse:,}",
    ]
    estimate = "" if view.report.exact else " · an estimate while the control moves"
    name = escape(shorten(view.baseline.name, 40))
    return f"Now against <b>{name}</b>: {' · '.join(parts)}{estimate}"


def _change(now: float, then: float) -> float:
    change = float(delta(now, then))
    return 0.0 if abs(change) < _SAME_DB else change


def _points(change: float) -> str:
    return "same" if change == 0 else f"{'+' if change > 0 else ''}{short_number(change, 3)} points"
