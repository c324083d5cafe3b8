"""bitsandbytes' NF4 against bitsandbytes on the CPU."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from core.runtimes.bits import n_different
from core.runtimes.block_cases import assert_same, block_params, blocks, nibbles, with_ties
from needs import oracle
from samples_of import Sample, samples

import perchq_widget as pq
from perchq_widget.core.elements import dequantize, quantize
from perchq_widget.core.errors import QuantValueError
from perchq_widget.core.runtimes.bitsandbytes import BOOK, NF4

SIZES = (32, 64, 128, 256, 512, 1024, 2048, 4096)


@pytest.fixture(scope="module")
def functional() -> Iterator[Any]:
    """bitsandbytes' module, run as it is: it would compile some of its functions anew for every shape."""
    torch = oracle("torch")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        library = oracle("bitsandbytes.functional")
    with torch.compiler.set_stance("force_eager"):
        yield library


def through(functional: Any, x: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """absmax, codes and values as bitsandbytes has them, flat."""
    torch = oracle("torch")
    packed, state = functional.quantize_4bit(torch.from_numpy(x)[None], blocksize=size, quant_type="nf4")
    values = functional.dequantize_4bit(packed, state).numpy().ravel()
    return state.absmax.numpy(), nibbles(packed.numpy().ravel(), high_first=True)[: x.size], values


@pytest.mark.oracle
@pytest.mark.parametrize("missing", [0, 37])
@pytest.mark.parametrize("size", SIZES)
def test_blocks_are_bitsandbytes_s(functional: Any, size: int, missing: int) -> None:
    """``missing``: by how many elements the last block is short; it is divided by its absmax, not multiplied."""
    x = blocks(min(size, 512)).reshape(-1)
    x = with_ties(x, block_params(x[None], dtype="nf4", group_size=size), size, BOOK.bounds)[: x.size - missing]
    params = block_params(x[None], dtype="nf4", group_size=size)
    absmax, codes, values = through(functional, x, size)
    assert n_different(params.scale, absmax) == 0
    assert_same(x[None], params, codes, values)


@pytest.mark.oracle
@pytest.mark.parametrize("top", [1e-45, 1e-40, 1e-38, 1.2e-38, 1.0, 3e38])
def test_short_blocks_of_every_size(functional: Any, top: float) -> None:
    """Below 1e-38 a whole block keeps its absmax and loses its values; a short one takes 1e-38 for it."""
    for n in (1, 2, 37, 63, 64, 65, 127):
        x = np.float32(top) * np.linspace(-1, 1, n, dtype=np.float32)
        absmax, codes, values = through(functional, x, 64)
        params = block_params(x[None], dtype="nf4")
        assert n_different(params.scale, absmax) == 0
        assert_same(x[None], params, codes, values[:n])


@pytest.mark.oracle
def test_the_table_is_bitsandbytes_s(functional: Any) -> None:
    assert n_different(NF4, functional.get_4bit_type("nf4", device="cpu").numpy()) == 0


@pytest.mark.oracle
def test_blocks_straddle_channels(functional: Any) -> None:
    x = np.random.default_rng(2).standard_normal((7, 3, 25)).astype(np.float32)
    params = block_params(x, dtype="nf4", ch_axis=1)
    assert params.ch_axis is None
    assert params.scale.shape == (9,)
    absmax, codes, values = through(functional, x.reshape(-1), 64)
    assert n_different(params.scale, absmax) == 0
    assert_same(x, params, codes, values)
    table = pq.analyze(x, dtype="nf4", ch_axis=1).table
    error = np.abs(values.reshape(x.shape) - x).transpose(1, 0, 2).reshape(3, -1)
    np.testing.assert_allclose(table["max_abs_error"], error.max(1), rtol=1e-6)
    np.testing.assert_allclose(table["mean_abs_error"], error.mean(1), rtol=1e-5)


@pytest.mark.parametrize("sample", samples("bnb.nf4"), ids=str)
def test_samples(sample: Sample) -> None:
    assert n_different(NF4, sample["table"]) == 0
    params = block_params(sample["x"], dtype="nf4", group_size=sample.spec["block"])
    assert n_different(params.scale, sample["absmax"]) == 0
    codes = quantize(sample["x"], params)
    assert n_different(codes, sample["code"]) == 0
    assert n_different(dequantize(codes, params), sample["dq"]) == 0


def test_ties_go_to_the_lower_code() -> None:
    x = np.concatenate([[1.0], BOOK.bounds, np.zeros(48)]).astype(np.float32)
    assert quantize(x, block_params(x[None], dtype="nf4")).tolist()[1:16] == list(range(15))


def test_given_scales_clip_and_count_what_they_clip() -> None:
    """Under bitsandbytes' own scales nothing is clipped: the absmax is a block's end."""
    x = np.linspace(-3, 3, 64, dtype=np.float32)[None]
    report = pq.analyze(x, qparams=pq.BlockParams([1.0], dtype="nf4", convention="bitsandbytes"))
    beyond = np.abs(x) > 1 + (1 - NF4[14]) / 2
    assert 0 < report.summary["clipped"] <= int(beyond.sum()) + 1
    assert quantize(x, report.qparams)[0, [0, -1]].tolist() == [0, 15]
    assert pq.analyze(x, dtype="nf4").summary["clipped"] == 0


def test_sizes_that_bitsandbytes_has() -> None:
    with pytest.raises(QuantValueError, match="group_size 96"):
        block_params(np.ones((2, 96), np.float32), dtype="nf4", group_size=96)
    with pytest.raises(QuantValueError, match="group_size of nf4 must be 64 or 32"):
        pq.BlockParams([1.0], dtype="nf4", convention="bitsandbytes", group_size=48)
