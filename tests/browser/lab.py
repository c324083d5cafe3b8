"""A real JupyterLab in a folder of its own, and one notebook of it in a browser."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nbformat
from nbformat.v4 import new_code_cell, new_notebook

ROOT = Path(__file__).parents[2]
WAIT_MS = 60_000  # two busy cores take their time
_RUNNING = re.compile(r"http://127\.0\.0\.1:(\d+)/")
_QUIET = {
    "@jupyterlab/apputils-extension:announcements": True,
    "@jupyterlab/extensionmanager-extension": True,
}


class Lab:
    """The server: reads and writes ``folder``, knows no token, answers on a free port of this machine alone."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "work"
        self.folder.mkdir()
        self._settings = folder / "settings"
        self._set("@jupyter-widgets/jupyterlab-manager", "plugin", {"saveState": True})
        config = folder / "config"
        (config / "labconfig").mkdir(parents=True)
        (config / "labconfig" / "page_config.json").write_text(json.dumps({"disabledExtensions": _QUIET}))
        own = {
            "HOME": str(folder), "JUPYTER_CONFIG_DIR": str(config), "JUPYTER_DATA_DIR": str(folder / "data"),
            "JUPYTER_RUNTIME_DIR": str(folder / "runtime"), "JUPYTERLAB_SETTINGS_DIR": str(self._settings),
            "IPYTHONDIR": str(folder / "ipython"), "PYTHONPATH": str(ROOT), "PYDEVD_DISABLE_FILE_VALIDATION": "1",
        }
        self.process = subprocess.Popen(
            [
                sys.executable, "-m", "jupyterlab", "--no-browser", "--ip=127.0.0.1", "--port=0", "--allow-root",
                "--ServerApp.token=", "--ServerApp.password=", "--ServerApp.disable_check_xsrf=True",
                "--LabApp.extension_manager=readonly", f"--ServerApp.root_dir={self.folder}",
            ],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, **own},
        )
        self.url = self._wait_for_url()

    def _wait_for_url(self) -> str:
        assert self.process.stdout is not None
        said = []
        for line in self.process.stdout:
            said.append(line)
            found = _RUNNING.search(line)
            if found and found.group(1) != "0":
                return f"http://127.0.0.1:{found.group(1)}"
        raise RuntimeError(f"JupyterLab did not start:\n{''.join(said)}")

    def theme(self, name: str) -> None:
        """Choose "JupyterLab Light" or "JupyterLab Dark" for pages opened from now on."""
        self._set("@jupyterlab/apputils-extension", "themes", {"theme": name})

    def _set(self, extension: str, plugin: str, values: dict[str, object]) -> None:
        file = self._settings / extension / f"{plugin}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(values))

    def notebook(self, name: str, cells: Sequence[str]) -> Path:
        """Write a notebook whose cells are still to be run."""
        kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
        made = new_notebook(cells=[new_code_cell(cell) for cell in cells], metadata={"kernelspec": kernel})
        path = self.folder / name
        nbformat.write(made, path)
        return path

    def stop(self) -> None:
        """End the server and its kernels."""
        self.process.terminate()
        self.process.communicate(timeout=30)


class Page:
    """One notebook in the browser; collects what the console complains about."""

    def __init__(self, browser: Any, lab: Lab, notebook: Path, *, width: int = 1400, height: int = 1000) -> None:
        self.notebook = notebook
        self.errors: list[str] = []
        self.page = browser.new_page(viewport={"width": width, "height": height})
        self.page.set_default_timeout(WAIT_MS)
        self.page.on("console", self._heard)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.goto(f"{lab.url}/doc/tree/{notebook.name}?reset")
        self.page.locator(".jp-Notebook .jp-CodeCell").first.wait_for()
        # The toolbar's own indicator says idle before there is a kernel; the status bar names both.
        self.page.get_by_text("| Idle").first.wait_for()

    def _heard(self, message: Any) -> None:
        if message.type == "error":
            self.errors.append(message.text)

    def run_cell(self, index: int = 0) -> None:
        """Run a cell as a user does."""
        self.page.locator(".jp-CodeCell .cm-content").nth(index).click()
        self.page.keyboard.press("Shift+Enter")

    def add_cell(self, code: str) -> None:
        """Type ``code`` into the last cell, which a run leaves empty, and run it."""
        last = self.page.locator(".jp-CodeCell .cm-content").last
        last.click()
        self.page.keyboard.insert_text(code)
        self.page.keyboard.press("Shift+Enter")

    def panel_drawn(self) -> None:
        """Wait until charts and table of the first panel stand."""
        self.page.locator(".perchq-panel .perchq-table tbody tr").first.wait_for()
        self.page.wait_for_function(
            "() => [...document.querySelectorAll('.perchq-figure')].every(figure => "
            "[...figure.querySelectorAll('path.line')].some(path => path.getAttribute('d')))"
        )

    def frames(self, count: int) -> None:
        """Let the browser draw ``count`` times, so that transitions without duration are over."""
        self.page.evaluate(
            """count => new Promise(done => {
              const next = left => left ? requestAnimationFrame(() => next(left - 1)) : done();
              next(count);
            })""",
            count,
        )

    def path(self, chart: str, stroke: str) -> str:
        """The longest path of that colour in a chart, as its drawing commands."""
        found = self.page.locator(f"{chart} path.line").evaluate_all(
            "(paths, stroke) => paths.filter(path => getComputedStyle(path).stroke === stroke)"
            ".map(path => path.getAttribute('d') || '')",
            stroke,
        )
        return max(found, key=len, default="")

    def click_bar(self, index: int, of: int) -> None:
        """Click the middle of a bar in the overview, near its foot."""
        box = self.page.locator(".perchq-overview .plotarea_background").bounding_box()
        assert box is not None
        x = box["x"] + box["width"] * (index + 0.6) / (of + 0.2)
        self.page.mouse.click(x, box["y"] + box["height"] * 0.9)

    def close(self) -> None:
        """Close the page."""
        self.page.close()
