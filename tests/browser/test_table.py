"""The channel table in the browser: filter, finding, page, and rows on the clipboard."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from browser.lab import Page

pytestmark = pytest.mark.browser

OPEN = """\
import numpy as np
import perchq_widget as pq
rng = np.random.default_rng(0)
x = (rng.standard_normal((40, 64)) * np.exp(rng.normal(0, 1, (40, 1)))).astype("float32")
panel = pq.show(x, channel_names=[f"{'attn' if i % 4 == 0 else 'mlp'}.{i}" for i in range(40)], clip_ratio=0.6)
panel"""


@pytest.fixture
def table(opened: Callable[..., Page]) -> Page:
    page = opened([OPEN])
    page.run_cell(0)
    page.panel_drawn()
    return page


def test_text_and_finding_filter_and_the_page_is_typed(table: Page) -> None:
    page = table.page
    page.get_by_label("Find", exact=True).fill("ATTN")
    page.get_by_text("10 of 40 rows").wait_for()
    assert page.locator(".perchq-table tbody tr").count() == 10
    page.get_by_label("Find", exact=True).fill("nobody")
    page.get_by_text("No channel has").wait_for()
    assert page.locator(".perchq-table thead th").count() > 10
    page.get_by_label("Find", exact=True).fill("")
    page.get_by_text("rows 1–16 of 40").wait_for()
    page.get_by_label("Page", exact=True).fill("3")
    page.keyboard.press("Enter")
    page.get_by_text("rows 33–40 of 40").wait_for()
    chosen = page.get_by_label("Finding", exact=True).locator("option", has_text="clipped (").inner_text()
    page.get_by_label("Finding", exact=True).select_option(label=chosen)
    page.get_by_text(f"{chosen.split('(')[1].rstrip(')')} of 40 rows").wait_for()
    assert table.errors == []


@pytest.mark.parametrize(("kind", "first"), [("CSV", "channel,min,max,"), ("Markdown", "| channel | min | max |")])
def test_rows_go_to_the_clipboard(table: Page, kind: str, first: str) -> None:
    page = table.page
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_label("Find", exact=True).fill("attn")
    page.get_by_text("10 of 40 rows").wait_for()
    page.get_by_role("button", name=f"Copy {kind}").click()
    page.get_by_text(f"Copied: 10 rows as {kind}").wait_for()
    text = page.evaluate("() => navigator.clipboard.readText()")
    assert text.startswith(first)
    assert text.count("attn") == 10
    area = page.get_by_label(f"The table as {kind}")
    assert area.evaluate("each => each === document.activeElement && each.selectionEnd === each.value.length")
    assert table.errors == []
