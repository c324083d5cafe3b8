"""Data files beside a model: read lazily, refused where they lie elsewhere; a bad one spoils only its tensors."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from needs import oracle
from sources.onnx_files import external, model, normal, outside, saved, tensor

from perchq_widget.core.errors import QuantValueError
from perchq_widget.sources.base import TensorSource
from perchq_widget.sources.opening import open_source

onnx = oracle("onnx")
pytestmark = pytest.mark.oracle


def opened(folder: Path, location: str, **entries: int | str) -> TensorSource:
    """A model with a good tensor, and one whose data are at ``location``."""
    part = outside(tensor(normal(4, 6), "w"), location, **entries)
    return open_source(saved(model([], [part, tensor(normal(2, 2), "good")]), folder / "m.onnx"))


def why(source: TensorSource) -> str:
    assert [record.name for record in source.applicable()] == ["good"]
    assert source["good"].read().shape == (2, 2)
    with pytest.raises(QuantValueError, match=r"tensor 'w' cannot be analysed"):
        source["w"].read()
    return str(source["w"].not_applicable)


def test_data_files_are_mapped(tmp_path: Path) -> None:
    for name, content in external().items():
        (tmp_path / name).write_bytes(content)
    record = open_source(tmp_path / "m.onnx")["w"]
    array: Any = record.read()
    assert isinstance(array.base, np.memmap)
    assert np.array_equal(array, normal(4, 6))
    assert (record.ch_axis, record.n_bytes) == (0, 96)


def test_models_that_onnx_saved_with_external_data(tmp_path: Path) -> None:
    parts = [tensor(normal(40, 30), "a"), tensor(normal(50, 20).astype(np.float16), "b"), tensor(normal(3), "c")]
    (tmp_path / "data").mkdir()
    onnx.save(
        model([], parts), tmp_path / "m.onnx", save_as_external_data=True, location="data/all.bin", size_threshold=64
    )
    source = open_source(tmp_path / "m.onnx")
    for part in parts:
        assert source[part.name].read().tobytes() == part.raw_data


@pytest.mark.parametrize(
    "location",
    [
        "../w.bin",
        "/etc/passwd",
        "a/../../w.bin",
        "..\\w.bin",
        "C:\\w.bin",
        "\\\\host\\w.bin",
        "C:w.bin",
        "a/..",
        "//x/y",
    ],
)
def test_paths_out_of_the_folder_are_refused(tmp_path: Path, location: str) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    (tmp_path / "w.bin").write_bytes(bytes(96))
    assert "not in the model's folder: refused" in why(opened(inner, location))


@pytest.mark.parametrize(
    ("location", "entries", "words"),
    [
        ("none.bin", {}, "'none.bin' is missing"),
        ("", {}, "no file is named"),
        (".", {}, "no regular file"),
        ("a\0b", {}, "cannot be read"),
        ("n" * 5000, {}, "cannot be read"),
        ("w.bin", {"offset": 1}, "bytes 1..97 are not in 'w.bin' of 96 bytes"),
        ("w.bin", {"offset": 2**62}, "are not in 'w.bin'"),
        ("w.bin", {"offset": -1}, "offset of its external data is '-1'"),
        ("w.bin", {"offset": "9" * 5000}, "offset of its external data"),
        ("w.bin", {"offset": "0x10"}, "offset of its external data"),
        ("w.bin", {"length": 95}, "it takes 96 bytes, but 95 are given"),
        ("w.bin", {"length": "²"}, "length of its external data"),
    ],
)
def test_entries_are_checked_against_the_file(tmp_path: Path, location: str, entries: Any, words: str) -> None:
    (tmp_path / "w.bin").write_bytes(bytes(96))
    assert words in why(opened(tmp_path, location, **entries))


def test_links_that_leave_the_folder_are_refused(tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    (tmp_path / "secret").write_bytes(bytes(96))
    (inner / "w.bin").symlink_to(tmp_path / "secret")
    (inner / "up").symlink_to(tmp_path)
    assert "link out of the model's folder" in why(opened(inner, "w.bin"))
    assert "link out of the model's folder" in why(opened(inner, "up/secret"))


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "w.bin")
    assert "no regular file" in why(opened(tmp_path, "w.bin"))


def test_a_cache_of_links_into_one_folder_works(tmp_path: Path) -> None:
    """As Hugging Face's: model and data are links to files that lie together."""
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / "main"
    blobs.mkdir()
    snapshot.mkdir(parents=True)
    files = external()
    for blob, name in (("0a", "m.onnx"), ("0b", "w.bin")):
        (blobs / blob).write_bytes(files[name])
        (snapshot / name).symlink_to(Path("../../blobs") / blob)
    assert np.array_equal(open_source(snapshot / "m.onnx")["w"].read(), normal(4, 6))


def test_a_changed_data_file_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(bytes(96))
    record = opened(tmp_path, "w.bin")["w"]
    (tmp_path / "w.bin").write_bytes(bytes(100))
    with pytest.raises(QuantValueError, match="has changed since"):
        record.read()
