"""perchq demo and perchq lab: what they leave, and what they leave alone."""

from __future__ import annotations

import argparse
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import nbformat
import pandas as pd
import pytest
from nbformat.sign import NotebookNotary

from perchq_widget.cli import demo, main
from perchq_widget.core.errors import MissingExtra, QuantError
from perchq_widget.report.document import MIMETYPE


def options(out: Path, no_lab: bool = True) -> argparse.Namespace:
    return argparse.Namespace(out=out, no_lab=no_lab)


@pytest.fixture(autouse=True)
def _own_signatures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Notebooks are signed in a folder of the test's own, not in the developer's."""
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "jupyter"))


@pytest.mark.slow
def test_demo_leaves_csv_pdf_and_the_executed_notebook(tmp_path: Path) -> None:
    out = tmp_path / "build" / "demo"
    # No terminal: JupyterLab must not be opened although nothing forbids it.
    done = subprocess.run(
        [sys.executable, "-m", "perchq_widget", "demo", "--out", str(out)],
        cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, encoding="utf-8",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(pd.read_csv(out / "conv2.weight.csv")) == 32
    assert (out / "conv2.weight.pdf").read_bytes().startswith(b"%PDF-")
    exports = {path.suffix for path in (out / "exports").glob("conv2.*")}
    assert exports == {".csv", ".json", ".html", ".ipynb", ".pdf"}
    notebook = nbformat.read(out / "quickstart.ipynb", as_version=4)
    notary = NotebookNotary()
    with closing(notary.store):
        assert notary.check_signature(notebook)
    cells = notebook.cells
    panels = [output for cell in cells for output in cell.get("outputs", []) if demo.shows(output, MIMETYPE)]
    assert len(panels) == 2
    assert not [output for cell in cells for output in cell.get("outputs", []) if demo.shows(output, demo.LIVE_VIEW)]
    assert all(cell.execution_count for cell in cells if cell.cell_type == "code")
    for name in ("conv1.weight", "conv2.weight.csv", "conv2.weight.pdf", "quickstart.ipynb", "-m perchq_widget lab"):
        assert name in done.stdout


def test_a_second_demo_keeps_an_edited_notebook_aside(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = demo.prepare(tmp_path)
    notebook = out / demo.NOTEBOOK
    demo.fresh_notebook(out)
    assert [path.name for path in out.glob("*.ipynb")] == ["quickstart.ipynb"]
    for text in ("one edit", "another edit"):
        content = nbformat.read(notebook, as_version=4)
        content.cells[0].source = text
        nbformat.write(content, notebook)
        demo.fresh_notebook(out)
        assert "is now" in capsys.readouterr().out
    kept = [nbformat.read(out / f"quickstart-edited-{n}.ipynb", as_version=4).cells[0].source for n in (1, 2)]
    assert kept == ["one edit", "another edit"]
    assert notebook.read_bytes() == demo.bundled(demo.NOTEBOOK).read_bytes()


def test_lab_opens_the_notebook_that_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Path] = []
    monkeypatch.setattr(demo, "open_lab", lambda path: opened.append(path) or 0)
    demo.prepare(tmp_path)
    (tmp_path / demo.NOTEBOOK).write_text("mine", encoding="utf-8")
    assert main(["lab", "--out", str(tmp_path)]) == 0
    assert opened == [tmp_path / demo.NOTEBOOK]
    assert (tmp_path / demo.NOTEBOOK).read_text(encoding="utf-8") == "mine"


class FakeLab:
    """Stands in for the JupyterLab process: Ctrl-C reaches the waiting parent twice, then the process ends."""

    def __init__(self, command: list[str], cwd: Path) -> None:
        self.command, self.cwd, self.interrupts = command, cwd, 2

    def wait(self) -> int:
        if self.interrupts:
            self.interrupts -= 1
            raise KeyboardInterrupt
        return 0


def test_control_c_goes_to_jupyterlab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[FakeLab] = []

    def start(*arguments: Any, **keywords: Any) -> FakeLab:
        started.append(FakeLab(*arguments, **keywords))
        return started[0]

    monkeypatch.setattr(subprocess, "Popen", start)
    assert demo.open_lab(tmp_path / "quickstart.ipynb") == 0
    assert started[0].command[1:4] == ["-m", "jupyter", "lab"]
    assert started[0].command[-1] == "quickstart.ipynb"
    assert started[0].cwd == tmp_path
    assert started[0].interrupts == 0


def test_a_missing_library_names_the_pip_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r'pip install "perchq_widget\[lab\]"'):
        demo.demo(options(tmp_path))


def test_a_failing_cell_is_an_error_and_the_file_stays(tmp_path: Path) -> None:
    notebook = demo.prepare(tmp_path) / demo.NOTEBOOK
    content = nbformat.read(notebook, as_version=4)
    content.cells = [nbformat.v4.new_code_cell("raise RuntimeError('on purpose')")]
    nbformat.write(content, notebook)
    before = notebook.read_bytes()
    with pytest.raises(QuantError, match="on purpose"):
        demo.run_notebook(notebook)
    assert notebook.read_bytes() == before


def test_other_outputs_than_live_views_are_kept() -> None:
    live = nbformat.v4.new_output("display_data", {demo.LIVE_VIEW: {"model_id": "x"}, "text/plain": "panel"})
    copy = nbformat.v4.new_output("display_data", {MIMETYPE: {}, "text/html": "<p>copy</p>"})
    stream = nbformat.v4.new_output("stream", text="said")
    cells = [nbformat.v4.new_code_cell(outputs=[stream, live, copy]), nbformat.v4.new_code_cell(outputs=[live, stream])]
    notebook = nbformat.v4.new_notebook(cells=[*cells, nbformat.v4.new_markdown_cell("text")])
    demo.keep_static_copies(notebook)
    assert notebook.cells[0].outputs == [stream, copy]
    assert notebook.cells[1].outputs == [live, stream]


def test_what_is_bundled_is_found_in_a_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    assert demo.bundled("models/digits.safetensors").is_file()
    with pytest.raises(QuantError, match=r"nothing\.ipynb is missing"):
        demo.bundled("nothing.ipynb")


@pytest.mark.parametrize(("tty", "no_lab", "opens"), [(True, False, True), (True, True, False), (False, False, False)])
def test_jupyterlab_opens_only_from_a_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tty: bool, no_lab: bool, opens: bool
) -> None:
    opened: list[Path] = []
    monkeypatch.setattr(demo, "open_lab", lambda path: opened.append(path) or 0)
    monkeypatch.setattr(demo, "analyze_model", lambda out: [])
    monkeypatch.setattr(demo, "run_notebook", lambda path: None)
    for stream in (sys.stdin, sys.stdout):
        monkeypatch.setattr(stream, "isatty", lambda: tty)
    assert demo.demo(options(tmp_path, no_lab)) == 0
    assert bool(opened) is opens
