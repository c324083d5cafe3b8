"""The panel without a mouse and without eyes: names, keys, what is said, focus that can be seen."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from browser.lab import Page

pytestmark = pytest.mark.browser

OPEN = """\
import numpy as np
import perchq_widget as pq
rng = np.random.default_rng(0)
x = (rng.standard_normal((40, 64)) * np.exp(rng.normal(0, 1, (40, 1)))).astype("float32")
panel = pq.show(x)
panel"""
NAMELESS = re.compile(r"^\s*- (button|textbox|combobox|slider|spinbutton|checkbox|listbox|img)\s*(\[.*\])*:?$")
FOCUSED = """() => { const e = document.activeElement;
  return [e.title, getComputedStyle(e).outlineStyle, e.closest('.perchq-panel') !== null] }"""


@pytest.fixture
def tensor(opened: Callable[..., Page]) -> Page:
    page = opened([OPEN])
    page.run_cell(0)
    page.panel_drawn()
    return page


def test_every_control_and_chart_has_a_name(tensor: Page) -> None:
    page = tensor.page
    page.locator(".noUi-handle[aria-label='Clip ratio']").wait_for()
    said = page.locator(".perchq-panel").aria_snapshot().splitlines()
    assert len(said) > 100
    nameless = [line for line in said if NAMELESS.match(line)]
    assert nameless == [], nameless
    assert page.locator(".perchq-table thead th:not([scope=col])").count() == 0
    assert page.locator(".perchq-panel [role=status]").count() > 0
    assert page.get_by_role("button", name="affine").get_attribute("aria-pressed") == "true"


def test_rows_are_reached_and_chosen_by_key(tensor: Page) -> None:
    page = tensor.page
    page.get_by_title("Next page").focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    for _ in range(3):
        page.keyboard.press("Tab")
    title, outline, inside = page.evaluate(FOCUSED)
    assert inside
    assert title.startswith("Select channel ")
    assert outline == "solid"
    name = page.locator(".perchq-table tbody tr").nth(3).locator("td").nth(1).inner_text()
    assert title == f"Select channel {name}"
    page.keyboard.press("Enter")
    page.locator(".perchq-histogram h4", has_text=f"channel {name} ").wait_for()
    page.locator(".perchq-table tbody tr").nth(3).locator("td.selected").first.wait_for()
    assert tensor.errors == []


def test_arrow_keys_move_the_clip_slider(tensor: Page) -> None:
    page = tensor.page
    page.get_by_role("slider", name="Clip ratio").focus()
    assert page.evaluate(FOCUSED)[1] == "solid"
    before = page.locator(".perchq-tiles").inner_text()
    for _ in range(20):
        page.keyboard.press("ArrowLeft")
    page.locator(".perchq-explain small", has_text="clip_ratio 0.9").first.wait_for()
    assert page.locator(".perchq-tiles").inner_text() != before
    assert tensor.errors == []


def test_tab_visits_the_table_s_controls_as_the_eye_does(tensor: Page) -> None:
    page = tensor.page
    page.get_by_label("Find", exact=True).focus()
    places = []
    for _ in range(12):
        places.append(page.evaluate(
            "() => { const b = document.activeElement.getBoundingClientRect(); return [b.top + b.height / 2, b.left] }"
        ))
        page.keyboard.press("Tab")
    lines = [(round(top / 20), left) for top, left in places]
    assert lines == sorted(lines)
