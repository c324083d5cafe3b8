"""The table of groups, and what is concluded from it."""

import math
import time
import tracemalloc

import ml_dtypes
import numpy as np
import pytest
from study.schemes import allowed_schemes, label, options, weights

import perchq_widget as pq

COLUMNS = ["channel", "group", "start", "n", "min", "max", "scale", "zero_point", "mse", "sqnr_db"]
X = weights(4)


def expected(report, cut: np.ndarray) -> dict[str, np.ndarray]:
    """Figures of each unit by whole-tensor float64 arithmetic; ``cut`` holds the unit of every element."""
    x, back = (each.astype(np.float64) for each in (report.study.array, report.dequantized()))
    rows = [cut == number for number in range(cut.max() + 1)]
    error = back - x
    with np.errstate(divide="ignore"):
        return {
            "n": np.array([row.sum() for row in rows]),
            "min": np.array([x[row].min() for row in rows]),
            "max": np.array([x[row].max() for row in rows]),
            "mse": np.array([(error[row] ** 2).mean() for row in rows]),
            "sqnr_db": np.array([10 * np.log10((x[row] ** 2).sum() / (error[row] ** 2).sum()) for row in rows]),
        }


@pytest.mark.parametrize("ch_axis", [0, 1, -1])
@pytest.mark.parametrize("dtype", ["int4", "mxfp4"])
@pytest.mark.parametrize("array", [X, X.reshape(8, 16, 8).transpose(2, 0, 1), X.astype(ml_dtypes.bfloat16)],
                         ids=["matrix", "permuted", "bfloat16"])  # fmt: skip
def test_groups_of_channels(array, dtype, ch_axis) -> None:
    settings = {"dtype": dtype} if dtype == "mxfp4" else {"dtype": dtype, "group_size": 8, "convention": "modelopt",
                                                          "scheme": "symmetric"}  # fmt: skip
    report = pq.analyze(array, ch_axis=ch_axis, **settings)
    table, size = report.groups(), report.scheme.group_size
    assert list(table) == COLUMNS
    n_channels, n_groups = report.qparams.scale.shape
    n = array.size // n_channels
    own = np.arange(n_channels)[:, None] * n_groups + np.arange(n) // size
    moved = np.moveaxis(array, ch_axis, 0)
    for name, want in expected(report, np.moveaxis(own.reshape(moved.shape), 0, ch_axis)).items():
        np.testing.assert_allclose(table[name], want, rtol=2e-5, err_msg=name)
    assert table["channel"].tolist() == [str(channel) for channel in range(n_channels) for _ in range(n_groups)]
    assert table["group"].tolist() == list(range(n_groups)) * n_channels
    assert (table["start"] == table["group"] * size).all()
    assert np.array_equal(table["scale"], report.qparams.effective().ravel())


