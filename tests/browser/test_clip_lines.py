"""Clip lines and the error curve as a user meets them: drag a line, click the curve, and all channels answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from browser.lab import Page

pytestmark = pytest.mark.browser

SHOW = """\
import numpy as np
import perchq_widget as pq
x = (np.random.default_rng(0).standard_normal((16, 512)) * 0.02).astype("float32")
x[:, 3] *= 6
panel = pq.show(x, dtype="int4", convention="torchao", scheme="symmetric", channel=3)
panel
"""
HANDLE = ".perchq-histogram .brushintsel .handle--"


@pytest.fixture
def shown(opened: Callable[..., Page]) -> Page:
    page = opened([SHOW])
    page.run_cell(0)
    page.panel_drawn()
    page.page.locator(f"{HANDLE}e").wait_for(state="attached")
    return page


def middle(page: Page, place: str) -> tuple[float, float]:
    box = page.page.locator(place).bounding_box()
    assert box is not None
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def drag(page: Page, side: str, share: float) -> None:
    """Take hold of a line and pull it to ``share`` of its way from the other one, in steps."""
    page.page.locator(".perchq-histogram").scroll_into_view_if_needed()
    (x, y), (other, _) = middle(page, HANDLE + side), middle(page, HANDLE + ("w" if side == "e" else "e"))
    mouse = page.page.mouse
    mouse.move(x, y)
    mouse.down()
    for step in range(1, 9):
        mouse.move(x + (other - x) * (1 - share) * step / 8, y)
        page.frames(2)
    mouse.up()


def slider(page: Page) -> float:
    """What the clip ratio's control shows."""
    return float(page.page.locator(".perchq-field", has_text="Clip ratio").locator(".widget-readout").inner_text())


def answered(page: Page, chart: str, stroke: str, before: str) -> None:
    """Wait until the longest path of that colour in the chart is another."""
    page.page.wait_for_function(
        """([chart, stroke, before]) => {
          const paths = [...document.querySelectorAll(`${chart} path.line`)]
            .filter(path => getComputedStyle(path).stroke === stroke).map(path => path.getAttribute('d') || '');
          return paths.reduce((a, b) => b.length > a.length ? b : a, '') !== before;
        }""",
        arg=[chart, stroke, before],
    )


def table(page: Page) -> list[str]:
    return page.page.locator(".perchq-table tbody tr").all_inner_texts()


@pytest.mark.parametrize("side", ["w", "e"])
def test_a_dragged_line_sets_the_ratio_and_all_channels_answer(shown: Page, side: str) -> None:
    page = shown
    rows, clipped = table(page), page.path(".perchq-overview", "rgb(213, 94, 0)")
    lines = page.path(".perchq-histogram", "rgb(213, 94, 0)")
    drag(page, side, 0.75)
    page.page.wait_for_function(
        "() => { const text = [...document.querySelectorAll('.perchq-field')].find(each => "
        "each.innerText.includes('Clip ratio')).querySelector('.widget-readout').innerText; return +text < 0.8; }"
    )
    answered(page, ".perchq-histogram", "rgb(213, 94, 0)", lines)
    answered(page, ".perchq-overview", "rgb(213, 94, 0)", clipped)
    page.page.wait_for_function("was => document.querySelector('.perchq-table tbody').innerText !== was", arg=rows)
    page.page.locator(".perchq-curve", has_text="now 1:").wait_for(state="detached")
    # about half of the way from the middle to the end: three quarters of the way from the other line
    assert 0.4 < slider(page) < 0.6
    page.page.wait_for_function(  # both lines moved, and the handles with them
        """([west, east]) => {
          const middle = each => { const b = document.querySelector(each).getBoundingClientRect();
            return b.x + b.width / 2; };
          const d = [...document.querySelectorAll('.perchq-histogram path.line')]
            .filter(path => getComputedStyle(path).stroke === 'rgb(213, 94, 0)')
            .map(path => path.getBoundingClientRect()).filter(b => b.height > 50).map(b => b.x).sort((a, b) => a - b);
          return d.length === 2 && Math.abs(middle(west) - d[0]) < 4 && Math.abs(middle(east) - d[1]) < 4;
        }""",
        arg=[f"{HANDLE}w", f"{HANDLE}e"],
    )
    assert page.errors == []


