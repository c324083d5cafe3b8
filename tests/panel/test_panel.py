from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from ipywidgets.widgets.widget import _instances
from panel.samples import weight

import perchq_widget as pq
from perchq_widget.panel.app import QuantPanel

FILTERS = ["filter_0", "filter_1", "filter_2", "filter_3"]


def test_the_example_is_loaded(panel: QuantPanel) -> None:
    table = panel.report.table
    assert table["channel"].tolist() == FILTERS
    assert table["quantized"].tolist() == [96, -40, 80, 25]
    assert table["zero_point"].tolist() == [11, -8, -8, -19]
    assert panel.input is not None
    assert panel.input.text.value.startswith("filter_0,-1.2,1,0.73")


@pytest.mark.parametrize(
    ("trait", "value"),
    [("dtype", "quint8"), ("scheme", "symmetric"), ("reduce_range", True), ("convention", "pytorch")],
)
def test_python_takes_the_path_of_a_click(panel: QuantPanel, trait: str, value: object) -> None:
    before = panel.table.html.value
    setattr(panel.state, trait, value)
    assert getattr(panel.report.scheme, trait) == value
    assert panel.controls.fields[trait].value == value
    assert panel.table.html.value != before


@pytest.mark.parametrize(
    ("trait", "value"),
    [("dtype", "quint8"), ("scheme", "symmetric"), ("reduce_range", True), ("convention", "pytorch")],
)
def test_a_control_sets_the_state(panel: QuantPanel, trait: str, value: object) -> None:
    panel.controls.fields[trait].value = value
    assert getattr(panel.state, trait) == value
    expected = pq.calculate(panel.state.lines, **{"convention": "calculator", trait: value})
    assert panel.report.table.equals(expected.table)


def test_name_and_axis_reach_the_caption(panel: QuantPanel) -> None:
    panel.controls.fields["tensor_name"].value = "conv1.act"
    panel.controls.fields["ch_axis"].value = "2"
    assert "conv1.act" in panel.report.caption
    assert "ch_axis 2" in panel.report.caption
    assert "conv1.act" in panel.heading.value
    assert panel.exports.name.value == "conv1.act"


def test_a_bad_line_is_listed_under_the_text_and_the_rest_computed(panel: QuantPanel) -> None:
    assert panel.input is not None
    text = panel.input.text.value + "filter_4,5,1,2\n<script>alert(1)</script>,1\n"
    panel.input.text.value = text
    assert panel.report.table["channel"].tolist() == FILTERS
    shown = panel.input.errors.value
    assert "line 5" in shown
    assert "min &gt; max" in shown
    assert "<script>" not in shown
    assert "&lt;script&gt;" in shown
    assert panel.input.text.value == text
    panel.input.text.value = text.splitlines(keepends=True)[0]
    assert panel.input.errors.value == ""
    assert panel.report.table["channel"].tolist() == ["filter_0"]


def test_with_no_good_line_the_reasons_are_there_and_the_text_stays(panel: QuantPanel) -> None:
    assert panel.input is not None
    panel.input.text.value = "rubbish"
    assert "rubbish" in panel.input.errors.value
    assert panel.input.text.value == "rubbish"
    panel.input.text.value = "a,-1,1,0.5"
    assert panel.report.table["channel"].tolist() == ["a"]


def uploaded(name: str, content: bytes) -> dict[str, Any]:
    when = datetime(2026, 1, 2, tzinfo=UTC)
    return {"name": name, "type": "", "size": len(content), "content": memoryview(content), "last_modified": when}


def test_upload_replaces_the_text(panel: QuantPanel) -> None:
    assert panel.input is not None
    panel.input.upload.value = (uploaded("r.csv", "\ufeffchannel;min;max;sample\r\nup;-1;1;0.5\r\n".encode()),)
    assert panel.report.table["channel"].tolist() == ["up"]
    assert "r.csv" in panel.input.upload_note.value
    assert panel.input.upload.value == ()


@pytest.mark.parametrize("content", [b"\xff\xfe\x00\xd8rubbish", b"a" * 1_000_001, b"", b"\xef\xbb\xbf \n"])
def test_an_upload_that_cannot_be_used_leaves_the_text(panel: QuantPanel, content: bytes) -> None:
    assert panel.input is not None
    before = panel.input.text.value
    panel.input.upload.value = (uploaded("<b>.csv", content),)
    assert "perchq-error" in panel.input.upload_note.value
    assert "<b>" not in panel.input.upload_note.value
    assert panel.input.text.value == before


