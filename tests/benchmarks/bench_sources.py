"""Opening files: what a list of tensors costs, and reading one tensor beside a plain read. `make bench`."""

from __future__ import annotations

import json
import mmap
import os
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from benchmarks.turns import RNG, in_turns
from needs import oracle
from sources.checkpoint_files import write_index, write_safetensors

from perchq_widget.sources.opening import open_source

pytestmark = pytest.mark.bench

N = 3000
LONG = 2**32
TENSOR = 2**27


def tensors(count: int = N) -> dict[str, np.ndarray]:
    return {f"model.layers.{place // 8}.part{place % 8}.weight": np.ones((2, 4), np.float32) for place in range(count)}


def shards(path: Path) -> Path:
    places = list(tensors().items())
    files = {f"m-{number:05}-of-00010.safetensors": dict(places[number::10]) for number in range(10)}
    for file, part in files.items():
        write_safetensors(path / file, part)
    return write_index(path / "m.safetensors.index.json", {name: file for file, part in files.items() for name in part})


def npz(path: Path) -> Path:
    np.savez(path / "m.npz", **tensors())
    return path / "m.npz"


def torch(path: Path) -> Path:
    library = oracle("torch")
    library.save({name: library.from_numpy(array) for name, array in tensors().items()}, path / "m.pt")
    return path / "m.pt"


def gguf(path: Path) -> Path:
    writer = oracle("gguf").GGUFWriter(path / "m.gguf", "llama")
    for name, array in tensors().items():
        writer.add_tensor(name, array)
    for step in ("header", "kv_data", "tensors"):
        getattr(writer, f"write_{step}_to_file")()
    writer.close()
    return path / "m.gguf"


def onnx(path: Path) -> Path:
    library = oracle("onnx")
    weights = [library.numpy_helper.from_array(array, name) for name, array in tensors().items()]
    graph = library.helper.make_graph([], "g", [], [], initializer=weights)
    library.save(library.helper.make_model(graph), path / "m.onnx")
    return path / "m.onnx"


#: kind -> what writes a file of it, the number of tensors, the seconds that listing them may take
KINDS: dict[str, tuple[Callable[[Path], Path], int, float]] = {
    "safetensors": (lambda path: write_safetensors(path / "m.safetensors", tensors()), N, 0.5),
    "100,000 safetensors": (lambda path: write_safetensors(path / "m.safetensors", tensors(100_000)), 100_000, 10),
    "10 shards": (shards, N, 0.5),
    "npz": (npz, N, 0.5),
    "torch": (torch, N, 0.5),
    "gguf": (gguf, N, 0.5),
    "onnx": (onnx, N, 0.5),
}


@pytest.mark.parametrize("kind", KINDS)
def test_listing(kind: str, tmp_path: Path) -> None:
    write, count, goal = KINDS[kind]
    path = write(tmp_path)
    try:
        assert len(open_source(path)) == count
    except ModuleNotFoundError as error:
        pytest.skip(f"no reader: {error}")
    (took,) = in_turns(lambda: open_source(path))
    print(f"\n{kind}: {count} tensors of {path.stat().st_size / 1e6:.1f} MB listed in {took:.2f} s (goal {goal:g})")
    assert took < goal


def long_file(path: Path) -> tuple[Path, int]:
    """4 GiB of holes around one tensor of real numbers; and where that begins."""
    before = LONG // 2
    header = {
        "before": {"dtype": "F32", "shape": [before // 4], "data_offsets": [0, before]},
        "w": {"dtype": "F32", "shape": [4096, TENSOR // 16384], "data_offsets": [before, before + TENSOR]},
        "after": {"dtype": "U8", "shape": [LONG - before - TENSOR], "data_offsets": [before + TENSOR, LONG]},
    }
    raw = json.dumps(header).encode()
    with (path / "long.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", len(raw)) + raw)
        file.seek(before, os.SEEK_CUR)
        file.write(RNG.standard_normal(TENSOR // 4, dtype=np.float32).tobytes())
        file.truncate(8 + len(raw) + LONG)
        os.fsync(file.fileno())
    return path / "long.safetensors", 8 + len(raw) + before


@pytest.mark.parametrize("cache", ["warm", "cold"])
@pytest.mark.parametrize("then", ["add", "copy"])
def test_reading_beside_a_plain_read(tmp_path: Path, cache: str, then: str) -> None:
    path, offset = long_file(tmp_path)
    record = open_source(path)["w"]
    into = np.empty(TENSOR // 4, np.float32)

    def evict() -> None:
        if cache == "cold":
            with path.open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

    def use(array: np.ndarray) -> None:
        np.copyto(into, array.ravel()) if then == "copy" else np.add.reduce(array.ravel())

    def plain() -> None:
        evict()
        with path.open("rb", buffering=0) as file:
            file.seek(offset)
            buffer = np.empty(TENSOR, np.uint8)
            file.readinto(buffer)
        use(buffer.view(np.float32))

    def ours() -> None:
        evict()
        use(record.read())

    assert TENSOR % mmap.PAGESIZE == 0
    our_s, plain_s = in_turns(ours, plain)
    print(
        f"\n{TENSOR >> 20} MiB of a 4 GiB file, {cache}, then {then}: {our_s * 1e3:.0f} ms, readinto "
        f"{plain_s * 1e3:.0f} ms, {our_s / plain_s:.2f}x (goal 1.3)"
    )
    assert our_s < 1.3 * plain_s
