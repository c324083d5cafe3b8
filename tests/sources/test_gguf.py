"""Our GGUF reader: every type as the gguf package writes and decodes it; a bad entry is named and spoils no other."""

from __future__ import annotations

import builtins
import contextlib
import os
import struct
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import ml_dtypes
import needs
import numpy as np
import pytest
from sources.gguf_files import ARRAY, IDS, STRING, build, every_type, info, pair, text

import perchq_widget as pq
from perchq_widget.core.errors import QuantError, QuantValueError
from perchq_widget.sources.base import TensorSource
from perchq_widget.sources.gguf.stored import BLOCK_SIZES, FORMATS
from perchq_widget.sources.gguf.tables import magnitude_places
from perchq_widget.sources.opening import open_source


def opened(tmp_path: Path, raw: bytes, name: str = "m.gguf") -> TensorSource:
    path = tmp_path / name
    path.write_bytes(raw)
    return open_source(path)


F32 = info("w", (4, 2), 0, 0)


@pytest.mark.parametrize("name", ["F32", "F16", "BF16", "F64"])
@pytest.mark.parametrize("version", [2, 3])
def test_floats_are_mapped_without_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, version: int
) -> None:
    monkeypatch.setitem(sys.modules, "gguf", None)
    dtype = np.dtype({"F32": "<f4", "F16": "<f2", "BF16": ml_dtypes.bfloat16, "F64": "<f8"}[name])
    values = np.arange(6).reshape(2, 3).astype(dtype)
    pairs = [pair("general.alignment", 4, struct.pack("<I", 64))]
    raw = build([info("w", (3, 2), IDS[name], 64)], pairs, bytes(64) + values.tobytes(), version=version, alignment=64)
    record = opened(tmp_path, raw)["w"]
    assert (record.shape, record.dtype, record.n_bytes, record.quantized) == ((2, 3), dtype.name, values.nbytes, False)
    array = record.read()
    assert (array.tobytes(), array.dtype) == (values.tobytes(), dtype)
    assert isinstance(array.base, np.memmap)
    assert record.rows(1, 2).tobytes() == values[1:].tobytes()
    assert record.source == str(tmp_path / "m.gguf")


def test_integers_are_listed(tmp_path: Path) -> None:
    kinds = {"I8": np.int8, "I16": np.int16, "I32": np.int32, "I64": np.int64}
    infos = [info(name, (4,), IDS[name], 32 * index) for index, name in enumerate(kinds)]
    data = b"".join(np.arange(4, dtype=kind).tobytes().ljust(32, b"\0") for kind in kinds.values())
    for record, kind in zip(opened(tmp_path, build(infos, data=data)).values(), kinds.values(), strict=True):
        assert record.not_applicable is not None
        assert "integers" in record.not_applicable
        assert record.raw().tolist() == [0, 1, 2, 3]
        assert record.raw().dtype == kind


# Files of the package ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def gguf() -> Any:
    needs.oracle("gguf.quants")
    return needs.oracle("gguf")


def written(gguf: Any, path: Path, tensors: dict[str, tuple[np.ndarray[Any, Any], str | None]], **more: Any) -> Path:
    """A file of the package's writer: arrays, and for bytes the name of their type."""
    tokens = more.pop("tokens", ["a", "", "gr\u00fc\u00df"])
    writer = gguf.GGUFWriter(path, more.pop("architecture", "llama"), **more)
    writer.add_name("A model")
    writer.add_file_type(15)
    writer.add_token_list(tokens)
    writer.add_token_scores([0.0] * len(tokens))
    for name, (values, kind) in tensors.items():
        writer.add_tensor(name, values, raw_dtype=None if kind is None else gguf.GGMLQuantizationType[kind])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def block_bytes(name: str, shape: tuple[int, ...], below: int = 256) -> np.ndarray[Any, Any]:
    """Any bytes: every pattern of every type decodes to something. ``below`` 60 leaves no scale that is not finite."""
    kind = BLOCK_SIZES[name]
    row = shape[-1] // kind.n_elements * kind.n_bytes
    return np.random.default_rng(0).integers(0, below, (*shape[:-1], row), dtype=np.uint8)


