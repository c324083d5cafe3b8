"""One table for all channels gives what a look at each bin of each channel gives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import perchq_widget as pq
from perchq_widget.core import bin_errors
from perchq_widget.core.aligned_bins import AlignedBins
from perchq_widget.core.bin_errors import estimated_errors
from perchq_widget.core.histograms import ChannelHistograms, channel_histograms
from perchq_widget.core.ranges import ChannelRanges, channel_ranges

RNG = np.random.default_rng(21)


def layer(n_channels: int = 300, n: int = 900) -> np.ndarray:
    x = RNG.standard_normal((n_channels, n)).astype(np.float32) * np.float32(0.02)
    x[np.arange(n_channels), RNG.integers(0, n, n_channels)] *= RNG.uniform(4, 40, n_channels).astype(np.float32)
    return x


def counted(x: np.ndarray, unit: str) -> tuple[ChannelHistograms, ChannelRanges]:
    observed = channel_ranges(x, 0, x.dtype)
    return channel_histograms(x, 0, observed, unit=unit, n_bins=4096), observed


@pytest.mark.parametrize(
    ("unit", "settings"),
    [
        ("range", {}),
        ("range", {"clip_ratio": 0.9}),
        ("range", {"clip_ratio": 0.4}),
        ("range", {"dtype": "int4", "clip_ratio": 0.8}),
        ("range", {"dtype": "quint8", "reduce_range": True}),
        ("magnitude", {"scheme": "symmetric", "clip_ratio": 0.7, "convention": "onnxruntime"}),
    ],
)
def test_as_bin_by_bin(monkeypatch: pytest.MonkeyPatch, unit: str, settings: dict[str, Any]) -> None:
    x = layer()
    histograms, observed = counted(x, unit)
    params = pq.analyze(x, **settings).qparams
    shared: list[object] = []
    noise = AlignedBins.noise
    monkeypatch.setattr(AlignedBins, "noise", lambda *given: shared.append(noise(*given)) or shared[-1])
    one = estimated_errors(histograms, params, observed)
    assert any(each is not None for each in shared), "the table was never used"
    monkeypatch.setattr(AlignedBins, "noise", lambda *_given: None)
    other = estimated_errors(histograms, params, observed)
    np.testing.assert_allclose(one.noise, other.noise, rtol=5e-4)
    np.testing.assert_array_equal(one.clipped, other.clipped)
    np.testing.assert_array_equal(one.max_noise, other.max_noise)


def test_channels_whose_scale_is_out_of_proportion_go_the_long_way() -> None:
    x = layer(8)
    x[3] = 0
    x[5] *= 1e-30  # whose scale is held at a floor
    histograms, observed = counted(x, "range")
    params = pq.analyze(x).qparams
    worker = bin_errors._Worker(histograms, params, observed)
    assert worker.aligned is not None
    assert worker.aligned.alike.tolist() == [True, True, True, False, True, False, True, True]
    assert not worker.is_aligned
    assert worker.aligned.noise(slice(0, 8), histograms.counts.astype(np.float32)) is None
    assert np.isfinite(estimated_errors(histograms, params, observed).noise).all()