def test_only_the_lines_can_be_taken_hold_of(shown: Page) -> None:
    page = shown
    box: Any = page.page.locator(".perchq-histogram .plotarea_background").bounding_box()
    y = box["y"] + box["height"] / 2
    page.page.mouse.move(box["x"] + box["width"] * 0.4, y)
    page.page.mouse.down()
    page.page.mouse.move(box["x"] + box["width"] * 0.55, y)
    page.page.mouse.up()
    page.frames(3)
    assert slider(page) == 1.0
    assert page.page.locator(f"{HANDLE}w").bounding_box() is not None
    assert page.errors == []


def test_a_click_on_the_curve_and_the_optimum(shown: Page) -> None:
    page = shown
    place = page.page.locator(".perchq-curve .plotarea_background")
    place.scroll_into_view_if_needed()
    box: Any = place.bounding_box()
    page.page.mouse.click(box["x"] + box["width"] * 0.3, box["y"] + box["height"] * 0.5)
    page.page.locator(".perchq-curve", has_text="now 0.3").wait_for()
    assert slider(page) == pytest.approx(0.3, abs=0.01)
    page.page.get_by_role("button", name="Use optimum").focus()
    page.page.keyboard.press("Enter")
    page.page.locator(".perchq-curve", has_text="now 0.3").wait_for(state="detached")
    words = page.page.locator(".perchq-curve .perchq-legend").inner_text()
    best, now = (words.split(name)[1].split(":")[0].strip() for name in ("optimum", "now"))
    assert best == now
    page.page.get_by_role("button", name="Log counts").click()
    page.page.get_by_role("button", name="Linear counts").wait_for()
    page.page.get_by_role("button", name="MSE").click()
    page.page.locator(".perchq-curve", has_text="MSE").first.wait_for()
    assert page.errors == []


@pytest.mark.parametrize("width", [700, 1400])
def test_shares_and_buttons_stay_inside(opened: Callable[..., Page], width: int) -> None:
    page = opened([SHOW.replace('channel=3)', 'channel=3, clip_ratio=0.9)')], width=width)
    page.run_cell(0)
    page.panel_drawn()
    outside = page.page.evaluate(
        """() => ['.perchq-histogram', '.perchq-curve'].flatMap(chart => {
          const box = document.querySelector(chart).getBoundingClientRect();
          const parts = [...document.querySelectorAll(`${chart} button, ${chart} .label, ${chart} .perchq-key`)];
          const places = parts.map(each => each.getBoundingClientRect()).filter(b => b.width);
          return places.filter(b => b.left < box.left - 1 || b.right > box.right + 1 || b.top < box.top - 1
            || b.bottom > box.bottom + 1).map(b => [chart, b.x, b.y]);
        })"""
    )
    assert outside == []
    overlap = page.page.evaluate(
        """() => ['.perchq-histogram', '.perchq-curve'].map(chart => {
          const title = document.createRange();
          title.selectNodeContents(document.querySelector(`${chart} h4`));
          const b = title.getBoundingClientRect();
          return [...document.querySelectorAll(`${chart} button`)].filter(each => {
            const r = each.getBoundingClientRect();
            return r.width && r.left < b.right && r.top < b.bottom; }).length; })"""
    )
    assert overlap == [0, 0]
    assert page.errors == []


def test_a_format_without_ratios_says_so_and_draws_nothing_broken(shown: Page) -> None:
    page = shown
    for dtype, curves in (("nf4", 0), ("int4", 1), ("nf4", 0)):
        field = page.page.get_by_label("Number format", exact=True)
        texts = field.locator("option").all_text_contents()
        field.select_option(label=next(text for text in texts if text.split()[0] == dtype))
        page.page.locator(".perchq-caption", has_text=dtype).first.wait_for()
        place = page.page.locator(".perchq-curve .bqplot svg").first
        place.wait_for(state="visible" if curves else "detached")
        page.frames(3)
        reason = page.page.locator(".perchq-curve", has_text="no curve:")
        assert reason.count() == 1 - curves
        assert page.page.locator(f"{HANDLE}e").count() == curves
    assert page.errors == []
