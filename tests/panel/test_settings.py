"""The settings of a scheme: what moves with what, what is offered, what is refused and with which way out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from panel.samples import weight

import perchq_widget as pq
from perchq_widget.core.conventions import CONVENTIONS, conventions_with, why_not
from perchq_widget.core.defaults import settled
from perchq_widget.core.errors import QuantError
from perchq_widget.core.grids import DTYPES, INTEGER_DTYPES
from perchq_widget.panel.menus import conventions_for, dtype_label, hidden_controls, menus, settings_of
from perchq_widget.panel.moves import MOVED, followed, scale_rules, scheme_of
from perchq_widget.panel.opening import opened
from perchq_widget.panel.state import PanelState

X = weight(8, 256)


def moved(state: PanelState) -> dict[str, Any]:
    return {name: getattr(state, name) for name in MOVED}


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_format_is_one_click_away(dtype: str) -> None:
    """From the default settings, choosing any format gives settings that some runtime has."""
    state, _ = opened(X, {})
    state.dtype = dtype
    assert why_not(scheme_of(settings_of(state.intent()))) is None
    menu = menus(opened(X, {})[0].intent(), "tensor")["dtype"]
    assert menu.reason(dtype) == ""


@pytest.mark.parametrize("first", ["int4", "mxfp4", "nf4", "q4_1", "float8_e5m2", "uint16"])
@pytest.mark.parametrize("then", ["qint8", "mxfp8_e4m3fn", "nvfp4", "q8_0", "bfloat16", "int2"])
def test_every_format_is_one_click_from_every_other(first: str, then: str) -> None:
    state, _ = opened(X, {"dtype": first})
    state.dtype = first
    state.dtype = then
    assert why_not(scheme_of(settings_of(state.intent()))) is None


def test_a_format_brings_its_runtime() -> None:
    state, _ = opened(X, {})
    assert moved(state) | {"scale_rule": None} == {
        "scheme": "affine", "granularity": "channel", "group_size": None, "convention": "pytorch", "scale_rule": None,
    }  # fmt: skip
    for dtype in ("mxfp4", "nf4", "q4_0", "nvfp4"):
        state.dtype = dtype
        wanted = settled(dtype)
        assert moved(state) == {**{name: getattr(wanted, name) for name in MOVED}, "scale_rule": None}


def test_a_format_that_the_settings_have_moves_nothing() -> None:
    state, _ = opened(X, {"dtype": "int4", "group_size": 64, "scheme": "symmetric"})
    state.dtype, state.scheme, state.granularity, state.group_size = "int4", "symmetric", "group", 64
    state.convention = "compressed-tensors"
    before = moved(state)
    state.dtype = "qint8"
    assert moved(state) == before


def test_a_format_moves_as_little_as_it_takes() -> None:
    state, _ = opened(X, {"granularity": "tensor"})
    state.granularity = "tensor"
    state.dtype = "float8_e4m3fn"  # no affine floats, but one scale for a tensor
    assert (state.convention, state.granularity, state.scheme) == ("pytorch", "tensor", "symmetric")


def test_a_refusal_that_no_move_cures_stays_with_its_reason(alive: set[str]) -> None:
    del alive
    panel = pq.show(X)
    panel.state.narrow_range = True
    panel.state.dtype = "quint8"
    assert panel.state.convention == "pytorch"
    assert "narrow_range drops" in panel.controls.notes["dtype"].value


@pytest.mark.parametrize(
    ("name", "value", "change"),
    [
        ("granularity", "group", {"group_size": 128}),
        ("granularity", "block", {"group_size": (128, 128)}),
        ("granularity", "tensor", {"group_size": None}),
        ("group_size", 64, {"granularity": "group"}),
        ("group_size", "64", {"granularity": "group", "group_size": 64}),
        ("group_size", "4x64", {"granularity": "block", "group_size": (4, 64)}),
        ("group_size", [4, 64], {"granularity": "block", "group_size": (4, 64)}),
    ],
)
def test_granularity_and_group_size_move_together(name: str, value: Any, change: dict[str, Any]) -> None:
    state, _ = opened(X, {})
    setattr(state, name, value)
    assert {each: getattr(state, each) for each in change} == change
    state.granularity = "channel"
    assert state.group_size is None
    state.group_size = 32
    state.group_size = None
    assert state.granularity == "channel"


@pytest.mark.parametrize("value", ["abc", "0", "12x", 0, -3, 1.5, (1, 2, 3), True, "1" * 20])
def test_what_is_no_group_size_raises_and_changes_nothing(value: Any) -> None:
    state, _ = opened(X, {})
    with pytest.raises(QuantError, match="group_size"):
        state.group_size = value
    assert state.group_size is None
    assert state.granularity == "channel"


def test_a_scale_rule_goes_with_a_convention_that_does_not_have_it() -> None:
    rules = {name: scale_rules("mxfp4", name) for name in conventions_with("mxfp4")}
    here = next(name for name, each in rules.items() if len(each) > 1)
    rule = rules[here][-1]
    state, _ = opened(X, {"dtype": "mxfp4"})
    for there in rules:
        state.dtype, state.convention, state.scale_rule = "mxfp4", here, rule
        state.convention = there
        assert state.scale_rule == (rule if rule in rules[there] else None)
        assert why_not(scheme_of(settings_of(state.intent()))) is None


def test_what_moves_is_seen_in_one_piece(alive: set[str]) -> None:
    """No half-moved settings are evaluated: the panel never shows an error on the way."""
    del alive
    panel = pq.show(X)
    seen: list[str] = []
    panel.banner.widget.observe(lambda change: seen.append(change["new"]), "value")
    for dtype in ("int4", "float8_e4m3fn", "uint16", "qint8"):
        panel.state.dtype = dtype
    panel.state.convention = "torchao"
    panel.state.group_size = 64
    panel.state.group_size = (4, 64)
    assert panel.report.scheme.group_size == (4, 64)
    assert seen == []
    panel.controls.reset.click()
    assert panel.banner.widget.value == ""
    assert (panel.state.dtype, panel.state.granularity, panel.state.convention) == ("qint8", "channel", "pytorch")


@pytest.mark.parametrize(
    "options",
    [
        {"dtype": "int4", "group_size": 128}, {"dtype": "int4", "group_size": "128"}, {"group_size": (4, 64)},
        {"dtype": "float8_e4m3fn"}, {"granularity": "token"}, {"convention": "litert", "scheme": "symmetric"},
        {"dtype": "uint16"}, {"dtype": "int4", "group_size": 32, "convention": "compressed-tensors"},
    ],
    ids=str,
)  # fmt: skip
def test_show_takes_the_settings_of_analyze(alive: set[str], options: dict[str, Any]) -> None:
    del alive
    panel = pq.show(X, **options)
    size = {"group_size": panel.state.group_size} if "group_size" in options else {}
    assert panel.report.scheme == pq.analyze(X, **(options | size)).scheme


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"dtype": "int4", "group_size": 128, "convention": "pytorch"}, "no granularity 'group'"),
        ({"group_size": 100}, "group_size must divide"),
        ({"group_size": "many"}, "group_size must be a number"),
        ({"granularity": "group"}, "group_size must be an integer"),
        ({"dtype": "mxfp4", "scale_rule": "up"}, "no scale_rule 'up'"),
        ({"dtype": "mxfp4", "convention": "pytorch"}, "pytorch has no mxfp4"),
        ({"group_siez": 4}, "did you mean 'group_size'"),
        ({"size_text": "4"}, "unknown option 'size_text'"),
    ],
)
def test_what_show_cannot_take_raises(options: dict[str, Any], said: str) -> None:
    with pytest.raises(QuantError, match=said):
        pq.show(X, **options)


def test_lines_have_integers_per_channel(panel: Any) -> None:
    names = [name for _, name in panel.controls.fields["convention"].options]
    assert set(names) == set(conventions_for("calculator"))
    assert not {"ocp", "gguf", "bitsandbytes"} & set(names)
    assert [value for _, value in panel.controls.fields["dtype"].options] == list(INTEGER_DTYPES)
    for name in names:
        panel.state.scheme = "affine"
        panel.state.dtype = "qint8"
        panel.state.convention = name
        if panel.view.problem is not None:
            assert "choose" in panel.view.problem.message
            panel.state.scheme = "symmetric"
        assert panel.view.problem is None, name
        assert panel.report.scheme.convention == name
    with pytest.raises(QuantError, match="group_size"):
        pq.show("a,-1,1,0\n", group_size=4)


def test_labels_tell_kind_and_width() -> None:
    assert dtype_label("int4") == "int4 · integer, 4 bits"
    assert dtype_label("float8_e5m2") == "float8_e5m2 · float, 8 bits"
    assert dtype_label("mxfp4") == "mxfp4 · 4 bits, blocks of 32"


def test_every_convention_says_who_uses_it(alive: set[str]) -> None:
    del alive
    panel = pq.show(X)
    labels = {name: label for label, name in panel.controls.fields["convention"].options}
    assert list(labels) == list(CONVENTIONS)
    assert all(CONVENTIONS[name].used_by in label for name, label in labels.items())


def test_only_controls_that_apply_are_shown(alive: set[str]) -> None:
    del alive
    panel = pq.show(X)

    def hidden() -> set[str]:
        return {name for name, place in panel.controls._places.items() if "perchq-hidden" in place._dom_classes}

    assert hidden() == {"group_size", "scale_rule"}
    panel.state.group_size = 64
    assert "group_size" not in hidden()
    panel.state.granularity = "channel"
    panel.state.dtype = "float8_e4m3fn"
    assert {"scheme", "reduce_range", "narrow_range", "group_size"} <= hidden()
    panel.state.reduce_range = True  # has to be seen to be undone
    assert "reduce_range" not in hidden()
    assert "reduce_range" in str(panel.view.problem)
    panel.controls.fields["reduce_range"].value = False
    assert panel.view.problem is None
    assert "perchq-hidden" not in panel.controls._places["dtype"]._dom_classes


def test_shared_scales_hide_what_their_blocks_settle() -> None:
    state, _ = opened(X, {"dtype": "mxfp4"})
    state.dtype = "mxfp4"
    hidden = hidden_controls(state.intent())
    assert {"scheme", "granularity", "reduce_range", "narrow_range", "clip_ratio"} <= hidden
    assert ("scale_rule" in hidden) == (len(scale_rules("mxfp4", state.convention)) < 2)


def test_the_scale_rule_in_force_is_shown(alive: set[str]) -> None:
    del alive
    panel = pq.show(X, dtype="mxfp4")
    field = panel.controls.fields["scale_rule"]
    rules = scale_rules("mxfp4", panel.state.convention)
    assert [value for _, value in field.options] == list(rules)
    assert field.value == rules[0]
    assert panel.state.scale_rule is None
    field.value = rules[1]
    assert panel.state.scale_rule == rules[1]
    assert panel.report.scheme.scale_rule == rules[1]


def test_what_is_typed_as_a_group_size_stays_with_its_reason(alive: set[str]) -> None:
    del alive
    panel = pq.show(X, dtype="int4", group_size=128)
    field = panel.controls.fields["group_size"]
    assert field.value == "128"
    for typed in ("many", "", "0", "1.5"):
        field.value = typed
        assert field.value == typed
        assert "group_size must be a number" in panel.controls.notes["group_size"].value
        assert panel.view.stale
    field.value = "64"
    assert panel.report.scheme.group_size == 64
    assert panel.controls.notes["group_size"].value == ""
    field.value = "100"
    assert "must divide" in panel.controls.notes["group_size"].value
    field.value = "4x64"
    assert panel.report.scheme.granularity == "block"
    assert field.value == "4x64"
    panel.state.group_size = 32
    assert field.value == "32"


def test_a_convention_without_the_format_says_the_way_out(alive: set[str]) -> None:
    del alive
    panel = pq.show(X, dtype="nf4")
    panel.state.convention = "pytorch"
    said = panel.controls.notes["convention"].value
    assert "pytorch has no nf4; choose convention" in said
    assert "bitsandbytes" in said
    panel.state.convention = "bitsandbytes"
    assert panel.view.problem is None


def test_a_refused_granularity_names_the_conventions_that_have_it(alive: set[str]) -> None:
    del alive
    panel = pq.show(X)
    panel.state.granularity = "group"
    said = panel.controls.notes["granularity"].value
    assert "choose granularity" in said
    assert "torchao" in said
    panel.state.convention = "torchao"
    assert panel.report.scheme.group_size == 128


def test_the_same_reason_is_said_once_for_all_that_share_it(alive: set[str]) -> None:
    del alive
    panel = pq.show(X)
    said = panel.controls.notes["convention"].value
    assert said.count("has no qint8") == 1
    assert "ocp, bitsandbytes, gguf" in said
    panel.state.narrow_range = True
    assert panel.controls.notes["dtype"].value.count("no signed codes") == 1


def test_menus_are_judged_by_what_a_choice_leaves_behind() -> None:
    state, _ = opened(X, {})
    settings = settings_of(state.intent())
    assert followed({**settings, "dtype": "mxfp4"}, "dtype")["convention"] == "ocp"
    assert menus(state.intent(), "tensor")["dtype"].reason("mxfp4") == ""
    assert menus(state.intent(), "tensor")["granularity"].reason("group") != ""
    assert menus(state.intent(), "tensor") is menus(state.intent(), "tensor")  # a slider's steps cost no table


def test_blocks_need_a_matrix_and_say_so_beside_the_granularity(alive: set[str]) -> None:
    del alive
    panel = pq.show(np.ones((4, 2, 2), np.float32))
    panel.state.convention = "torchao"
    panel.state.group_size = (2, 2)
    assert "needs a matrix" in panel.controls.notes["granularity"].value