@pytest.mark.parametrize("shape", [(8, 128), (16, 60), (5, 7, 11)])
@pytest.mark.parametrize("ch_axis", [0, 1])
def test_blocks_of_the_flattened_tensor(shape, ch_axis) -> None:
    x = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    report = pq.analyze(x, dtype="nf4", ch_axis=ch_axis)
    table = report.groups()
    assert list(table) == COLUMNS
    for name, want in expected(report, np.arange(x.size).reshape(shape) // 64).items():
        np.testing.assert_allclose(table[name], want, rtol=2e-5, err_msg=name)
    assert table["start"].tolist() == list(range(0, x.size, 64))
    where = np.array(np.unravel_index(table["start"], shape))[ch_axis]
    assert table["channel"].tolist() == [str(channel) for channel in where]
    assert table["zero_point"].isna().all()


def test_blocks_of_a_matrix_and_tokens() -> None:
    report = pq.analyze(X, group_size=(3, 50), convention="modelopt", scheme="symmetric")
    table = report.groups()
    assert list(table) == ["row_block", "column_block", *COLUMNS[3:]]
    rows, columns = np.indices(X.shape)
    for name, want in expected(report, rows // 3 * 3 + columns // 50).items():
        np.testing.assert_allclose(table[name], want, rtol=2e-5, err_msg=name)
    assert table[["row_block", "column_block"]].to_numpy().tolist() == [[r, c] for r in range(3) for c in range(3)]
    tokens = pq.analyze(X.reshape(2, 4, 128), granularity="token", convention="torchao", ch_axis=2).groups()
    assert list(tokens) == ["token", *COLUMNS[3:]]
    np.testing.assert_allclose(tokens["min"], X.min(1))
    assert tokens["n"].tolist() == [128] * 8


def test_short_groups_and_empty_ones() -> None:
    x = X[:, :70].copy()
    x[1, :32], x[2, 3] = np.nan, np.inf
    x[3, 32:64] = 0
    table = pq.analyze(x, dtype="int4", group_size=32, convention="calculator").groups()
    assert table["n"].tolist()[:3] == [32, 32, 6]
    empty, zeros = table.iloc[3], table.iloc[10]
    assert (empty["n"], empty["sqnr_db"]) == (0, -math.inf)
    assert empty[["min", "max", "mse"]].isna().all()
    assert (zeros["mse"], zeros["sqnr_db"]) == (0, math.inf)
    assert table["n"][6] == 31


@pytest.mark.parametrize("magnitude", [1e-30, 1e30])
def test_squares_that_leave_float32(magnitude) -> None:
    plain = pq.analyze(X, dtype="mxint8").groups()
    moved = pq.analyze((X * np.float32(magnitude)).astype(np.float32), dtype="mxint8").groups()
    assert np.isfinite(moved["sqnr_db"]).all()
    np.testing.assert_allclose(moved["sqnr_db"], plain["sqnr_db"], atol=8)  # the powers of two fall elsewhere


@pytest.mark.parametrize("settings", [{}, {"granularity": "tensor"}])
def test_no_groups_is_said_with_the_way_out(settings) -> None:
    with pytest.raises(pq.QuantValueError, match=r"has no groups; .*group_size=128"):
        pq.analyze(X, **settings).groups()
    with pytest.raises(pq.QuantValueError, match="has no groups"):
        pq.calculate("a,-1,1,0.5").groups()


def test_every_scheme_with_groups_has_its_table() -> None:
    for scheme in allowed_schemes():
        if scheme.granularity in ("group", "block", "token") and not scheme.quant_range:
            report = pq.analyze(X[:, :64], **options(scheme))
            table = report.groups()
            assert len(table) == report.qparams.scale.size, label(scheme)
            total = (table["mse"] * table["n"]).sum()
            assert total == pytest.approx(report.summary["mse"] * report.summary["n"], rel=1e-5), label(scheme)


def test_the_summary_names_the_worst_group() -> None:
    report = pq.analyze(X, dtype="int4", group_size=16, channel_names=list("abcdefgh"))
    table, summary = report.groups(), report.summary
    worst = table.iloc[int(table["sqnr_db"].argmin())]
    assert summary["worst_group"] == f"{worst['channel']}, group {worst['group']}"
    assert summary["worst_group_sqnr_db"] == pytest.approx(worst["sqnr_db"], rel=1e-5)
    assert summary["median_group_sqnr_db"] == pytest.approx(np.sort(table["sqnr_db"])[(len(table) - 1) // 2], rel=1e-5)
    assert "worst_group" not in pq.analyze(X).summary
    assert pq.analyze(X, dtype="nf4").summary["worst_group"]


def test_many_groups_stay_usable() -> None:
    """1.4 million groups; the time is a ceiling far above what a quiet machine takes."""
    x = np.random.default_rng(0).standard_normal((4096, 11008), dtype=np.float32)
    pq.analyze(x[:64], dtype="int4", group_size=32, scheme="symmetric")
    tracemalloc.start()
    report = pq.analyze(x, dtype="int4", group_size=32, scheme="symmetric")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 200 * 2**20
    start = time.perf_counter()
    table = report.groups()
    assert time.perf_counter() - start < 20
    assert len(table) == 4096 * 344
    assert table["n"].sum() == x.size


def spread(x: np.ndarray, **settings: object) -> list[pq.Finding]:
    options = {"dtype": "int4", "group_size": 32, "scheme": "symmetric", **settings}
    return [finding for finding in pq.analyze(x, **options).findings if finding.rule == "group-spread"]


def even(n_channels: int = 3) -> np.ndarray:
    """Groups that fare alike: the same bell curve in each, scaled by a little."""
    group = np.random.default_rng(2).standard_normal(32)
    return np.concatenate([group * size for size in (1, 1.5, 2, 3)] * n_channels).reshape(n_channels, -1)


def test_groups_that_fare_alike_are_no_finding() -> None:
    assert spread(even()) == []
    assert "group-spread" not in {finding.rule for finding in pq.analyze(even()).findings}


def test_a_group_that_is_lost_is_a_warning() -> None:
    x = even()
    x[1, 64:96] = 0.05
    x[1, 70:72] = 1.0, 0.52
    (finding,) = spread(x)
    table = pq.analyze(x, dtype="int4", group_size=32, scheme="symmetric").groups()
    assert (finding.severity, finding.channel) == ("info", "1")
    assert finding.message.startswith("group 2 has ")
    assert finding.value == pytest.approx(table["sqnr_db"][6], rel=1e-5)
    assert f"the median group {np.sort(table['sqnr_db'][4:8])[1]:.6g}"[:22] in finding.message
    x[0, 32:64] = np.r_[np.full(31, 0.066), 1.0]  # an outlier, beside which all others become zero
    worse = {finding.channel: finding.severity for finding in spread(x)}
    assert worse == {"0": "warning", "1": "info"}


def test_scales_that_differ_much_are_said() -> None:
    x = even(2)
    x[1, :32] *= 40
    (finding,) = spread(x)
    assert (finding.severity, finding.channel) == ("info", "1")
    assert finding.value == pytest.approx(40 / 1.5, rel=1e-5)
    assert "the largest scale of its groups is 26.6667 times the smallest" in finding.message
    x[1, :32] = 0  # a pruned group's scale says nothing
    assert spread(x) == []


def test_a_group_whose_stored_scale_vanishes_is_named() -> None:
    """float16, in which GGUF keeps scales, flushes a scale of 1e-9 to zero: all of the group is lost."""
    x = np.random.default_rng(2).standard_normal((3, 128)).astype(np.float32)
    x[1, 64:96] *= np.float32(1e-9)
    report = pq.analyze(x, dtype="q4_0")
    (found,) = [finding for finding in report.findings if finding.rule == "extreme-scale"]
    assert (found.channel, found.value) == ("1", 0.0)
    assert "its group 2 is extreme" in found.message
