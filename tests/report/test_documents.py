"""ChannelReport: what it answers, and the document that all renderings share."""

from __future__ import annotations

import dataclasses
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from report.samples import EXAMPLE, HOSTILE_NAMES, calculator, hostile, read_csv, tensor

import perchq_widget as pq
from perchq_widget.report.documents import ChannelReport
from perchq_widget.report.figures import overview_svg
from perchq_widget.report.summary import summary_rows
from perchq_widget.report.text import clean_name, csv_restore

KEYS = {
    "schema", "kind", "title", "caption", "created", "tensor", "settings", "versions", "summary", "summary_rows",
    "columns", "rows", "rows_total", "rows_note", "display_rows", "row_flags", "findings", "errors", "errors_total",
    "explanation", "convention", "figures", "lines", "csv_columns", "reproduce",
}  # fmt: skip
FORMATS = ["csv", "json", "html", "notebook"]


def write(report: ChannelReport, kind: str, path: Path, **options: Any) -> Path:
    return getattr(report, f"to_{kind}")(path, **options)  # type: ignore[no-any-return]


@pytest.mark.parametrize("make", [calculator, hostile, tensor])
def test_document_is_strict_json_with_every_key(make: Any) -> None:
    document = make().document()
    assert set(document) == KEYS
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    json.dumps(document, ensure_ascii=False).encode("utf-8")
    assert (
        document["rows_total"] == len(document["rows"]) == len(document["display_rows"]) == len(document["row_flags"])
    )
    assert all(len(row) == len(document["columns"]) for row in document["rows"] + document["display_rows"])


def test_non_finite_numbers_are_words() -> None:
    document = pq.calculate("exact,-128,127,1\nlost,-1000,1000,0.1").document()
    sqnr = document["columns"].index("sqnr_db")
    assert document["rows"][0][sqnr] == "inf"


def test_captions() -> None:
    assert calculator().caption == "tensor · 4 calibration ranges · ch_axis 0 · qint8 affine, per channel, calculator"
    assert tensor().caption == "conv1.weight · float32 (16, 1, 6, 6) · ch_axis 0 · qint8 affine, per channel, pytorch"
    reduced = pq.calculate("a,1,0,1", mode="params", reduce_range=True, tensor_name="x\n", ch_axis=-1)
    assert reduced.caption == "x⏎ · 1 line of parameters · ch_axis -1 · qint8 affine -64..63, per channel, calculator"


def test_the_figures_and_formulas_are_of_the_channel_asked_for() -> None:
    report = calculator()
    assert report.document()["explanation"]["channel"] == report.summary["worst_channel"] == "filter_1"
    assert report.document("filter_3")["explanation"]["channel"] == "filter_3"
    assert "Channel filter_3" in report.document(3)["figures"]["titles"]["histogram"]
    with pytest.raises(pq.QuantValueError, match="did you mean 'filter_"):
        report.document("filter_O")


def test_the_rule_in_force_is_the_one_that_was_used() -> None:
    weights = np.ones((2, 3), dtype=np.float32)
    given = pq.QParams([0.5, 0.25], [0, 1], dtype="qint8", convention="pytorch", ch_axis=0)
    for report in (pq.calculate("a,0.5,3,2", mode="params"), pq.analyze(weights, qparams=given)):
        rule = report.document()["convention"]["rule"]
        assert rule[0] == "scale and zero_point as given"
        assert not [line for line in rule if line.startswith(("scale =", "zero_point =", "min ="))]
        assert rule[-1] == "dequantized = (code - zero_point) * scale"
    assert calculator().document()["convention"]["rule"][0].startswith("scale = ")


def test_no_observer_is_named_where_none_ran(tmp_path: Path) -> None:
    weights = np.ones((2, 3), dtype=np.float32)
    for report in (calculator(), pq.calculate("a,1,0,1", mode="params"), pq.analyze(weights, ranges=(-1.0, 1.0))):
        assert report.document()["settings"]["observer"] is None
    assert pd.read_csv(calculator().to_csv(tmp_path / "a.csv"))["observer"].isna().all()
    assert json.loads(calculator().to_json(tmp_path / "a.json").read_text())["settings"]["observer"] is None
    assert tensor().document()["settings"]["observer"] == "minmax"


