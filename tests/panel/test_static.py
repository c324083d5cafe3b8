"""What a notebook with a panel shows where no widget can be drawn, by nbconvert's own exporters."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

import perchq_widget as pq
from perchq_widget.report.document import MIMETYPE

VIEW = "application/vnd.jupyter.widget-view+json"
CELLS = [
    "import perchq_widget as pq\npanel = pq.show()\npanel",
    "big = pq.show([(f'c{i}', -1, 1 + i, 0.5) for i in range(300)])\nbig",
    "panel.state.dtype = 'quint8'\npanel.snapshot()",
]


def test_the_bundle_holds_live_view_html_text_and_document(alive: set[str]) -> None:
    del alive
    bundle = pq.show()._repr_mimebundle_()
    assert set(bundle) == {VIEW, "text/html", "text/latex", "text/plain", MIMETYPE}
    assert bundle["text/html"].count("<svg") == 2
    assert "<table" in bundle["text/html"]
    assert "http" not in re.sub(r'xmlns="[^"]*"', "", bundle["text/html"])
    assert json.loads(json.dumps(bundle[MIMETYPE], allow_nan=False))["schema"] == "perchq.report/1"


def test_the_copy_shows_the_selected_channel(alive: set[str]) -> None:
    del alive
    panel = pq.show(channel="filter_2")
    assert panel._repr_mimebundle_()[MIMETYPE]["explanation"]["channel"] == "filter_2"


def test_no_result_still_displays(alive: set[str]) -> None:
    del alive
    assert "no line" in pq.show("rubbish\n")._repr_mimebundle_()["text/plain"]


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> Any:
    client = pytest.importorskip("nbclient", reason="nbclient is not installed")
    pytest.importorskip("ipykernel", reason="ipykernel is not installed")
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = new_notebook(cells=[new_code_cell(cell) for cell in CELLS], metadata={"kernelspec": kernel})
    folder = tmp_path_factory.mktemp("executed")
    root = str(Path(pq.__file__).parents[1])
    notebook.cells.insert(0, new_code_cell(f"import sys; sys.path.insert(0, {root!r})"))
    client.NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(folder)}}).execute()
    return notebook


def converted(exporter: str, notebook: Any, *, state: bool) -> str:
    import nbconvert

    notebook = copy.deepcopy(notebook)
    if not state:
        del notebook.metadata["widgets"]
    text, _ = getattr(nbconvert, exporter)().from_notebook_node(notebook)
    return str(text)


def test_two_outputs_per_panel_and_both_valid(executed: Any) -> None:
    nbformat.validate(executed)
    live, static = executed.cells[1].outputs
    assert set(live.data) == {VIEW, "text/plain"}
    assert live.data["text/plain"] == ""
    assert set(static.data) == {"text/html", "text/latex", "text/plain", MIMETYPE}
    assert executed.metadata["widgets"]


@pytest.mark.parametrize("state", [True, False], ids=["with state", "without state"])
@pytest.mark.parametrize("exporter", ["HTMLExporter", "MarkdownExporter"])
def test_stock_exporters_show_table_and_figures_once(executed: Any, exporter: str, state: bool) -> None:
    text = converted(exporter, executed, state=state)
    # What stands inside the stored widget state is not on the page.
    page = re.sub(r'<script type="application/vnd.jupyter.widget-state\+json">.*?</script>', "", text, flags=re.S)
    assert page.count('<div class="perchq-static ') == 2
    assert page.count('xmlns="http://www.w3.org/2000/svg"') >= 4
    for name in ("filter_0", "filter_3", "c299"):
        assert re.search(rf"<th[^>]*>[^<]*(<span[^>]*>.</span>)*{name}</th>", page), name
    assert "perchq-static-" in page
    assert "QuantPanel" not in page
    assert not re.search(r"<style>[^<]*\.perchq-static-\w+ \{ display: none", page)


@pytest.mark.parametrize("state", [True, False], ids=["with state", "without state"])
def test_the_stock_latex_exporter_shows_table_and_figures(executed: Any, state: bool) -> None:
    page = converted("LatexExporter", executed, state=state)
    assert page.count("begin{pgfpicture}") >= 4
    assert "begin{longtable}" in page
    assert "c299" in page


@pytest.mark.parametrize("state", [True, False], ids=["with state", "without state"])
def test_snapshot_refreshes_the_copy(executed: Any, state: bool) -> None:
    static = executed.cells[1].outputs[1].data
    assert static[MIMETYPE]["settings"]["dtype"] == "quint8"
    assert "quint8" in converted("HTMLExporter", executed, state=state)
    assert executed.cells[3].outputs == []
