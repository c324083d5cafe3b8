"""The rules for real tensors."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from .codec import Parameters
from .group_rules import group_hits
from .metrics import ChannelErrors
from .ranges import ChannelRanges
from .rules import LOW_SQNR_DB, OUTLIER_RATIO, ZEROED_PCT, Hit, scale_hits
from .schemes import QuantScheme

Floats = npt.NDArray[Any]


def tensor_hits(
    observed: ChannelRanges,
    errors: ChannelErrors,
    qparams: Parameters,
    scheme: QuantScheme,
    params: tuple[Floats, Floats],
    overflow: Floats,
    used: tuple[Floats, Floats] | None,
) -> list[Hit]:
    """Every rule over all channels.

    ``params``: scale and zero point per channel. ``overflow``: codes by which it is clipped at most. ``used``: per
    channel, the range that its parameters came from; None where the parameters were given or one range serves all
    channels.
    """
    low, high = observed.known()
    some = observed.n_finite > 0
    scale, zero = params
    top = np.maximum(np.abs(low), np.abs(high))
    hits = _value_hits(observed, errors, top, qparams)
    zeros = (low == 0) & (high == 0)  # they have a rule of their own
    first, last = (low, high) if used is None else used
    for hit in scale_hits(scale, first, last, scheme, qparams.working_dtype):
        if hit.rule != "zero-width":
            hits.append(hit)
        elif used is not None:
            hits.append(replace(hit, where=hit.where & ~zeros))
    hits += _error_hits(errors, qparams, zero, overflow)
    hits += [] if errors.groups is None else group_hits(errors.groups, qparams.effective())
    one_sided = ((low >= 0) | (high <= 0)) & (low != high) & some
    halves = scheme.family == "integer" and scheme.symmetric and qparams.grid.signed  # a float loses a bit of sign
    hits.append(
        Hit("one-sided", "info", one_sided & halves, np.where(low >= 0, low, high),
            "all values are on one side of zero (nearest: {value}), so symmetric codes leave half the grid unused.",
            "Choose scheme 'affine', or an unsigned format.")
    )  # fmt: skip
    return hits


def _value_hits(observed: ChannelRanges, errors: ChannelErrors, top: Floats, qparams: Parameters) -> list[Hit]:
    beyond, unit = qparams.working_dtype.name, qparams.granularity
    others = "all others" if unit in ("channel", "tensor") else f"the others of its {unit}"
    rms = np.sqrt(errors.mean(errors.signal))
    ratio = np.divide(top, rms, out=np.zeros_like(top), where=rms > 0)
    bad = observed.n_nan + observed.n_inf
    return [
        Hit("empty", "error", observed.n_finite == 0, bad,
            f"no value is finite; NaN, infinite or beyond {beyond}: {{value}}.",
            "Find the operation that made them; this channel cannot be quantized."),
        Hit("non-finite", "error", (bad > 0) & (observed.n_finite > 0), bad,
            f"values that are NaN, infinite or beyond {beyond}: {{value}}. They are left out of range and errors.",
            "Find the operation that made them before quantizing."),
        Hit("all-zero", "info", (top == 0) & (observed.n_finite > 0), top, "all values are zero.",
            "The channel may be pruned away."),
        Hit("outlier", "info", ratio > OUTLIER_RATIO, ratio,
            f"the largest magnitude is {{value}} times the root mean square (above {OUTLIER_RATIO:g}).",
            f"It sets the step for {others}; clip it, or keep the channel in a wider format."),
    ]  # fmt: skip


def _error_hits(errors: ChannelErrors, qparams: Parameters, zero: Floats, overflow: Floats) -> list[Hit]:
    zeroed = errors.zeroed_pct  # 0 while it has not been counted
    off_grid = (zero < qparams.quant_min) | (zero > qparams.quant_max)
    return [
        Hit("zero-off-grid", "warning", off_grid, zero,
            f"zero_point {{value}} lies outside {qparams.quant_min}..{qparams.quant_max}: real zero is off the grid.",
            "Include 0 in the range, or use a runtime's convention, which does so by itself."),
        Hit("clipped", "warning", (overflow > 1) & (errors.clipped > 0), overflow,
            "values are clipped by up to {value} codes.", "Widen the range, or accept the loss knowingly."),
        Hit("low-sqnr", "warning", (errors.sqnr_db < LOW_SQNR_DB) & (errors.n > 0), errors.sqnr_db,
            f"SQNR is {{value}} dB, below {LOW_SQNR_DB:g} dB.",
            "Look for outliers, choose a finer granularity, or give the channel more bits.", lowest_is_worst=True),
        Hit("zeroed", "warning", zeroed > ZEROED_PCT, zeroed, "{value} % of the non-zero values became zero.",
            "The step is large beside most values; look for outliers."),
    ]  # fmt: skip
