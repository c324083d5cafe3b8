"""Reports of every kind of format: floats, groups, blocks, tokens, in every rendering."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import ml_dtypes
import nbformat
import numpy as np
import pandas as pd
import pytest
from bs4 import BeautifulSoup
from report.samples import read_csv

import perchq_widget as pq
from perchq_widget.cli.terminal import Look, table_lines
from perchq_widget.core.group_sizes import group_size_text
from perchq_widget.panel.table import page_html
from perchq_widget.report.notebook import to_notebook
from perchq_widget.report.text import NOTHING

X = (np.random.default_rng(8).standard_normal((6, 128)) * 0.1).astype(np.float32)
X[2, 17] = 3
SETTINGS: dict[str, dict[str, Any]] = {
    "int4 groups": {"dtype": "int4", "scheme": "symmetric", "group_size": 32},
    "affine groups": {"dtype": "uint4", "group_size": 32, "convention": "calculator"},
    "blocks": {"dtype": "qint8", "scheme": "symmetric", "group_size": (3, 32), "convention": "torchao"},
    "tokens": {"dtype": "qint8", "granularity": "token", "convention": "torchao"},
    "float8": {"dtype": "float8_e4m3fn"},
    "float8 groups": {"dtype": "float8_e5m2", "group_size": 32, "convention": "torchao"},
    "bfloat16": {"dtype": "bfloat16"},
    "mx": {"dtype": "mxfp8_e4m3fn", "scale_rule": "ceil"},
    "mxint8": {"dtype": "mxint8"},
    "nvfp4": {"dtype": "nvfp4"},
    "nf4": {"dtype": "nf4"},
    "q4_0": {"dtype": "q4_0"},
    "q5_1": {"dtype": "q5_1"},
    "int16": {"dtype": "int16"},
}
WITHOUT_ZERO_POINT = ("mx", "mxint8", "nvfp4", "nf4", "q4_0", "q5_1")


def report(name: str, x: np.ndarray = X) -> pq.ChannelReport:
    return pq.analyze(x, name=name, **SETTINGS[name])


def run(notebook: Any, **given: object) -> dict[str, Any]:
    names: dict[str, Any] = dict(given)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            exec(compile(cell.source, cell.id, "exec"), names)
    return names


def same(again: pq.ChannelReport, first: pq.ChannelReport) -> None:
    pd.testing.assert_frame_equal(again.table, first.table)
    assert again.scheme == first.scheme
    assert again.qparams == first.qparams


@pytest.mark.parametrize("name", SETTINGS)
def test_every_rendering(name: str, tmp_path: Path) -> None:
    made = report(name)
    document = made.document()
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    shown = [row[document["columns"].index("zero_point")] for row in document["display_rows"]]
    assert (set(shown) == {NOTHING}) == (name in WITHOUT_ZERO_POINT)
    texts = [cell for row in document["display_rows"] for cell in row]
    assert "nan" not in texts
    page = made.to_html(tmp_path / "a.html").read_text()
    assert not re.search(r">\s*-?nan\s*<", page)
    assert "nan" not in made._repr_mimebundle_()["text/latex"].split()
    back = read_csv(made.to_csv(tmp_path / "a.csv"))
    assert back["zero_point"].isna().all() == (name in WITHOUT_ZERO_POINT)
    size = back["group_size"].iloc[0]
    assert ("" if pd.isna(size) else str(size)) == group_size_text(made.scheme.group_size)


@pytest.mark.parametrize("name", SETTINGS)
def test_a_terminal_without_a_dash_gets_a_hyphen(name: str) -> None:
    document = report(name).document()
    poor = Look.of(io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    lines = table_lines(document["columns"], document["display_rows"], document["row_flags"], poor)
    assert "\n".join(lines).isascii()


CAPTIONS = {
    "int4 groups": "int4 symmetric, per group of 32, torchao",
    "affine groups": "uint4 affine, per group of 32, calculator",
    "blocks": "qint8 symmetric, per block of 3x32, torchao",
    "tokens": "qint8 affine, per token, torchao",
    "float8": "float8_e4m3fn symmetric, per channel, scale rule amax, pytorch",
    "mx": "mxfp8_e4m3fn symmetric, per group of 32, scale rule ceil, ocp",
    "nf4": "nf4 symmetric, per group of 64, bitsandbytes",
}


@pytest.mark.parametrize("name", CAPTIONS)
def test_captions(name: str) -> None:
    assert report(name).caption == f"{name} · float32 (6, 128) · ch_axis 0 · {CAPTIONS[name]}"


def test_settings_of_floats_name_values_and_not_codes() -> None:
    rows = settings_of("float8")
    assert rows["Values of a code"] == "-448 to 448"
    assert rows["Scale rule"] == "amax"
    assert "Codes" not in rows
    assert settings_of("bfloat16")["Values of a code"] == "-3.38953e38 to 3.38953e38"
    assert settings_of("nf4")["Values of a code"] == "-1 to 1"
    assert settings_of("int4 groups")["Codes"] == "-8 to 7"
    assert settings_of("blocks")["Scheme"] == "symmetric, per block of 3x32"


def settings_of(name: str) -> dict[str, str]:
    table = BeautifulSoup(report(name)._repr_html_(), "html.parser").find("caption", string="Settings").parent
    return {row.th.get_text(): row.td.get_text() for row in table.find_all("tr")}


def test_the_summary_tells_bits_and_the_worst_group() -> None:
    rows = dict(report("mx").document()["summary_rows"])
    assert rows["Bits per weight"] == "8.25, scales counted"
    assert dict(report("int4 groups").document()["summary_rows"])["Bits per weight"] == "5, scales counted"
    assert dict(report("nf4").document()["summary_rows"])["Bits per weight"] == "4.5, scales counted"
    assert re.fullmatch(r"\d, group \d, \d+\.\d\d dB \(median group \d+\.\d\d dB\)", rows["Worst group"])
    assert "Worst group" not in dict(report("float8").document()["summary_rows"])
    assert "Bits per weight" not in dict(pq.calculate("a,-1,1,.5").document()["summary_rows"])


@pytest.mark.parametrize("name", SETTINGS)
def test_a_notebook_computes_it_again(name: str) -> None:
    made = report(name)
    same(run(nbformat.reads(nbformat.writes(to_notebook(made)), as_version=4))["report"], made)


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("rows", [6, 60], ids=["literals", "packed"])
def test_a_notebook_builds_given_parameters_again(name: str, rows: int) -> None:
    x = np.tile(X, (10, 1))[:rows]
    first = report(name, x)
    made = pq.analyze(x, qparams=first.qparams)
    assert made.qparams is first.qparams
    same(run(to_notebook(made))["report"], made)
    source = made.document()["reproduce"].replace("tensor = None", "")
    if "pq.QParams(" in source or "pq.BlockParams(" in source:
        names: dict[str, Any] = {"tensor": x}
        exec(source, names)
        same(names["report"], made)
    else:
        assert "ASSIGN the pq." in source


@pytest.mark.parametrize("dtype", [ml_dtypes.bfloat16, np.float16])
def test_scales_of_half_width_survive(dtype: Any) -> None:
    x = X.astype(dtype)
    first = pq.analyze(x, dtype="int4", group_size=32, convention="torchao")
    assert first.qparams.scale.dtype == dtype
    made = pq.analyze(x, qparams=first.qparams)
    again = run(to_notebook(made))["report"]
    same(again, made)
    assert again.qparams.scale.dtype == dtype


def test_codes_used_in_every_format() -> None:
    for name in SETTINGS:
        made = report(name)
        codes = made.codes()
        bits = codes if codes.dtype.kind in "iu" else codes.astype(np.float32) + 0
        want = [len(np.unique(row)) for row in bits]
        assert made.codes_used().tolist() == want, name
        assert max(want) <= made.qparams.grid.n_levels, name


@pytest.mark.parametrize("name", WITHOUT_ZERO_POINT)
def test_the_panel_s_table(name: str) -> None:
    panel = pq.show(X, **{key: value for key, value in SETTINGS[name].items() if key != "scheme"})
    try:
        html = page_html(panel.view)
        cells = [cell.get_text() for cell in BeautifulSoup(html, "html.parser").find_all("td")]
        assert NOTHING in cells
        assert "nan" not in cells
    finally:
        panel.close()
