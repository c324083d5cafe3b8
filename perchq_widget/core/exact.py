"""The textbook formulas on exact fractions: what a patient person with a calculator would get.

Binary floats get ties wrong: -0.21 / (1.7 / 255) is -31.5, but float64 says -31.499999999999996. So the
``calculator`` convention works on the decimals as typed and converts to float64 at the very end.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

#: Scale of a zero-width range, where the formulas would divide by zero: float32's machine epsilon.
ZERO_WIDTH_SCALE = Fraction(1, 1 << 23)


def fraction(value: float | str | Fraction) -> Fraction:
    """A decimal text as typed; a float by its repr, which is the shortest decimal that gives it back."""
    if isinstance(value, (str, Fraction)):
        return Fraction(value)
    return Fraction(repr(float(value)))


def round_half_away(value: Fraction) -> int:
    """Round to the nearest integer, ties away from zero."""
    twice = abs(value.numerator) * 2 + value.denominator
    magnitude = twice // (2 * value.denominator)
    return magnitude if value >= 0 else -magnitude


def to_float(value: Fraction) -> float:
    """Correctly rounded float64; infinite where the value is beyond its range."""
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


@dataclass(frozen=True, slots=True)
class ExactParams:
    """Scale and zero point before any rounding to binary."""

    scale: Fraction
    zero_point: int


def affine_params(low: Fraction, high: Fraction, quant_min: int, quant_max: int) -> ExactParams:
    """scale = (max - min) / (qmax - qmin), zero_point = round(qmin - min / scale), not clamped."""
    scale = (high - low) / (quant_max - quant_min) if high != low else ZERO_WIDTH_SCALE
    return ExactParams(scale, round_half_away(quant_min - low / scale))


def symmetric_params(low: Fraction, high: Fraction, quant_min: int, quant_max: int) -> ExactParams:
    """scale = max(|min|, |max|) / max(|qmin|, |qmax|), zero_point 0."""
    largest = max(abs(low), abs(high))
    return ExactParams(largest / max(-quant_min, quant_max) if largest else ZERO_WIDTH_SCALE, 0)


@dataclass(frozen=True, slots=True)
class ExactSample:
    """One value through the grid. ``raw`` is the code before the clamp."""

    raw: int
    code: int
    dequantized: Fraction
    error: Fraction


def quantize_sample(value: Fraction, params: ExactParams, quant_min: int, quant_max: int) -> ExactSample:
    """q = clamp(round(x / scale) + zero_point, qmin, qmax); dequantized = (q - zero_point) * scale."""
    raw = round_half_away(value / params.scale) + params.zero_point
    code = min(max(raw, quant_min), quant_max)
    dequantized = (code - params.zero_point) * params.scale
    return ExactSample(raw, code, dequantized, dequantized - value)


def log10(value: Fraction) -> float:
    """Decimal logarithm of a non-negative fraction of any size; -inf for 0."""
    return math.log10(value.numerator) - math.log10(value.denominator) if value else -math.inf


def decibels(signal: Fraction, noise: Fraction) -> float:
    """10 log10(signal / noise) of two powers; no noise gives inf, noise without signal -inf."""
    if noise == 0:
        return math.inf
    return 10.0 * log10(signal / noise)


def decibels_of_logs(signal: Sequence[float], noise: Sequence[float]) -> float:
    """10 log10(sum of signals / sum of noises) from their logarithms, so that no sum can leave float64."""
    total = _log_of_sum(noise)
    return math.inf if total == -math.inf else 10.0 * (_log_of_sum(signal) - total)


def _log_of_sum(logs: Sequence[float]) -> float:
    largest = max(logs)
    if largest == -math.inf:
        return largest
    return largest + math.log10(math.fsum(10.0 ** (each - largest) for each in logs))


def percentage(error: Fraction, signal: Fraction) -> float:
    """100 * error / signal; 0 when both are 0, inf when only the signal is."""
    if signal == 0:
        return math.inf if error else 0.0
    return to_float(100 * error / signal)
