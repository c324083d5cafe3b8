"""Two conventions on one tensor: every figure against whole-tensor arithmetic with the public functions."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import ml_dtypes
import numpy as np
import pandas as pd
import pytest

import perchq_widget as pq
from perchq_widget.core.conventions import CONVENTIONS, conventions_with, why_not
from perchq_widget.core.defaults import settled
from perchq_widget.core.grids import BLOCK_DTYPES, DTYPES
from perchq_widget.study.compare import DIFF_COLUMNS, check_comparable

RNG = np.random.default_rng(23)
WEIGHT = (RNG.standard_normal((12, 128)) * np.exp(RNG.normal(0, 1, (12, 1)))).astype(np.float32)


def settings() -> Iterator[dict[str, Any]]:
    """Every format in a combination that several conventions have, and integers in every granularity."""
    for dtype in DTYPES:
        for scheme in ("affine", "symmetric"):
            block = BLOCK_DTYPES.get(dtype, (0, 32))[1]
            for granularity, size in (("channel", None), ("tensor", None), ("group", block)):
                yield {"dtype": dtype, "scheme": scheme, "granularity": granularity, "group_size": size}
    yield {"dtype": "qint8", "scheme": "symmetric", "granularity": "block", "group_size": (4, 32)}
    yield {"dtype": "qint8", "scheme": "affine", "granularity": "token", "group_size": None}


def having(options: dict[str, Any]) -> list[str]:
    """The conventions that have all of the settings."""

    def has(name: str) -> bool:
        try:
            return why_not(settled(convention=name, **options)) is None
        except pq.QuantError:  # a group size that the format cannot have
            return False

    return [name for name in conventions_with(options["dtype"]) if has(name)]


CASES = [(options, pair) for options in settings() for pair in list(combinations(having(options), 2))[:6]]


def decibels(signal: float, noise: float) -> float:
    return math.inf if noise == 0 else 10 * math.log10(signal / noise)


def bits(codes: np.ndarray) -> np.ndarray:
    return codes.astype(np.int64) if codes.dtype.kind in "iu" else codes.view(np.dtype(f"u{codes.dtype.itemsize}"))


def by_hand(x: np.ndarray, options: dict[str, Any], pair: tuple[str, str], ch_axis: int) -> pd.DataFrame:
    """The table from whole arrays, with the public functions alone."""
    reports = [pq.analyze(x, convention=name, ch_axis=ch_axis, **options) for name in pair]
    codes = [report.codes() for report in reports]

    def channels(values: np.ndarray) -> np.ndarray:
        return np.moveaxis(values, ch_axis, 0).reshape(x.shape[ch_axis], -1)

    def sqnr(writer: int, reader: int) -> list[float]:
        back = pq.dequantize(codes[writer], reports[reader].qparams).astype(np.float64)
        errors, signal = channels(back - x.astype(np.float64)), channels(x).astype(np.float64)
        return [decibels(*each) for each in zip((signal**2).sum(1), (errors**2).sum(1), strict=True)]

    differ = channels(bits(codes[0]) != bits(codes[1]))
    frames = [report.table for report in reports]
    columns = {
        "channel": frames[0]["channel"], "codes_differ_pct": 100 * differ.mean(1),
        "scale_a": frames[0]["scale"], "scale_b": frames[1]["scale"],
        "zero_point_a": frames[0]["zero_point"], "zero_point_b": frames[1]["zero_point"],
        "sqnr_a_db": sqnr(0, 0), "sqnr_b_db": sqnr(1, 1),
        "sqnr_a_read_by_b_db": sqnr(0, 1), "sqnr_b_read_by_a_db": sqnr(1, 0),
    }  # fmt: skip
    return pd.DataFrame(columns)


def check(x: np.ndarray, options: dict[str, Any], pair: tuple[str, str], ch_axis: int = 0) -> pq.ConventionDiff:
    diff = pq.convention_diff(x, *pair, ch_axis=ch_axis, **options)
    want = by_hand(x, options, pair, ch_axis)
    assert tuple(diff.table.columns) == DIFF_COLUMNS
    for name in want.columns.drop("channel"):
        np.testing.assert_allclose(
            diff.table[name].to_numpy(float), want[name].to_numpy(float), rtol=2e-5, atol=1e-9, err_msg=name
        )
    return diff


@pytest.mark.parametrize(("options", "pair"), CASES, ids=str)
def test_every_pair_of_conventions(options: dict[str, Any], pair: tuple[str, str]) -> None:
    diff = check(WEIGHT, options, pair)
    assert (diff.a, diff.b) == pair
    s = diff.summary
    assert s["channels"] == 12
    assert s["n"] == WEIGHT.size
    assert s["codes_differ"] == pytest.approx(diff.table["codes_differ_pct"].sum() * 128 / 100)
    assert s["codes_differ_pct"] == pytest.approx(diff.table["codes_differ_pct"].mean())
    assert s["sqnr_a_db"] == pytest.approx(pq.analyze(WEIGHT, convention=pair[0], **options).summary["sqnr_db"])
    assert s["max_code_diff"] == diff.table["max_code_diff"].max()


@pytest.mark.parametrize("ch_axis", [0, 1, 2, -1])
@pytest.mark.parametrize("granularity", ["channel", "tensor"])
def test_every_axis(ch_axis: int, granularity: str) -> None:
    x = RNG.standard_normal((6, 70, 5)).astype(np.float32)
    diff = check(x, {"granularity": granularity, "scheme": "symmetric"}, ("pytorch", "calculator"), ch_axis)
    assert diff.study.ch_axis == ch_axis % 3


def test_large_tensors_in_pieces() -> None:
    """More than one piece per channel, and more than one channel per piece."""
    x = RNG.standard_normal((3, 200_000)).astype(np.float32)
    check(x, {"scheme": "symmetric"}, ("pytorch", "calculator"))
    check(np.ascontiguousarray(x.T)[:20_000], {"scheme": "symmetric"}, ("pytorch", "calculator"), 1)


def test_largest_difference_counts_codes() -> None:
    x = np.array([[-1.0, 0.5, 1.0]], np.float32)
    diff = pq.convention_diff(x, "pytorch", "calculator", scheme="symmetric")  # 127.5 against 128
    reports = [pq.analyze(x, convention=name, scheme="symmetric") for name in ("pytorch", "calculator")]
    codes = [report.codes().astype(int) for report in reports]
    assert diff.table["max_code_diff"].tolist() == [int(np.abs(codes[0] - codes[1]).max())]
    assert diff.summary["codes_differ"] == (codes[0] != codes[1]).sum() > 0


def test_denominators_127_5_and_127_differ_in_a_tenth_of_the_codes() -> None:
    x = np.random.default_rng(1).standard_normal((64, 4096)).astype(np.float32)
    s = pq.convention_diff(x, "pytorch", "tensorrt", scheme="symmetric").summary
    assert 8 < s["codes_differ_pct"] < 14
    assert s["sqnr_a_read_by_b_db"] < min(s["sqnr_a_db"], s["sqnr_b_db"])


def test_floats_differ_in_steps_of_their_grid() -> None:
    """-0 and +0 are other codes and no step apart; neighbours are one step apart, across zero and exponents."""
    from perchq_widget.study.compare import _ranks

    for dtype in ("float8_e4m3fn", "float8_e5m2", "float6_e2m3fn", "float4_e2m1fn"):
        storage = np.dtype(getattr(ml_dtypes, dtype))
        codes = np.arange(1 << ml_dtypes.finfo(storage).bits).astype(np.uint8).view(storage)
        values = codes.astype(np.float64)
        codes = codes[np.isfinite(values)]
        order = np.argsort(codes.astype(np.float64), kind="stable")
        ranks = _ranks(codes[order])
        steps = np.diff(ranks)
        assert ((steps == 1) | ((steps == 0) & (codes[order][1:].astype(np.float64) == 0))).all()


@pytest.mark.parametrize("dtype", ["mxfp4", "nvfp4"])
def test_shared_scales_differ_by_no_more_than_their_grid(dtype: str) -> None:
    pairs = [pair for options, pair in CASES if options["dtype"] == dtype]
    assert pairs
    for pair in pairs:
        ends = [float(pq.analyze(WEIGHT, dtype=dtype, convention=name).codes().astype(float).max()) for name in pair]
        assert ends[0] <= 6
        assert pq.convention_diff(WEIGHT, *pair, dtype=dtype).summary["max_code_diff"] <= 14  # -6 to 6, 15 values


def test_nan_and_infinities_are_left_out() -> None:
    x = WEIGHT.copy()
    x[0, :3] = np.nan, np.inf, -np.inf
    x[1] = np.nan
    diff = pq.convention_diff(x, "pytorch", "calculator", scheme="symmetric")
    clean = pq.convention_diff(WEIGHT[:1, 3:], "pytorch", "calculator", scheme="symmetric")
    columns = [name for name in DIFF_COLUMNS if name != "channel"]
    np.testing.assert_allclose(diff.table[columns].iloc[0].astype(float), clean.table[columns].iloc[0].astype(float))
    row = diff.table.iloc[1]
    assert row["codes_differ_pct"] == 0
    assert row["sqnr_a_db"] == row["sqnr_a_read_by_b_db"] == -math.inf
    assert diff.summary["n"] == WEIGHT.size - 3 - 128
    nothing = pq.convention_diff(np.full((2, 3), np.nan, np.float32), "pytorch", "calculator")
    assert nothing.summary["sqnr_a_read_by_b_db"] == -math.inf
    assert "none is finite" in nothing._repr_html_()


def test_values_beyond_float32_are_left_out_of_both() -> None:
    x = WEIGHT.astype(np.float64)
    x[0, 0] = 1e60  # the calculator computes in float64, torch in float32
    diff = pq.convention_diff(x, "pytorch", "calculator", scheme="symmetric")
    assert diff.summary["n"] == WEIGHT.size - 1
    assert not diff.table.isna().any(axis=None)


def test_tensors_keep_their_own_dtype_where_a_convention_does() -> None:
    x = WEIGHT.astype(ml_dtypes.bfloat16)
    diff = check(x, {"dtype": "int4", "group_size": 32}, ("torchao", "compressed-tensors"))
    assert ("computed in" in " ".join(diff.why)) == (
        pq.analyze(x, dtype="int4", group_size=32, convention="compressed-tensors").qparams.working_dtype != x.dtype
    )


def test_why_names_the_rules_that_differ() -> None:
    diff = pq.convention_diff(WEIGHT, "pytorch", "calculator", scheme="symmetric")
    why = "\n".join(diff.why)
    assert "largest / ((quant_max - quant_min) / 2)" in why
    assert "largest / max(|quant_min|, |quant_max|)" in why
    assert "half to even" in why
    assert "half away from zero" in why
    assert all("\n" not in line for line in diff.why)
    same = [line for line in diff.why if line.partition(": ")[2].split(" | ")[0] == line.split(" | ")[1]]
    assert same == []


def test_options_are_those_of_analyze() -> None:
    diff = pq.convention_diff(
        WEIGHT, "pytorch", "calculator", dtype="int5", clip_ratio=0.5, ranges=(-1.0, 1.0), name="w",
        channel_names=[f"c{i}" for i in range(12)], narrow_range=True, quant_range=None, observer="minmax",
    )  # fmt: skip
    report = pq.analyze(WEIGHT, dtype="int5", clip_ratio=0.5, ranges=(-1.0, 1.0), narrow_range=True)
    assert diff.table["scale_a"].tolist() == report.table["scale"].tolist()
    assert diff.table["channel"].tolist()[:2] == ["c0", "c1"]
    assert "w ·" in diff.caption
    with pytest.raises(TypeError, match="did you mean 'group_size'"):
        pq.convention_diff(WEIGHT, "pytorch", "calculator", groupsize=3)


@pytest.mark.parametrize("pair", [("pytorch", "tensorrt"), ("tensorrt", "pytorch"), ("pytorch", "pytorch-dynamic")])
def test_what_is_left_out_is_what_both_have(pair: tuple[str, str]) -> None:
    diff = pq.convention_diff(WEIGHT, *pair)
    both = diff.study.a, diff.study.b
    assert both[0].scheme == both[1].scheme == ("symmetric" if "tensorrt" in pair else "affine")
    assert both[0].granularity == both[1].granularity == ("tensor" if "pytorch-dynamic" in pair else "channel")


def test_every_pair_that_shares_a_format_can_be_compared() -> None:
    for a, b in combinations(CONVENTIONS, 2):
        for dtype in {*CONVENTIONS[a].formats} & {*CONVENTIONS[b].formats}:
            try:
                diff = pq.convention_diff(WEIGHT, a, b, dtype=dtype)
            except pq.QuantValueError as error:
                assert "does not have this combination" in str(error), (a, b, dtype)  # noqa: PT017 - of some pairs
            else:
                assert diff.study.a.granularity == diff.study.b.granularity


@pytest.mark.parametrize(
    ("a", "b", "options", "said"),
    [
        ("pytorch", "pytorch", {}, "both 'pytorch'"),
        ("pytorch", "pytroch", {}, "b must be one of .*did you mean 'pytorch'"),
        ("nope", "pytorch", {}, "a must be one of"),
        ("calculator", "pytorch", {"group_size": 32}, "convention 'pytorch' does not have this .*choose granularity"),
        ("pytorch", "tensorrt", {"scheme": "affine"}, "convention 'tensorrt' does not have this .*choose scheme"),
        ("pytorch", "calculator", {"dtype": "qint9"}, "dtype must be one of"),
        ("pytorch", "calculator", {"ch_axis": 5}, "ch_axis"),
    ],
)
def test_what_cannot_be_compared_says_why(a: str, b: str, options: dict[str, Any], said: str) -> None:
    with pytest.raises(pq.QuantValueError, match=said):
        pq.convention_diff(WEIGHT, a, b, **options)


def test_codes_of_other_kinds_cannot_stand_side_by_side() -> None:
    def params(layout: Any, kind: Any, convention: str) -> Any:
        return SimpleNamespace(layout=layout, code_dtype=np.dtype(kind), dtype="nvfp4", convention=convention)

    group = ("group", 16)
    check_comparable(params(group, np.int8, "x"), params(group, np.int16, "y"))
    with pytest.raises(pq.QuantValueError, match="float4_e2m1fn under x and as uint8 under y"):
        check_comparable(params(group, ml_dtypes.float4_e2m1fn, "x"), params(group, np.uint8, "y"))
    with pytest.raises(pq.QuantValueError, match="group of 16 under x and per flat of 64 under y"):
        check_comparable(params(group, np.uint8, "x"), params(("flat", 64), np.uint8, "y"))


def test_the_table_cannot_be_changed_from_outside() -> None:
    diff = pq.convention_diff(WEIGHT, "pytorch", "calculator")
    table, summary = diff.table, diff.summary
    table.loc[0, "scale_a"] = -1
    summary["n"] = -1
    assert diff.table["scale_a"].min() > 0
    assert diff.summary["n"] == WEIGHT.size
    with pytest.raises(AttributeError):
        diff.study = None  # type: ignore[misc, assignment]


def test_html_is_a_page_of_its_own_and_escaped() -> None:
    names = ["<script>alert(1)</script>", *(f"c{i}" for i in range(149))]
    x = RNG.standard_normal((150, 8)).astype(np.float32)
    diff = pq.convention_diff(x, "pytorch", "calculator", scheme="symmetric", channel_names=names, name="<b>w</b>")
    page = diff._repr_html_()
    assert "<script>" not in page
    assert "<b>w" not in page
    assert page.count("<tr><th scope=\"row\" class=\"pq-text\">") == 100
    assert "50 more are in .table" in page
    assert "half away from zero" in page
    assert repr(diff).startswith("<ConventionDiff <b>w</b> · float32 (150, 8)")


def test_no_zero_point_is_a_dash() -> None:
    pairs = [pair for options, pair in CASES if options["dtype"] == "mxfp4"]
    for pair in pairs:
        diff = pq.convention_diff(WEIGHT, *pair, dtype="mxfp4")
        assert diff.table["zero_point_a"].isna().all()
        assert "<td>–</td>" in diff._repr_html_()
        assert "nan" not in diff._repr_html_()


def test_csv_holds_every_channel_and_the_settings(tmp_path: Path) -> None:
    diff = pq.convention_diff(WEIGHT, "pytorch", "calculator", scheme="symmetric", name="=w")
    path = diff.to_csv(tmp_path / "d.csv")
    frame = pd.read_csv(path)
    assert list(frame.columns[: len(DIFF_COLUMNS)]) == list(DIFF_COLUMNS)
    assert frame["scale_b"].tolist() == diff.table["scale_b"].tolist()
    assert frame["convention_a"].unique().tolist() == ["pytorch"]
    assert frame["tensor"].iloc[0] == "'=w"
    with pytest.raises(FileExistsError):
        diff.to_csv(path)
    assert diff.to_csv(path, overwrite=True) == path
