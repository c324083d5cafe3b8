"""Our safetensors reader: every type, lazily; a bad entry is named and spoils no other."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import ml_dtypes
import needs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perchq_widget.core.errors import QuantValueError
from perchq_widget.sources.base import TensorSource
from perchq_widget.sources.opening import open_source

F32 = {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}
needs_proc = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="what a process holds is in /proc")


def write(path: Path, header: object, data: bytes = bytes(64)) -> Path:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(raw)) + raw + data)
    return path


def opened(tmp_path: Path, header: object, data: bytes = bytes(64)) -> TensorSource:
    return open_source(write(tmp_path / "m.safetensors", header, data))


@pytest.mark.parametrize(
    ("code", "dtype"),
    [
        ("F64", "float64"),
        ("F32", "float32"),
        ("F16", "float16"),
        ("BF16", "bfloat16"),
        ("F8_E4M3", "float8_e4m3fn"),
        ("F8_E5M2", "float8_e5m2"),
        ("F8_E4M3FNUZ", "float8_e4m3fnuz"),
        ("F8_E5M2FNUZ", "float8_e5m2fnuz"),
        ("F8_E8M0", "float8_e8m0fnu"),
    ],
)
def test_every_float_type_is_mapped_and_exact(tmp_path: Path, code: str, dtype: str) -> None:
    values = np.array([[0.5, 1, 2], [4, 8, 1]]).astype(getattr(ml_dtypes, dtype, dtype))
    entry = {"dtype": code, "shape": [2, 3], "data_offsets": [3, 3 + values.nbytes]}  # unaligned on purpose
    source = opened(tmp_path, {"__metadata__": {"format": "pt"}, "w": entry}, b"abc" + values.tobytes())
    record = source["w"]
    assert (record.dtype, record.shape, record.n_bytes) == (dtype, (2, 3), values.nbytes)
    array = record.read()
    assert array.tobytes() == values.tobytes()
    assert array.dtype == values.dtype
    assert isinstance(array.base, np.memmap)
    assert list(source) == ["w"]


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"", "longer than the file"),
        (b"1234567", "longer than the file"),
        (struct.pack("<Q", 2**63) + b"{}", "longer than the file"),
        (struct.pack("<Q", 9) + b"{}", "longer than the file"),
        (struct.pack("<Q", 4) + b"{]}]", "not JSON"),
        (struct.pack("<Q", 2) + b"\xff\xfe", "not JSON"),
        (struct.pack("<Q", 2) + b"[]", "not a JSON object"),
        (struct.pack("<Q", 0), "not a JSON object"),
        (struct.pack("<Q", 200_000) + b"[" * 200_000, "not a JSON object"),
        (struct.pack("<Q", 50_005) + b'{"a":' + b"[" * 50_000, "nested too deeply"),
        (struct.pack("<Q", 50_000) + b'{"a":' * 10_000, "nested too deeply"),
        (struct.pack("<Q", 200_000) + b'{"a":[' + b"0," * 99_997, "a value of more than 65536 characters"),
        (struct.pack("<Q", 4) + b"{} x", "more follows its end"),
        (struct.pack("<Q", 5014) + b'{"a": ' + b"9" * 5007 + b"}", "not JSON"),
    ],
)
def test_a_bad_header_spoils_the_file(tmp_path: Path, raw: bytes, words: str) -> None:
    path = tmp_path / "bad.safetensors"
    path.write_bytes(raw)
    with pytest.raises(QuantValueError, match=words) as caught:
        open_source(path)
    assert str(path) in str(caught.value)


def test_a_header_beyond_the_formats_limit_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "big.safetensors"
    with path.open("wb") as file:
        file.write(struct.pack("<Q", 200_000_000))
        file.truncate(300_000_000)  # sparse: takes no space
    with pytest.raises(QuantValueError, match="the format allows 100000000"):
        open_source(path)


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (3, "needs one dtype"),
        ({}, "needs one dtype"),
        ({**F32, "data_offsets": [16]}, "needs one dtype"),
        ({**F32, "data_offsets": [16, 32, 48]}, "needs one dtype"),
        ({**F32, "data_offsets": [-16, 0]}, "whole numbers from 0"),
        ({**F32, "data_offsets": [16.0, 32.0]}, "whole numbers from 0"),
        ({**F32, "shape": [True, 4], "data_offsets": [16, 32]}, "whole numbers from 0"),
        ({**F32, "shape": [-2, -2], "data_offsets": [16, 32]}, "whole numbers from 0"),
        ({**F32, "shape": [2**63], "data_offsets": [16, 32]}, "whole numbers from 0"),
        ({**F32, "shape": None, "data_offsets": [16, 32]}, "whole numbers from 0"),
        ({**F32, "dtype": 4, "data_offsets": [16, 32]}, "needs one dtype"),
        ({**F32, "shape": [2**62, 2**62], "data_offsets": [16, 32]}, "offsets span 16"),
        ({**F32, "shape": [1] * 65, "data_offsets": [16, 20]}, "65 dimensions"),
        ({**F32, "data_offsets": [16, 31]}, "takes 16 bytes, but its offsets span 15"),
        ({**F32, "data_offsets": [32, 16]}, "not in the file"),
        ({**F32, "data_offsets": [60, 76]}, "not in the file"),
        ({**F32, "data_offsets": [0, 10**18]}, "not in the file"),
        ({"dtype": "X9", "shape": [2], "data_offsets": [16, 18]}, "unknown dtype 'X9'"),
        ({"dtype": "\x1b[2J\n", "shape": [2], "data_offsets": [16, 18]}, "has the unknown dtype '\\\\x1b[2J\\\\n'"),
        ({"dtype": "F6_E2M3", "shape": [4], "data_offsets": [16, 19]}, "packed type F6_E2M3"),
        ({"dtype": "F4", "shape": [5], "data_offsets": [16, 18]}, "takes 2.5 bytes"),
        ({"dtype": "I8", "shape": [4], "data_offsets": [16, 20]}, "it has integers"),
        ({"dtype": "BOOL", "shape": [4], "data_offsets": [16, 20]}, "it has booleans"),
        ({"dtype": "C64", "shape": [1], "data_offsets": [16, 24]}, "it is complex"),
        ({"dtype": "F32", "shape": [], "data_offsets": [16, 20]}, "it has rank 0"),
        ({"dtype": "F32", "shape": [0, 4], "data_offsets": [16, 16]}, "it has no elements"),
    ],
)
def test_a_bad_entry_spoils_only_its_tensor(tmp_path: Path, entry: object, words: str) -> None:
    source = opened(tmp_path, {"bad": entry, "good": F32})
    assert [record.name for record in source.applicable()] == ["good"]
    assert source["bad"].dtype.isprintable()
    assert source["good"].read().shape == (2, 2)
    with pytest.raises(QuantValueError, match=r"m\.safetensors: tensor 'bad' cannot be analysed") as caught:
        source["bad"].read()
    assert words in str(caught.value)


def test_tensors_that_claim_the_same_bytes_are_not_believed(tmp_path: Path) -> None:
    header = {
        "wide": {"dtype": "F32", "shape": [8], "data_offsets": [16, 48]},
        "inside": {"dtype": "F32", "shape": [1], "data_offsets": [20, 24]},
        "late": {"dtype": "F32", "shape": [1], "data_offsets": [44, 48]},
        "before": F32,
        "after": {"dtype": "F32", "shape": [4], "data_offsets": [48, 64]},
    }
    source = opened(tmp_path, header)
    assert [record.name for record in source.applicable()] == ["before", "after"]
    assert "claims the same bytes" in str(source["late"].not_applicable)


def test_repeated_names_and_fields_are_not_guessed(tmp_path: Path) -> None:
    entry = json.dumps(F32)
    other = json.dumps({**F32, "data_offsets": [16, 32]})
    twice = '{"dtype": "F32", "dtype": "F32", "shape": [4], "data_offsets": [32, 48]}'
    raw = f'{{"a": {entry}, "a": {other}, "b": {twice}, "c": {json.dumps({**F32, "data_offsets": [48, 64]})}}}'
    source = opened(tmp_path, raw.encode())
    assert [record.name for record in source.applicable()] == ["c"]
    assert "more than once" in str(source["a"].not_applicable)
    assert "one dtype" in str(source["b"].not_applicable)


def test_names_that_no_export_could_hold_are_spelled_out(tmp_path: Path) -> None:
    assert list(opened(tmp_path, b'{"a\\ud800": {}}')) == ["a\\ud800"]


def test_a_changed_file_is_not_read_by_the_old_header(tmp_path: Path) -> None:
    record = opened(tmp_path, {"w": F32})["w"]
    write(tmp_path / "m.safetensors", {"w": F32}, bytes(32))
    with pytest.raises(QuantValueError, match="has changed since"):
        record.read()


@given(st.binary(max_size=80), st.booleans())
def test_any_bytes_are_opened_or_refused(tmp_path_factory: pytest.TempPathFactory, raw: bytes, framed: bool) -> None:
    path = tmp_path_factory.getbasetemp() / "any.safetensors"
    path.write_bytes((struct.pack("<Q", len(raw)) if framed else b"") + raw)
    try:
        names = [record.name for record in open_source(path).applicable()]
    except QuantValueError as error:
        names = [] if str(path) in str(error) else [str(error)]
    assert names == []


json_values: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["F32", "BF16", "I8", "F4"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["dtype", "shape", "data_offsets", "w", "v"]), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(["w", "v", "__metadata__"]), json_values))
def test_any_header_leaves_the_good_tensor_usable(tmp_path_factory: pytest.TempPathFactory, header: Any) -> None:
    # The bytes of the good tensor lie at an offset that the strategy has no reason to guess.
    path = tmp_path_factory.getbasetemp() / "header.safetensors"
    good = {"dtype": "F32", "shape": [4], "data_offsets": [10_007, 10_023]}
    source = open_source(write(path, {**header, "good": good}, bytes(10_023)))
    assert source["good"].not_applicable in (None, "malformed entry: another tensor claims the same bytes")
    for record in source.applicable():
        assert record.read().shape == record.shape


def test_four_bit_floats_are_unpacked_the_lower_half_first(tmp_path: Path) -> None:
    entry = {"dtype": "F4", "shape": [2, 4], "data_offsets": [0, 4]}
    record = opened(tmp_path, {"w": entry}, bytes([0x10, 0x32, 0xF7, 0x89]))["w"]
    assert (record.dtype, record.shape, record.n_bytes) == ("float4_e2m1fn", (2, 4), 4)
    assert record.read().astype(np.float32).tolist() == [[0, 0.5, 1, 1.5], [6, -6, -0.5, -0.0]]
    assert record.rows(1, 2).astype(np.float32).tolist() == [[6, -6, -0.5, -0.0]]
    assert record.raw().tolist() == [0x10, 0x32, 0xF7, 0x89]


def test_rows_are_those_of_the_whole(tmp_path: Path) -> None:
    values = np.arange(12, dtype=np.float32).reshape(4, 3)
    entry = {"dtype": "F32", "shape": [4, 3], "data_offsets": [0, 48]}
    record = opened(tmp_path, {"w": entry}, values.tobytes())["w"]
    for ends in ((0, 4), (1, 3), (-2, 9), (3, 1), (7, 9)):
        assert np.array_equal(record.rows(*ends), values[slice(*ends)])


@pytest.mark.parametrize(
    ("entry", "dtype", "shape"),
    [
        ({"dtype": "I8", "shape": [2, 2], "data_offsets": [0, 4]}, "int8", (2, 2)),
        ({"dtype": "BOOL", "shape": [4], "data_offsets": [0, 4]}, "bool", (4,)),
        ({"dtype": "F32", "shape": [], "data_offsets": [0, 4]}, "float32", ()),
        ({"dtype": "I64", "shape": [0, 4], "data_offsets": [4, 4]}, "int64", (0, 4)),
        ({"dtype": "F6_E2M3", "shape": [4], "data_offsets": [0, 3]}, "uint8", (3,)),
        ({"dtype": "X9", "shape": [4], "data_offsets": [0, 9]}, "uint8", (9,)),
    ],
)
def test_what_cannot_be_analysed_is_there_raw(tmp_path: Path, entry: Any, dtype: str, shape: tuple[int, ...]) -> None:
    record = opened(tmp_path, {"w": entry})["w"]
    assert record.not_applicable is not None
    assert (record.raw().dtype.name, record.raw().shape) == (dtype, shape)


@pytest.mark.parametrize("shape", [[0, 2**62, 2**62], [2**62, 0]])
def test_nothing_of_huge_shape_is_refused(tmp_path: Path, shape: list[int]) -> None:
    record = opened(tmp_path, {"w": {"dtype": "F32", "shape": shape, "data_offsets": [0, 0]}})["w"]
    with pytest.raises(QuantValueError, match=r"m\.safetensors"):
        record.raw()


def test_too_many_malformed_entries_spoil_the_file(tmp_path: Path) -> None:
    header = {str(place): {} for place in range(1000)}
    assert len(opened(tmp_path, header)) == 1000
    with pytest.raises(QuantValueError, match="more than 1000 malformed entries, the last 'x"):
        opened(tmp_path, {**header, "x" * 10_000: 0})


def test_metadata_of_any_length_is_passed_over(tmp_path: Path) -> None:
    assert list(opened(tmp_path, {"__metadata__": {"log": "x" * 300_000}, "w": F32})) == ["w"]
    with pytest.raises(QuantValueError, match="more than 100000 entries"):
        opened(tmp_path, {"__metadata__": {str(place): "" for place in range(100_001)}, "w": F32})


@needs_proc
def test_many_arrays_of_a_file_keep_few_files_open(tmp_path: Path) -> None:
    count = 300
    entries = {str(at): {"dtype": "F32", "shape": [1], "data_offsets": [4 * at, 4 * at + 4]} for at in range(count)}
    source = opened(tmp_path, entries, np.arange(count, dtype=np.float32).tobytes())
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 -- nothing of it is opened
    held = [record.read() for record in source.values()]
    assert len(os.listdir("/proc/self/fd")) < before + 10  # noqa: PTH208
    assert [array[0] for array in held] == list(range(count))


MEMORY = """
import sys
import numpy as np
from perchq_widget.sources.opening import open_source

