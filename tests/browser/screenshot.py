"""Draw notebooks/panel.png again: the panel on the digits model, in JupyterLab, in an installed Chromium.

    .venv/bin/python tests/browser/screenshot.py [--out notebooks/panel.png] [--width 1400]
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from browser.conftest import FLAGS  # noqa: E402 - the path to the tests comes first
from browser.lab import Lab, Page  # noqa: E402
from needs import find_chromium  # noqa: E402
from playwright.sync_api import sync_playwright  # noqa: E402

# The controls, both charts and the table; what is below is text.
HEIGHT = 1000
CELL = """
import perchq_widget as pq
panel = pq.show("models/digits.safetensors")
panel.state.tensor = "conv2.weight"
panel
"""


def main() -> None:
    """Start JupyterLab in a temporary folder, run one cell, photograph its output."""
    parser = argparse.ArgumentParser(description="Draw the README's picture of the panel.")
    parser.add_argument("--out", type=Path, default=ROOT / "notebooks" / "panel.png")
    parser.add_argument("--width", type=int, default=1400)
    options = parser.parse_args()
    chromium = find_chromium()
    if chromium is None:
        raise SystemExit("no Chromium found; install one or set PERCHQ_CHROMIUM")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        lab = Lab(Path(folder))
        shutil.copytree(ROOT / "notebooks" / "models", lab.folder / "models")
        browser = driver.chromium.launch(executable_path=str(chromium), args=FLAGS)
        try:
            notebook = lab.notebook("panel.ipynb", [CELL.strip()])
            shoot(Page(browser, lab, notebook, width=options.width, height=HEIGHT + 400), options.out)
        finally:
            browser.close()
            lab.stop()
    print(f"wrote {options.out} ({options.out.stat().st_size // 1024} KB)")


def shoot(page: Page, out: Path) -> None:
    """Run the first cell and save its output once the charts are drawn."""
    page.run_cell()
    output = page.page.locator(".jp-CodeCell").first.locator(".jp-OutputArea-output").first
    output.locator(".bqplot svg path").first.wait_for()
    out.parent.mkdir(exist_ok=True)
    box = output.bounding_box()
    clip = {"x": box["x"] - 8, "y": box["y"], "width": box["width"] + 16, "height": min(box["height"], HEIGHT)}
    before, now = b"", page.page.screenshot(clip=clip)
    while now != before:  # charts move into place
        page.page.wait_for_timeout(500)
        before, now = now, page.page.screenshot(clip=clip)
    out.write_bytes(now)


if __name__ == "__main__":
    main()
