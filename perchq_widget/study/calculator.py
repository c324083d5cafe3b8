"""The calculator: parsed lines -> ChannelTable."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from perchq_widget.core import exact
from perchq_widget.core.conventions import require_allowed
from perchq_widget.core.errors import LineError, LinesError, QuantValueError
from perchq_widget.core.exact import ExactParams
from perchq_widget.core.metrics import decibels, percent
from perchq_widget.core.qparams import QParams, dequantize, qparams_from_range, raw_codes
from perchq_widget.core.rules import line_findings
from perchq_widget.core.schemes import QuantScheme
from perchq_widget.sources.lines import COLUMNS, Line, ParsedLines

from .channels import CALCULATOR_COLUMNS, ChannelTable


@dataclass(frozen=True, slots=True)
class _Result:
    """One line through the grid, as float64 and int."""

    low: float
    high: float
    scale: float
    zero_point: int
    raw: int
    code: int
    dequantized: float
    abs_error: float
    pct_error: float
    sqnr_db: float
    signal: float
    noise: float


def calculate_table(parsed: ParsedLines, scheme: QuantScheme, *, name: str, ch_axis: int) -> ChannelTable:
    """Compute every good line; the others stay in ``errors``. Raises LinesError if no line is left.

    A line that the convention cannot take (a zero point outside the codes, a scale that float32 loses) becomes a
    LineError as well.
    """
    rules = require_allowed(scheme)
    errors = list(parsed.errors)
    good: list[tuple[Line, QParams]] = []
    for line in parsed.rows:
        try:
            good.append((line, _line_qparams(line, parsed.mode, scheme, rules.dtype)))
        except QuantValueError as error:
            errors.append(LineError(line.number, ",".join((line.channel, *line.values)), str(error)))
    errors.sort(key=lambda error: error.line)
    if not good:
        raise LinesError(errors)
    run = _exact_result if rules.name == "calculator" else _runtime_result
    results = [run(line, qparams, parsed.mode) for line, qparams in good]
    frame, summary = _frame([line for line, _ in good], results)
    return ChannelTable(
        parsed.mode,
        name,
        frame,
        summary,
        scheme,
        _stacked([qparams for _, qparams in good]),
        line_findings(frame, parsed.mode, scheme),
        ch_axis,
        "lines",
        tuple(errors),
        lines=parsed,
    )


def _line_qparams(line: Line, mode: str, scheme: QuantScheme, dtype: np.dtype[np.floating]) -> QParams:
    """Parameters of one line; QuantValueError says what the convention has against it."""
    _check_float_range(line, mode, scheme, dtype)
    first, second, _ = line.exact
    if mode == "ranges":
        return _from_range(first, second, scheme)
    _check_symmetric(int(second), scheme)
    found = (ExactParams(first, int(second)),) if scheme.convention == "calculator" else None
    return QParams(
        [float(line.values[0])],
        [int(second)],
        dtype=scheme.dtype,
        convention=scheme.convention,
        ch_axis=0,
        quant_min=scheme.quant_min,
        quant_max=scheme.quant_max,
        exact=found,
    )


def _check_float_range(line: Line, mode: str, scheme: QuantScheme, dtype: np.dtype[np.floating]) -> None:
    for field, text in zip(COLUMNS[mode][1:], line.values, strict=True):
        with np.errstate(over="ignore"):
            beyond = field != "zero_point" and not np.isfinite(dtype.type(float(text)))
        if beyond:
            raise QuantValueError(f"{field} {text} is beyond {dtype.name}, in which {scheme.convention!r} computes")


def _from_range(low: Fraction, high: Fraction, scheme: QuantScheme) -> QParams:
    ends = np.array([exact.to_float(low)]), np.array([exact.to_float(high)])
    if scheme.convention != "calculator":
        return qparams_from_range(*ends, scheme, 0)
    rule = exact.symmetric_params if scheme.symmetric else exact.affine_params
    found = rule(low, high, scheme.quant_min, scheme.quant_max)
    if abs(found.zero_point) >= 1 << 53:
        raise QuantValueError(
            "the range is so narrow beside its distance from zero that zero_point would pass 2^53; widen the range"
        )
    return QParams(
        [exact.to_float(found.scale)],
        [found.zero_point],
        dtype=scheme.dtype,
        convention=scheme.convention,
        ch_axis=0,
        quant_min=scheme.quant_min,
        quant_max=scheme.quant_max,
        exact=(found,),
    )


def _check_symmetric(zero_point: int, scheme: QuantScheme) -> None:
    """A runtime's symmetric scheme has one zero point; the calculator only reports a deviation."""
    if scheme.symmetric and scheme.convention != "calculator":
        expected = 0 if scheme.grid.signed else 128
        if zero_point != expected:
            raise QuantValueError(
                f"zero_point must be {expected} for {scheme.dtype} symmetric under {scheme.convention!r}, "
                f"got {zero_point}; choose scheme 'affine' or write {expected}"
            )


