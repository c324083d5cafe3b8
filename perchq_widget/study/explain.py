"""Explain this number: the formulas in use with one channel's own numbers put in, in the convention's precision."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from perchq_widget.core import exact
from perchq_widget.core.elements import one_channel, raw_codes
from perchq_widget.core.errors import QuantTypeError, QuantValueError
from perchq_widget.core.grids import full_range
from perchq_widget.core.metrics import decibels, percent
from perchq_widget.core.runtimes.torch_ao import EPS
from perchq_widget.core.schemes import QuantScheme
from perchq_widget.sources.lines import Line

from .channels import ChannelTable


@dataclass(frozen=True, slots=True)
class Step:
    """One line of the derivation: the general formula, the numbers put in, the result, and a remark or ""."""

    name: str
    formula: str
    numbers: str
    result: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Explanation:
    """How one value of one channel came to its code and back."""

    title: str
    channel: str
    convention: str
    steps: tuple[Step, ...]
    source: str

    def to_text(self) -> str:
        """The derivation as plain lines."""
        lines = [self.title, f"rule: {self.convention} ({self.source})"]
        for step in self.steps:
            note = f"   [{step.note}]" if step.note else ""
            numbers = f" = {step.numbers}" if step.numbers else ""
            lines.append(f"{step.name}: {step.formula}{numbers} = {step.result}{note}")
        return "\n".join(lines)

    __str__ = to_text


def explain(table: ChannelTable, channel: int | str, value: float | None = None) -> Explanation:
    """The derivation for ``channel``; for a tensor of ``value``, by default its largest magnitude."""
    index = table.index_of(channel)
    x = _value(table, index, value)
    steps = [_codes_step(table.scheme)]
    if table.kind == "params" or table.range_from == "given qparams":
        steps += _given_steps(table, index)
    else:
        steps += _symmetric_steps(table, index) if table.scheme.symmetric else _affine_steps(table, index)
    rules = table.qparams.rules
    name = table.channels[index]
    if x is not None:
        steps += _element_steps(table, index, x, typed=value is None)
    what = "no finite value to follow" if x is None else f"how {number(x)} becomes a code and comes back"
    return Explanation(
        f"{name}: {what}",
        name,
        f"{rules.name}: {rules.title}",
        tuple(steps),
        f"{rules.source}; checked against {rules.checked}; rounding: {rules.rounding}",
    )


def number(value: float) -> str:
    """Eight significant digits, as the table shows them."""
    return f"{value:.8g}"


def _inner(value: float) -> str:
    """A number inside a formula: negative ones in brackets."""
    return f"({number(value)})" if value < 0 else number(value)


def _value(table: ChannelTable, index: int, value: float | None) -> float | None:
    """The value to follow; None where the channel has no finite one."""
    if value is not None:
        if isinstance(value, bool) or not isinstance(value, (int, float, np.number)):
            raise QuantTypeError(f"value must be a number, got {value!r}")
        if not np.isfinite(value):
            raise QuantValueError(f"value must be finite, got {value!r}")
        return float(value)
    values = table.channel_values(index).astype(np.float64)
    finite = values[np.isfinite(values)]
    return float(finite[np.argmax(np.abs(finite))]) if finite.size else None


def _codes_step(scheme: QuantScheme) -> Step:
    low, high = full_range(scheme.dtype)
    reasons = []
    if scheme.quant_range is not None:
        reasons.append(f"quant_range gives {scheme.quant_range}")
    if scheme.reduce_range:
        reasons.append("reduce_range takes one bit away")
    if scheme.narrow_range:
        reasons.append("narrow_range drops the lowest code")
    note = f"{scheme.dtype} has {low}..{high}" + ("; " + " and ".join(reasons) if reasons else "")
    return Step("codes", "quant_min..quant_max", "", f"{scheme.quant_min}..{scheme.quant_max}", note)


def _given_steps(table: ChannelTable, index: int) -> list[Step]:
    q = table.qparams
    scale, zero_point = _params(table, index)
    low, high = (q.quant_min - zero_point) * scale, (q.quant_max - zero_point) * scale
    return [
        Step("scale", "as given", "", number(scale)),
        Step("zero_point", "as given", "", str(zero_point)),
        Step("lowest value", "(quant_min - zero_point) * scale",
             f"({q.quant_min} - {_inner(zero_point)}) * {number(scale)}", number(low)),
        Step("highest value", "(quant_max - zero_point) * scale",
             f"({q.quant_max} - {_inner(zero_point)}) * {number(scale)}", number(high)),
    ]  # fmt: skip


def _params(table: ChannelTable, index: int) -> tuple[float, int]:
    row = table.frame.iloc[index]
    return float(row["scale"]), int(row["zero_point"])


def _range_used(table: ChannelTable, index: int) -> tuple[float, float, str]:
    """The range that the scale was taken from, and how it differs from the channel's own."""
    row = table.frame.iloc[index]
    low, high = float(row["min"]), float(row["max"])
    if table.kind == "tensor":
        low, high, note = _tensor_range(table, *((0.0, 0.0) if np.isnan(low) else (low, high)), index)
    else:
        note = ""
    if table.scheme.convention == "pytorch":
        extended = min(low, 0.0), max(high, 0.0)
        if extended != (low, high):
            note = "; ".join(filter(None, (note, "zero is taken into the range")))
        low, high = extended
    return low, high, note


