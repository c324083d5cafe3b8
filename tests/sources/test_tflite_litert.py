"""Our TFLite reader against LiteRT: its interpreter's values, its schema's numbers, its quantizer's models."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import needs
import numpy as np
import pytest
from sources.test_tflite import AXES, CODES, codes_of
from sources.tflite_files import KINDS, Model

import perchq_widget as pq
from perchq_widget.sources.tflite.axes import _PASSING, _RULES
from perchq_widget.sources.tflite.kinds import KINDS as OURS

pytestmark = pytest.mark.oracle
needs.oracle("ai_edge_litert")
SCHEMA = importlib.import_module("ai_edge_litert.schema_py_generated")
RNG = np.random.default_rng(11)


def interpreter(model: bytes) -> Any:
    """LiteRT with the model's tensors allocated, on its reference kernels."""
    module = importlib.import_module("ai_edge_litert.interpreter")
    made = module.Interpreter(model_content=model, experimental_op_resolver_type=module.OpResolverType.BUILTIN_REF)
    made.allocate_tensors()
    return made


@pytest.mark.parametrize("outside", [False, True], ids=["inside", "outside the flatbuffer"])
def test_values_are_litert_s_to_the_bit(tmp_path: Path, outside: bool) -> None:
    model, codes, outputs = Model(), {}, []
    names = [kind for kind in CODES if kind not in ("uint16", "uint4")]  # which its DEQUANTIZE does not take
    for kind in names:
        for axis, n in ((0, 1), (0, 5), (2, 3))[: 1 if kind == "int16" else 3]:  # its int16 has one scale
            codes[f"{kind}-{n}"], data = codes_of(kind, (5, 7, 3))
            zero = RNG.integers(*CODES[kind], n) if kind in ("int8", "uint8") else np.zeros(n)
            scale = np.exp(RNG.normal(size=n))
            name = f"{kind}-{n}"
            made = model.tensor(
                (5, 7, 3), kind, data, name=name, scale=scale, zero_point=zero, axis=axis, outside=outside
            )
            outputs.append(model.tensor((5, 7, 3)))
            model.operation("DEQUANTIZE", [made], [outputs[-1]])
    path = tmp_path / "m.tflite"
    path.write_bytes(model.between([], outputs))
    theirs = interpreter(path.read_bytes())
    theirs.invoke()
    source = pq.open_source(path)
    assert list(source) == list(codes)
    details = {each["name"]: each for each in theirs.get_tensor_details()}
    for index, record in enumerate(source.values()):
        assert record.read().tobytes() == theirs.get_tensor(outputs[index]).tobytes(), record
        stored, given = record.stored(), details[record.name]["quantization_parameters"]
        assert stored.qparams.scale.tobytes() == given["scales"].tobytes()
        assert np.array_equal(stored.qparams.zero_point.reshape(-1), given["zero_points"])
        assert np.array_equal(stored.codes, codes[record.name])
        if record.dtype not in ("int4", "int2"):  # of which the interpreter gives the bytes
            assert np.array_equal(record.raw(), theirs.get_tensor(details[record.name]["index"]))


def test_the_schema_s_numbers_are_litert_s() -> None:
    kinds = {name: number for name, number in vars(SCHEMA.TensorType).items() if not name.startswith("_")}
    assert {kind.name.upper(): number for number, kind in OURS.items()} == kinds
    assert {name.upper(): number for name, number in KINDS.items()}.items() <= kinds.items()
    operators = {number: rule.operator for number, rule in _RULES.items()} | _PASSING
    for number, name in operators.items():
        assert getattr(SCHEMA.BuiltinOperator, name) == number
    assert SCHEMA.BuiltinOperator.BATCH_MATMUL == 126


#: Operator -> its inputs beside the weight (shape, constant), by their place, and the options that are no default.
USED: dict[str, tuple[dict[int, tuple[int, ...] | np.ndarray], dict[int, Any]]] = {
    "CONV_2D": ({0: (1, 4, 4, 2), 2: (5,)}, {1: ("i", 1), 2: ("i", 1)}),
    "DEPTHWISE_CONV_2D": ({0: (1, 4, 4, 2), 2: (6,)}, {1: ("i", 1), 2: ("i", 1), 3: ("i", 3)}),
    "TRANSPOSE_CONV": ({0: np.array([1, 4, 4, 5], np.int32), 2: (1, 4, 4, 2)}, {1: ("i", 1), 2: ("i", 1)}),
    "CONV_3D": ({0: (1, 4, 4, 4, 2), 2: (5,)}, {1: ("i", 1), 2: ("i", 1), 3: ("i", 1)}),
    "CONV_3D_TRANSPOSE": (
        {0: np.array([1, 4, 4, 4, 5], np.int32), 2: (1, 4, 4, 4, 2)}, {1: ("i", 1), 2: ("i", 1), 3: ("i", 1)},
    ),
    "FULLY_CONNECTED": ({0: (1, 2), 2: (5,)}, {}),
    "BATCH_MATMUL": ({0: (3, 2)}, {}),
}  # fmt: skip