def _ends(line: Line, qparams: QParams, mode: str) -> tuple[float, float]:
    """The range as typed, or what the parameters can represent."""
    if mode == "ranges":
        return float(line.values[0]), float(line.values[1])
    low, high = qparams.represented()
    return float(low[0]), float(high[0])


def _exact_result(line: Line, qparams: QParams, mode: str) -> _Result:
    assert qparams.exact is not None
    params, value = qparams.exact[0], line.exact[2]
    sample = exact.quantize_sample(value, params, qparams.quant_min, qparams.quant_max)
    low, high = _ends(line, qparams, mode)
    signal, noise = value * value, sample.error * sample.error
    return _Result(
        low,
        high,
        exact.to_float(params.scale),
        params.zero_point,
        sample.raw,
        sample.code,
        exact.to_float(sample.dequantized),
        exact.to_float(abs(sample.error)),
        exact.percentage(abs(sample.error), abs(value)),
        exact.decibels(signal, noise),
        exact.to_float(signal),
        exact.to_float(noise),
    )


def _runtime_result(line: Line, qparams: QParams, mode: str) -> _Result:
    """The value as the runtime sees it (float32), its error in float64."""
    x = np.array([float(line.values[2])]).astype(qparams.rules.dtype)
    raw = raw_codes(x, qparams, qparams.expand(slice(0, 1), 0, 1))
    code = np.clip(raw, qparams.quant_min, qparams.quant_max).astype(np.int64)
    real = dequantize(code, qparams)
    value, out = float(x[0]), float(real[0])
    error = abs(out - value)
    low, high = _ends(line, qparams, mode)
    return _Result(
        low,
        high,
        float(qparams.scale[0]),
        int(qparams.zero_point[0]),
        int(raw[0]),
        int(code[0]),
        out,
        error,
        float(percent(error, abs(value))),
        float(decibels(abs(value), error)) * 2,  # of magnitudes: their squares could leave float64
        value * value,
        error * error,
    )


def _stacked(each: list[QParams]) -> QParams:
    """One QParams of shape (C,) from C of shape (1,)."""
    first = each[0]
    found = tuple(q.exact[0] for q in each if q.exact is not None)
    return QParams(
        np.concatenate([q.scale for q in each]),
        np.concatenate([q.zero_point for q in each]),
        dtype=first.dtype,
        convention=first.convention,
        ch_axis=0,
        quant_min=first.quant_min,
        quant_max=first.quant_max,
        exact=found if found else None,
    )


def _frame(lines: list[Line], results: list[_Result]) -> tuple[Any, dict[str, Any]]:
    """The table and its summary."""
    import pandas as pd

    def take(field: str) -> list[Any]:
        return [getattr(result, field) for result in results]

    columns = (
        [line.channel for line in lines], take("low"), take("high"), [float(line.values[2]) for line in lines],
        take("scale"), take("zero_point"), take("raw"), take("code"), take("dequantized"),
        [result.raw != result.code for result in results], take("abs_error"), take("pct_error"), take("sqnr_db"),
    )  # fmt: skip
    frame = pd.DataFrame(dict(zip(CALCULATOR_COLUMNS, columns, strict=True)))
    return frame, _summary(frame, take("signal"), take("noise"))


def _summary(frame: Any, signal: list[float], noise: list[float]) -> dict[str, Any]:
    """Tensor figures: means over the lines, SQNR from sums; infinite percentages are counted apart."""
    pct = frame["pct_error"].to_numpy(float)
    finite = np.isfinite(pct)
    worst = int(np.argmin(frame["sqnr_db"].to_numpy(float)))
    clipped = int(frame["clipped"].sum())
    with np.errstate(over="ignore"):
        total_signal, total_noise = float(np.sum(signal)), float(np.sum(noise))
    return {
        "channels": len(frame),
        "clipped": clipped,
        "clipped_channels": clipped,
        "clipped_pct": 100.0 * clipped / len(frame),
        "mean_abs_error": float(frame["abs_error"].mean()),
        "max_abs_error": float(frame["abs_error"].max()),
        "mean_pct_error": float(pct[finite].mean()) if finite.any() else float("inf"),
        "infinite_pct_errors": int((~finite).sum()),
        "sqnr_db": float(decibels(total_signal, total_noise)),
        "worst_channel": str(frame["channel"].iloc[worst]),
        "worst_sqnr_db": float(frame["sqnr_db"].iloc[worst]),
        "exact_channels": int(np.isposinf(frame["sqnr_db"].to_numpy(float)).sum()),
        "scale_min": float(frame["scale"].min()),
        "scale_max": float(frame["scale"].max()),
    }
