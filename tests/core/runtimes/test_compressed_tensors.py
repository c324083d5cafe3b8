"""The compressed-tensors convention against compressed-tensors itself, in the three dtypes that it computes in."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from core.runtimes.bits import (
    BFLOAT16,
    fitted,
    float_elements,
    from_torch,
    n_different,
    to_torch,
    with_exact_ties,
)
from core.runtimes.cases import elements, ranges
from needs import oracle
from samples_of import Sample, samples

from perchq_widget.core.elements import dequantize, fake_quantize, quantize
from perchq_widget.core.errors import QuantValueError
from perchq_widget.core.grids import float_grid
from perchq_widget.core.qparams import QParams, choose_qparams

NAME = "compressed-tensors"
KINDS = [np.dtype(np.float32), np.dtype(np.float16), BFLOAT16]
INTEGERS = [("qint8", 8), ("int4", 4), ("int2", 2)]
SCHEMES = ("symmetric", "affine")


@pytest.fixture(scope="module")
def lib() -> Any:
    """compressed_tensors.quantization; its import warns on behalf of what it imports."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return oracle("compressed_tensors.quantization")


def arguments(lib: Any, bits: int, scheme: str, strategy: str, **more: Any) -> Any:
    return lib.QuantizationArgs(num_bits=bits, symmetric=scheme == "symmetric", strategy=strategy, **more)


