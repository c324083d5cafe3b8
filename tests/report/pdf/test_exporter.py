"""The exporter as nbconvert and the command line use it."""

from __future__ import annotations

import os
import subprocess
import sys

import nbformat
import pytest
from nbconvert.exporters import get_exporter
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from traitlets.config import Config

from perchq_widget.core.errors import MissingExtra
from perchq_widget.report.pdf import bundle as bundles
from perchq_widget.report.pdf import cells, compile, exporter, notebook_to_pdf
from perchq_widget.report.pdf.exporter import PerchqPDFExporter


@pytest.fixture
def small() -> nbformat.NotebookNode:
    outputs = [new_output("stream", name="stdout", text="an output\n")]
    return new_notebook(
        cells=[new_markdown_cell("# A title"), new_code_cell("x = 1", execution_count=3, outputs=outputs)]
    )


def test_is_registered():
    assert get_exporter("perchq-pdf") is PerchqPDFExporter


def test_result_and_resources(small):
    pdf, resources = PerchqPDFExporter().from_notebook_node(small)
    assert pdf.startswith(b"%PDF-")
    assert resources["output_extension"] == ".pdf"
    assert "perchq" not in resources


def test_command_line_from_any_folder(small, tmp_path):
    path = tmp_path / "a notebook.ipynb"
    nbformat.write(small, path)
    command = [sys.executable, "-m", "nbconvert", "--to", "perchq-pdf", str(path)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr.decode()
    assert (tmp_path / "a notebook.pdf").read_bytes().startswith(b"%PDF-")


def test_command_line_in_the_notebooks_own_folder_finds_images(tmp_path, make_png, pdf_text):
    (tmp_path / "here.png").write_bytes(make_png(20, 20))
    nbformat.write(new_notebook(cells=[new_markdown_cell("text ![alt](here.png)")]), tmp_path / "n.ipynb")
    code = "from perchq_widget.report.pdf.exporter import PerchqPDFExporter as E; E().from_filename('n.ipynb')[0]"
    command = [sys.executable, "-c", f"{code}; open('n.pdf', 'wb').write({code.partition('; ')[2]})"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr.decode()
    assert "left out" not in pdf_text((tmp_path / "n.pdf").read_bytes())


def test_template_needs_no_jupyter_path(small, tmp_path):
    code = (
        "import nbformat, sys; from perchq_widget.report.pdf import notebook_to_pdf;"
        "sys.stdout.buffer.write(notebook_to_pdf(nbformat.read(sys.argv[1], 4))[:5])"
    )
    path = tmp_path / "n.ipynb"
    nbformat.write(small, path)
    nowhere = {"JUPYTER_PATH": str(tmp_path), "JUPYTER_DATA_DIR": str(tmp_path), "JUPYTER_NO_CONFIG": "1"}
    command = [sys.executable, "-c", "import jupyter_core.paths as p; p.ENV_JUPYTER_PATH[:] = [];"
               "p.SYSTEM_JUPYTER_PATH[:] = [];" + code, str(path)]  # fmt: skip
    done = subprocess.run(command, env={**os.environ, **nowhere}, capture_output=True, timeout=100, check=False)
    assert done.stdout == b"%PDF-", done.stderr.decode()


@pytest.mark.parametrize(("options", "absent"), [
    ({"exclude_input": True}, "x = 1"), ({"exclude_output": True}, "an output"),
    ({"exclude_markdown": True}, "A title"), ({"exclude_code_cell": True}, "an output"),
    ({"exclude_input_prompt": True}, "[3]"),
])  # fmt: skip
def test_content_filters(options, absent, small, pdf_text):
    everything = pdf_text(notebook_to_pdf(small))
    config = Config({"PerchqPDFExporter": options})
    pdf, _ = PerchqPDFExporter(config=config).from_notebook_node(small)
    assert absent in everything
    assert absent not in pdf_text(pdf)


def test_tagged_cells_are_removed_by_nbconvert_itself(small, pdf_text):
    small.cells[0].metadata["tags"] = ["gone"]
    config = Config({"TagRemovePreprocessor": {"enabled": True, "remove_cell_tags": ["gone"]}})
    pdf, _ = PerchqPDFExporter(config=config).from_notebook_node(small)
    assert "A title" not in pdf_text(pdf)


def test_hidden_parts_stay_hidden(small, pdf_text):
    small.cells[1].metadata["jupyter"] = {"source_hidden": True, "outputs_hidden": True}
    words = pdf_text(notebook_to_pdf(small))
    assert "x = 1" not in words
    assert "an output" not in words


def test_split_streams_are_joined(pdf_text):
    outputs = [new_output("stream", name="stdout", text=part) for part in ("one ", "line\n")]
    assert "one line" in pdf_text(notebook_to_pdf(new_notebook(cells=[new_code_cell("1", outputs=outputs)])))


def test_title_heads_the_pages(small, pdf_text):
    assert "My notebook" in pdf_text(notebook_to_pdf(small, {"metadata": {"name": "My notebook"}}))
    small.metadata["title"] = "Its own title"
    assert "Its own title" in pdf_text(notebook_to_pdf(small, {"metadata": {"name": "My notebook"}}))


def test_the_notebook_given_is_not_changed(small):
    before = nbformat.writes(small)
    notebook_to_pdf(small)
    assert nbformat.writes(small) == before


def test_empty_notebook(count_pages):
    assert count_pages(notebook_to_pdf(new_notebook())) == 1


def test_missing_packages_are_named(small, monkeypatch):
    monkeypatch.setattr(compile, "find_spec", lambda name: None if name == "latex2mathml" else object())
    with pytest.raises(MissingExtra, match=r'latex2mathml.*pip install "perchq_widget\[pdf\]"'):
        notebook_to_pdf(small)


def test_a_part_that_fails_to_convert_is_plain_text(small, monkeypatch, pdf_text):
    def fail(*_: object) -> str:
        raise RuntimeError("unforeseen")

    monkeypatch.setattr(cells, "_output", fail)
    words = pdf_text(notebook_to_pdf(small))
    assert "A title" in words
    assert "could not be converted (RuntimeError)" in words


def test_a_part_that_fails_to_set_is_plain_text(small, monkeypatch, pdf_text, caplog):
    monkeypatch.setattr(cells, "coloured_source", lambda text, bundle: "#no-such-function()")
    words = pdf_text(notebook_to_pdf(small))
    assert "an output" in words
    assert "A title" in words
    assert "as plain text" in caplog.text


def test_too_many_pixels_in_all_are_refused(monkeypatch, make_png, output):
    monkeypatch.setattr(bundles, "_MAX_PIXELS_IN_ALL", 100)
    data = {
        "text/html": f"<img src='data:image/png;base64,{__import__('base64').b64encode(make_png(20, 20)).decode()}'>"
    }
    assert notebook_to_pdf(output(data)).startswith(b"%PDF-")


@pytest.mark.parametrize(("created", "stamp"), [
    ("1970-01-01T00:00:10+00:00", 10), ("1970-01-01T00:00:10", 10), ("", None), ("soon", None),
    ("0001-01-01T00:00:00", None),
])  # fmt: skip
def test_timestamp(created, stamp):
    assert exporter._timestamp(created) == stamp
