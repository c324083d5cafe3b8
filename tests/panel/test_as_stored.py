"""Tensors that their file holds quantized: measured with its parameters, beside what would be chosen here."""

from __future__ import annotations

from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from panel.samples import weight

import perchq_widget as pq
from perchq_widget.core.errors import QuantError, QuantValueError
from perchq_widget.panel.app import QuantPanel
from perchq_widget.panel.as_stored import settings_from
from perchq_widget.panel.controls import HIDDEN
from perchq_widget.sources.base import TensorRecord, TensorSource
from perchq_widget.sources.stored import Stored
from perchq_widget.study.channels import STORED_QPARAMS

pytestmark = pytest.mark.usefixtures("alive")


def record(name: str, shape: tuple[int, ...] = (8, 128), **settings: Any) -> TensorRecord:
    """A record as a reader makes it: codes and parameters, and as values what they decode to."""
    # The file's maker clipped, as tools do that search: its scales are not those of the decoded values' ends.
    report = pq.analyze(weight(*shape), observer="mse" if not settings.get("group_size") else "minmax", **settings)
    codes, qparams = report.codes(), report.qparams
    return TensorRecord(
        name, shape, qparams.dtype, codes.nbytes, 0, "output channels come first", source="/nowhere/model.safetensors",
        stored_as=f"{qparams.dtype}, as the test has it", note="of the test",
        stored_loader=lambda: Stored(codes, qparams),
    )  # fmt: skip


def plain(name: str) -> TensorRecord:
    return TensorRecord(name, (6, 32), "float32", 768, 0, "the usual", loader=lambda: weight(6, 32))


def damaged(name: str) -> TensorRecord:
    def load() -> Any:
        raise QuantValueError("shard 2 is missing")

    return TensorRecord(name, (4, 4), "float32", 64, 0, "the usual", source="/nowhere/a.json", loader=load)


def source(*records: TensorRecord) -> TensorSource:
    return TensorSource(records, name="model", kind="test")


INT4 = {"dtype": "int4", "group_size": 32, "convention": "compressed-tensors"}
INT8 = {"dtype": "qint8", "scheme": "symmetric"}


@pytest.fixture
def model() -> TensorSource:
    return source(record("q4", **INT4), plain("f"), record("q8", **INT8), damaged("bad"))


@pytest.fixture
def shown(model: TensorSource) -> QuantPanel:
    return pq.show(model)


def toggle(panel: QuantPanel) -> Any:
    return panel.controls.fields["as_stored"]


def is_shown(panel: QuantPanel) -> bool:
    place = panel.controls._places.get("as_stored")
    return place is not None and HIDDEN not in place._dom_classes


def test_a_quantized_tensor_opens_as_its_file_has_it(model: TensorSource, shown: QuantPanel) -> None:
    state, report = shown.state, shown.report
    assert state.as_stored
    assert toggle(shown).value is True
    assert report.study.range_from == STORED_QPARAMS
    pd.testing.assert_frame_equal(report.table, pq.analyze(model["q4"]).table)
    assert (state.dtype, state.granularity, state.group_size) == ("int4", "group", 32)
    assert "q4, as the test" not in shown.controls.notes["as_stored"].value
    assert "int4, as the test has it" in shown.controls.notes["as_stored"].value
    assert "axis 0: output channels come first" in shown.controls.notes["ch_axis"].value
    assert shown.presets.field.value == ""  # no target's own settings, whatever they look like


@pytest.mark.parametrize(
    ("name", "value"),
    [("dtype", "int8"), ("scheme", "symmetric"), ("group_size", 64), ("granularity", "channel"), ("bits", 5),
     ("convention", "torchao"), ("observer", "mse"), ("clip_ratio", 0.9), ("reduce_range", True)],
)  # fmt: skip
def test_moving_a_setting_chooses_here(shown: QuantPanel, name: str, value: object) -> None:
    before = shown.state.group_size
    setattr(shown.state, name, value)
    assert not shown.state.as_stored
    assert toggle(shown).value is False
    assert shown.view.problem is not None or shown.report.study.range_from != STORED_QPARAMS
    if name in ("dtype", "clip_ratio", "bits"):
        assert shown.state.group_size == before  # the rest stays as the file has it


