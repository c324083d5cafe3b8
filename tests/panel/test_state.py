from __future__ import annotations

import numpy as np
import pytest

import perchq_widget as pq
from perchq_widget.core.errors import QuantError, QuantTypeError, QuantValueError
from perchq_widget.panel.menus import menus
from perchq_widget.panel.opening import opened
from perchq_widget.panel.state import PanelState, apply_options
from perchq_widget.panel.subjects import LinesSubject, Subject
from perchq_widget.panel.view import PAGE_ROWS, PanelView, resolve
from perchq_widget.sources.lines import EXAMPLE_LINES, EXAMPLE_PARAMS


def tensor(channels: int = 40, width: int = 30) -> np.ndarray:
    rng = np.random.default_rng(7)
    return (rng.standard_normal((channels, width)) * np.exp(rng.normal(0, 1, (channels, 1)))).astype(np.float32)


def view_of(obj: object = None, last: PanelView | None = None, **options: object) -> PanelView:
    state, subject = opened(obj, options)
    apply_options(state, options)
    return resolve(state.intent(), subject, last)


def calculator() -> tuple[PanelState, Subject]:
    return opened(None, {})


def test_equal_intents_give_the_same_report() -> None:
    state, subject = calculator()
    first = resolve(state.intent(), subject, None)
    second = resolve(state.intent(), subject, first)
    assert first.report is second.report
    assert first.intent == second.intent


def test_look_does_not_touch_the_report() -> None:
    state, subject = opened(tensor(), {})
    first = resolve(state.intent(), subject, None)
    state.channel, state.sort, state.descending, state.page = "3", "scale", True, 1
    second = resolve(state.intent(), subject, first)
    assert second.report is first.report
    assert second.table is first.table
    assert second.order != first.order


def test_modes_keep_their_texts() -> None:
    state, _ = calculator()
    state.lines = "mine,-1,1,0.5\n"
    state.mode = "params"
    assert state.lines == EXAMPLE_PARAMS
    state.lines = "p,0.1,3,0.5"
    state.mode = "ranges"
    assert state.lines == "mine,-1,1,0.5\n"
    state.mode = "params"
    assert state.lines == "p,0.1,3,0.5"


def test_opening_in_params_mode_keeps_the_other_example() -> None:
    state, _ = opened("p,0.1,3,0.5\n", {"mode": "params"})
    assert (state.mode, state.lines) == ("params", "p,0.1,3,0.5\n")
    state.mode = "ranges"
    assert state.lines == EXAMPLE_LINES


def test_worst_channel_is_selected_until_another_is_named() -> None:
    view = view_of()
    assert view.channel == "filter_1"
    assert view_of(channel="filter_3").channel == "filter_3"
    assert view_of(channel=0).channel == "filter_0"
    assert view_of(channel=-1).channel == "filter_3"


def test_unknown_channel_is_said_and_the_nearest_named() -> None:
    view = view_of(channel="filter_33")
    assert view.channel == "filter_1"
    assert "no channel 'filter_33'" in view.channel_note
    assert "filter_3" in view.channel_note


def test_worst_first_and_by_column_both_ways() -> None:
    view = view_of(tensor(), sort="worst")
    assert view.table is not None
    sqnr = view.table["sqnr_db"].to_numpy()
    assert np.all(np.diff(sqnr[list(view.order)]) >= 0)
    view = view_of(tensor(), sort="scale", descending=True)
    assert view.table is not None
    assert np.all(np.diff(view.table["scale"].to_numpy()[list(view.order)]) <= 0)


def test_page_follows_the_selection_and_stays_in_bounds() -> None:
    view = view_of(tensor(), sort="given", channel="35")
    assert view.page == 35 // PAGE_ROWS
    assert 35 in view.rows_on_page
    assert view.n_pages == 3
    assert view_of(tensor(), page=99).page == 2
    assert view_of(tensor(), page=-5).page == 0


def test_selecting_returns_to_the_page_of_the_selection() -> None:
    state, _ = opened(tensor(), {})
    state.page = 2
    state.channel = "1"
    assert state.page is None


def test_bad_lines_are_listed_and_good_ones_computed() -> None:
    view = view_of("a,-1,1,0.5\nb,2\nc,x,1,0\n")
    assert view.report is not None
    assert [error.line for error in view.errors] == [2, 3]
    assert view.names == ("a",)
    assert view.problem is None


