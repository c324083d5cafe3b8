"""JupyterLab and Chromium, started once for all tests of this folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import needs
import pytest
from browser.lab import Lab, Page

FLAGS = [
    "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    path = needs.chromium()
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    pytest.importorskip("jupyterlab", reason="jupyterlab is not installed")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=str(path), args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def lab(chromium: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    server = Lab(tmp_path_factory.mktemp("lab"))
    yield server
    server.stop()


@pytest.fixture
def opened(chromium: Any, lab: Lab, request: pytest.FixtureRequest) -> Iterator[Callable[..., Page]]:
    pages: list[Page] = []

    def open_notebook(cells: Sequence[str], **size: int) -> Page:
        notebook = lab.notebook(f"{request.node.name}-{len(pages)}.ipynb", cells)
        pages.append(Page(chromium, lab, notebook, **size))
        return pages[-1]

    yield open_notebook
    for page in pages:
        page.close()