def test_the_note_of_an_upload_goes_with_its_text(panel: QuantPanel) -> None:
    assert panel.input is not None
    panel.input.upload.value = (uploaded("r.csv", b"up,-1,1,0.5"),)
    panel.state.dtype = "quint8"
    assert "Loaded r.csv" in panel.input.upload_note.value
    panel.input.text.value += "\nmore,-1,1,0.5"
    assert panel.input.upload_note.value == ""


def test_mode_switch_keeps_both_texts(panel: QuantPanel) -> None:
    assert panel.input is not None
    panel.input.text.value = "mine,-1,1,0.5"
    panel.input.mode.value = "params"
    assert panel.report.kind == "params"
    assert "scale" in panel.input.hint.value
    panel.input.mode.value = "ranges"
    assert panel.input.text.value == "mine,-1,1,0.5"


def test_infinite_sqnr_is_drawn_inside_and_named(alive: set[str]) -> None:
    del alive
    panel = pq.show("a,-1,1.55,0.01\nb,-1,1.55,0.013\nz,-1,1,0\n")
    sqnr = panel.report.table["sqnr_db"].to_numpy()
    assert np.isinf(sqnr).any()
    y = panel.overview._bars.y
    assert np.isfinite(y).all()
    assert y.max() < panel.overview._y.scale.max
    assert "without error" in panel.overview._legend.value


def test_coordinates_are_floats_and_agree(sent: list[dict[str, Any]], alive: set[str]) -> None:
    del alive
    panel = pq.show(weight(64, 100))
    lengths: list[tuple[int, int]] = []
    values = panel.chart._values
    values.observe(lambda _: lengths.append((values.x.size, values.y.size)), ["x", "y"])
    sent.clear()
    panel.state.channel = "5"
    assert values.x.dtype.kind == values.y.dtype.kind == "f"  # bqplot would cut integers to 32 bits
    assert all(x == y for x, y in lengths)
    assert sum(message["comm"] == values.model_id for message in sent) == 1


def test_histogram_counts_every_value_even_in_many(alive: set[str]) -> None:
    del alive
    panel = pq.show(weight(8, 1000))
    hist = panel.report.histogram(panel.view.row)
    assert hist.counts.sum() == 1000
    assert panel.chart._values.y.max() == hist.counts.max()


def test_a_change_that_changes_nothing_sends_nothing(sent: list[dict[str, Any]], panel: QuantPanel) -> None:
    sent.clear()
    panel.state.dtype = "int8"
    panel.settle()
    assert sent == []


def test_a_refused_choice_is_explained_beside_its_control(alive: set[str]) -> None:
    del alive
    panel = pq.show(weight(8, 10))
    panel.state.dtype = "quint8"
    assert panel.controls.fields["narrow_range"].disabled
    assert "quint8" in panel.controls.notes["narrow_range"].value
    panel.state.narrow_range = True
    assert "perchq-error" in panel.controls.notes["narrow_range"].value
    assert "last result" in panel.banner.widget.value
    assert not panel.controls.fields["narrow_range"].disabled
    panel.controls.fields["narrow_range"].value = False
    assert panel.banner.widget.value == ""


def test_refused_menu_entries_are_marked_not_dropped(alive: set[str]) -> None:
    del alive
    panel = pq.show(weight(8, 10))
    panel.state.narrow_range = True
    labels = {value: label for label, value in panel.controls.fields["dtype"].options}
    assert labels["quint8"].endswith("✕")
    assert panel.controls.fields["dtype"].value == "qint8"
    assert panel.state.dtype == "qint8"


def test_reset_brings_settings_back_and_keeps_the_text(panel: QuantPanel) -> None:
    panel.state.lines = "a,-1,1,0.5"
    panel.state.dtype, panel.state.reduce_range, panel.state.sort = "quint8", True, "scale"
    panel.controls.reset.click()
    assert (panel.state.dtype, panel.state.reduce_range, panel.state.sort) == ("qint8", False, "given")
    assert panel.state.lines == "a,-1,1,0.5"


