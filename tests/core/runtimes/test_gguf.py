"""GGUF's blocks against the gguf package: quantized bytes and dequantized values.

Left out, because our own policy differs: blocks whose scale or minimum overflows float16 (we raise). Where a scale's
reciprocal overflows float32, the package casts infinities to integers, which C leaves undefined: we do as x86-64 does.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from core.runtimes.bits import n_different
from core.runtimes.block_cases import assert_same, block_params, blocks, hard, middles_of
from needs import oracle
from samples_of import Sample, samples

import perchq_widget as pq
from perchq_widget.core.elements import dequantize, fake_quantize, quantize
from perchq_widget.core.errors import QuantTypeError, QuantValueError
from perchq_widget.core.runtimes.gguf import DOUBLED, GGUF
from perchq_widget.core.runtimes.gguf_bytes import block_bytes, pack_blocks, unpack_blocks

#: Our name -> ggml's, and the middles between levels.
TYPES = {"q8_0": "Q8_0", "q4_0": "Q4_0", "q4_1": "Q4_1", "q5_0": "Q5_0", "q5_1": "Q5_1", "gguf_mxfp4": "MXFP4"}
MIDDLES = {
    "q8_0": np.arange(-127, 127) + 0.5,
    "q4_0": np.arange(-8, 7) + 0.5,
    "q4_1": np.arange(15) + 0.5,
    "q5_0": np.arange(-16, 15) + 0.5,
    "q5_1": np.arange(31) + 0.5,
    "gguf_mxfp4": middles_of(DOUBLED) / 2,
}
HARD = {"without": ("huge",), "spread": 3.5}
SIZES = {"q8_0": 34, "q4_0": 18, "q4_1": 20, "q5_0": 22, "q5_1": 24, "gguf_mxfp4": 17}


@pytest.fixture(scope="module")
def gguf() -> Any:
    oracle("gguf")
    return oracle("gguf.quants")


def theirs(gguf: Any, x: np.ndarray, dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """Bytes and values."""
    kind = gguf.GGMLQuantizationType[TYPES[dtype]]
    with np.errstate(all="ignore"):
        raw = gguf.quantize(x, kind)
        return raw, gguf.dequantize(raw, kind)


@pytest.mark.oracle
@pytest.mark.parametrize("dtype", TYPES)
def test_bytes_and_values_are_gguf_s(gguf: Any, dtype: str) -> None:
    """The hard kinds hold zeros of both signs, subnormal numbers, ends of both signs, and just below powers of two."""
    x, params = hard(MIDDLES[dtype], 32, {} if dtype == "gguf_mxfp4" else HARD, dtype=dtype)
    raw, values = theirs(gguf, x, dtype)
    codes = quantize(x, params)
    assert n_different(pack_blocks(codes, params), raw) == 0
    assert n_different(dequantize(codes, params), values) == 0
    assert n_different(fake_quantize(x, params), values) == 0
    again, stored = unpack_blocks(raw, dtype)
    assert n_different(again, codes) == 0
    assert n_different(dequantize(again, stored), values) == 0


@pytest.mark.oracle
@pytest.mark.parametrize("dtype", TYPES)
def test_any_bytes_decode_as_gguf_does(gguf: Any, dtype: str) -> None:
    raw = np.random.default_rng(1).integers(0, 256, (64, 40 * block_bytes(dtype)), dtype=np.uint8)
    if dtype != "gguf_mxfp4":  # scales and minima that are finite
        rows = raw.reshape(-1, block_bytes(dtype))
        rows[:, 1] &= 0x3B
        rows[:, 3] &= 0x3B if dtype.endswith("_1") else 0xFF
    with np.errstate(all="ignore"):
        values = gguf.dequantize(raw, gguf.GGMLQuantizationType[TYPES[dtype]])
    codes, params = unpack_blocks(raw, dtype)
    assert n_different(dequantize(codes, params), values) == 0
    assert n_different(pack_blocks(codes, params), raw) == 0


@pytest.mark.oracle
@pytest.mark.parametrize("dtype", TYPES)
def test_tensors_of_three_axes(gguf: Any, dtype: str) -> None:
    x = np.random.default_rng(5).standard_normal((6, 5, 64)).astype(np.float32)
    params = block_params(x, dtype=dtype)
    assert params.scale.shape == (6, 10)
    raw, values = theirs(gguf, x, dtype)
    assert n_different(pack_blocks(quantize(x, params), params), raw) == 0
    assert_same(x, params, quantize(x, params).view(np.uint8), values)
    assert unpack_blocks(raw, dtype)[0].shape == x.shape


@pytest.mark.oracle
def test_mxfp4_wraps_around_below_its_least_scale(gguf: Any) -> None:
    """Of a largest magnitude below 2^-125 the package's byte wraps around, and all of the block becomes 0."""
    x = np.float32([2.0**-125, 2.0**-126, 2.0**-127, 2.0**-130, 2.0**-149])[:, None] * np.ones(32, np.float32)
    raw, values = theirs(gguf, x, "gguf_mxfp4")
    params = block_params(x, dtype="gguf_mxfp4")
    assert params.scale.view(np.uint8).ravel().tolist() == [0, 255, 254, 251, 232]
    assert n_different(pack_blocks(quantize(x, params), params), raw) == 0
    assert n_different(fake_quantize(x, params), values) == 0
    assert (values[1:] == 0).all()


