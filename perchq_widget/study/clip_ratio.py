"""What a channel's parameters would be at other clip ratios, by the convention's own rule, many ratios at once."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from perchq_widget.core.conventions import require_allowed
from perchq_widget.core.errors import QuantError, QuantTypeError, QuantValueError
from perchq_widget.core.kernels import Expanded
from perchq_widget.core.layouts import Units
from perchq_widget.core.qparams import QParams, qparams_of
from perchq_widget.core.runtimes.floats import FIXED_RULES
from perchq_widget.core.trace import silent

from .channels import STORED_QPARAMS, ChannelTable

Floats = npt.NDArray[np.float64]
#: The least ratio that controls offer, and the steps between those that they do.
LEAST_RATIO = RATIO_STEP = 0.005


def why_no_ratio(table: ChannelTable) -> str:
    """Why there is nothing to learn from other clip ratios of one channel's range; "" where there is."""
    scheme, q = table.scheme, table.qparams
    if table.kind != "tensor":
        return "a line of the calculator has one sample and no distribution"
    if table.qparams_given:
        given = "those in the file" if table.range_from == STORED_QPARAMS else "given"
        return f"the parameters are {given}, not taken from a range"
    if scheme.family == "block":
        return f"{scheme.dtype} takes its scales from blocks of values, which no ratio shrinks"
    if scheme.scale_rule in FIXED_RULES:
        return f"scale rule {scheme.scale_rule!r} sets the scale whatever the range is"
    if q.granularity not in ("channel", "tensor"):
        return f"each {q.granularity} has a range of its own: the clip ratio's control shrinks all of them"
    return ""


def checked_ratios(ratios: npt.ArrayLike) -> Floats:
    """Ratios as an ascending float64 array without repetition; raises unless all lie in (0, 1]."""
    try:
        found = np.unique(np.asarray(ratios, np.float64))
    except (TypeError, ValueError) as error:
        raise QuantTypeError(f"ratios must be numbers above 0 and at most 1, got {ratios!r:.80}") from error
    inside = bool(((found > 0) & (found <= 1)).all())  # NaN is not
    if found.size == 0 or not inside:
        raise QuantValueError(f"ratios must be numbers above 0 and at most 1, at least one, got {ratios!r:.80}")
    return found


def channel_range(table: ChannelTable, channel: int) -> tuple[float, float]:
    """The range that a channel's parameters come from at clip ratio 1: of the tensor where all channels share it."""
    whole = table.qparams.granularity == "tensor"
    if table.calibration is not None:
        low, high = table.calibration
    elif table.searched is not None:
        low, high = table.searched
    elif _by_ends(table):
        low, high = (table.known[name].to_numpy(np.float64) for name in ("min", "max"))
        known = ~np.isnan(low)  # a channel without a finite value has no ends
        low, high = (np.where(known, end, 0.0) for end in (low, high)) if not whole else (low[known], high[known])
    else:
        return _from_params(table, channel)
    if not whole:
        return float(low[channel]), float(high[channel])
    return (float(low.min()), float(high.max())) if low.size else (0.0, 0.0)


def _by_ends(table: ChannelTable) -> bool:
    return str(table.scheme.scale_rule) not in table.qparams.rules.statistics


def _from_params(table: ChannelTable, channel: int) -> tuple[float, float]:
    """A range whose parameters at the ratio in force are those in force, however they were found.

    What the codes represent has the right zero point, and is as far off in width as its own scale tells: scales are
    proportional to ranges.
    """
    q = table.qparams
    at = (channel,) if q.scale.ndim else ()
    low, high = (float(end[at]) for end in q.represented())
    low, high = min(low, 0.0), max(high, 0.0)
    again = float(_chosen(table, low, high, np.ones(1)).effective()[0])
    factor = float(q.effective()[at]) / again / table.scheme.clip_ratio
    return low * factor, high * factor


def params_at(table: ChannelTable, channel: int, ratios: Floats) -> QParams:
    """The channel's parameters at each of ``ratios`` (R,), as those of R channels.

    Raises QuantError where the rule has none, as for a range so small that no scale is above 0.
    """
    return _chosen(table, *channel_range(table, channel), ratios)


def _chosen(table: ChannelTable, low: float, high: float, ratios: Floats) -> QParams:
    """As the parameters of a tensor are chosen: the ends in the working dtype, times the ratio in it."""
    scheme, rules = table.scheme, require_allowed(table.scheme)
    assert table.array is not None
    dtype = rules.working_dtype(table.array.dtype)
    rule = rules.range_rule if scheme.family == "integer" else rules.float_rule
    assert rule is not None  # the table allows no format without a rule
    with np.errstate(all="ignore"):
        first, last = (np.asarray([end]).astype(dtype) * ratios.astype(dtype) for end in (low, high))
        params = rule(first, last, scheme, silent)
    return qparams_of(params, replace(scheme, granularity="channel", group_size=None), 0)


def rows_of(params: QParams, rows: slice) -> Expanded:
    """The parameters of some of the ratios, each an array of shape (R, 1)."""
    return params.expand(Units((rows,), (-1, 1)), 0)


def full_ends(table: ChannelTable, channel: int) -> tuple[float, float] | None:
    """What the channel's codes represent at clip ratio 1; None where ratios do not apply or the rule has no scale."""
    if why_no_ratio(table):
        return None
    try:
        low, high = params_at(table, channel, np.ones(1)).represented()
    except QuantError:
        return None
    return float(low[0]), float(high[0])