def test_rows_chooses_how_many() -> None:
    report = tensor(300)
    for rows, held in ((0, 300), (1000, 300), (300, 300), (299, 299), (150, 150), (1, 1), (None, 100)):
        assert len(report.document(rows=rows)["rows"]) == held
    few = tensor().document(rows=3)
    place = few["columns"].index("sqnr_db")
    assert [row[place] for row in few["rows"]] == sorted(tensor().table["sqnr_db"])[:3]
    assert [row[0] for row in tensor().document(rows=16)["rows"]] == tensor().table["channel"].tolist()


def without_values() -> ChannelReport:
    """A report with one channel whose SQNR is NaN, for it holds no finite number."""
    weights = np.random.default_rng(3).normal(size=(4, 8)).astype(np.float32)
    weights[2] = np.nan
    report = pq.analyze(weights)
    frame = report.table
    frame.loc[2, ["sqnr_db", "mse", "cosine", "max_abs_error", "mean_abs_error", "pct_error"]] = np.nan
    summary = report.summary | {"worst_channel": "2", "worst_sqnr_db": math.nan}
    return ChannelReport(dataclasses.replace(report.study, frame=frame, summary=summary))


def test_a_channel_without_a_value_is_the_worst_and_breaks_nothing(tmp_path: Path) -> None:
    report = without_values()
    document = report.document()
    assert document["explanation"]["channel"] == "2"
    place = document["columns"].index("sqnr_db")
    assert (document["rows"][2][place], document["display_rows"][2][place]) == ("nan", "nan")
    assert document["row_flags"][2] == []
    assert dict(document["summary_rows"])["Worst channel"] == "2, no value"
    assert "worst and selected: 2, no value" in document["figures"]["overview"]
    assert "No finite value to draw" in document["figures"]["histogram"]
    assert "given range" not in document["figures"]["histogram"]
    assert document["figures"]["titles"]["histogram"] == "Channel 2: 0 values, 8 not finite left out"
    assert report.document(rows=2)["rows"][0][0] == "2"
    for kind in FORMATS:
        assert write(report, kind, tmp_path / kind).stat().st_size > 100
    assert read_csv(tmp_path / "csv")["sqnr_db"].isna().tolist() == [False, False, True, False]


def test_a_tensor_without_any_finite_value() -> None:
    report = without_values()
    frame = report.table.iloc[[2]].reset_index(drop=True)
    summary = report.summary | dict.fromkeys(("sqnr_db", "mean_abs_error", "max_abs_error", "pct_error"), math.nan)
    for each in (summary, report.summary | {"n": 0}):
        assert dict(summary_rows(each, "tensor"))["Overall SQNR"] == "no value"
    rows = dict(pq.analyze(np.full((2, 3), np.nan, dtype=np.float32)).document()["summary_rows"])
    assert rows["Overall SQNR"] == rows["Largest absolute error"] == rows["Percentage error"] == "no value"
    assert "no value" in overview_svg(["2"], frame["sqnr_db"], 0, 0, 20.0)


def test_many_channels_keep_the_worst() -> None:
    report = tensor(300)
    document = report.document()
    assert len(document["rows"]) == 100
    assert document["rows_total"] == 300
    assert "300" in document["rows_note"]
    sqnr = [float(row[document["columns"].index("sqnr_db")]) for row in document["rows"]]
    assert sqnr == sorted(report.table["sqnr_db"])[:100]


def test_flags_follow_clipping_and_low_sqnr() -> None:
    flags = dict(zip(tensor().table["channel"], tensor().document()["row_flags"], strict=True))
    findings = dict(zip(tensor().table["channel"], tensor().table["findings"], strict=True))
    for channel, names in findings.items():
        assert ("low_sqnr" in flags[channel]) == ("low-sqnr" in names.split("; "))
        assert ("clipped" in flags[channel]) == ("clipped" in names.split("; "))


