"""Errors against the clip ratio: the same numbers as analysing the tensor at each of them."""

import numpy as np
import pytest
from study.schemes import allowed_schemes, label, options, weights

import perchq_widget as pq
from perchq_widget.study import channel_sample
from perchq_widget.study.clip_ratio import channel_range, full_ends, params_at, why_no_ratio
from perchq_widget.study.sweep import error_curve, first_ratios

SWEPT = [
    scheme for scheme in allowed_schemes()
    if scheme.granularity in ("channel", "tensor") and scheme.family != "block" and scheme.scale_rule != "one"
    and not scheme.quant_range
]  # fmt: skip
RATIOS = (0.13, 0.5, 0.77, 1.0)


@pytest.mark.parametrize("scheme", SWEPT, ids=label)
def test_every_point_is_what_analyzing_gives(scheme) -> None:
    x = weights(3)
    reports = {ratio: pq.analyze(x, clip_ratio=ratio, **options(scheme)) for ratio in RATIOS}
    for channel in (0, 3, 5):
        curve = reports[1.0].error_curve(channel)
        given = error_curve(reports[0.5].study, channel, RATIOS)
        for at, ratio in enumerate(RATIOS):
            row = reports[ratio].table.iloc[channel]
            assert given.mse[at] == pytest.approx(row["mse"], rel=2e-4)
            assert given.sqnr_db[at] == pytest.approx(row["sqnr_db"], abs=1e-3)
            assert (given.clipping[at] > 0) <= (row["clipped"] > 0)
        assert curve.exact
        assert curve.noise[curve.best] <= given.noise.min() * 1.2  # among 80 ratios is one that is nearly as good
        assert curve.sqnr_db[-1] == pytest.approx(reports[1.0].table["sqnr_db"][channel], abs=1e-3)


@pytest.mark.parametrize("dtype", [np.float16, np.float64, "bfloat16"])
@pytest.mark.parametrize("granularity", ["channel", "tensor"])
def test_other_dtypes_of_the_tensor(dtype, granularity) -> None:
    import ml_dtypes

    x = (weights(4) * 100).astype(getattr(ml_dtypes, dtype) if isinstance(dtype, str) else dtype)
    report = pq.analyze(x, granularity=granularity, clip_ratio=0.6)
    assert error_curve(report.study, 1, [0.6]).sqnr_db[0] == pytest.approx(report.table["sqnr_db"][1], abs=1e-3)
    given = pq.analyze(x, granularity=granularity, clip_ratio=0.6, ranges=(-50.0, 70.0))
    assert error_curve(given.study, 1, [0.6]).sqnr_db[0] == pytest.approx(given.table["sqnr_db"][1], abs=1e-3)


def test_noise_is_split_by_which_values_are_clipped() -> None:
    x = np.random.default_rng(0).standard_normal((2, 3000)).astype(np.float32)
    for ratio in (0.2, 0.6, 0.9):
        report = pq.analyze(x, dtype="int4", convention="torchao", scheme="symmetric", clip_ratio=ratio)
        errors = (report.dequantized()[1].astype(np.float64) - x[1]) ** 2
        low, high = (float(end[1]) for end in report.qparams.represented())
        half = float(report.qparams.scale[1]) / 2
        beyond = (x[1] < low - half) | (x[1] > high + half)
        curve = error_curve(report.study, 1, [ratio])
        assert curve.clipping[0] == pytest.approx(errors[beyond].sum(), rel=1e-5)
        assert curve.rounding[0] == pytest.approx(errors[~beyond].sum(), rel=1e-5)
        assert curve.now == ratio


def test_the_optimum_is_the_least_error_and_better_than_no_clipping() -> None:
    x = np.random.default_rng(1).standard_normal((4, 4096)).astype(np.float32)
    x[:, 7] = 30.0
    report = pq.analyze(x, dtype="int4", convention="torchao", scheme="symmetric")
    curve = report.error_curve("2")
    assert curve.channel == "2"
    assert curve.ratios.size > len(first_ratios())  # looked again around the best
    assert curve.noise[curve.best] == curve.noise.min()
    fine = error_curve(report.study, 2, np.linspace(0.01, 1, 1500))
    assert curve.sqnr_db[curve.best] > fine.sqnr_db[fine.best] - 0.05
    at = pq.analyze(x, dtype="int4", convention="torchao", scheme="symmetric", clip_ratio=curve.optimum)
    assert at.table["sqnr_db"][2] == pytest.approx(curve.sqnr_db[curve.best], abs=1e-3)
    assert at.table["sqnr_db"][2] > report.table["sqnr_db"][2] + 3


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"dtype": "nf4"}, "blocks"),
        ({"dtype": "int4", "group_size": 32}, "group"),
        ({"dtype": "float8_e4m3fn", "scale_rule": "one"}, "whatever the range"),
        ({"qparams": pq.QParams(0.1, 0, dtype="qint8", convention="pytorch")}, "given"),
    ],
)
def test_where_ratios_do_not_apply_the_curve_says_why(options, reason) -> None:
    report = pq.analyze(np.ones((2, 64), np.float32), **options)
    curve = report.error_curve(0)
    assert reason in curve.reason
    assert curve.ratios.size == 0
    assert np.isnan(curve.optimum)
    assert full_ends(report.study, 0) is None
    assert why_no_ratio(report.study) == curve.reason


