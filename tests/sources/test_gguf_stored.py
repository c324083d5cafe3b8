"""Codes and scales of GGUF's blocks, against what the gguf package decodes them to."""

from __future__ import annotations

import builtins
from typing import Any

import numpy as np
import pytest
from needs import oracle
from samples_of import Sample, samples
from sources.gguf_blocks_of import KINDS, half_places, random_blocks, set_spread_half

import perchq_widget as pq
from perchq_widget.core.elements import code_limits
from perchq_widget.core.grids import BLOCK_DTYPES, STORED_DTYPES
from perchq_widget.core.runtimes.gguf_bytes import RECORDS, unpack_blocks
from perchq_widget.sources.gguf import layouts as gguf_layouts
from perchq_widget.sources.gguf import stored as gguf_stored
from perchq_widget.sources.gguf import tables as gguf_tables
from perchq_widget.sources.gguf.blocks import gguf_types
from perchq_widget.sources.gguf.stored import BLOCK_SIZES, FORMATS, stored_blocks
from perchq_widget.sources.stored import Stored

TABLES = ("IQ1", "IQ2", "IQ3")
ROWS = 8
SAMPLES = [
    each for each in samples("gguf.dequantize") + samples("gguf.quantize") if each.spec["type"] in FORMATS
]  # fmt: skip


@pytest.fixture(scope="module")
def gguf() -> Any:
    oracle("gguf")
    return oracle("gguf.quants")


def _drawn(name: str, kind: str = "usual", blocks_a_row: int = 4) -> tuple[Any, tuple[int, ...]]:
    """Rows of several blocks, and the shape that they have as a tensor."""
    raw = random_blocks(name, ROWS * blocks_a_row, kind).reshape(ROWS, -1)
    return raw, (ROWS, blocks_a_row * BLOCK_SIZES[name].n_elements)


def _values_of_all_codes(stored: Stored) -> Any:
    """What every code of the format would decode to in each element's block, (elements, codes)."""
    q = stored.qparams
    low, high = code_limits(q)
    shape = (*stored.codes.shape, high - low + 1)
    everywhere = np.broadcast_to(np.arange(low, high + 1).astype(q.code_dtype), shape)
    return np.stack([pq.dequantize(everywhere[..., at].copy(), q) for at in range(shape[-1])], axis=-1)


@pytest.mark.oracle
def test_sizes_are_those_of_the_package(gguf: Any) -> None:
    known = {kind.name: tuple(sizes) for kind, sizes in oracle("gguf").constants.GGML_QUANT_SIZES.items()}
    assert {name: (each.n_elements, each.n_bytes) for name, each in BLOCK_SIZES.items()} == known
    assert set(FORMATS) == set(gguf_types()) - {"F32", "F16", "BF16"}
    assert set(FORMATS.values()) == set(STORED_DTYPES) | {*RECORDS}
    assert set(gguf_layouts.UNPACK) == set(FORMATS)


@pytest.mark.oracle
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", FORMATS)
def test_decoded_is_what_the_package_gives_bit_for_bit(gguf: Any, name: str, kind: str) -> None:
    raw, shape = _drawn(name, kind, 40 if kind == "any" else 4)
    stored = stored_blocks(raw, name, shape)
    with np.errstate(all="ignore"):
        expected = gguf.dequantize(raw, gguf.GGMLQuantizationType[name])
    assert stored.codes.shape == shape
    assert stored.codes.dtype == stored.qparams.code_dtype
    assert stored.qparams.dtype == FORMATS[name]
    assert stored.decoded().tobytes() == expected.tobytes()