def test_labels_reach_the_browser_before_the_ticks_that_carry_them(
    sent: list[dict[str, Any]], panel: QuantPanel
) -> None:
    axis = panel.overview._x.model_id
    for names in ("pqrstu", "vwxyz!", "ab", "c"):
        sent.clear()
        panel.state.lines = "".join(f"{name},-1,1,0.5\n" for name in names)
        states = [message["data"]["state"] for message in sent if message["comm"] == axis]
        first = {key: at for at, state in reversed(list(enumerate(states))) for key in state}
        assert list(states[first["tick_labels"]]["tick_labels"].values()) == list(names)
        assert first["tick_labels"] < first.get("tick_values", len(states))
        # Ticks are sent once, in their final places: none is drawn that the next message takes away.
        assert sum("tick_values" in state for state in states) <= 1


def test_marks_stand_beside_clipped_and_weak_rows(alive: set[str]) -> None:
    del alive
    panel = pq.show("ok,-1,1,0.5\ncut,-1,1,3\n", convention="pytorch")
    html = panel.table.html.value
    assert html.count("▲") == 2  # the row and the key
    assert '<td class="selected clipped' in html
    assert "clipped" in html


def test_hostile_names_come_out_as_text(alive: set[str]) -> None:
    del alive
    names = ["<script>alert(1)</script>", "=cmd()", "a\u202eb"]
    panel = pq.show([(name, -1, 1, 0.5) for name in names], tensor_name="<img src=x>")
    parts = [panel.table.html, panel.explain.widget, panel.heading, panel.tiles.widget, panel.overview._legend,
             panel.chart._title, panel.findings.widget]
    for part in parts:
        assert "<script>" not in part.value
        assert "<img" not in part.value
        assert "\u202e" not in part.value
    assert "&lt;script&gt;" in panel.table.html.value


@pytest.mark.parametrize("make", [lambda: pq.show(), lambda: pq.show({"a": weight(40, 5), "b": weight(3, 5)})])
def test_close_leaves_nothing_alive(make: Any) -> None:
    before = set(_instances)
    panel = make()
    assert len(_instances) > len(before) + 50
    panel.state.dtype = "quint8"
    panel.close()
    assert set(_instances) == before
    panel.close()
    panel.state.dtype = "qint8"  # a closed panel no longer listens


def test_report_is_current_inside_a_running_loop(alive: set[str]) -> None:
    del alive

    async def cell() -> None:
        panel = pq.show()
        panel.state.dtype = "quint8"
        assert panel._pace.pending
        assert panel.report.scheme.dtype == "quint8"
        assert panel._pace.pending  # to be drawn
        panel.settle()
        assert not panel._pace.pending
        panel.state.scheme = "symmetric"
        panel.settle()
        assert panel.view.report.scheme.scheme == "symmetric"

    asyncio.run(cell())


def test_repr_is_cheap_and_names_the_result(panel: QuantPanel) -> None:
    assert repr(panel).startswith("<QuantPanel tensor")
    assert len(repr(panel)) < 200


def test_what_cannot_be_opened_raises_before_a_panel_is_made() -> None:
    before = set(_instances)
    with pytest.raises(pq.QuantError, match="narrow_range"):
        pq.show(weight(4, 4), dtype="quint8", narrow_range=True)
    with pytest.raises(pq.QuantError):
        pq.show(np.empty((0, 3), np.float32))
    with pytest.raises(pq.QuantError, match="no such file"):
        pq.show("nowhere.safetensors")
    with pytest.raises(pq.QuantTypeError, match="reduce_range"):
        pq.show(weight(4, 4), reduce_rnage=True)
    assert set(_instances) == before


def test_while_settings_are_refused_the_bad_lines_stay_listed_and_the_reason_is_said_once(alive: set[str]) -> None:
    del alive
    panel = pq.show("ok,-1,1,0.3\nbad,3,1,0\n", dtype="quint8", scheme="symmetric", convention="pytorch")
    panel.state.reduce_range = True
    assert panel.input is not None
    assert "line 2" in panel.input.errors.value
    said = "NotImplementedError for quint8, symmetric, with reduce_range; choose"
    notes = [name for name, note in panel.controls.notes.items() if said in note.value]
    assert notes == ["reduce_range"]


def test_a_sample_far_outside_leaves_one_code_named(alive: set[str]) -> None:
    del alive
    panel = pq.show("cut,-1,1,300\n")
    assert [text for text in panel.chart._names.text.tolist() if text] == ["127"]
    panel.state.lines = "in,-1,1,0.3\n"
    assert len([text for text in panel.chart._names.text.tolist() if text]) == 7
