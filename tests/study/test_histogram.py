"""One channel's distribution."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

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