@pytest.mark.parametrize("lines", ["", "   \n", "# only a comment\n", "nonsense\n"])
def test_no_good_line_at_all_gives_no_report_but_a_reason(lines: str) -> None:
    state, subject = calculator()
    good = resolve(state.intent(), subject, None)
    state.lines = lines
    view = resolve(state.intent(), subject, good)
    assert view.problem is not None
    assert view.problem.about == "lines"
    assert view.stale
    assert view.report is good.report


def test_text_in_the_box_is_never_a_path() -> None:
    state, subject = calculator()
    state.lines = "/etc/hosts.txt"
    view = resolve(state.intent(), subject, None)
    assert view.report is None
    assert len(view.errors) == 1


def test_a_refused_combination_keeps_the_last_result_and_names_its_control() -> None:
    state, subject = opened(tensor(), {})
    state.dtype = "quint8"
    good = resolve(state.intent(), subject, None)
    state.narrow_range = True
    view = resolve(state.intent(), subject, good)
    assert view.report is good.report
    assert view.stale
    assert view.problem is not None
    assert view.problem.about == "narrow_range"
    assert "choose" in view.problem.message
    # Another change that does not cure it leaves the reason where it was.
    state.page = 1
    again = resolve(state.intent(), subject, view)
    assert again.problem is not None
    assert again.stale


def test_menus_say_why_a_choice_is_not_allowed() -> None:
    state, _ = opened(tensor(), {})
    state.dtype = "quint8"
    menu = menus(state.intent(), "tensor")["narrow_range"]
    assert "quint8" in menu.reason(True)
    assert menu.reason(False) == ""


def test_an_axis_that_does_not_exist_is_shown_beside_the_axis() -> None:
    state, subject = opened(tensor(), {})
    good = resolve(state.intent(), subject, None)
    state.ch_axis = 7
    view = resolve(state.intent(), subject, good)
    assert view.problem is not None
    assert view.problem.about == "ch_axis"


@pytest.mark.parametrize(
    ("trait", "value", "hint"),
    [("dtype", "qint9", "qint8"), ("scheme", "afine", "affine"), ("convention", "pytorhc", "pytorch"),
     ("granularity", "channels", "channel"), ("mode", "range", "ranges"), ("clip_ratio", 0.0, "clip_ratio"),
     ("observer", "minmx", "minmax")],
)  # fmt: skip
def test_a_value_that_cannot_be_raises_and_names_the_nearest(trait: str, value: object, hint: str) -> None:
    state, _ = opened(None if trait == "mode" else tensor(), {})
    before = getattr(state, trait)
    with pytest.raises(QuantError, match=hint):
        setattr(state, trait, value)
    assert getattr(state, trait) == before


def test_aliases_are_resolved() -> None:
    state, _ = calculator()
    state.dtype = "uint8"
    assert state.dtype == "quint8"


@pytest.mark.parametrize(("option", "nearest"), [("dtpye", "dtype"), ("reduce", "reduce_range")])
def test_unknown_options_name_the_nearest(option: str, nearest: str) -> None:
    with pytest.raises(QuantTypeError, match=nearest):
        opened(None, {option: 1})


def test_options_of_the_wrong_type_name_the_option() -> None:
    state, _ = calculator()
    with pytest.raises(QuantValueError, match="ch_axis"):
        apply_options(state, {"ch_axis": "zero"})


def test_lines_have_no_tensor_options_and_tensors_no_lines() -> None:
    with pytest.raises(QuantTypeError, match="clip_ratio"):
        opened("a,1,2,1\n", {"clip_ratio": 0.5})
    with pytest.raises(QuantTypeError, match="lines"):
        opened(tensor(), {"lines": "a"})


def test_a_mapping_opens_its_first_tensor_and_another_by_name() -> None:
    two = {"conv": tensor(8), "fc": tensor(4)}
    assert view_of(two).report.name == "conv"  # type: ignore[union-attr]
    assert view_of(two, tensor="fc").report.name == "fc"  # type: ignore[union-attr]
    with pytest.raises(QuantValueError, match="fc"):
        opened(two, {"tensor": "fcc"})


def test_a_model_opens_at_its_first_weight() -> None:
    model = {"conv.bias": tensor(8)[:, 0], "conv.weight": tensor(8), "fc.weight": tensor(4)}
    assert view_of(model).report.name == "conv.weight"  # type: ignore[union-attr]
    assert view_of({"a": tensor(8)[:, 0]}).report.name == "a"  # type: ignore[union-attr]


def test_a_data_frame_and_rows_become_text() -> None:
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"channel": ["a,b", "c"], "min": [-1.0, 2.0], "max": [1.0, 1.0], "sample": [0.5, 0.5]})
    view = view_of(frame)
    assert view.names == ("a,b",)
    assert [error.reason.split(" (")[0] for error in view.errors] == ["min > max"]
    assert view_of([("a", -1, 1, 0.5)]).names == ("a",)


