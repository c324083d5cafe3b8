"""Formats, granularity and conventions in the panel, as a user chooses and compares them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from browser.lab import Page

pytestmark = pytest.mark.browser

SHOW = """\
import numpy as np
import perchq_widget as pq
x = np.random.default_rng(0).standard_normal((16, 256)).astype("float32")
panel = pq.show(x, scheme="symmetric")
panel
"""


@pytest.fixture
def shown(opened: Callable[..., Page]) -> Page:
    page = opened([SHOW])
    page.run_cell(0)
    page.panel_drawn()
    return page


def choose(page: Page, label: str, value: str) -> None:
    """Pick the entry of a list that begins with ``value``."""
    field = page.page.get_by_label(label, exact=True)
    texts = field.locator("option").all_text_contents()
    field.select_option(label=next(text for text in texts if text.split()[0] == value))


def test_a_format_brings_what_it_needs_and_only_its_controls(shown: Page) -> None:
    page = shown
    assert not page.page.get_by_label("Group size").is_visible()
    choose(page, "Number format", "mxfp4")
    page.page.locator(".perchq-caption", has_text="mxfp4").first.wait_for()
    assert page.page.get_by_label("Convention", exact=True).evaluate("e => e.selectedOptions[0].text").startswith("ocp")
    assert page.page.get_by_label("Scale rule").is_visible()
    assert not page.page.get_by_label("Reduce range").is_visible()
    choose(page, "Scale rule", "even")
    page.page.locator(".perchq-explain", has_text="even").wait_for()
    page.panel_drawn()
    assert page.page.locator(".perchq-table td", has_text="–").count() >= 16
    assert page.errors == []


def test_groups_by_typing_a_size(shown: Page) -> None:
    page = shown
    choose(page, "Number format", "int4")
    choose(page, "Convention", "torchao")
    page.page.locator(".perchq-caption", has_text="torchao").first.wait_for()  # which has groups
    choose(page, "Granularity", "group")
    field = page.page.get_by_label("Group size")
    field.wait_for()
    assert field.input_value() == "128"
    field.fill("32")
    field.press("Enter")
    page.page.locator(".perchq-explain h4", has_text="of 8, elements").wait_for()
    field.fill("100")
    field.press("Enter")
    page.page.locator(".perchq-note", has_text="must divide").wait_for()
    field.fill("16x64")
    field.press("Enter")
    page.page.locator(".perchq-caption", has_text="block").first.wait_for()
    assert page.errors == []


def test_comparing_and_choosing_a_convention(shown: Page) -> None:
    page = shown
    table = page.page.locator(".perchq-compared")
    assert page.page.locator(".perchq-comparison:visible").count() == 0
    page.page.get_by_role("button", name="Compare conventions").click()
    page.page.locator(".perchq-comparison:visible", has_text="Click a row to use it").wait_for()
    assert page.page.get_by_role("table").filter(has=page.page.locator("caption", has_text="in use")).count() == 1
    names = table.locator("tbody th").all_text_contents()
    assert names[0] == "pytorch"
    assert "tensorrt" in names
    row = table.locator("tbody tr").nth(names.index("tensorrt"))
    assert row.locator("td").nth(1).inner_text().endswith("%")
    assert "TensorRT engines" in row.inner_text()
    button = page.page.locator(".perchq-compared-rows button").nth(names.index("tensorrt"))
    one, other = row.bounding_box(), button.bounding_box()
    assert one is not None
    assert other is not None
    assert abs(one["y"] - other["y"]) < 2  # each button lies on its row
    assert abs(one["height"] - other["height"]) < 2
    row.click(force=True)
    page.page.locator(".perchq-caption", has_text="tensorrt").first.wait_for()
    table.locator("tr.selected", has_text="tensorrt").wait_for()
    page.page.locator(".perchq-compared-rows button").first.focus()
    page.page.keyboard.press("Enter")
    page.page.locator(".perchq-caption", has_text="pytorch").first.wait_for()
    choose(page, "Number format", "int6")
    page.page.locator(".perchq-comparison", has_text="press Compare conventions again").wait_for()
    page.page.get_by_role("button", name="Hide").click()
    page.page.locator(".perchq-comparison:not(.perchq-bakeoff)").wait_for(state="hidden")
    assert page.errors == []


@pytest.mark.parametrize("width", [700, 1400])
def test_nothing_sticks_out_while_comparing(opened: Callable[..., Page], width: int) -> None:
    page = opened([SHOW], width=width)
    page.run_cell(0)
    page.panel_drawn()
    page.page.get_by_role("button", name="Compare conventions").click()
    page.page.locator(".perchq-comparison:visible", has_text="Click a row to use it").wait_for()
    outside = page.page.evaluate(
        """() => {
          const panel = document.querySelector('.perchq-panel'), box = panel.getBoundingClientRect();
          const inside = element => element.closest('.perchq-table-box') || element.closest('svg');
          return [...panel.querySelectorAll('*')].filter(each => !inside(each) && each.offsetParent
            && (each.getBoundingClientRect().right > box.right + 1
              || each.getBoundingClientRect().left < box.left - 1)).map(each => each.className.toString());
        }"""
    )
    assert outside == []
    names = page.page.locator(".perchq-compared tbody tr").evaluate_all(
        "rows => rows.map(row => row.getBoundingClientRect().height)"
    )
    assert max(names) - min(names) < 1.5  # rows are as high as the buttons on them
    assert page.errors == []
