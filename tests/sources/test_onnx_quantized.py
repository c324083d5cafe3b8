"""Weights that a model holds quantized: codes, parameters and values as onnxruntime has them, bit for bit."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from needs import oracle
from sources import onnx_files
from sources.onnx_files import LAYOUTS, MS, info, model, node, normal, saved, tensor

import perchq_widget as pq
from perchq_widget.core.errors import QuantValueError
from perchq_widget.sources.base import TensorRecord, TensorSource
from perchq_widget.sources.opening import open_source

onnx, runtime = oracle("onnx"), oracle("onnxruntime")
pytestmark = pytest.mark.oracle
CODES = ("INT8", "UINT8", "INT16", "UINT16", "INT4", "UINT4", "FLOAT8E4M3FN", "FLOAT8E5M2", "INT2", "FLOAT4E2M1")


def run(proto: Any, **inputs: np.ndarray) -> np.ndarray:
    """The model's first output by onnxruntime, nothing fused."""
    options = runtime.SessionOptions()
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
    content = proto if isinstance(proto, str) else proto.SerializeToString()
    return runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"]).run(None, inputs)[0]  # type: ignore[no-any-return]


def opened(tmp_path: Path, proto: Any) -> TensorSource:
    return open_source(saved(proto, tmp_path / "m.onnx"))


def check(record: TensorRecord) -> None:
    """What holds for every record with codes: they are reproduced, and the views of one tensor agree."""
    stored, values = record.stored(), record.read()
    assert stored.codes.shape == values.shape == record.shape
    assert stored.codes.dtype == stored.qparams.code_dtype
    assert stored.qparams.dtype == record.dtype
    assert stored.qparams.ch_axis in (None, record.ch_axis)
    assert record.rows(1, 3).tobytes() == np.ascontiguousarray(values[1:3]).tobytes()
    report = pq.analyze(record)
    assert (report.codes().astype(np.float64) == stored.codes.astype(np.float64)).all()
    if stored.values is None and not stored.note:
        assert stored.decoded().astype(values.dtype).tobytes() == values.tobytes()


def reference(proto: Any) -> np.ndarray:
    from onnx.reference import ReferenceEvaluator

    return ReferenceEvaluator(proto).run(None, {})[0]  # type: ignore[no-any-return]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("codes", CODES)
def test_dequantized_constants_are_what_the_runtime_makes_of_them(tmp_path: Path, codes: str, layout: str) -> None:
    zero = codes.startswith(("INT", "UINT"))
    proto = onnx_files.dequantize(codes, layout, zero=zero)
    source = opened(tmp_path, proto)
    assert list(source) == ["X"]
    record = source["X"]
    check(record)
    if codes == "INT2":  # from a newer operator on
        proto.opset_import[0].version = 25
    wanted = reference(proto) if codes == "FLOAT4E2M1" else run(proto)
    assert record.read().tobytes() == wanted.tobytes()
    assert record.stored().qparams.granularity == {"t": "tensor", "o": "tensor", "a": "channel", "l": "channel"}.get(
        layout[0], "group"
    )


@pytest.mark.parametrize("layout", ["tensor", "axis1", "blocks0"])
@pytest.mark.parametrize("codes", ["INT8", "UINT4", "FLOAT8E5M2"])
def test_scales_of_half_the_width_give_values_of_half_the_width(tmp_path: Path, codes: str, layout: str) -> None:
    proto = onnx_files.dequantize(codes, layout, "FLOAT16")
    record = opened(tmp_path, proto)["X"]
    check(record)
    assert record.read().dtype == np.float16
    assert (record.read().astype(np.float32) == run(proto)).all()


def test_what_is_quantized_ahead_keeps_its_floats(tmp_path: Path) -> None:
    proto = onnx_files.quantize_ahead()
    source = opened(tmp_path, proto)
    assert list(source) == ["W", "V"]
    for record in source.values():
        check(record)
        assert np.array_equal(record.stored().array(), record.read())
    assert (source["W"].dtype, source["V"].dtype) == ("qint8", "int4")
    assert source["W"].stored_as == "float32 ahead of quantization to int8, per channel of axis 0, QuantizeLinear"
    assert np.array_equal(source["W"].read(), normal(4, 6))
    assert source["W"].stored().decoded().tobytes() == run(proto).tobytes()


