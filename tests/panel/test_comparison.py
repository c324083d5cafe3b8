"""What would differ under every convention: the table's numbers, its reasons, its clicks, and how it gives way."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest
from ipywidgets.widgets.widget import _instances
from panel.samples import weight

import perchq_widget as pq
from perchq_widget.core.conventions import CONVENTIONS
from perchq_widget.panel import comparing
from perchq_widget.panel.app import QuantPanel
from perchq_widget.panel.comparing import TensorComparison, sample
from perchq_widget.panel.comparison import OUTDATED
from perchq_widget.panel.opening import opened

X = weight(8, 256)


@pytest.fixture
def tensor_panel(alive: set[str]) -> QuantPanel:
    del alive
    return pq.show(X, scheme="symmetric")


def test_it_is_convention_diff_for_each(tensor_panel: QuantPanel) -> None:
    frame = tensor_panel.compare_conventions().set_index("convention")
    assert frame.index[0] == "pytorch"
    assert set(frame.index) == set(CONVENTIONS)
    for name, row in frame.iterrows():
        if name == "pytorch":
            assert (row["codes_differ_pct"], row["gain_db"], row["refused"]) == (0, 0, "")
            assert row["sqnr_db"] == tensor_panel.report.summary["sqnr_db"]
        elif row["refused"]:
            assert np.isnan(row["sqnr_db"])
            with pytest.raises(pq.QuantError):
                pq.convention_diff(X, "pytorch", str(name), scheme="symmetric", granularity="channel")
        else:
            s = pq.convention_diff(X, "pytorch", str(name), scheme="symmetric", granularity="channel").summary
            assert (row["codes_differ_pct"], row["sqnr_db"]) == (s["codes_differ_pct"], s["sqnr_b_db"])
            assert row["gain_db"] == pytest.approx(s["sqnr_b_db"] - s["sqnr_a_db"], abs=1e-12)


@pytest.mark.parametrize(
    "options",
    [{"dtype": "int4", "group_size": 64}, {"dtype": "float8_e4m3fn"}, {"granularity": "token"}, {"dtype": "mxfp4"},
     {"dtype": "nf4"}, {"dtype": "nvfp4"}, {"group_size": (4, 64)}, {"dtype": "q4_0"}],
    ids=str,
)  # fmt: skip
def test_every_kind_of_format_is_compared(alive: set[str], options: dict[str, Any]) -> None:
    del alive
    panel = pq.show(X, **options)
    frame = panel.compare_conventions()
    assert set(frame["convention"]) == set(CONVENTIONS)
    assert frame["refused"].iloc[0] == ""
    assert not frame[frame["refused"] == ""].isna().any(axis=None)
    assert all("choose" in reason or "cannot be compared" in reason for reason in frame["refused"] if reason)


def test_the_table_names_codes_decibels_and_users(tensor_panel: QuantPanel) -> None:
    tensor_panel.controls.compare.click()
    html = tensor_panel.comparison.html.value
    frame = tensor_panel.comparison.frame
    able = frame[frame["refused"] == ""]
    assert html.count("<tr") == len(able) + 1
    assert html.count('scope="row"') == len(able)
    assert html.count('scope="col"') == 6
    assert "<caption>" in html
    assert "TensorRT engines built from quantized networks" in html
    assert "◆" in html.partition("</tr>")[2].partition("</tr>")[0]
    assert "Against <b>pytorch</b>" in tensor_panel.comparison.status.value
    assert 'role="status"' in tensor_panel.comparison.status.value
    refused = tensor_panel.comparison.refused.value
    assert "gguf</b>: has no qint8" in refused
    assert [button.tooltip for button in tensor_panel.comparison._overlay.children] == [
        f"Use convention {name}" for name in able["convention"]
    ]


def test_a_row_selects_its_convention_and_the_table_stays(tensor_panel: QuantPanel) -> None:
    tensor_panel.controls.compare.click()
    names = [each.name for each in tensor_panel.comparison.outcomes if not each.refused]
    place = names.index("onnxruntime")
    tensor_panel.comparison.rows[place].click()
    assert tensor_panel.state.convention == "onnxruntime"
    assert tensor_panel.report.scheme.convention == "onnxruntime"
    html = tensor_panel.comparison.html.value
    assert html.count('class="selected"') == 1
    assert html.partition('class="selected"')[2].partition("</th>")[0].endswith("onnxruntime")
    assert "Against <b>pytorch</b>" in tensor_panel.comparison.status.value
    assert len(tensor_panel.comparison.outcomes) == len(CONVENTIONS)


@pytest.mark.parametrize(
    ("trait", "value"), [("dtype", "int6"), ("clip_ratio", 0.5), ("ch_axis", 1), ("scheme", "affine")]
)
def test_other_settings_empty_the_table(tensor_panel: QuantPanel, trait: str, value: Any) -> None:
    tensor_panel.controls.compare.click()
    tensor_panel.state.channel = "3"  # only looks
    assert tensor_panel.comparison.outcomes
    setattr(tensor_panel.state, trait, value)
    tensor_panel.settle()
    assert tensor_panel.comparison.outcomes == ()
    assert tensor_panel.comparison.html.value == ""
    assert OUTDATED in tensor_panel.comparison.status.value
    assert not tensor_panel.comparison._overlay.children
    tensor_panel.controls.compare.click()
    assert tensor_panel.comparison.outcomes


def test_hidden_until_asked_for_and_hidden_again(tensor_panel: QuantPanel) -> None:
    widget = tensor_panel.comparison.widget
    assert "perchq-hidden" in widget._dom_classes
    tensor_panel.controls.compare.click()
    assert "perchq-hidden" not in widget._dom_classes
    tensor_panel.comparison.hide.click()
    assert "perchq-hidden" in widget._dom_classes
    assert tensor_panel.comparison.outcomes == ()


def test_without_a_result_there_is_nothing_to_compare_with(tensor_panel: QuantPanel) -> None:
    tensor_panel.state.ch_axis = 7
    tensor_panel.controls.compare.click()
    assert "correct the settings first" in tensor_panel.comparison.status.value
    assert tensor_panel.comparison.outcomes == ()
    with pytest.raises(pq.QuantValueError, match="correct them first: ch_axis must lie"):
        tensor_panel.compare_conventions()


def test_in_a_running_loop_it_fills_step_by_step_and_the_latest_wins(tensor_panel: QuantPanel) -> None:
    async def cell() -> None:
        tensor_panel.controls.compare.click()
        work = tensor_panel.comparison.work
        assert work.pending
        while len([each for each in tensor_panel.comparison.outcomes if not each.refused]) < 2:
            await asyncio.sleep(0)
        assert work.pending  # the panel listens in between
        assert "Comparing" in tensor_panel.comparison.status.value
        tensor_panel.state.dtype = "int5"
        tensor_panel.settle()
        assert not work.pending
        assert tensor_panel.comparison.outcomes == ()
        tensor_panel.controls.compare.click()
        frame = tensor_panel.compare_conventions()  # at once, whatever was under way
        assert not work.pending
        assert frame["codes_differ_pct"].iloc[0] == 0
        assert len(frame) == len(CONVENTIONS)

    asyncio.run(cell())


def test_a_failure_is_said_and_raised(tensor_panel: QuantPanel, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("<b>boom</b>")

    monkeypatch.setattr(TensorComparison, "outcome", broken)
    with pytest.raises(RuntimeError, match="boom"):
        tensor_panel.compare_conventions()
    assert "boom" in tensor_panel.comparison.status.value
    assert "<b>boom" not in tensor_panel.comparison.status.value


def test_what_only_this_tensor_prevents_is_a_reason_too(alive: set[str]) -> None:
    del alive
    panel = pq.show(weight(4, 100), group_size=64, convention="calculator")  # whose last group may be short
    refused = panel.compare_conventions().set_index("convention")["refused"]
    assert "must divide" in refused["torchao"]


def test_scale_rules_are_each_convention_s_own(alive: set[str]) -> None:
    del alive
    panel = pq.show(X, dtype="mxfp4", scale_rule="ceil")
    frame = panel.compare_conventions().set_index("convention")
    others = frame[(frame["refused"] == "") & (frame.index != panel.state.convention)]
    assert len(others)
    assert (others["codes_differ_pct"] > 0).all()  # their rules are not ceil


def test_lines_are_compared_too(panel: QuantPanel) -> None:
    panel.state.scheme = "symmetric"
    frame = panel.compare_conventions().set_index("convention")
    here = panel.report.table["quantized"]
    there = pq.calculate(panel.state.lines, scheme="symmetric", convention="tensorrt")
    assert frame.loc["tensorrt", "codes_differ_pct"] == 100 * (here != there.table["quantized"]).mean()
    assert frame.loc["tensorrt", "sqnr_db"] == there.summary["sqnr_db"]
    panel.state.lines += "same,-1,1,0.5\n"
    assert OUTDATED in panel.comparison.status.value


@pytest.mark.parametrize(
    ("shape", "ch_axis", "options", "left"),
    [
        ((64, 128), 0, {}, (16, 128)),
        ((64, 128), 1, {}, (64, 32)),
        ((64, 128), 1, {"granularity": "token"}, (16, 128)),
        ((64, 128), 1, {"group_size": (8, 32), "scheme": "symmetric"}, (16, 128)),
        ((2, 8192), 0, {"group_size": 32}, (1, 2048)),
        ((8, 4, 256), 1, {}, (8, 1, 256)),
    ],
)
def test_large_tensors_are_compared_on_evenly_spaced_slices(
    monkeypatch: pytest.MonkeyPatch,
    shape: tuple[int, ...],
    ch_axis: int,
    options: dict[str, Any],
    left: tuple[int, ...],
) -> None:
    monkeypatch.setattr(comparing, "MOST", 2048)
    array = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    scheme = pq.analyze(array, ch_axis=ch_axis, **options).scheme
    some, note = sample(array, ch_axis, scheme)
    assert some.shape == left
    assert some.size <= 2048
    assert f"of {shape[0]:,} slices" in note or f"of {shape[ch_axis]:,} slices" in note
    assert f"{array.size:,} values" in note
    if options.get("group_size") == (8, 32):
        rows = (some[:, 0] / 128).astype(int)
        assert (rows.reshape(-1, 8) % 8 == np.arange(8)).all()  # whole blocks
    assert sample(some, ch_axis, scheme) == (some, "")


def test_the_panel_says_that_it_compared_a_part(alive: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    del alive
    monkeypatch.setattr(comparing, "MOST", 512)
    panel = pq.show(X)
    panel.compare_conventions()
    assert "Compared on 2 of 8 slices of axis 0" in panel.comparison.status.value
    assert "2,048 values" in panel.comparison.status.value


def test_close_leaves_no_row_behind() -> None:
    before = set(_instances)
    panel = pq.show(X)
    panel.compare_conventions()
    panel.state.dtype = "int4"  # the rows are out of sight
    panel.close()
    assert set(_instances) == before


def test_hostile_reasons_come_out_as_text() -> None:
    from perchq_widget.panel.comparing import Outcome
    from perchq_widget.panel.rows_table import refused_html

    assert "<script>" not in refused_html("convention", [Outcome("ocp", refused="<script>alert(1)</script>")])


def test_the_outcome_of_an_intent_needs_no_widget() -> None:
    state, subject = opened(X, {})
    outcome = subject.comparison(state.intent()).outcome("calculator")
    s = pq.convention_diff(X, "pytorch", "calculator").summary
    assert outcome.differ_pct == s["codes_differ_pct"]
