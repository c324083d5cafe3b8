"""Our ONNX reader: every element type as onnx has it, lazily; what is damaged spoils only itself."""

from __future__ import annotations

import sys
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fuzz.exercise import exercise
from needs import oracle
from sources import onnx_files
from sources.onnx_files import helper, model, node, normal, numpy_helper, saved, seeds, tensor, types

import perchq_widget as pq
from perchq_widget.core.errors import MissingExtra, QuantValueError
from perchq_widget.sources.base import TensorSource
from perchq_widget.sources.onnx import wire as onnx_wire
from perchq_widget.sources.opening import open_source

onnx = oracle("onnx")
pytestmark = pytest.mark.oracle

PARTS = {each.name: each for each in onnx_files.every_type().graph.initializer}


def opened(tmp_path: Path, content: Any) -> TensorSource:
    path = tmp_path / "m.onnx"
    path.write_bytes(content if isinstance(content, bytes) else content.SerializeToString())
    return open_source(path)


def problem(source: TensorSource, name: str) -> str:
    return str(source[name].not_applicable)


@pytest.fixture(scope="module")
def all_types(tmp_path_factory: pytest.TempPathFactory) -> TensorSource:
    return opened(tmp_path_factory.mktemp("types"), onnx_files.every_type())


@pytest.mark.parametrize("name", PARTS)
def test_every_type_reads_as_onnx_reads_it(all_types: TensorSource, name: str) -> None:
    record, wanted = all_types[name], numpy_helper.to_array(PARTS[name])
    assert record.shape == wanted.shape
    assert record.raw().dtype == wanted.dtype
    assert (record.raw() == wanted).all()
    if record.not_applicable is None:
        assert record.dtype == wanted.dtype.name
        assert record.read().tobytes() == wanted.tobytes()
        assert record.rows(1, 3).tobytes() == wanted[1:3].tobytes()


def test_floats_can_be_analysed_and_others_say_why_not(all_types: TensorSource) -> None:
    floats = {record.name for record in all_types.applicable()}
    assert floats == {name for name in PARTS if "FLOAT" in name or "DOUBLE" in name}
    assert problem(all_types, "INT4.raw").startswith("it has integers (int4)")
    assert problem(all_types, "STRING") == "it holds text, no numbers"
    assert pq.analyze(all_types["FLOAT16.typed"]).table.shape[0] == 3


def test_raw_data_are_mapped_and_closed_again(all_types: TensorSource) -> None:
    array: Any = all_types["FLOAT.raw"].read()
    assert isinstance(array.base, np.memmap)


def put(number: int, content: bytes) -> bytes:
    """A field of bytes."""
    return onnx_wire.encoded(number << 3 | 2) + onnx_wire.encoded(len(content)) + content


def test_messages_in_parts_mean_what_protobuf_says_they_mean(tmp_path: Path) -> None:
    """Graphs merge, a Constant's tensor merges, of raw_data the last one counts, numbers may come one by one."""
    first, second = tensor(normal(2, 3), "a").SerializeToString(), put(9, normal(3, 2).tobytes())
    plain = helper.make_tensor("f", 1, (2,), [1.5, 2.5])
    plain.ClearField("float_data")
    apart = plain.SerializeToString() + b"".join(b"\x25" + np.float32(each).tobytes() for each in (1.5, 2.5))
    integers = helper.make_tensor("h", 10, (3,), [0.5, 1, 2])
    packed = integers.SerializeToString().replace(put(5, b""), b"")
    constant = node("Constant", [], ["c"])
    halves = put(1, b"value") + put(5, b"\x08\x02" + b"\x10\x01") + put(5, put(9, bytes(8))) + b"\xa0\x01\x04"
    graph = put(5, first) + put(1, constant.SerializeToString() + put(5, halves))
    content = put(7, graph) + put(7, put(5, first + second) + put(5, apart) + put(5, packed))
    wanted = onnx.ModelProto.FromString(content).graph
    source = opened(tmp_path, content)
    assert [each.name for each in wanted.initializer] == ["a", "a", "f", "h"]
    assert problem(source, "a") == "malformed: the model names it more than once"
    for each in wanted.initializer[2:]:
        assert source[each.name].read().tobytes() == numpy_helper.to_array(each).tobytes()
    assert source["c"].read().tolist() == [0, 0]


