"""Reports as notebooks: valid, harmless, and the same result when run."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pandas as pd
import pytest
from report.samples import HOSTILE_NAMES, calculator, hostile, tensor

import perchq_widget as pq
from perchq_widget.report.document import MIMETYPE
from perchq_widget.report.documents import ChannelReport
from perchq_widget.report.notebook import output_only, to_notebook


def run(notebook: Any, **given: object) -> dict[str, Any]:
    """What the code cells leave behind, run as a kernel would: one after the other in one namespace."""
    names: dict[str, Any] = dict(given)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            exec(compile(cell.source, cell.id, "exec"), names)
    return names


@pytest.mark.parametrize("make", [calculator, hostile, tensor])
def test_is_a_valid_notebook_that_holds_the_result(make: Any) -> None:
    report = make()
    notebook = nbformat.reads(nbformat.writes(to_notebook(report)), as_version=4)
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"
    assert notebook.metadata.perchq.settings.dtype == "qint8"
    bundle = notebook.cells[2].outputs[0].data
    assert set(bundle) == {"text/plain", "text/html", MIMETYPE}
    assert bundle[MIMETYPE] == report.document()
    assert bundle["text/html"] == report._repr_html_()


@pytest.mark.parametrize("make", [calculator, hostile])
def test_running_it_gives_the_same_table(make: Any) -> None:
    report = make()
    again = run(to_notebook(report))["report"]
    assert isinstance(again, ChannelReport)
    pd.testing.assert_frame_equal(again.table, report.table)
    assert again.name == report.name
    assert again.scheme == report.scheme


@pytest.mark.parametrize(
    "settings",
    [{"dtype": "quint8", "scheme": "symmetric", "convention": "pytorch"}, {"reduce_range": True, "ch_axis": 1}],
)
def test_running_it_keeps_the_settings(settings: dict[str, Any]) -> None:
    report = pq.calculate("a,-1,1,.5\nb,-0.1,0.30000000000000001,0.2", **settings)
    again = run(to_notebook(report))["report"]
    pd.testing.assert_frame_equal(again.table, report.table)
    assert again.caption == report.caption


def test_running_it_in_params_mode() -> None:
    report = pq.calculate("a,0.00862745,11,0.73", mode="params")
    pd.testing.assert_frame_equal(run(to_notebook(report))["report"].table, report.table)


def test_typed_lines_are_kept_as_typed() -> None:
    typed = "# ours\nchannel, min, max, sample\nfilter_0; -1.20; 1.0; .73\nbad line\n"
    report = pq.calculate(typed)
    kept = ChannelReport(report.study, typed=typed)
    again = run(to_notebook(kept))
    assert again["lines"] == typed
    assert again["report"].errors == report.errors


def test_code_is_ascii_and_only_ours() -> None:
    """Names are in string constants and nowhere else."""
    notebook = to_notebook(hostile())
    source = notebook.cells[1].source
    assert source.isascii()
    tree = ast.parse(source)
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    assert names == {"lines", "pq", "report"}
    calls = [ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)]
    assert calls == ["pq.calculate"]


def test_markdown_shows_hostile_names_as_text() -> None:
    import mistune
    from bs4 import BeautifulSoup

    for name in HOSTILE_NAMES:
        report = pq.calculate("a,-1,1,.5", tensor_name=name)
        soup = BeautifulSoup(str(mistune.html(to_notebook(report).cells[0].source)), "html.parser")
        assert [tag.name for tag in soup.find_all()] == ["h1", "p"]
        assert " ".join(soup.h1.get_text().split()) == " ".join(report.document()["title"].split())


def test_a_tensor_without_a_file_is_a_marked_placeholder() -> None:
    report = tensor()
    notebook = to_notebook(report)
    source = notebook.cells[1].source
    assert "ASSIGN the tensor here: conv1.weight, float32, shape (16, 1, 6, 6)" in source
    assert "Assign the tensor" in notebook.cells[3].source
    with pytest.raises(pq.QuantTypeError):
        run(notebook)
    filled = source.replace("tensor = None", "")
    names = {"tensor": report.study.array}
    exec(filled, names)
    pd.testing.assert_frame_equal(names["report"].table, report.table)


def test_a_tensor_from_a_file_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "it's.npy"
    np.save(path, np.arange(-12.0, 12.0).reshape(4, 6))
    source = pq.open_source(path)
    report = pq.analyze(source[next(iter(source))], ch_axis=1, clip_ratio=0.75, granularity="tensor")
    kept = ChannelReport(report.study, source=str(path))
    pd.testing.assert_frame_equal(run(to_notebook(kept))["report"].table, report.table)
    assert "Assign" not in to_notebook(kept).cells[3].source


@pytest.mark.parametrize("n_channels", [3, 100])
def test_given_ranges_and_parameters(n_channels: int) -> None:
    weights = np.random.default_rng(1).normal(size=(n_channels, 20)).astype(np.float32)
    low, high = np.full(n_channels, -0.7), np.full(n_channels, 0.9)
    ranged = pq.analyze(weights, ranges=(low, high))
    given = pq.analyze(weights, qparams=ranged.qparams, channel_names=[f"c{i}" for i in range(n_channels)])
    values = {"ranges": (low, high), "qparams": ranged.qparams}
    for report in (ranged, given):
        source = to_notebook(report).cells[1].source.replace("tensor = None", "")
        assert ("ASSIGN" in source.replace("ASSIGN the tensor", "")) == (n_channels > 64)
        names = {"tensor": weights, **values}
        exec(source.replace("ranges = None", "").replace("qparams = None", ""), names)
        again = names["report"]
        assert isinstance(again, ChannelReport)
        numbers = [column for column in report.table if column != "channel"]
        pd.testing.assert_frame_equal(again.table[numbers], report.table[numbers])


def test_equal_reports_give_equal_files() -> None:
    report = ChannelReport(calculator().study, created="2025-01-31T00:00:00+00:00")
    assert nbformat.writes(to_notebook(report)) == nbformat.writes(to_notebook(report))


def test_output_only_holds_the_result_and_no_code() -> None:
    notebook = output_only(calculator())
    nbformat.validate(notebook)
    assert [cell.source for cell in notebook.cells] == [""]
    assert notebook.cells[0].outputs[0].data[MIMETYPE]["schema"] == "perchq.report/1"


def test_to_notebook_writes_a_file(tmp_path: Path) -> None:
    path = hostile().to_notebook(tmp_path / "a.ipynb")
    assert json.loads(path.read_text(encoding="utf-8"))["nbformat"] == 4


@pytest.mark.slow
def test_it_runs_in_a_real_kernel(tmp_path: Path) -> None:
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    notebook = to_notebook(calculator())
    expected = notebook.cells[2].outputs[0].data[MIMETYPE]
    client = nbclient.NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(tmp_path)}})
    client.execute()
    found = notebook.cells[2].outputs[0].data[MIMETYPE]
    assert found["rows"] == expected["rows"]
    assert found["settings"] == expected["settings"]