def _tensor_range(table: ChannelTable, low: float, high: float, index: int) -> tuple[float, float, str]:
    notes = ["no value is finite"] if table.frame["n"].iloc[index] == 0 and table.calibration is None else []
    if table.calibration is not None:
        low, high = (float(end[index]) for end in table.calibration)
        notes.append("the given calibration range")
    if table.qparams.ch_axis is None:
        ends = table.calibration or (table.frame["min"].to_numpy(float), table.frame["max"].to_numpy(float))
        known = ~np.isnan(ends[0])
        low, high = (float(ends[0][known].min()), float(ends[1][known].max())) if known.any() else (0.0, 0.0)
        notes.append("one range for the whole tensor")
    ratio = table.scheme.clip_ratio
    if ratio != 1.0:
        notes.append(f"times clip_ratio {ratio:g}")
    return low * ratio, high * ratio, "; ".join(notes)


def _affine_steps(table: ChannelTable, index: int) -> list[Step]:
    scheme = table.scheme
    low, high, note = _range_used(table, index)
    scale, zero_point = _params(table, index)
    torch = scheme.convention == "pytorch"
    codes = f"({scheme.quant_max} - {_inner(scheme.quant_min)})"
    zero_formula = "quant_min - round(min / scale)" if torch else "round(quant_min - min / scale)"
    quotient = f"{_inner(low)} / {number(scale)}"
    put_in = f"{scheme.quant_min} - round({quotient})" if torch else f"round({scheme.quant_min} - {quotient})"
    return [
        Step("range", "min..max", "", f"{number(low)}..{number(high)}", note),
        Step("scale", "(max - min) / (quant_max - quant_min)",
             f"({number(high)} - {_inner(low)}) / {codes} = {number(high - low)} / {scheme.grid.n_levels - 1}",
             number(scale), _scale_note(scheme, scale, high - low)),
        Step("zero_point", zero_formula, put_in, str(zero_point),
             _zero_note(scheme, zero_point, low / scale)),
    ]  # fmt: skip


def _scale_note(scheme: QuantScheme, scale: float, width: float) -> str:
    if width == 0 and scheme.convention == "calculator":
        return "the range has no width: the scale is float32's epsilon by convention"
    if scheme.convention == "pytorch" and scale == float(EPS):
        return "held at eps = 1.1920929e-07, the least that torch allows"
    return ""


def _zero_note(scheme: QuantScheme, zero_point: int, quotient: float) -> str:
    if scheme.convention == "pytorch":
        unclamped = scheme.quant_min - round(quotient)
        return "" if unclamped == zero_point else f"clamped to {scheme.quant_min}..{scheme.quant_max}"
    inside = scheme.quant_min <= zero_point <= scheme.quant_max
    return "" if inside else "outside the codes and not clamped: real zero is off the grid"


def _symmetric_steps(table: ChannelTable, index: int) -> list[Step]:
    scheme = table.scheme
    low, high, note = _range_used(table, index)
    scale, zero_point = _params(table, index)
    largest = max(abs(low), abs(high))
    if scheme.convention == "pytorch":
        denominator = (scheme.quant_max - scheme.quant_min) / 2
        formula, zero_formula = "max(-min, max) / ((quant_max - quant_min) / 2)", "middle of the codes"
    else:
        denominator = float(max(-scheme.quant_min, scheme.quant_max))
        formula, zero_formula = "max(|min|, |max|) / max(|quant_min|, |quant_max|)", "0 by definition"
    return [
        Step("range", "min..max", "", f"{number(low)}..{number(high)}", note),
        Step("scale", formula, f"{number(largest)} / {denominator:g}", number(scale),
             _scale_note(scheme, scale, largest)),
        Step("zero_point", zero_formula, "", str(zero_point)),
    ]  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Element:
    """One value through the convention's own arithmetic."""

    shown: str  # the value as typed, or as the convention sees it
    quotient: float
    raw: int
    code: int
    real: float
    error: float
    pct: float
    sqnr_db: float


