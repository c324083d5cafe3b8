"""What holds for every reader alike: files cut short, pickles in their place, names that nobody would choose."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import needs
import numpy as np
import pytest
from fuzz.seeds import READERS, Seed, safetensors
from sources.gguf_files import build, info
from sources.tflite_files import Model

import perchq_widget as pq
from perchq_widget.cli import main
from perchq_widget.core.errors import QuantError

pytestmark = pytest.mark.oracle
torch, onnx = needs.oracle("torch"), needs.oracle("onnx")
GOOD = np.arange(12, dtype=np.float32).reshape(3, 4)
NAMES = (
    "../../etc/passwd", "a\\b", "a\x07b", "a\nb\r\tc", "\x1b[31mred\x1b[2J", "<script>alert(1)</script>",
    "a\u202eb\u200b", "x" * 10_000, "=1+1", " ", "é漢", "\x9b31m", "good",
)  # fmt: skip
SUFFIXES = (".npy", ".npz", ".safetensors", ".index.json", ".gguf", ".onnx", ".tflite", ".pt", ".pth", ".ckpt", ".bin")


def laid(folder: Path, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


@pytest.mark.parametrize("reader", READERS)
def test_a_file_cut_short_is_refused_by_name_or_lists_what_is_left(reader: str, tmp_path: Path) -> None:
    seed: Seed = next(each for each in READERS[reader].seeds() if not each.refused)
    laid(tmp_path, seed.files)
    whole = {name: record.read().tobytes() for name, record in pq.open_source(tmp_path / seed.path).items()
             if record.not_applicable is None}  # fmt: skip
    longest = max(seed.files, key=lambda name: len(seed.files[name]))
    data = seed.files[longest]
    for end in np.linspace(0, len(data) - 1, 12, dtype=int):
        laid(tmp_path, {longest: data[:end]})
        for record in _opened(tmp_path / seed.path, tmp_path):
            if record.name in whole:  # the parts of a quantized weight stand alone where one of them is lost
                assert record.read().tobytes() == whole[record.name]


def _opened(path: Path, named: Path) -> list[Any]:
    """What is left of a file; nothing where it is refused, which must be by its name."""
    try:
        return pq.open_source(path).applicable()
    except QuantError as error:
        problem = str(error)
    assert str(named) in problem
    return []


class Payload:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self._folder),)


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_pickle_is_never_loaded_and_called_what_it_is(suffix: str, protocol: int, tmp_path: Path) -> None:
    path = tmp_path / f"model{suffix}"
    path.write_bytes(pickle.dumps({"w": Payload(tmp_path / "made")}, protocol))
    with pytest.raises(QuantError, match=r"model\..*is a (Python )?pickle.*can run anything") as caught:
        pq.open_source(path)
    assert "pass its arrays" in str(caught.value)
    assert not (tmp_path / "made").exists()


def test_a_header_whose_length_begins_as_a_pickle_is_none(tmp_path: Path) -> None:
    header = json.dumps({"w": {"dtype": "F32", "shape": [3, 4], "data_offsets": [0, 48]}}).encode().ljust(0x0280)
    (tmp_path / "w.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + GOOD.tobytes())
    assert pq.open_source(tmp_path / "w.safetensors")["w"].read().tobytes() == GOOD.tobytes()


def _npz() -> bytes:
    out, array = io.BytesIO(), io.BytesIO()
    np.save(array, GOOD)
    with zipfile.ZipFile(out, "w") as file:
        for name in NAMES:
            file.writestr(zipfile.ZipInfo(f"{name}.npy"), array.getvalue())
    return out.getvalue()


def _gguf() -> bytes:
    infos = [info(name, (4, 3), 0, 64 * place) for place, name in enumerate(NAMES)]
    return build(infos, data=(GOOD.tobytes() + bytes(16)) * len(NAMES))


def _tflite() -> bytes:
    model = Model()
    for name in NAMES:
        model.tensor((3, 4), "float32", GOOD, name=name)
    return model.between([], [])


def _torch() -> bytes:
    out = io.BytesIO()
    torch.save({name: torch.from_numpy(GOOD) for name in NAMES}, out)
    return out.getvalue()


def _onnx() -> bytes:
    tensors = [onnx.numpy_helper.from_array(GOOD, name) for name in NAMES]
    made = onnx.helper.make_model(onnx.helper.make_graph([], "g", [], [], tensors)).SerializeToString()
    assert isinstance(made, bytes)
    return made


MAKERS: dict[str, Callable[[], bytes]] = {
    "w.npz": _npz, "w.safetensors": lambda: safetensors(dict.fromkeys(NAMES, GOOD)), "w.gguf": _gguf,
    "w.tflite": _tflite, "w.pt": _torch, "w.onnx": _onnx,
    "w.index.json": lambda: json.dumps({"weight_map": dict.fromkeys(NAMES, "s.safetensors")}).encode(),
}  # fmt: skip


@pytest.mark.parametrize("file", MAKERS)
def test_strange_names_are_kept_and_shown_without_harm(
    file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    laid(tmp_path, {file: MAKERS[file](), "s.safetensors": MAKERS["w.safetensors"]()})
    source = pq.open_source(tmp_path / file)
    assert list(source) == list(NAMES)
    assert all(record.read().tobytes() == GOOD.tobytes() for record in source.values())
    assert main(["analyze", str(tmp_path / file)]) == 2
    listed = capsys.readouterr()
    for line in [*repr(source).split("\n"), *map(repr, source.values()), *f"{listed.out}{listed.err}".split("\n")]:
        assert line.isprintable()
    assert max(map(len, repr(source).split("\n"))) < 400
