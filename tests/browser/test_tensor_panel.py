"""The panel on tensors: layers, rows, pages and the slider."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from browser.lab import Lab, Page

pytestmark = pytest.mark.browser

MAKE = """\
import numpy as np
import perchq_widget as pq
rng = np.random.default_rng(0)
def weight(*shape):
    spread = np.exp(rng.normal(0, 1, (shape[0],) + (1,) * (len(shape) - 1)))
    return (rng.standard_normal(shape) * spread).astype("float32")
"""
LAYERS = "panel = pq.show({'conv1.weight': weight(16, 1, 3, 3), 'fc.weight': weight(40, 64)})\npanel"

COUNT = """\
seen, work = [], panel._pace._work
def counted():
    work()
    seen.append(panel.state.clip_ratio)
panel._pace._work = counted
"""


@pytest.fixture
def layers(opened: Callable[..., Page]) -> Page:
    page = opened([MAKE + LAYERS])
    page.run_cell(0)
    page.panel_drawn()
    return page


def test_histogram_band_and_bars_are_drawn(layers: Page) -> None:
    page = layers
    assert page.path(".perchq-histogram", "rgb(0, 114, 178)").count("L") > 100
    assert page.path(".perchq-histogram", "rgb(213, 94, 0)") != ""
    assert page.page.locator(".perchq-overview .bqplot .lines").count() <= 6
    assert page.page.locator(".perchq-table tbody tr").count() == 16
    assert page.errors == []


def test_layers_rows_and_pages(layers: Page) -> None:
    page = layers
    page.page.get_by_label("Find layer").fill("fc")
    page.page.get_by_label("Layer", exact=True).select_option(label="fc.weight · (40, 64) float32")
    page.page.locator(".perchq-caption", has_text="fc.weight").first.wait_for()
    page.page.get_by_text("rows 1–16 of 40").wait_for()
    page.page.get_by_title("Next page").click()
    page.page.get_by_text("rows 17–32 of 40").wait_for()
    name = page.page.locator(".perchq-table tbody tr").nth(3).locator("td").nth(1).inner_text()
    page.page.locator(".perchq-rows button").nth(3).click()
    page.page.locator(".perchq-histogram h4", has_text=f"channel {name} ").wait_for()
    page.page.locator(".perchq-table td.selected").first.wait_for()
    assert page.errors == []


def test_the_dark_theme_reaches_charts_and_table(opened: Callable[..., Page], lab: Lab) -> None:
    lab.theme("JupyterLab Dark")
    try:
        page = opened([MAKE + LAYERS])
        page.run_cell(0)
        page.panel_drawn()
        for part in (".perchq-overview text.axislabel", ".perchq-histogram .tick text", ".perchq-table td"):
            place = page.page.locator(part).first
            ink = place.evaluate("each => getComputedStyle(each)[each.ownerSVGElement ? 'fill' : 'color']")
            red, green, blue = (int(number) for number in re.findall(r"\d+", ink)[:3])
            assert min(red, green, blue) > 120, (part, ink)  # light, and no colour of its own
        assert page.path(".perchq-overview", "rgb(86, 180, 233)").count("L") > 60  # light enough to be seen on black
        assert page.path(".perchq-overview", "rgb(0, 114, 178)") == ""
        assert page.errors == []
    finally:
        lab.theme("JupyterLab Light")


def test_a_dragged_slider_is_answered_and_its_last_place_wins(layers: Page) -> None:
    page = layers
    page.add_cell(COUNT)
    page.page.locator(".perchq-clip-ratio .noUi-handle").focus()
    for _ in range(40):
        page.page.keyboard.press("ArrowLeft")
    page.page.wait_for_function("() => document.querySelector('.perchq-clip-ratio input').value === '0.8'")
    page.page.locator(".perchq-explain small", has_text="clip_ratio 0.8").first.wait_for()
    page.add_cell("print('views', len(seen), 'last', round(seen[-1], 6))")
    page.page.get_by_text("last 0.8").wait_for()
    assert page.errors == []
