"""The settings by keyboard and by name, as a screen reader meets them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from browser.lab import Page

pytestmark = pytest.mark.browser

SHOW = """\
import numpy as np
import perchq_widget as pq
x = np.random.default_rng(0).standard_normal((16, 256)).astype("float32")
panel = pq.show(x, observer="lp")
panel
"""
# What ipywidgets draws as a slider is a plain element, which no label reaches: each has a labelled twin (see below).
NAMELESS = """() => [...document.querySelectorAll('.perchq-panel :is(input, select, textarea, button)')]
  .filter(each => each.offsetParent !== null)
  .filter(each => ![...(each.labels || [])].some(label => label.innerText.trim())
    && !(each.tagName === 'BUTTON' && each.innerText.trim()) && !each.title && !each.ariaLabel)
  .map(each => each.outerHTML.slice(0, 200))"""


@pytest.fixture
def page(opened: Callable[..., Page]) -> Page:
    found = opened([SHOW])
    found.run_cell(0)
    found.panel_drawn()
    return found


def test_every_input_has_a_name(page: Page) -> None:
    page.page.get_by_role("button", name="Show code").click()
    page.page.get_by_role("textbox", name="Code").wait_for()
    assert page.page.evaluate(NAMELESS) == []
    panel = page.page.locator(".perchq-panel").first
    for name in ("Preset", "Number format", "Granularity", "Convention", "Observer"):
        assert panel.get_by_role("combobox", name=name, exact=True).count() == 1, name
    for name in ("Tensor name", "Channel axis", "Parameters", "Code"):
        assert panel.get_by_role("textbox", name=name, exact=True).count() == 1, name
    assert panel.get_by_role("spinbutton", name="Clip ratio").count() == 1
    assert panel.get_by_role("slider").count() == 2  # the bits, which the format names too, and the clip ratio
    assert page.errors == []


def test_bits_move_left_and_right(page: Page) -> None:
    page.page.locator(".perchq-bits .noUi-handle").focus()
    page.page.keyboard.press("ArrowLeft")
    page.page.locator(".perchq-caption", has_text="int7 affine").first.wait_for()
    page.page.keyboard.press("ArrowLeft")
    page.page.locator(".perchq-caption", has_text="int6 affine").first.wait_for()
    page.page.keyboard.press("ArrowRight")
    page.page.locator(".perchq-caption", has_text="int7 affine").first.wait_for()
    assert page.errors == []


def test_the_clip_ratio_is_typed_and_stepped(page: Page) -> None:
    number = page.page.get_by_role("spinbutton", name="Clip ratio")
    number.fill("0.9")
    number.press("Enter")
    page.page.locator(".perchq-explain small", has_text="clip_ratio 0.9").first.wait_for()
    number.press("ArrowDown")
    page.page.locator(".perchq-explain small", has_text="clip_ratio 0.895").first.wait_for()
    assert page.errors == []


def test_a_preset_is_picked(page: Page) -> None:
    page.page.get_by_role("combobox", name="Preset").select_option(label="vLLM W4A16 (int4, groups of 128)")
    page.page.locator(".perchq-caption", has_text="per group of 128, compressed-tensors").first.wait_for()
    page.page.get_by_text("PRESET_SCHEMES['W4A16']").wait_for()
    page.page.get_by_role("button", name="Reset settings").click()
    page.page.locator(".perchq-caption", has_text="qint8 affine").first.wait_for()
    assert page.errors == []