@pytest.mark.parametrize("zero", ["", "packed", "whole", "float"])
@pytest.mark.parametrize("block", [16, 32])
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_matmul_nbits(tmp_path: Path, bits: int, block: int, zero: str) -> None:
    proto = onnx_files.matmul_nbits(bits, block, zero)
    (record,) = opened(tmp_path, proto).values()
    assert (record.shape, record.ch_axis) == ((6, 70), 0)
    assert record.quantized == (zero != "float")
    if record.quantized:
        check(record)
    if bits < 8 or zero in ("", "packed"):  # the runtime has no other
        assert np.array_equal(record.read(), run(proto, a=np.eye(70, dtype=np.float32)).T)


def test_columns_dealt_to_groups_are_followed(tmp_path: Path) -> None:
    proto = onnx_files.matmul_nbits(4, 16, order=True)
    order = onnx.numpy_helper.to_array(proto.graph.initializer[2])
    scale = onnx.numpy_helper.to_array(proto.graph.initializer[1])
    record = opened(tmp_path, proto)["B"]
    assert not record.quantized
    assert "g_idx" in record.note
    codes = onnx_files.matmul_nbits(4, 16)
    plain = opened(tmp_path, codes)["B"].stored().codes.astype(np.float32) - 8
    assert np.array_equal(record_of(tmp_path, proto).read(), plain * scale[:, order])


def record_of(tmp_path: Path, proto: Any) -> TensorRecord:
    return opened(tmp_path, proto)["B"]


@pytest.mark.parametrize("zero", [False, True])
@pytest.mark.parametrize(("codes", "bits"), [("UINT8", 4), ("UINT8", 8), ("UINT4", 4), ("INT4", 4)])
def test_tables_in_blocks(tmp_path: Path, codes: str, bits: int, zero: bool) -> None:
    proto = onnx_files.gather_blocks(codes, bits, zero=zero)
    (record,) = opened(tmp_path, proto).values()
    check(record)
    assert np.array_equal(record.read(), run(proto, i=np.arange(5)))


@pytest.mark.parametrize("columns", [64, 70])
def test_nf4(tmp_path: Path, columns: int) -> None:
    tool = oracle("onnxruntime.quantization.matmul_bnb4_quantizer").MatMulBnb4Quantizer
    product = node("MatMul", ["a", "w"], ["y"], "mm")
    made = tool(
        model([product], [tensor(normal(columns, 6), "w")], inputs=[info("a", 1, ["n", columns])],
              outputs=[info("y", 1, ["n", 6])]), 1, 64,
    )  # fmt: skip
    made.process()
    (record,) = opened(tmp_path, made.model.model).values()
    assert (record.dtype, record.shape) == ("nf4", (6, columns))
    check(record)
    assert np.array_equal(record.read(), run(made.model.model, a=np.eye(columns, dtype=np.float32)).T)


@pytest.mark.parametrize("symmetric", [False, True])
def test_what_the_nbits_quantizer_packs(tmp_path: Path, symmetric: bool) -> None:
    """By the function that the tool calls: the tool itself wants one more package."""
    pack = oracle("onnxruntime.capi._pybind_state").quantize_matmul_4bits
    rows, columns, block, floats = 40, 6, 16, normal(40, 6)
    packed, scale = np.zeros((columns, 3, 8), np.uint8), np.zeros(columns * 3, np.float32)
    zero = np.zeros(columns * 2, np.uint8)
    pack(packed, floats, scale, zero, block, columns, rows, symmetric)
    parts = [tensor(packed, "B"), tensor(scale, "S"), *([] if symmetric else [tensor(zero, "Z")])]
    names = ["a", "B", "S", *([] if symmetric else ["Z"])]
    step = node("MatMulNBits", names, ["y"], "mm", domain=MS, K=rows, N=columns, bits=4, block_size=block)
    proto = model([step], parts, inputs=[info("a", 1, [rows, rows])], outputs=[info("y", 1, [rows, columns])])
    (record,) = opened(tmp_path, proto).values()
    check(record)
    assert (record.dtype, record.shape) == ("uint4", (columns, rows))
    assert np.abs(record.read() - floats.T).max() < 0.06
    assert np.array_equal(record.read(), run(proto, a=np.eye(rows, dtype=np.float32)).T)


def classic() -> Any:
    """Conv, MatMul, Add, Gemm."""
    nodes = [
        node("Conv", ["x", "cw", "cb"], ["c"], "conv"), node("Relu", ["c"], ["r"]),
        node("Flatten", ["r"], ["f"]), node("MatMul", ["f", "mw"], ["m"], "mm"),
        node("Gemm", ["m", "gw", "gb"], ["y"], "gemm", transB=1),
    ]  # fmt: skip
    parts = [
        tensor(normal(2, 3, 3, 3), "cw"), tensor(normal(2), "cb"), tensor(normal(72, 16), "mw"),
        tensor(normal(10, 16), "gw"), tensor(normal(10), "gb"),
    ]  # fmt: skip
    return model(nodes, parts, inputs=[info("x", 1, [1, 3, 8, 8])], outputs=[info("y", 1, [1, 10])])


