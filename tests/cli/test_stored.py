"""``perchq analyze`` on tensors that their file holds quantized, and on files that are listed."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import perchq_widget as pq
from perchq_widget.cli import main
from perchq_widget.core.errors import MissingExtra
from perchq_widget.sources import opening
from perchq_widget.sources.base import TensorRecord, TensorSource
from perchq_widget.sources.stored import Stored
from perchq_widget.study.channels import STORED_QPARAMS

X = np.random.default_rng(1).standard_normal((6, 64)).astype("f4")


def held(**settings: Any) -> TensorRecord:
    report = pq.analyze(X, **settings)
    codes, qparams = report.codes(), report.qparams
    return TensorRecord(
        "w", X.shape, qparams.dtype, codes.nbytes, 0, "rows", source="model.onnx", stored_as="int8, per channel",
        stored_loader=lambda: Stored(codes, qparams, values=X),
    )  # fmt: skip


RECORDS = (
    held(dtype="qint8", scheme="symmetric", observer="mse"),
    TensorRecord("ids", (3,), "int64", 24, 0, "the only axis", "it has integers"),
    TensorRecord("f", X.shape, "float32", X.nbytes, 0, "rows", loader=lambda: X),
    TensorRecord("odd", X.shape, "float32", 9, 0, "rows", loader=lambda: X, stored_as="fp4", note="no format here"),
)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(opening, "open_source", lambda _path: TensorSource(RECORDS, name="model.onnx", kind="test"))
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))

    def call(*arguments: str) -> tuple[int, str, str]:
        return main(["analyze", "model.onnx", *arguments]), *capsys.readouterr()

    return call


def settings_of(path: str) -> dict[str, Any]:
    settings: dict[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))["settings"]
    return settings


def test_the_listing_says_how_tensors_are_stored(run: Any) -> None:
    code, out, err = run()
    lines = [line.split(maxsplit=4) for line in out.splitlines()]
    assert lines[0][:4] == ["name", "dtype", "shape", "stored"]
    assert "int8, per channel" in out.splitlines()[1]
    assert out.splitlines()[2].endswith("✕ it has integers")
    assert code == 2
    assert "4 tensors; choose one with --tensor NAME" in err


def test_without_a_setting_a_tensor_is_measured_as_stored(run: Any) -> None:
    code, out, _ = run("--tensor", "w", "--json", "r.json")
    assert code == 0
    assert "as stored in the file: int8, per channel" in out.splitlines()[1]
    assert settings_of("r.json")["range_from"] == STORED_QPARAMS


@pytest.mark.parametrize("given", ["--dtype=int8", "--observer=minmax", "--clip-ratio=1", "--scheme=symmetric"])
def test_a_setting_quantizes_anew_even_a_default_one(run: Any, given: str) -> None:
    code, out, _ = run("--tensor", "w", given, "--json", "r.json")
    assert code == 0
    assert "quantized anew" in out.splitlines()[1]
    assert (settings_of("r.json")["range_from"], settings_of("r.json")["dtype"]) == ("minmax", "qint8")


@pytest.mark.parametrize("given", [[], ["--dtype", "int4", "--group-size", "32"]])
def test_both_side_by_side(run: Any, given: list[str]) -> None:
    code, out, err = run("--tensor", "w", "--compare-stored", *given, "--json", "c.json", "--csv", "c.csv")
    assert code == 0
    assert "chosen against as stored" in out
    assert "wrote c.json" in err
    stored, chosen = json.loads(Path("c.json").read_text(encoding="utf-8"))["summary"]
    assert stored["observer"] is None
    assert (chosen["dtype"], chosen["scheme"]) == (("int4", "affine") if given else ("qint8", "symmetric"))
    assert stored["sqnr_db"] != chosen["sqnr_db"]
    assert "sqnr_db_as stored" in Path("c.csv").read_text(encoding="utf-8").splitlines()[0]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["--tensor", "f", "--compare-stored"], "'f' is not quantized"),
     (["--tensor", "odd", "--compare-stored"], "'odd' is stored as fp4: no format here"),
     (["--tensor", "w", "--compare-stored", "--pdf", "c.pdf"], "leave --pdf out"),
     (["--tensor", "ids"], "it has integers")],
)  # fmt: skip
def test_what_cannot_be_is_one_line(run: Any, arguments: list[str], said: str) -> None:
    code, out, err = run(*arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert said in err


def test_a_missing_package_is_one_line_with_the_way_out(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_path: object) -> TensorSource:
        raise MissingExtra("gguf", "gguf")

    monkeypatch.setattr(opening, "open_source", missing)
    code, _, err = run()
    assert (code, err.count("\n")) == (2, 1)
    assert "model.onnx: this needs the package" in err
    assert 'pip install "perchq_widget[gguf]"' in err


def test_the_help_names_the_kinds_of_files(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["analyze", "--help"])
    text = capsys.readouterr().out
    assert all(suffix in text for suffix in opening.READERS)
    assert "folder" in text
