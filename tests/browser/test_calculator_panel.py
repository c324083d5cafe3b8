"""The calculator's panel as a user meets it: type, see, correct, tune, select, export."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from typing import Any

import pytest
from browser.lab import Lab, Page

pytestmark = pytest.mark.browser

SHOW = "import perchq_widget as pq\npanel = pq.show()\npanel"


@pytest.fixture
def calculator(opened: Callable[..., Page]) -> Page:
    page = opened([SHOW])
    page.run_cell(0)
    page.panel_drawn()
    return page


def row(page: Page, name: str) -> list[str]:
    """The cells of a channel's row, marks first."""
    cells = page.page.locator(".perchq-table tbody tr", has_text=name).locator("td")
    return [text.strip() for text in cells.all_inner_texts()]


def test_the_example_is_drawn(calculator: Page) -> None:
    page = calculator
    assert page.page.locator(".perchq-table tbody tr").count() == 4
    assert row(page, "filter_1")[1:10] == [
        "filter_1", "-0.8", "0.9", "-0.21", "0.00666667", "-8", "-40", "-40", "-0.21333333",
    ]  # fmt: skip
    bars = page.path(".perchq-overview", "rgb(0, 114, 178)")
    assert bars.count("L") >= 15  # four corners for each of four bars, one path
    assert "filter_1" in page.page.locator(".perchq-explain").inner_text()
    assert page.errors == []


