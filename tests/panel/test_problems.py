"""What the panel says when there is no result: once, beside its cause, and never as if the old one were current."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ipywidgets.widgets.widget import _instances

import perchq_widget as pq
from perchq_widget.core.conventions import allowed
from perchq_widget.core.defaults import settled
from perchq_widget.core.grids import DTYPES
from perchq_widget.panel.app import QuantPanel
from perchq_widget.panel.marks import ticks


def weight(*shape: int) -> np.ndarray:
    return np.random.default_rng(3).standard_normal(shape).astype("f4")


def shown(panel: QuantPanel) -> str:
    """All that stands beside controls, lines and channel, and above the panel."""
    notes = [note.value for note in panel.controls.notes.values()]
    lines = [] if panel.input is None else [panel.input.errors.value]
    return "\n".join([panel.banner.widget.value, *notes, *lines, panel.selector.note.value])


def coordinates(panel: QuantPanel) -> list[float]:
    """Every coordinate of the marks that are drawn."""
    marks = [mark for part in (panel.chart, panel.overview) for mark in part._figure.marks]
    drawn = [mark for mark in marks if hasattr(mark, "x") and hasattr(mark, "y") and mark.visible]
    # the ticks of the codes are one path with gaps: the height of every third point is none
    heights = [np.delete(np.ravel(mark.y), np.s_[2::3]) if mark is panel.chart._codes else mark.y for mark in drawn]
    return [float(value) for values in (*(mark.x for mark in drawn), *heights) for value in np.ravel(values)]


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    "values",
    [np.full((3, 4), NAN), np.full((3, 4), INF), np.array([[1.0, 2.0], [NAN, NAN]]), np.array([[1.3, NAN], [3.1, 2]])],
    ids=["nan", "inf", "a channel of nan", "one nan"],
)
@pytest.mark.parametrize("model", [False, True])
def test_channels_without_a_value_are_neither_exact_nor_drawn_at_nan(
    alive: set[str], values: np.ndarray, model: bool
) -> None:
    del alive
    panel = pq.show({"fine": weight(4, 4), "odd": values}) if model else pq.show(values)
    if model:
        panel.picker.list.value = "odd"
    for channel in range(len(values)):
        panel.state.channel = channel
        assert np.isfinite(coordinates(panel)).all()
        assert "nan" not in panel.chart._legend.value + panel.overview._legend.value
    tiles = panel.tiles.widget.value
    empty = ~np.isfinite(values).any(axis=1)
    assert ("no value" in tiles) == bool(empty.any())
    assert "exact" not in tiles
    assert ("without a finite value" in panel.overview._legend.value) == bool(empty.any())


@pytest.mark.parametrize("scheme", ["affine", "symmetric"])
@pytest.mark.parametrize("convention", ["calculator", "pytorch"])
@pytest.mark.parametrize(
    "line", ["-1e308,1e308,1", "-1,1,1e308", "1e-300,2e-300,1e-300", "5,5,5", "0,0,0.5", "3e38,3.4e38,-3.4e38"]
)
def test_numbers_at_the_ends_of_float64_are_drawn(alive: set[str], line: str, convention: str, scheme: str) -> None:
    del alive
    panel = pq.show(f"ok,-1,1,0.5\nodd,{line}\n", convention=convention, scheme=scheme)
    for channel in range(len(panel.report.table)):
        panel.state.channel = channel
        for mark in panel.chart._figure.marks:
            if mark.visible and mark is not panel.chart._levels:  # whose gaps are NaN
                assert np.isfinite(np.ravel([mark.x, mark.y])).all()
        for scale in (panel.chart._x.scale, panel.chart._near, panel.overview._y.scale):
            assert np.isfinite(scale.max - scale.min)


@pytest.mark.parametrize(("low", "high"), [(5, 5.00003), (1e6, 1e6 + 0.1), (1000, 1000.00003), (-1, 1), (0, 3e-5)])
def test_tick_labels_differ_and_have_room(low: float, high: float) -> None:
    values, d3_format = ticks(low, high, 7)
    labels = [format(value, d3_format.replace("~", "")) for value in values]
    assert len(set(labels)) == len(labels) >= 2
    assert sum(len(label) for label in labels) <= 64


def broken(*_: Any, **__: Any) -> None:
    raise RuntimeError("<b>boom</b>")


def test_a_failure_is_said_raised_and_keeps_exports_from_writing(
    panel: QuantPanel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(panel.explain, "apply", broken)
        with pytest.raises(RuntimeError, match="boom"):
            panel.state.dtype = "quint8"
        assert "boom" in panel.banner.widget.value
        assert "<b>" not in panel.banner.widget.value
        with pytest.raises(RuntimeError, match="boom"):
            panel.settle()
        panel.exports.buttons["csv"].click()
        panel.exports.snapshot.click()
        assert list(tmp_path.iterdir()) == []
        assert "perchq-error" in panel.exports.message.value
        panel._repr_mimebundle_()  # still shows itself, banner and all
    assert panel.view.report.scheme.dtype == "quint8"
    assert panel.banner.widget.value == ""
    assert "quint8" in panel.table.html.value  # what the failure left out was drawn
    assert "quint8" in panel.explain.widget.value


def test_a_failure_in_a_running_loop_is_said_too(panel: QuantPanel, monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[BaseException] = []

    async def cell() -> None:
        done = asyncio.Event()
        asyncio.get_running_loop().set_exception_handler(
            lambda _loop, context: (heard.append(context["exception"]), done.set())
        )
        monkeypatch.setattr(panel.table, "apply", broken)
        panel.state.dtype = "quint8"
        await asyncio.wait_for(done.wait(), 10)

    asyncio.run(cell())
    assert [str(error) for error in heard] == ["<b>boom</b>"]
    assert "boom" in panel.banner.widget.value


def test_a_panel_that_cannot_be_drawn_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    before = set(_instances)
    monkeypatch.setattr("perchq_widget.panel.details.Tiles.apply", broken)
    with pytest.raises(RuntimeError, match="boom"):
        pq.show()
    assert set(_instances) == before


@pytest.mark.parametrize("text", ["", "  \n", "# a comment\n", "rubbish", "a,2,1,0\n"])
def test_without_a_line_the_last_result_is_marked_as_such(panel: QuantPanel, tmp_path: Path, text: str) -> None:
    before = panel.report
    assert panel.input is not None
    panel.input.text.value = text
    assert "Shown below is the last result" in panel.banner.widget.value
    assert panel.report is before
    assert panel.view.stale
    assert panel.selector.box.value == "filter_1"
    panel.exports.buttons["csv"].click()
    assert list(tmp_path.iterdir()) == []
    panel.exports.snapshot.click()
    assert "✓" not in panel.exports.message.value
    panel.input.text.value = "a,-1,1,0.5"
    assert panel.banner.widget.value == ""
    panel.exports.buttons["csv"].click()
    assert [file.name for file in tmp_path.iterdir()] == ["tensor.csv"]


@pytest.mark.parametrize(("mode", "example"), [("ranges", "filter_0,-1.2,1,0.73"), ("params", "filter_0,0.0086")])
@pytest.mark.parametrize("text", ["", "\n\n", "# nothing yet\n"])
def test_an_empty_text_asks_for_a_line(panel: QuantPanel, mode: str, example: str, text: str) -> None:
    assert panel.input is not None
    panel.state.mode = mode
    panel.input.text.value = text
    assert f"type a line such as {example}" in panel.input.errors.value
    assert "listed below" not in panel.input.errors.value


@pytest.mark.parametrize("typed", ["--5", "5" * 5000, "-", "²", "1.5", "filter_9"])
def test_whatever_is_typed_as_a_channel_stays_beside_its_error(panel: QuantPanel, typed: str) -> None:
    panel.selector.box.value = typed
    assert panel.selector.box.value == typed
    assert "no channel" in panel.selector.note.value
    assert len(panel.selector.note.value) < 400
    panel.state.dtype = "quint8"  # and the panel goes on
    assert panel.report.scheme.dtype == "quint8"
    panel.selector.worst.click()
    assert panel.selector.note.value == ""
    assert panel.selector.box.value == panel.view.channel


@pytest.mark.parametrize("channel", [10**5000, -(10**5000), 4, -5], ids=["huge", "-huge", "4", "-5"])
def test_a_position_beyond_the_channels_is_said(panel: QuantPanel, channel: int) -> None:
    panel.state.channel = channel
    assert "no channel" in panel.selector.note.value


def test_a_message_stays_beside_the_argument_that_it_is_about(alive: set[str]) -> None:
    del alive
    panel = pq.show(weight(8, 10))
    panel.state.ch_axis = 7
    panel.state.dtype = "quint8"
    assert "ch_axis must lie" in panel.controls.notes["ch_axis"].value
    assert panel.controls.notes["dtype"].value == ""
    panel.state.ch_axis = 1
    assert panel.banner.widget.value == ""
    with pytest.raises(pq.QuantError, match="ch_axis must lie"):
        pq.show(weight(8, 10), ch_axis=7)


@pytest.mark.parametrize("order", [("dtype", "narrow_range"), ("narrow_range", "dtype")])
def test_a_refused_combination_is_said_once_beside_what_was_changed_last(alive: set[str], order: tuple[str]) -> None:
    del alive
    panel = pq.show(weight(8, 10))
    for name in order:
        setattr(panel.state, name, {"dtype": "quint8", "narrow_range": True}[name])
    assert shown(panel).count("narrow_range drops") == 1
    assert "narrow_range drops" in panel.controls.notes[order[-1]].value
    panel.state.page = 1  # nothing that matters
    assert "narrow_range drops" in panel.controls.notes[order[-1]].value
    marked = {
        name: [value for label, value in field.options if "✕" in label]
        for name, field in panel.controls.fields.items() if name in ("dtype", "scheme")
    }  # fmt: skip
    without = [dtype for dtype in DTYPES if allowed(settled(dtype, narrow_range=True)) is not None]
    assert marked == {"dtype": without, "scheme": []}
    assert not [value for value in without if value in ("qint8", "int4", "int2")]


def test_of_four_settings_that_clash_each_is_marked_and_no_other(panel: QuantPanel) -> None:
    said = "NotImplementedError for quint8, symmetric, with reduce_range; choose"
    panel.state.dtype, panel.state.scheme, panel.state.reduce_range = "quint8", "symmetric", True
    assert shown(panel).count(said) == 1
    assert "✕ pytorch" in panel.controls.notes["convention"].value
    panel.state.convention = "pytorch"
    assert shown(panel).count(said) == 1
    assert "perchq-error" in panel.controls.notes["convention"].value


@pytest.mark.parametrize("typed", ["1.5", "99999999999999999999999", "", "one", "64", "-65", "0x1"])
def test_what_is_no_axis_stays_in_the_field_with_its_reason(panel: QuantPanel, typed: str) -> None:
    field = panel.controls.fields["ch_axis"]
    field.value = "2"
    field.value = typed
    assert field.value == typed
    assert "whole number" in panel.controls.notes["ch_axis"].value
    assert panel.view.stale
    field.value = " 2"
    assert not panel.view.stale
    assert field.value == "2"
    field.value = typed
    panel.state.ch_axis = 1
    assert field.value == "1"
    assert panel.controls.notes["ch_axis"].value == ""


def test_a_long_text_says_that_it_is_computed_and_waits_for_the_typing_to_end(panel: QuantPanel) -> None:
    async def cell() -> None:
        panel.state.lines = "".join(f"c{i},-1,1,0.5\n" for i in range(2100))
        assert "computing" in panel.banner.widget.value
        assert panel._pace._timer.when() - asyncio.get_running_loop().time() > 0.1
        assert len(panel.view.table) == 2100
        assert panel.banner.widget.value == ""
        panel.state.dtype = "quint8"
        assert "computing" in panel.banner.widget.value
        panel.settle()
        panel.state.channel = "c7"
        assert panel.banner.widget.value == ""
        panel.state.lines = "a,-1,1,0.5\n"
        assert panel.banner.widget.value == ""

    asyncio.run(cell())


def test_what_holds_no_floats_is_refused_with_the_reason() -> None:
    before = set(_instances)
    with pytest.raises(pq.QuantError, match=r"'a\.b' cannot be analysed.*has integers"):
        pq.show({"a": {"b": np.arange(3)}})
    assert set(_instances) == before


def test_a_closed_panel_says_so(panel: QuantPanel, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[dict[str, Any]] = []
    monkeypatch.setattr("IPython.display.publish_display_data", lambda data, **_: said.append(data))
    panel.close()
    panel._ipython_display_()
    assert said == [{"text/plain": "This panel is closed; show() opens another one."}]
    assert repr(panel) == "<QuantPanel, closed>"
