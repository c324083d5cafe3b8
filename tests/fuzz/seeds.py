"""The good files that damage begins with: a few small ones for each reader, made anew in each run."""

from __future__ import annotations

import importlib
import importlib.util
import io
import json
import struct
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from fuzz.mutations import Edit, edit_digits, edit_json, edit_safetensors, edit_zip
from sources.checkpoints.seeds import NF4
from sources.tflite_files import Model, packed

#: Files by their path in a folder.
Files = dict[str, bytes]

EDITS: dict[str, tuple[Edit, ...]] = {
    ".npz": (edit_zip,), ".pt": (edit_zip,), ".safetensors": (edit_safetensors,), ".json": (edit_json,),
    ".npy": (edit_digits,),
}  # fmt: skip


@dataclass(frozen=True)
class Seed:
    """Files, and which of them is opened; "" for the folder itself. ``refused``: not good, but near something good."""

    files: Files
    path: str
    refused: bool = False


@dataclass(frozen=True)
class Reader:
    """A reader by name, its good files, and the packages that these need; it may use ``helpers``."""

    name: str
    seeds: Callable[[], list[Seed]]
    packages: tuple[str, ...] = ()
    helpers: tuple[str, ...] = ()

    def missing(self) -> str | None:
        """Why this reader cannot be tried here."""
        lacking = [name for name in self.packages if importlib.util.find_spec(name) is None]
        return f"{', '.join(lacking)} is not installed; make test ORACLES=1 installs it" if lacking else None


def _normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


def _saved(save: Callable[..., Any], *args: Any, **more: Any) -> bytes:
    out = io.BytesIO()
    save(out, *args, **more)
    return out.getvalue()


def _npy() -> list[Seed]:
    arrays = [
        _normal(4, 6), np.asfortranarray(_normal(3, 5)), _normal(2, 3, 4).astype(">f4"), _normal(7).astype(np.float16),
    ]  # fmt: skip
    others = [np.arange(6), np.zeros((2, 2), [("a", "f4")]), np.array([{"a": 1}, None], object)]
    return [
        Seed({"w.npy": _saved(np.save, each, allow_pickle=True)}, "w.npy", refused)
        for refused, group in ((False, arrays), (True, others))
        for each in group
    ]


def _npz() -> list[Seed]:
    arrays = {"conv.weight": _normal(4, 2, 3, 3), "bias": _normal(4), "half": _normal(3, 3).astype(np.float16)}
    more = {"n": np.arange(4), "order": np.asfortranarray(_normal(3, 4)), "o": np.array([None], object)}
    made = [_saved(np.savez, **arrays), _saved(np.savez_compressed, **arrays, **more)]
    return [Seed({"w.npz": each}, "w.npz") for each in made]


_CODES = {
    "float64": "F64", "float32": "F32", "float16": "F16", "int64": "I64", "int32": "I32", "int8": "I8", "uint8": "U8",
    "bool": "BOOL", "uint16": "BF16", "uint32": "U32",
}  # fmt: skip


def safetensors(tensors: Mapping[str, np.ndarray | tuple[str, np.ndarray]], more: Any = None) -> bytes:
    """A .safetensors file. A value may name its type; uint16 stands for bfloat16."""
    header: dict[str, Any] = {} if more is None else {"__metadata__": more}
    data = b""
    for name, value in tensors.items():
        code, array = value if isinstance(value, tuple) else (_CODES[value.dtype.name], value)
        header[name] = {"dtype": code, "shape": array.shape, "data_offsets": [len(data), len(data) + array.nbytes]}
        data += array.tobytes()
    raw = json.dumps(header).encode()
    return struct.pack("<Q", len(raw)) + raw + data


def _bytes(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape) + 1).integers(0, 256, shape).astype(np.uint8)


def _safetensors() -> list[Seed]:
    one = safetensors({"model.conv1.weight": _normal(4, 2, 3, 3), "model.fc.weight": _normal(5, 4), "n": np.arange(3)})
    kinds = {"a": _normal(3, 4).astype(np.float16), "b": (_bytes(6, 2).view(np.uint16)), "c": ("F8_E4M3", _bytes(4, 4)),
             "d": ("F8_E5M2", _bytes(4)), "e": ("F4", _bytes(4)), "f": np.zeros((0, 3), np.float32),
             "g": np.float64(2), "h": ("F8_E8M0", _bytes(5))}  # fmt: skip
    two = safetensors({name: value if isinstance(value, tuple) else np.asarray(value) for name, value in kinds.items()},
                      {"format": "pt"})  # fmt: skip
    return [Seed({"w.safetensors": each}, "w.safetensors") for each in (one, two)]


def _folder() -> list[Seed]:
    shards = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    first, second = {"embed.weight": _normal(6, 4), "norm.weight": _normal(4)}, {"head.weight": _normal(6, 4)}
    where = dict.fromkeys(first, shards[0]) | {"head.weight": shards[1]}
    index = {"metadata": {"total_size": 208}, "weight_map": where}
    files = {
        shards[0]: safetensors(first), shards[1]: safetensors(second),
        "model.safetensors.index.json": json.dumps(index).encode(),
        "config.json": json.dumps({"model_type": "llama", "hidden_size": 4}).encode(),
    }  # fmt: skip
    alone = {"model.safetensors": safetensors(first)}
    return [Seed(files, "model.safetensors.index.json"), Seed(files, ""), Seed(alone, "")]