def cast_ranges(kind: np.dtype[Any], n: int = 10_000) -> tuple[np.ndarray, np.ndarray]:
    """Ranges in ``kind``, without those whose width it cannot hold: the library's scale is infinite, ours raises."""
    low, high = ranges(n if kind == np.float32 else n + n // 2)
    with np.errstate(over="ignore"):
        low, high = low.astype(kind), high.astype(kind)
        known = np.isfinite(np.maximum(high, kind.type(0)) - np.minimum(low, kind.type(0)))
    return low[known][:n], high[known][:n]


@pytest.mark.oracle
@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize(("dtype", "bits"), INTEGERS)
def test_integers_are_the_library_s(lib: Any, dtype: str, bits: int, scheme: str, kind: np.dtype[Any]) -> None:
    torch = oracle("torch")
    low, high = cast_ranges(kind)
    assert len(low) == 10_000
    args = arguments(lib, bits, scheme, "channel")
    scale, zero = lib.utils.calculate_qparams(to_torch(torch, low), to_torch(torch, high), args)
    ours = choose_qparams(low, high, dtype=dtype, scheme=scheme, convention=NAME, ch_axis=0)
    assert n_different(ours.scale, from_torch(torch, scale)) == 0
    assert np.array_equal(ours.zero_point, zero.numpy())

    some = with_exact_ties(ours.scale[:200])
    zeros = ours.zero_point[:200]
    x = elements(some.astype(np.float32), ours.quant_min - zeros, ours.quant_max - zeros)
    with np.errstate(over="ignore"):
        x = x.astype(kind)
    x[np.isinf(x)] = kind.type(1)  # levels beyond the end of a scale near float16's largest number
    qparams = QParams(some, zeros, dtype=dtype, convention=NAME, ch_axis=0)
    given = to_torch(torch, some)[:, None], zero[:200, None]
    theirs = lib.quantize(to_torch(torch, x), *given, args, dtype=torch.int8)
    codes = quantize(x, qparams)
    assert n_different(codes, theirs.numpy()) == 0
    assert n_different(dequantize(codes, qparams), from_torch(torch, lib.dequantize(theirs, *given, args))) == 0
    both = from_torch(torch, lib.fake_quantize(to_torch(torch, x), *given, args))
    assert n_different(fake_quantize(x, qparams), both + kind.type(0)) == 0  # theirs keeps -0.0 here and only here


@pytest.mark.oracle
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_float8_is_the_library_s(lib: Any, kind: np.dtype[Any]) -> None:
    torch = oracle("torch")
    low, high = cast_ranges(kind)
    args = arguments(lib, 8, "symmetric", "channel", type="float")
    scale, _ = lib.utils.calculate_qparams(to_torch(torch, low), to_torch(torch, high), args)
    ours = choose_qparams(low, high, dtype="float8_e4m3fn", convention=NAME, ch_axis=0)
    assert n_different(ours.scale, from_torch(torch, scale)) == 0

    some = with_exact_ties(ours.scale[:200])
    with np.errstate(over="ignore"):
        x = float_elements(some.astype(np.float32), float_grid("float8_e4m3fn")).astype(kind)
    x[np.isinf(x)] = kind.type(1)
    qparams = QParams(some, np.zeros(200), dtype="float8_e4m3fn", convention=NAME, ch_axis=0)
    given = to_torch(torch, some)[:, None], None  # symmetric checkpoints have no zero point
    theirs = lib.quantize(to_torch(torch, x), *given, args, dtype=torch.float8_e4m3fn)
    codes = quantize(x, qparams)
    assert n_different(codes, from_torch(torch, theirs)) == 0
    values = from_torch(torch, lib.dequantize(theirs, *given, args))
    assert n_different(dequantize(codes, qparams), values) == 0
    assert n_different(fake_quantize(x, qparams), values) == 0


@pytest.mark.oracle
@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize(("dtype", "bits"), INTEGERS[:2])
def test_one_range_for_the_tensor(lib: Any, dtype: str, bits: int, scheme: str, kind: np.dtype[Any]) -> None:
    torch = oracle("torch")
    args = arguments(lib, bits, scheme, "tensor", dynamic=True)
    for low, high in zip(*cast_ranges(kind, 800), strict=True):
        ends = np.array([low, high])
        theirs = lib.utils.compute_dynamic_scales_and_zp(to_torch(torch, ends), args, None)
        ours = choose_qparams(low, high, dtype=dtype, scheme=scheme, convention=NAME)
        assert n_different(ours.scale.reshape(1), from_torch(torch, theirs[0])) == 0
        assert ours.zero_point == theirs[1].item()


STRATEGIES: dict[str, tuple[Any, tuple[int, ...], dict[str, Any]]] = {  # name: (group_size, shape, arguments)
    "tensor": (None, (24, 256), {"dynamic": True}),
    "group": (32, (24, 256), {"dynamic": True, "group_size": 32}),
    "token": (None, (3, 8, 256), {"dynamic": True}),
}


@pytest.mark.oracle
@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize(("dtype", "bits", "scheme"), [("qint8", 8, "affine"), ("int4", 4, "symmetric")])
def test_every_dynamic_strategy(
    lib: Any, strategy: str, dtype: str, bits: int, scheme: str, kind: np.dtype[Any]
) -> None:
    torch = oracle("torch")
    group_size, shape, more = STRATEGIES[strategy]
    args = arguments(lib, bits, scheme, strategy, **more)
    x = (np.random.default_rng(4).standard_t(3, shape) * np.logspace(-2, 2, shape[-2])[:, None]).astype(kind)
    ours = fitted(x, dtype=dtype, scheme=scheme, granularity=strategy, group_size=group_size, convention=NAME)
    tensor = to_torch(torch, x)
    scale, zero = lib.utils.compute_dynamic_scales_and_zp(tensor, args, None)
    assert n_different(ours.scale, from_torch(torch, scale).reshape(ours.scale.shape)) == 0
    codes = lib.quantize(tensor, scale, zero, args, dtype=torch.int8)
    assert n_different(quantize(x, ours), codes.numpy()) == 0
    values = from_torch(torch, lib.dequantize(codes, scale, zero, args))
    assert n_different(dequantize(quantize(x, ours), ours), values) == 0


@pytest.mark.oracle
@pytest.mark.parametrize("dtype", ["qint8", "float8_e4m3fn"])
def test_blocks_of_a_matrix_the_last_ones_short(lib: Any, dtype: str) -> None:
    torch = oracle("torch")
    x = np.random.default_rng(4).standard_t(3, (20, 70)).astype(np.float32)
    ours = fitted(x, dtype=dtype, scheme="symmetric", group_size=(8, 32), convention=NAME)
    kind = "float" if dtype.startswith("float") else "int"
    args = arguments(lib, 8, "symmetric", "block", block_structure=[8, 32], type=kind)
    padded = np.pad(x, ((0, 4), (0, 26))).reshape(3, 8, 3, 32)
    ends = (torch.from_numpy(end) for end in (padded.min((1, 3)), padded.max((1, 3))))
    scale, _ = lib.utils.calculate_qparams(*ends, args)
    assert n_different(ours.scale, scale.numpy()) == 0
    stored = torch.int8 if dtype == "qint8" else torch.float8_e4m3fn
    theirs = lib.quantize(torch.from_numpy(x), scale, None, args, dtype=stored)
    assert n_different(quantize(x, ours), from_torch(torch, theirs)) == 0


@pytest.mark.parametrize("sample", samples("ct.int"), ids=str)
def test_samples(sample: Sample) -> None:
    x, spec = sample["x"], sample.spec
    scheme = "symmetric" if spec["symmetric"] else "affine"
    ours = fitted(x, dtype={8: "qint8", 4: "int4"}[spec["bits"]], scheme=scheme, convention=NAME)
    assert (ours.quant_min, ours.quant_max) == (spec["qmin"], spec["qmax"])
    assert n_different(ours.scale, sample["scale"][:, 0]) == 0
    assert np.array_equal(ours.zero_point, sample["zero_point"][:, 0])
    assert n_different(quantize(x, ours), sample["q"]) == 0
    assert n_different(dequantize(sample["q"], ours), sample["dq"]) == 0
    assert n_different(fake_quantize(x, ours), sample["fake_quant"] + np.float32(0)) == 0


@pytest.mark.parametrize("sample", samples("ct.kernel"), ids=str)
def test_kernel_samples(sample: Sample) -> None:
    qparams = QParams(sample.spec["scale"], sample.spec["zero_point"], dtype="qint8", convention=NAME)
    assert n_different(quantize(sample["x"], qparams), sample["q"]) == 0


def test_a_scale_of_zero_becomes_eps_of_its_dtype() -> None:
    for kind, eps in ((np.dtype(np.float32), 2.0**-23), (np.dtype(np.float16), 2.0**-10), (BFLOAT16, 2.0**-7)):
        zeros = np.zeros((2, 3), kind)
        qparams = fitted(zeros, dtype="qint8", convention=NAME)
        assert qparams.scale.dtype == kind
        assert qparams.scale.astype(float).tolist() == [eps, eps]
        assert qparams.zero_point.tolist() == [0, 0]  # 0 / 0 is not a number, which the library stores as 0


def test_what_it_does_not_have_is_refused() -> None:
    for settings in (
        {"dtype": "quint8"},
        {"dtype": "float8_e5m2"},
        {"dtype": "float8_e4m3fn", "scheme": "affine"},
        {"dtype": "qint8", "reduce_range": True},
    ):
        with pytest.raises(QuantValueError, match="not allowed: compressed-tensors has no"):
            choose_qparams(-1, 1, convention=NAME, **settings)
    with pytest.raises(QuantValueError, match="group_size must divide"):
        fitted(np.ones((2, 100), np.float32), dtype="int4", group_size=32, convention=NAME)
