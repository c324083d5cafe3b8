"""The textbook arithmetic, against decimal arithmetic written independently of it."""

import math
from decimal import ROUND_HALF_UP, Decimal, getcontext
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perchq_widget.core import exact

decimals = st.decimals(-1000, 1000, places=4)


def away(value: Decimal) -> int:
    return int(value.quantize(Decimal(1), rounding=ROUND_HALF_UP))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0.5", 1),
        ("-0.5", -1),
        ("1.5", 2),
        ("2.5", 3),
        ("-2.5", -3),
        ("0.49999999999999999", 0),
        ("-31.5", -32),
        ("0", 0),
    ],
)
def test_ties_go_away_from_zero(text: str, expected: int) -> None:
    assert exact.round_half_away(Fraction(text)) == expected


@given(decimals)
def test_rounding_agrees_with_decimal(value: Decimal) -> None:
    assert exact.round_half_away(Fraction(value)) == away(value)


def test_a_float_is_read_as_it_prints() -> None:
    assert exact.fraction(0.1) == Fraction(1, 10)
    assert exact.fraction(-0.21) / (exact.fraction(1.7) / 255) == Fraction(-63, 2)


@given(decimals, decimals, decimals)
def test_affine_agrees_with_decimal(first: Decimal, second: Decimal, sample: Decimal) -> None:
    getcontext().prec = 60
    low, high = sorted((first, second))
    if low == high:
        return
    params = exact.affine_params(Fraction(low), Fraction(high), -128, 127)
    scale = (high - low) / 255
    assert math.isclose(float(params.scale), float(scale), rel_tol=1e-15)
    # multiplied out, so that no division rounds
    assert params.zero_point == away((-128 * (high - low) - 255 * low) / (high - low))
    result = exact.quantize_sample(Fraction(sample), params, -128, 127)
    assert result.raw == exact.round_half_away(Fraction(255 * sample) / Fraction(high - low)) + params.zero_point
    assert result.code == min(max(result.raw, -128), 127)


def test_zero_width_uses_float32_eps() -> None:
    assert float(exact.affine_params(Fraction(3), Fraction(3), 0, 255).scale) == 2.0**-23
    assert exact.symmetric_params(Fraction(0), Fraction(0), -128, 127) == exact.ExactParams(Fraction(1, 1 << 23), 0)


def test_decibels_have_no_nan() -> None:
    assert exact.decibels(Fraction(1), Fraction(0)) == math.inf
    assert exact.decibels(Fraction(0), Fraction(1)) == -math.inf
    assert exact.decibels(Fraction(0), Fraction(0)) == math.inf
    assert exact.decibels(Fraction(100), Fraction(1)) == 20.0
    assert exact.decibels(Fraction("1e-600"), Fraction("1e-602")) == pytest.approx(20.0)


def test_percentages_have_no_nan() -> None:
    assert exact.percentage(Fraction(0), Fraction(0)) == 0.0
    assert exact.percentage(Fraction(1), Fraction(0)) == math.inf
    assert exact.percentage(Fraction(1), Fraction(4)) == 25.0


def test_beyond_float64_becomes_infinite() -> None:
    assert exact.to_float(Fraction(10) ** 400) == math.inf
    assert exact.to_float(-(Fraction(10) ** 400)) == -math.inf
