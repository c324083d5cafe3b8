"""Our TFLite reader: every type and scheme, the operators' axes, and models that lie about themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sources.tflite_files import Flatbuffer, Model, packed

import perchq_widget as pq
from perchq_widget.core.errors import QuantValueError
from perchq_widget.sources.base import TensorSource

RNG = np.random.default_rng(7)
WEIGHT = RNG.normal(size=(8, 16)).astype(np.float32)
SCALES = np.linspace(0.1, 1, 8).astype(np.float32)


def opened(tmp_path: Path, model: Model | bytes) -> TensorSource:
    path = tmp_path / "m.tflite"
    path.write_bytes(model if isinstance(model, bytes) else model.between([], []))
    return pq.open_source(path)


def one(tmp_path: Path, *args: Any, **more: Any) -> Any:
    """The record of a model's only constant."""
    model = Model()
    model.tensor(*args, **more)
    (record,) = opened(tmp_path, model).values()
    return record


@pytest.mark.parametrize("dtype", ["float32", "float16", "float64"])
@pytest.mark.parametrize("outside", [False, True])
def test_floats_are_mapped(tmp_path: Path, dtype: str, outside: bool) -> None:
    values = WEIGHT.astype(dtype)
    record = one(tmp_path, (8, 16), dtype, values, name="w", outside=outside)
    assert (record.name, record.dtype, record.shape, record.n_bytes) == ("w", dtype, (8, 16), values.nbytes)
    assert (record.source, record.quantized) == (str(tmp_path / "m.tflite"), False)
    array = record.read()
    assert array.tobytes() == values.tobytes() == record.raw().tobytes()
    assert isinstance(array.base, np.memmap)
    assert np.array_equal(record.rows(2, 4), values[2:4])


CODES = {"int8": (-128, 128), "uint8": (0, 256), "int16": (-32768, 32768), "uint16": (0, 65536), "int4": (-8, 8),
         "uint4": (0, 16), "int2": (-2, 2)}  # fmt: skip


