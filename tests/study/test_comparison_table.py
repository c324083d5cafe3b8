"""Results side by side: what is compared with what, infinite figures, and reports that have nothing in common."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import perchq_widget as pq
from perchq_widget.core.schemes import QuantScheme
from perchq_widget.study.comparison_table import DELTAS, FIGURES, apart, delta, leading_of, ratio, settings_text

X = (np.random.default_rng(5).standard_normal((6, 64)) * np.logspace(-3, 1, 6)[:, None]).astype("f4")
A, B = pq.analyze(X), pq.analyze(X, dtype="int4", clip_ratio=0.8)


def test_each_figure_is_the_report_s_own_and_each_difference_against_the_first() -> None:
    found = pq.compare(A, B, A, names=["a", "b", "c"])
    table = found.table.set_index("channel")
    for name, report in zip("abc", (A, B, A), strict=True):
        own = report.table.set_index("channel")
        for figure in FIGURES:
            np.testing.assert_array_equal(table[f"{figure}_{name}"], own[figure])
    a, b = A.table, B.table
    np.testing.assert_allclose(table["sqnr_delta_db_b"], b["sqnr_db"] - a["sqnr_db"])
    np.testing.assert_allclose(table["clipped_delta_pct_b"], b["clipped_pct"] - a["clipped_pct"])
    np.testing.assert_allclose(table["max_error_ratio_b"], b["max_abs_error"] / a["max_abs_error"])
    assert (table[["sqnr_delta_db_c", "clipped_delta_pct_c"]] == 0).all(axis=None)
    assert (table["max_error_ratio_c"] == 1).all()
    assert list(found.best) == ["a"] * 6
    assert list(found.best.index) == a["channel"].tolist()
    assert not any(f"{name}_a" in table.columns for name in DELTAS)


def test_one_row_per_report() -> None:
    summary = pq.compare(A, B).summary.set_index("name")
    row = summary.loc["int4 clip 0.8"]
    for name in ("sqnr_db", "worst_channel", "worst_sqnr_db", "clipped_pct", "pct_error", "bits_per_weight"):
        assert row[name] == B.summary[name]
    assert (row["dtype"], row["scheme"], row["convention"], row["observer"]) == ("int4", "affine", "pytorch", "minmax")
    assert row["clip_ratio"] == 0.8
    assert row["sqnr_delta_db"] == pytest.approx(B.summary["sqnr_db"] - A.summary["sqnr_db"])
    assert list(summary["channels_best"]) == [6, 0]
    assert summary["group_size"].tolist() == [None, None]


def test_an_observer_is_named_only_where_one_ran() -> None:
    given_range = pq.analyze(X, ranges=(X.min(1), X.max(1)))
    assert pq.compare(A, given_range).summary["observer"].tolist() == ["minmax", None]


def test_infinite_figures() -> None:
    zeros, ones = np.zeros((2, 8), "f4"), np.ones((2, 8), "f4")
    both = pq.compare(pq.analyze(zeros), pq.analyze(zeros, dtype="int4"))
    assert (both.table.filter(like="delta") == 0).all(axis=None)
    assert (both.table.filter(like="ratio") == 1).all(axis=None)
    mixed = pq.compare(pq.analyze(X[:2]), pq.analyze(ones, scheme="symmetric", dtype="float8_e4m3fn")).table
    assert not mixed.isna().any(axis=None)


@given(st.lists(st.tuples(st.floats(allow_nan=False), st.floats(allow_nan=False)), min_size=1))
def test_differences_are_never_nan(pairs: list[tuple[float, float]]) -> None:
    new, old = np.array(pairs).T
    found = delta(new, old)
    assert not np.isnan(found).any()
    assert (found[new == old] == 0).all()
    assert (ratio(np.abs(new), np.abs(old))[new == old] == 1).all()


def test_equals_all_lead_and_no_value_never_does() -> None:
    inf, nan = math.inf, math.nan
    sqnr = [[1.0, inf, nan, -inf, nan], [1.0, inf, -5.0, nan, nan], [0.0, 9.0, -6.0, -inf, nan]]
    assert leading_of(np.array(sqnr)).astype(int).tolist() == [[1, 1, 0, 1, 0], [1, 1, 1, 0, 0], [0, 0, 0, 1, 0]]


def test_equally_good_reports_both_count_and_empty_channels_do_not() -> None:
    x = np.vstack([X[:3], np.full((1, X.shape[1]), np.nan, "f4")])
    found = pq.compare(pq.analyze(x), pq.analyze(x, observer="percentile(100)"), names=["a", "b"])
    assert found.summary["channels_best"].tolist() == [3, 3]
    assert found.best.tolist() == ["a", "a", "a", ""]
    assert [row[-1] for row in found.channel_cells()[1]] == ["all equal", "all equal", "all equal", "–"]


def test_lines_are_compared_too() -> None:
    lines = "a,-1,1,0.5\nb,0,2,3"
    found = pq.compare(pq.calculate(lines), pq.calculate(lines, dtype="int4"))
    assert found.table["clipped_pct_qint8"].tolist() == [0, 100]
    assert found.table["max_abs_error_int4"].tolist() == pq.calculate(lines, dtype="int4").table["abs_error"].tolist()
    assert found.summary["observer"].tolist() == [None, None]
    assert found.summary["pct_error"].iloc[0] == pq.calculate(lines).summary["mean_pct_error"]


def test_reports_are_called_by_what_differs() -> None:
    def names(*reports: pq.ChannelReport) -> tuple[str, ...]:
        return pq.compare(*reports).names

    assert names(A, B) == ("qint8", "int4 clip 0.8")
    assert names(A, pq.analyze(X, scheme="symmetric")) == ("affine", "symmetric")
    assert names(A, pq.analyze(X, convention="tensorrt", scheme="symmetric")) == ("affine", "symmetric tensorrt")
    assert names(A, A) == ("report", "report (2)")
    assert names(pq.analyze(X, name="w1"), pq.analyze(X, name="w2")) == ("w1", "w2")
    assert names(A, pq.analyze(X, granularity="group", group_size=16, convention="torchao"))[1] == "group 16 torchao"


def test_settings_in_few_words() -> None:
    assert settings_text(QuantScheme()) == "qint8 affine"
    assert settings_text(QuantScheme("int4", "symmetric", "tensor", clip_ratio=0.5)) == "int4 symmetric tensor clip 0.5"
    assert settings_text(QuantScheme("float8_e4m3fn", "symmetric")) == "float8_e4m3fn"
    assert settings_text(QuantScheme(observer="mse", reduce_range=True)) == "qint8 affine reduced mse"


def test_equal_names_are_numbered() -> None:
    assert apart(["a", "a", "a (2)", "a"]) == ["a", "a (2)", "a (2) (2)", "a (3)"]


@pytest.mark.parametrize(
    ("reports", "says"),
    [
        ((), "2 to 8 reports, got 0"),
        ((A,), "2 to 8 reports, got 1"),
        ((A,) * 9, "2 to 8 reports, got 9"),
        ((A, pq.analyze(X[:5])), "'report' has 6 and 'report .2.' has 5"),
        ((A, pq.analyze(X, channel_names=list("012x45"))), "channel 3 is '3' in 'report' and 'x' in 'report"),
        ((pq.analyze(X[:, :6]), pq.analyze(X[:, :6], ch_axis=1)), "along axis 0 and those of .* along axis 1"),
        ((A, pq.calculate("a,-1,1,0.5")), "of a tensor and .* of the calculator's lines"),
    ],
)  # fmt: skip
def test_reports_that_have_nothing_in_common(reports: tuple[pq.ChannelReport, ...], says: str) -> None:
    with pytest.raises(pq.QuantValueError, match=says):
        pq.compare(*reports)


@pytest.mark.parametrize(
    ("names", "says"),
    [
        ("ab", "names must be a list of texts"),
        (["a", ""], "names must be a list of texts"),
        (["a", 3], "names must be a list of texts"),
        ([], "names must be a list of texts"),
        (["a"], "names must be 2 texts, one per report, got 1"),
        (["a", "a"], "names must differ, got 'a' more than once"),
        (["a", "b" * 200], "at most 120 characters, got one of 200"),
    ],
)
def test_names_that_cannot_be(names: object, says: str) -> None:
    with pytest.raises(pq.QuantError, match=says):
        pq.compare(A, B, names=names)  # type: ignore[arg-type]


def test_what_is_no_report_is_named() -> None:
    with pytest.raises(pq.QuantTypeError, match="ChannelReports, as analyze"):
        pq.compare(A, X)
    with pytest.raises(pq.QuantTypeError, match="pass each as an argument of its own"):
        pq.compare([A, B])  # type: ignore[arg-type]