@pytest.mark.parametrize("case", [case for case in AXES if case[0] in USED], ids=lambda case: case[0])
def test_litert_takes_the_axis_for_output_channels(tmp_path: Path, case: tuple[Any, ...]) -> None:
    """Its kernels check shapes: only with output channels on our axis is the output as wide as they are many."""
    name, shape, position, axis, _ = case
    model, (others, options) = Model(), USED[name]
    inputs, fed = [0] * (len(others) + 1), []
    inputs[position] = model.tensor(shape, "float32", RNG.normal(size=shape).astype(np.float32), name="w")
    for place, other in others.items():
        if isinstance(other, np.ndarray):
            inputs[place] = model.tensor(other.shape, "int32", other)
        else:
            inputs[place] = model.tensor(other)
            fed.append(inputs[place])
    output = model.tensor((1,))
    model.operation(name, inputs, [output], options)
    path = tmp_path / "m.tflite"
    path.write_bytes(model.between(fed, [output]))
    theirs = interpreter(path.read_bytes())
    theirs.invoke()
    record = pq.open_source(path)["w"]
    assert record.ch_axis == axis
    assert theirs.get_tensor(output).shape[-1] == shape[axis]
    assert shape.count(shape[axis]) == 1


WEIGHT = RNG.normal(size=(16, 64)).astype(np.float32)


def quantized(kind: str, n_bits: int) -> bytes:
    """A model of one FULLY_CONNECTED as ai-edge-quantizer writes it."""
    needs.oracle("ai_edge_quantizer")
    model = Model()
    x, y = model.tensor((1, 64)), model.tensor((1, 16))
    w, bias = model.tensor((16, 64), "float32", WEIGHT, name="w"), model.tensor((16,), "float32", bytes(64))
    model.operation("FULLY_CONNECTED", [x, w, bias], [y])
    types = importlib.import_module("ai_edge_quantizer.qtyping")
    made = importlib.import_module("ai_edge_quantizer.quantizer").Quantizer(bytearray(model.between([x], [y])))
    config = {"regex": ".*", "operation_name": types.TFLOperationName.ALL_SUPPORTED, "num_bits": n_bits}
    if kind == "blocks":
        config["granularity"] = types.QuantGranularity.BLOCKWISE_32
    (made.add_weight_only_config if kind == "weights" else made.add_dynamic_config)(**config)
    return bytes(made.quantize().quantized_model)


QUANTIZED = [("weights", 8), ("weights", 4), *(("dynamic", n) for n in (8, 4, 2)), ("blocks", 4), ("blocks", 2)]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("kind", "n_bits"), QUANTIZED)
def test_the_quantizer_s_models_hold_what_it_computed(tmp_path: Path, kind: str, n_bits: int) -> None:
    path = tmp_path / "m.tflite"
    path.write_bytes(quantized(kind, n_bits))
    record = pq.open_source(path)["w"]
    stored = record.stored()
    assert record.dtype == {8: "qint8", 4: "int4", 2: "int2"}[n_bits]
    assert stored.qparams.group_size == (32 if kind == "blocks" else None)
    assert record.ch_axis_reason == "FULLY_CONNECTED stores (out, in)"
    codes, values = by_the_quantizer(stored.qparams, n_bits)
    assert np.array_equal(stored.codes, codes)
    assert record.read().tobytes() == values.tobytes()
    assert np.array_equal(pq.analyze(record).codes(), codes)


def by_the_quantizer(qparams: pq.QParams, n_bits: int) -> tuple[np.ndarray, np.ndarray]:
    """Codes and values that its arithmetic gives the weight with these scales."""
    types = importlib.import_module("ai_edge_quantizer.qtyping")
    arithmetic = importlib.import_module("ai_edge_quantizer.algorithms.uniform_quantize.uniform_quantize_tensor")
    size = qparams.group_size or 0
    scale = qparams.scale if size else qparams.scale[:, None]
    zero = np.zeros_like(scale, dtype=np.int32)
    theirs = types.UniformQuantParams(n_bits, int(size > 0), scale, zero, True, block_size=size)
    codes = arithmetic.uniform_quantize(WEIGHT, theirs, size > 0)
    if size:  # its function for values knows no blocks
        return codes, codes.astype(np.float32) * np.repeat(scale, size, axis=1)
    return codes, arithmetic.uniform_dequantize(codes, theirs).astype(np.float32)


def test_a_model_that_the_converter_quantized_statically(tmp_path: Path) -> None:
    model = Model()
    x, y = model.tensor((1, 64)), model.tensor((1, 16))
    weight = WEIGHT.copy()
    weight[3] = 0  # whose scale the converter writes as 0
    w, bias = model.tensor((16, 64), "float32", weight, name="w"), model.tensor((16,), "float32", bytes(64), name="b")
    model.operation("FULLY_CONNECTED", [x, w, bias], [y])
    data = model.between([x], [y])
    wrapper = importlib.import_module("ai_edge_litert._pywrap_tensorflow_lite_calibration_wrapper")
    calibrator = wrapper.CalibrationWrapper(data, [], [])
    calibrator.Prepare()
    calibrator.FeedTensor([np.linspace(-1, 1, 64, dtype=np.float32).reshape(1, 64)])
    kinds = [np.dtype(each).num for each in (np.int8, np.int32)]
    path = tmp_path / "m.tflite"
    path.write_bytes(calibrator.QuantizeModel(kinds[0], kinds[0], False, kinds[0], kinds[1], False, False))
    source = pq.open_source(path)
    theirs = interpreter(path.read_bytes())
    details = {each["name"]: each for each in theirs.get_tensor_details()}
    record, given = source["w"], details["w"]["quantization_parameters"]
    codes = theirs.get_tensor(details["w"]["index"])
    assert np.array_equal(record.stored().codes, codes)
    assert record.read().tobytes() == (codes.astype(np.float32) * given["scales"][:, None]).tobytes()
    assert "bias of integers" in str(source["b"].not_applicable)
    assert np.array_equal(source["b"].raw(), theirs.get_tensor(details["b"]["index"]))
    assert np.array_equal(pq.analyze(record).codes(), codes)
    assert ("1 of the scales are 0" in record.stored().note) == bool((given["scales"] == 0).any())