def codes_of(kind: str, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Codes, and what a file holds of them."""
    codes = RNG.integers(*CODES[kind], shape)
    if kind[-1] in "42":
        return codes, packed(codes, int(kind[-1]))
    return codes, codes.astype(kind)


@pytest.mark.parametrize("kind", CODES)
@pytest.mark.parametrize(("axis", "n"), [(0, 1), (0, 5), (2, 3)], ids=["tensor", "axis 0", "axis 2"])
def test_codes_and_scales_are_the_file_s(tmp_path: Path, kind: str, axis: int, n: int) -> None:
    codes, data = codes_of(kind, (5, 7, 3))
    scale, zero = RNG.uniform(0.01, 1, n).astype(np.float32), RNG.integers(*CODES[kind], n)
    record = one(tmp_path, codes.shape, kind, data, scale=scale, zero_point=zero, axis=axis)
    stored = record.stored()
    along = [-1 if each == axis else 1 for each in range(3)] if n > 1 else [1, 1, 1]
    values = (codes - zero.reshape(along)).astype(np.float32) * scale.reshape(along)
    assert np.array_equal(stored.codes, codes)
    assert record.read().tobytes() == values.tobytes() == stored.decoded().tobytes()
    for rows in ((0, 2), (1, 4), (3, 3), (2, 99)):
        assert np.array_equal(record.rows(*rows), values[slice(*rows)])
    assert record.n_bytes == data.nbytes + 12 * n
    assert stored.qparams.convention == "litert"
    assert stored.qparams.ch_axis == (None if n == 1 else record.ch_axis)
    assert record.stored_as == f"{record.dtype}, per {'tensor' if n == 1 else f'channel of axis {axis}'}, TFLite"
    report = pq.analyze(record)
    assert np.array_equal(report.codes(), codes)


def blocks(kind: str = "int4", scale_kind: str = "float16") -> tuple[Model, np.ndarray, np.ndarray]:
    model, (codes, data) = Model(), codes_of(kind, (4, 64))
    scale = RNG.uniform(0.1, 1, (4, 2)).astype(scale_kind)
    model.tensor((4, 2), scale_kind, scale, name="w_scales")
    model.tensor((4, 64), kind, data, name="w", blocks=(0, 32))
    return model, codes, scale


@pytest.mark.parametrize("kind", ["int4", "int2", "int8"])
def test_blocks_take_their_scales_from_another_tensor(tmp_path: Path, kind: str) -> None:
    model, codes, scale = blocks(kind)
    record = opened(tmp_path, model)["w"]
    values = codes.astype(np.float32) * np.repeat(scale.astype(np.float32), 32, axis=1)
    assert record.stored_as.endswith("blocks of 32, TFLite")
    assert record.read().tobytes() == values.tobytes()
    assert np.array_equal(record.rows(1, 3), values[1:3])
    assert (record.stored().qparams.group_size, record.ch_axis) == (32, 0)
    assert np.array_equal(pq.analyze(record).codes(), codes)


@pytest.mark.parametrize(
    ("blocks_of", "words"),
    [((0, 48), "do not fit"), ((9, 32), "tensor 9 of 2"), ((1, 32), "no constant of float16"), ((0, 16), "take 16")],
)
def test_blocks_that_do_not_fit_are_named(tmp_path: Path, blocks_of: tuple[int, int], words: str) -> None:
    model = Model()
    model.tensor((4, 2), "float16", np.ones((4, 2), np.float16), name="s")
    model.tensor((4, 64), "int4", bytes(128), name="w", blocks=blocks_of)
    source = opened(tmp_path, model)
    assert words in str(source["w"].not_applicable)
    assert source["s"].read().shape == (4, 2)
    with pytest.raises(QuantValueError, match="cannot be analysed"):
        source["w"].stored()


def test_a_scale_of_zero_stands_for_a_channel_of_zeros(tmp_path: Path) -> None:
    codes = RNG.integers(-127, 128, (3, 4)).astype(np.int8)
    codes[1] = 0
    record = one(tmp_path, (3, 4), "int8", codes, scale=[0.5, 0, 0.25])
    expected = codes * np.array([[0.5], [0], [0.25]], np.float32)
    assert np.array_equal(record.read(), expected)
    assert np.array_equal(record.rows(1, 3), expected[1:3])
    assert "1 of the scales are 0" in record.stored().note
    assert np.array_equal(pq.analyze(record).codes(), codes)
    codes[1, 2] = 3
    record = one(tmp_path, (3, 4), "int8", codes, scale=[0.5, 0, 0.25])
    with pytest.raises(QuantValueError, match="scale of 0 for codes that are not zero"):
        record.read()


def test_a_large_tensor_s_rows_are_read_alone(tmp_path: Path) -> None:
    codes = RNG.integers(-8, 8, (5, 3))  # rows begin inside a byte
    record = one(tmp_path, (5, 3), "int4", packed(codes, 4), scale=[2.0])
    for start in range(5):
        assert np.array_equal(record.rows(start, start + 1), codes[start : start + 1] * np.float32(2))


REFUSED: list[tuple[tuple[Any, ...], dict[str, Any], str]] = [
    (((4,), "int32", bytes(16)), {"scale": [0.1]}, "bias of integers"),
    (((4,), "int32", bytes(16)), {}, "it has integers"),
    (((4,), "int8", bytes(4)), {}, "it has integers"),
    (((4,), "int4", bytes(2)), {}, "int4 values without a scale"),
    (((4,), "bool", bytes(4)), {}, "it has booleans"),
    (((1,), "string", b"\x01\0\0\0\x0c\0\0\0\x0e\0\0\0ab"), {}, "it holds texts"),
    (((), "float32", bytes(4)), {}, "rank 0"),
    (((4,), "nonsense", bytes(4)), {}, "type 99 values"),
    (((4,), "float8_e4m3fn", bytes(4)), {"scale": [0.1]}, "codes with a scale"),
    (((4,), "float32", bytes(16)), {"sparsity": True}, "stored sparse"),
    (((4,), "float32"), {"external": 1}, "in another file"),
    (((5,), "float32", bytes(16)), {}, "takes 20 bytes, its buffer has 16"),
    (((2**31 - 1,) * 60, "float32", bytes(16)), {}, "its buffer has 16"),
    (((3,), "int4", bytes(3)), {"scale": [1]}, "takes 2 bytes, its buffer has 3"),
    (((-4,), "float32", bytes(16)), {}, r"the shape (-4,)"),
    (((1,) * 65, "float32", bytes(4)), {}, "65 dimensions"),
    (((2, 2), "int8", bytes(4)), {"scale": [1, 1, 1]}, "3 scales along axis 0"),
    (((2, 2), "int8", bytes(4)), {"scale": [1, 1], "axis": -1}, "2 scales along axis -1"),
    (((2, 2), "int8", bytes(4)), {"scale": [1, 1], "zero_point": [0, 0, 0]}, "3 zero points for 2 scales"),
    (((2, 2), "int8", bytes(4)), {"scale": [1], "zero_point": [200]}, "zero points is 200"),
    (((2, 2), "int8", bytes(4)), {"scale": [-1.0]}, "scales is -1.0"),
    (((2, 2), "int8", bytes(4)), {"scale": [np.inf]}, "scales is inf"),
    (((2, 2), "int8", bytes(4)), {"scale": [np.nan]}, "scales is nan"),
    (((2, 2), "int8", bytes(4)), {"details": 3}, "quantization details 3"),
]


@pytest.mark.parametrize(("tensor", "more", "words"), REFUSED)
def test_what_cannot_be_analysed_is_listed_with_the_reason(
    tmp_path: Path, tensor: tuple[Any, ...], more: dict[str, Any], words: str
) -> None:
    model = Model()
    model.tensor(*tensor, name="bad", **more)
    model.tensor((8, 16), "float32", WEIGHT, name="good")
    source = opened(tmp_path, model)
    assert list(source) == ["bad", "good"]
    assert words in str(source["bad"].not_applicable)
    assert np.array_equal(source["good"].read(), WEIGHT)
    with pytest.raises(QuantValueError, match="'bad'"):
        source["bad"].read()
    if source["bad"].raw_loader is not None:
        assert source["bad"].raw().tobytes() == tensor[2]


def test_names_are_kept_and_made_different(tmp_path: Path) -> None:
    model = Model()
    first = np.zeros(4, np.float32)
    for name in ("a", "a", "", b"\xff\n", "x/../y" * 500):
        model.tensor((4,), "float32", first, name=name)
    model.tensor((4,), "float32")  # not a constant
    source = opened(tmp_path, model)
    assert list(source) == ["a", "a [subgraph 0, tensor 1]", "subgraph 0, tensor 2", "\\xff\n", "x/../y" * 500]
    assert repr(source)


def test_a_tensor_of_several_subgraphs_is_listed_once(tmp_path: Path) -> None:
    model = Model()
    model.tensor((8, 16), "float32", WEIGHT, name="w")
    model.subgraph()
    model.tensor((8, 16), "float32", name="w")
    model.subgraphs[1][0][0][2] = ("I", 1)
    model.tensor((8, 16), "float32", WEIGHT + 1, name="w")
    source = opened(tmp_path, model)
    assert list(source) == ["w", "w [subgraph 1, tensor 1]"]
    assert np.array_equal(source["w [subgraph 1, tensor 1]"].read(), WEIGHT + 1)


#: operator, shape of the weight, where it stands among the inputs, axis, a word of the reason
AXES = [
    ("CONV_2D", (5, 3, 3, 2), 1, 0, "(out, height, width, in)"),
    ("DEPTHWISE_CONV_2D", (1, 3, 3, 6), 1, 3, "come last"),
    ("TRANSPOSE_CONV", (5, 3, 3, 2), 1, 0, "unlike torch"),
    ("CONV_3D", (3, 3, 3, 2, 5), 1, 4, "in, out"),
    ("CONV_3D_TRANSPOSE", (3, 3, 3, 5, 2), 1, 3, "out, in"),
    ("FULLY_CONNECTED", (5, 2), 1, 0, "(out, in)"),
    ("EMBEDDING_LOOKUP", (9, 4), 1, 0, "one row"),
    ("GATHER", (9, 4), 0, 0, "one row"),
    ("BATCH_MATMUL", (2, 5), 1, 1, "right side"),
    ("ADD", (1, 1, 1, 4), 1, 3, "last"),
    ("PRELU", (1, 1, 4), 1, 2, "last"),
]


def using(name: str, shape: tuple[int, ...], position: int, half: bool = False, options: Any = None) -> Model:
    """A model of one operator with a weight, in float16 behind a DEQUANTIZE if ``half``."""
    model = Model()
    weight = RNG.normal(size=shape).astype(np.float16 if half else np.float32)
    used = model.tensor(shape, weight.dtype.name, weight, name="w")
    if half:
        wide = model.tensor(shape)
        model.operation("DEQUANTIZE", [used], [wide])
        used = wide
    inputs = [used, used, used]
    for index in range(3):
        if index != position:
            inputs[index] = model.tensor((1,))
    model.operation(name, inputs, [model.tensor((1,))], options)
    return model


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize(("name", "shape", "position", "axis", "words"), AXES)
def test_the_axis_follows_the_operator(
    tmp_path: Path, name: str, shape: tuple[int, ...], position: int, axis: int, words: str, half: bool
) -> None:
    record = opened(tmp_path, using(name, shape, position, half))["w"]
    assert record.ch_axis == axis
    assert name in record.ch_axis_reason
    assert words in record.ch_axis_reason


def test_a_matrix_that_is_turned_has_its_channels_elsewhere(tmp_path: Path) -> None:
    assert opened(tmp_path, using("BATCH_MATMUL", (3, 5, 2), 1, options={1: ("b", 1)}))["w"].ch_axis == 1
    assert opened(tmp_path, using("BATCH_MATMUL", (3, 5, 2), 0))["w"].ch_axis == 1
    assert opened(tmp_path, using("BATCH_MATMUL", (3, 5, 2), 0, options={0: ("b", 1)}))["w"].ch_axis == 2


def test_the_axis_of_the_scales_goes_first(tmp_path: Path) -> None:
    model = Model()
    w = model.tensor((4, 3), "int8", bytes(12), name="w", scale=[1, 2, 3], axis=1)
    model.operation("FULLY_CONNECTED", [model.tensor((1, 3)), w], [model.tensor((1, 4))])
    record = opened(tmp_path, model)["w"]
    assert (record.ch_axis, record.stored().qparams.ch_axis) == (1, 1)
    assert "FULLY_CONNECTED" in record.ch_axis_reason


def test_operators_in_a_circle_end(tmp_path: Path) -> None:
    model = Model()
    w = model.tensor((4, 4), "float16", bytes(32), name="w")
    model.operation("DEQUANTIZE", [w], [w])
    assert opened(tmp_path, model)["w"].ch_axis == 0


@pytest.mark.parametrize("data", [b"", b"TFL3", bytes(8), b"\x10\0\0\0TFL3", b"\xff" * 4 + b"TFL3", bytes(4) + b"TFL3"])
def test_what_is_no_model_is_refused(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(QuantValueError, match=r"m\.tflite"):
        opened(tmp_path, data)


def test_every_cut_model_is_refused_or_listed(tmp_path: Path) -> None:
    whole = blocks()[0].between([], [])
    expected = {name: record.read() for name, record in opened(tmp_path, whole).items()}
    refused = 0
    for length in range(0, len(whole), 7):
        try:
            found = opened(tmp_path, whole[:length]).applicable()
        except QuantValueError:
            refused += 1
            continue
        assert all(np.array_equal(record.read(), expected[record.name]) for record in found)
    assert (sorted(expected), refused > 10) == (["w", "w_scales"], True)


def test_a_small_file_that_claims_a_lot_is_refused(tmp_path: Path) -> None:
    """Thousands of tensors that are one table with one long name."""
    model = Model()
    model.tensor((4,), "float32", bytes(16), name="n" * 50_000)
    made = Flatbuffer(bytearray(b"\0\0\0\0TFL3"))
    graph = {0: [*model.subgraphs[0][0], *({} for _ in range(20_000))], 3: []}
    made.point(0, made.table({0: ("I", 3), 2: [graph], 4: model.buffers}))
    raw = bytes(made.data)
    start = raw.index((20_001).to_bytes(4, "little")) + 4
    first = int.from_bytes(raw[start : start + 4], "little") + start
    for index in range(20_001):
        at = start + 4 * index
        made.point(at, first)
    with pytest.raises(QuantValueError, match="overlap"):
        opened(tmp_path, bytes(made.data))