def held(field):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(field))

np.add.reduce(np.ones(4))
before = held("VmRSS")
print(float(np.add.reduce(open_source(sys.argv[1])["w"].read().ravel())), held("VmHWM") - before)
"""


@needs_proc
def test_reading_one_tensor_of_a_long_file_takes_its_own_memory(tmp_path: Path) -> None:
    size, long = 2**24, 2**32
    begin = long // 2
    header = {
        "before": {"dtype": "F32", "shape": [begin // 4], "data_offsets": [0, begin]},
        "w": {"dtype": "F32", "shape": [1024, size // 4096], "data_offsets": [begin, begin + size]},
        "after": {"dtype": "F32", "shape": [(long - begin - size) // 4], "data_offsets": [begin + size, long]},
    }
    path = write(tmp_path / "long.safetensors", header, b"")
    start = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(start + begin)
        file.write(np.ones(size // 4, np.float32).tobytes())
        file.truncate(start + long)  # sparse: only the tensor takes space
    done = subprocess.run([sys.executable, "-c", MEMORY, str(path)], check=True, capture_output=True, text=True)
    total, grown = map(float, done.stdout.split())
    assert total == size // 4
    assert grown < 2 * size


@pytest.mark.parametrize(
    ("start", "piece"),
    [
        (b"[", b"["),
        (b'{"a":', b"["),
        (b'{"a":[', b"0,"),
        (b'{"a":[', b"[],"),
        (b'{"a":[', b'{"b":{}},'),
        (b'{"a":0', b',"b":0'),
        (b'{"__metadata__":{"a":""', b',"b":""'),
        (b'{"a":"', b"\xf0\x9f\x98\x80"),
    ],
)
def test_a_hostile_header_takes_little_memory(tmp_path: Path, start: bytes, piece: bytes) -> None:
    size = 2_000_000
    path = write(tmp_path / "hostile.safetensors", start + piece * ((size - len(start)) // len(piece)), b"")
    tracemalloc.start()
    try:
        with pytest.raises(QuantValueError, match=r"hostile\.safetensors: malformed"):
            open_source(path)
        assert tracemalloc.get_traced_memory()[1] < 7 * size  # a name of four-byte characters takes most
    finally:
        tracemalloc.stop()


@pytest.mark.oracle
def test_every_type_of_the_real_library_reads_the_same(tmp_path: Path) -> None:
    torch = needs.oracle("torch")
    needs.oracle("safetensors")
    from safetensors.torch import load_file, save_file

    path = tmp_path / "real.safetensors"
    floats = (
        "float64", "float32", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz",
        "float8_e5m2fnuz", "float8_e8m0fnu",
    )  # fmt: skip
    others = ("int64", "int32", "int16", "int8", "uint64", "uint32", "uint16", "uint8", "bool", "complex64")
    bits = torch.randint(0, 256, (3, 40), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    tensors = {name: (bits % 2 if name == "bool" else bits).view(getattr(torch, name)) for name in (*floats, *others)}
    tensors["float4_e2m1fn"] = bits.clone().view(torch.float4_e2m1fn_x2)
    tensors = {name: tensor.clone() if name != "float4_e2m1fn" else tensor for name, tensor in tensors.items()}
    save_file(tensors, str(path), metadata={"format": "pt"})
    source, loaded = open_source(path), load_file(str(path))
    assert set(source) == set(loaded) == set(tensors)
    assert {record.name for record in source.applicable()} == {*floats, "float4_e2m1fn"}
    for record in source.values():
        assert record.dtype == record.name
        theirs = loaded[record.name].view(torch.uint8).numpy()
        assert record.raw().tobytes() == theirs.tobytes()
        if record.name in floats:
            assert record.read().tobytes() == theirs.tobytes()
            assert record.rows(1, 3).tobytes() == theirs[1:3].tobytes()
    halves = np.stack([bits.numpy() & 15, bits.numpy() >> 4], axis=-1).reshape(3, 80)
    assert source["float4_e2m1fn"].read().view(np.uint8).tolist() == halves.tolist()
