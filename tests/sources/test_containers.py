"""One tensor gives one table, byte for byte, from every kind of file that can hold it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import ml_dtypes
import needs
import numpy as np
import pytest
from core.runtimes.bits import from_torch
from sources.checkpoint_files import write_index, write_safetensors
from sources.gguf_files import IDS, build, info
from sources.tflite_files import KINDS as TFLITE_KINDS
from sources.tflite_files import Model

import perchq_widget as pq

pytestmark = pytest.mark.oracle
torch, onnx, safetensors_torch = needs.oracle("torch"), needs.oracle("onnx"), needs.oracle("safetensors.torch")
NAME = "fc.weight"
KINDS = ("float32", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2")
GGUF_KINDS = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}
ONNX_KINDS = {
    "float32": "FLOAT", "float16": "FLOAT16", "bfloat16": "BFLOAT16", "float8_e4m3fn": "FLOAT8E4M3FN",
    "float8_e5m2": "FLOAT8E5M2",
}  # fmt: skip


def _npy(path: Path, array: np.ndarray, order: str) -> Any:
    np.save(path / f"{NAME}.npy", np.asarray(array, order=order))  # type: ignore[call-overload]
    return path / f"{NAME}.npy"


def _npz(path: Path, array: np.ndarray, save: Callable[..., None]) -> Any:
    save(path / "w.npz", **{NAME: array})
    return path / "w.npz"


def _safetensors(path: Path, array: np.ndarray) -> Any:
    return write_safetensors(path / "model.safetensors", {"other": np.ones(3, np.float32), NAME: array})


def _of_the_library(path: Path, array: np.ndarray, tensor: Any) -> Any:
    safetensors_torch.save_file({NAME: tensor, "other": torch.ones(3)}, path / "model.safetensors")
    return path / "model.safetensors"


def _sharded(path: Path, array: np.ndarray) -> Any:
    files = [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]
    write_safetensors(path / files[0], {"other": np.ones(3, np.float32)})
    write_safetensors(path / files[1], {NAME: array})
    return write_index(path / "model.safetensors.index.json", {"other": files[0], NAME: files[1]})


def _in_folder(path: Path, array: np.ndarray, make: Callable[..., Any]) -> Any:
    make(path, array)
    return path


def _torch(path: Path, array: np.ndarray, tensor: Any) -> Any:
    torch.save({NAME: tensor}, path / "w.pt")
    return path / "w.pt"


def _onnx(path: Path, array: np.ndarray, **options: Any) -> Any:
    kind = getattr(onnx.TensorProto, ONNX_KINDS[array.dtype.name])
    part = onnx.TensorProto(name=NAME, data_type=kind, dims=array.shape, raw_data=array.tobytes())
    step = onnx.helper.make_node("Gemm", ["x", NAME], ["y"], transB=1)
    graph = onnx.helper.make_graph([step], "g", [], [], [part])
    onnx.save_model(onnx.helper.make_model(graph), path / "w.onnx", **options)
    return path / "w.onnx"


def _gguf(path: Path, array: np.ndarray) -> Any:
    kind = IDS[GGUF_KINDS[array.dtype.name]]
    (path / "w.gguf").write_bytes(build([info(NAME, array.shape[::-1], kind, 0)], data=array.tobytes() + bytes(32)))
    return path / "w.gguf"


def _tflite(path: Path, array: np.ndarray) -> Any:
    model = Model()
    weight = model.tensor(array.shape, array.dtype.name, array, name=NAME)
    (path / "w.tflite").write_bytes(model.between([], [weight]))
    return path / "w.tflite"


def _makers(array: np.ndarray, tensor: Any) -> dict[str, Callable[[Path, np.ndarray], Any]]:
    """Container -> what writes the array to a folder and returns what is opened."""
    kind, outside = array.dtype.name, {"save_as_external_data": True, "location": "w.data", "size_threshold": 0}
    makers: dict[str, Callable[[Path, np.ndarray], Any]] = {
        "safetensors": _safetensors,
        "safetensors of the library": partial(_of_the_library, tensor=tensor),
        "index": _sharded,
        "folder of shards": partial(_in_folder, make=_sharded),
        "folder": partial(_in_folder, make=_safetensors),
        "torch": partial(_torch, tensor=tensor),
        "onnx": _onnx,
        "onnx, data outside": partial(_onnx, **outside),
        "mapping": lambda _, array: {NAME: array},
    }
    if kind in ("float32", "float16"):  # numpy's files cannot name the other types
        makers["npy"] = partial(_npy, order="C")
        makers["npy, Fortran"] = partial(_npy, order="F")
        makers["npz"] = partial(_npz, save=np.savez)
        makers["npz, deflated"] = partial(_npz, save=np.savez_compressed)
    if kind in GGUF_KINDS:
        makers["gguf"] = _gguf
    if kind in TFLITE_KINDS:
        makers["tflite"] = _tflite
    return makers


@pytest.mark.parametrize("kind", KINDS)
def test_one_tensor_one_table_from_every_file(kind: str, tmp_path: Path) -> None:
    values = (np.random.default_rng(7).standard_normal((6, 40)) * 3).astype(np.float32)
    tensor = torch.from_numpy(values).to(getattr(torch, kind))
    array = from_torch(torch, tensor)
    assert array.dtype == np.dtype(getattr(ml_dtypes, kind, kind))
    expected = _tables(pq.analyze(array, name=NAME), pq.analyze(array, name=NAME, dtype="int4", ch_axis=1))
    for number, (container, make) in enumerate(_makers(array, tensor).items()):
        folder = tmp_path / str(number)
        folder.mkdir()
        record = pq.open_source(make(folder, array))[NAME]
        assert (record.shape, record.dtype, record.ch_axis) == (array.shape, kind, 0), container
        assert record.read().tobytes() == record.raw().tobytes() == array.tobytes(), container
        assert record.rows(2, 5).tobytes() == array[2:5].tobytes(), container
        found = _tables(pq.analyze(record), pq.analyze(record, dtype="int4", ch_axis=1))
        assert found == expected, container


def _tables(*results: Any) -> list[bytes]:
    return [result.table.to_csv().encode() for result in results]
