"""One channel's distribution."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from study.schemes import allowed_schemes, label, options, weights

import perchq_widget as pq
from perchq_widget.sources.lines import EXAMPLE_LINES


@given(
    arrays(np.float32, st.tuples(st.just(2), st.integers(1, 60)), elements=st.floats(-(2.0**100), 2.0**100, width=32)),
    st.integers(1, 200),
)
def test_every_value_is_in_one_bin(x: np.ndarray, bins: int) -> None:
    hist = pq.analyze(x).histogram(1, bins=bins)
    assert hist.counts.sum() == x.shape[1]
    assert len(hist.edges) == len(hist.counts) + 1
    assert (np.diff(hist.edges) > 0).all()
    assert hist.edges[0] <= x[1].min()
    assert hist.edges[-1] >= x[1].max()


def test_counts_equal_numpy() -> None:
    x = np.random.default_rng(0).standard_normal((3, 4000)).astype(np.float32)
    hist = pq.analyze(x).histogram("2", bins=50)
    want, edges = np.histogram(x[2].astype(np.float64), bins=50)
    np.testing.assert_allclose(hist.edges, edges)
    assert np.abs(hist.counts - want).sum() <= 2  # a value on an edge may fall to either side


def test_what_bins_cannot_hold_is_counted() -> None:
    x = np.array([[1.0, np.nan, np.inf, -2.0]], np.float32)
    hist = pq.analyze(x).histogram(0)
    assert (hist.n_nonfinite, hist.counts.sum()) == (2, 2)
    empty = pq.analyze(np.full((1, 3), np.nan, np.float32)).histogram(0)
    assert (empty.n_nonfinite, empty.counts.size) == (3, 0)


def test_two_adjacent_floats() -> None:
    x = np.array([[1.0, np.nextafter(np.float32(1), np.float32(2))]], np.float32)
    assert pq.analyze(x).histogram(0).counts.sum() == 2


def test_clipped_sides() -> None:
    x = np.array([[-5.0, -4.0, 0.0, 3.0, 9.0]], np.float32)
    report = pq.analyze(x, ranges=(-1.0, 4.0))
    hist = report.histogram(0)
    assert (hist.n_below, hist.n_above) == (2, 1)
    assert hist.n_below + hist.n_above == report.summary["clipped"]
    assert hist.quant_lo == pytest.approx(-1.0, abs=0.02)
    assert hist.quant_hi == pytest.approx(4.0, abs=0.02)


def test_calculator_has_one_sample() -> None:
    hist = pq.calculate(EXAMPLE_LINES).histogram("filter_1")
    assert hist.counts.size == 0
    assert hist.sample == -0.21
    assert hist.dequantized == pytest.approx(-0.21333333)
    assert (hist.quant_lo, hist.quant_hi) == pytest.approx((-0.8, 0.9))
    assert pq.calculate("a,-1,1,5").histogram(0).n_above == 1


@pytest.mark.parametrize("bins", [0, 5000, 2.5, True])
def test_bad_bins_are_named(bins) -> None:
    with pytest.raises(pq.QuantError, match="bins must"):
        pq.calculate(EXAMPLE_LINES).histogram(0, bins=bins)


@pytest.mark.parametrize("scheme", [each for each in allowed_schemes() if not each.quant_range][::3], ids=label)
def test_clipped_sides_are_the_table_s(scheme) -> None:
    """Whatever shares a scale: each value against its own unit's ends, by the convention's own kernel."""
    x = weights(6)[:, :64]
    report = pq.analyze(x, **options(scheme))
    for channel in (0, 3, 5):
        hist = report.histogram(channel)
        assert hist.n_below + hist.n_above == report.table["clipped"][channel]
        assert hist.quant_lo <= hist.quant_hi
        assert (hist.zero_point is None) == np.isnan(report.table["zero_point"][channel])


def test_sides_of_groups_and_what_is_not_finite() -> None:
    x = np.zeros((1, 64), np.float32)
    x[0, :8], x[0, 32:40] = -1, 10
    report = pq.analyze(x, dtype="int4", group_size=32)
    given = pq.QParams(report.qparams.scale / np.float32(2), report.qparams.zero_point, dtype="int4",
                       convention="torchao", ch_axis=0, group_size=32)  # fmt: skip
    x[0, 60:62] = np.nan, np.inf
    hist = pq.analyze(x, qparams=given).histogram(0)
    assert (hist.n_below, hist.n_above, hist.n_nonfinite) == (8, 8, 2)
    assert hist.quant_hi == pytest.approx(15 * float(given.scale[0, 1]))  # the widest group's
    assert hist.quant_lo == 0


@pytest.mark.parametrize("dtype", ["float8_e4m3fn", "float4_e2m1fn", "float6_e3m2fn"])
@pytest.mark.parametrize("sample", [0.3, 0.0, -2.9, 7.0, 0.011])
def test_codes_near_a_line_of_a_float_format_are_its_values(dtype, sample) -> None:
    convention = "pytorch"
    report = pq.calculate(f"a,-3,2,{sample}", dtype=dtype, scheme="symmetric", convention=convention)
    hist = report.histogram(0)
    codes = report.study.codes().dtype
    near = np.array(hist.near_codes)
    assert np.array_equal(near.astype(np.float32).astype(codes).astype(np.float64), near)
    assert list(near) == sorted(set(near))
    assert np.abs(np.array(hist.near_values) - hist.dequantized).min() <= 1e-6 * abs(hist.dequantized)
    back = pq.dequantize(near.astype(codes)[None], pq.QParams(hist.scale, 0, dtype=dtype, convention=convention))
    np.testing.assert_allclose(hist.near_values, back[0], rtol=1e-6)
    assert abs(report.table["quantized"][0]) <= hist.quant_max
    assert report.table["clipped"][0] == (sample == 7.0)
    assert (hist.n_below, hist.n_above) == (0, int(sample == 7.0))


def test_a_range_that_is_one_of_several_says_whose_it_is() -> None:
    x = np.random.default_rng(1).standard_normal((4, 64)).astype(np.float32)
    assert pq.analyze(x).histogram(0).whose == ""
    assert pq.analyze(x, dtype="int4", group_size=32).histogram(0).whose == " of its widest group"
    assert pq.analyze(x, dtype="nf4").histogram(0).whose == " of its widest group"


SINGLE = [
    each for each in allowed_schemes()
    if each.granularity in ("channel", "tensor") and each.family != "block" and not each.quant_range
]  # fmt: skip
SEVERAL = [each for each in allowed_schemes() if each.granularity not in ("channel", "tensor")]


@pytest.mark.parametrize("scheme", SINGLE[::2], ids=label)
def test_the_overlay_holds_every_dequantized_value(scheme) -> None:
    x = weights(6)
    x[2, 5] = np.nan
    report = pq.analyze(x, **options(scheme))
    back = report.dequantized().astype(np.float64)
    for channel in (0, 2, 3):
        hist = report.histogram(channel)
        over = hist.overlay
        assert over.exact
        assert over.codes.size == over.values.size == len(report.qparams.grid.levels)
        assert (np.diff(over.values) >= 0).all()
        kept = back[channel][np.isfinite(back[channel])]
        assert np.isin(kept, over.values).all()
        width = hist.edges[1] - hist.edges[0]
        assert (over.heights * np.diff(over.edges) / width).sum() == pytest.approx(kept.size)
        assert over.edges[0] <= kept.min() <= kept.max() <= over.edges[-1]
        assert (np.diff(over.edges)[:-1] > 0.9 * width).all() or over.edges.size < 300


def test_each_code_has_a_cell_of_its_own_where_codes_are_few() -> None:
    x = np.random.default_rng(0).standard_normal((1, 5000)).astype(np.float32)
    report = pq.analyze(x, dtype="int4", convention="torchao", scheme="symmetric", clip_ratio=0.5)
    hist = report.histogram(0)
    over = hist.overlay
    assert over.heights.size == 16
    counts = over.heights * np.diff(over.edges) / (hist.edges[1] - hist.edges[0])
    np.testing.assert_allclose(counts, [np.sum(report.codes() == code) for code in range(-8, 8)])
    assert counts[0] > hist.n_below > 0
    assert hist.clipped_pct == (hist.n_below / 50, hist.n_above / 50)


@pytest.mark.parametrize("scheme", SEVERAL[::6], ids=label)
def test_the_overlay_of_several_scales_is_in_the_histogram_s_bins(scheme) -> None:
    x = weights(6)
    report = pq.analyze(x, **options(scheme))
    hist = report.histogram(5)
    over = hist.overlay
    assert over.heights.sum() == pytest.approx(128)
    assert (np.diff(over.values) >= 0).all()
    assert over.values[0] <= hist.quant_lo * (1 - 1e-6) or over.values[0] == pytest.approx(hist.quant_lo, rel=1e-4)
    assert hist.no_ratio or not np.isnan(hist.full_lo)


@pytest.mark.parametrize("dtype", ["qint8", "int16", "float8_e5m2"])
def test_bins_are_those_of_any_scheme(dtype) -> None:
    from perchq_widget.study.histogram import channel_bins, channel_histogram

    x = weights(2)
    known = channel_bins(pq.analyze(x).study, 1)
    report = pq.analyze(x, dtype=dtype, clip_ratio=0.5)
    again, own = channel_histogram(report.study, 1, known=known), report.histogram(1)
    assert again.edges is known.edges
    np.testing.assert_array_equal(own.counts, again.counts)
    assert (again.n_below, again.n_above) == (own.n_below, own.n_above)
    full = pq.analyze(x, dtype=dtype).histogram(1)
    assert (own.full_lo, own.full_hi) == pytest.approx((full.quant_lo, full.quant_hi), rel=1e-6)


def test_sides_of_a_long_channel_are_counted_at_its_ends() -> None:
    from perchq_widget.study.histogram import MANY

    x = np.random.default_rng(3).standard_normal((1, MANY + 5)).astype(np.float32)
    x[0, 3] = np.nan
    for dtype in ("qint8", "float8_e4m3fn", "int2"):
        convention = "torchao" if dtype == "int2" else "pytorch"
        report = pq.analyze(x, dtype=dtype, clip_ratio=0.3, scheme="symmetric", convention=convention)
        hist = report.histogram(0)
        assert hist.n_below + hist.n_above == report.table["clipped"][0] > 0
        assert not hist.overlay.exact
        width = hist.edges[1] - hist.edges[0]
        total = (hist.overlay.heights * np.diff(hist.overlay.edges) / width).sum()
        assert total == pytest.approx(x.size - 1, rel=1e-4)


@pytest.mark.parametrize(
    "values",
    [[0.0] * 5, [2.5] * 5, [-3.0], [1e-42, -3e-42], [1e38, -1e38], [np.nan, np.inf], [np.nan, 4.0]],
    ids=str,
)
@pytest.mark.parametrize(
    "settings", [{}, {"scheme": "symmetric"}, {"dtype": "float8_e4m3fn"}, {"dtype": "mxfp4"}], ids=str
)
def test_odd_channels_have_a_histogram(values, settings) -> None:
    hist = pq.analyze(np.array([values], np.float32), **settings).histogram(0)
    if hist.counts.size:
        assert np.isfinite(hist.overlay.heights).all()
        assert np.isfinite(hist.overlay.edges).all()
    else:
        assert hist.overlay is None
