"""One value on its way to a code and back, by the formulas of the runtime's own kernel and decoder."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np

from perchq_widget.core import exact
from perchq_widget.core.codec import Parameters
from perchq_widget.core.grids import INTEGER_DTYPES, IntGrid
from perchq_widget.core.kernels import Expanded
from perchq_widget.core.metrics import decibels, percent
from perchq_widget.core.trace import Formula, Tracer, Typed, follow, number

#: The ends of int64, as float64: further out a raw code is shown as the end.
_LIMITS = -(2.0**63), float(np.nextafter(2.0**63, 0))


@dataclass(frozen=True, slots=True)
class Value:
    """What is followed: the number as the runtime sees it, and as typed where it was (decimals decide ties)."""

    seen: float
    text: str | None = None

    @property
    def fraction(self) -> Fraction:
        """The decimal that is meant."""
        return exact.fraction(self.seen if self.text is None else self.text)


def element_formulas(qparams: Parameters, params: Expanded) -> tuple[Formula, ...]:
    """Every step from a value to its code and back. ``params`` are one unit's, of shape (1, 1)."""
    return (*qparams.kernel.formulas, *_coding(qparams, params), _decoding(qparams, params))


def is_integer(qparams: Parameters) -> bool:
    """Whether codes are integers with a zero point."""
    return qparams.dtype in INTEGER_DTYPES


def _shifts(qparams: Parameters, params: Expanded) -> bool:
    """Whether a code is a level plus a zero point."""
    return is_integer(qparams) or bool(params.zero.any())


def _coding(qparams: Parameters, params: Expanded) -> tuple[Formula, ...]:
    def clamped(known: Mapping[str, Any]) -> Any:
        return np.clip(known["level"], params.low.ravel()[0], params.high.ravel()[0])

    def code(known: Mapping[str, Any]) -> Any:
        levels = np.array([[clamped(known)]], qparams.working_dtype)
        return qparams.codes_of(levels, params).ravel()[0]

    if _shifts(qparams, params):
        return (
            Formula("raw code", "level + zero_point", lambda k: _raw(k["level"], int(k["zero_point"]))),
            Formula("code", "min(max(raw_code, quant_min), quant_max)", code),
        )
    if isinstance(qparams.grid, IntGrid):
        return (Formula("code", "min(max(level, quant_min), quant_max)", code),)
    stored = qparams.code_dtype
    text = f"the code of clamped in {qparams.dtype}" if stored.kind in "iu" else f"clamped as {stored.name}"
    return Formula("clamped", "min(max(level, quant_min), quant_max)", clamped), Formula("code", text, code)


def _raw(level: Any, zero_point: int) -> int:
    if isinstance(level, int):
        return level + zero_point
    return int(np.clip(float(level) + zero_point, *_LIMITS))


def _decoding(qparams: Parameters, params: Expanded) -> Formula:
    """The decoder's own formula; where codes have no zero point, without one, and "level" as the clamped one."""
    formula = qparams.decoder.formula
    if _shifts(qparams, params):
        return replace(formula, text=re.sub(r"\blevel\b", "(code - zero_point)", formula.text))
    level = "code" if isinstance(qparams.grid, IntGrid) else "clamped"
    return replace(formula, text=re.sub(r"\(code - zero_point\)|\blevel\b", level, formula.text))


def follow_value(qparams: Parameters, params: Expanded, value: Value, tracer: Tracer) -> None:
    """Append the steps of ``value`` and its errors to the tracer, which knows the parameters."""
    known, working = tracer.known, qparams.working_dtype
    with np.errstate(over="ignore"):
        seen = working.type(value.seen)
    known["x"] = seen if value.text is None else Typed(value.seen, value.text)
    if params.exact is None:
        _follow_runtime(qparams, params, tracer)
        _append_errors(float(seen), float(known["dequantized"]), tracer)
    else:
        _follow_exact(qparams, params, value.fraction, tracer)


def _follow_runtime(qparams: Parameters, params: Expanded, tracer: Tracer) -> None:
    known, kernel = tracer.known, qparams.kernel
    follow(kernel.formulas, tracer)
    if np.isnan(known["level"]):  # our policy, where a scale is so small that its reciprocal is infinite
        tracer("level", "0", known["level"].dtype.type(0), "what is not a number becomes zero")
    follow(_coding(qparams, params), tracer)
    known["clamped"] = np.array([_clamped(qparams, params, known["code"])], qparams.working_dtype)[0]
    _remark_clipping(qparams, tracer)
    follow((_decoding(qparams, params),), tracer)


def _clamped(qparams: Parameters, params: Expanded, code: Any) -> Any:
    """The level that a reader of the code takes it for."""
    return qparams.levels_of(np.array([[code]], qparams.code_dtype), params).ravel()[0]


def _remark_clipping(qparams: Parameters, tracer: Tracer) -> None:
    """Say where the clamp changed something, and of a float code its bits."""
    known = tracer.known
    before = "raw_code" if "raw_code" in known else "level"
    after = "code" if isinstance(qparams.grid, IntGrid) else "clamped"
    place = max(i for i, step in enumerate(tracer.steps) if step.name == after)
    if known[before] != known[after]:
        tracer.steps[place] = replace(tracer.steps[place], note="clipped")
    if qparams.code_dtype.kind not in "iu":
        bits = int(np.array([known["code"]], qparams.code_dtype).view(f"u{qparams.code_dtype.itemsize}")[0])
        tracer.steps[-1] = replace(tracer.steps[-1], note=f"bits {bits:#04x}")


def _follow_exact(qparams: Parameters, params: Expanded, value: Fraction, tracer: Tracer) -> None:
    """The same formulas with results from exact fractions, converted at the very end."""
    assert params.exact is not None
    own, known = params.exact[0], tracer.known
    ends = int(qparams.quant_min), int(qparams.quant_max)
    sample = exact.quantize_sample(value, own, *ends)
    known["exact_level"] = sample.raw - own.zero_point
    with np.errstate(over="ignore"):
        follow(qparams.kernel.formulas, tracer)
    for formula, found in zip(_coding(qparams, params), (sample.raw, sample.code), strict=True):
        tracer(formula.name, formula.text, found)
    _remark_clipping(qparams, tracer)
    back = qparams.decoder.formula
    tracer(back.name, back.text, exact.to_float(sample.dequantized))
    error, size = abs(sample.error), abs(value)
    known["error"] = exact.to_float(error)
    _append_error_steps(
        tracer, known["error"], exact.percentage(error, size), exact.decibels(size * size, error * error)
    )


def _append_errors(x: float, back: float, tracer: Tracer) -> None:
    error = abs(back - x)
    _append_error_steps(tracer, error, float(percent(error, abs(x))), 2 * float(decibels(abs(x), error)))


def _append_error_steps(tracer: Tracer, error: float, pct: float, sqnr_db: float) -> None:
    tracer("absolute error", "|dequantized - x|", error)
    tracer.known["error"] = error
    tracer("error in percent", "100 * error / |x|", f"{number(pct)} %")
    tracer("SQNR", "20 * log10(|x| / error)", f"{sqnr_db:.6g} dB")
