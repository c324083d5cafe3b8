"""The HTML page and fragment: complete, alone, harmless, cheap."""

from __future__ import annotations

import re

import pytest
from bs4 import BeautifulSoup
from report.samples import HOSTILE_NAMES, calculator, hostile, tensor

from perchq_widget.report.html import html_fragment, html_page
from perchq_widget.report.text import clean_name

ALLOWED = {
    "html", "head", "meta", "title", "style", "body", "main", "div", "h1", "h2", "p", "table", "caption", "thead",
    "tbody", "tr", "th", "td", "span", "b", "i", "ul", "li", "code", "figure", "details", "summary",
    "svg", "g", "path", "rect", "line", "circle", "text",
}  # fmt: skip
REPORTS = {"calculator": calculator, "hostile": hostile, "tensor": tensor, "large": lambda: tensor(300)}


def soup_of(html: str) -> BeautifulSoup:
    return BeautifulSoup(html, "html.parser")


@pytest.mark.parametrize("name", REPORTS)
@pytest.mark.parametrize("render", [html_page, html_fragment])
def test_holds_nothing_but_text_tables_and_figures(name: str, render: object) -> None:
    html = render(REPORTS[name]().document())  # type: ignore[operator]
    soup = soup_of(html)
    assert {tag.name for tag in soup.find_all()} <= ALLOWED
    assert not [tag for tag in soup.find_all() if {"src", "href", "xlink:href", "style"} & set(tag.attrs)]
    assert not [key for tag in soup.find_all() for key in tag.attrs if key.startswith("on")]
    assert not re.search(r"@import|url\(|javascript:", html)
    assert set(re.findall(r"https?://[^\"' <]+", html)) <= {"http://www.w3.org/2000/svg"}
    html.encode("utf-8")


@pytest.mark.parametrize("name", REPORTS)
def test_tags_are_balanced(name: str) -> None:
    """A strict parser agrees on the structure, so no text opened or closed anything."""
    from xml.etree import ElementTree

    fragment = html_fragment(REPORTS[name]().document())
    body = re.sub(r"<style>.*?</style>", "", fragment).replace('<details class="pq-rules" open>', "<details>")
    assert ElementTree.fromstring(body).tag == "div"


def test_shows_the_example_to_every_printed_digit() -> None:
    table = soup_of(calculator()._repr_html_()).find_all("table")[-1]
    rows = [[cell.get_text() for cell in row.find_all(["th", "td"])] for row in table.tbody.find_all("tr")]
    expected = {
        "filter_0": ["-1.2", "1", "0.73", "0.00862745", "11", "96", "96", "0.73333333", "no"],
        "filter_1": ["-0.8", "0.9", "-0.21", "0.00666667", "-8", "-40", "-40", "-0.21333333", "no"],
        "filter_2": ["-1.5", "1.7", "1.11", "0.01254902", "-8", "80", "80", "1.10431373", "no"],
        "filter_3": ["-0.45", "0.6", "0.18", "0.00411765", "-19", "25", "25", "0.18117647", "no"],
    }
    assert {row[0]: row[1:10] for row in rows} == expected


def test_sections_are_there() -> None:
    text = soup_of(html_page(calculator().document())).get_text(" ")
    parts = (
        "Summary", "Settings", "Lines left out (1)", "missing field", "how -0.21 becomes a code", "Channels",
        "Convention: Textbook formulas", "calculator", "qint8", "perchq_widget", "SQNR of 4 channels",
    )  # fmt: skip
    for part in parts:
        assert part in text


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_hostile_names_are_shown_as_text(name: str) -> None:
    table = soup_of(hostile()._repr_html_()).find_all("table")[-1]
    shown = [row.th.get_text().lstrip("▲▼") for row in table.tbody.find_all("tr")]
    assert clean_name(name) in shown


def test_rows_that_stand_out_carry_marks_beside_colours() -> None:
    import perchq_widget as pq

    report = pq.calculate("fine,-1,1,0.5\nclipped,-1,1,5\nlow,-1,1,0.004")
    rows = soup_of(report._repr_html_()).find_all("table")[-1].tbody.find_all("tr")
    marks = ["".join(mark.get_text() for mark in row.find_all("span")) for row in rows]
    assert marks == ["", "▲▼", "▼"]
    assert [row["class"] for row in rows][1] == ["pq-row", "pq-row-clipped", "pq-row-low_sqnr"]


def test_many_channels_show_the_worst_and_where_the_rest_is() -> None:
    soup = soup_of(html_page(tensor(300).document()))
    table = soup.find_all("table")[-1]
    assert len(table.tbody.find_all("tr")) == 100
    assert table.tbody.tr.th.get_text().lstrip("▲▼") == tensor(300).summary["worst_channel"]
    assert "of 300" in soup.get_text()
    assert "CSV" in soup.get_text()


def test_up_to_200_channels_show_all_in_order() -> None:
    rows = soup_of(html_page(tensor(200).document())).find_all("table")[-1].tbody.find_all("tr")
    assert [row.th.get_text().lstrip("▲▼") for row in rows] == [str(index) for index in range(200)]


def test_figures_of_strangers_are_left_out() -> None:
    document = calculator().document()
    document["figures"]["histogram"] = "<script>alert(1)</script>"
    assert "<script" not in html_page(document)


def test_a_fragment_survives_markdown() -> None:
    """No blank line and no indentation: either would end the HTML block or turn it into code."""
    assert "\n" not in calculator()._repr_html_()
    assert "\n" not in hostile()._repr_html_()


def test_the_page_forbids_scripts_and_follows_the_readers_theme() -> None:
    page = html_page(calculator().document())
    assert "default-src 'none'" in page
    assert "color-scheme:light dark" in page
    assert page.startswith("<!DOCTYPE html>")


def test_style_is_scoped() -> None:
    css = soup_of(calculator()._repr_html_()).style.get_text()
    selectors = re.findall(r"(?:^|[{}])([^{}@]+)\{", css.replace("@media print{", "").replace("@page pq-wide{", "pq{"))
    for selector in selectors:
        assert all(part.strip().startswith((".pq-", "pq")) for part in selector.split(",")), selector
