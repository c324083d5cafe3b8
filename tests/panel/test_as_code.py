"""panel.as_code(): running it gives the table in view, whatever the settings, and no name gets out of its literal."""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from panel.samples import weight

import perchq_widget as pq
from perchq_widget.core.conventions import CONVENTIONS, why_not
from perchq_widget.core.defaults import settled
from perchq_widget.core.errors import QuantError
from perchq_widget.core.observers import POLICIES
from perchq_widget.panel.targets import PRESETS
from perchq_widget.report.code import text_block
from perchq_widget.report.reproduce import brief_settings

X = weight(6, 256)
EVIL = "a'b\"c\"\"\"\n); import os #\\"
pytestmark = pytest.mark.usefixtures("alive")


def run(panel: Any, **given: Any) -> dict[str, Any]:
    code = panel.as_code()
    found = dict(given)
    exec(compile(code, "as_code", "exec"), found)
    return found


def shown(panel: Any) -> pd.DataFrame:
    view = panel.view
    return view.report.table.iloc[list(view.order)]


def same(panel: Any, **given: Any) -> dict[str, Any]:
    found = run(panel, **given)
    pd.testing.assert_frame_equal(found["table"].reset_index(drop=True), shown(panel).reset_index(drop=True))
    assert found["report"].scheme == panel.report.scheme
    assert found["report"].name == panel.report.name
    return found


def combinations() -> list[tuple[str, str]]:
    return [(name, dtype) for name, rules in CONVENTIONS.items() for dtype in rules.formats]


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_every_convention_with_each_of_its_formats(convention: str) -> None:
    for dtype in CONVENTIONS[convention].formats:
        if why_not(settled(dtype, convention=convention)) is None:
            same(pq.show(X, dtype=dtype, convention=convention), tensor=X)


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_comes_back_from_as_few_arguments_as_it_takes(name: str) -> None:
    scheme = PRESETS[name].scheme
    given = brief_settings(scheme)
    assert settled(**{"dtype": "qint8", **given}) == scheme
    for left_out in given:
        fewer = {each: value for each, value in given.items() if each != left_out}
        try:
            assert settled(**{"dtype": "qint8", **fewer}) != scheme
        except QuantError:
            continue


@pytest.mark.parametrize(
    "settings",
    [
        {"dtype": "int4", "group_size": 64}, {"group_size": (2, 64)}, {"granularity": "token"},
        {"granularity": "tensor", "scheme": "symmetric"}, {"clip_ratio": 0.7}, {"reduce_range": True},
        {"narrow_range": True, "dtype": "int5"}, {"ch_axis": -1}, {"tensor_name": EVIL},
        {"dtype": "mxfp4", "scale_rule": "even"}, {"convention": "onnxruntime", "dtype": "uint16"},
        {"dtype": "float8_e4m3fn", "convention": "onnxruntime", "scale_rule": "std"},
    ],
    ids=str,
)  # fmt: skip
def test_every_setting_is_in_the_code(settings: dict[str, Any]) -> None:
    same(pq.show(X, **settings), tensor=X)


@pytest.mark.parametrize("observer", POLICIES)
def test_observers(observer: str) -> None:
    panel = pq.show(X)
    panel.state.observer = observer
    if panel.view.problem is not None:
        with pytest.raises(QuantError):
            panel.as_code()
        return
    same(panel, tensor=X)
    assert ("observer" in panel.as_code()) == (observer != "minmax")


@pytest.mark.parametrize(
    "look",
    [
        {"sort": "given"}, {"sort": "worst", "descending": True}, {"sort": "mse"}, {"sort": "findings"},
        {"sort": "channel", "descending": True}, {"find": "1-3"}, {"find": "1"}, {"find": EVIL},
        {"finding": "outliers"}, {"finding": EVIL}, {"find": "3", "finding": "clipped", "sort": "scale"},
    ],
    ids=str,
)  # fmt: skip
def test_rows_are_those_in_view(look: dict[str, Any]) -> None:
    panel = pq.show(weight(30, 40))
    for name, value in look.items():
        setattr(panel.state, name, value)
    same(panel, tensor=weight(30, 40))


def test_equal_values_keep_the_order_of_the_view() -> None:
    x = np.repeat(weight(4, 16), 5, axis=0)
    panel = pq.show(x)
    for sort in ("sqnr_db", "scale", "clipped"):
        for descending in (False, True):
            panel.state.sort, panel.state.descending = sort, descending
            same(panel, tensor=x)


def test_only_what_is_not_usual_is_written() -> None:
    panel = pq.show(X)
    assert "report = pq.analyze(tensor)\n" in panel.as_code()
    panel.use("vllm-w4a16")
    call = ast.parse(panel.as_code()).body[1].value  # type: ignore[attr-defined]
    assert {each.arg for each in call.keywords} == {"dtype", "scheme", "group_size", "convention"}


def test_the_selected_channel_is_explained() -> None:
    panel = pq.show(X, channel_names=[EVIL, "b", "c", "d", "e", "f"])
    panel.state.channel = EVIL
    found = same(panel, tensor=X)
    assert found["explanation"].channel == panel.report.explain(EVIL).channel