def test_settings_given_to_show_choose_here_from_the_start(model: TensorSource) -> None:
    panel = pq.show(model, dtype="int8")
    assert not panel.state.as_stored
    assert is_shown(panel)
    pd.testing.assert_frame_equal(panel.report.table, pq.analyze(model["q4"], dtype="int8").table)
    toggle(panel).value = True
    assert panel.report.study.range_from == STORED_QPARAMS
    with pytest.raises(QuantError, match="leave one out"):
        pq.show(model, dtype="int8", as_stored=True)
    with pytest.raises(QuantError, match="no tensor is quantized"):
        pq.show(weight(3, 4), as_stored=True)
    assert not pq.show(model, as_stored=False).state.as_stored


def test_the_next_layer_keeps_what_one_looks_at(shown: QuantPanel) -> None:
    state = shown.state
    state.tensor = "f"
    assert not state.as_stored
    assert not is_shown(shown)
    assert (state.dtype, state.group_size) == ("qint8", None)  # those that were there before
    with pytest.raises(QuantError, match="no codes of 'f'"):
        state.as_stored = True
    state.tensor = "q8"
    assert state.as_stored
    assert (state.dtype, state.scheme, state.granularity) == ("qint8", "symmetric", "channel")
    state.dtype = "int4"
    state.tensor = "q4"
    assert not state.as_stored
    assert state.scheme == "symmetric"  # the settings chosen at q8 go on
    shown.reset()
    assert state.as_stored
    assert shown.report.study.range_from == STORED_QPARAMS


def test_what_is_chosen_stands_beside_what_is_stored(model: TensorSource, shown: QuantPanel) -> None:
    shown.state.tensor = "q8"
    shown.controls._places["as_stored"].children[-1].click()
    assert not shown.state.as_stored
    assert shown.state.baseline == "as stored"
    assert "Now against <b>as stored</b>" in shown.board.delta.value
    want = pq.compare(pq.analyze(model["q8"]), pq.analyze(model["q8"], **INT8), names=["as stored", "now"])
    pd.testing.assert_frame_equal(shown.compare().table, want.table)
    shown.state.tensor = "q4"  # the pin follows
    assert [pin.intent.tensor for pin in shown.pins] == ["q4"]
    shown.restore("as stored")
    assert shown.state.as_stored
    shown.state.tensor = "f"
    assert "of 'q4' and not of 'f'" in unescape(shown.board.delta.value)
    with pytest.raises(QuantError, match="no codes of 'f'"):
        shown.compare_stored()


def test_a_tensor_that_cannot_be_read_is_said_beside_the_picker(shown: QuantPanel) -> None:
    shown.state.tensor = "bad"
    note = shown.controls.notes["tensor"].value
    assert all(each in note for each in ("bad", "/nowhere/a.json", "shard 2 is missing"))
    shown.state.dtype = "int4"
    assert "shard 2 is missing" in shown.controls.notes["tensor"].value
    shown.state.tensor = "f"
    assert shown.view.problem is None
    assert shown.report.name == "f"


def test_a_panel_opens_although_its_first_tensor_cannot_be_read() -> None:
    panel = pq.show(source(damaged("bad"), plain("f")))
    assert panel.report is None
    assert "shard 2 is missing" in panel.controls.notes["tensor"].value
    panel.picker.list.value = "f"
    assert panel.report.name == "f"
    with pytest.raises(QuantError, match=r"'bad' of /nowhere/a\.json cannot be read: shard 2"):
        pq.show(source(damaged("bad")))


def test_axes_and_settings_that_a_file_cannot_have(shown: QuantPanel) -> None:
    shown.state.ch_axis = 1
    assert "ch_axis must be 0 while" in shown.controls.notes["ch_axis"].value
    shown.state.as_stored = False
    assert "ch_axis must be 0 while" not in shown.controls.notes["ch_axis"].value


