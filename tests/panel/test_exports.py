from __future__ import annotations

import json
from pathlib import Path

import pytest

import perchq_widget as pq
from perchq_widget.panel.app import QuantPanel
from perchq_widget.panel.exports import FORMATS, safe_stem


@pytest.mark.parametrize(
    ("name", "stem"),
    [("conv1.weight", "conv1.weight"), ("a/b\\c:d", "a_b_c_d"), ("../../etc", "etc"), ("", "tensor"), ("***", "tensor"),
     (".hidden", "hidden"), ("con", "tensor_con"), ("NUL.weight", "tensor_NUL.weight"),
     ("x" * 300, "x" * 80), ("Gewicht ß", "Gewicht_ß")],
)  # fmt: skip
def test_a_file_name_from_any_tensor_name(name: str, stem: str) -> None:
    assert safe_stem(name) == stem


@pytest.mark.parametrize("kind", ["csv", "json", "html", "notebook"])
def test_a_button_writes_its_file_and_says_where(panel: QuantPanel, tmp_path: Path, kind: str) -> None:
    panel.exports.name.value = "out"
    panel.exports.buttons[kind].click()
    written = tmp_path / f"out{FORMATS[kind][1]}"
    assert written.stat().st_size > 100
    assert "Wrote" in panel.exports.message.value
    assert written.name in panel.exports.message.value


def test_the_pdf_button(panel: QuantPanel, tmp_path: Path) -> None:
    pytest.importorskip("typst", reason="typst is not installed")
    pytest.importorskip("latex2mathml", reason="latex2mathml is not installed")
    panel.exports.buttons["pdf"].click()
    assert (tmp_path / "tensor.pdf").read_bytes().startswith(b"%PDF")


def test_what_is_exported_is_what_is_shown(panel: QuantPanel, tmp_path: Path) -> None:
    panel.state.dtype = "quint8"
    panel.exports.buttons["json"].click()
    saved = json.loads((tmp_path / "tensor.json").read_text(encoding="utf-8"))
    assert saved["settings"]["dtype"] == "quint8"


def test_an_existing_file_asks_for_the_tick(panel: QuantPanel, tmp_path: Path) -> None:
    (tmp_path / "tensor.csv").write_text("mine")
    panel.exports.buttons["csv"].click()
    assert (tmp_path / "tensor.csv").read_text() == "mine"
    assert "Overwrite" in panel.exports.message.value
    panel.exports.overwrite.value = True
    panel.exports.buttons["csv"].click()
    assert (tmp_path / "tensor.csv").read_text() != "mine"


def test_a_folder_that_does_not_exist_is_said_beside_the_button(panel: QuantPanel) -> None:
    panel.exports.name.value = "nowhere/out"
    panel.exports.buttons["csv"].click()
    assert "was not written" in panel.exports.message.value


def test_a_typed_name_is_kept_and_a_suggested_one_follows(panel: QuantPanel) -> None:
    panel.state.tensor_name = "second"
    assert panel.exports.name.value == "second"
    panel.exports.name.value = "mine"
    panel.state.tensor_name = "third"
    assert panel.exports.name.value == "mine"


def test_nothing_to_export_is_said(alive: set[str]) -> None:
    del alive
    panel = pq.show("rubbish\n")
    assert panel.report is None
    panel.exports.buttons["csv"].click()
    assert "no result" in panel.exports.message.value


@pytest.mark.parametrize(
    ("typed", "reason"),
    [(".", "no name"), ("..", "no name"), ("a/..", "no name"), ("/", "folder"), ("out/", "folder"), ("out\\", "folder"),
     ("con", "device"), ("NUL.csv", "device"), ("x/lpt1", "device"), ("a\0b", "not written")],
)  # fmt: skip
def test_a_name_that_no_file_can_have_is_said(panel: QuantPanel, tmp_path: Path, typed: str, reason: str) -> None:
    panel.exports.buttons["csv"].click()
    assert "✓" in panel.exports.message.value
    panel.exports.name.value = typed
    panel.exports.buttons["csv"].click()
    assert "✓" not in panel.exports.message.value
    assert reason in panel.exports.message.value
    assert [file.name for file in tmp_path.iterdir()] == ["tensor.csv"]


@pytest.mark.parametrize(("typed", "name"), [("a.csv", "a.csv"), ("A.CSV", "A.CSV"), ("v1.2", "v1.2.csv")])
def test_a_suffix_is_not_doubled_and_the_whole_path_is_shown(
    panel: QuantPanel, tmp_path: Path, typed: str, name: str
) -> None:
    panel.exports.name.value = typed
    panel.exports.buttons["csv"].click()
    assert [file.name for file in tmp_path.iterdir()] == [name]
    assert str(tmp_path / name) in panel.exports.message.value


@pytest.mark.parametrize(
    ("trait", "value"), [("dtype", "quint8"), ("lines", "a,-1,1,0.5"), ("tensor_name", "b"), ("lines", "rubbish")]
)
def test_a_message_goes_with_the_result_that_it_is_about(panel: QuantPanel, trait: str, value: object) -> None:
    panel.exports.buttons["csv"].click()
    panel.state.channel = "filter_3"
    assert "✓" in panel.exports.message.value
    setattr(panel.state, trait, value)
    assert panel.exports.message.value == ""