class Batches:
    """Calibration data."""

    def __init__(self) -> None:
        self._batches: Iterator[Any] = iter([{"x": normal(1, 3, 8, 8)}, {"x": -normal(1, 3, 8, 8)}])

    def get_next(self) -> Any:
        return next(self._batches, None)


@pytest.fixture
def quiet() -> Iterator[None]:
    """The tool logs advice to the root."""
    logging.disable(logging.WARNING)
    yield
    logging.disable(logging.NOTSET)


def shown_by_runtime(path: Path, name: str) -> np.ndarray:
    """What the model's own DequantizeLinear makes of a weight."""
    proto = onnx.load(path)
    (step,) = [each for each in proto.graph.node if each.op_type == "DequantizeLinear" and each.input[0] == name]
    parts = [each for each in proto.graph.initializer if each.name in step.input]
    return run(model([step], parts, outputs=[info(step.output[0], 1, None)]))


@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize(("weights", "operators"), [("QInt8", False), ("QUInt8", False), ("QInt4", False),
                                                    ("QInt16", False), ("QInt8", True)])  # fmt: skip
@pytest.mark.usefixtures("quiet")
def test_what_the_static_quantizer_writes(tmp_path: Path, weights: str, operators: bool, per_channel: bool) -> None:
    tool = oracle("onnxruntime.quantization")
    path, form = tmp_path / "q.onnx", tool.QuantFormat.QOperator if operators else tool.QuantFormat.QDQ
    activations = tool.QuantType.QUInt8 if weights == "QUInt8" else tool.QuantType.QInt8
    tool.quantize_static(
        saved(classic(), tmp_path / "f.onnx"), path, Batches(), quant_format=form, per_channel=per_channel,
        weight_type=getattr(tool.QuantType, weights), activation_type=activations,
    )  # fmt: skip
    source = open_source(path)
    axes = {"cw_quantized": 0, "mw_quantized": 1, "gw_quantized": 0}
    assert {record.name: record.ch_axis for record in source.applicable()} == axes
    for record in source.applicable():
        check(record)
        assert record.stored().qparams.granularity == ("channel" if per_channel else "tensor")
        values = source_of(record.name)
        assert np.abs(record.read() - values).max() < (0.2 if weights == "QInt4" else 0.01)
        if not operators:
            assert record.read().tobytes() == shown_by_runtime(path, record.name).tobytes()
    assert "int32 bias" in str(source["cb_quantized"].not_applicable)
    assert str(source["x_scale"].not_applicable).startswith("it is the scale of what QuantizeLinear")
    assert not [name for name in source if name.startswith(("cw_", "cb_")) and name.endswith(("_scale", "_point"))]


def source_of(name: str) -> np.ndarray:
    """The floats that a quantized weight of :func:`classic` was made from."""
    return {"cw": normal(2, 3, 3, 3), "mw": normal(72, 16), "gw": normal(10, 16)}[name.partition("_")[0]]


@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.usefixtures("quiet")
def test_what_the_dynamic_quantizer_writes(tmp_path: Path, per_channel: bool) -> None:
    tool = oracle("onnxruntime.quantization")
    path = tmp_path / "q.onnx"
    tool.quantize_dynamic(saved(classic(), tmp_path / "f.onnx"), path, per_channel=per_channel)
    source = open_source(path)
    found = {record.name: record for record in source.values() if record.quantized}
    assert {name: record.ch_axis for name, record in found.items()} == {
        "cw_quantized": 0, "mw_quantized": 1, "gw_Transposed_quantized": 1,
    }  # fmt: skip
    for record in found.values():
        check(record)
    assert np.abs(found["mw_quantized"].read() - normal(72, 16)).max() < 0.01
    assert np.abs(found["gw_Transposed_quantized"].read() - normal(10, 16).T).max() < 0.01
    assert {record.name for record in source.applicable()} == {*found, "cb", "gb"}


