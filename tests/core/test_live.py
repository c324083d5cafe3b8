"""The figures of a moving control are those of the whole pass, whatever the shortcuts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import perchq_widget as pq
from perchq_widget.core.live import live_errors
from perchq_widget.core.metrics import channel_errors
from perchq_widget.core.ranges import channel_ranges
from perchq_widget.core.tails import tails_of

RNG = np.random.default_rng(11)

SETTINGS: list[dict[str, Any]] = [
    {},
    {"clip_ratio": 0.9},
    {"clip_ratio": 0.5},
    {"clip_ratio": 0.05},
    {"scheme": "symmetric", "clip_ratio": 0.8},
    {"dtype": "int4", "clip_ratio": 0.7},
    {"dtype": "quint8", "reduce_range": True, "clip_ratio": 0.9},
    {"granularity": "tensor", "clip_ratio": 0.4},
    {"convention": "onnxruntime", "clip_ratio": 0.9},
    {"convention": "torchao", "clip_ratio": 0.9},
    {"convention": "tensorrt", "clip_ratio": 0.9},
    {"convention": "pytorch-dynamic", "clip_ratio": 0.9},
    {"dtype": "float8_e4m3fn", "clip_ratio": 0.9},
    {"dtype": "float4_e2m1fn", "clip_ratio": 0.9},
]


def weights(*shape: int) -> np.ndarray:
    x = RNG.standard_normal(shape).astype(np.float32) * np.float32(0.02)
    x.reshape(shape[0], -1)[:, 1] *= 12
    return x


TENSORS = {
    "matrix": (weights(96, 700), 0),
    "columns": (weights(96, 700), 1),
    "convolution": (weights(32, 16, 5, 5), 0),
    "middle": (weights(32, 16, 5, 5), 1),
    "vector": (weights(50, 2)[:, 0], 0),
    "long": (weights(3, 40_000), 0),
    "half": (weights(32, 300).astype(np.float16), 0),
    "double": (weights(32, 300).astype(np.float64), 0),
    "one-sided": (np.abs(weights(24, 200)), 0),
}


def hard() -> np.ndarray:
    x = weights(12, 300)
    x[0] = 0
    x[1] = 0.25
    x[2, 5] = np.nan
    x[3, 5:9] = np.inf, -np.inf, np.nan, 7
    x[4] = np.nan
    x[5] *= 1e-38
    x[6] *= 1e25
    x[7, 1:] = 0
    x[8] = np.linspace(-1, 1, 300)
    x[9] = np.where(np.arange(300) % 2, 1, np.nextafter(np.float32(1), np.float32(2)))
    x[10] = 1e-45
    return x


TENSORS["hard"] = (hard(), 0)
TENSORS["hard columns"] = (np.repeat(hard().T, 6, axis=1).copy(), 1)


@pytest.mark.parametrize("tails", [True, False])
@pytest.mark.parametrize("name", TENSORS)
def test_as_the_whole_pass(name: str, tails: bool) -> None:
    array, axis = TENSORS[name]
    for settings in SETTINGS:
        params = pq.analyze(array, ch_axis=axis, **settings).qparams
        dtype = params.working_dtype
        ranges = channel_ranges(array, axis, dtype)
        kept = tails_of(array, axis, dtype, ranges) if tails else None
        whole, live = channel_errors(array, axis, params, ranges), live_errors(array, axis, params, ranges, kept)
        assert not live.complete
        np.testing.assert_array_equal(live.clipped, whole.clipped, err_msg=str(settings))
        np.testing.assert_allclose(live.noise, whole.noise, rtol=2e-6, atol=0, err_msg=str(settings))
        np.testing.assert_allclose(live.max_noise, whole.max_noise, rtol=1e-6, atol=0, err_msg=str(settings))
        np.testing.assert_array_equal(live.overflow, whole.overflow)


def test_tails_cover_what_a_small_step_clips() -> None:
    """Otherwise the shortcut is never taken, and the test above compares the long way with itself."""
    array, axis = TENSORS["matrix"]
    ranges = channel_ranges(array, axis, np.dtype(np.float32))
    kept = tails_of(array, axis, array.dtype, ranges)
    params = pq.analyze(array, clip_ratio=0.95).qparams
    where = kept.covers(params, ranges)
    assert where.all()
    clipped, noise, largest = kept.corrections(params, ranges, where)
    assert clipped.sum() >= 90
    assert (noise[clipped > 0] > 0).all()
    assert (largest[clipped > 0] > 0).all()
    assert not kept.covers(pq.analyze(array, clip_ratio=0.05).qparams, ranges).any()
    assert 0.02 < kept.values.size / array.size < 0.04


def test_tails_are_the_largest_shares_largest_first() -> None:
    array, axis = TENSORS["columns"]
    ranges = channel_ranges(array, axis, np.dtype(np.float32))
    kept = tails_of(array, axis, array.dtype, ranges)
    ends = np.where(array > 0, ranges.max_val, ranges.min_val)
    shares = array / ends
    assert kept.values.size == (shares.astype(np.float32) >= kept.floor).sum()
    assert (np.diff(kept.shares) <= 0).all()
    np.testing.assert_allclose(kept.values / np.where(kept.values > 0, *(e[kept.channels] for e in (
        ranges.max_val, ranges.min_val))), kept.shares, rtol=1e-5)  # fmt: skip


def test_groups_are_measured_whole() -> None:
    array, axis = TENSORS["matrix"]
    params = pq.analyze(array, dtype="int4", group_size=50, convention="torchao").qparams
    errors = live_errors(array, axis, params, channel_ranges(array, axis, params.working_dtype))
    assert errors.complete
    assert errors.groups is not None