def test_the_last_raw_data_count(tmp_path: Path) -> None:
    part = tensor(normal(2, 3), "a").SerializeToString() + put(9, np.arange(6, dtype=np.float32).tobytes())
    assert opened(tmp_path, put(7, put(5, part)))["a"].read().ravel().tolist() == [0, 1, 2, 3, 4, 5]


def test_integers_one_by_one_and_in_packed_parts(tmp_path: Path) -> None:
    part = helper.make_tensor("h", types.FLOAT16, (4,), [0.5, 1, 2, -4])
    numbers = [int(each) for each in part.int32_data]
    part.ClearField("int32_data")
    apart = b"".join(b"\x28" + onnx_wire.encoded(each) for each in numbers[:2])
    content = part.SerializeToString() + apart + put(5, b"".join(map(onnx_wire.encoded, numbers[2:])))
    assert opened(tmp_path, put(7, put(5, content)))["h"].read().tolist() == [0.5, 1, 2, -4]


def test_constants_subgraphs_and_functions_are_listed_with_where_they_are(tmp_path: Path) -> None:
    source = opened(tmp_path, onnx_files.subgraphs())
    assert [record.name for record in source.applicable()] == [
        "outer", "floats", "many", "if/else_branch/w", "if/then_branch/w", "own::F/c",
    ]  # fmt: skip
    assert (source["if/else_branch/w"].shape, source["if/else_branch/w"].ch_axis) == ((4, 5), 1)
    assert source["many"].read().tolist() == np.arange(2000).tolist()
    assert source["ints"].raw().tolist() == list(range(5000))
    assert (source["one"].raw(), source["text"].raw(), source["flag"].raw()) == (2, "t", True)
    assert problem(source, "one").startswith("it has rank 0")
    assert "sparse" in problem(source, "sparse")
    assert source["sparse_too"].shape == (8,)


def test_unreadable_names_are_spelled_out(tmp_path: Path) -> None:
    part = put(8, b"\xff\xfe/../\n") + b"\x08\x01\x10\x01" + put(9, bytes(4))
    (name,) = opened(tmp_path, put(7, put(5, part)))
    assert name == "\\xff\\xfe/../\n"


def changed(change: Any) -> bytes:
    """A model of a good tensor and one that ``change`` was done to."""
    bad = tensor(normal(2, 3), "bad")
    change(bad)
    return bytes(model([], [bad, tensor(normal(2, 2), "good")]).SerializeToString())


def resized(*dims: int) -> Any:
    def change(part: Any) -> None:
        part.dims[:] = dims

    return change


def set_to(**fields: Any) -> Any:
    def change(part: Any) -> None:
        for name, value in fields.items():
            setattr(part, name, value)

    return change