@pytest.mark.oracle
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", FORMATS)
def test_the_parameters_give_the_codes_again(gguf: Any, name: str, kind: str) -> None:
    """All codes come back but those that share their value with another code of their block.

    They do where the step is 0, where a minimum is so large that steps are lost beside it, where a value overflows,
    and in FP4, whose code 8 is a second zero. Their values come back all the same.
    """
    del gguf
    raw, shape = _drawn(name, kind)
    stored = stored_blocks(raw, name, shape)
    values = stored.decoded()
    codes = pq.quantize(values, stored.qparams)
    assert np.array_equal(pq.dequantize(codes, stored.qparams), values)
    shared = (_values_of_all_codes(stored) == values[..., None]).sum(-1) > 1
    assert np.array_equal(codes[~shared], stored.codes[~shared])
    assert shared.all() == (kind == "zero" and name not in ("MXFP4", "NVFP4"))
    report = pq.analyze(values, qparams=stored.qparams)
    assert report.summary["max_abs_error"] == report.summary["clipped"] == 0
    assert report.summary["mse"] == 0
    assert report.summary["bits_per_weight"] == BLOCK_SIZES[name].bits_per_weight
    assert not {"clipped", "low-sqnr", "extreme-scale"} & {each.rule for each in report.findings} or name == "MXFP4"


