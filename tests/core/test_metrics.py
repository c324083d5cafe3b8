"""Ranges and errors of every layout against whole-tensor float64 arithmetic."""

import math

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perchq_widget.core import blocks
from perchq_widget.core.elements import fake_quantize
from perchq_widget.core.metrics import channel_errors, decibels, percent
from perchq_widget.core.qparams import QParams, choose_qparams
from perchq_widget.core.ranges import channel_ranges

RNG = np.random.default_rng(7)
FLOAT32 = np.dtype(np.float32)


def layouts() -> list[tuple[str, np.ndarray, int]]:
    """Tensors of every kind of memory order that a weight or activation comes in."""
    conv = RNG.standard_normal((16, 12, 3, 5)).astype(np.float32)
    wide = RNG.standard_normal((300, 200)).astype(np.float32)
    return [
        ("rows", wide, 0),
        ("columns", wide, 1),
        ("transposed", wide.T, 0),
        ("few columns", RNG.standard_normal((5000, 3)).astype(np.float32), 1),
        ("strided", wide[::2, ::3], 0),
        ("strided columns", wide[::2, ::3], 1),
        ("reversed", wide[::-1, ::-1], 0),
        *((f"conv axis {axis}", conv, axis) for axis in range(4)),
        *((f"strided conv axis {axis}", conv[:, ::2, :, ::2], axis) for axis in range(4)),
        ("fortran", np.asfortranarray(conv), 1),
        ("vector", RNG.standard_normal(100).astype(np.float32), 0),
        ("one channel", RNG.standard_normal((1, 200_000)).astype(np.float32), 0),
        ("broadcast", np.broadcast_to(RNG.standard_normal((4, 1, 6)).astype(np.float32), (4, 5, 6)), 0),
        ("float16", wide.astype(np.float16), 0),
        ("float64", wide.astype(np.float64), 1),
        ("bfloat16", wide.astype(ml_dtypes.bfloat16), 1),
        ("big endian", wide.astype(">f4"), 0),
        ("long rest", RNG.standard_normal((3, 4, 70, 70)).astype(np.float32).transpose(1, 3, 0, 2), 0),
    ]


def expected(x: np.ndarray, axis: int, q: QParams) -> dict[str, np.ndarray]:
    """The same figures by whole-tensor float64 arithmetic."""
    values = np.moveaxis(x.astype(np.float32), axis, 0).reshape(x.shape[axis], -1)
    back = np.moveaxis(fake_quantize(x.astype(np.float32), q), axis, 0).reshape(values.shape).astype(np.float64)
    v = values.astype(np.float64)
    scale, zero = (np.broadcast_to(each, len(v))[:, None] for each in (q.scale, q.zero_point))
    raw = np.rint(values * (np.float32(1) / scale)) + zero
    e = back - v
    return {
        "signal": (v * v).sum(1), "noise": (e * e).sum(1), "cross": (v * e).sum(1), "abs_signal": np.abs(v).sum(1),
        "abs_noise": np.abs(e).sum(1), "max_noise": np.abs(e).max(1),
        "clipped": ((raw < q.quant_min) | (raw > q.quant_max)).sum(1), "zeroed": ((back == 0) & (v != 0)).sum(1),
    }  # fmt: skip


@pytest.mark.parametrize(("x", "axis"), [each[1:] for each in layouts()], ids=[each[0] for each in layouts()])
@pytest.mark.parametrize("how", ["affine", "symmetric", "tensor", "too narrow"])
def test_every_layout(x: np.ndarray, axis: int, how: str) -> None:
    ranges = channel_ranges(x, axis, FLOAT32)
    others = tuple(a for a in range(x.ndim) if a != axis)
    assert np.array_equal(ranges.min_val, x.astype(np.float32).min(others))
    assert np.array_equal(ranges.max_val, x.astype(np.float32).max(others))
    assert ranges.n == x.size // x.shape[axis]
    if how == "tensor":
        q = choose_qparams(ranges.min_val.min(), ranges.max_val.max())
    else:
        shrink = 0.3 if how == "too narrow" else 1.0
        scheme = "symmetric" if how == "symmetric" else "affine"
        q = (
            choose_qparams(
                ranges.min_val * shrink,
                np.maximum(ranges.max_val, ranges.min_val) * shrink,
                scheme=scheme,
                ch_axis=axis,
            )
            if (ranges.min_val * shrink <= ranges.max_val * shrink).all()
            else None
        )
    assert q is not None
    errors = channel_errors(x, axis, q, ranges)
    for name, want in expected(x, axis, q).items():
        got = getattr(errors, name)
        if name in ("clipped", "zeroed"):
            assert np.array_equal(got, want), name
        else:
            scale = errors.signal + errors.noise if name == "cross" else want
            assert (np.abs(got - want) <= 2e-6 * np.abs(scale) + 1e-30).all(), name


