"""Reports as notebooks: valid, harmless, and the same result when run."""

from __future__ import annotations

import ast
import json
import os
from functools import cache
from pathlib import Path
from typing import Any

import ml_dtypes
import nbformat
import numpy as np
import pandas as pd
import pytest
from report.samples import HOSTILE_NAMES, calculator, hostile, tensor

import perchq_widget as pq
from perchq_widget.report.document import MIMETYPE
from perchq_widget.report.documents import ChannelReport
from perchq_widget.report.notebook import output_only, to_notebook
from perchq_widget.report.packed import MOST_BYTES
from perchq_widget.report.reproduce import path_from


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
    bundle = next(cell for cell in notebook.cells if cell.id == "report").outputs[0].data
    assert set(bundle) == {"text/plain", "text/html", "text/latex", MIMETYPE}
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


def source_of(notebook: Any, cell_id: str) -> str:
    return next(str(cell.source) for cell in notebook.cells if cell.id == cell_id)


@cache
def large() -> ChannelReport:
    """A tensor just over what a notebook holds itself."""
    weights = np.random.default_rng(2).normal(size=(65, 64, 64)).astype(np.float32)
    assert weights.nbytes > MOST_BYTES
    return pq.analyze(weights, name="it's \n large")


def test_a_large_tensor_without_a_file_is_a_placeholder_that_says_so_when_run() -> None:
    report = large()
    notebook = to_notebook(report)
    source = source_of(notebook, "compute")
    assert "values" not in [cell.id for cell in notebook.cells]
    assert "float32, shape (65, 64, 64)" in source
    assert "Assign what the first code cell asks for" in source_of(notebook, "next-steps")
    with pytest.raises(pq.QuantValueError, match="`tensor` is not assigned yet: in this cell, assign the tensor here"):
        run(notebook)
    names = {"tensor": report.study.array}
    exec(source.replace("tensor = None", ""), names)
    pd.testing.assert_frame_equal(names["report"].table, report.table)


FLOATS = [np.float16, np.float32, np.float64, ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn, ml_dtypes.float4_e2m1fn]


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("order", ["C", "F"])
def test_a_small_tensor_without_a_file_is_in_a_folded_cell(dtype: Any, order: Any) -> None:
    weights = np.random.default_rng(4).normal(size=(6, 3, 5)).astype(dtype, order=order)
    for array in (weights, weights[::2, :, ::-1]):
        report = pq.analyze(array, ch_axis=1, name="in memory")
        notebook = nbformat.reads(nbformat.writes(to_notebook(report)), as_version=4)
        folded = next(cell for cell in notebook.cells if cell.id == "values")
        assert folded.metadata["jupyter"]["source_hidden"] is True
        assert "pickle=True" not in folded.source
        names = run(notebook)
        assert names["tensor"].dtype == array.dtype
        np.testing.assert_array_equal(names["tensor"].astype(np.float64), array.astype(np.float64))
        pd.testing.assert_frame_equal(names["report"].table, report.table)
        assert "ASSIGN" in report.document()["reproduce"]  # what is printed stays short


