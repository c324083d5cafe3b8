"""Which channel and which layer is looked at: boxes, buttons, clicks, the order of the table."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from panel.samples import weight

import perchq_widget as pq
from perchq_widget.panel.app import QuantPanel
from perchq_widget.sources.base import TensorRecord, TensorSource
from perchq_widget.sources.stored import Stored


def test_selecting_moves_chart_table_and_explanation(panel: QuantPanel) -> None:
    panel.selector.box.value = "filter_3"
    assert panel.state.channel == "filter_3"
    assert "filter_3" in panel.chart._title.value
    assert "filter_3" in panel.explain.widget.value
    assert panel.overview.picking.line.x.tolist() == [3.0, 3.0]
    panel.table.rows[2].click()
    assert panel.state.channel == "filter_2"
    assert panel.selector.box.value == "filter_2"
    panel.selector.next.click()
    assert panel.state.channel == "filter_3"
    panel.selector.worst.click()
    assert panel.state.channel is None
    assert panel.view.channel == "filter_1"


def test_a_click_on_the_overview_selects_the_nearest_bar(panel: QuantPanel) -> None:
    hit = panel.overview.picking.hit
    hit._handle_custom_msgs(hit, {"event": "element_click", "data": {"click_x": 2.2, "click_y": 40.0}})
    assert panel.view.channel == "filter_2"


def test_among_many_bars_the_click_prefers_the_one_whose_top_is_near(alive: set[str]) -> None:
    del alive
    panel = pq.show(weight(500, 16))
    tops = panel.overview._tops
    low = int(np.argmin(tops[301:308])) + 301
    assert panel.overview.nearest(304.0, float(tops[low])) == low


def test_an_unknown_channel_is_said_beside_the_selector(panel: QuantPanel) -> None:
    panel.selector.box.value = "filter_9"
    assert "no channel" in panel.selector.note.value


def test_selecting_does_not_redraw_the_other_channels(sent: list[dict[str, Any]], alive: set[str]) -> None:
    del alive
    panel = pq.show(weight(64, 100))
    sent.clear()
    panel.state.channel = "7"
    touched = {message["comm"] for message in sent}
    assert panel.overview._bars.model_id not in touched
    assert panel.tiles.widget.model_id not in touched


def test_layers_filter_and_switch(alive: set[str]) -> None:
    del alive
    panel = pq.show({"conv1.weight": weight(8, 1, 3, 3), "conv2.weight": weight(4, 8, 3, 3), "fc.bias": weight(10)})
    picker = panel.picker
    assert picker is not None
    picker.filter.value = "CONV2"
    assert [name for _, name in picker.list.options] == ["conv2.weight"]
    assert picker.list.value is None
    assert "In view: conv1.weight" in picker.note.value
    picker.list.value = "conv2.weight"
    assert panel.report.name == "conv2.weight"
    assert panel.exports.name.value == "conv2.weight"
    assert len(panel.report.table) == 4
    picker.filter.value = ""
    assert len(picker.list.options) == 3
    panel.state.tensor = "fc.bias"
    assert picker.list.value == "fc.bias"


def test_reset_and_other_layers_keep_to_axes_that_they_have(alive: set[str]) -> None:
    del alive
    layers = {"conv": weight(8, 4, 3, 3), "fc": weight(6, 5), "bias": weight(7)}
    panel = pq.show(layers, ch_axis=1)
    assert len(panel.report.table) == 4
    panel.state.tensor = "fc"
    assert len(panel.report.table) == 5
    panel.state.tensor = "bias"
    assert len(panel.report.table) == 7
    panel.controls.reset.click()
    assert panel.view.problem is None
    panel.state.tensor = "fc"
    panel.state.ch_axis = 0
    panel.controls.reset.click()
    assert panel.state.ch_axis == 1


def test_a_filter_that_matches_nothing_says_so(alive: set[str]) -> None:
    del alive
    panel = pq.show({"conv": weight(8, 4), "fc": weight(6, 5)})
    panel.picker.filter.value = "<attn>"
    assert "Nothing matches" in panel.picker.note.value
    assert "<attn>" not in panel.picker.note.value
    assert panel.picker.list.value == "conv"
    panel.picker.filter.value = "c"
    assert panel.picker.note.value == ""


def test_sort_page_and_direction(alive: set[str]) -> None:
    del alive
    panel = pq.show(weight(40, 10))
    assert panel.table.sort.value == "worst"
    panel.table.next.click()
    assert panel.view.page == 1
    assert "17–32 of 40" in panel.table.place.value
    panel.table.sort.value = "scale"
    assert panel.view.page == 0
    panel.table.descending.value = True
    first = panel.view.rows_on_page[0]
    assert panel.view.table is not None
    assert first == int(np.argmax(panel.view.table["scale"].to_numpy()))


def test_a_layer_that_cannot_be_analysed_is_marked_and_says_why(alive: set[str]) -> None:
    del alive
    panel = pq.show({"empty": np.empty((0, 3), np.float32), "good": weight(4, 4)})
    assert panel.report.name == "good"
    picker = panel.picker
    assert picker is not None
    assert "✕ it has no elements" in picker.list.options[0][0]
    picker.list.value = "empty"
    assert "perchq-error" in panel.controls.notes["tensor"].value
    assert panel.report.name == "good"  # the last result, said so by the banner
    assert "last result" in panel.banner.widget.value
    panel.state.tensor = "nowhere"
    assert "nowhere" in panel.controls.notes["tensor"].value


def many(n: int) -> TensorSource:
    """So many layers, every seventh of them quantized in its file."""
    x = weight(4, 8)
    report = pq.analyze(x, dtype="int4")
    codes, qparams = report.codes(), report.qparams
    held = {"stored_as": "int4, per channel, GPTQ", "stored_loader": lambda: Stored(codes, qparams)}
    plain = {"loader": lambda: x}
    return TensorSource(
        [
            TensorRecord(f"layers.{i}.w", x.shape, dtype, 128, 0, "", **facts)
            for i in range(n)
            for dtype, facts in [("float32", plain) if i % 7 else ("int4", held)]
        ],
        name="many", kind="test",
    )  # fmt: skip


def test_of_many_layers_a_window_is_listed(alive: set[str], sent: list[dict[str, Any]]) -> None:
    del alive
    panel = pq.show(many(3000))
    picker = panel.picker
    listed = [name for _, name in picker.list.options]
    assert len(listed) == 300
    assert "1–300 of 3,000 layers" in picker.note.value
    picker.list.value = listed[-1]  # the last of the window: there are more behind it
    listed = [name for _, name in picker.list.options]
    assert "layers.299.w" in listed[100:200]
    panel.state.tensor = "layers.2999.w"
    assert picker.list.options[-1][1] == picker.list.value == "layers.2999.w"
    picker.filter.value = "layers.1"
    assert "In view: layers.2999.w" in picker.note.value
    sent.clear()
    panel.state.dtype = "int8"
    panel.state.clip_ratio = 0.5
    assert len(str(sent)) < 300_000  # the layers are not sent again


@pytest.mark.parametrize(("wanted", "n"), [("gptq", 6), ("FLOAT32", 34), ("(4, 8)", 40), ("layers.39", 1)])
def test_layers_are_found_by_all_that_their_titles_say(alive: set[str], wanted: str, n: int) -> None:
    del alive
    panel = pq.show(many(40))
    panel.picker.filter.value = wanted
    assert len(panel.picker.list.options) == n
    assert panel.picker.list.options[-1][0].startswith("layers.3")
