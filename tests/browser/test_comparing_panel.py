"""Pins, the difference from one, and the bake-off of observers, as a user works with them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from browser.lab import Page

pytestmark = pytest.mark.browser

SHOW = """\
import numpy as np
import perchq_widget as pq
x = np.random.default_rng(0).standard_normal((16, 256)).astype("float32")
panel = pq.show(x)
panel
"""


@pytest.fixture(params=[700, 1400])
def shown(opened: Callable[..., Page], request: pytest.FixtureRequest) -> Page:
    page = opened([SHOW], width=request.param)
    page.run_cell(0)
    page.panel_drawn()
    return page


def outside(page: Page) -> list[str]:
    """What sticks out of the panel to a side, but for tables, which scroll."""
    found: list[str] = page.page.evaluate(
        """() => {
          const panel = document.querySelector('.perchq-panel'), box = panel.getBoundingClientRect();
          const inside = element => element.closest('.perchq-table-box') || element.closest('svg');
          return [...panel.querySelectorAll('*')].filter(each => !inside(each) && each.offsetParent
            && (each.getBoundingClientRect().right > box.right + 1
              || each.getBoundingClientRect().left < box.left - 1)).map(each => each.className.toString());
        }"""
    )
    return found


def test_pin_change_compare_and_go_back(shown: Page) -> None:
    page, pins = shown.page, shown.page.locator(".perchq-pins")
    field = page.get_by_label("Pin as")
    assert field.get_attribute("placeholder") == "qint8 affine"
    field.fill("<i>first</i>")
    pins.locator("button[title^='Keep these settings']").click()
    pins.get_by_role("button", name="<i>first</i> · baseline").wait_for()
    assert field.input_value() == ""
    assert pins.locator("i", has_text="first").count() == 0  # a name is text
    page.locator(".widget-toggle-buttons button", has_text="symmetric").click()
    pins.locator(".perchq-delta-line", has_text="Now against <i>first</i>").filter(has_text="dB)").wait_for()
    shown.frames(10)
    assert shown.path(".perchq-delta", "rgb(0, 114, 178)").count("L") > 16
    assert outside(shown) == []
    pins.get_by_role("button", name="Restore settings of <i>first</i>").click()
    pins.locator(".perchq-delta-line", has_text="same 16").wait_for()
    pins.get_by_role("button", name="Remove pin <i>first</i>").click()
    pins.locator(".perchq-chip").wait_for(state="detached")
    assert not pins.locator(".perchq-delta").is_visible()
    assert shown.errors == []


def test_comparing_observers(shown: Page) -> None:
    page = shown.page
    assert not page.locator(".perchq-bakeoff").is_visible()
    page.get_by_role("button", name="Compare observers").click()
    page.locator(".perchq-bakeoff", has_text="Click a row to use it").wait_for()
    rows = page.locator(".perchq-baked tbody tr")
    overlay = page.locator(".perchq-bakeoff .perchq-rows button")
    assert rows.count() == overlay.count() >= 1
    for place in range(rows.count()):
        row, button = rows.nth(place).bounding_box(), overlay.nth(place).bounding_box()
        assert row is not None
        assert button is not None
        assert abs(row["y"] - button["y"]) < 3  # a button lies over its row
    assert outside(shown) == []
    hide = page.locator(".perchq-bakeoff").get_by_role("button", name="Hide")
    assert hide.evaluate("button => button.scrollWidth <= button.clientWidth + 1")
    hide.click()
    page.locator(".perchq-bakeoff").wait_for(state="hidden")
    assert shown.errors == []
