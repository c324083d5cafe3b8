"""The calculator: parsed lines -> ChannelTable."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from perchq_widget.core import exact
from perchq_widget.core.conventions import require_allowed, symmetric_zero_point
from perchq_widget.core.elements import dequantize, one_channel, raw_codes
from perchq_widget.core.errors import LineError, LinesError
from perchq_widget.core.metrics import decibels, percent
from perchq_widget.core.qparams import QParams, qparams_of
from perchq_widget.core.record import Convention, Params
from perchq_widget.core.rules import line_findings
from perchq_widget.core.runtimes.calculator import LARGEST_ZERO_POINT
from perchq_widget.core.schemes import QuantScheme
from perchq_widget.core.trace import silent
from perchq_widget.sources.lines import COLUMNS, Line, ParsedLines

from .channels import CALCULATOR_COLUMNS, ChannelTable
from .derivation import rule_of
from .element_steps import is_integer

INT64 = np.iinfo(np.int64)
Columns = dict[str, Any]


@dataclass(frozen=True, eq=False, slots=True)
class _Fit:
    """Per line either parameters or what the convention has against it ("" if nothing)."""

    params: Params
    problems: list[str]

    def good(self, lines: tuple[Line, ...]) -> tuple[list[Line], Params]:
        """The usable lines and their parameters."""
        keep = [not problem for problem in self.problems]
        some = None if self.params.exact is None else tuple(np.array(self.params.exact, object)[keep])
        factors = self.params.multiplier
        params = Params(
            self.params.scale[keep], self.params.zero_point[keep], some, None if factors is None else factors[keep]
        )
        return [line for line, usable in zip(lines, keep, strict=True) if usable], params


def calculate_table(parsed: ParsedLines, scheme: QuantScheme, *, name: str, ch_axis: int) -> ChannelTable:
    """Compute every good line; the others stay in ``errors``. Raises LinesError if no line is left.

    A line that the convention cannot take (a zero point outside the codes, a number that float32 loses) becomes a
    LineError as well.
    """
    rules = require_allowed(scheme)
    fit = _fit_exact(parsed, scheme) if rules.exact else _fit_runtime(parsed, scheme, rules)
    lines, params = fit.good(parsed.rows)
    errors = [*parsed.errors, *_line_errors(parsed.rows, fit.problems)]
    errors.sort(key=lambda error: error.line)
    if not lines:
        raise LinesError(errors)
    qparams = qparams_of(params, scheme, 0)
    columns = (_exact_columns if qparams.exact is not None else _runtime_columns)(lines, qparams)
    low, high = _ends(lines, qparams, parsed.mode)
    frame = _frame(lines, {"min": low, "max": high, "zero_point": qparams.zero_point, **columns})
    return ChannelTable(
        parsed.mode,
        name,
        frame,
        _summary(frame, columns["signal_log"], columns["noise_log"]),
        scheme,
        qparams,
        line_findings(frame, parsed.mode, scheme),
        ch_axis,
        "lines",
        tuple(errors),
        lines=parsed,
    )


def _line_errors(lines: tuple[Line, ...], problems: list[str]) -> list[LineError]:
    pairs = zip(lines, problems, strict=True)
    return [
        LineError(line.number, ",".join((line.channel, *line.values)), problem) for line, problem in pairs if problem
    ]


def _fit_exact(parsed: ParsedLines, scheme: QuantScheme) -> _Fit:
    """The textbook formulas on the decimals as typed."""
    rule = exact.symmetric_params if scheme.symmetric else exact.affine_params
    low, high = int(scheme.quant_min), int(scheme.quant_max)
    found, problems = [], []
    for line in parsed.rows:
        first, second, _ = line.exact
        each = rule(first, second, low, high) if parsed.mode == "ranges" else exact.ExactParams(first, int(second))
        problem = ""
        if abs(each.zero_point) >= LARGEST_ZERO_POINT:
            problem = "the range is so narrow beside its distance from zero that zero_point would pass 2^53; widen it"
        elif not 0 < exact.to_float(each.scale) < np.inf:
            problem = "the scale is outside float64; write a range of ordinary size"
        found.append(each)
        problems.append(problem)
    zero_point = [0 if problem else each.zero_point for each, problem in zip(found, problems, strict=True)]
    scale = np.array([exact.to_float(each.scale) for each in found], np.float64)
    return _Fit(Params(scale, np.array(zero_point, np.int64), tuple(found)), problems)


def _fit_runtime(parsed: ParsedLines, scheme: QuantScheme, rules: Convention) -> _Fit:
    """The runtime's own rule, in its dtype, on all lines at once."""
    problems = [_float_problem(line, parsed.mode, rules) for line in parsed.rows]
    columns = np.array([line.values for line in parsed.rows], np.float64).reshape(-1, 3).T
    if parsed.mode == "params":
        zero_point = np.array([int(line.exact[1]) for line in parsed.rows], np.int64)
        params = Params(_cast(columns[0], rules), zero_point)
        problems = [p or _zero_point_problem(int(zero), scheme) for p, zero in zip(problems, zero_point, strict=True)]
    else:
        with np.errstate(over="ignore", invalid="ignore"):
            ends = _cast(columns[0], rules), _cast(columns[1], rules)
            params = rule_of(scheme, rules)(*ends, scheme, silent)
    usable = np.isfinite(params.scale) & (params.scale > 0)
    problems = [p or ("" if ok else _scale_problem(rules)) for p, ok in zip(problems, usable, strict=True)]
    return _Fit(params, problems)


def _cast(values: npt.NDArray[np.float64], rules: Convention) -> npt.NDArray[Any]:
    with np.errstate(over="ignore", under="ignore"):
        return values.astype(rules.dtype)


