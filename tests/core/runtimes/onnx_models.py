"""One-operation ONNX models, run by ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
from needs import oracle

#: Our name -> ONNX's.
CODES = {
    "qint8": "INT8", "quint8": "UINT8", "int16": "INT16", "uint16": "UINT16", "int4": "INT4", "uint4": "UINT4",
    "int2": "INT2", "uint2": "UINT2", "float8_e4m3fn": "FLOAT8E4M3FN", "float8_e5m2": "FLOAT8E5M2",
    "float8_e4m3fnuz": "FLOAT8E4M3FNUZ", "float8_e5m2fnuz": "FLOAT8E5M2FNUZ", "float4_e2m1fn": "FLOAT4E2M1",
}  # fmt: skip
OUR_NAMES = {name.lower(): dtype for dtype, name in CODES.items()}
NEWEST = 25  # the first with int2


def code_type(dtype: str) -> int:
    """ONNX's number of one of our formats."""
    return int(getattr(oracle("onnx").TensorProto, CODES[dtype]))


def session(
    nodes: list[Any], inputs: dict[str, Any], outputs: dict[str, int], constants: Any = (), opset: int = NEWEST
) -> Any:
    """A session of the nodes as they are: nothing fused or folded. ``inputs``: name -> (type, shape)."""
    helper, runtime = oracle("onnx").helper, oracle("onnxruntime")
    given = [helper.make_tensor_value_info(name, *of) for name, of in inputs.items()]
    wanted = [helper.make_tensor_value_info(name, kind, None) for name, kind in outputs.items()]
    graph = helper.make_graph(nodes, "graph", given, wanted, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=11)
    options = runtime.SessionOptions()
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    return runtime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def there_and_back(
    x: np.ndarray,
    scale: np.ndarray,
    zero_point: np.ndarray,
    dtype: str,
    axis: int | None = None,
    block_size: int = 0,
    opset: int = NEWEST,
    **precision: int,
) -> tuple[np.ndarray, np.ndarray]:
    """QuantizeLinear, then DequantizeLinear: codes (int32, of float formats their float32 values) and values."""
    onnx = oracle("onnx")
    helper, types = onnx.helper, onnx.TensorProto
    attributes = {} if axis is None else {"axis": axis} | ({"block_size": block_size} if block_size else {})
    plain = helper.np_dtype_to_tensor_dtype(scale.dtype)
    wide = types.FLOAT if dtype.startswith("float") else types.INT32
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["stored"], **attributes, **precision),
        helper.make_node("Cast", ["stored"], ["codes"], to=wide),
        helper.make_node("DequantizeLinear", ["stored", "scale", "zero"], ["values"], **attributes),
    ]
    constants = [
        helper.make_tensor("scale", plain, scale.shape, scale.tobytes(), raw=True),
        helper.make_tensor("zero", code_type(dtype), zero_point.shape, zero_point.ravel().tolist()),
    ]
    run = session(nodes, {"x": (plain, x.shape)}, {"codes": wide, "values": plain}, constants, opset).run
    codes, values = run(None, {"x": x})
    return codes, values
