"""What every convention would make of the data in view, one convention at a time."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, nan
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from ..api import calculate
from ..core.checks import normal_axis
from ..core.errors import QuantError
from ..core.schemes import QuantScheme
from ..study.compare import diff_table
from ..study.tensor import Request, analyze_table
from .menus import refusal_of, settings_of
from .moves import scale_rules, scheme_of

if TYPE_CHECKING:
    from .state import Intent

#: Elements that are compared; of larger tensors evenly spaced slices, as many as that.
MOST = 1 << 22
Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Outcome:
    """One convention beside the one in use: share of codes that differ, its own SQNR, and how much that gains.

    ``refused`` says why it does not have these settings, "" if it has; then the figures are not NaN.
    """

    name: str
    differ_pct: float = nan
    sqnr_db: float = nan
    gain_db: float = nan
    refused: str = ""


class Comparison(Protocol):
    """The data of one intent, ready to meet each convention. ``note`` says where only a part of it is compared."""

    note: str

    def outcome(self, name: str) -> Outcome:
        """What convention ``name`` makes of it."""


def outcome_or_reason(comparison: Comparison, intent: Intent, name: str) -> Outcome:
    """The outcome; where the convention does not have the settings or the data does not fit them, the reason."""
    refusal = refusal_of(settings_under(intent, name))
    if refusal is not None:
        return Outcome(name, refused=str(refusal))
    try:
        return comparison.outcome(name)
    except QuantError as error:
        return Outcome(name, refused=str(error))


def settings_under(intent: Intent, convention: str) -> dict[str, Any]:
    """The settings with another convention, and its own scale rule where it does not have the one in use."""
    settings = settings_of(intent) | {"convention": convention}
    known = settings["scale_rule"] in scale_rules(settings["dtype"], convention)
    return settings if known else settings | {"scale_rule": None}


def gain(there: float, here: float) -> float:
    """Difference of two SQNRs in dB; of two infinite ones none."""
    return 0.0 if there == here else there - here


class TensorComparison:
    """A tensor, or evenly spaced slices of it."""

    def __init__(self, array: Array, intent: Intent) -> None:
        self._intent = intent
        self._here = scheme_of(settings_of(intent))
        self._axis = normal_axis(intent.ch_axis, array.ndim)
        self._array, self.note = sample(array, self._axis, self._here)

    def outcome(self, name: str) -> Outcome:
        """Both conventions on the same values, code by code."""
        request = Request(self._here, self._axis, "tensor")
        if name == self._here.convention:
            sqnr = float(analyze_table(self._array, request).summary["sqnr_db"])
            return Outcome(name, 0.0, sqnr, 0.0)
        there = Request(scheme_of(settings_under(self._intent, name)), self._axis, "tensor")
        found = diff_table(self._array, request, there).summary
        here_db, there_db = float(found["sqnr_a_db"]), float(found["sqnr_b_db"])
        return Outcome(name, float(found["codes_differ_pct"]), there_db, gain(there_db, here_db))


class LinesComparison:
    """The calculator's lines: one sample each."""

    note = ""

    def __init__(self, lines: str, options: dict[str, Any]) -> None:
        self._lines, self._options = lines, options
        self._here = calculate(lines, **options)

    def outcome(self, name: str) -> Outcome:
        """Codes of the lines that both can use."""
        there = calculate(self._lines, **{**self._options, "convention": name})
        tables = [report.table.set_index("channel") for report in (self._here, there)]
        codes = [table[~table.index.duplicated()]["quantized"] for table in tables]
        both = codes[0].index.intersection(codes[1].index)
        differ = (codes[0][both] != codes[1][both]).to_numpy()
        here_db, there_db = (_finite(report.summary["sqnr_db"]) for report in (self._here, there))
        return Outcome(name, 100.0 * float(differ.mean()) if differ.size else nan, there_db, gain(there_db, here_db))


def _finite(value: float) -> float:
    return -inf if np.isnan(value) else float(value)


def sample(array: Array, ch_axis: int, scheme: QuantScheme) -> tuple[Array, str]:
    """``array`` where it is small enough, else slices of it that hold whole groups and blocks; and what they are."""
    if array.size <= MOST:
        return array, ""
    size, axis = scheme.group_size, ch_axis
    if scheme.granularity in ("block", "token"):
        axis = 0  # rows of blocks, and tokens, stay whole
    run = size[0] if isinstance(size, tuple) else 1
    thinned = _thinned(array, axis, MOST, run)
    note = f"Compared on {thinned.shape[axis]:,} of {array.shape[axis]:,} slices of axis {axis}, evenly spaced"
    if thinned.size > MOST and thinned.ndim > 1:
        other = max((each for each in range(array.ndim) if each != axis), key=lambda each: thinned.shape[each])
        thinned = _thinned(thinned, other, MOST, size if isinstance(size, int) else 1)
        note += f", {thinned.shape[other]:,} of {array.shape[other]:,} places each"
    return thinned, f"{note}: the whole tensor has {array.size:,} values."


def _thinned(array: Array, axis: int, most: int, run: int) -> Array:
    """Runs of ``run`` slices along ``axis``, evenly spaced, so that about ``most`` elements are left; at least one."""
    length = array.shape[axis]
    keep = max(1, most // (array.size // length) // run)
    starts = np.unique(np.linspace(0, max(0, -(-length // run) - 1), keep).astype(np.int64)) * run
    index = (starts[:, None] + np.arange(run)).ravel()
    return np.asarray(np.take(array, index[index < length], axis))
