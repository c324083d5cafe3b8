"""How one unit's parameters came about: the convention's own rule on the unit's range, told step by step."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from perchq_widget.core.blockscaled import BlockParams, get_format
from perchq_widget.core.codec import Parameters
from perchq_widget.core.fitting import spread_ends
from perchq_widget.core.grids import INTEGER_DTYPES, full_range
from perchq_widget.core.kernels import Expanded
from perchq_widget.core.qparams import QParams
from perchq_widget.core.record import Convention, RangeRule
from perchq_widget.core.schemes import QuantScheme
from perchq_widget.core.trace import Formula, Note, Step, Tracer, number

from .channels import ChannelTable
from .element_steps import is_integer
from .units import Unit, has_units, unit_values

Ends = tuple[npt.NDArray[Any], npt.NDArray[Any]]


def derive(table: ChannelTable, channel: int, unit: Unit, tracer: Tracer) -> Expanded:
    """Append the steps to the unit's parameters to the tracer, which then knows them by name; return them."""
    scheme, params = table.scheme, unit.params(table)
    tracer.known |= {"quant_min": scheme.quant_min, "quant_max": scheme.quant_max, "grid": params.grid}
    tracer.steps.append(codes_step(scheme))
    if table.qparams_given:
        _take_given(table, unit, params, tracer)
    else:
        _apply_rule(table, channel, unit, tracer)
        _settle(table, unit, params, tracer)
    _saturate(table, tracer)
    return params


def codes_step(scheme: QuantScheme) -> Step:
    """Which codes are in force, and why they are not all that the format has."""
    ends = f"{number(scheme.quant_min)}..{number(scheme.quant_max)}"
    if scheme.family != "integer":
        what = "an element's levels" if scheme.family == "block" else "the finite values"
        return Step("codes", "quant_min..quant_max", "", ends, f"{what} of {scheme.dtype}")
    reasons = [
        f"quant_range gives {scheme.quant_range}" if scheme.quant_range is not None else "",
        "reduce_range takes one bit away" if scheme.reduce_range else "",
        "narrow_range drops the lowest code" if scheme.narrow_range else "",
    ]
    low, high = full_range(scheme.dtype)
    told = [reason for reason in reasons if reason]
    if not told and (scheme.quant_min, scheme.quant_max) != (low, high):
        told = [f"{scheme.convention} has {ends} for {scheme.scheme} codes"]
    note = f"{scheme.dtype} has {low}..{high}" + ("; " + " and ".join(told) if told else "")
    return Step("codes", "quant_min..quant_max", "", ends, note)


def sample_rule(scheme: QuantScheme, rules: Convention, note: Note) -> None:
    """The scheme's rule on a made-up range, for its formulas alone."""
    if scheme.family == "block":
        form = get_format(scheme.dtype, scheme.convention)
        overall = None if form.global_scale is None else form.global_scale(np.float32(2), note)
        values = np.linspace(-1, 2, form.block_size, dtype=np.float32)[:, None]
        with np.errstate(all="ignore"):
            form.fit(values, scheme.scale_rule, overall, note)
        return
    low, high = (np.array([end], rules.dtype) for end in (-1, 2))
    rule_of(scheme, rules)(low, high, scheme, note)


def rule_of(scheme: QuantScheme, rules: Convention) -> RangeRule:
    """The rule that takes scales of this format from ranges."""
    rule = rules.range_rule if scheme.family == "integer" else rules.float_rule
    assert rule is not None  # the table allows no format without a rule
    return rule


def _take_given(table: ChannelTable, unit: Unit, params: Expanded, tracer: Tracer) -> None:
    q = table.qparams
    for name, value in _stored(table, unit, params).items():
        tracer(name, "as given", value)
    low, high = (float(np.asarray(end)[unit.index]) for end in q.represented())
    text = "(quant_{} - zero_point) * scale" if is_integer(q) else "the value of quant_{}"
    tracer("lowest value", text.format("min"), low)
    tracer("highest value", text.format("max"), high)
    _derive_used(table, params, tracer)


