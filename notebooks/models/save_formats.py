"""The digits network in the files that people have: one function per kind, each with the library that owns the format.

A kind whose library is not installed is left out and named; numpy alone is enough for the first four.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Weights = dict[str, Array]

_SAFETENSORS_TYPES = {"float32": "F32", "float16": "F16", "int32": "I32"}


def safetensors_bytes(tensors: Weights) -> bytes:
    """A .safetensors file: the length of a JSON header, the header, and the data of all tensors."""
    header: dict[str, Any] = {}
    end = 0
    for name, array in tensors.items():
        span = [end, end + array.nbytes]
        header[name] = {"dtype": _SAFETENSORS_TYPES[array.dtype.name], "shape": array.shape, "data_offsets": span}
        end = span[1]
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + b"".join(array.tobytes() for array in tensors.values())


def save_npz(weights: Weights, folder: Path) -> Path:
    """numpy's archive."""
    path = folder / "digits.npz"
    np.savez(path, **weights)  # type: ignore[arg-type]
    return path


def save_safetensors(weights: Weights, folder: Path) -> Path:
    """One file."""
    path = folder / "digits.safetensors"
    path.write_bytes(safetensors_bytes(weights))
    return path


def save_shards(weights: Weights, folder: Path) -> Path:
    """A folder with two shards and the index that says which tensor is where."""
    path = folder / "digits_sharded"
    path.mkdir()
    conv = {name: array for name, array in weights.items() if name.startswith("conv")}
    linear = {name: array for name, array in weights.items() if name not in conv}
    where: dict[str, str] = {}
    for number, part in enumerate((conv, linear), 1):
        shard = f"model-{number:05}-of-00002.safetensors"
        (path / shard).write_bytes(safetensors_bytes(part))
        where |= dict.fromkeys(part, shard)
    (path / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": where}))
    return path


def save_gptq(weights: Weights, folder: Path, group_size: int = 32) -> Path:
    """A folder as GPTQ tools write it: fc1 in 4 bits, eight codes to an int32, scales and zero points per group.

    The codes are plainly rounded; what GPTQ itself would do better is which way it rounds.
    """
    path = folder / "digits_gptq"
    path.mkdir()
    by_group = weights["fc1.weight"].T.reshape(-1, group_size, 64)  # inputs come first here
    low, high = by_group.min(1).clip(max=0), by_group.max(1).clip(min=0)
    scales = ((high - low) / 15).astype(np.float16)
    zeros = np.rint(-low / scales.astype(np.float32)).clip(1, 15).astype(np.int64)
    steps = np.rint(by_group / scales.astype(np.float32)[:, None]) + zeros[:, None]
    codes = steps.clip(0, 15).astype(np.int64).reshape(512, 64)
    kept = {name: array for name, array in weights.items() if name != "fc1.weight"}
    packed = {
        "fc1.qweight": _eight_to_a_word(codes),
        "fc1.qzeros": _eight_to_a_word((zeros - 1).T).T.copy(),
        "fc1.scales": scales,
        "fc1.g_idx": (np.arange(512) // group_size).astype(np.int32),
    }
    (path / "model.safetensors").write_bytes(safetensors_bytes(kept | packed))
    settings = {"quant_method": "gptq", "bits": 4, "group_size": group_size, "desc_act": False, "sym": False}
    (path / "config.json").write_text(json.dumps({"model_type": "digits", "quantization_config": settings}))
    return path


def _eight_to_a_word(codes: NDArray[np.int64]) -> NDArray[np.int32]:
    """Codes of 4 bits (8 n, columns) in n rows of 32-bit words, the first code lowest."""
    words = (codes.reshape(-1, 8, codes.shape[1]) << (4 * np.arange(8))[None, :, None]).sum(1)
    packed: NDArray[np.int32] = words.astype(np.uint32).view(np.int32)
    return packed


def save_torch(weights: Weights, folder: Path) -> Path:
    """A state dict."""
    import torch

    path = folder / "digits.pt"
    torch.save({name: torch.from_numpy(array.copy()) for name, array in weights.items()}, path)
    return path


def save_gguf(weights: Weights, folder: Path) -> Path:
    """conv in float32, fc1 in Q4_0, fc2 in Q8_0."""
    import gguf

    path = folder / "digits.gguf"
    writer = gguf.GGUFWriter(path, "digits")
    kinds = {"fc1.weight": gguf.GGMLQuantizationType.Q4_0, "fc2.weight": gguf.GGMLQuantizationType.Q8_0}
    for name, array in weights.items():
        kind = kinds.get(name)
        data = array if kind is None else gguf.quants.quantize(array, kind)
        writer.add_tensor(name, data, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def save_onnx(weights: Weights, folder: Path) -> Path:
    """The graph; fc1 as Gemm with transB, fc2 as MatMul, whose weight has its outputs on the last axis."""
    import onnx
    from onnx import helper, numpy_helper

    node = helper.make_node
    nodes = [
        node("Conv", ["image", "conv1.weight", "conv1.bias"], ["a"], name="conv1", pads=[1, 1, 1, 1]),
        node("Relu", ["a"], ["b"]),
        node("Conv", ["b", "conv2.weight", "conv2.bias"], ["c"], name="conv2", pads=[1, 1, 1, 1]),
        node("Relu", ["c"], ["d"]),
        node("MaxPool", ["d"], ["e"], kernel_shape=[2, 2], strides=[2, 2]),
        node("Flatten", ["e"], ["f"]),
        node("Gemm", ["f", "fc1.weight", "fc1.bias"], ["g"], name="fc1", transB=1),
        node("Relu", ["g"], ["h"]),
        node("MatMul", ["h", "fc2.weight_T"], ["i"], name="fc2"),
        node("Add", ["i", "fc2.bias"], ["scores"]),
    ]
    arrays = {name: array for name, array in weights.items() if name != "fc2.weight"}
    arrays["fc2.weight_T"] = weights["fc2.weight"].T.copy()
    graph = helper.make_graph(
        nodes, "digits",
        [helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, ["N", 1, 8, 8])],
        [helper.make_tensor_value_info("scores", onnx.TensorProto.FLOAT, ["N", 10])],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )  # fmt: skip
    path = folder / "digits.onnx"
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, path)
    return path


def save_onnx_int8(weights: Weights, folder: Path) -> Path:
    """The same after ONNX Runtime's static quantization: QDQ, int8 weights with one scale per channel."""
    import logging

    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Images(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            noise = np.random.default_rng(0).random((16, 1, 8, 8), np.float32)
            self._batches = iter([{"image": noise}])

        def get_next(self) -> dict[str, Array] | None:
            return next(self._batches, None)

    source = folder / "digits.onnx"
    path = folder / "digits_int8.onnx"
    logging.getLogger().setLevel(logging.ERROR)  # it advises preprocessing, which so small a graph does not need
    quantize_static(
        source if source.exists() else save_onnx(weights, folder), path, Images(), quant_format=QuantFormat.QDQ,
        per_channel=True, weight_type=QuantType.QInt8,
    )  # fmt: skip
    return path


@dataclass(frozen=True)
class Kind:
    """A kind of file, the function that writes it, and the packages that it needs."""

    title: str
    save: Callable[[Weights, Path], Path]
    needs: tuple[str, ...] = ()

    @property
    def missing(self) -> list[str]:
        """The packages that are not installed."""
        return [name for name in self.needs if find_spec(name) is None]


KINDS = (
    Kind("npz", save_npz),
    Kind("safetensors", save_safetensors),
    Kind("safetensors in shards", save_shards),
    Kind("torch state dict", save_torch, ("torch",)),
    Kind("ONNX", save_onnx, ("onnx",)),
    Kind("GGUF, partly quantized", save_gguf, ("gguf",)),
    Kind("ONNX, quantized to int8", save_onnx_int8, ("onnx", "onnxruntime")),
    Kind("GPTQ checkpoint", save_gptq),
)


def save_all(weights: Weights, folder: Path) -> dict[str, Path]:
    """The path of every kind that could be written, by its title."""
    folder.mkdir(parents=True, exist_ok=True)
    return {kind.title: kind.save(weights, folder) for kind in KINDS if not kind.missing}
