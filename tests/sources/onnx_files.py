"""Small ONNX models, built with onnx.helper: every element type, every way to quantize, subgraphs, external data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from fuzz.mutations import EDGES, damaged
from needs import oracle

from perchq_widget.sources.onnx.wire import BYTES, VARINT, WireError, encoded, fields

onnx = oracle("onnx")
helper, numpy_helper, types = onnx.helper, onnx.numpy_helper, onnx.TensorProto
node, info = helper.make_node, helper.make_tensor_value_info

MS = "com.microsoft"
OPSETS = (("", 21), (MS, 1))


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).normal(0, 0.2, shape).astype(np.float32)


def tensor(array: np.ndarray, name: str) -> Any:
    return numpy_helper.from_array(np.ascontiguousarray(array), name)


def model(
    nodes: Sequence[Any], initializers: Sequence[Any] = (), *, inputs: Sequence[Any] = (), outputs: Sequence[Any] = (),
    opset: int = 21, functions: Sequence[Any] = (),
) -> Any:  # fmt: skip
    graph = helper.make_graph(list(nodes), "graph", list(inputs), list(outputs), list(initializers))
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid(MS, 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=11, functions=list(functions))


def saved(proto: Any, path: Path) -> Path:
    path.write_bytes(proto.SerializeToString())
    return path


def samples() -> Iterator[tuple[str, int, np.ndarray]]:
    """An array of shape (3, 5) of each element type."""
    small = np.array([0.5, 1, 2, 4, 1, 0.5, 2, 1, 0.5, 1, 1, 2, 4, 2, 1])
    whole = np.array([0, 1, 0, 1, 1, 0, 1, 1, 0, 1, 1, 0, 1, 0, 1])
    for name, number in types.DataType.items():
        if name not in ("UNDEFINED", "STRING"):
            signed = -whole if name.startswith("INT") else whole
            plain = small if "FLOAT" in name or name == "DOUBLE" else signed
            values = small * (1 - 2j) if name.startswith("COMPLEX") else plain
            yield name, number, values.astype(helper.tensor_dtype_to_np_dtype(number)).reshape(3, 5)


def typed(name: str, number: int, array: np.ndarray) -> Any:
    """The same in the typed field of its kind."""
    plain = array if array.dtype.kind == "c" else array.astype(np.float64 if "FLOAT" in name else array.dtype)
    return helper.make_tensor(name, number, array.shape, plain.ravel().tolist())


def every_type() -> Any:
    tensors = [tensor(array, f"{name}.raw") for name, _, array in samples()]
    tensors += [typed(f"{name}.typed", number, array) for name, number, array in samples()]
    return model([], [*tensors, helper.make_tensor("STRING", types.STRING, (2,), [b"a", "é".encode()])])


#: Layout of scales -> (their shape for codes of (6, 32), attributes)
LAYOUTS: dict[str, tuple[tuple[int, ...], dict[str, int]]] = {
    "tensor": ((), {}), "one": ((1,), {}), "axis0": ((6,), {"axis": 0}), "axis1": ((32,), {}),
    "last": ((32,), {"axis": -1}), "blocks0": ((3, 32), {"axis": 0, "block_size": 2}),
    "blocks1": ((6, 2), {"axis": 1, "block_size": 16}), "short": ((6, 3), {"axis": 1, "block_size": 12}),
}  # fmt: skip


def dequantize(codes: str, layout: str, scales: str = "FLOAT", *, zero: bool = False) -> Any:
    """X -> DequantizeLinear -> y: a model without inputs."""
    rng = np.random.default_rng(len(codes) + len(layout))
    shape, attributes = LAYOUTS[layout]
    kind, signed = getattr(types, codes), not codes.startswith("U")
    low, high = (-2, 2) if signed else (0, 4)
    parts = [
        helper.make_tensor("X", kind, (6, 32), rng.integers(low, high, 192).tolist()),
        helper.make_tensor("S", getattr(types, scales), shape, np.ravel(rng.random(shape) + 0.1).tolist()),
    ]
    if zero:
        parts.append(helper.make_tensor("Z", kind, shape, np.ravel(rng.integers(low, high, shape)).tolist()))
    nodes = [
        node("DequantizeLinear", ["X", "S"] + ["Z"] * zero, ["d"], "dq", **attributes),
        node("Cast", ["d"], ["y"], to=types.FLOAT),
    ]
    return model(nodes, parts, outputs=[info("y", types.FLOAT, None)])


def matmul_nbits(
    bits: int, block: int, zero: str = "", *, rows: int = 6, columns: int = 70, order: bool = False
) -> Any:
    """y = a @ B: with the identity for a, y is B. ``zero``: "", "packed", "whole" or "float"."""
    rng = np.random.default_rng(bits)
    blocks = -(-columns // block)
    parts = [
        tensor(rng.integers(0, 256, (rows, blocks, block * bits // 8)).astype(np.uint8), "B"),
        tensor((rng.random((rows, blocks)) + 0.01).astype(np.float32), "S"),
    ]
    zeros = {
        "packed": rng.integers(0, 256, (rows, -(-blocks * bits // 8))).astype(np.uint8),
        "whole": rng.integers(0, 1 << bits, (rows, blocks)).astype(np.float32),
        "float": (rng.random((rows, blocks)) * 3).astype(np.float32),
    }
    parts += [tensor(zeros[zero], "Z")] if zero else []
    parts += [tensor(rng.integers(0, blocks, columns).astype(np.int32), "I")] if order else []
    names = ["a", "B", "S", "Z" if zero else "", "I" if order else ""]
    step = node("MatMulNBits", names, ["y"], "mm", domain=MS, K=columns, N=rows, bits=bits, block_size=block)
    return model([step], parts, inputs=[info("a", 1, [columns, columns])], outputs=[info("y", 1, [columns, rows])])


def gather_blocks(codes: str, bits: int, *, zero: bool) -> Any:
    """y = table[i]."""
    rng = np.random.default_rng(bits)
    rows, columns, block = 5, 64, 16
    packs = codes == "UINT8" and bits == 4

    def made(name: str, n: int) -> Any:
        values = rng.integers(0, 1 << bits, (rows, n))
        if packs:
            return tensor((values[:, 0::2] | values[:, 1::2] << 4).astype(np.uint8), name)
        return helper.make_tensor(name, getattr(types, codes), values.shape, (values - 8 * (codes == "INT4")).ravel())

    scale = tensor((rng.random((rows, columns // block)) + 0.1).astype(np.float32), "S")
    parts = [made("D", columns), scale, *([made("Z", columns // block)] if zero else [])]
    names = ["D", "i", "S", *(["Z"] if zero else [])]
    attributes = {"block_size": block, "bits": bits, "quantize_axis": 1, "gather_axis": 0}
    step = node("GatherBlockQuantized", names, ["y"], "gb", domain=MS, **attributes)
    return model([step], parts, inputs=[info("i", 7, [rows])], outputs=[info("y", 1, [rows, columns])])


def quantize_ahead() -> Any:
    """Float weights ahead of QuantizeLinear, per channel and in blocks."""
    nodes = [
        node("QuantizeLinear", ["W", "S", "Z"], ["q"], "q0", axis=0),
        node("DequantizeLinear", ["q", "S", "Z"], ["d"], axis=0),
        node("QuantizeLinear", ["V", "T"], ["p"], "q1", axis=1, block_size=8, output_dtype=types.INT4),
        node("Cast", ["d"], ["y"], to=types.FLOAT),
    ]
    parts = [
        tensor(normal(4, 6), "W"), tensor(np.float32([0.01, 0.02, 0.01, 0.5]), "S"), tensor(np.zeros(4, np.int8), "Z"),
        tensor(normal(3, 16), "V"), tensor(np.full((3, 2), 0.1, np.float32), "T"),
    ]  # fmt: skip
    return model(nodes, parts, outputs=[info("y", types.FLOAT, None)])


def subgraphs() -> Any:
    """An If whose branches have weights of one name, a function with a constant, constants of all kinds."""

    def branch(n: int) -> Any:
        return helper.make_graph(
            [node("MatMul", ["x", "w"], ["m"], "mm"), node("Add", ["m", "outer"], ["b"])], f"b{n}", [],
            [info("b", 1, None)], [tensor(normal(4, n), "w")],
        )  # fmt: skip

    function = helper.make_function(
        "own", "F", ["x"], ["y"],
        [node("Constant", [], ["c"], value=tensor(normal(2, 2), "")), node("MatMul", ["x", "c"], ["y"])],
        [helper.make_opsetid("", 21)],
    )  # fmt: skip
    values = helper.make_sparse_tensor(tensor(normal(2), "sparse"), tensor(np.arange(2), "at"), (8,))
    nodes = [
        node("Constant", [], ["flag"], value=tensor(np.array(True), "")),
        node("Constant", [], ["floats"], value_floats=[0.5, 1.5]),
        node("Constant", [], ["many"], value_floats=np.arange(2000.0).tolist()),
        node("Constant", [], ["ints"], value_ints=list(range(5000))),
        node("Constant", [], ["one"], value_float=2.0),
        node("Constant", [], ["text"], value_string="t"),
        node("Constant", [], ["sparse_too"], sparse_value=values),
        node("If", ["flag"], ["y"], "if", then_branch=branch(4), else_branch=branch(5)),
    ]
    made = model(nodes, [tensor(normal(4, 4), "outer")], functions=[function])
    made.graph.sparse_initializer.append(values)
    return made


def external() -> dict[str, bytes]:
    """A model and its data file."""
    part = tensor(normal(4, 6), "w")
    outside(part, "w.bin", offset=16, length=96)
    inside = tensor(normal(6, 2), "v")
    return {
        "m.onnx": model([node("Gemm", ["x", "w"], ["y"], "g", transB=1)], [part, inside]).SerializeToString(),
        "w.bin": bytes(16) + normal(4, 6).tobytes() + bytes(8),
    }


def outside(part: Any, location: str, **entries: int | str) -> Any:
    """A tensor whose data are in another file."""
    part.ClearField("raw_data")
    part.data_location = types.EXTERNAL
    for key, value in {"location": location, **entries}.items():
        part.external_data.add(key=key, value=str(value))
    return part


def seeds() -> list[dict[str, bytes]]:
    """Small good models, each as files by name of which "m.onnx" is opened: what a fuzzer begins with."""
    models = [
        every_type(), subgraphs(), quantize_ahead(), matmul_nbits(4, 16, "packed"), matmul_nbits(4, 16, "float"),
        matmul_nbits(2, 32, order=True), gather_blocks("UINT8", 4, zero=True), gather_blocks("INT4", 4, zero=False),
        *(dequantize("INT8", layout, zero=True) for layout in LAYOUTS), dequantize("UINT4", "blocks0"),
        dequantize("FLOAT8E4M3FN", "axis0", "FLOAT16"),
    ]  # fmt: skip
    return [external(), *({"m.onnx": each.SerializeToString()} for each in models)]


def edit_message(rng: Random, data: bytes, donors: Sequence[bytes]) -> bytes:
    """A protobuf message with one field somewhere in it changed, dropped, doubled or moved; all lengths fit."""
    try:
        found = list(fields(data, 0, len(data)))
    except WireError:
        return damaged(rng, data, donors)
    if not found:
        return data
    number, wire, first, begin, end = rng.choice(found)
    before, after = data[:first], data[end:]
    kind = rng.random()
    if kind < 0.08:
        return before + after
    if kind < 0.16:
        return before + data[first:end] * 2 + after
    if kind < 0.24:
        *_, other, _, stop = rng.choice(found)
        return before + data[first:end] + data[other:stop] + after
    if wire == BYTES:
        content = edit_message(rng, data[begin:end], donors) if kind < 0.8 else damaged(rng, data[begin:end], donors)
        return before + encoded(number << 3 | BYTES) + encoded(len(content)) + content + after
    if wire == VARINT:
        return before + encoded(number << 3) + encoded(rng.choice(EDGES) % (1 << 64)) + after
    return before + data[first:begin] + rng.randbytes(end - begin) + after