def _stored(table: ChannelTable, unit: Unit, params: Expanded) -> dict[str, Any]:
    """The unit's parameters by name, as they are stored."""
    q = table.qparams
    two_levels = getattr(q, "global_scale", None) is not None
    found: dict[str, Any] = {} if not two_levels else {"global_scale": getattr(q, "global_scale", None)}
    found["block_scale" if two_levels else "scale"] = unit.units.take(q.scale).ravel()[0]
    if is_integer(q):
        found["zero_point"] = int(params.zero.ravel()[0])
    for name in ("minimum", "multiplier", "origin"):
        value = getattr(q, name, None)
        if value is not None:
            found[name] = unit.units.take(value).ravel()[0]
    return found


def _apply_rule(table: ChannelTable, channel: int, unit: Unit, tracer: Tracer) -> None:
    scheme, rules = table.scheme, table.qparams.rules
    if scheme.family == "block":
        _fit_block(table, unit, tracer)
        return
    (low, high), note = used_range(table, channel, unit)
    if rules.zero_in_range and not low[0] <= 0 <= high[0]:
        note = "; ".join(filter(None, (note, "zero is taken into the range")))
    shown = f"{number(low)}..{number(high)}"
    tracer.steps.append(Step("range", "min..max", "", shown, note))
    tracer.known |= {"min": low, "max": high}
    with np.errstate(over="ignore", under="ignore"):
        rule_of(scheme, rules)(low, high, scheme, tracer)


def used_range(table: ChannelTable, channel: int, unit: Unit) -> tuple[Ends, str]:
    """The range that the unit's scale was taken from, of shape (1,) in the rule's dtype; and where it comes from."""
    if table.array is None:
        return _typed_range(table, channel), ""
    dtype = table.qparams.rules.working_dtype(table.array.dtype)
    statistic = table.qparams.rules.statistics.get(str(table.scheme.scale_rule))
    if statistic is None:
        low, high, notes = _tensor_range(table, channel, unit, dtype)
    else:
        ends = spread_ends(table.array, table.ch_axis, table.scheme, statistic)
        low, high = (float(end[unit.index]) for end in ends)
        notes = [f"minus to plus the {table.scheme.scale_rule} of all values"]
    ratio = table.scheme.clip_ratio
    if ratio != 1.0:
        notes.append(f"times clip_ratio {ratio:g}")
    with np.errstate(over="ignore", under="ignore"):
        first, last = (np.array([end]).astype(dtype) * dtype.type(ratio) for end in (low, high))
    return (first, last), "; ".join(notes)


def _typed_range(table: ChannelTable, channel: int) -> Ends:
    """Of a calculator's line: fractions where the rule is exact, else in the dtype that the runtime computes in."""
    assert table.lines is not None
    name = table.channels[channel]
    line = next(line for line in table.lines.rows if line.channel == name)
    if isinstance(table.qparams, QParams) and table.qparams.exact is not None:
        return np.array([line.exact[0]], object), np.array([line.exact[1]], object)
    low, high = (np.array([end], np.float64).astype(table.qparams.rules.dtype) for end in line.values[:2])
    return low, high


def _tensor_range(
    table: ChannelTable, channel: int, unit: Unit, dtype: np.dtype[Any]
) -> tuple[float, float, list[str]]:
    if has_units(table):
        with np.errstate(over="ignore"):
            values = unit_values(table, unit).astype(dtype)
        finite = values[np.isfinite(values)].astype(np.float64)
        if finite.size == 0:
            return 0.0, 0.0, [unit.name, "no value is finite"]
        return float(finite.min()), float(finite.max()), [unit.name]
    given = table.calibration if table.searched is None else table.searched
    lows, highs = given or (table.frame[name].to_numpy(np.float64) for name in ("min", "max"))
    notes = ["no value is finite"] if given is None and np.isnan(lows[channel]) else []
    notes += [] if table.calibration is None else ["the given calibration range"]
    notes += [] if table.searched is None else [f"what the observer {table.scheme.observer} found"]
    if unit.index:
        return float(np.nan_to_num(lows[channel])), float(np.nan_to_num(highs[channel])), notes
    known = ~np.isnan(lows)
    notes.append("one range for the whole tensor")
    low, high = (float(lows[known].min()), float(highs[known].max())) if known.any() else (0.0, 0.0)
    return low, high, notes