def test_what_is_not_finite_is_left_out_and_counted() -> None:
    x = RNG.standard_normal((40, 90)).astype(np.float32)
    x[3, 5], x[3, 6], x[7, 0], x[9] = np.nan, np.inf, -np.inf, np.nan
    for array, axis in ((x, 0), (np.ascontiguousarray(np.tile(x, (2, 1)).T), 1)):
        ranges = channel_ranges(array, axis, FLOAT32)
        assert ranges.n_nan[[3, 9]].tolist() == [1, 90]
        assert ranges.n_inf[[3, 7]].tolist() == [1, 1]
        assert ranges.n_finite[9] == 0
        low, high = ranges.known()
        q = choose_qparams(low, high, ch_axis=axis)
        errors = channel_errors(array, axis, q, ranges)
        row = x[3][np.isfinite(x[3])]
        e = fake_quantize(row, choose_qparams(row.min(), row.max())).astype(np.float64) - row
        assert errors.noise[3] == pytest.approx((e * e).sum(), rel=1e-6)
        assert errors.n[3] == 88
        assert errors.clipped[3] == 0
        assert errors.zeroed[9] == errors.clipped[9] == 0
        assert errors.sqnr_db[9] == -math.inf  # nothing is known to be right there
        assert np.isfinite(errors.signal).all()


@pytest.mark.parametrize("magnitude", [1e-30, 1e-18, 1e-5, 1e18, 1e30])
def test_squares_that_leave_float32_are_summed_in_float64(magnitude: float) -> None:
    x = (RNG.standard_normal((5, 70)) * magnitude).astype(np.float32)
    x[0] = RNG.standard_normal(70)
    ranges = channel_ranges(x, 0, FLOAT32)
    q = choose_qparams(ranges.min_val, ranges.max_val)
    errors = channel_errors(x, 0, q, ranges)
    e = fake_quantize(x, q).astype(np.float64) - x
    np.testing.assert_allclose(errors.noise, (e * e).sum(1), rtol=2e-6)
    np.testing.assert_allclose(errors.signal, (x.astype(np.float64) ** 2).sum(1), rtol=2e-6)
    assert not np.isnan(errors.sqnr_db).any()


def test_float64_values_beyond_float32_count_as_infinite() -> None:
    ranges = channel_ranges(np.array([[1e300, 1.0], [0.0, 2.0]]), 0, FLOAT32)
    assert ranges.n_inf.tolist() == [1, 0]


@given(st.integers(1, 4), st.integers(1, 9), st.integers(1, 7), st.integers(0, 2), st.integers(1, 64))
def test_blocks_cover_every_element_once(a: int, b: int, c: int, axis: int, block: int) -> None:
    x = np.arange(1, a * b * c + 1, dtype=np.float32).reshape(a, b, c)
    saved = blocks.BLOCK, blocks.RUN, blocks.SLAB, blocks.NARROW
    blocks.BLOCK, blocks.RUN, blocks.SLAB, blocks.NARROW = block, max(1, block // 2), max(1, block // 3), 2
    try:
        total = np.zeros(x.shape[axis])
        cut = blocks.cut(x, axis)
        for channels, piece in cut.walk(FLOAT32):
            total[channels] += piece.sum(1 - cut.axis)
    finally:
        blocks.BLOCK, blocks.RUN, blocks.SLAB, blocks.NARROW = saved
    assert np.array_equal(total, x.sum(tuple(each for each in range(3) if each != axis)))


def test_ratios_have_no_nan() -> None:
    assert decibels([1.0, 0.0, 0.0, 100.0], [0.0, 1.0, 0.0, 1.0]).tolist() == [math.inf, -math.inf, math.inf, 20.0]
    assert percent([0.0, 1.0, 1.0], [0.0, 0.0, 4.0]).tolist() == [0.0, math.inf, 25.0]


def test_cosine_of_zeros() -> None:
    x = np.array([[0.0, 0.0], [1e-9, 0.0], [1.0, -1.0]], np.float32)
    ranges = channel_ranges(x, 0, FLOAT32)
    errors = channel_errors(x, 0, choose_qparams(-1.0, 1.0), ranges)
    assert errors.cosine[:2].tolist() == [1.0, 0.0]
    assert errors.cosine[2] == pytest.approx(1.0)