@pytest.mark.parametrize(
    "values",
    [
        np.zeros(9, np.float32),
        np.full(9, -2.5, np.float32),
        np.array([3.0], np.float32),
        np.array([1.0, np.nextafter(np.float32(1), np.float32(2))], np.float32),
        np.array([np.nan, np.inf, -1.0, 2.0], np.float32),
        np.array([1e-42, -3e-42, 2e-40], np.float32),
        np.array([1e38, -1e38, 1.0], np.float32),
        np.array([1e149, -1e140, 3.0]),
    ],
    ids=["zeros", "constant", "one", "adjacent", "nan-inf", "denormal", "huge", "huge64"],
)
@pytest.mark.parametrize("settings", [{}, {"scheme": "symmetric"}, {"dtype": "float8_e4m3fn"}], ids=str)
def test_odd_channels_have_a_curve_or_a_reason(values, settings) -> None:
    report = pq.analyze(values[None], **settings)
    curve = report.error_curve(0)
    assert curve.reason or (np.isfinite(curve.noise).all() and (curve.noise >= 0).all())
    assert curve.reason == "" or "parameters" in curve.reason
    assert not np.isnan(curve.sqnr_db).any()
    if not curve.reason:
        assert curve.sqnr_db[-1] == pytest.approx(report.table["sqnr_db"][0], abs=1e-2)


def test_a_channel_without_a_finite_value_says_so() -> None:
    x = np.array([[np.nan, np.inf], [1.0, 2.0]], np.float32)
    for granularity in ("channel", "tensor"):
        report = pq.analyze(x, granularity=granularity)
        assert "no finite value" in report.error_curve(0).reason
        assert report.error_curve(1).reason == ""
    assert "calculator" in pq.calculate("a,-1,1,0.5").error_curve(0).reason


def test_long_channels_are_sampled_and_keep_their_extremes() -> None:
    rng = np.random.default_rng(5)
    x = rng.standard_normal((1, channel_sample.WHOLE * 4)).astype(np.float32)
    x[0, 12345] = 40.0
    x[0, 99] = np.nan
    report = pq.analyze(x)
    curve = report.error_curve(0)
    assert not curve.exact
    assert curve.n == x.size - 1
    assert curve.n_used < channel_sample.WHOLE * 1.5
    for ratio in (0.1, 0.3, 1.0):
        want = pq.analyze(x, clip_ratio=ratio).table["sqnr_db"][0]
        assert error_curve(report.study, 0, [ratio]).sqnr_db[0] == pytest.approx(want, abs=0.03)
    hardly = np.full((1, channel_sample.WHOLE + 1), np.nan, np.float32)
    hardly[0, :3] = 1, 2, -3
    assert np.isfinite(pq.analyze(hardly).error_curve(0).noise).all()


def test_ranges_found_from_parameters_are_as_good() -> None:
    """Where only the parameters in force are known, as of a scale rule that looks at all values."""
    x = weights(1)
    for dtype in ("float8_e4m3fn",):
        at = {r: pq.analyze(x, dtype=dtype, convention="onnxruntime", granularity="tensor", scale_rule="std",
                            clip_ratio=r) for r in (0.4, 1.0)}  # fmt: skip
        want = float(at[1.0].qparams.scale)
        assert float(params_at(at[0.4].study, 0, np.ones(1)).scale[0]) == pytest.approx(want, rel=1e-5)
    low, high = channel_range(pq.analyze(x, clip_ratio=0.3).study, 2)
    assert (low, high) == (x[2].min(), x[2].max())


@pytest.mark.parametrize("ratios", [[0.0], [1.2], [np.nan], [], "all"])
def test_bad_ratios_are_named(ratios) -> None:
    report = pq.analyze(np.ones((1, 4), np.float32))
    with pytest.raises(pq.QuantError, match="ratios must"):
        error_curve(report.study, 0, ratios)
    with pytest.raises(pq.QuantError, match="channel"):
        report.error_curve(3)


@pytest.mark.parametrize("observer", ["mse", "percentile(99)", "mean_std"])
@pytest.mark.parametrize("settings", [{}, {"scheme": "symmetric"}, {"granularity": "tensor"}], ids=str)
def test_ranges_of_other_observers(observer, settings) -> None:
    x = weights(8)
    at = {ratio: pq.analyze(x, observer=observer, clip_ratio=ratio, **settings) for ratio in (0.5, 1.0)}
    for one, other in ((0.5, 1.0), (1.0, 0.5), (0.5, 0.5)):
        for channel in (0, 3, 5):
            want = at[other].table["sqnr_db"][channel]
            assert error_curve(at[one].study, channel, [other]).sqnr_db[0] == pytest.approx(want, abs=2e-2)


def test_without_a_curve_there_is_no_best() -> None:
    curve = pq.analyze(np.full((2, 3), np.nan, np.float32)).error_curve(0)
    with pytest.raises(pq.QuantValueError, match="channel '0' has no error curve: "):
        _ = curve.best
