"""Range search of a 4096 x 4096 float32 layer beside torchao's, and what all policies cost. `make bench`."""

from __future__ import annotations

import time
import warnings

import numpy as np
import pytest
from benchmarks.turns import in_turns, layer
from needs import oracle

import perchq_widget as pq
from perchq_widget.core.bin_errors import estimated_errors
from perchq_widget.core.evidence import Evidence
from perchq_widget.core.histograms import ESTIMATE_BINS, channel_histograms
from perchq_widget.core.metrics import channel_errors, decibels
from perchq_widget.core.observers import POLICIES
from perchq_widget.core.observing import ends_of, observed_ends
from perchq_widget.core.ranges import channel_ranges
from perchq_widget.core.schemes import QuantScheme

pytestmark = pytest.mark.bench
FLOAT32 = np.dtype(np.float32)


@pytest.mark.parametrize(("dtype", "low", "high"), [("qint8", -128, 127), ("int4", -8, 7)])
@pytest.mark.parametrize("scheme", ["symmetric", "affine"])
def test_least_squares_beside_torchao(dtype: str, low: int, high: int, scheme: str) -> None:
    torch, library = oracle("torch"), pytest.importorskip("torchao.quantization.observer")
    units = pytest.importorskip("torchao.quantization.granularity")
    x = layer()
    tensor = torch.from_numpy(x)
    mapping = library.MappingType.SYMMETRIC if scheme == "symmetric" else library.MappingType.ASYMMETRIC
    settings = QuantScheme(dtype, scheme, convention="torchao", observer="mse")

    def ours() -> tuple[np.ndarray, np.ndarray]:
        return observed_ends(x, 0, settings, channel_ranges(x, 0, FLOAT32))

    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = library.AffineQuantizedMSEObserver(
            mapping, torch.int8, units.PerAxis(0), quant_min=low, quant_max=high, steps=100, eps=1e-12
        )
        theirs(tensor)
    their_s = time.perf_counter() - start
    into = np.empty_like(x)
    our_s, copy_s = in_turns(ours, lambda: np.copyto(into, x))
    given = tuple(end.flatten().double().numpy() for end in (theirs.min_val, theirs.max_val))
    both = [
        pq.analyze(x, dtype=dtype, scheme=scheme, convention="torchao", ranges=ends).table["sqnr_db"].mean()
        for ends in (ours(), given)
    ]
    print(
        f"\nmse {dtype} {scheme}: {our_s * 1e3:.0f} ms ({our_s / copy_s:.1f} copies), torchao {their_s:.1f} s, "
        f"{their_s / our_s:.0f}x faster (goal 20); mean SQNR {both[0]:.3f} dB, torchao {both[1]:.3f} dB"
    )
    assert their_s > 20 * our_s
    assert both[0] > both[1] - 0.02


@pytest.mark.parametrize("ch_axis", [0, 1])
@pytest.mark.parametrize("scheme", ["affine", "symmetric"])
@pytest.mark.parametrize("dtype", ["qint8", "int4"])
def test_all_policies(dtype: str, scheme: str, ch_axis: int) -> None:
    x = layer()
    settings, observed = QuantScheme(dtype, scheme), channel_ranges(x, ch_axis, FLOAT32)
    evidence = Evidence(x, ch_axis, observed, FLOAT32, whole=False)
    times = {}
    for name in POLICIES:
        start = time.perf_counter()
        ends_of(evidence, settings, name)
        times[name] = time.perf_counter() - start
    shown = ", ".join(f"{name} {each * 1e3:.0f}" for name, each in times.items())
    print(f"\n{dtype} {scheme} ch_axis={ch_axis}: {sum(times.values()):.2f} s (goal 5); ms: {shown}")
    assert sum(times.values()) < 5


@pytest.mark.parametrize("ratio", [1.0, 0.5])
def test_estimates_beside_an_exact_pass(ratio: float) -> None:
    x = layer()
    observed = channel_ranges(x, 0, FLOAT32)
    counted = channel_histograms(x, 0, observed, n_bins=ESTIMATE_BINS)
    qparams = pq.analyze(x, clip_ratio=ratio).qparams
    built, estimate, exact = in_turns(
        lambda: channel_histograms(x, 0, observed),
        lambda: estimated_errors(counted, qparams, observed),
        lambda: channel_errors(x, 0, qparams, observed),
    )
    found = estimated_errors(counted, qparams, observed).noise
    off = np.abs(decibels(channel_errors(x, 0, qparams, observed).noise, found)).max()
    print(
        f"\nclip {ratio}: histograms {built * 1e3:.0f} ms; estimate {estimate * 1e3:.0f} ms, "
        f"exact {exact * 1e3:.0f} ms; at most {off:.4f} dB off (goal 0.05)"
    )
    assert off < 0.05
