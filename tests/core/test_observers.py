"""Observers against the libraries that have them, and against trying every candidate on the values themselves."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from needs import oracle

import perchq_widget as pq
from perchq_widget.core import range_search
from perchq_widget.core.conventions import CONVENTIONS, allowed
from perchq_widget.core.entropy_search import least_divergence
from perchq_widget.core.evidence import Evidence
from perchq_widget.core.observers import POLICIES, observer_of
from perchq_widget.core.observing import ends_of, observed_ends
from perchq_widget.core.range_search import best_ratios
from perchq_widget.core.ranges import channel_ranges
from perchq_widget.core.schemes import QuantScheme

FLOAT32 = np.dtype(np.float32)
SEARCHES = ("mse", "lp", "entropy")


def tails(n_channels: int = 16, n: int = 512, seed: int = 0) -> np.ndarray:
    x = np.random.default_rng(seed).standard_normal((n_channels, n)).astype(np.float32)
    x[np.arange(n_channels), np.arange(n_channels) % n] *= np.linspace(2, 40, n_channels).astype(np.float32)
    return x


def ends(x: np.ndarray, observer: object, ch_axis: int = 0, **settings) -> tuple[np.ndarray, np.ndarray]:
    scheme = QuantScheme(observer=observer, **settings)
    return observed_ends(x, ch_axis, scheme, channel_ranges(x, ch_axis, FLOAT32))


@pytest.mark.parametrize(("observer", "text"), [
    (pq.MinMax(), "minmax"), (pq.MSE(), "mse"), (pq.MSE(50), "mse(50)"), (pq.Percentile(99.99), "percentile(99.99)"),
    (pq.Percentile(99.999999999), "percentile(99.999999999)"), (pq.LpNorm(3, 20), "lp(3, n_candidates=20)"),
    (pq.MovingAverage(n_batches=4), "moving_average(n_batches=4)"), (pq.MeanStd(np.float32(2.5)), "mean_std(2.5)"),
    (pq.Entropy(), "entropy"), (pq.Percentile(np.nextafter(99.9, 100)), f"percentile({np.nextafter(99.9, 100)})"),
])  # fmt: skip
def test_text_reads_back_as_the_policy(observer, text) -> None:
    assert str(observer) == text
    assert observer_of(text) == observer == observer_of(observer)
    assert QuantScheme(observer=observer).observer == text


@pytest.mark.parametrize(("make", "message"), [
    (lambda: pq.Percentile(50), "percentile of observer 'percentile' must be above 50"),
    (lambda: pq.Percentile(100.1), "at most 100"), (lambda: pq.Percentile(float("nan")), "at most 100"),
    (lambda: pq.MSE(1), "whole number in 2..10000"), (lambda: pq.MSE(2.5), "whole number"),
    (lambda: pq.LpNorm(0), "p of observer 'lp' must be above 0"), (lambda: pq.LpNorm("2"), "must be a number"),
    (lambda: pq.MovingAverage(0), "averaging_constant"), (lambda: pq.MovingAverage(n_batches=0), "n_batches"),
    (lambda: pq.MeanStd(-1), "n_sigmas"), (lambda: pq.Entropy(True), "whole number"),
    (lambda: observer_of("msee"), "did you mean 'mse'"), (lambda: observer_of("mse(x)"), "must be numbers"),
    (lambda: observer_of("mse(1, 2)"), "takes n_candidates"), (lambda: observer_of(3), "observer must be a name"),
])  # fmt: skip
def test_bad_parameters_are_named(make, message) -> None:
    with pytest.raises(pq.QuantError, match=message):
        make()


@pytest.mark.parametrize(("settings", "message"), [
    ({"group_size": 32}, "granularity 'channel'"), ({"dtype": "mxfp4"}, "one scale for each block"),
    ({"dtype": "float8_e4m3fn", "scale_rule": "one"}, "whatever the range is"),
    ({"dtype": "float8_e4m3fn", "scale_rule": "std", "convention": "onnxruntime"}, "from all values"),
])  # fmt: skip
def test_what_has_no_range_to_search_refuses_with_a_way_out(settings, message) -> None:
    with pytest.raises(pq.QuantValueError, match=f"{message}.*choose observer 'minmax'|minmax.*{message}"):
        pq.analyze(np.ones((4, 64), np.float32), observer="mse", **settings)
    with pytest.raises(pq.QuantValueError, match="65536 codes"):
        pq.analyze(np.ones((4, 64), np.float32), observer="entropy", dtype="int16")


# -- against libraries


@pytest.mark.oracle
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("ch_axis", [0, 1, None])
@pytest.mark.parametrize("constant", [0.01, 0.3, 1.0])
def test_moving_averages_are_torchs(ch_axis, constant) -> None:
    torch, observers = oracle("torch"), pytest.importorskip("torch.ao.quantization")
    x = np.random.default_rng(2).standard_normal((24, 30)).astype(np.float32)
    if ch_axis is None:
        theirs = observers.MovingAverageMinMaxObserver(averaging_constant=constant)
    else:
        theirs = observers.MovingAveragePerChannelMinMaxObserver(averaging_constant=constant, ch_axis=ch_axis)
    axis = 1 if ch_axis is None else 1 - ch_axis
    for batch in np.array_split(x, 6, axis if ch_axis is not None else 1):
        theirs(torch.from_numpy(np.ascontiguousarray(batch)))
    granularity = "tensor" if ch_axis is None else "channel"
    low, high = ends(x, pq.MovingAverage(constant, 6), ch_axis or 0, granularity=granularity)
    assert np.array_equal(low, theirs.min_val.numpy().astype(np.float64))
    assert np.array_equal(high, theirs.max_val.numpy().astype(np.float64))


@pytest.mark.oracle
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("dtype", "low", "high"), [("qint8", -128, 127), ("int4", -8, 7)])
def test_mse_takes_what_torchaos_observer_takes(dtype, low, high) -> None:
    torch, theirs = oracle("torch"), pytest.importorskip("torchao.quantization.observer")
    granularity = pytest.importorskip("torchao.quantization.granularity")
    x = tails()
    observer = theirs.AffineQuantizedMSEObserver(
        theirs.MappingType.SYMMETRIC, torch.int8, granularity.PerAxis(0), quant_min=low, quant_max=high, steps=100,
        eps=1e-12,
    )  # fmt: skip
    observer(torch.from_numpy(x))
    chosen = (observer.max_val.flatten().numpy() / np.abs(x).max(1)).astype(np.float64)
    ours = pq.analyze(x, dtype=dtype, scheme="symmetric", convention="torchao", observer="mse")
    against = pq.analyze(
        x, dtype=dtype, scheme="symmetric", convention="torchao",
        ranges=(np.abs(x).max(1) * -chosen, np.abs(x).max(1) * chosen),
    )  # fmt: skip
    assert (ours.table["mse"] <= against.table["mse"] * (1 + 1e-6)).all()
    assert np.allclose(ours.table["mse"], against.table["mse"], rtol=1e-5)


@pytest.mark.oracle
def test_entropy_is_near_onnxruntimes_threshold() -> None:
    calibrate = pytest.importorskip("onnxruntime.quantization.calibrate")
    x = np.random.default_rng(3).laplace(0, 1, (1, 400_000)).astype(np.float32)
    top = float(np.abs(x).max())
    counts, edges = np.histogram(x, 2047, range=(-top, top))
    calibrator = object.__new__(calibrate.HistogramCollector)
    theirs = calibrate.HistogramCollector.get_entropy_threshold(calibrator, (counts, edges, -top, top), 255)
    found = ends(x, pq.Entropy(1000), dtype="qint8", scheme="symmetric", granularity="tensor")
    ours = max(-float(found[0]), float(found[1]))
    assert abs(ours - float(theirs[1])) < 0.12 * top


# -- against every candidate


def exhaustive(x: np.ndarray, n: int, power: float, **settings) -> tuple[np.ndarray, np.ndarray]:
    """The least sum over candidates of each channel, and the sums of all, (n, C), by the public API."""
    sums = []
    for i in range(1, n + 1):
        report = pq.analyze(x, clip_ratio=i / n, **settings)
        error = (report.dequantized() - x).astype(np.float64).reshape(len(x), -1)
        sums.append((np.abs(error) ** power).sum(1))
    return np.min(sums, axis=0), np.array(sums)


@pytest.mark.parametrize("power", [2.0, 2.4])
@pytest.mark.parametrize("settings", [
    {"dtype": "qint8"}, {"dtype": "int4"}, {"dtype": "int4", "scheme": "symmetric"},
    {"dtype": "qint8", "scheme": "symmetric", "convention": "torchao-no-clip"},
    {"dtype": "quint8", "convention": "calculator"}, {"dtype": "float4_e2m1fn"}, {"dtype": "float8_e4m3fn"},
    {"dtype": "qint8", "convention": "compressed-tensors"}, {"dtype": "qint8", "scheme": "symmetric", "convention":
     "litert"}, {"dtype": "uint16", "convention": "onnxruntime"},
])  # fmt: skip
@pytest.mark.parametrize("counted", [False, True])
def test_the_chosen_share_costs_within_half_a_percent_of_the_best(settings, power, counted, monkeypatch) -> None:
    if counted:
        monkeypatch.setattr(range_search, "FEW", 0)
    x = tails(8, 4096)
    scheme = pq.analyze(x[:, :16], **settings).scheme
    evidence = Evidence(x, 0, channel_ranges(x, 0, CONVENTIONS[scheme.convention].dtype),
                        CONVENTIONS[scheme.convention].dtype, whole=False)  # fmt: skip
    ratio = best_ratios(evidence, scheme, 20, power)
    least, sums = exhaustive(x, 20, power, **settings)
    chosen = sums[np.rint(ratio * 20).astype(int) - 1, np.arange(len(x))]
    assert (chosen <= least * 1.005).all()
    if not counted:
        assert np.allclose(chosen, least, rtol=1e-6)


@pytest.mark.parametrize("percentile", [99.99, 99.0, 60.0, 100.0])
@pytest.mark.parametrize("n", [50, 40_000])
def test_percentiles_are_numpys_to_within_a_bin(percentile, n) -> None:
    x = tails(10, n)
    x[2] = np.maximum(x[2], 0)
    x[3, : n // 2] = 0
    low, high = ends(x, pq.Percentile(percentile))
    share = (100 - percentile) / 2
    bin_ = (np.maximum(x.max(1), 0) - np.minimum(x.min(1), 0)) / 2047
    slack = bin_ * 1.001 if n > 100 else 1e-6
    assert (np.abs(low - np.percentile(x, share, axis=1)) <= slack).all()
    assert (np.abs(high - np.percentile(x, 100 - share, axis=1)) <= slack).all()
    low, high = ends(x, pq.Percentile(percentile), granularity="tensor")
    assert np.allclose([low, high], np.percentile(x, [share, 100 - share]), atol=float(bin_.max() * 10))


def test_mean_and_deviations_keep_their_digits_around_a_large_mean() -> None:
    x = (1000 + np.random.default_rng(0).standard_normal((3, 5000)) * 0.01).astype(np.float32)
    x[1, :3] = np.nan
    low, high = ends(x, pq.MeanStd(1.5))
    mean, spread = np.nanmean(x.astype(np.float64), 1), np.nanstd(x.astype(np.float64), 1)
    assert np.allclose(low, mean - 1.5 * spread, rtol=1e-9)
    assert np.allclose(high, mean + 1.5 * spread, rtol=1e-9)
    low, high = ends(x, pq.MeanStd(1.5), granularity="tensor")
    every = x[np.isfinite(x)].astype(np.float64)
    assert np.allclose([low, high], [every.mean() - 1.5 * every.std(), every.mean() + 1.5 * every.std()], rtol=1e-9)


def kl(counts: np.ndarray, place: np.ndarray) -> float:
    """P and Q written out bin by bin."""
    p = counts[place[0] : place[-1]].astype(float)
    inside = p.copy()
    p[0] += counts[: place[0]].sum()
    p[-1] += counts[place[-1] :].sum()
    q = np.zeros_like(p)
    for start, stop in zip(place[:-1] - place[0], place[1:] - place[0], strict=True):
        filled = p[start:stop] > 0
        if filled.any():
            q[start:stop][filled] = max(inside[start:stop].sum(), 1e-4 * filled.sum()) / filled.sum()
    some = p > 0
    return float((p[some] / p.sum() * np.log(p[some] / p.sum() / (q[some] / inside.sum()))).sum())


def test_divergences_are_those_of_the_distributions_written_out() -> None:
    from perchq_widget.core.entropy_search import _Sums

    rng = np.random.default_rng(5)
    counts = rng.poisson(np.exp(-np.abs(np.arange(64) - 30) / 6) * 20, (4, 64))
    places = np.array([[4, 10, 18, 30, 41, 55, 60], [12, 16, 22, 28, 34, 40, 47], [0, 8, 16, 32, 48, 56, 64]])
    with np.errstate(divide="ignore", invalid="ignore"):
        found = _Sums(counts.T.astype(np.float32)).divergence(places)
    for row in range(4):
        assert np.allclose(found[:, row], [kl(counts[row], place) for place in places], atol=1e-5)


# -- what holds for all of them


@pytest.mark.parametrize("granularity", ["channel", "tensor"])
@pytest.mark.parametrize("name", POLICIES)
def test_ends_lie_in_the_observed_range_and_odd_channels_keep_theirs(name, granularity) -> None:
    x = tails(9, 5000)
    x[0], x[1], x[2] = 0, 3, np.nan
    x[3, :5] = np.inf
    x[4] *= np.float32(1e-42)
    x[5] = np.where(x[5] > 0, np.nextafter(np.float32(1), np.float32(2)), np.float32(1))
    x[6] *= np.float32(1e30)
    for counted in (x, x[:, :20]):
        observed = channel_ranges(counted, 0, FLOAT32)
        low, high = ends(counted, name, granularity=granularity)
        first, last = observed.whole() if granularity == "tensor" else observed.known()
        assert np.isfinite(low).all()
        assert np.isfinite(high).all()
        assert (np.minimum(first, 0) <= low).all()
        assert (high <= np.maximum(last, 0)).all()
        report = pq.analyze(counted, granularity=granularity, observer=name)
        assert np.isfinite(report.qparams.scale).all()
        if granularity == "channel":
            assert (low[2], high[2]) == (0, 0)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float64])
@pytest.mark.parametrize("name", POLICIES)
def test_other_dtypes_and_shapes(name, dtype) -> None:
    for shape, axis in (((6, 7, 8), 1), ((1, 1), 0), ((5,), 0), ((700,), 0)):
        x = np.random.default_rng(0).standard_normal(shape).astype(dtype)
        report = pq.analyze(x, observer=name, ch_axis=axis, convention="torchao")
        assert report.document()["settings"]["range_from"] == name


def test_clip_ratio_multiplies_what_the_observer_found() -> None:
    x = tails()
    low, high = ends(x, "mse", dtype="int4")
    found = pq.analyze(x, dtype="int4", observer="mse", clip_ratio=0.5)
    given = pq.analyze(x, dtype="int4", ranges=(low, high), clip_ratio=0.5)
    assert found.qparams == given.qparams
    assert found.document()["settings"]["observer"] == "mse"


def test_shared_evidence_counts_once_and_finds_the_same() -> None:
    x = tails(8, 40_000)
    scheme = QuantScheme()
    evidence = Evidence(x, 0, channel_ranges(x, 0, FLOAT32), FLOAT32, whole=False)
    for name in POLICIES:
        ours, alone = ends_of(evidence, scheme, name), ends(x, name)
        assert np.array_equal(ours, alone)
    assert evidence.histograms("range", 2048) is evidence.histograms("range", 2048)


@pytest.mark.parametrize("name", POLICIES)
def test_many_channels_are_searched_in_parts(name, monkeypatch) -> None:
    x = tails(40, 700)
    whole = ends(x, name)
    monkeypatch.setattr("perchq_widget.core.evidence.TOGETHER", 16)
    assert np.allclose(ends(x, name), whole)


def test_equal_candidates_leave_the_larger_range() -> None:
    x = np.tile(np.array([[-1, 0, 1]], np.float32), (2, 30))
    ratio = best_ratios(Evidence(x, 0, channel_ranges(x, 0, FLOAT32), FLOAT32, whole=False), QuantScheme("int4"), 10)
    assert (ratio == 1).all()


def test_a_channel_of_fewer_values_than_codes_keeps_its_range_under_entropy() -> None:
    x = tails(4, 100)
    evidence = Evidence(x, 0, channel_ranges(x, 0, FLOAT32), FLOAT32, whole=False)
    assert (least_divergence(evidence, QuantScheme(), 10) == 1).all()


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_every_convention_that_allows_a_search_searches(convention) -> None:
    x = tails(4, 300)
    for row in CONVENTIONS[convention].supports:
        unit = next((each for each in row.granularities if each in ("channel", "tensor")), None)
        for name in SEARCHES if unit else ():
            rule = (row.scale_rules or (None,))[0]
            chosen = {"dtype": row.dtypes[0], "scheme": row.schemes[0], "granularity": unit, "convention": convention,
                      "scale_rule": rule, "observer": name}  # fmt: skip
            if allowed(QuantScheme(**chosen)) is None:
                assert pq.analyze(x, **chosen).scheme.observer == name