def test_the_largest_tensor_that_a_notebook_holds_runs_again() -> None:
    weights = np.random.default_rng(2).normal(size=(4, MOST_BYTES // 16)).astype(np.float32)
    weights[0, :2] = np.nan, np.inf
    notebook = to_notebook(pq.analyze(weights))
    np.testing.assert_array_equal(run(notebook)["tensor"], weights)
    assert len(source_of(notebook, "values")) < 1.4 * MOST_BYTES


@pytest.mark.parametrize("suffix", ["npy", "npz", "safetensors"])
def test_a_notebook_from_a_file_runs_in_its_own_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    """The file was named from one folder, the notebook is in a second and runs there, or both move together."""
    project, weights = tmp_path / "project", np.arange(-12.0, 12.0, dtype=np.float32).reshape(4, 6)
    (project / "models").mkdir(parents=True)
    (project / "out" / "deep").mkdir(parents=True)
    monkeypatch.chdir(project)
    path = store(weights, Path("models"), suffix)
    source = pq.open_source(path)
    report = pq.analyze(source[next(iter(source))])
    written = report.to_notebook(Path("out") / "deep" / "r.ipynb").resolve()
    code = source_of(nbformat.read(written, as_version=4), "compute")
    assert f"../../models/w.{suffix}" in code
    assert str(tmp_path) not in code
    for folder in (written.parent, project.rename(tmp_path / "moved") / "out" / "deep"):
        monkeypatch.chdir(folder if folder.exists() else tmp_path / "moved" / "out" / "deep")
        pd.testing.assert_frame_equal(run(nbformat.read("r.ipynb", as_version=4))["report"].table, report.table)


def store(weights: Any, folder: Path, suffix: str) -> Path:
    path = folder / f"w.{suffix}"
    if suffix == "npy":
        np.save(path, weights)
    elif suffix == "npz":
        np.savez(path, w=weights)
    else:
        about = {"w": {"dtype": "F32", "shape": list(weights.shape), "data_offsets": [0, weights.nbytes]}}
        header = json.dumps(about).encode()
        path.write_bytes(len(header).to_bytes(8, "little") + header + weights.tobytes())
    return path


def test_paths_with_nothing_in_common_are_written_in_full(tmp_path: Path) -> None:
    file = tmp_path / "a" / "w.npy"
    assert path_from(tmp_path / "b", str(file)) == "../a/w.npy"
    assert path_from(tmp_path / "a", str(file)) == "w.npy"
    assert path_from(Path(tmp_path.anchor), str(file)) == os.path.realpath(file)


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege there")
def test_links_lead_where_they_led(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model as a download cache keeps it, and a notebook folder that is a link: `..` leads out of its target."""
    (tmp_path / "blobs").mkdir()
    (tmp_path / "far" / "away").mkdir(parents=True)
    with (tmp_path / "blobs" / "abc").open("wb") as file:
        np.save(file, np.ones((2, 3), dtype=np.float32))
    (tmp_path / "w.npy").symlink_to(tmp_path / "blobs" / "abc")
    (tmp_path / "books").symlink_to(tmp_path / "far" / "away", target_is_directory=True)
    report = pq.analyze(pq.open_source(tmp_path / "w.npy")["w"])
    written = report.to_notebook(tmp_path / "books" / "r.ipynb")
    monkeypatch.chdir(written.parent)
    pd.testing.assert_frame_equal(run(nbformat.read("r.ipynb", as_version=4))["report"].table, report.table)


def test_an_object_of_a_files_name_is_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("dict").write_text("not a tensor")
    report = pq.analyze(pq.open_source({"w": np.ones((2, 3), dtype=np.float32)})["w"])
    pd.testing.assert_frame_equal(run(to_notebook(report))["report"].table, report.table)


def test_a_tensor_from_a_file_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "it's.npy"
    np.save(path, np.arange(-12.0, 12.0).reshape(4, 6))
    source = pq.open_source(path)
    report = pq.analyze(source[next(iter(source))], ch_axis=1, clip_ratio=0.75, granularity="tensor")
    kept = ChannelReport(report.study, source=str(path))
    pd.testing.assert_frame_equal(run(to_notebook(kept))["report"].table, report.table)
    assert "Assign" not in source_of(to_notebook(kept), "next-steps")


@pytest.mark.parametrize("n_channels", [3, 100])
def test_given_ranges_and_parameters(n_channels: int) -> None:
    weights = np.random.default_rng(1).normal(size=(n_channels, 20)).astype(np.float32)
    low, high = np.full(n_channels, -0.7), np.full(n_channels, 0.9)
    ranged = pq.analyze(weights, ranges=(low, high))
    given = pq.analyze(weights, qparams=ranged.qparams, channel_names=[f"c{i}" for i in range(n_channels)])
    values = {"ranges": (low, high), "qparams": ranged.qparams}
    for report in (ranged, given):
        pd.testing.assert_frame_equal(run(to_notebook(report))["report"].table, report.table)
        # The short form, as it is printed, with what it asks for assigned.
        source = report.document()["reproduce"].replace("tensor = None", "")
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