def test_summary_rows_read_well() -> None:
    rows = dict(calculator().document()["summary_rows"])
    assert rows["Channels"] == "4"
    assert rows["Clipped"] == "none"
    assert rows["Overall SQNR"].endswith(" dB")
    assert rows["Worst channel"].startswith("filter_1, 3")
    assert rows["Scale range"] == "0.00411765 to 0.01254902"
    exact = dict(pq.calculate("a,-128,127,1").document()["summary_rows"])
    assert exact["Overall SQNR"] == "no error"
    data = np.array([[np.nan, 1.0, 2.0], [3.0, 4.0, 100.0]], dtype=np.float32)
    clipping = dict(pq.analyze(data, clip_ratio=0.5).document()["summary_rows"])
    assert clipping["Not finite, left out"] == "1 value"
    assert "values (" in clipping["Clipped"]


def test_bad_lines_are_counted_where_not_all_are_shown(tmp_path: Path) -> None:
    report = pq.calculate("a,-1,1,0\n" + "bad\n" * 500)
    document = report.document()
    assert len(document["errors"]) == 200
    assert document["errors_total"] == 500
    assert "300 more" in report._repr_html_()
    assert len(json.loads(report.to_json(tmp_path / "a.json").read_text())["errors"]) == 500


def test_the_table_given_out_is_a_copy() -> None:
    report = calculator()
    table = report.table
    table["scale"] = 0.0
    report.summary["channels"] = 0
    assert (report.table["scale"] > 0).all()
    assert report.summary["channels"] == 4


def test_answers_of_the_study_are_passed_on() -> None:
    report = tensor()
    assert report.kind == "tensor"
    assert report.exact
    assert report.codes().shape == (16, 1, 6, 6)
    assert report.dequantized().dtype == np.float32
    assert report.codes_used().shape == (16,)
    assert report.histogram("2").counts.sum() == 36
    assert report.explain(2).channel == "2"
    assert report.lines is None
    assert calculator().lines == EXAMPLE + "bad,1\n"  # as typed, the bad line too
    assert report.qparams.scale.shape == (16,)


def test_repr_is_one_cheap_line() -> None:
    assert repr(calculator()) == f"<ChannelReport {calculator().caption}, 4 channels, 1 line left out>"
    assert "\n" not in repr(hostile())


def test_created_makes_exports_reproducible(tmp_path: Path) -> None:
    report = dataclasses.replace(calculator(), created="2025-01-31T00:00:00+00:00")
    assert report.document()["created"] == "2025-01-31T00:00:00+00:00"
    for kind in FORMATS:
        one, two = (write(report, kind, tmp_path / f"{kind}{index}") for index in (1, 2))
        assert one.read_bytes() == two.read_bytes()


def test_mimebundle_serves_what_is_asked_for() -> None:
    report = calculator()
    document = "application/vnd.perchq.report+json"
    assert set(report._repr_mimebundle_()) == {"text/plain", "text/html", "text/latex", document}
    assert set(report._repr_mimebundle_(include=["text/html"])) == {"text/html"}
    assert "text/html" not in report._repr_mimebundle_(exclude=["text/html"])


@pytest.mark.parametrize("kind", FORMATS)
def test_exports_refuse_to_overwrite(kind: str, tmp_path: Path) -> None:
    target = tmp_path / "out"
    target.write_text("old")
    with pytest.raises(FileExistsError, match="overwrite=True"):
        write(calculator(), kind, target)
    assert target.read_text() == "old"
    assert write(calculator(), kind, target, overwrite=True) == target
    assert target.read_text(encoding="utf-8") != "old"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("kind", [*FORMATS, "pdf"])
def test_exports_refuse_before_any_work(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ChannelReport, "document", pytest.fail)
    with pytest.raises(FileNotFoundError):
        write(calculator(), kind, tmp_path / "missing" / "out")