def _fit_block(table: ChannelTable, unit: Unit, tracer: Tracer) -> None:
    """The format's own fit on the one block. NaN and infinities are left out, as zeros."""
    scheme = table.scheme
    form = get_format(scheme.dtype, scheme.convention)
    with np.errstate(over="ignore"):
        x = unit_values(table, unit).astype(np.float32)[:, None]
    x = np.where(np.isfinite(x), x, np.float32(0))
    shown = f"{number(x.min())}..{number(x.max())}"
    tracer.steps.append(Step("range", "min..max", "", shown, unit.name))
    tracer.known |= {"min": x.min(), "max": x.max()}
    rule = form.fit if len(x) == scheme.group_size or form.short_fit is None else form.short_fit
    with np.errstate(all="ignore"):
        overall = None
        if form.global_scale is not None:
            ends = table.frame[["min", "max"]].to_numpy(np.float64)
            largest = np.float32(np.abs(ends[~np.isnan(ends)]).max(initial=0))
            tracer("tensor_largest", "max(|x|)", largest, "of the whole tensor")
            overall = form.global_scale(largest, tracer)
        rule(x, scheme.scale_rule, overall, tracer)


def _settle(table: ChannelTable, unit: Unit, params: Expanded, tracer: Tracer) -> None:
    """Go from what the rule noted to what is stored, with a step where that is another number."""
    noted = tracer.known.get("scale")
    told = noted is not None and number(noted) == number(params.scale.ravel()[0])  # the step itself, and not its byte
    for name, value in _stored(table, unit, params).items():
        known = tracer.known.get(name)
        if name == "scale" and told:
            continue
        if known is None and name != "multiplier":
            tracer(name, name, value, "as it is stored")
        elif known is not None and number(known) != number(value):
            tracer(name, f"{name} as {np.asarray(value).dtype.name}", value, "as it is stored")
        if name in tracer.known:
            tracer.known[name] = value
    _derive_used(table, params, tracer)


def _derive_used(table: ChannelTable, params: Expanded, tracer: Tracer) -> None:
    """Go from what is stored to what the kernel computes with, with a step where that is another number."""
    q = table.qparams
    used = {"scale": params.scale, "inverse": params.inverse, "multiplier": params.multiplier}
    used |= {"minimum": params.minimum, "origin": params.origin}
    numbers = {name: q.working_dtype.type(value.ravel()[0]) for name, value in used.items() if value is not None}
    if isinstance(q, BlockParams):
        for name, text in (("scale", q.form.step_text), ("multiplier", q.form.factor_text)):
            if name in numbers and number(numbers[name]) != number(tracer.known.get(name, "")):
                tracer(name, text, numbers[name], "" if name == "multiplier" else "the step of a level")
    tracer.known |= numbers
    tracer.known["zero_point"] = int(params.zero.ravel()[0])


def used_lines(qparams: Parameters, formulas: tuple[Formula, ...], noted: set[str]) -> list[str]:
    """Of a format in blocks, how a level's step and its reciprocal follow from what is stored, where it is in use."""
    if not isinstance(qparams, BlockParams):
        return []
    texts = " ".join(formula.text for formula in formulas)
    lines = [] if qparams.form.step_text == "scale" else [f"scale = {qparams.form.step_text}"]
    lines += ["origin = minimum"] if "origin" in texts and "origin" not in noted and qparams.origin is None else []
    used = "multiplier" in texts and "multiplier" not in noted
    return [*lines, f"multiplier = {qparams.form.factor_text}"] if used else lines


def _saturate(table: ChannelTable, tracer: Tracer) -> None:
    """Where codes saturate elsewhere than the scale was taken for, say so."""
    q, scheme = table.qparams, table.scheme
    if q.dtype in INTEGER_DTYPES and (q.quant_min, q.quant_max) != (scheme.quant_min, scheme.quant_max):
        ends = f"{q.quant_min}..{q.quant_max}"
        tracer.steps.append(Step("saturation", "quant_min..quant_max", "", ends, "codes saturate at the dtype's ends"))
    tracer.known |= {"quant_min": q.quant_min, "quant_max": q.quant_max}