def test_more_names_than_one_reads_are_a_variable() -> None:
    x, names = weight(70, 8), [f"f{n}" for n in range(70)]
    panel = pq.show(x, channel_names=names)
    assert "# channel_names: the 70 names" in panel.as_code()
    same(panel, tensor=x, channel_names=names)


def test_a_file_is_opened_by_name(tmp_path: Path) -> None:
    path = tmp_path / "it's; import os.npz"
    np.savez(path, **{"conv.weight": weight(4, 3, 3), "x'); y": weight(5, 7)})
    panel = pq.show(str(path))
    same(panel)
    panel.state.tensor = "x'); y"
    found = same(panel)
    assert found["report"].name == "x'); y"
    assert "name=" not in panel.as_code()
    panel.state.tensor_name = "mine"
    assert "name='mine'" in panel.as_code()
    same(panel)


def test_layers_are_named_in_a_comment_that_nothing_ends() -> None:
    layers = {f"w\n{EVIL}": weight(4, 8), "v": weight(3, 8)}
    panel = pq.show(layers)
    same(panel, tensor=layers[f"w\n{EVIL}"])
    code = panel.as_code()
    assert "import os" not in [line.strip() for line in code.splitlines()]
    assert len([each for each in ast.walk(ast.parse(code)) if isinstance(each, ast.Import)]) == 1


def test_pins_are_compared_once_there_is_a_baseline() -> None:
    panel = pq.show(X)
    panel.pin(EVIL)
    panel.state.bits = 4
    panel.pin("four")
    panel.state.clip_ratio = 0.8
    found = same(panel, tensor=X)
    pd.testing.assert_frame_equal(found["comparison"].table, panel.compare().table)
    panel.state.baseline = None
    assert "comparison" not in panel.as_code()


def test_pins_of_another_layer_are_left_out_or_read_once() -> None:
    layers = {"a": weight(4, 8), "b": weight(4, 16), "c": weight(5, 8)}
    panel = pq.show(layers, tensor="a")
    panel.pin("first")
    panel.state.tensor = "c"
    assert "comparison" not in panel.as_code()
    same(panel, tensor=layers["c"])
    panel.state.tensor = "b"
    code = panel.as_code()
    assert code.count("# tensor_2: ") == 1
    found = same(panel, tensor=layers["b"], tensor_2=layers["a"])
    assert len(found["comparison"].summary) == 2


@pytest.mark.parametrize("convention", ["calculator", "pytorch", "litert"])
def test_lines_come_back_as_typed(convention: str) -> None:
    text = 'a,-1,1,0.5\n"b\\",-2,2,1.23456789012345678\nbad line\n☃\t-1\t1\t0\r\nc_10,-1,3,1\nc_9,-1,2,2'
    panel = pq.show(text, convention=convention, scheme="symmetric", tensor_name=EVIL, ch_axis=2)
    found = same(panel)
    assert [str(each) for each in found["report"].errors] == [str(each) for each in panel.report.errors]
    for sort in ("channel", "sqnr_db", "worst", "given"):
        for descending in (False, True):
            panel.state.sort, panel.state.descending = sort, descending
            same(panel)
    panel.state.find = "c_"
    same(panel)
    panel.state.finding = "clipped"
    same(panel)


def test_manual_parameters(panel: Any) -> None:
    panel.state.mode = "params"
    assert "mode='params'" in panel.as_code()
    same(panel)
    panel.pin("before")
    panel.state.lines += "x,1,2,3\n"
    same(panel)


def test_without_a_result_there_is_no_code(panel: Any) -> None:
    panel.state.lines = "nothing"
    with pytest.raises(QuantError, match="no result"):
        panel.as_code()


@pytest.mark.parametrize(
    "text", ["", "a", "a\n", '"""', '\\"""\\', "\\", "a\\\nb\"\n", "\r\n\t\x00\x1b☃\ud800", "''' + x"]
)
def test_a_block_of_text_evaluates_to_itself(text: str) -> None:
    literal = text_block(text)
    assert ast.literal_eval(literal) == (text if text.endswith("\n") else text + "\n")
    assert literal.isascii()


def test_the_code_in_the_panel_is_made_when_it_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    panel = pq.show(X, tensor_name=EVIL)
    made: list[str] = []
    make: Callable[[Any], str] = panel.code._make
    monkeypatch.setattr(panel.code, "_make", lambda view: made.append("") or make(view))
    panel.state.clip_ratio = 0.9
    assert made == []
    assert panel.code.text is None
    panel.settle()
    panel.code.toggle.click()
    assert panel.code.text.value == panel.as_code()
    panel.state.clip_ratio = 0.8
    panel.settle()
    assert "0.8" in panel.code.text.value
    n = len(made)
    panel.code.toggle.click()
    panel.state.clip_ratio = 0.7
    panel.settle()
    assert len(made) == n
    assert not panel.code.open
    panel.code.toggle.click()
    assert "0.7" in panel.code.text.value
    panel.controls.fields["ch_axis"].value = "x"
    panel.settle()
    assert panel.code.text.value.startswith("# there is no result")
    panel.close()
    assert panel.code.text.comm is None