def _element(table: ChannelTable, index: int, x: float, *, typed: bool) -> _Element:
    q = table.qparams
    if q.exact is None:
        return _runtime_element(table, index, x)
    params = q.exact[index if q.ch_axis is not None else 0]
    line = _line(table, index) if typed else None
    value = exact.fraction(x) if line is None else line.exact[2]
    sample = exact.quantize_sample(value, params, q.quant_min, q.quant_max)
    error = abs(sample.error)
    return _Element(
        number(x) if line is None else line.values[2],
        exact.to_float(value / params.scale),
        sample.raw,
        sample.code,
        exact.to_float(sample.dequantized),
        exact.to_float(error),
        exact.percentage(error, abs(value)),
        exact.decibels(value * value, error * error),
    )


def _line(table: ChannelTable, index: int) -> Line | None:
    """The calculator's line of that channel."""
    rows = table.lines.rows if table.lines is not None else ()
    return next((line for line in rows if line.channel == table.channels[index]), None)


def _runtime_element(table: ChannelTable, index: int, x: float) -> _Element:
    q = table.qparams
    scale, zero_point = (q.scale[index], q.zero_point[index]) if q.ch_axis is not None else (q.scale, q.zero_point)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        seen = q.rules.dtype.type(x)
        quotient = float(seen * (q.rules.dtype.type(1) / scale))
        raw = float(raw_codes(np.array([[seen]]), q, one_channel(slice(index, index + 1), q))[0, 0])
        code = int(min(max(raw, q.quant_min), q.quant_max))
        real = float(q.rules.dtype.type(code - int(zero_point)) * scale)
    error = abs(real - float(seen))
    limited = int(min(max(raw, -(2.0**63)), 2.0**63))
    sqnr = 2 * float(decibels(abs(float(seen)), error))
    return _Element(number(float(seen)), quotient, limited, code, real, error,
                    float(percent(error, abs(float(seen)))), sqnr)  # fmt: skip


def _element_steps(table: ChannelTable, index: int, x: float, *, typed: bool) -> list[Step]:
    q = table.qparams
    scale, zero_point = _params(table, index)
    e = _element(table, index, x, typed=typed)
    value, size = _bracketed(e.shown), e.shown.removeprefix("-")
    if q.exact is not None:
        quotient = Step("quotient", "x / scale", f"{value} / {number(scale)}", number(e.quotient))
    else:
        with np.errstate(over="ignore"):
            inverse = float(q.rules.dtype.type(1) / q.rules.dtype.type(scale))
        quotient = Step("quotient", "x * (1 / scale)", f"{value} * {number(inverse)}", number(e.quotient))
    return [
        quotient,
        Step("raw code", "round(quotient) + zero_point", f"{e.raw - zero_point} + {_inner(zero_point)}", str(e.raw),
             q.rules.rounding),
        Step("code", "min(max(raw, quant_min), quant_max)", f"min(max({e.raw}, {q.quant_min}), {q.quant_max})",
             str(e.code), "clipped" if e.raw != e.code else ""),
        Step("dequantized", "(code - zero_point) * scale",
             f"({e.code} - {_inner(zero_point)}) * {number(scale)}", number(e.real)),
        Step("absolute error", "|dequantized - x|", f"|{number(e.real)} - {value}|", number(e.error)),
        Step("error in percent", "100 * error / |x|", f"100 * {number(e.error)} / {size}", f"{number(e.pct)} %"),
        Step("SQNR", "20 * log10(|x| / error)", f"20 * log10({size} / {number(e.error)})", f"{e.sqnr_db:.6g} dB"),
    ]  # fmt: skip


def _bracketed(text: str) -> str:
    return f"({text})" if text.startswith("-") else text


def rule_lines(table: ChannelTable) -> list[str]:
    """The formulas in use, without numbers."""
    return []