def _checkpoints() -> list[Seed]:
    int32 = lambda *shape: _bytes(*shape[:-1], shape[-1] * 4).view(np.int32)  # noqa: E731
    scale = lambda *shape: (np.abs(_normal(*shape)) + 0.01).astype(np.float16)  # noqa: E731
    state = {"quant_type": "nf4", "blocksize": 64, "dtype": "float16", "shape": [8, 64]}
    layouts: list[tuple[dict[str, Any], dict[str, Any]]] = [
        ({"fc.qweight": int32(8, 16), "fc.qzeros": int32(2, 2), "fc.scales": scale(2, 16),
          "fc.g_idx": (np.arange(64) // 32).astype(np.int32)}, {"quant_method": "gptq", "bits": 4, "group_size": 32}),
        ({"fc.qweight": int32(64, 2), "fc.qzeros": int32(2, 2), "fc.scales": scale(2, 16)},
         {"quant_method": "awq", "bits": 4, "group_size": 32, "version": "gemm"}),
        ({"fc.weight_packed": int32(16, 8), "fc.weight_scale": scale(16, 2), "fc.weight_shape": np.array([16, 64]),
          "fc.weight_zero_point": int32(2, 2)},
         {"quant_method": "compressed-tensors", "format": "pack-quantized",
          "config_groups": {"group_0": {"targets": ["Linear"], "weights": {"num_bits": 4, "group_size": 32}}}}),
        ({"fc.weight": _bytes(8, 16).view(np.int8), "fc.weight_scale": scale(8, 1)},
         {"quant_method": "compressed-tensors", "format": "int-quantized"}),
        ({"fc.weight": ("F8_E4M3", _bytes(8, 16) & 0x77), "fc.weight_scale_inv": _normal(1, 1) ** 2},
         {"quant_method": "fp8", "weight_block_size": [128, 128]}),
        ({"fc.weight": _bytes(256, 1), "fc.weight.absmax": np.abs(_normal(8)),
          "fc.weight.quant_map": np.array(NF4, np.float32),
          "fc.weight.quant_state.bitsandbytes__nf4": np.frombuffer(json.dumps(state).encode(), np.uint8)},
         {"quant_method": "bitsandbytes", "load_in_4bit": True}),
        ({"fc.weight": _bytes(8, 16).view(np.int8), "fc.SCB": np.abs(_normal(8))},
         {"quant_method": "bitsandbytes", "load_in_8bit": True}),
        ({"fc.weight": _bytes(8, 32), "fc.weight_scale": ("F8_E4M3", _bytes(8, 4) & 0x77),
          "fc.weight_scale_2": np.float32([0.5]), "fc.input_scale": np.float32([1])},
         {"quant_method": "modelopt", "quant_algo": "NVFP4"}),
        ({"mlp.gate_up_proj_blocks": _bytes(2, 8, 2, 16), "mlp.gate_up_proj_scales": _bytes(2, 8, 2)},
         {"quant_method": "mxfp4"}),
    ]  # fmt: skip
    seeds = []
    for tensors, settings in layouts:
        config = json.dumps({"model_type": "llama", "quantization_config": settings}).encode()
        files = {"model.safetensors": safetensors(tensors | {"norm.weight": _normal(4)}), "config.json": config}
        seeds += [Seed(files, ""), Seed({"model.safetensors": files["model.safetensors"]}, "model.safetensors")]
    return seeds


def _gguf() -> list[Seed]:
    from sources.gguf_files import build, info, pair, text

    kinds = {"token_embd.weight": (0, 96), "a.weight": (1, 48), "blk.0.attn_q.weight": (2, 18), "b": (8, 34),
             "c": (12, 144), "d": (14, 210), "e": (24, 5), "f": (39, 17), "g": (6, 22), "h": (30, 16)}  # fmt: skip
    sizes = {0: (4, 6), 1: (6, 4), 2: (32,), 8: (32,), 12: (256,), 14: (256,), 24: (5,), 39: (32,), 6: (32,), 30: (8,)}
    infos, data = [], b""
    for name, (kind, n_bytes) in kinds.items():
        infos.append(info(name, sizes[kind], kind, len(data)))
        data += _bytes(n_bytes).tobytes() + bytes(-n_bytes % 32)
    words = struct.pack("<IQ", 8, 2) + text("one") + text("two")
    pairs = [pair("general.architecture", 8, text("llama")), pair("tokenizer.ggml.tokens", 9, words),
             pair("general.file_type", 4, struct.pack("<I", 2))]  # fmt: skip
    return [Seed({"w.gguf": each}, "w.gguf") for each in (build(infos, pairs, data), build(infos[:2], [], data))]


def _tflite() -> list[Seed]:
    made = []
    for outside in (False, True):
        model = Model()
        codes = np.random.default_rng(3).integers(-8, 8, (4, 64))
        x, y, bias = model.tensor((1, 64)), model.tensor((1, 4)), model.tensor((4,), "int32", bytes(16), scale=[1])
        weight = model.tensor((4, 64), "int8", codes.astype(np.int8), name="fc", scale=[1, 2, 3, 0.5], outside=outside)
        model.operation("FULLY_CONNECTED", [x, weight, bias], [y])
        kernel = _normal(4, 3, 3, 2).astype(np.float16)
        half = model.tensor(kernel.shape, "float16", kernel, name="conv", outside=outside)
        wide = model.tensor(kernel.shape)
        model.operation("DEQUANTIZE", [half], [wide])
        model.operation("CONV_2D", [x, wide], [model.tensor((1,))])
        scales = model.tensor((4, 2), "float16", np.ones((4, 2), np.float16), name="scales")
        model.tensor((4, 64), "int4", packed(codes, 4), name="blocks", blocks=(scales, 32))
        model.subgraph()
        model.tensor((4, 3), "int2", packed(codes[:, :3] % 2, 2), name="two", scale=[0.5], zero_point=[1])
        model.tensor((3,), "float64", _normal(3).astype(np.float64), name="fc")
        made.append(Seed({"w.tflite": model.between([], [])}, "w.tflite"))
    return made


def _torch(zipped: bool) -> Callable[[], list[Seed]]:
    def seeds() -> list[Seed]:
        torch = importlib.import_module("torch")
        shared = torch.from_numpy(_normal(6, 4))
        state = {
            "conv.weight": torch.from_numpy(_normal(4, 2, 3, 3)), "fc.weight": shared, "fc.half": shared[:3].half(),
            "bf": shared.bfloat16(), "n": torch.arange(4), "turned": shared.T, "view": shared[1:3],
        }  # fmt: skip
        nested = {"state_dict": state, "epoch": 3, "lr": 0.1, "args": ["a", 1]}
        module = torch.nn.Sequential(torch.nn.Linear(3, 2)).state_dict()
        made = [_torch_saved(torch, each, zipped) for each in (state, nested, module, shared)]
        return [Seed({"w.pt": each}, "w.pt") for each in made]

    return seeds


def _torch_saved(torch: Any, obj: Any, zipped: bool) -> bytes:
    return _saved(lambda out: torch.save(obj, out, _use_new_zipfile_serialization=zipped))


def _onnx() -> list[Seed]:
    onnx = importlib.import_module("onnx")
    make, numbers = onnx.helper, onnx.numpy_helper.from_array
    value = lambda name: make.make_tensor_value_info(name, 1, None)  # noqa: E731
    plain = [numbers(_normal(4, 2, 3, 3), "conv.w"), numbers(_normal(6, 4), "fc.w"), numbers(np.arange(3), "n")]
    nodes = [make.make_node("Conv", ["x", "conv.w"], ["y"]), make.make_node("Gemm", ["y", "fc.w"], ["z"], transB=1),
             make.make_node("Constant", [], ["k"], value=numbers(_normal(3), "k"))]  # fmt: skip
    coded = [numbers(_bytes(4, 8).view(np.int8), "q"), numbers(np.abs(_normal(4)), "s"),
             numbers(np.zeros(4, np.int8), "z"), numbers(_normal(4, 8), "f"), numbers(np.float32(0.1), "s1"),
             numbers(np.uint8(3), "z1")]  # fmt: skip
    linear = [make.make_node("DequantizeLinear", ["q", "s", "z"], ["d"], axis=0),
              make.make_node("QuantizeLinear", ["f", "s1", "z1"], ["fq"]),
              make.make_node("DequantizeLinear", ["fq", "s1", "z1"], ["fd"]),
              make.make_node("MatMul", ["x", "d"], ["y"]), make.make_node("MatMul", ["y", "fd"], ["z"])]  # fmt: skip

    def model(nodes: list[Any], held: list[Any]) -> Any:
        return make.make_model(make.make_graph(nodes, "g", [value("x")], [value("z")], held))

    seeds = [Seed({"w.onnx": model(*each).SerializeToString()}, "w.onnx") for each in ((nodes, plain), (linear, coded))]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "w.onnx"
        onnx.save_model(model(nodes, plain), str(path), save_as_external_data=True, location="w.data", size_threshold=0)
        files = {each.name: each.read_bytes() for each in sorted(Path(folder).iterdir())}
    return [*seeds, Seed(files, "w.onnx")]


READERS = {
    reader.name: reader
    for reader in (
        Reader("npy", _npy),
        Reader("npz", _npz),
        Reader("safetensors", _safetensors),
        Reader("folder", _folder),
        Reader("checkpoints", _checkpoints),
        Reader("gguf", _gguf, helpers=("gguf",)),
        Reader("onnx", _onnx, ("onnx",)),
        Reader("tflite", _tflite),
        Reader("torch-zip", _torch(True), ("torch",)),
        Reader("torch-legacy", _torch(False), ("torch",)),
    )
}