@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.usefixtures("quiet")
def test_a_recurrent_layer_of_the_dynamic_quantizer(tmp_path: Path, per_channel: bool) -> None:
    tool = oracle("onnxruntime.quantization")
    step = node("LSTM", ["x", "w", "r"], ["y"], "lstm", hidden_size=3, direction="bidirectional")
    proto = model([step], [tensor(normal(2, 12, 5), "w"), tensor(normal(2, 12, 3), "r")],
                  inputs=[info("x", 1, [4, 1, 5])], outputs=[info("y", 1, None)])  # fmt: skip
    path = tmp_path / "q.onnx"
    tool.quantize_dynamic(saved(proto, tmp_path / "f.onnx"), path, per_channel=per_channel)
    source = open_source(path)
    weights = {"w_quantized": normal(2, 12, 5), "r_quantized": normal(2, 12, 3)}
    assert [record.name for record in source.applicable()] == list(weights)
    for name, floats in weights.items():
        check(source[name])
        assert np.abs(source[name].read() - floats.transpose(0, 2, 1)).max() < 0.01


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.usefixtures("quiet")
def test_a_table_of_the_dynamic_quantizer(tmp_path: Path, batch_first: bool) -> None:
    """torch exports an embedding before a batch_first LSTM with a Transpose, which the quantizer lets codes through."""
    tool = oracle("onnxruntime.quantization")
    steps = [node("Gather", ["w", "i"], ["rows" if batch_first else "y"], "table")]
    if batch_first:
        steps.append(node("Transpose", ["rows"], ["y"], "turn", perm=[1, 0, 2]))
    proto = model(steps, [tensor(normal(9, 4), "w")], inputs=[info("i", 7, [1, 3])], outputs=[info("y", 1, None)])
    path = tmp_path / "q.onnx"
    tool.quantize_dynamic(saved(proto, tmp_path / "f.onnx"), path)
    (record,) = open_source(path).applicable()
    check(record)
    assert (record.dtype, record.ch_axis) == ("quint8", 0)
    assert np.abs(record.read() - normal(9, 4)).max() < 0.01


@pytest.mark.usefixtures("quiet")
def test_a_table_and_the_layer_after_it_of_the_dynamic_quantizer(tmp_path: Path) -> None:
    """The product's scale is then a product of two constants, told apart by the names that the quantizer gives."""
    tool = oracle("onnxruntime.quantization")
    steps = [node("Gather", ["w", "i"], ["rows"], "table"), node("MatMul", ["rows", "m"], ["y"], "layer")]
    constants = [tensor(normal(9, 4), "w"), tensor(3 * normal(4, 6), "m")]
    proto = model(steps, constants, inputs=[info("i", 7, [1, 3])], outputs=[info("y", 1, None)])
    path = tmp_path / "q.onnx"
    tool.quantize_dynamic(saved(proto, tmp_path / "f.onnx"), path)
    source = open_source(path)
    for name, floats in (("w_quantized", normal(9, 4)), ("m_quantized", 3 * normal(4, 6))):
        check(source[name])
        assert np.abs(source[name].read() - floats).max() < 0.02


def coded(tmp_path: Path, *, codes: Any = None, scale: Any = 0.5, zero: Any = None, **attributes: Any) -> TensorSource:
    """X (3, 4) -> DequantizeLinear -> MatMul, and a good tensor."""
    given = np.arange(12, dtype=np.int8).reshape(3, 4) if codes is None else codes
    parts = [tensor(given, "X"), tensor(np.asarray(scale, np.float32), "S"), tensor(normal(2, 2), "good")]
    if zero is not None:
        parts.append(tensor(np.asarray(zero, given.dtype), "Z"))
    step = node("DequantizeLinear", ["X", "S"] + ["Z"] * (zero is not None), ["d"], "dq", **attributes)
    return opened(tmp_path, model([step, node("MatMul", ["x", "d"], ["y"], "mm")], parts))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"scale": [0.5, 1]}, "the tensor has shape (3, 4), per channel of axis 1; its scale (2,)"),
        ({"scale": [0.5, 1, 2, 3], "zero": [1, 2]}, "its zero point has shape (2,), its scale (4,)"),
        ({"scale": np.ones((3, 3)), "axis": 1, "block_size": 3}, "blocks of 3 on axis 1; its scale (3, 3)"),
        ({"scale": np.ones((3, 2)), "axis": 1, "block_size": -2}, "its block size is -2"),
        ({"scale": [0.5, 1, 2], "axis": 7}, "one number is needed"),
        ({"scale": np.ones((0,))}, "its scale (0,)"),
        ({"codes": np.arange(12, dtype=np.int32).reshape(3, 4)}, "int32 bias"),
        ({"codes": np.arange(12, dtype=np.int64).reshape(3, 4)}, "no format of codes"),
    ],
)
def test_parameters_that_do_not_fit_spoil_only_their_tensor(tmp_path: Path, arguments: Any, words: str) -> None:
    source = coded(tmp_path, **arguments)
    assert words in str(source["X"].not_applicable)
    assert source["good"].read().shape == (2, 2)
    assert source["X"].raw().shape == (3, 4)


