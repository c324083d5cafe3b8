"""Histograms per channel and what is estimated from them, against exact counts and exact errors."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import perchq_widget as pq
from perchq_widget.core.bin_errors import estimated_errors
from perchq_widget.core.histograms import (
    ESTIMATE_BINS,
    UNITS,
    ChannelHistograms,
    channel_histograms,
    tensor_histogram,
    values_dtype,
)  # fmt: skip
from perchq_widget.core.metrics import channel_errors, decibels
from perchq_widget.core.ranges import channel_ranges

RNG = np.random.default_rng(7)
FLOAT32 = np.dtype(np.float32)
VALUES = st.floats(-1e6, 1e6, width=32) | st.sampled_from([0.0, np.nan, np.inf, -np.inf, 1e-42, 1.0])


def batches(n_channels: int = 3):
    return arrays(np.float32, st.tuples(st.just(n_channels), st.integers(1, 40)), elements=VALUES)


def build(x: np.ndarray, unit: str = "range", n_bins: int = 64, **options) -> ChannelHistograms:
    return channel_histograms(x, 0, channel_ranges(x, 0, values_dtype(x)), unit=unit, n_bins=n_bins, **options)


def same(a: ChannelHistograms, b: ChannelHistograms) -> bool:
    names = ("counts", "first", "width", "n", "n_zero", "n_nonfinite", "below", "above", "min_val", "max_val")
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in names)


@settings(deadline=None)
@given(batches(), st.sampled_from(UNITS))
def test_every_value_is_counted_once_in_the_bin_that_holds_it(x, unit) -> None:
    found = build(x, unit)
    finite = np.isfinite(x)
    assert (found.counts.sum(1) + found.n_zero + found.n_nonfinite == x.shape[1]).all()
    assert (found.n_nonfinite == (~finite).sum(1)).all()
    assert (found.n_zero == (x == 0).sum(1)).all()
    for channel in range(len(x)):
        values = x[channel][finite[channel] & (x[channel] != 0)].astype(np.float64)
        edges = found.edges(channel)
        slack = 1e-5 * (edges[-1] - edges[0])  # quotients are rounded to float32
        assert values.size == 0 or (edges[0] - slack <= values.min() and values.max() <= edges[-1] + slack)
        at_most = [(values < edge - slack).sum() <= n <= (values <= edge + slack).sum()
                   for edge, n in zip(edges[1:], np.cumsum(found.counts[channel]), strict=True)]  # fmt: skip
        assert all(at_most)


@settings(deadline=None)
@given(batches(), batches(), batches())
def test_binary_histograms_of_parts_merge_into_that_of_the_whole(a, b, c) -> None:
    whole = build(np.concatenate([a, b, c], axis=1), "binary")
    parts = [build(x, "binary") for x in (a, b, c)]
    assert same(parts[0].merge(parts[1]).merge(parts[2]), whole)
    assert same(parts[2].merge(parts[0].merge(parts[1])), whole)
    assert same(build(b, "binary").add(c, 0).add(a, 0), whole)


@settings(deadline=None)
@given(batches(), batches(), st.sampled_from(UNITS))
def test_added_batches_are_held_whatever_their_range(a, b, unit) -> None:
    found = build(a, unit).add(b, 0)
    both = np.concatenate([a, b], axis=1)
    known = np.where(np.isfinite(both), both, 0)
    assert (found.counts.sum(1) + found.n_zero + found.n_nonfinite == both.shape[1]).all()
    assert found.n == both.shape[1]
    for channel in range(len(both)):
        if found.width[channel] > 0:
            edges = found.edges(channel)
            assert edges[0] <= known[channel].min() + found.width[channel] * 1e-3
            assert known[channel].max() <= edges[-1] + found.width[channel] * 1e-3


def test_histograms_of_different_widths_do_not_merge() -> None:
    a, b = build(np.array([[1, 2]], np.float32)), build(np.array([[1, 3]], np.float32))
    with pytest.raises(pq.QuantValueError, match="unit 'binary'"):
        a.merge(b)
    with pytest.raises(pq.QuantValueError, match="1 channels on ch_axis 0, got 2"):
        a.add(np.ones((2, 3), np.float32), 0)


def test_values_beyond_a_given_frame_are_counted_on_their_side() -> None:
    x = np.array([[-5, -0.5, 0, 0.5, 2, 3, np.nan]], np.float32)
    found = build(x, frame=(-1.0, 1.0))
    assert (found.below[0], found.above[0], found.n_zero[0], found.n_nonfinite[0]) == (1, 2, 1, 1)
    assert found.counts.sum() == 2


@pytest.mark.parametrize("options", [{"unit": "octave"}, {"n_bins": 7}, {"n_bins": 4}])
def test_bad_options(options) -> None:
    with pytest.raises(pq.QuantValueError, match=r"unit must be one of|n_bins must be an even"):
        build(np.ones((1, 2), np.float32), **options)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float64, np.int16, np.int32])
@pytest.mark.parametrize(("shape", "axis"), [((3, 50), 0), ((200, 70), 1), ((4, 5, 6), 1), ((9,), 0)])
def test_any_axis_and_dtype_counts_as_its_transposed_copy_does(dtype, shape, axis) -> None:
    x = (RNG.standard_normal(shape) * 50).astype(dtype)
    observed = channel_ranges(x, axis, values_dtype(x))
    found = channel_histograms(x, axis, observed)
    rows = np.ascontiguousarray(np.moveaxis(x, axis, 0)).reshape(shape[axis], -1)
    assert same(found, build(rows, n_bins=2048))
    one = tensor_histogram(x, observed, unit="range", n_bins=512)
    assert one.counts.sum() + one.n_zero[0] == x.size
    assert np.array_equal(one.counts, build(rows.reshape(1, -1), n_bins=512).counts)


SETTINGS = [(dtype, scheme) for dtype in ("qint8", "int4") for scheme in ("affine", "symmetric")]
SETTINGS += [(dtype, "symmetric") for dtype in ("float8_e4m3fn", "float4_e2m1fn")]


@pytest.mark.parametrize("ratio", [0.3, 0.6, 1.0])
@pytest.mark.parametrize(("dtype", "scheme"), SETTINGS)
@pytest.mark.parametrize("granularity", ["channel", "tensor"])
def test_estimates_are_within_a_twentieth_of_a_decibel(dtype, scheme, granularity, ratio) -> None:
    x = np.random.default_rng(1).standard_t(3, (64, 8192)).astype(np.float32)
    x[3] = np.maximum(x[3], 0)
    observed = channel_ranges(x, 0, FLOAT32)
    qparams = pq.analyze(x, dtype=dtype, scheme=scheme, granularity=granularity, clip_ratio=ratio).qparams
    exact = channel_errors(x, 0, qparams, observed)
    found = estimated_errors(build(x, n_bins=ESTIMATE_BINS), qparams, observed)
    most = 0.1 if dtype == "float8_e4m3fn" else 0.05  # where one value alone in its binade makes most of the noise
    assert np.abs(decibels(exact.noise, found.noise)).max() < most
    assert np.abs(exact.clipped - found.clipped).max() <= max(3, 0.02 * exact.clipped.max())
    assert (found.max_noise >= exact.max_noise * 0.98).all()  # half a step, where values fill the steps
    assert (found.max_noise <= exact.max_noise * 1.15).all()


def test_estimates_know_zeros_ends_and_empty_channels() -> None:
    x = np.array([[0, 0, 0, 0], [0, 6, 6, 6], [np.nan, np.inf, np.nan, np.nan], [1, 1, 1, 1]], np.float32)
    observed = channel_ranges(x, 0, FLOAT32)
    qparams = pq.analyze(x).qparams
    exact = channel_errors(x, 0, qparams, observed)
    found = estimated_errors(build(x, n_bins=ESTIMATE_BINS), qparams, observed)
    assert np.allclose(found.noise, exact.noise, atol=1e-12)
    assert found.clipped.tolist() == exact.clipped.tolist()
    grouped = pq.analyze(np.ones((4, 32), np.float32), group_size=16).qparams
    with pytest.raises(pq.QuantValueError, match="histograms are per channel"):
        estimated_errors(build(x), grouped, observed)


def test_estimates_in_half_precision_ask_the_kernel() -> None:
    x = np.random.default_rng(1).standard_t(4, (32, 4096)).astype(ml_dtypes.bfloat16)
    observed = channel_ranges(x, 0, x.dtype)
    qparams = pq.analyze(x, convention="torchao").qparams
    exact = channel_errors(x, 0, qparams, observed)
    counted = channel_histograms(x, 0, observed, n_bins=ESTIMATE_BINS, dtype=x.dtype)
    found = estimated_errors(counted, qparams, observed)
    assert np.abs(decibels(exact.noise, found.noise)).max() < 0.15
