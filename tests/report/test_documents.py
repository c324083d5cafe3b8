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
from report.samples import EXAMPLE, HOSTILE_NAMES, calculator, hostile, tensor

import perchq_widget as pq
from perchq_widget.report.documents import ChannelReport
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
    assert exact["Overall SQNR"] == "exact (no error)"
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
    assert set(report._repr_mimebundle_()) == {"text/plain", "text/html", "application/vnd.perchq.report+json"}
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
    monkeypatch.setattr(ChannelReport, "_document", pytest.fail)
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
    back = pd.read_csv(report.to_csv(tmp_path / "a.csv"))
    table = report.table
    assert list(back.columns[: len(table.columns)]) == list(table.columns)
    assert len(back) == len(table)
    for column in table.columns:
        if table[column].dtype.kind in "fiub":
            np.testing.assert_array_equal(back[column].to_numpy(), table[column].to_numpy())


def test_csv_says_how_it_was_made(tmp_path: Path) -> None:
    back = pd.read_csv(calculator().to_csv(tmp_path / "a.csv"))
    facts = back.iloc[0]
    assert facts["dtype"] == "qint8"
    assert facts["scheme"] == "affine"
    assert facts["ch_axis"] == 0
    assert facts["convention"] == "calculator"
    assert facts["quant_min"] == -128
    assert facts["tensor"] == "tensor"
    assert facts["perchq_widget_version"] == pq.__version__
    assert list(back.columns) == calculator().document()["csv_columns"]


def test_csv_names_are_formula_safe_and_restorable(tmp_path: Path) -> None:
    back = pd.read_csv(hostile().to_csv(tmp_path / "a.csv"), keep_default_na=False)
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
