"""numpy's files: mapped, never unpickled, and no claim believed before it is checked."""

from __future__ import annotations

import io
import struct
import zipfile
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from perchq_widget.core.errors import QuantValueError
from perchq_widget.sources.opening import open_source


def header(shape: object, descr: object = "<f4", version: int = 1) -> bytes:
    text = f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape!r}, }}\n".encode()
    size = struct.pack("<H" if version == 1 else "<I", len(text))
    return b"\x93NUMPY" + bytes([version, 0]) + size + text


def is_mapped(array: np.ndarray[Any, Any]) -> bool:
    base: Any = array
    while base is not None and not isinstance(base, np.memmap):
        base = getattr(base, "base", None)
    return base is not None


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_an_npy_file_is_mapped(tmp_path: Path, dtype: str, order: Any) -> None:
    data = np.asarray(np.arange(24).reshape(2, 3, 4), dtype=dtype, order=order)
    np.save(tmp_path / "weight.npy", data)
    record = open_source(tmp_path / "weight.npy")["weight"]
    assert (record.shape, record.dtype, record.n_bytes) == ((2, 3, 4), data.dtype.name, data.nbytes)
    array = record.read()
    assert is_mapped(array)
    assert np.array_equal(array, data)
    assert array.flags.f_contiguous == (order == "F")
    assert not array.flags.writeable