@pytest.mark.parametrize("scale", [0.0, -1.0, np.nan, np.inf])
def test_scales_that_are_no_steps_still_give_values(tmp_path: Path, scale: float) -> None:
    record = coded(tmp_path, scale=scale)["X"]
    with pytest.raises(QuantValueError, match=r"m\.onnx: tensor 'X': its parameters cannot be used: scale must be"):
        record.stored()
    with np.errstate(invalid="ignore"):
        assert np.array_equal(record.read(), np.arange(12).reshape(3, 4) * np.float32(scale), equal_nan=True)


def test_blocks_that_no_channel_has_are_decoded(tmp_path: Path) -> None:
    codes = np.random.default_rng(0).integers(-8, 8, (4, 6, 3, 3)).astype(np.int8)
    scale = np.random.default_rng(1).random((4, 3, 3, 3)).astype(np.float32)
    parts = [tensor(codes, "X"), tensor(scale, "S")]
    step = node("DequantizeLinear", ["X", "S"], ["y"], "dq", axis=1, block_size=2)
    proto = model([step], parts, outputs=[info("y", 1, None)])
    record = opened(tmp_path, proto)["X"]
    assert not record.quantized
    assert "no groups of a channel" in record.note
    assert record.read().tobytes() == run(proto).tobytes()


def test_scales_made_at_run_time_are_not_guessed(tmp_path: Path) -> None:
    nodes = [node("Abs", ["s"], ["S"]), node("DequantizeLinear", ["X", "S"], ["d"], "dq")]
    source = opened(tmp_path, model(nodes, [tensor(np.ones((2, 2), np.int8), "X")], inputs=[info("s", 1, [])]))
    assert "computed while the model runs" in str(source["X"].not_applicable)


def test_codes_are_followed_to_where_their_scale_is(tmp_path: Path) -> None:
    nodes = [
        node("Transpose", ["X"], ["t"], perm=[1, 0]),
        node("DequantizeLinear", ["t", "S"], ["d"], "dq", axis=0),
        node("Gemm", ["x", "d"], ["y"], "g"),
    ]
    parts = [tensor(np.arange(12, dtype=np.int8).reshape(3, 4), "X"), tensor(np.float32([1, 2, 3, 4]), "S")]
    record = opened(tmp_path, model(nodes, parts))["X"]
    check(record)
    assert (record.ch_axis, record.stored().qparams.ch_axis) == (1, 1)
    assert "by the layers alone it would be axis 0" in record.ch_axis_reason
    assert record.read()[1].tolist() == [4, 10, 18, 28]


def test_what_we_would_choose_stands_beside_what_the_file_has(tmp_path: Path) -> None:
    record = coded(tmp_path, scale=[0.5, 1, 2, 3])["X"]
    both = pq.compare(pq.analyze(record), pq.analyze(record, dtype="int4"))
    assert both is not None
    assert record.stored().qparams.convention == "onnxruntime"


def test_two_nodes_that_disagree_are_told_of(tmp_path: Path) -> None:
    nodes = [node("DequantizeLinear", ["X", name], [f"d{name}"], f"dq{name}") for name in "ST"]
    parts = [
        tensor(np.ones((2, 2), np.int8), "X"),
        *(tensor(np.float32(each), name) for each, name in ((1, "S"), (2, "T"))),
    ]
    record = opened(tmp_path, model(nodes, parts))["X"]
    assert record.read().tolist() == [[1, 1], [1, 1]]
    assert "dqT" in record.note


def test_fp4_and_unknown_widths_are_listed_as_they_are(tmp_path: Path) -> None:
    step = node("MatMulBnb4", ["a", "B", "S"], ["y"], "mm", domain=MS, K=64, N=2, block_size=64, quant_type=0)
    parts = [tensor(np.zeros(64, np.uint8), "B"), tensor(np.ones(2, np.float32), "S")]
    assert "FP4" in str(opened(tmp_path, model([step], parts))["B"].not_applicable)
    odd = onnx_files.matmul_nbits(4, 16)
    next(each for each in odd.graph.node[0].attribute if each.name == "bits").i = 3
    assert "read are 2, 4 and 8 bits" in str(opened(tmp_path, odd)["B"].not_applicable)
