"""The rules for groups: where the sets of values that share a scale fare very differently inside one channel."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from .metrics import GroupErrors
from .rules import EXTREME_SCALES, LOW_SQNR_DB, Hit

#: A group this far below its channel's median group: a bit of precision less than most groups have, or nearly two.
SPREAD_DB, WIDE_SPREAD_DB = 6.0, 10.0
#: Largest to smallest scale of a channel's groups; with one scale the values of the smallest would lose four bits.
SCALE_RATIO = 16.0

Values = npt.NDArray[Any]

_RATIO = "the largest scale of its groups is {ratio} times the smallest"


def group_hits(groups: GroupErrors, step: Values) -> list[Hit]:
    """ "group-spread" of each channel, once, as a warning or an info. ``step``: the scale of each group."""
    sqnr, step = groups.sqnr_db, step.reshape(groups.signal.shape)
    if sqnr.shape[1] < 2:
        return []
    worst = np.argmin(sqnr, axis=1)
    lowest = np.take_along_axis(sqnr, worst[:, None], 1)[:, 0].astype(np.float64)
    middle = (sqnr.shape[1] - 1) // 2
    median = np.partition(sqnr, middle, axis=1)[:, middle].astype(np.float64)
    ratio = _ratio(step, groups.signal > 0)
    with np.errstate(invalid="ignore"):
        drop = median - lowest
    bad = (drop > WIDE_SPREAD_DB) & (lowest < LOW_SQNR_DB)
    apart = (drop > SPREAD_DB) & ~bad
    also = {"group": worst, "median": median, "ratio": ratio}
    told = f"group {{group}} has {{value}} dB, the median group {{median}} dB; {_RATIO}."
    constant = (step == 0) & (groups.noise == 0)  # all of its values are its minimum
    return [
        _extreme(step, (groups.signal > 0) & ~constant),
        Hit("group-spread", "warning", bad, lowest, told,
            "Look for an outlier in that group (report.groups() has all of them), or choose a smaller group_size.",
            lowest_is_worst=True, also=also),
        Hit("group-spread", "info", apart, lowest, told,
            "report.groups() has all of them; a smaller group_size narrows the spread.",
            lowest_is_worst=True, also=also),
        Hit("group-spread", "info", (ratio >= SCALE_RATIO) & ~bad & ~apart, ratio,
            f"{_RATIO}.", "Keep the groups: with one scale for the channel the smallest values would become zero.",
            also=also),
    ]  # fmt: skip


def _extreme(step: Values, some: npt.NDArray[np.bool_]) -> Hit:
    """ "extreme-scale" of single groups; where most are, the rule of the channel says so."""
    found = some & ((step < EXTREME_SCALES[0]) | (step > EXTREME_SCALES[1]))
    place = np.argmax(found, axis=1)
    few = found.any(1) & (2 * found.sum(1) < found.shape[1])
    return Hit("extreme-scale", "warning", few, np.take_along_axis(step, place[:, None], 1)[:, 0],
               "the scale {value} of its group {group} is extreme.",
               "Values of that group may become zero or overflow; rescale them, or choose a format with wider scales.",
               also={"group": place})  # fmt: skip


def _ratio(step: Values, some: npt.NDArray[np.bool_]) -> Values:
    """Largest to smallest scale of each channel's groups; 0 where fewer than two hold anything but zeros."""
    some = some & (step > 0)  # of a step stored as 0 another rule tells
    most = np.where(some, step, 0.0).max(1)
    least = np.where(some, step, np.inf).min(1)
    with np.errstate(over="ignore"):
        return np.where(np.isfinite(least), most / least, 0.0)