def test_big_endian_values_are_right(tmp_path: Path) -> None:
    np.save(tmp_path / "w.npy", np.array([1.5, -2.0], ">f8"))
    assert open_source(str(tmp_path / "w.npy"))["w"].read().tolist() == [1.5, -2.0]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "malformed .npy header"),
        (b"PK\x03\x04 no array", "malformed .npy header"),
        (header((4,))[:20], "malformed .npy header"),
        (header((4,)) + bytes(15), r"claims 16 bytes of data for \(4,\), 15 are there"),
        (header((4,)) + bytes(17), "claims 16 bytes of data"),
        (header((2**40, 2**40)) + bytes(16), "malformed: the header claims"),
        (header((-1, 4)) + bytes(16), "malformed .npy header"),
        (header((True, 4)) + bytes(16), "malformed .npy header"),
        (header((2**63,)) + bytes(16), "malformed .npy header"),
        (header((1,) * 65) + bytes(4), "malformed .npy header"),
        (header(4) + bytes(16), "malformed .npy header"),
        (header((1,), "|O") + bytes(8), "pickle"),
        (header((2,), "no type") + bytes(8), "malformed .npy header"),
        (b"\x93NUMPY\x03\x00" + header((2,), version=2)[8:] + bytes(8), "version 3.0"),
        (b"\x93NUMPY\x02\x00\xff\xff\xff\x7f", "malformed .npy header"),
    ],
)
def test_a_malformed_file_is_refused_by_name(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "bad.npy"
    path.write_bytes(content)
    with pytest.raises(QuantValueError, match=words) as caught:
        open_source(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("content", "words", "raw"),
    [
        (header((2,), "<V2") + bytes(4), r"bfloat16.*\.safetensors", (2,)),
        (header((2,), "<i4") + bytes(8), "it has integers", (2,)),
        (header((0, 3)), "it has no elements", (0, 3)),
        (header((), "<f4") + bytes(4), "it has rank 0", ()),
        (header((2,), [("a", "<f4")]) + bytes(8), "it holds no floats", (2,)),
    ],
)
def test_what_holds_no_floats_is_listed(tmp_path: Path, content: bytes, words: str, raw: tuple[int, ...]) -> None:
    path = tmp_path / "other.npy"
    path.write_bytes(content)
    record = open_source(path)["other"]
    with pytest.raises(QuantValueError, match=words):
        record.read()
    assert record.raw().shape == raw


def test_a_pickle_in_an_array_is_not_run(tmp_path: Path) -> None:
    np.save(tmp_path / "p.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(QuantValueError, match="Python objects"):
        open_source(tmp_path / "p.npy")


def test_a_file_that_changes_or_goes_is_not_read_by_the_old_layout(tmp_path: Path) -> None:
    path = tmp_path / "w.npy"
    np.save(path, np.ones(8, np.float32))
    record = open_source(path)["w"]
    np.save(path, np.ones(4, np.float32))
    with pytest.raises(QuantValueError, match=r"w\.npy: has changed since it was opened"):
        record.read()
    path.unlink()
    with pytest.raises(QuantValueError, match="cannot be read any more"):
        record.read()


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_an_npz_archive(tmp_path: Path, save: Any) -> None:
    path = tmp_path / "model.npz"
    weight = np.asfortranarray(np.arange(12, dtype=np.float32).reshape(3, 4))
    save(path, **{"conv.weight": weight, "steps": np.array(7), "half": np.ones(3, np.float16)})
    source = open_source(path)
    assert list(source) == ["conv.weight", "steps", "half"]
    assert [record.name for record in source.applicable()] == ["conv.weight", "half"]
    array = source["conv.weight"].read()
    assert np.array_equal(array, weight)
    assert array.flags.f_contiguous


def npy_bytes(data: np.ndarray[Any, Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, data)
    return buffer.getvalue()


def test_a_bad_member_spoils_only_itself(tmp_path: Path) -> None:
    path = tmp_path / "mixed.npz"
    good = npy_bytes(np.ones((2, 2), np.float32))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("good.npy", good)
        archive.writestr("short.npy", good[:-1])
        archive.writestr("huge.npy", header((2**40,)) + bytes(16))
        archive.writestr("notes.txt", "hello")
        archive.writestr("junk.npy", "hello")
        archive.writestr("bz.npy", good, zipfile.ZIP_BZIP2)
        archive.writestr("bf16.npy", npy_bytes(np.ones(2, ml_dtypes.bfloat16)))
    source = open_source(path)
    assert [record.name for record in source.applicable()] == ["good"]
    expected = {
        "short": "16 bytes of data",
        "huge": "4398046511104 bytes",
        "notes.txt": "not an array",
        "junk": "malformed",
        "bz": "method 12",
        "bf16": "bfloat16",
    }
    for name, words in expected.items():
        assert words in str(source[name].not_applicable)
        with pytest.raises(QuantValueError, match=r"mixed\.npz: tensor"):
            source[name].read()
    assert source["good"].read().sum() == 4


def test_a_repeated_member_is_not_guessed(tmp_path: Path) -> None:
    path = tmp_path / "twice.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.npy", npy_bytes(np.ones(2)))
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("a.npy", npy_bytes(np.zeros(2)))
    assert "twice" in str(open_source(path)["a"].not_applicable)


def test_damaged_data_and_false_sizes_are_found(tmp_path: Path) -> None:
    path = tmp_path / "damaged.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.npy", npy_bytes(np.ones(100_000)))
    raw = bytearray(path.read_bytes())
    raw[400_000] ^= 1  # far behind what is read for the header
    path.write_bytes(raw)
    with pytest.raises(QuantValueError, match=r"damaged\.npz: 'a\.npy' cannot be read \(Bad CRC"):
        open_source(path)["a"].read()
    place = raw.rindex(b"PK\x01\x02")
    raw[place + 24 : place + 28] = struct.pack("<I", 2**31)
    path.write_bytes(raw)
    assert "more bytes than the archive" in str(open_source(path)["a"].not_applicable)


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x05\x06" + bytes(10)])
def test_what_is_no_archive_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.npz"
    path.write_bytes(content)
    with pytest.raises(QuantValueError, match=r"x\.npz: is no \.npz archive"):
        open_source(path)


def test_rows_of_a_member_are_those_of_the_whole(tmp_path: Path) -> None:
    path = tmp_path / "m.npz"
    data = np.arange(12, dtype=">f4").reshape(4, 3)
    np.savez_compressed(path, c=data, fortran=np.asfortranarray(data), codes=np.arange(3, dtype=np.int8))
    source = open_source(path)
    for name in ("c", "fortran"):
        for ends in ((0, 4), (1, 3), (-1, 9), (3, 1)):
            rows = source[name].rows(*ends)
            assert rows.dtype.isnative
            assert np.array_equal(rows, data[slice(*ends)])
    assert source["codes"].raw().tolist() == [0, 1, 2]
    assert source["c"].raw().dtype == np.dtype(">f4")


def test_names_stay_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "names.npz"
    names = ["a/b", "../up", "/root", "tab\tand\nline", "é" * 2000, "dot.npy"]
    with zipfile.ZipFile(path, "w") as archive:
        for name in [*names, "plain"]:
            archive.writestr(f"{name}.npy", npy_bytes(np.ones(2)))
        archive.writestr("plain", "the same name without its suffix")
    source = open_source(path)
    assert [record.name for record in source.applicable()] == names
    assert "twice" in str(source["plain"].not_applicable)
    assert all(source[name].read().tolist() == [1, 1] for name in names)


def test_a_zip_bomb_is_listed_and_not_expanded(tmp_path: Path) -> None:
    path = tmp_path / "bomb.npz"
    zeros = header(((1 << 24) + 1,)) + bytes((1 << 26) + 4)
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("w.npy", npy_bytes(np.ones(2)))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros.npy", zeros)
        archive.writestr("nested.npz", inner.getvalue())
        archive.writestr("nested.npy", inner.getvalue())
        archive.writestr("good.npy", npy_bytes(np.ones(2)))
    source = open_source(path)
    assert [record.name for record in source.applicable()] == ["good"]
    assert "as only zeros or a zip bomb do" in str(source["zeros"].not_applicable)
    with pytest.raises(QuantValueError, match="bomb"):
        source["zeros"].raw()
    assert "not an array" in str(source["nested.npz"].not_applicable)


def test_members_that_share_bytes_are_not_believed(tmp_path: Path) -> None:
    path = tmp_path / "shared.npz"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("a", "b", "c"):
            archive.writestr(f"{name}.npy", npy_bytes(np.ones(2)))
    raw = bytearray(path.read_bytes())
    second = raw.index(b"PK\x01\x02", raw.index(b"PK\x01\x02") + 4)
    raw[second + 42 : second + 46] = struct.pack("<I", 10)  # b's header lies inside of a
    path.write_bytes(raw)
    source = open_source(path)
    assert [record.name for record in source.applicable()] == ["c"]
    assert "another member claims the same bytes" in str(source["a"].not_applicable)


def test_a_directory_beyond_all_bounds_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "many.npz"
    entry = struct.pack("<4s6H3L5H2L", b"PK\x01\x02", 20, 20, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0) + b"a"
    directory = entry * 400_000
    path.write_bytes(directory + struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1, 1, len(directory), 0, 0))
    with pytest.raises(QuantValueError, match=r"directory has 18800000 bytes; up to 16777216 are read"):
        open_source(path)