def _float_problem(line: Line, mode: str, rules: Convention) -> str:
    for field, text in zip(COLUMNS[mode][1:], line.values, strict=True):
        if field != "zero_point" and abs(float(text)) > float(np.finfo(rules.dtype).max):
            return f"{field} {text} is beyond {rules.dtype.name}, in which {rules.name!r} computes"
    return ""


def _scale_problem(rules: Convention) -> str:
    return f"scale must be finite and above 0 in {rules.dtype.name}, in which {rules.name!r} computes; narrow the range"


def _zero_point_problem(zero_point: int, scheme: QuantScheme) -> str:
    """A runtime's zero point is a code, and its symmetric scheme has one; the calculator only reports deviations."""
    low, high = scheme.quant_min, scheme.quant_max
    if not low <= zero_point <= high:
        return f"zero_point must lie in {low}..{high} under {scheme.convention!r}, got {zero_point}"
    expected = symmetric_zero_point(scheme)
    if scheme.symmetric and zero_point != expected:
        return (
            f"zero_point must be {expected} for {scheme.dtype} symmetric under {scheme.convention!r}, "
            f"got {zero_point}; choose scheme 'affine' or write {expected}"
        )
    return ""


def _ends(lines: list[Line], qparams: QParams, mode: str) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """The ranges as typed, or what the parameters can represent."""
    if mode == "params":
        return qparams.represented()
    low, high = np.array([line.values[:2] for line in lines], np.float64).T
    return low, high


def _exact_columns(lines: list[Line], qparams: QParams) -> Columns:
    """Every figure from fractions, converted to float64 at the very end."""
    assert qparams.exact is not None
    ends = int(qparams.quant_min), int(qparams.quant_max)
    values = [line.exact[2] for line in lines]
    samples = [exact.quantize_sample(x, each, *ends) for x, each in zip(values, qparams.exact, strict=True)]
    pairs = list(zip(values, samples, strict=True))
    return {
        "scale": [exact.to_float(each.scale) for each in qparams.exact],
        "raw_quantized": [min(max(each.raw, int(INT64.min)), int(INT64.max)) for each in samples],
        "quantized": [each.code for each in samples],
        "dequantized": [exact.to_float(each.dequantized) for each in samples],
        "clipped": [each.raw != each.code for each in samples],
        "abs_error": [exact.to_float(abs(each.error)) for each in samples],
        "pct_error": [exact.percentage(abs(each.error), abs(x)) for x, each in pairs],
        "sqnr_db": [exact.decibels(x * x, each.error * each.error) for x, each in pairs],
        "signal_log": [2 * exact.log10(abs(x)) for x in values],
        "noise_log": [2 * exact.log10(abs(each.error)) for each in samples],
    }


def _runtime_columns(lines: list[Line], qparams: QParams) -> Columns:
    """Values as the runtime sees them (float32), their errors in float64. Codes of a float format are its values."""
    x = np.array([line.values[2] for line in lines], np.float64).astype(qparams.rules.dtype)
    raw = raw_codes(x, qparams, one_channel(slice(None), qparams, 0, 1)).astype(np.float64)
    codes = np.clip(raw, qparams.quant_min, qparams.quant_max)
    back = dequantize(codes.astype(qparams.code_dtype), qparams).astype(np.float64)
    size, error = np.abs(x.astype(np.float64)), np.abs(back - x)
    with np.errstate(divide="ignore"):
        signal_log, noise_log = 2 * np.log10(size), 2 * np.log10(error)
    if is_integer(qparams):
        limits = -(2.0**63), np.nextafter(2.0**63, 0)  # the ends of int64, as float64
        raw, codes = np.clip(raw, *limits).astype(np.int64), codes.astype(np.int64)
    return {
        "scale": qparams.scale.astype(np.float64),
        "raw_quantized": raw,
        "quantized": codes,
        "dequantized": back,
        "clipped": raw != codes,
        "abs_error": error,
        "pct_error": percent(error, size),
        "sqnr_db": 2 * decibels(size, error),  # of magnitudes: their squares could leave float64
        "signal_log": signal_log.tolist(),
        "noise_log": noise_log.tolist(),
    }


def _frame(lines: list[Line], columns: Columns) -> Any:
    import pandas as pd

    typed = {
        "channel": [line.channel for line in lines],
        "sample": [float(line.values[2]) for line in lines],
        **columns,
    }
    return pd.DataFrame({name: typed[name] for name in CALCULATOR_COLUMNS})


def _summary(frame: Any, signal_log: list[float], noise_log: list[float]) -> dict[str, Any]:
    """Tensor figures: means over the lines, SQNR from sums; infinite percentages are counted apart."""
    pct, sqnr = frame["pct_error"].to_numpy(float), frame["sqnr_db"].to_numpy(float)
    finite = np.isfinite(pct)
    worst = int(np.argmin(sqnr))
    clipped = int(frame["clipped"].sum())
    return {
        "channels": len(frame),
        "clipped": clipped,
        "clipped_channels": clipped,
        "clipped_pct": 100.0 * clipped / len(frame),
        "mean_abs_error": float(frame["abs_error"].mean()),
        "max_abs_error": float(frame["abs_error"].max()),
        "mean_pct_error": float(pct[finite].mean()) if finite.any() else float("inf"),
        "infinite_pct_errors": int((~finite).sum()),
        "sqnr_db": exact.decibels_of_logs(signal_log, noise_log),
        "worst_channel": str(frame["channel"].iloc[worst]),
        "worst_sqnr_db": float(sqnr[worst]),
        "exact_channels": int(np.isposinf(sqnr).sum()),
        "scale_min": float(frame["scale"].min()),
        "scale_max": float(frame["scale"].max()),
    }
