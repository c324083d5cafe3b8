"""Explain this number: the formulas in use with one channel's own numbers put in, in the convention's precision.

The steps are told by the very functions that compute: a convention's range rule through a tracer, then the formulas of
its element kernel and decoder.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

import numpy as np

from perchq_widget.core.errors import QuantTypeError, QuantValueError
from perchq_widget.core.trace import Step, Tracer, number
from perchq_widget.sources.lines import Line

from .channels import ChannelTable
from .derivation import derive, sample_rule, used_lines
from .element_steps import Value, element_formulas, follow_value, is_integer
from .units import Unit, chosen_unit, numbers_in_channel, unit_of

__all__ = ["Explanation", "Step", "explain", "rule_lines"]


@dataclass(frozen=True, slots=True)
class Explanation:
    """How one value of one channel came to its code and back.

    ``unit`` says which group, block or token it lies in, "" where a channel has one scale.
    """

    title: str
    channel: str
    convention: str
    steps: tuple[Step, ...]
    source: str
    unit: str = ""

    def to_text(self) -> str:
        """The derivation as plain lines."""
        lines = [self.title, f"rule: {self.convention} ({self.source})"]
        for step in self.steps:
            note = f"   [{step.note}]" if step.note else ""
            numbers = f" = {step.numbers}" if step.numbers else ""
            result = "" if step.formula == step.result else f" = {step.result}"
            lines.append(f"{step.name}: {step.formula}{numbers}{result}{note}")
        return "\n".join(lines)

    __str__ = to_text


def explain(
    table: ChannelTable, channel: int | str, value: float | None = None, group: int | None = None
) -> Explanation:
    """The derivation for ``channel``; for a tensor of ``value``, by default its largest magnitude.

    Where a channel meets several sets of parameters, the one that its largest magnitude lies in is followed, or
    ``group``, numbered as in :meth:`ChannelReport.groups`.
    """
    index = table.index_of(channel)
    unit, followed = _unit_and_value(table, index, _checked(value, table.qparams.working_dtype), group)
    tracer = Tracer({})
    params = derive(table, index, unit, tracer)
    if followed is not None:
        follow_value(table.qparams, params, followed, tracer)
    rules, name = table.qparams.rules, table.channels[index]
    what = "no finite value to follow" if followed is None else _what_happens(table, followed)
    return Explanation(
        f"{name}, {unit.name}: {what}" if unit.name else f"{name}: {what}",
        name,
        f"{rules.name}: {rules.title}",
        tuple(tracer.steps),
        f"{rules.source}; checked against {rules.checked}; rounding: {table.qparams.kernel.rounding}",
        unit.name,
    )


def _what_happens(table: ChannelTable, value: Value) -> str:
    with np.errstate(over="ignore"):
        seen = value.seen if value.text is not None else table.qparams.working_dtype.type(value.seen)
    return f"how {number(seen)} becomes a code and comes back"


def _checked(value: object, working: np.dtype[Any]) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)):
        raise QuantTypeError(f"value must be a number, got {value!r}")
    with np.errstate(over="ignore"):
        near: Any = value  # Python compares integers of any size with floats, numpy converts them
        seen = working.type(near) if abs(near) <= sys.float_info.max else working.type(np.inf)
    if not np.isfinite(seen):
        raise QuantValueError(f"value must be finite in {working.name}, in which it is quantized, got {value!r}")
    return float(value)


def _unit_and_value(
    table: ChannelTable, index: int, value: float | None, group: int | None
) -> tuple[Unit, Value | None]:
    """The parameters to explain, and the value to follow: None where there is no finite one."""
    numbers = numbers_in_channel(table, index)
    unit = None if group is None else chosen_unit(table, index, group)
    with np.errstate(over="ignore"):
        values = table.channel_values(index).astype(table.qparams.working_dtype).astype(np.float64)
    mine = np.isfinite(values) if unit is None else np.isfinite(values) & (numbers == unit.number)
    at = int(np.argmax(np.where(mine, np.abs(values), -1.0)))
    found = float(values[at]) if mine[at] else None
    if unit is None:
        unit = unit_of(table, int(numbers[at]))
    if value is not None:
        return unit, Value(value)
    line = _line(table, index)
    if line is not None and unit.params(table).exact is not None:
        return unit, Value(float(line.values[2]), line.values[2])
    return unit, None if found is None else Value(found)


def _line(table: ChannelTable, index: int) -> Line | None:
    """The calculator's line of that channel."""
    rows = table.lines.rows if table.lines is not None else ()
    return next((line for line in rows if line.channel == table.channels[index]), None)


def rule_lines(table: ChannelTable) -> list[str]:
    """The formulas in use, without numbers, one a line: those of the scale, then those of a value and its code."""
    tracer, scheme, rules = Tracer({}), table.scheme, table.qparams.rules
    lines = []
    if table.qparams_given:
        lines.append("scale and zero_point as given" if is_integer(table.qparams) else "scales as given")
    else:
        sample_rule(scheme, rules, tracer)
        lines += [f"{step.name} = {step.formula}" for step in tracer.steps]
        floor = rules.floor_in(table.qparams.working_dtype)
        floored = is_integer(table.qparams) and floor is not None
        lines += [f"scale = max(scale, {number(floor)})"] if floored else []
    params = unit_of(table, 0).params(table)
    formulas = element_formulas(table.qparams, params)
    lines += used_lines(table.qparams, formulas, {step.name for step in tracer.steps})
    for formula in formulas:
        name = formula.name.replace(" ", "_")
        lines.append(f"{name} = {formula.text}" + (f", {formula.why}" if formula.why else ""))
    return list(dict.fromkeys(lines))
