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
from perchq_widget.core.observers import MSE, POLICIES, Percentile
from perchq_widget.panel.controls import HIDDEN
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
        places = panel.controls._places
        return {name for name in panel.controls.names if name not in places or HIDDEN in places[name]._dom_classes}

    assert hidden() == {"as_stored", "group_size", "scale_rule"}
    assert not {"as_stored", "group_size", "scale_rule", "parameters"} & set(panel.controls.fields)  # made when shown
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


def test_the_observer_is_a_policy_or_its_text(alive: set[str]) -> None:
    del alive
    panel = pq.show(X)
    for given, kept in ((Percentile(99), "percentile(99)"), ("mse", "mse"), (MSE(50), "mse(50)"), ("kl", "entropy")):
        panel.state.observer = given
        assert panel.state.observer == kept
        assert panel.report.scheme.observer == kept
        assert panel.report.table["scale"].equals(pq.analyze(X, observer=given).table["scale"])
    for bad in ("median", 3, None, "mse(n=4)", "percentile(200)"):
        with pytest.raises(QuantError, match="observer"):
            panel.state.observer = bad
        assert panel.state.observer == "entropy"
    assert pq.show(X, observer=Percentile(99)).state.observer == "percentile(99)"


def test_an_observer_is_chosen_and_its_parameters_typed(alive: set[str]) -> None:
    del alive
    panel = pq.show(X)
    field = panel.controls.fields["observer"]
    assert [value for _, value in field.options] == list(POLICIES)
    assert "parameters" not in panel.controls.fields
    field.value = "lp"
    text = panel.controls.fields["parameters"]
    assert text.value == "p=2.4, n_candidates=100"
    all_three = {"2": "lp(2)", "n_candidates=50": "lp(n_candidates=50)", "3, 20": "lp(3, n_candidates=20)"}
    for typed, kept in all_three.items():
        text.value = typed
        assert panel.state.observer == kept
        assert panel.report.scheme.observer == kept
    panel.state.observer = Percentile(99.5)
    assert text.value == "percentile=99.5"
    assert field.value == "percentile"
    field.value = "minmax"
    assert HIDDEN in text._dom_classes
    field.value = "mse"
    assert HIDDEN not in text._dom_classes


def test_parameters_that_are_none_stay_with_their_reason(alive: set[str]) -> None:
    del alive
    panel = pq.show(X, observer="percentile")
    text, note = panel.controls.fields["parameters"], panel.controls.notes["observer"]
    for typed in ("<b>", "30", "n=3", "1, 2", "99) + f(1", "9" * 300):
        text.value = typed
        assert text.value == typed
        assert "observer" in note.value
        assert "<b>" not in note.value
        assert panel.view.stale
        assert panel.state.observer == "percentile"
    text.value = "99"
    assert panel.view.problem is None
    assert panel.report.scheme.observer == "percentile(99)"
    text.value = "abc"
    panel.controls.fields["observer"].value = "mse"
    assert panel.view.problem is None
    assert text.value == "n_candidates=100"


def test_observers_are_refused_where_the_table_refuses_them(alive: set[str]) -> None:
    del alive
    panel = pq.show(X, convention="torchao", group_size=64)
    menu = panel.view.menus["observer"]
    for choice in menu.choices:
        refused = why_not(scheme_of({**settings_of(panel.state.intent()), "observer": choice.value}))
        assert bool(choice.reason) == (refused is not None), choice
    assert any(choice.reason for choice in menu.choices)
    panel.controls.fields["observer"].value = "mse"
    assert "choose observer" in panel.controls.notes["observer"].value
    panel.state.granularity = "channel"
    assert panel.view.problem is None
    assert panel.view.menus["granularity"].reason("group") != ""


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_format_is_one_click_from_a_searched_range(dtype: str) -> None:
    """A format that takes no other observer brings the usual one; the others keep the one in use."""
    state, _ = opened(X, {})
    state.observer = Percentile(99)
    state.dtype = dtype
    assert why_not(scheme_of(settings_of(state.intent()))) is None
    assert state.observer == ("percentile(99)" if "observer" not in hidden_controls(state.intent()) else "minmax")


