"""A notebook saved by JupyterLab, widget state and all, converted by nbconvert and read without a network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest
from browser.lab import Page

pytestmark = pytest.mark.browser


def save(page: Page) -> None:
    """Save the notebook as a user does, and wait for the server to have it."""
    with page.page.expect_response(lambda answer: answer.request.method == "PUT" and "/api/contents/" in answer.url):
        page.page.keyboard.press("Control+s")


@pytest.mark.parametrize("state", [True, False], ids=["with state", "without state"])
def test_the_copy_is_seen_where_the_view_cannot_be_drawn(
    opened: Callable[..., Page], chromium: Any, tmp_path: Path, state: bool
) -> None:
    nbconvert = pytest.importorskip("nbconvert")
    page = opened(["import perchq_widget as pq\npanel = pq.show(reduce_range=True)\npanel"])
    page.run_cell(0)
    page.panel_drawn()
    save(page)
    notebook = nbformat.read(page.notebook, as_version=4)
    assert ("widgets" in notebook.metadata) or not state
    if not state:
        notebook.metadata.pop("widgets", None)
    text, _ = nbconvert.HTMLExporter().from_notebook_node(notebook)
    file = tmp_path / "exported.html"
    file.write_text(text, encoding="utf-8")

    reader = chromium.new_page(viewport={"width": 1000, "height": 900})
    reader.route("http*://**", lambda route: route.abort())
    reader.goto(file.as_uri())
    copy = reader.locator(".perchq-static")
    assert copy.count() == 1
    assert copy.is_visible()
    assert copy.locator("svg").count() == 2
    assert copy.get_by_text("filter_3").first.is_visible()
    assert reader.get_by_text("QuantPanel").count() == 0
    reader.close()
