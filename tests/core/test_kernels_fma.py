"""The fused multiply-add against exact fractions."""

from fractions import Fraction

import numpy as np
from core.runtimes.cases import elements
from hypothesis import example, given
from hypothesis import strategies as st

from perchq_widget.core.elements import one_channel
from perchq_widget.core.kernels_fma import K4, fused_multiply_add
from perchq_widget.core.qparams import QParams
from perchq_widget.core.trace import Tracer, follow

LARGEST = float(np.finfo(np.float32).max)
floats = st.floats(-(2.0**100), 2.0**100, width=32, allow_subnormal=True)
factors = st.floats(2.0**-100, 2.0**100, width=32)


def nearest_float32(value: Fraction) -> np.float32:
    """The float32 nearest to a fraction inside its range; ties to the even mantissa."""
    guess = np.float32(float(value))  # rounded twice, so at most one off
    around = [np.nextafter(guess, np.float32(-np.inf)), guess, np.nextafter(guess, np.float32(np.inf))]
    return min(around, key=lambda each: (abs(Fraction(float(each)) - value), int(each.view(np.int32)) & 1))


def fused(x: float, factor: float, addend: int) -> np.float32:
    out = np.empty((1, 1), np.float32)
    fused_multiply_add(*(np.full((1, 1), each, np.float32) for each in (x, factor, addend)), out)
    return out[0, 0]


@given(floats, factors, st.integers(-128, 255))
@example(1 + 2.0**-23, 1 + 2.0**-23, 0)
@example(2.0**-60, 1.0, 128)
@example(-(2.0**-80), 1.0, 1)
def test_one_rounding(x: float, factor: float, addend: int) -> None:
    exact = Fraction(x) * Fraction(factor) + addend
    if abs(exact) < LARGEST:
        assert fused(x, factor, addend) == nearest_float32(exact)


@given(st.integers(-300, 300), st.integers(-4, 4), st.integers(1, (1 << 24) - 1), st.integers(-128, 255))
def test_one_rounding_near_ties(level: int, ulps: int, mantissa: int, addend: int) -> None:
    """x is what brings x * factor next to level + 1/2, so that the sum is often next to the middle of two float32."""
    factor = np.float32(mantissa * 2.0**-20)
    x = np.float32((level + 0.5) / float(factor))
    for _ in range(abs(ulps)):
        x = np.nextafter(x, np.float32(np.copysign(np.inf, ulps)))
    exact = Fraction(float(x)) * Fraction(float(factor)) + addend
    assert fused(float(x), float(factor), addend) == nearest_float32(exact)


def test_sums_that_float64_rounds_onto_the_middle() -> None:
    """2 + 3 * 2^-23 is in the middle of two float32. The sum is a little less; float64 has only the middle."""
    x, factor = np.float32(3 * 2.0**-23 * (1 - 2.0**-22)), np.float32(1 + 2.0**-22)
    product = Fraction(float(x)) * Fraction(float(factor))
    assert 0 < Fraction(3, 1 << 23) - product < Fraction(1, 1 << 60)
    below, above = 2 + 2.0**-22, 2 + 2.0**-21
    assert np.float32(float(product) + 2.0) == above
    assert fused(float(x), float(factor), 2) == below
    assert fused(-float(x), float(factor), -2) == -below


def test_what_is_not_finite_passes() -> None:
    with np.errstate(over="ignore", invalid="ignore"):
        assert np.isnan(fused(np.nan, 1.0, 5))
        assert np.isnan(fused(0.0, np.inf, 5))
        assert fused(np.inf, 2.0, 5) == np.inf
        assert fused(-1e38, 1e38, 5) == -np.inf


def test_formulas_are_the_levels() -> None:
    """What is explained is what is computed: on ties, beside them, and anywhere."""
    q = QParams(0.16937611997127533, 91, dtype="qint8", convention="pytorch-quantized")
    assert q.kernel is K4
    x = elements(q.scale, -219, 36, 3000)[0]
    levels = np.empty((1, x.size), np.float32)
    q.kernel.levels(x[None], one_channel(slice(None), q), levels)
    for value, level in zip(x, levels[0], strict=True):
        tracer = Tracer({"x": value, "scale": q.scale[()], "zero_point": int(q.zero_point)})
        follow(K4.formulas, tracer)
        assert tracer.known["level"] == level