@pytest.fixture(scope="module")
def everything(gguf: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(1)
    tensors: dict[str, Any] = {f"blk.0.{name}.weight": (block_bytes(name, (5, 512), 60), name) for name in FORMATS}
    tensors |= {f"damaged.{name}.weight": (block_bytes(name, (5, 512)), name) for name in FORMATS}
    tensors["one.F32"] = (rng.standard_normal(7).astype(np.float32), None)
    tensors["two.F16"] = (rng.standard_normal((3, 5)).astype(np.float16), None)
    tensors["two.BF16"] = (rng.integers(0, 256, (3, 10), dtype=np.uint8), "BF16")
    tensors["two.F64"] = (rng.standard_normal((3, 5)), None)
    tensors["four.F32"] = (rng.standard_normal((2, 3, 4, 5)).astype(np.float32), None)
    tensors["blk.0.ffn_up_exps.weight"] = (block_bytes("Q4_K", (3, 4, 256)), "Q4_K")
    tensors["one.Q8_0"] = (block_bytes("Q8_0", (96,)), "Q8_0")
    return written(gguf, tmp_path_factory.mktemp("gguf") / "everything.gguf", tensors)


def bits(values: np.ndarray[Any, Any]) -> Any:
    return values.astype(np.float64).view(np.int64) if values.dtype == np.float64 else (
        values.astype(np.float32).view(np.int32)
    )  # fmt: skip


@pytest.mark.oracle
def test_every_type_is_what_the_package_reads(gguf: Any, everything: Path) -> None:
    source = open_source(everything)
    theirs = gguf.GGUFReader(everything).tensors
    assert list(source) == [each.name for each in theirs]
    for each in theirs:
        record = source[each.name]
        plain = each.tensor_type.name in ("F64", "BF16")
        with np.errstate(all="ignore"):
            values = each.data if plain else gguf.quants.dequantize(each.data, each.tensor_type)
        if each.tensor_type.name == "BF16":
            values = each.data.view(ml_dtypes.bfloat16)
        assert record.not_applicable is None
        assert record.shape == values.shape == tuple(reversed(each.shape.tolist()))
        assert record.n_bytes == each.n_bytes
        assert np.array_equal(bits(record.read()), bits(values))
        assert np.array_equal(bits(record.rows(1, 3)), bits(values[1:3]))
        assert record.rows(2, 2).shape == (0, *record.shape[1:])
        assert record.raw().tobytes() == each.data.tobytes()


@pytest.mark.oracle
def test_what_is_said_of_quantized_tensors(everything: Path) -> None:
    source = open_source(everything)
    record = source["blk.0.Q4_K.weight"]
    assert (record.dtype, record.n_bytes) == ("q4_k", 5 * 2 * 144)
    assert record.stored_as == "Q4_K: super-blocks of 256, 4.5 bits per weight"
    assert source["blk.0.Q5_1.weight"].stored_as == "Q5_1: blocks of 32, 6 bits per weight"
    assert source["blk.0.MXFP4.weight"].dtype == "gguf_mxfp4"
    assert source["two.F16"].stored_as == ""
    raw = record.raw()
    assert (raw.shape, raw.dtype) == ((5, 288), np.uint8)
    assert isinstance(raw.base, np.memmap)
    assert all(source[f"blk.0.{name}.weight"].quantized for name in FORMATS)
    assert repr(source).startswith(f"<TensorSource {everything} (.gguf file, 'llama', 'A model', mostly Q4_K_M, ")


def test_metadata_of_every_kind_is_gone_past(tmp_path: Path) -> None:
    scalars = [(0, "B"), (1, "b"), (2, "H"), (3, "h"), (4, "I"), (5, "i"), (6, "f"), (7, "?"), (10, "Q"), (11, "q")]
    pairs = [pair(f"s{kind}", kind, struct.pack(f"<{code}", 1)) for kind, code in [*scalars, (12, "d")]]
    pairs += [pair(f"a{kind}", ARRAY, struct.pack(f"<IQ3{code}", kind, 3, 1, 1, 1)) for kind, code in scalars]
    nested = struct.pack("<IQ", ARRAY, 2) + 2 * (struct.pack("<IQ", STRING, 2) + text("x") + text(""))
    pairs += [pair("nested", ARRAY, nested), pair("long" * 50, STRING, text("v" * 1000))]
    pairs += [pair("general.name", STRING, text("n" * 1000)), pair("general.architecture", 6, struct.pack("<f", 1.0))]
    source = opened(tmp_path, build([F32], pairs))
    assert source["w"].read().tolist() == [[0.0] * 4] * 2
    assert len(source.kind) < 300


def test_the_smallest_tensor_of_every_type(tmp_path: Path) -> None:
    source = opened(tmp_path, every_type())
    assert len(source) == len(BLOCK_SIZES) + 1
    assert len(source.applicable()) == len(source) - 7  # four of integers, and three that nothing decodes
    assert all(
        record.shape == (3, 2 * BLOCK_SIZES[record.name.split(".")[2]].n_elements)
        for record in source.values()
        if "exps" not in record.name
    )


# Axes and notes ------------------------------------------------------------------------------------------------------

AXES = [
    ("token_embd.weight", (32, 9), 0, "tokens"),
    ("blk.3.attn_q.weight", (32, 9), 0, "rows are output channels"),
    ("blk.3.ffn_down_exps.weight", (32, 9, 4), 1, "experts"),
    ("encoder.conv1.weight", (3, 80, 384), 0, "convolution"),
    ("v.patch_embd.weight", (14, 14, 3, 64), 0, "convolution"),
    ("decoder.convtr.weight", (4, 8, 16), 1, "transposed"),
    ("blk.3.attn_norm.weight", (32,), 0, "the only axis"),
    ("encoder.positional_embedding", (32, 9), 0, "positions"),
    ("v.position_embd.weight", (32, 9), 0, "positions"),
    ("a.proj_query", (32, 9, 1), 0, "tells no kind of layer"),
]


@pytest.mark.parametrize(("name", "dims", "axis", "words"), AXES)
def test_axes(tmp_path: Path, name: str, dims: tuple[int, ...], axis: int, words: str) -> None:
    size = 4 * int(np.prod(dims))
    record = opened(tmp_path, build([info(name, dims, 0, 0)], data=bytes(size)))[name]
    assert (record.shape, record.ch_axis) == (dims[::-1], axis)
    assert words in record.ch_axis_reason


def test_notes(tmp_path: Path) -> None:
    names = ["blk.0.attn_q.weight", "blk.0.attn_k.bias", "blk.0.attn_v.weight", "x.weight", "x.scale"]
    infos = [info(name, (4,), 0, 32 * index) for index, name in enumerate(names)]
    for architecture, noted in (("llama", 3), ("qwen2", 1)):
        source = opened(tmp_path, build(infos, [pair("general.architecture", STRING, text(architecture))]))
        assert sum(bool(record.note) for record in source.values()) == noted
        assert "'x.scale'" in source["x.weight"].note
    assert not source["blk.0.attn_q.weight"].note


# Parts ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def parts(gguf: Any, tmp_path: Path) -> list[Path]:
    tensors: dict[str, Any] = {f"blk.{n}.attn_q.weight": (np.full((2, 4), n, np.float32), None) for n in range(6)}
    written(gguf, tmp_path / "m.gguf", tensors, split_max_tensors=2)
    found = sorted(tmp_path.glob("*.gguf"))
    assert len(found) == 3
    return found


@pytest.mark.oracle
@pytest.mark.parametrize("which", [0, 2])
def test_any_part_opens_all(parts: list[Path], which: int) -> None:
    source = open_source(parts[which])
    assert [float(record.read().max()) for record in source.values()] == [0, 1, 2, 3, 4, 5]
    assert {record.source for record in source.values()} == {str(parts[which])}
    assert all(record.note for record in source.values())  # the architecture stands in the first part alone
    assert ".gguf files, 'llama', 'A model'" in repr(source)


def _missing(path: Path) -> None:
    path.unlink()


def _malformed(path: Path) -> None:
    path.write_bytes(b"GGUF")


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _foreign(path: Path) -> None:
    path.write_bytes(build([F32]))


SPOILT = [
    (_missing, "no such file"), (_malformed, "malformed: 4 bytes"), (_foreign, "split.no None and split.count None"),
    pytest.param(_pipe, "a device or a pipe", marks=pytest.mark.skipif(os.name == "nt", reason="no pipes with names")),
]  # fmt: skip


@pytest.mark.oracle
@pytest.mark.parametrize(("spoil", "words"), SPOILT)
def test_a_part_that_is_lacking_is_named(parts: list[Path], spoil: Any, words: str) -> None:
    spoil(parts[1])
    source = open_source(parts[0])
    assert len(source.applicable()) == 4
    record = source[parts[1].name]
    assert record.not_applicable is not None
    assert words in record.not_applicable
    assert "PARTS MISSING: 1" in repr(source)
    with pytest.raises(QuantValueError, match="not listed"):
        record.read()


@pytest.mark.oracle
def test_a_renamed_part_says_so(parts: list[Path], tmp_path: Path) -> None:
    source = open_source(parts[0].rename(tmp_path / "renamed.gguf"))
    assert len(source.applicable()) == 2
    assert "NAME-00001-of-00003.gguf" in str(source["the other parts"].not_applicable)


@pytest.mark.oracle
def test_a_name_in_two_parts_is_believed_in_neither(parts: list[Path]) -> None:
    raw = parts[1].read_bytes()
    parts[1].write_bytes(raw.replace(b"blk.2.attn", b"blk.1.attn"))
    source = open_source(parts[0])
    assert "more than once" in str(source["blk.1.attn_q.weight"].not_applicable)
    assert len(source.applicable()) == 4


# Bad input -----------------------------------------------------------------------------------------------------------

HUGE = 2**63
BAD_HEADERS = [
    (b"", "0 bytes are no GGUF file"),
    (b"GGUF" + bytes(19), "23 bytes are no GGUF file"),
    (b"GGML" + bytes(100), "is no GGUF file: it begins with b'GGML'"),
    (build([F32], version=1), "has GGUF version 1; 2 and 3 are read"),
    (build([F32], version=4), "has GGUF version 4"),
    (build([F32], version=0), "has GGUF version 0"),
    (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "is big-endian"),
    (build([F32], n_tensors=HUGE), "claims 9223372036854775808 tensors; 65536 are read"),
    (build([F32], n_tensors=60_000), "the table of tensors would end beyond the file"),
    (build([F32], n_pairs=HUGE), "the metadata's entries would end beyond the file"),
    (build([F32], n_pairs=2**64 - 1), "the metadata's entries would end beyond the file"),
    (build([F32], [struct.pack("<Q", HUGE)]), "the key of metadata entry 0 would end beyond the file"),
    (build([F32], [pair("k", STRING, struct.pack("<Q", HUGE))]), "the strings 'k' would end beyond the file"),
    (build([F32], [pair("k", STRING, struct.pack("<Q", 2**64 - 8))]), "the strings 'k' would end beyond the file"),
    (build([F32], [pair("k", STRING, struct.pack("<Q", 500))]), "the strings 'k' would end beyond the file"),
    (build([F32], [pair("k", 13, bytes(8))]), "the metadata 'k' has the unknown type 13"),
    (build([F32], [pair("k", ARRAY, struct.pack("<IQ", 13, 0))]), "the metadata 'k' has the unknown type 13"),
    (build([F32], [pair("k", ARRAY, struct.pack("<IQ", 12, 2**61))]), "the metadata 'k' would end beyond"),
    (build([F32], [pair("k", ARRAY, struct.pack("<IQ", STRING, HUGE))]), "the strings 'k' would end beyond"),
    (build([F32], [pair("k", ARRAY, struct.pack("<IQQQ", STRING, 9, 1, HUGE))]), "the strings 'k' would end beyond"),
    (build([F32], [pair("k", ARRAY, struct.pack("<IQ", ARRAY, HUGE))]), "the array 'k' would end beyond"),
    (build([F32], [pair("k", ARRAY, struct.pack("<IQ", ARRAY, 1) * 9)]), "nested deeper than 8"),
    (build([F32], [pair("general.alignment", 4, struct.pack("<I", 0))]), "must be a power of two, got 0"),
    (build([F32], [pair("general.alignment", 4, struct.pack("<I", 24))]), "must be a power of two, got 24"),
    (build([F32], [pair("general.alignment", 5, struct.pack("<i", -8))]), "must be a power of two, got -8"),
    (build([F32], 2 * [pair("general.alignment", 4, struct.pack("<I", 8))]), "it has general.alignment twice"),
    (build([struct.pack("<Q", HUGE) + F32]), "the name of tensor 0 would end beyond the file"),
    (build([text("w") + struct.pack("<I", 2**32 - 1)]), "the entry of tensor 0 would end beyond the file"),
]  # fmt: skip


@pytest.mark.parametrize(("raw", "words"), BAD_HEADERS)
def test_a_bad_header_spoils_the_file(tmp_path: Path, raw: bytes, words: str) -> None:
    path = tmp_path / "bad.gguf"
    path.write_bytes(raw)
    with pytest.raises(QuantValueError, match=words) as caught:
        open_source(path)
    assert str(path) in str(caught.value)


BAD_ENTRIES = [
    (info("bad", (4, 2), 0, 2**62), "are not in the file of"),
    (info("bad", (4, 2), 0, 2**64 - 32), "are not in the file of"),
    (info("bad", (4, 2), 0, 33), "offset 33 is no multiple of the file's alignment 32"),
    (info("bad", (4, 200), 0, 64), "are not in the file of"),
    (info("bad", (HUGE, 2), 0, 64), "no tensor has 2.63"),
    (info("bad", (2**62, 2**62, 2**62, 2**62), 0, 64), "are not in the file of"),
    (info("bad", (1, 1, 1, 1, 1), 0, 64), "5 dimensions; GGUF has 4 at most"),
    (info("bad", (), 0, 64), "rank 0"),
    (info("bad", (), 2, 64), "no multiple of its blocks of 32"),
    (info("bad", (0, 4), 0, 64), "no elements"),
    (info("bad", (0, 2**62), 0, 64), "no elements"),
    (info("bad", (0, 2**62), 2, 64), "no elements"),
    (info("bad", (33, 2), 2, 64), "no multiple of its blocks of 32"),
    (info("bad", (4, 2), 99, 64), "unknown ggml type 99; known are F32"),
    (info("bad", (4, 2), 31, 64), "Q4_0_4_4, which llama.cpp has removed"),
    (info("bad", (32, 1), IDS["Q8_1"], 64), "Q8_1, which the gguf package does not decode"),
    (info("bad", (4, 2), 26, 64), "integers"),
    (info("bad", (4, 2), 0, 64) + info("bad", (4, 2), 0, 96), "more than once"),
    (info("bad", (4, 2), 0, 64) + info("bad2", (4, 2), 0, 64), "another tensor claims the same bytes"),
]  # fmt: skip


@pytest.mark.parametrize(("entry", "words"), BAD_ENTRIES)
def test_a_bad_entry_spoils_only_its_tensor(tmp_path: Path, entry: bytes, words: str) -> None:
    n_tensors = 2 + (entry.count(b"bad") - 1)
    source = opened(tmp_path, build([F32, entry], n_tensors=n_tensors))
    assert source["w"].read().shape == (2, 4)
    record = source["bad"]
    assert record.not_applicable is not None
    with pytest.raises(QuantValueError, match=words) as caught:
        record.read()
    assert "m.gguf" in str(caught.value)
    assert "'bad'" in str(caught.value)
    assert "bad" in repr(source)
    with contextlib.suppress(QuantError):
        record.raw()


@pytest.mark.parametrize("name", ["", "../../etc/passwd", "a\0b", "a\nb\x1b[31m", "x" * 5000, "\u202egnp"])
def test_names_are_kept_as_they_are(tmp_path: Path, name: str) -> None:
    source = opened(tmp_path, build([info(name, (4, 2), 0, 0)]))
    assert list(source) == [name]
    assert source[name].read().shape == (2, 4)
    assert "\x1b" not in repr(source)


def test_names_that_are_no_text_are_spelled_out(tmp_path: Path) -> None:
    source = opened(tmp_path, build([info(b"a\xff", (4, 2), 0, 0), info("a\\xff", (4, 2), 0, 32)]))
    assert list(source) == ["a\\xff"]
    assert "more than once" in str(source["a\\xff"].not_applicable)


def test_a_truncated_file_is_refused_or_lists_what_is_lost(tmp_path: Path) -> None:
    pairs = [pair("general.architecture", STRING, text("llama")), pair("k", ARRAY, struct.pack("<IQQ", 10, 1, 5))]
    infos = [info("a", (4, 2), 0, 0), info("b", (32, 2), 2, 32)]
    whole = build(infos, pairs, bytes(32 + 36))
    for length in range(len(whole)):
        try:
            source = opened(tmp_path, whole[:length])
        except QuantValueError:
            assert length < len(whole) - 68
            continue
        assert len(source) == 2
        assert source["b"].not_applicable is not None
        assert (source["a"].not_applicable is None) == (length >= len(whole) - 36)
    assert len(opened(tmp_path, whole).applicable()) == 2


def test_a_file_that_changed_is_not_read(tmp_path: Path) -> None:
    source = opened(tmp_path, build([F32, info("q", (32, 2), 2, 32)]))
    with (tmp_path / "m.gguf").open("ab") as file:
        file.write(b"more")
    for record in source.values():
        for read in (record.read, record.raw, lambda record=record: record.rows(0, 1)):
            with pytest.raises(QuantValueError, match="has changed since it was opened"):
                read()


# Cost ----------------------------------------------------------------------------------------------------------------


def peak_of(work: Any) -> tuple[Any, int]:
    tracemalloc.start()
    try:
        result = work()
        return result, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_tokenizer_is_not_read(tmp_path: Path) -> None:
    tokens = b"".join(map(text, (f"token {n}" for n in range(20_000))))
    pairs = [pair("tokenizer.ggml.tokens", ARRAY, struct.pack("<IQ", STRING, 20_000) + tokens)]
    raw = build([F32], pairs)
    source, peak = peak_of(lambda: opened(tmp_path, raw))
    assert source["w"].read().shape == (2, 4)
    assert peak < 100_000


@pytest.mark.oracle
def test_decoding_takes_little_more_than_its_result(gguf: Any, tmp_path: Path) -> None:
    raw = np.zeros((1024, 16 * 144), np.uint8)  # 16 MiB of floats
    path = written(gguf, tmp_path / "m.gguf", {"w": (raw, "Q4_K")})
    record = open_source(path)["w"]
    record.rows(0, 1)  # imports the package
    values, peak = peak_of(record.read)
    assert peak < 1.5 * values.nbytes
    rows, peak = peak_of(lambda: record.rows(500, 501))
    assert rows.shape == (1, 4096)
    assert peak < 20 * rows.nbytes


# The codes -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *others: Any, **more: Any) -> Any:
        if name.partition(".")[0] == "gguf":
            raise ImportError(name)
        return real(name, *others, **more)

    monkeypatch.setattr(builtins, "__import__", without)


@pytest.mark.usefixtures("without_the_package")
def test_without_the_package_types_with_tables_name_the_extra(tmp_path: Path) -> None:
    magnitude_places.cache_clear()  # another test may have had the package
    record = opened(tmp_path, build([info("w", (256, 1), IDS["IQ2_XS"], 0)]))["w"]
    assert record.not_applicable is None
    with pytest.raises(pq.MissingExtra, match=r'pip install "perchq_widget\[gguf\]"'):
        record.read()
    assert record.raw().shape == (1, 74)


@pytest.mark.oracle
def test_the_other_types_need_no_package(gguf: Any, everything: Path, request: pytest.FixtureRequest) -> None:
    names = [name for name in FORMATS if not name.startswith(("IQ1", "IQ2", "IQ3"))]
    source = open_source(everything)
    kinds = gguf.GGMLQuantizationType
    wanted = [gguf.quants.dequantize(source[f"blk.0.{name}.weight"].raw(), kinds[name]) for name in names]
    request.getfixturevalue("without_the_package")
    for name, values in zip(names, wanted, strict=True):
        assert np.array_equal(bits(source[f"blk.0.{name}.weight"].read()), bits(values))


@pytest.mark.oracle
@pytest.mark.parametrize("name", ["Q4_0", "Q5_1", "Q8_0", "TQ1_0", "MXFP4"])
def test_stored_parameters_give_the_codes_again(gguf: Any, tmp_path: Path, name: str) -> None:
    x = np.random.default_rng(5).standard_normal((3, 4, 512)).astype(np.float32)
    raw = gguf.quants.quantize(x, gguf.GGMLQuantizationType[name])
    path = written(gguf, tmp_path / "m.gguf", {"ffn_up_exps.weight": (raw, name), "w": (raw[0], name)})
    for record in open_source(path).values():
        stored = record.stored()
        assert stored.codes.shape == record.shape
        assert stored.qparams.ch_axis == record.ch_axis == len(record.shape) - 2
        assert np.array_equal(bits(stored.decoded()), bits(record.read()))
        assert np.array_equal(pq.analyze(record).codes(), stored.codes)


@pytest.mark.oracle
def test_damaged_blocks_decode_but_have_no_parameters(
    gguf: Any, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    raw = np.zeros((2, 2 * 18), np.uint8)
    raw[1, 18:20] = 0xFF, 0x7F  # a scale that is no number
    record = open_source(written(gguf, tmp_path / "m.gguf", {"w": (raw, "Q4_0")}))["w"]
    assert np.isnan(record.read()[1, 32:]).all()
    with pytest.raises(QuantValueError, match=r"m.gguf: tensor 'w': .* no finite number"):
        record.stored()
    request.getfixturevalue("without_the_package")
    with pytest.raises(QuantValueError, match=r"m.gguf: tensor 'w': .* no finite number"):
        record.read()