def test_formats_that_can_only_be_read(shown: QuantPanel) -> None:
    """A format without a rule: choosing here goes back to settings that can be chosen."""
    del shown
    qparams = pq.BlockParams(np.full((2, 8), 0.5, "f4"), minimum=np.zeros((2, 8), "f4"), dtype="q4_k",
                             convention="gguf", ch_axis=0)  # fmt: skip
    codes = np.ones((2, 256), np.uint8)
    held = TensorRecord(
        "k", (2, 256), "q4_k", 288, 0, "rows", source="/nowhere/m.gguf", stored_as="q4_k",
        stored_loader=lambda: Stored(codes, qparams),
    )  # fmt: skip
    panel = pq.show(source(held, plain("f")))
    assert panel.state.dtype == "q4_k"
    assert panel.controls.fields["dtype"].value == "q4_k"
    assert panel.compare_observers()["refused"].iloc[1:].all()
    toggle(panel).value = False
    assert panel.state.dtype == "qint8"
    assert panel.view.problem is None
    panel.compare_stored()
    assert "as stored" in panel.board.delta.value


@pytest.mark.parametrize("as_stored", [True, False])
@pytest.mark.parametrize("dtype", ["qint8", "int4"])
def test_code_gives_the_view_again(tmp_path: Path, dtype: str, as_stored: bool) -> None:
    held = record("q", dtype=dtype)
    panel = pq.show(source(held, plain("f")))
    panel.compare_stored()
    panel.state.as_stored = as_stored
    found: dict[str, Any] = {"tensor": held}
    exec(compile(panel.as_code(), "as_code", "exec"), found)
    pd.testing.assert_frame_equal(found["report"].table, panel.report.table)
    assert found["report"].study.range_from == panel.report.study.range_from
    assert len(found["comparison"].names) == 2


def test_what_needs_a_range_says_why_not(shown: QuantPanel) -> None:
    shown.state.tensor = "q8"
    assert "those in the file" in shown.curve._legend.value
    assert shown.chart._lines.selector is None
    with pytest.raises(QuantError, match="the file's own"):
        shown.compare_conventions()
    shown.controls.compare.click()
    assert "the file's own" in unescape(shown.comparison.status.value)
    toggle(shown).value = False
    assert "perchq-hidden" in shown.comparison.widget._dom_classes
    assert len(shown.compare_conventions())
    shown.comparison.use("onnxruntime")
    assert shown.state.convention == "onnxruntime"


def test_observers_beside_the_file(shown: QuantPanel) -> None:
    shown.state.tensor = "q8"
    frame = shown.compare_observers().set_index("observer")
    stored = frame.loc["as stored"]
    assert stored["sqnr_db"] == shown.report.summary["sqnr_db"]
    assert "◆" in shown.bakeoff.html.value.split("</tr>")[1]  # the file's row is in use
    shown.bakeoff.use("minmax")  # which the settings had already
    assert not shown.state.as_stored
    assert shown.report.summary["sqnr_db"] == frame.loc["minmax", "sqnr_db"]
    shown.bakeoff.use("as stored")
    assert shown.state.as_stored


def test_exports_say_where_the_parameters_come_from(tmp_path: Path, shown: QuantPanel) -> None:
    text = shown.report.to_html(tmp_path / "r.html").read_text()
    assert STORED_QPARAMS in text
    assert "as stored" in shown.board.name.placeholder


def test_stored_code_ranges_become_the_flags_that_say_them() -> None:
    scheme = pq.analyze(weight(3, 8), dtype="qint8", scheme="symmetric", quant_range=(-127, 127)).scheme
    assert settings_from(scheme)["narrow_range"] is True
    scheme = pq.analyze(weight(3, 8), dtype="qint8", quant_range=(-5, 5)).scheme
    assert not {settings_from(scheme)[name] for name in ("narrow_range", "reduce_range")} & {True}


def test_folders_and_files_open_alike(tmp_path: Path) -> None:
    np.savez(tmp_path / "m.npz", a=weight(4, 8), n=np.arange(3))
    tables = [pq.show(each, dtype="int4").report.table for each in (tmp_path, str(tmp_path), tmp_path / "m.npz")]
    pd.testing.assert_frame_equal(tables[0], tables[2])
    pd.testing.assert_frame_equal(tables[1], tables[2])