def test_from_a_bad_line_to_the_exports(calculator: Page, lab: Lab) -> None:
    page = calculator
    text = page.page.locator(".perchq-input textarea")
    text.press("Control+End")
    text.press_sequentially("filter_4,2,1,0.5")
    errors = page.page.locator(".perchq-line-errors")
    page.page.locator(".perchq-line-errors", has_text="line 5 filter_4,2,1,0.5").wait_for()  # answers come as one types
    assert "min > max" in errors.inner_text()
    assert page.page.locator(".perchq-table tbody tr").count() == 4
    assert text.input_value().endswith("filter_4,2,1,0.5")

    for _ in "2,1,0.5":
        text.press("Backspace")
    text.press_sequentially("1,2,1.5")
    page.page.locator(".perchq-table tbody tr").nth(4).wait_for()
    errors.wait_for(state="hidden")

    page.page.get_by_label("Reduce range").click()
    page.page.locator(".perchq-caption", has_text="-64..63").first.wait_for()
    page.page.locator(".perchq-number-line").get_by_text("codes -64…63").wait_for()
    page.page.locator(".perchq-table caption", has_text="-64..63").wait_for()
    assert row(page, "filter_0")[6] == "5"  # round(-64 + 1.2 / (2.2 / 127))

    page.click_bar(3, of=5)
    page.page.locator(".perchq-number-line h4", has_text="filter_3").wait_for()
    page.page.locator(".perchq-explain h4", has_text="filter_3").wait_for()
    page.page.locator(".perchq-table td.selected", has_text="filter_3").wait_for()

    export(page, "CSV", "tensor.csv")
    with (lab.folder / "tensor.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [each["channel"] for each in rows] == [f"filter_{i}" for i in range(5)]
    assert {each["quantized"] for each in rows} == {cells[8] for cells in (row(page, f"filter_{i}") for i in range(5))}
    export(page, "PDF", "tensor.pdf")
    assert (lab.folder / "tensor.pdf").read_bytes().startswith(b"%PDF")
    page.page.locator(".perchq-export button", has_text="CSV").click()
    page.page.locator(".perchq-export-message", has_text="Overwrite").wait_for()
    assert page.errors == []


def export(page: Page, label: str, name: str) -> None:
    page.page.locator(".perchq-export button", has_text=label).click()
    page.page.locator(".perchq-export-message", has_text=re.compile(f"✓ Wrote /.*/{name}")).wait_for()


def test_the_keyboard_reaches_rows_and_controls(calculator: Page) -> None:
    page = calculator
    button = page.page.locator(".perchq-rows button").nth(2)
    button.focus()
    assert "filter_2" in str(button.get_attribute("title"))
    page.page.keyboard.press("Enter")
    page.page.locator(".perchq-table td.selected", has_text="filter_2").wait_for()
    page.page.get_by_label("Number format").focus()
    for key in ("Alt+ArrowDown", "ArrowDown", "Enter"):  # arrows alone are JupyterLab's own, between cells
        page.page.keyboard.press(key)
    page.page.locator(".perchq-caption", has_text="quint8").first.wait_for()
    page.page.get_by_role("button", name="symmetric").focus()
    page.page.keyboard.press("Space")
    page.page.locator(".perchq-caption", has_text="quint8 symmetric").first.wait_for()
    assert page.errors == []


def bar_labels(page: Page) -> list[str]:
    ticks = page.page.locator(".perchq-overview .tick text").all_text_contents()
    return [text for text in ticks if not re.fullmatch(r"[−-]?[\d.,]+", text)]  # the other axis has numbers


def test_bars_keep_their_names_whatever_their_number(calculator: Page) -> None:
    page = calculator
    for names in ("pqrstu", "vwxyza", "bc", "defghijkl", "m"):
        text = "\n".join(f"{name},-1,1,0.5" for name in names)
        page.page.locator(".perchq-input textarea").fill(text)
        page.page.locator(".perchq-overview h4", has_text=f"SQNR of {len(names)} channel").wait_for()
        page.page.locator(".perchq-table td", has_text=re.compile(f"^{names[-1]}$")).first.wait_for()
        page.frames(10)  # a transition that ends with former names is what this is about
        assert bar_labels(page) == list(names)
    assert page.errors == []


def test_every_button_and_field_has_a_name(calculator: Page) -> None:
    page = calculator
    for name in ("Previous channel", "Next channel", "Previous page", "Next page", "Snapshot"):
        assert page.page.get_by_role("button", name=name).count() == 1, name
    assert page.page.get_by_role("button", name="Reverse").count() == 1
    assert page.page.get_by_role("textbox", name="Lines").count() == 1
    nameless = page.page.locator(".perchq-panel").evaluate(
        """panel => [...panel.querySelectorAll('button, input, textarea, select')].filter(each =>
          !each.innerText.trim() && !each.title && !each.ariaLabel && !(each.labels || []).length
          && each.type !== 'file').map(each => each.outerHTML)"""
    )
    assert nameless == []


def test_an_axis_that_is_none_stays_with_its_reason(calculator: Page) -> None:
    page = calculator
    field = page.page.get_by_label("Channel axis")
    field.fill("1.5")
    field.press("Enter")
    page.page.locator(".perchq-note", has_text="whole number").wait_for()
    assert field.input_value() == "1.5"
    page.page.locator(".perchq-banner", has_text="Shown below is the last result").wait_for()
    field.fill("2")
    field.press("Enter")
    page.page.locator(".perchq-caption", has_text="ch_axis 2").first.wait_for()
    assert page.errors == []


def test_python_moves_the_panel(calculator: Page) -> None:
    page = calculator
    page.add_cell("panel.state.dtype = 'quint8'; panel.state.channel = 'filter_0'")
    page.page.locator(".perchq-caption", has_text="quint8").first.wait_for()
    page.page.locator(".perchq-explain h4", has_text="filter_0").wait_for()
    chosen = page.page.get_by_label("Number format").evaluate("list => list.selectedOptions[0].text")
    assert chosen.startswith("quint8")
    assert page.errors == []


def test_the_static_copy_steps_back_while_the_panel_is_drawn(calculator: Page) -> None:
    page = calculator
    static = page.page.locator(".perchq-static")
    assert static.count() == 1
    assert not static.is_visible()
    before = static.inner_html()
    page.page.get_by_label("Reduce range").click()
    page.page.locator(".perchq-caption", has_text="-64..63").first.wait_for()
    page.page.get_by_role("button", name="Snapshot").click()
    page.page.locator(".perchq-export-message", has_text="static copy").wait_for()
    page.page.wait_for_function("old => document.querySelector('.perchq-static').innerHTML !== old", arg=before)
    assert "-64..63" in str(page.page.locator(".perchq-static").text_content())
    assert not page.page.locator(".perchq-static").is_visible()
    assert page.errors == []


@pytest.mark.parametrize("width", [700, 1400])
def test_nothing_sticks_out(opened: Callable[..., Page], width: int) -> None:
    page = opened([SHOW], width=width)
    page.run_cell(0)
    page.panel_drawn()
    sizes: Any = page.page.evaluate(
        """() => {
          const panel = document.querySelector('.perchq-panel'), right = panel.getBoundingClientRect().right;
          const inside = element => element.closest('.perchq-table-box') || element.closest('svg');
          return [...panel.querySelectorAll('*')].filter(each => !inside(each) && each.offsetParent
            && each.getBoundingClientRect().right > right + 1).map(each => each.className.toString());
        }"""
    )
    assert sizes == []
    assert page.errors == []