BAD: dict[str, tuple[Any, str]] = {
    "too small": (resized(2, 4), "takes 32 bytes, but the file has 24"),
    "overflow": (resized(2**62, 2**62), "but the file has 24"),
    "huge": (resized(2**63 - 1), "but the file has 24"),
    "negative": (resized(-2, -3), "negative length"),
    "too many": (resized(*[1] * 65), "more than 64 dimensions"),
    "a thousand": (resized(*[1] * 3000), "more than 64 dimensions"),
    "zero": (lambda part: (resized(0, 3)(part), set_to(raw_data=b"")(part)), "it has no elements"),
    "scalar": (lambda part: (resized()(part), set_to(raw_data=bytes(4))(part)), "it has rank 0"),
    "type": (set_to(data_type=99), "unknown element type 99"),
    "undefined": (set_to(data_type=0), "unknown element type 0"),
    "strings": (set_to(data_type=8), "but the file has 0 bytes"),
    "no data": (lambda part: part.ClearField("raw_data"), "but the file has 0 bytes"),
    "two fields": (lambda part: part.float_data.extend([1.0]), "data in two fields"),
    "wrong field": (lambda part: (part.ClearField("raw_data"), part.int64_data.extend([1] * 6)), "not in a field for"),
    "segment": (lambda part: part.segment.CopyFrom(types.Segment(begin=0, end=6)), "one segment"),
    "integers": (set_to(data_type=6), "it has integers"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_bad_tensor_spoils_only_itself(tmp_path: Path, name: str) -> None:
    change, words = BAD[name]
    source = opened(tmp_path, changed(change))
    assert [record.name for record in source.applicable()] == ["good"]
    with pytest.raises(QuantValueError, match=r"m\.onnx: tensor 'bad' cannot be analysed") as caught:
        source["bad"].read()
    assert words in str(caught.value)


def test_numbers_that_do_not_fit_their_shape_are_found_when_read(tmp_path: Path) -> None:
    part = helper.make_tensor("bad", types.INT64, (4,), [1, 2, 300, 4])
    part.dims[:] = [5]
    source = opened(tmp_path, model([], [part]))
    with pytest.raises(QuantValueError, match=r"m\.onnx: tensor 'bad': malformed: its shape has 5"):
        source["bad"].raw()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "the file is empty"),
        (b"\x3a", "does not end"),
        (b"\x3a\x05\x00", "beyond"),
        (b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\x7f", "beyond"),
        (b"\xff" * 40, "does not end"),
        (b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00\x8c\x02os\x94.", "is a Python pickle"),
        (b"\x08\x0a", "it has no graph"),
        (b"\x0b\x0c", "wire type 3"),
        (b"\x02\x00", "of number 0"),
        (b"PK\x03\x04" + bytes(40), "no ONNX model"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
    ],
)
def test_a_file_that_is_no_model_is_refused(tmp_path: Path, content: bytes, words: str) -> None:
    with pytest.raises(QuantValueError, match=words) as caught:
        opened(tmp_path, content)
    assert str(tmp_path) in str(caught.value)


def test_models_beyond_all_measure_are_refused(tmp_path: Path) -> None:
    deep = b""
    for _ in range(60):
        deep = put(1, put(5, put(6, deep)))
    with pytest.raises(QuantValueError, match="nested more than"):
        opened(tmp_path, put(7, deep))
    with pytest.raises(QuantValueError, match=r"more than \d+ tensors"):
        opened(tmp_path, put(7, put(5, b"") * 100_000))
    with pytest.raises(QuantValueError, match=r"more than \d+ nodes"):
        opened(tmp_path, put(7, put(1, b"") * 100_000))


def test_a_changed_file_is_not_read_by_the_old_layout(tmp_path: Path) -> None:
    record = opened(tmp_path, model([], [tensor(normal(2, 3), "w")]))["w"]
    opened(tmp_path, model([], [tensor(normal(2, 3), "much longer")]))
    with pytest.raises(QuantValueError, match="has changed since"):
        record.read()


def test_opening_reads_no_weights(tmp_path: Path) -> None:
    path = saved(model([node("MatMul", ["x", "w"], ["y"])], [tensor(np.zeros((4096, 4096), np.float32), "w")]),
                 tmp_path / "m.onnx")  # fmt: skip
    tracemalloc.start()
    try:
        record = open_source(path)["w"]
        part = record.rows(7, 9)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert part.shape == (2, 4096)
    assert peak < 1_000_000


def test_without_onnx_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingExtra, match=r'pip install "perchq_widget\[onnx\]"'):
        opened(tmp_path, b"\x3a\x00")


@pytest.mark.parametrize("place", range(len(seeds())))
def test_the_files_that_damage_begins_with_are_good(tmp_path: Path, place: int) -> None:
    for name, content in seeds()[place].items():
        (tmp_path / name).write_bytes(content)
    assert exercise(tmp_path / "m.onnx", analyze=True)