def test_a_csv_file_opens_the_calculator(tmp_path: object) -> None:
    from pathlib import Path

    file = Path(str(tmp_path)) / "ranges.csv"
    file.write_text("channel,min,max,sample\na,-1,1,0.5\n", encoding="utf-8")
    assert view_of(file).names == ("a",)
    assert view_of(str(file)).names == ("a",)
    with pytest.raises(FileNotFoundError, match="no such file"):
        view_of(str(file) + ".csv")


def test_the_subject_of_lines_needs_no_tensor() -> None:
    assert LinesSubject().tensors == ()


@pytest.mark.parametrize(("name", "nearest"), [("nosuch", "there are"), ("dtpye", "dtype"), ("ch_axes", "ch_axis")])
def test_a_setting_that_does_not_exist_raises_and_names_the_nearest(name: str, nearest: str) -> None:
    state, _ = calculator()
    with pytest.raises(AttributeError, match=nearest) as caught:
        setattr(state, name, 1)
    assert isinstance(caught.value, QuantError)


@pytest.mark.parametrize(("obj", "good", "bad"), [(None, "sample", "cosine"), (tensor(), "cosine", "sample")])
def test_a_sort_is_a_column_of_this_table(obj: object, good: str, bad: str) -> None:
    state, _ = opened(obj, {})
    state.sort = good
    with pytest.raises(QuantValueError, match="sort must be one of"):
        state.sort = bad
    with pytest.raises(QuantValueError, match="did you mean 'sqnr_db'"):
        state.sort = "sqnr_bd"
    assert state.sort == good


def test_choosing_a_sort_begins_ascending() -> None:
    state, _ = opened(tensor(), {"sort": "scale"})
    state.sort, state.descending = "scale", True
    state.sort = "worst"
    assert not state.descending
    view = view_of(tensor(), descending=True, sort="scale")  # in whatever order the options come
    assert view.intent.descending


def test_channels_sort_by_number() -> None:
    assert view_of(tensor(), sort="channel").order == tuple(range(40))
    names = [f"n{i}" for i in range(40)][::-1]
    assert view_of(tensor(), sort="channel", channel_names=names).order == tuple(range(40))
    assert view_of("f10,-1,1,0\nf9,-1,1,0\nF1,-1,1,0\n10,-1,1,0\n9,-1,1,0\n", sort="channel").order == (4, 3, 2, 1, 0)


def test_an_axis_that_was_asked_for_holds_for_every_layer_that_has_it() -> None:
    layers = {"a": tensor(4), "b": tensor(5), "bias": tensor(6)[:, 0]}
    _, subject = opened(layers, {"ch_axis": 1})
    assert [subject.axis(name) for name in layers] == [1, 1, 0]
    _, subject = opened(layers, {})
    assert [subject.axis(name) for name in layers] == [0, 0, 0]


@pytest.mark.parametrize("axis", [64, -65, 10**30])
def test_an_axis_that_no_array_has_is_refused(axis: int) -> None:
    state, _ = calculator()
    with pytest.raises(QuantValueError, match="ch_axis must lie"):
        state.ch_axis = axis


def test_an_empty_name_is_a_default_one() -> None:
    assert view_of(tensor_name="  ").report.name == "tensor"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("name", "value"),
    [("observer", "mse"), ("clip_ratio", 0.5), ("granularity", "tensor"), ("group_size", 64), ("narrow_range", True),
     ("scale_rule", "amax"), ("tensor", "w"), ("as_stored", True)],
)  # fmt: skip
def test_a_setting_that_lines_do_not_have_is_refused(name: str, value: object) -> None:
    state, _ = calculator()
    before = state.intent()
    with pytest.raises(QuantError, match=rf"{name} does not apply here.*lines have.*pq\.show\(tensor\)"):
        setattr(state, name, value)
    setattr(state, name, getattr(state, name))  # what it is already, as reset sets it
    assert state.intent() == before


def test_settings_that_lines_do_not_have_leave_reset_and_presets_working() -> None:
    panel = pq.show()
    panel.state.dtype = "quint8"
    panel.use("torch-x86-weights")
    panel.reset()
    assert (panel.state.dtype, panel.view.problem) == ("qint8", None)
    panel.close()


def test_a_tensor_has_no_lines() -> None:
    state, _ = opened(tensor(), {})
    with pytest.raises(QuantError, match="lines does not apply here: a tensor is shown"):
        state.lines = "a,-1,1,0\n"
