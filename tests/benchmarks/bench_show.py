"""pq.show of a 4096 x 4096 float32 layer, from the key press that runs the cell to the drawn panel."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from browser.conftest import chromium, lab, opened  # noqa: F401 -- fixtures
from browser.lab import Page

pytestmark = [pytest.mark.bench, pytest.mark.browser]

ROUNDS = 6
FIRST = """import numpy as np
import perchq_widget as pq
rng = np.random.default_rng(0)
w = rng.standard_normal((4096, 4096), dtype=np.float32) * np.float32(0.02)
first = pq.show(w[:8, :8])
first"""


def test_show(opened: Callable[..., Page]) -> None:  # noqa: F811
    page = opened([FIRST, "big = pq.show(w)\nbig", "big.close()"])
    page.run_cell(0)
    page.panel_drawn()
    took = []
    for _ in range(ROUNDS):
        page.page.locator(".jp-CodeCell .cm-content").nth(1).click()
        start = time.perf_counter()
        page.page.keyboard.press("Shift+Enter")
        page.page.locator(".perchq-caption", has_text="(4096, 4096)").first.wait_for()
        page.page.locator(".jp-CodeCell").nth(1).locator(".perchq-table tbody tr").nth(15).wait_for()
        page.page.wait_for_function(
            "() => document.querySelectorAll('.jp-CodeCell')[1].querySelectorAll('.perchq-overview path.line')[0]"
            "?.getAttribute('d')?.length > 10000"
        )
        took.append(time.perf_counter() - start)
        page.run_cell(2)  # closes the panel, so that its output goes
    print(f"\nshow(4096 x 4096) on screen after {', '.join(f'{each:.2f}' for each in took)} s (goal 1.5)")
    assert page.errors == []
