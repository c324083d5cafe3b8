"""Pins: what they keep, what differs from them, the way back, and names that nobody should trust."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest
from ipywidgets.widgets.widget import _instances
from panel.samples import weight

import perchq_widget as pq
from perchq_widget.panel import delta_chart
from perchq_widget.panel.app import QuantPanel
from perchq_widget.panel.baseline import baseline_columns, mismatch, sqnr_deltas
from perchq_widget.panel.columns import columns_of
from perchq_widget.panel.delta_chart import bounds, outline
from perchq_widget.panel.pins import MOST_PINS, pinned

X = weight(8, 256)
EVIL = "<img src=x onerror=alert(1)>"


@pytest.fixture
def panel_of(alive: set[str]) -> QuantPanel:
    del alive
    return pq.show(X)


def type_and_pin(panel: QuantPanel, name: str = "") -> None:
    panel.board.name.value = name
    panel.board.pin.click()


def test_a_pin_keeps_a_complete_report_and_no_second_tensor(panel_of: QuantPanel) -> None:
    panel_of.pin("a")
    pin = panel_of.pins[0]
    assert pin.report.study.complete
    assert pin.report.study.array is not None
    assert np.shares_memory(pin.report.study.array, X)
    assert panel_of.view.baseline is pin
    assert panel_of.state.baseline == "a"


def test_pinning_completes_a_report_that_followed_a_control(panel_of: QuantPanel) -> None:
    async def cell() -> None:
        panel_of.state.clip_ratio = 0.7
        report = panel_of.report
        assert report is not None
        assert not report.study.complete
        made = pinned("a", panel_of.state.intent(), report)
        assert made.report.study.complete
        assert made.report is report

    asyncio.run(cell())


def test_the_delta_is_now_minus_the_baseline(panel_of: QuantPanel) -> None:
    before = panel_of.report.table
    panel_of.pin("a")
    panel_of.state.clip_ratio = 0.6
    columns = baseline_columns(panel_of.view)
    now = panel_of.report.table
    assert columns is not None
    np.testing.assert_allclose(columns["sqnr_delta_db"], now["sqnr_db"] - before["sqnr_db"])
    np.testing.assert_allclose(columns["clipped_delta_pct"], now["clipped_pct"] - before["clipped_pct"])
    np.testing.assert_array_equal(sqnr_deltas(panel_of.view), columns["sqnr_delta_db"])
    text = panel_of.board.delta.value
    change = pq.analyze(X, clip_ratio=0.6).summary["sqnr_db"] - pq.analyze(X).summary["sqnr_db"]
    assert f"({change:+.2f} dB)" in text
    assert "▼ worse 8" in text
    assert 'role="status"' in text
    assert panel_of.board.chart.widget in panel_of.board.widget.children


def test_a_live_report_is_compared_without_computing_the_rest(alive: set[str]) -> None:
    del alive
    panel = pq.show(weight(600, 16))

    async def cell() -> None:
        panel.pin("a")
        panel.settle()
        panel.state.clip_ratio = 0.6
        view = panel._resolved()
        panel.board.apply(view)
        assert baseline_columns(view) is not None
        assert not view.report.study.complete

    asyncio.run(cell())


def test_without_a_baseline_there_is_nothing(panel_of: QuantPanel) -> None:
    assert baseline_columns(panel_of.view) is None
    assert panel_of.board.chart is None
    assert len(panel_of.board.widget.children) == 2
    panel_of.pin("a")
    panel_of.state.baseline = None
    panel_of.settle()
    assert baseline_columns(panel_of.view) is None
    assert panel_of.board.delta.value == ""
    assert panel_of.board.chart.widget not in panel_of.board.widget.children


def test_the_chips_compare_restore_and_remove(panel_of: QuantPanel) -> None:
    type_and_pin(panel_of, "first")
    panel_of.state.dtype = "int4"
    panel_of.state.clip_ratio = 0.8
    type_and_pin(panel_of)
    assert [pin.name for pin in panel_of.pins] == ["first", "int4 affine clip 0.8"]
    first, second = panel_of.board.chips
    assert "baseline" in second.compare.description
    first.compare.click()
    assert panel_of.state.baseline == "first"
    assert "perchq-chosen" in first.widget._dom_classes
    assert "perchq-chosen" not in second.widget._dom_classes
    first.compare.click()  # once more: no comparison
    assert panel_of.state.baseline is None
    first.restore.click()
    assert (panel_of.state.dtype, panel_of.state.clip_ratio) == ("qint8", 1.0)
    assert panel_of.report.scheme == panel_of.pins[0].report.scheme
    first.remove.click()
    assert [pin.name for pin in panel_of.pins] == ["int4 affine clip 0.8"]
    assert len(panel_of.board._chip_row.children) == 1
    assert "int4" in first.compare.description  # whose place it is now


@pytest.mark.parametrize(
    "options",
    [{"dtype": "mxfp4", "scale_rule": "ceil"}, {"dtype": "int4", "group_size": 64, "convention": "torchao"},
     {"dtype": "float8_e4m3fn", "granularity": "tensor"}, {"dtype": "qint8", "reduce_range": True}],
    ids=str,
)  # fmt: skip
def test_all_settings_come_back(alive: set[str], options: dict[str, Any]) -> None:
    del alive
    panel = pq.show(X, **options)
    before = panel.report.scheme
    panel.pin("a")
    panel.state.dtype = "quint8"
    panel.state.scheme = "symmetric"
    panel.state.clip_ratio = 0.5
    panel.state.size_text = "x"
    panel.restore("a")
    assert panel.view.problem is None
    assert panel.report.scheme == before


def test_resetting_the_settings_goes_on_comparing(panel_of: QuantPanel) -> None:
    panel_of.pin("a")
    panel_of.state.clip_ratio = 0.5
    panel_of.reset()
    assert panel_of.state.baseline == "a"
    assert (baseline_columns(panel_of.view)["sqnr_delta_db"] == 0).all()


def test_what_cannot_be_pinned_is_said_beside_the_name(panel_of: QuantPanel) -> None:
    board = panel_of.board
    type_and_pin(panel_of, "   ")
    assert "name must be a text" in board.message.value
    assert 'role="alert"' in board.message.value
    for name in "abcd":
        type_and_pin(panel_of, name)
    assert board.message.value == ""
    type_and_pin(panel_of, EVIL)
    assert f"there are {MOST_PINS} pins already" in board.message.value
    assert len(panel_of.pins) == MOST_PINS
    type_and_pin(panel_of, "a")  # replaces its own
    assert board.message.value == ""
    panel_of.state.ch_axis = 7
    type_and_pin(panel_of, "b")
    assert "there is no result" in board.message.value
    with pytest.raises(pq.QuantValueError, match="there is no result"):
        panel_of.pin("b")


@pytest.mark.parametrize("name", ["", "  ", None, 3])
def test_a_pin_needs_a_name(panel_of: QuantPanel, name: Any) -> None:
    with pytest.raises(pq.QuantTypeError, match="name must be a text"):
        panel_of.pin(name)
    assert panel_of.pins == ()


def test_pins_that_do_not_exist(panel_of: QuantPanel) -> None:
    for act in (panel_of.unpin, panel_of.restore):
        with pytest.raises(pq.QuantValueError, match="there is none yet"):
            act("x")
    panel_of.pin("a")
    with pytest.raises(pq.QuantValueError, match="no pin is called 'x'; there are 'a'"):
        panel_of.restore("x")
    with pytest.raises(pq.QuantValueError, match="at most 80 characters, got 200"):
        panel_of.pin("x" * 200)
    panel_of.state.baseline = EVIL
    panel_of.settle()
    assert "No pin is called" in panel_of.board.delta.value
    assert "<img" not in panel_of.board.delta.value
    assert baseline_columns(panel_of.view) is None


def test_a_defect_is_said_in_the_banner(panel_of: QuantPanel, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_name: str) -> None:
        raise RuntimeError("boom")

    monkeypatch.setattr(panel_of, "pin", broken)
    panel_of.board.pin.click()
    assert "boom" in panel_of.banner.widget.value


def test_names_are_text(panel_of: QuantPanel) -> None:
    panel_of.pin(EVIL)
    panel_of.state.clip_ratio = 0.9
    panel_of.settle()
    assert "<img" not in panel_of.board.delta.value
    assert "&lt;img" in panel_of.board.delta.value
    panel_of.pin("a\u202eb\n")
    assert "\n" not in panel_of.board.chips[1].compare.description
    assert "\u202e" not in panel_of.board.chips[1].compare.description


def test_a_name_is_suggested_and_numbered(panel_of: QuantPanel) -> None:
    field = panel_of.board.name
    assert field.placeholder == "qint8 affine"
    panel_of.pin("qint8 affine")
    assert field.placeholder == "qint8 affine"  # the same state once more
    panel_of.state.clip_ratio = 0.9
    panel_of.pin("qint8 affine")
    panel_of.state.clip_ratio = 1.0
    panel_of.settle()
    assert field.placeholder == "qint8 affine (2)"


def test_another_axis_or_tensor_is_no_baseline(alive: set[str]) -> None:
    del alive
    tensors = {"conv.weight": weight(8, 8), "fc.weight": weight(8, 8) + 1, "bias": weight(5)}
    panel = pq.show(tensors)
    panel.pin("a")
    panel.state.ch_axis = 1
    panel.settle()
    assert "along axis 0 and not along axis 1" in panel.board.delta.value
    assert baseline_columns(panel.view) is None
    panel.state.ch_axis = 0
    panel.settle()
    assert baseline_columns(panel.view) is not None
    panel.state.tensor = "fc.weight"
    panel.settle()
    assert "'a' is of 'conv.weight' and not of 'fc.weight'" in mismatch(panel.view)
    assert "conv.weight" in panel.board.delta.value
    assert panel.board.chart.widget not in panel.board.widget.children
    panel.state.ch_axis = 9  # the last result stays in view, and it is not the pin's either
    panel.settle()
    assert panel.view.stale
    assert baseline_columns(panel.view) is None
    panel.state.tensor = "conv.weight"
    panel.settle()
    assert baseline_columns(panel.view) is not None


def test_lines_are_pinned_too(panel: QuantPanel) -> None:
    panel.pin("a")
    panel.state.dtype = "int4"
    columns = baseline_columns(panel.view)
    assert columns is not None
    assert (columns["sqnr_delta_db"] <= 0).all()
    panel.state.lines += "one more,-1,1,0.5\n"
    panel.settle()
    n = len(panel.view.names)
    assert f"&#x27;a&#x27; has {n - 1} channels and not {n}" in panel.board.delta.value
    panel.state.lines = panel.state.lines.replace("one more", "").replace("filter_0", "other", 1)
    panel.settle()
    assert baseline_columns(panel.view) is None
    with pytest.raises(pq.QuantValueError, match="same channels"):
        panel.compare()


def test_compare_has_all_pins_and_the_state_in_view(panel_of: QuantPanel) -> None:
    with pytest.raises(pq.QuantValueError, match="no pin to compare with"):
        panel_of.compare()
    panel_of.pin("a")
    panel_of.state.clip_ratio = 0.8
    panel_of.pin("now")
    panel_of.state.clip_ratio = 0.6
    found = panel_of.compare()
    assert found.names == ("a", "now", "now (2)")
    assert found.summary["clip_ratio"].tolist() == [1.0, 0.8, 0.6]
    assert found.summary["sqnr_db"].iloc[2] == panel_of.report.summary["sqnr_db"]


def test_the_chart_clips_infinite_differences_and_says_so(alive: set[str]) -> None:
    del alive
    x = weight(4, 64)
    x[1] = 0.0
    x[2] = np.where(np.arange(64) % 2, 1.0, -1.0)
    panel = pq.show(x, dtype="float8_e4m3fn")
    panel.pin("a")
    panel.state.dtype = "int4"
    panel.settle()
    deltas = sqnr_deltas(panel.view)
    assert deltas is not None
    assert not np.isnan(deltas).any()
    assert np.isfinite(np.asarray(panel.board.chart._path.y)).all()


@pytest.mark.parametrize("n", [1, 128, 129, 512, 513, 4096, 100_000])
def test_one_closed_path_however_many_channels(n: int) -> None:
    deltas = np.random.default_rng(n).normal(0, 3, n)
    x, y = outline(deltas, columns_of(n))
    assert x.size == y.size <= 2100
    low, high = bounds(deltas)
    assert low <= y.min() <= min(0.0, deltas.min())
    assert high >= y.max() >= max(0.0, deltas.max())
    assert (y.min(), y.max()) == (min(0.0, deltas.min()), max(0.0, deltas.max()))


def test_bounds_stay_while_a_control_moves_a_little() -> None:
    assert bounds(np.array([-3.01, 1.0])) == bounds(np.array([-3.02, 1.01]))
    assert bounds(np.zeros(3)) == bounds(np.array([np.inf, -np.inf]))
    low, high = bounds(np.array([5.0, 9.0]))
    assert low <= 0 < 9 < high


def test_a_move_sends_little(alive: set[str], sent: list[dict[str, Any]]) -> None:
    del alive
    panel = pq.show(weight(4096, 8))
    panel.pin("a")
    panel.state.clip_ratio = 0.8
    view = panel.view
    panel.state.clip_ratio = 0.81
    view = panel._resolved()
    sent.clear()
    panel.board._drawn = ()
    panel.board.chart.draw(sqnr_deltas(view) * 1.01)
    size = sum(len(buffer) for each in sent for buffer in each.get("buffers", [])) + len(str(sent))
    assert size < 20_000


def test_closing_leaves_nothing(alive: set[str]) -> None:
    before = set(_instances)
    panel = pq.show(X)
    panel.pin("a")
    panel.pin("b")
    panel.state.clip_ratio = 0.5
    panel.settle()
    panel.unpin("a")
    panel.state.baseline = None  # chips and chart are out of sight
    panel.settle()
    panel.close()
    assert set(_instances) == before
    del alive


def test_the_chart_is_made_when_it_is_needed(panel_of: QuantPanel, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    original = delta_chart.DeltaChart.__init__
    monkeypatch.setattr(
        delta_chart.DeltaChart, "__init__", lambda self, kit: (made.append(1), original(self, kit))[1]
    )
    panel_of.state.clip_ratio = 0.9
    panel_of.settle()
    assert not made
    panel_of.pin("a")
    panel_of.pin("b")
    assert made == [1]


def test_what_has_no_result_says_why(alive: set[str]) -> None:
    del alive
    panel = pq.show(np.ones((4, 300), np.float32))
    panel.use("llama.cpp-q4_0")
    for ask in (panel.compare_observers, panel.compare_conventions, panel.as_code, lambda: panel.pin("a")):
        with pytest.raises(pq.QuantValueError, match=r"correct them first: .*no multiple of 32"):
            ask()
    panel.close()
    with pytest.raises(pq.QuantValueError, match="this panel is closed"):
        panel.pin("a")
