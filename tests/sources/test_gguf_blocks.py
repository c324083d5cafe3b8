"""Every block type of GGUF files as the gguf package dequantizes it."""

from __future__ import annotations

import builtins
from typing import Any

import numpy as np
import pytest
from needs import oracle
from samples_of import Sample, samples

import perchq_widget as pq
from perchq_widget.core.grids import BLOCK_DTYPES
from perchq_widget.sources.gguf.blocks import dequantize_gguf, gguf_types

#: Bits per weight, as ggml's sources give them.
BITS = {
    "F32": 32, "F16": 16, "BF16": 16, "Q4_0": 4.5, "Q4_1": 5, "Q5_0": 5.5, "Q5_1": 6, "Q8_0": 8.5, "Q2_K": 2.625,
    "Q3_K": 3.4375, "Q4_K": 4.5, "Q5_K": 5.5, "Q6_K": 6.5625, "TQ1_0": 1.6875, "TQ2_0": 2.0625, "MXFP4": 4.25,
    "NVFP4": 4.5, "IQ2_XXS": 2.0625, "IQ2_XS": 2.3125, "IQ2_S": 2.5625, "IQ3_XXS": 3.0625, "IQ3_S": 3.4375,
    "IQ1_S": 1.5625, "IQ1_M": 1.75, "IQ4_NL": 4.5, "IQ4_XS": 4.25,
}  # fmt: skip


@pytest.fixture(scope="module")
def gguf() -> Any:
    oracle("gguf")
    return oracle("gguf.quants")


@pytest.mark.oracle
def test_types_are_those_that_the_package_can_dequantize(gguf: Any) -> None:
    del gguf
    assert {name: each.bits_per_weight for name, each in gguf_types().items()} == BITS


@pytest.mark.oracle
@pytest.mark.parametrize("name", BITS)
def test_any_bytes_are_dequantized(gguf: Any, name: str) -> None:
    kind = gguf_types()[name]
    raw = np.random.default_rng(0).integers(0, 256, (6, 4 * kind.n_bytes), dtype=np.uint8)
    with np.errstate(all="ignore"):
        values = gguf.dequantize(raw, gguf.GGMLQuantizationType[name])
    row = 4 * kind.n_elements
    for given, shape in ((raw, None), (raw.tobytes(), (6, row)), (raw.ravel(), (2, 3, row))):
        found = dequantize_gguf(given, name.lower(), shape)
        assert found.dtype == np.float32
        assert found.shape == (shape or values.shape)
        assert np.array_equal(found.reshape(values.shape), values, equal_nan=True)
        assert not np.shares_memory(found, raw)


@pytest.mark.oracle
@pytest.mark.parametrize("sample", samples("gguf.dequantize") + samples("gguf.quantize"), ids=str)
def test_samples(gguf: Any, sample: Sample) -> None:
    del gguf
    found = pq.dequantize_gguf(sample["raw"], sample.spec["type"])
    assert found.view(np.int32).tolist() == sample["dq"].view(np.int32).tolist()


@pytest.mark.oracle
def test_our_own_formats_have_the_same_bits_per_weight(gguf: Any) -> None:
    del gguf
    ours = {"q8_0": "Q8_0", "q4_0": "Q4_0", "q4_1": "Q4_1", "q5_0": "Q5_0", "q5_1": "Q5_1", "gguf_mxfp4": "MXFP4"}
    x = np.random.default_rng(0).standard_normal((4, 64)).astype(np.float32)
    for dtype, name in ours.items():
        assert dtype in BLOCK_DTYPES
        assert pq.analyze(x, dtype=dtype).summary["bits_per_weight"] == BITS[name]


BAD = [
    ((np.zeros((2, 18), np.uint8), "Q4_9"), {}, ValueError, "did you mean 'Q4_K'|must be one of"),
    ((np.zeros((2, 18), np.uint8), 2), {}, TypeError, "type_name must be a text"),
    ((np.zeros((2, 18), np.uint8), "Q8_K"), {}, ValueError, "type_name must be one of"),
    ((np.zeros((2, 17), np.uint8), "Q4_0"), {}, ValueError, "multiple of 18 bytes .32 elements a block."),
    ((b"", "Q4_0"), {}, ValueError, "multiple of 18 bytes"),
    ((np.zeros((2, 18)), "Q4_0"), {}, TypeError, "raw must be bytes or a uint8 array"),
    (("text", "Q4_0"), {}, TypeError, "raw must be bytes or a uint8 array"),
    ((bytes(36), "Q4_0"), {"shape": (2, 16)}, ValueError, "multiple of 32 elements"),
    ((bytes(36), "Q4_0"), {"shape": (3, 32)}, ValueError, "has 54 bytes, got 36"),
    ((bytes(36), "Q4_0"), {"shape": (10**12, 10**12, 32)}, ValueError, "got 36"),
    ((bytes(36), "Q4_0"), {"shape": (2, 32.5)}, TypeError, "shape must be the tensor's"),
    ((bytes(36), "Q4_0"), {"shape": (-2, -32)}, TypeError, "shape must be the tensor's"),
    ((bytes(36), "Q4_0"), {"shape": ()}, TypeError, "shape must be the tensor's"),
]


@pytest.mark.oracle
@pytest.mark.parametrize(("arguments", "keywords", "error", "message"), BAD)
def test_bad_input(gguf: Any, arguments: Any, keywords: Any, error: type[Exception], message: str) -> None:
    del gguf
    with pytest.raises(error, match=message) as found:
        dequantize_gguf(*arguments, **keywords)
    assert isinstance(found.value, pq.QuantError)


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *others: Any, **more: Any) -> Any:
        if name.partition(".")[0] == "gguf":
            raise ImportError(name)
        return real(name, *others, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(pq.MissingExtra, match=r'pip install "perchq_widget\[gguf\]"'):
        dequantize_gguf(bytes(18), "Q4_0")