@pytest.mark.parametrize("kind", [*FORMATS, "pdf"])
def test_a_failing_export_leaves_the_earlier_file(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "out"
    target.write_text("old")

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr("perchq_widget.report.documents.documents.build_document", broken)
    monkeypatch.setattr("perchq_widget.report.documents.csv_text", broken)
    with pytest.raises(RuntimeError, match="broken"):
        write(calculator(), kind, target, overwrite=True)
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("make", [calculator, hostile, tensor, lambda: tensor(300)])
def test_csv_reads_back_to_the_same_floats(make: Any, tmp_path: Path) -> None:
    report = make()
    back = read_csv(report.to_csv(tmp_path / "a.csv"))
    table = report.table
    assert list(back.columns[: len(table.columns)]) == list(table.columns)
    assert len(back) == len(table)
    for column in table.columns:
        if table[column].dtype.kind in "fiub":
            np.testing.assert_array_equal(back[column].to_numpy(), table[column].to_numpy())


def test_csv_says_how_it_was_made(tmp_path: Path) -> None:
    back = read_csv(calculator().to_csv(tmp_path / "a.csv"))
    facts = back.iloc[0]
    assert facts["dtype"] == "qint8"
    assert facts["scheme"] == "affine"
    assert facts["ch_axis"] == 0
    assert facts["convention"] == "calculator"
    assert facts["quant_min"] == -128
    assert facts["tensor"] == "tensor"
    assert facts["perchq_widget_version"] == pq.__version__
    assert list(back.columns) == calculator().document()["csv_columns"]


@pytest.mark.parametrize("name", ["NA", "nan", "None", "007", "1e5", "True"])
def test_csv_names_stay_names(name: str, tmp_path: Path) -> None:
    weights = np.ones((2, 3), dtype=np.float32)
    back = read_csv(pq.analyze(weights, channel_names=[name, "other"], name="NA").to_csv(tmp_path / "a.csv"))
    assert back["channel"].tolist() == [name, "other"]
    assert back["tensor"].tolist() == ["NA", "NA"]


def test_csv_names_are_formula_safe_and_restorable(tmp_path: Path) -> None:
    back = read_csv(hostile().to_csv(tmp_path / "a.csv"))
    assert not [cell for cell in back["channel"] if cell[0] in "=+-@\t\r\n"]
    assert [csv_restore(cell) for cell in back["channel"]] == [clean_name(name) for name in HOSTILE_NAMES]


def test_json_holds_every_row_and_exact_names(tmp_path: Path) -> None:
    document = json.loads(hostile().to_json(tmp_path / "a.json").read_text(), parse_constant=pytest.fail)
    assert [row[0] for row in document["rows"]] == HOSTILE_NAMES
    large = json.loads(tensor(300).to_json(tmp_path / "b.json").read_text())
    assert len(large["rows"]) == large["rows_total"] == 300
    table = pd.DataFrame(large["rows"], columns=large["columns"])
    np.testing.assert_array_equal(table["scale"].to_numpy(), tensor(300).table["scale"].to_numpy())
    assert large["rows_note"] == ""


def test_extreme_numbers_survive_every_export(tmp_path: Path) -> None:
    report = pq.calculate("tiny,-1e-30,1e-30,1e-31\nhuge,-1e30,1e30,1e29\nzero,0,0,0")
    data = np.array([[1e-38, -1e-38], [1e38, -1e38], [0.0, 0.0], [math.inf, 1.0]], dtype=np.float32)
    for index, each in enumerate((report, pq.analyze(data))):
        for kind in FORMATS:
            assert write(each, kind, tmp_path / f"{kind}{index}").stat().st_size > 100


def test_importing_reports_loads_no_heavy_library() -> None:
    code = (
        "import sys, perchq_widget.report.documents\n"
        "heavy = {'pandas', 'nbformat', 'nbconvert', 'typst', 'matplotlib', 'IPython', 'ipywidgets', 'torch'}\n"
        "sys.exit(str(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
