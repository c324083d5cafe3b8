"""The table's filter, pages, waiting cells, differences and copies; what a move may cost; colours that can be read."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import numpy as np
import pandas as pd
import pytest
from panel.samples import weight

import perchq_widget as pq
from perchq_widget.panel import copying
from perchq_widget.panel.app import QuantPanel
from perchq_widget.panel.style import sheet
from perchq_widget.panel.table_html import WAITING, page_html

NAMES = [f"{'attn' if i % 4 == 0 else 'Mlp'}.{i}" for i in range(40)]
MOST_BYTES = 40_000


@pytest.fixture
def named(alive: set[str]) -> QuantPanel:
    del alive
    return pq.show(weight(40, 64), channel_names=NAMES, clip_ratio=0.7)


def shown(panel: QuantPanel) -> list[str]:
    """Names of the rows on the page, as the browser gets them."""
    return re.findall(r"<tr>\s*<td[^>]*>.*?</td>\s*<td[^>]*>(.*?)</td>", panel.table.html.value, re.DOTALL)


def test_find_keeps_rows_by_part_of_their_name(named: QuantPanel) -> None:
    named.table.find.value = "ATTN"
    assert named.state.find == "ATTN"
    assert set(shown(named)) == {name for name in NAMES if name.startswith("attn")}
    assert "10 of 40 rows" in named.table.place.value
    assert len(named.table._overlay.children) == 10
    named.table.find.value = ""
    assert "rows 1–16 of 40" in named.table.place.value


def test_find_takes_a_span_of_positions(named: QuantPanel) -> None:
    named.state.sort = "given"
    named.state.find = "10-12"
    assert shown(named) == NAMES[10:13]
    named.state.find = "38-99"
    assert shown(named) == NAMES[38:]


def test_findings_are_offered_with_their_counts_and_filter(named: QuantPanel) -> None:
    column = named.report.table["findings"]
    counts = {name: int(column.map(lambda text, name=name: name in text.split("; ")).sum())
              for name in {each for text in column for each in text.split("; ") if each}}  # fmt: skip
    assert counts
    offered = {value: label for label, value in named.table.finding.options}
    assert set(offered) == {"", *counts}
    for name, count in counts.items():
        assert f"({count:,})" in offered[name]
        named.table.finding.value = name
        assert len(named.view.order) == count
        assert all(name in column[row].split("; ") for row in named.view.order)
    named.table.finding.value = ""
    assert named.state.finding is None
    assert len(named.view.order) == 40


def test_a_calculators_rows_filter_by_finding_too(alive: set[str]) -> None:
    del alive
    lines = "".join(f"c{i},-1,1,{0.5 if i % 2 else 9}\n" for i in range(30))
    panel = pq.show(lines)
    panel.state.finding = "clipped"
    assert len(panel.view.order) == 15  # more than a list of findings names one by one
    assert panel.view.finding_counts["clipped"] == 15


def test_nothing_found_is_said_and_the_head_stays(named: QuantPanel) -> None:
    named.state.find = "<conv>"
    assert named.view.order == ()
    assert "No channel has" in named.table.note.value
    assert "<conv>" not in named.table.note.value
    assert "<th" in named.table.html.value
    assert shown(named) == []
    assert named.table._overlay.children == ()
    named.selector.next.click()  # nowhere to go, and no failure
    named.state.find = ""
    assert named.table.note.value == ""
    named.state.finding = "no-such-finding"
    assert "no-such-finding" in named.table.note.value
    assert named.table.finding.value == "no-such-finding"


def test_a_selected_channel_that_the_filter_hides_stays_selected(named: QuantPanel) -> None:
    named.state.find = "attn"
    named.state.channel = "Mlp.3"
    assert named.view.channel == "Mlp.3"
    assert named.view.place is None
    assert "Mlp.3" in named.chart._title.value
    assert "leaves its row out" in named.table.note.value
    named.selector.next.click()
    assert named.view.place == 0
    named.state.channel = "Mlp.3"
    named.selector.previous.click()
    assert named.view.place == 9
    assert named.table.note.value == ""


def test_filter_and_sort_go_together_and_begin_on_the_first_page(named: QuantPanel) -> None:
    named.state.page = 2
    named.state.find = "mlp"
    assert named.view.page == 0
    named.state.sort, named.state.descending = "scale", True
    assert named.view.table is not None
    scale = named.view.table["scale"].to_numpy()[list(named.view.order)]
    assert len(scale) == 30
    assert np.all(np.diff(scale) <= 0)


def test_a_page_is_chosen_by_its_number(named: QuantPanel) -> None:
    assert named.table.page.max == 3
    named.table.page.value = 3
    assert named.view.page == 2
    assert "rows 33–40 of 40" in named.table.place.value
    named.state.find = "mlp.1"
    assert (named.table.page.value, named.table.page.max) == (1, 1)


@pytest.mark.parametrize("column", ["mean_abs_error", "pct_error", "zeroed_pct", "cosine"])
def test_sorting_by_a_column_that_is_still_to_come_brings_it(alive: set[str], column: str) -> None:
    del alive

    async def cell() -> None:
        panel = pq.show(weight(40, 64), sort=column)
        panel.state.clip_ratio = 0.8
        panel._pace.settle()
        view = panel._drawn
        assert view is not None
        assert view.table is not None
        assert np.all(np.diff(view.table[column].to_numpy()[list(view.order)]) >= 0)

    asyncio.run(cell())


def test_while_a_control_moves_cells_and_tiles_wait_for_what_is_not_known(alive: set[str]) -> None:
    del alive

    async def cell() -> None:
        panel = pq.show(weight(40, 64))
        panel.settle()
        assert WAITING not in panel.table.html.value + panel.tiles.widget.value
        explained = panel.explain.widget.value
        panel.state.clip_ratio = 0.8
        panel._pace.settle()
        assert panel._drawn is not None
        assert not panel._drawn.complete
        assert panel.table.html.value.count(WAITING) == 16 * 4
        assert WAITING in panel.tiles.widget.value
        assert panel.explain.widget.value == explained
        assert "perchq-outdated" in panel.explain.widget._dom_classes
        panel.settle()
        assert WAITING not in panel.table.html.value + panel.tiles.widget.value
        assert panel.explain.widget.value != explained
        assert "perchq-outdated" not in panel.explain.widget._dom_classes

    asyncio.run(cell())


def test_a_baseline_adds_signed_differences_behind_the_sqnr(named: QuantPanel) -> None:
    named.state.clip_ratio = 1.0
    named.pin("before")
    named.state.clip_ratio = 0.5
    heads = re.findall(r"<th[^>]*>(.*?)</th>", named.table.html.value)
    assert heads[2:5] == ["SQNR, dB", "Δ SQNR, dB", "Δ clipped, points"]
    cells = re.findall(r'<td class="[^"]*(worse|better)" >([^<]*)</td>', named.table.html.value)
    assert cells
    assert all(text[0] == "-" for kind, text in cells[::2] if kind == "worse")
    assert all(text[0] == "+" for kind, text in cells[1::2] if kind == "worse")
    named.unpin("before")
    assert "Δ" not in named.table.html.value


def test_the_text_of_the_table_is_that_of_the_csv_export(named: QuantPanel, tmp_path: Any) -> None:
    exported = pd.read_csv(named.report.to_csv(tmp_path / "all.csv"), dtype=str, keep_default_na=False)
    named.state.find, named.state.sort = "attn", "scale"
    named.state.page = 0
    lines = named.table_text("csv").splitlines()
    columns = lines[0].split(",")
    assert columns == list(named.report.table.columns)
    wanted = exported[columns].iloc[list(named.view.order)]
    assert lines[1:] == wanted.to_csv(index=False, header=False, lineterminator="\n").splitlines()
    assert len(lines) == 11


def test_copied_texts_are_harmless_and_exact(alive: set[str]) -> None:
    del alive
    names = ["=cmd()|x", "<b>|</b>", "plain"]
    panel = pq.show(weight(3, 50), channel_names=names, sort="given")
    assert "\n'=cmd()" in panel.table_text("csv")
    markdown = panel.table_text("markdown").splitlines()
    assert len({line.count(" | ") for line in markdown}) == 1
    assert "<b>" not in "".join(markdown)
    scale = float(markdown[4].split(" | ")[list(panel.report.table.columns).index("scale")])
    assert scale == float(panel.report.table["scale"][2])
    with pytest.raises(pq.QuantError, match="kind"):
        panel.table_text("html")


def test_the_copy_is_made_when_asked_for_and_taken_back(named: QuantPanel, monkeypatch: pytest.MonkeyPatch) -> None:
    assert named.table.copy.text is None
    named.table.copy.buttons[0].click()
    assert "40 rows as CSV" in named.table.copy.text.value
    assert "readonly" in named.table.copy.text.value
    monkeypatch.setattr(copying, "MOST_ROWS", 7)
    named.table.copy.buttons[1].click()
    assert "7 rows as Markdown, the first of 40; all of them are in the CSV export" in named.table.copy.text.value
    named.state.find = "attn"
    assert named.table.copy.text.value == ""
    assert named.table.copy.widget.children == ()
    monkeypatch.setattr(copying, "table_text", lambda *_: 1 / 0)
    named.table.copy.buttons[0].click()
    assert "was not copied" in named.table.copy.text.value


def test_a_move_sends_little(sent: list[dict[str, Any]], alive: set[str]) -> None:
    del alive
    panel = pq.show(weight(4096, 64) * 0.02)
    panel.pin("before")
    sent.clear()
    panel.state.clip_ratio = 0.6
    texts = [panel.table.html, panel.tiles.widget, panel.explain.widget, panel.findings.widget, panel.table.place]
    ids = {widget.model_id for widget in (*texts, *panel.table.rows, panel.table.finding)}
    size = sum(len(repr(message["data"])) for message in sent if message["comm"] in ids)
    assert 0 < size < 2 * MOST_BYTES  # without a loop the complete view follows the live one at once
    html = page_html(panel.view)
    parts = [html, panel.tiles.widget.value, panel.explain.widget.value, panel.findings.widget.value]
    assert sum(len(part.encode()) for part in parts) < MOST_BYTES


TEXTS = ("muted", "clip", "weak", "pick", "bad", "good")
GROUNDS = {  # JupyterLab's layout colours 0 to 2, and rows tinted by their marks
    "light": ["#FFFFFF", "#EEEEEE"], "dark": ["#111111", "#212121", "#424242"],
}  # fmt: skip
TINTS = ("#E69F0026", "#D55E0026")


def rgb(colour: str) -> np.ndarray:
    return np.array([int(colour[at : at + 2], 16) for at in (1, 3, 5)], float)


def over(tint: str, ground: np.ndarray) -> np.ndarray:
    alpha = int(tint[7:9], 16) / 255
    return rgb(tint) * alpha + ground * (1 - alpha)


def contrast(one: np.ndarray, other: np.ndarray) -> float:
    parts = [np.where(c / 255 <= 0.03928, c / 255 / 12.92, ((c / 255 + 0.055) / 1.055) ** 2.4) for c in (one, other)]
    low, high = sorted(float(part @ [0.2126, 0.7152, 0.0722]) for part in parts)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_words_can_be_read_on_every_ground(theme: str, name: str) -> None:
    rules = dict(enumerate(re.findall(rf"--pq-{name}: (#\w{{6}})", sheet("x"))))
    ink = rgb(rules[0 if theme == "light" else 1])
    grounds = [rgb(colour) for colour in GROUNDS[theme]]
    page = grounds[0]
    grounds += [over(TINTS[0], page), over(TINTS[1], page), over(TINTS[1], over(TINTS[0], page))]
    assert min(contrast(ink, ground) for ground in grounds) >= 4.5
