"""Formats that are only given, through everything that is made of a result."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import perchq_widget as pq
from perchq_widget.core.grids import STORED_DTYPES
from perchq_widget.core.trace import number
from perchq_widget.report.documents import ChannelReport
from perchq_widget.report.reproduce import notebook_code
from perchq_widget.study.explain import rule_lines
from perchq_widget.study.units import numbers_in_channel

WITH_MINIMUM = ("q2_k", "q4_k", "q5_k", "q4_1")
DTYPES = (*STORED_DTYPES, "q4_1")
C, G = 4, 4


def report_of(dtype: str) -> tuple[Any, ChannelReport]:
    """A tensor that was not made by the codes, through given parameters, and what became of it."""
    rng = np.random.default_rng(3)
    size = STORED_DTYPES.get(dtype, (4, 32))[1]
    x = rng.normal(0, 1, (C, G * size)).astype(np.float32)
    scale = rng.uniform(0.05, 0.2, (C, G)) * rng.choice([-1, 1], (C, G))
    scale[1, 1] = 0
    own = {"minimum": rng.uniform(-2, -1, (C, G))} if dtype in WITH_MINIMUM else {}
    q = pq.BlockParams(scale.astype(np.float32), dtype=dtype, convention="gguf", ch_axis=0, **own)
    return x, pq.analyze(x, qparams=q)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_explanation_ends_where_the_arithmetic_does(dtype: str) -> None:
    x, report = report_of(dtype)
    codes, back = report.codes(), report.dequantized()
    for channel in range(C):
        at = int(np.abs(x[channel]).argmax())
        steps = {step.name: step.result for step in report.explain(channel).steps}
        assert steps["code"] == str(int(codes[channel, at]))
        assert steps["dequantized"] == number(back[channel, at])
        group = numbers_in_channel(report.study, channel)[at] % G
        assert steps["scale"] == number(report.qparams.scale[channel, group])
    assert "as given" in str(report.explain(1, group=1))


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_formulas_name_only_what_they_tell(dtype: str) -> None:
    lines = rule_lines(report_of(dtype)[1].study)
    names = [line.partition(" = ")[0] for line in lines]
    words = {word.strip("()") for line in lines for word in line.partition(" = ")[2].split()}
    assert {"level", "code", "dequantized"} <= set(names)
    assert not words & {"multiplier", "inverse", "origin"} - set(names)


@pytest.mark.parametrize("dtype", DTYPES)
def test_tables(dtype: str) -> None:
    x, report = report_of(dtype)
    groups = report.groups()
    assert len(groups) == C * G
    assert np.array_equal(groups["scale"], np.abs(report.qparams.scale.astype(np.float64)).ravel())
    errors = (report.dequantized().astype(np.float64) - x) ** 2
    assert report.table["mse"].to_numpy() == pytest.approx(errors.mean(1), rel=1e-5)
    assert groups["mse"].to_numpy() == pytest.approx(errors.reshape(C, G, -1).mean(2).ravel(), rel=1e-5)
    used = [len(np.unique(row)) for row in report.codes()]
    assert report.codes_used().tolist() == used


@pytest.mark.parametrize("dtype", ["q2_k", "tq1_0", "iq3_s", "gguf_nvfp4"])
def test_exports(dtype: str, tmp_path: Path) -> None:
    x, report = report_of(dtype)
    report.to_csv(tmp_path / "a.csv")
    for path in (report.to_html(tmp_path / "a.html"), report.to_json(tmp_path / "a.json")):
        assert dtype in Path(path).read_text(encoding="utf-8")
    side_by_side = pq.compare(report, pq.analyze(x, dtype="q4_0"))
    assert dtype in side_by_side._repr_html_()


@pytest.mark.parametrize("dtype", ["q4_k", "iq2_xxs"])
def test_a_notebook_gives_the_result_again(dtype: str) -> None:
    _, report = report_of(dtype)
    code = notebook_code(report.study, lines=None, source=None, folder=None)
    known: dict[str, Any] = {}
    exec(code.folded, known)
    exec(code.shown, known)
    assert known["report"].qparams == report.qparams
    assert known["report"].table.equals(report.table)


def test_blocks_that_are_one_number_are_not_called_extreme() -> None:
    """K-quants have parts whose scale is 0: all of their values are the minimum."""
    scale = np.full((2, 8), 0.1, np.float32)
    scale[:, 2] = 0
    q = pq.BlockParams(scale, dtype="q4_k", convention="gguf", ch_axis=0, minimum=np.full((2, 8), -0.5))
    codes = np.random.default_rng(0).integers(0, 16, (2, 256)).astype(np.uint8)
    report = pq.analyze(pq.dequantize(codes, q), qparams=q)
    assert not [each for each in report.findings if each.rule == "extreme-scale"]
    lossy = pq.analyze(pq.dequantize(codes, q) + np.float32(0.01), qparams=q)
    assert [each for each in lossy.findings if each.rule == "extreme-scale"]
