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