@pytest.mark.oracle
@pytest.mark.parametrize("name", ["Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "TQ1_0", "TQ2_0", "MXFP4"])
def test_tensors_that_the_package_quantized(gguf: Any, name: str) -> None:
    x = np.random.default_rng(5).normal(0, 0.02, (6, 1024)).astype(np.float32)
    raw = gguf.quantize(x, gguf.GGMLQuantizationType[name])
    stored = stored_blocks(raw, name, x.shape)
    assert np.array_equal(pq.quantize(stored.decoded(), stored.qparams), stored.codes)
    if FORMATS[name] in BLOCK_DTYPES:
        report = pq.analyze(x, dtype=FORMATS[name])
        assert np.array_equal(report.codes(), stored.codes)
        assert np.array_equal(report.dequantized(), stored.decoded())
        assert report.qparams.scale.tobytes() == stored.qparams.scale.tobytes()


@pytest.mark.oracle
@pytest.mark.parametrize("sample", SAMPLES, ids=str)
def test_samples(gguf: Any, sample: Sample) -> None:
    del gguf
    stored = stored_blocks(sample["raw"], sample.spec["type"], sample["dq"].shape)
    assert stored.decoded().tobytes() == sample["dq"].tobytes()


@pytest.mark.oracle
@pytest.mark.parametrize("name", FORMATS)
def test_tensors_of_one_and_of_three_axes(gguf: Any, name: str) -> None:
    kind = BLOCK_SIZES[name]
    raw = random_blocks(name, 24)
    expected = gguf.dequantize(raw, gguf.GGMLQuantizationType[name])
    line = stored_blocks(raw.ravel(), name, (24 * kind.n_elements,))
    assert line.qparams.ch_axis is None
    assert line.decoded().tobytes() == expected.tobytes()
    report = pq.analyze(line.decoded(), qparams=line.qparams)
    assert report.summary["max_abs_error"] == 0
    size = line.qparams.group_size
    assert report.table["scale"].to_numpy() == pytest.approx(np.repeat(line.qparams.effective(), size))
    shape = (2, 3, 4 * kind.n_elements)
    for axis in (0, 1, -2):
        cube = stored_blocks(raw.tobytes(), name, shape, ch_axis=axis)
        assert cube.qparams.ch_axis == axis % 3
        assert cube.decoded().tobytes() == expected.tobytes()
        assert pq.analyze(cube.decoded(), qparams=cube.qparams, ch_axis=axis).summary["max_abs_error"] == 0


def test_small_blocks_are_those_that_core_unpacks() -> None:
    for name, dtype in FORMATS.items():
        if dtype in RECORDS:
            raw, shape = _drawn(name)
            codes, qparams = unpack_blocks(raw, dtype)
            stored = stored_blocks(raw, name, shape)
            assert np.array_equal(stored.codes, codes)
            assert stored.qparams == qparams


def test_q4_k_one_element_at_a_time() -> None:
    """By ggml's structure: two float16, twelve bytes of scales and minima, 128 bytes of codes in runs of 32."""
    raw, shape = _drawn("Q4_K", blocks_a_row=1)
    stored = stored_blocks(raw, "Q4_K", shape)
    for row, block in enumerate(raw.tolist()):
        d, dmin = (float(each) for each in raw[row, :4].view("<f2").astype(np.float32))
        six = block[4:16]
        for part in range(8):
            late = part - 4
            scale = six[part] & 63 if part < 4 else six[8 + late] & 15 | six[late] >> 6 << 4
            offset = six[4 + part] & 63 if part < 4 else six[8 + late] >> 4 | six[4 + late] >> 6 << 4
            assert stored.qparams.scale[row, part] == np.float32(d * scale)
            assert stored.qparams.minimum[row, part] == np.float32(-dmin * offset)
            for at in range(32):
                byte = block[16 + part // 2 * 32 + at]
                assert stored.codes[row, 32 * part + at] == (byte >> 4 if part % 2 else byte & 15)


def test_blocks_are_unpacked_some_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("Q4_K", "Q6_K", "MXFP4"):
        raw, shape = _drawn(name)
        whole = stored_blocks(raw, name, shape)
        monkeypatch.setattr(gguf_stored, "TOGETHER", 3 * BLOCK_SIZES[name].n_elements)
        parts = stored_blocks(raw, name, shape)
        assert np.array_equal(whole.codes, parts.codes)
        assert whole.qparams == parts.qparams


@pytest.mark.oracle
@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_are_named(gguf: Any, number: float) -> None:
    del gguf
    half = np.array([number], "<f2")
    for name in FORMATS:
        for at in half_places(name):
            blocks = random_blocks(name, 16)
            blocks[9, at : at + 2] = half.view(np.uint8)
            _refused(name, blocks)
    blocks = random_blocks("IQ1_M", 16)
    set_spread_half(blocks[9:10], half)
    _refused("IQ1_M", blocks)


def _refused(name: str, blocks: Any) -> None:
    n = BLOCK_SIZES[name].n_elements
    with pytest.raises(pq.QuantValueError) as found:
        stored_blocks(blocks, name, (4, 4 * n))
    assert f"the {name} block that starts at element (2, {n}) has the " in str(found.value)
    assert "which is no finite number: its bytes are damaged" in str(found.value)


BAD = [
    ((np.zeros((2, 144), np.uint8), "F32", (2, 36)), {}, ValueError, "type_name must be one of"),
    ((np.zeros((2, 144), np.uint8), "Q8_K", (2, 256)), {}, ValueError, "type_name must be one of"),
    ((np.zeros((2, 144), np.uint8), 12, (2, 256)), {}, TypeError, "type_name must be a text"),
    ((np.zeros((2, 143), np.uint8), "Q4_K", (2, 256)), {}, ValueError, "has 288 bytes, got 286"),
    ((np.zeros((2, 144), np.uint8), "Q4_K", (2, 128)), {}, ValueError, "multiple of 256 elements"),
    ((np.zeros((2, 144), np.uint8), "Q4_K", (2**62, 256)), {}, ValueError, "got 288"),
    ((np.zeros((2, 144), np.uint8), "Q4_K", ()), {}, TypeError, "shape must be the tensor's"),
    ((np.zeros((2, 144)), "Q4_K", (2, 256)), {}, TypeError, "raw must be bytes or a uint8 array"),
    ((np.zeros((2, 144), np.uint8), "Q4_K", (2, 256)), {"ch_axis": 1}, ValueError, "ch_axis must not be the last"),
    ((np.zeros((2, 144), np.uint8), "Q4_K", (2, 256)), {"ch_axis": 2}, ValueError, "ch_axis must lie in"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "keywords", "error", "message"), BAD)
def test_bad_input(arguments: Any, keywords: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message) as found:
        stored_blocks(*arguments, **keywords)
    assert isinstance(found.value, pq.QuantError)


def test_only_the_tables_need_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *others: Any, **more: Any) -> Any:
        if name.partition(".")[0] == "gguf":
            raise ImportError(name)
        return real(name, *others, **more)

    for cached in (gguf_tables.magnitude_places, gguf_tables.ternary_grid):
        cached.cache_clear()
    monkeypatch.setattr(builtins, "__import__", without)
    for name in FORMATS:
        raw, shape = _drawn(name)
        if name.startswith(TABLES):
            with pytest.raises(pq.MissingExtra, match=r'pip install "perchq_widget\[gguf\]"'):
                stored_blocks(raw, name, shape)
        else:
            assert stored_blocks(raw, name, shape).decoded().shape == shape