def test_bits_move_between_integers_of_one_sign(alive: set[str]) -> None:
    del alive
    panel = pq.show(X, convention="compressed-tensors", scheme="symmetric")
    slider = panel.controls.fields["bits"]
    assert [value for _, value in slider.options] == [2, 3, 4, 5, 6, 7, 8, 16]
    assert [label for label, _ in slider.options if "✕" in label] == ["16 bits ✕"]
    for bits in (7, 4, 2, 8):
        slider.value = bits
        assert panel.state.dtype == ("qint8" if bits == 8 else f"int{bits}")
        assert panel.report.scheme.dtype == panel.state.dtype
    panel.state.dtype = "uint4"
    panel.state.bits = 8
    assert panel.state.dtype == "quint8"
    assert slider.value == 8
    panel.state.dtype = "float8_e5m2"
    assert panel.state.bits is None
    assert HIDDEN in panel.controls._places["bits"]._dom_classes
    with pytest.raises(QuantError, match="bits is the width of integers"):
        panel.state.bits = 4
    panel.state.dtype = "int4"
    for bad in (9, 0, "4", True, None, 4.5):
        with pytest.raises(QuantError, match="bits must be one of"):
            panel.state.bits = bad
    assert panel.state.dtype == "int4"


def test_bits_pass_those_that_the_runtime_does_not_have(alive: set[str]) -> None:
    """A width moves nothing else: on the way from 8 to 4 the runtime stays, and says what it does not have."""
    del alive
    panel = pq.show(X, convention="onnxruntime")
    slider = panel.controls.fields["bits"]
    assert [value for label, value in slider.options if "✕" not in label] == [4, 8, 16]
    assert "2, 3, 5, 6, 7: onnxruntime has no such integers" in panel.controls.notes["bits"].value
    for bits in (7, 6, 5):
        slider.value = bits
        assert panel.state.convention == "onnxruntime"
        assert f"onnxruntime has no int{bits}; choose convention" in panel.controls.notes["dtype"].value
        assert slider.value == bits
    slider.value = 4
    assert panel.view.problem is None
    assert (panel.state.dtype, panel.state.convention) == ("int4", "onnxruntime")


def test_lines_have_bits_too(panel: Any) -> None:
    panel.controls.fields["bits"].value = 4
    assert panel.report.scheme.dtype == "int4"
    assert "observer" not in panel.controls.fields


def test_the_clip_ratio_is_slid_or_typed(alive: set[str]) -> None:
    del alive
    panel = pq.show(X)
    slider, number = panel.controls.fields["clip_ratio"], panel.controls.fields["ratio"]
    assert (slider.step, number.step, slider.continuous_update) == (0.005, 0.005, True)
    assert number.description == "Clip ratio"
    number.value = 0.9973
    assert panel.report.scheme.clip_ratio == 0.9973
    slider.value = 0.5
    assert number.value == 0.5
    panel.state.clip_ratio = 0.25
    assert (slider.value, number.value) == (0.25, 0.25)


def test_reset_takes_settings_and_filters_back_and_leaves_work(alive: set[str]) -> None:
    del alive
    panel = pq.show(X, observer="percentile(99)")
    panel.pin("mine")
    panel.state.observer, panel.state.bits, panel.state.find = "mse", 4, "3"
    panel.state.finding = "outliers"
    panel.controls.fields["parameters"].value = "none"
    panel.controls.reset.click()
    assert (panel.state.observer, panel.state.dtype, panel.state.find) == ("percentile(99)", "qint8", "")
    assert (panel.state.finding, panel.state.observer_text) == (None, None)
    assert (panel.state.baseline, [pin.name for pin in panel.pins]) == ("mine", ["mine"])
    assert panel.view.problem is None
    assert "pins and the baseline stay" in panel.controls.reset.tooltip


def test_every_input_has_a_label_and_says_what_it_does(alive: set[str]) -> None:
    del alive
    panel = pq.show(X, dtype="mxfp4", observer="minmax")
    panel.state.dtype = "qint8"
    panel.state.group_size = 64
    panel.state.granularity, panel.state.observer = "channel", "lp"
    for name, field in panel.controls.fields.items():
        assert field.description or name == "clip_ratio", name  # the number beside the slider is labelled
        assert field.tooltip or field.tooltips, name


def test_a_slider_that_adds_up_its_steps_is_not_moved_back(alive: set[str], sent: list[dict[str, Any]]) -> None:
    del alive
    panel = pq.show(X)
    slider = panel.controls.fields["clip_ratio"]
    sent.clear()
    slider.set_state({"value": 0.7999999999999998})
    assert panel.state.clip_ratio == 0.8
    assert panel.controls.fields["ratio"].value == 0.8
    assert slider.value == 0.7999999999999998
    echoed = [each for each in sent if each["comm"] == slider.comm.comm_id and each["data"]["method"] == "update"]
    assert echoed == []