@pytest.mark.parametrize("sample", [s for s in samples("gguf.quantize") if s.spec["type"] in TYPES.values()], ids=str)
def test_samples(sample: Sample) -> None:
    dtype = next(name for name, theirs in TYPES.items() if theirs == sample.spec["type"])
    params = block_params(sample["x"], dtype=dtype)
    codes = quantize(sample["x"], params)
    assert n_different(pack_blocks(codes, params), sample["raw"]) == 0
    assert n_different(dequantize(codes, params), sample["dq"]) == 0


@pytest.mark.parametrize("dtype", ["q8_0", "q4_0", "q4_1", "q5_0", "q5_1"])
def test_scales_beyond_float16_raise(dtype: str) -> None:
    x = np.float32(1e30) * np.linspace(-1, 1, 64, dtype=np.float32)[None]
    with pytest.raises(QuantValueError, match="scale must be finite, got inf in block"):
        block_params(x, dtype=dtype)


def test_minima_beyond_float16_raise() -> None:
    x = np.full((1, 32), -1e5, np.float32)
    with pytest.raises(QuantValueError, match="minimum must be finite"):
        block_params(x, dtype="q4_1")


def test_codes_come_from_the_scale_before_it_is_stored() -> None:
    """A scale of 2e-8 is stored as 0, and yet the codes are not."""
    x = np.float32(2e-8 * 127) * np.linspace(-1, 1, 32, dtype=np.float32)[None]
    params = block_params(x, dtype="q8_0")
    assert params.scale.tolist() == [[0.0]]
    assert quantize(x, params)[0, [0, -1]].tolist() == [-127, 127]
    assert (fake_quantize(x, params) == 0).all()


@pytest.mark.parametrize(("dtype", "size"), SIZES.items())
def test_bytes_and_bits(dtype: str, size: int) -> None:
    assert block_bytes(dtype) == size
    x = blocks(32, **HARD)[:64]
    assert pq.analyze(x, dtype=dtype).summary["bits_per_weight"] == size / 4


def test_short_blocks_are_refused() -> None:
    with pytest.raises(QuantValueError, match="gguf has no short blocks: 40 elements"):
        block_params(np.ones((2, 40), np.float32), dtype="q4_0")


def test_packing_refuses_what_does_not_fit() -> None:
    x = np.ones((2, 64), np.float32)
    params = block_params(x, dtype="q4_0")
    codes = quantize(x, params)
    with pytest.raises(QuantTypeError, match="codes of q4_0 must be uint8, got int64"):
        pack_blocks(codes.astype(np.int64), params)
    with pytest.raises(QuantValueError, match="rows of a multiple of 32"):
        pack_blocks(codes.reshape(8, 16), params)
    with pytest.raises(QuantValueError, match="ch_axis 1"):
        pack_blocks(codes.T, block_params(x.T, dtype="q4_0", ch_axis=1))
    with pytest.raises(QuantTypeError, match="BlockParams of q8_0"):
        pack_blocks(codes, block_params(x, dtype="mxfp4"))
    with pytest.raises(QuantValueError, match="multiple of 18 bytes"):
        unpack_blocks(np.zeros((2, 19), np.uint8), "q4_0")
    with pytest.raises(QuantTypeError, match="dtype uint8"):
        unpack_blocks(np.zeros((2, 18), np.int8), "q4_0")
    with pytest.raises(QuantValueError, match="must be one of 'q8_0'"):
        unpack_blocks(np.zeros((2, 18), np.uint8), "q4_k")


def test_every_format_is_tested() -> None:
    assert set(TYPES) == set(GGUF.formats)
