"""Plain float formats: rounding against ml_dtypes and torch, scales and codes against torchao's float8 primitives."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from core.runtimes.bits import (
    BFLOAT16,
    fitted,
    float_elements,
    float_values,
    from_torch,
    n_different,
    to_torch,
    with_exact_ties,
)
from core.runtimes.cases import ranges
from needs import oracle

import perchq_widget as pq
from perchq_widget.core.elements import dequantize, fake_quantize, quantize
from perchq_widget.core.errors import QuantValueError
from perchq_widget.core.grids import FLOAT_DTYPES, float_grid
from perchq_widget.core.qparams import QParams, choose_qparams

FLOAT8 = tuple(name for name in FLOAT_DTYPES if name.startswith("float8"))
TORCH = (*FLOAT8, "float16", "bfloat16")
SMALL = tuple(name for name, bits in FLOAT_DTYPES.items() if bits < 8)


def hard_values(dtype: str) -> np.ndarray:
    """2e6 float32: every exponent, every tie of the format and one ulp beside it, subnormals, zeros, beyond the end."""
    rng = np.random.default_rng(7)
    grid = float_grid(dtype)
    patterns = rng.integers(0, 1 << 32, 1_100_000, dtype=np.uint64).astype(np.uint32)
    exponents = np.arange(256, dtype=np.uint32) << 23
    edges = np.concatenate([exponents, exponents | 1, exponents | 0x400000, exponents | 0x7FFFFF])
    values = float_values(grid)
    last = values[-1] - values[-2]
    beyond = values[-1] + last * np.array([0.25, 0.5, 1.0, 1.5, 2.0, 64.0])
    with np.errstate(over="ignore"):
        points = np.concatenate([values, (values[1:] + values[:-1]) / 2, beyond, -beyond]).astype(np.float32)
        spread = (rng.choice(values, 1_000_000) * rng.uniform(0.9, 1.1, 1_000_000)).astype(np.float32)
    near = [points, np.nextafter(points, np.float32(np.inf)), np.nextafter(points, np.float32(-np.inf))]
    found = np.concatenate([*(each.view(np.float32) for each in (patterns, edges, edges | 0x80000000)), *near, spread])
    return found[np.isfinite(found)]


def saturated(x: np.ndarray, dtype: str) -> np.ndarray:
    """``x`` clipped to the finite ends, which every library agrees to cast."""
    grid = float_grid(dtype)
    return np.clip(x, np.float32(grid.quant_min), np.float32(grid.quant_max))


@pytest.mark.parametrize("dtype", FLOAT_DTYPES)
def test_rounding_is_ml_dtypes_cast(dtype: str) -> None:
    grid, x = float_grid(dtype), hard_values(dtype)
    assert len(x) >= 2_000_000
    levels = x.copy()
    grid.round(levels, np.empty_like(x))
    theirs = saturated(x, dtype).astype(grid.storage)
    ours = saturated(levels, dtype)
    assert n_different(ours.astype(grid.storage), theirs) == 0
    assert n_different(ours, theirs.astype(np.float32)) == 0  # zeros' signs too


@pytest.mark.parametrize("dtype", FLOAT_DTYPES)
def test_what_is_not_finite_stays(dtype: str) -> None:
    x = np.array([np.nan, np.inf, -np.inf], np.float32)
    float_grid(dtype).round(x, np.empty_like(x))
    assert np.isnan(x[0])
    assert np.isinf(x[1:]).all()


@pytest.mark.oracle
@pytest.mark.parametrize("dtype", TORCH)
def test_codes_at_scale_one_are_torch_casts(dtype: str) -> None:
    torch = oracle("torch")
    x = hard_values(dtype)
    qparams = QParams(1.0, 0, dtype=dtype, convention="pytorch")
    theirs = from_torch(torch, torch.from_numpy(saturated(x, dtype)).to(getattr(torch, dtype)))
    ours = quantize(x, qparams)
    assert n_different(ours, theirs) == 0
    assert n_different(dequantize(ours, qparams), from_torch(torch, to_torch(torch, theirs).float())) == 0


@pytest.fixture(scope="module")
def primitives() -> Any:
    """torchao's functions; its import announces changes to come."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return oracle("torchao.quantization.quant_primitives")


def known_ranges(dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """10,000 ranges without those whose scale torchao makes 0, by which it then divides: ours is 1."""
    low, high = ranges(13_000)
    amax = np.maximum(np.abs(low), np.abs(high))
    kept = amax / np.float32(float_grid(dtype).quant_max) > 0
    return low[kept][:10_000], high[kept][:10_000]


@pytest.mark.oracle
@pytest.mark.parametrize("dtype", FLOAT8)
def test_float8_is_torchao_s(dtype: str, primitives: Any) -> None:
    torch = oracle("torch")
    low, high = known_ranges(dtype)
    assert len(low) == 10_000
    ends = torch.from_numpy(np.stack([low, high], 1))
    kind = getattr(torch, dtype)
    scale = primitives._choose_scale_float8(ends, [1, 2], kind).numpy()[:, 0]
    ours = choose_qparams(low, high, dtype=dtype, ch_axis=0)
    assert n_different(ours.scale, scale) == 0
    assert not ours.zero_point.any()

    some = with_exact_ties(scale[:200])
    x = float_elements(some, float_grid(dtype))
    qparams = QParams(some, np.zeros(200), dtype=dtype, convention="pytorch", ch_axis=0)
    theirs = primitives._quantize_affine_float8(torch.from_numpy(x), torch.from_numpy(some)[:, None], kind)
    codes = quantize(x, qparams)
    assert n_different(codes, from_torch(torch, theirs)) == 0
    values = primitives._dequantize_affine_float8(theirs, torch.from_numpy(some)[:, None]).numpy()
    assert n_different(dequantize(codes, qparams), values) == 0
    assert n_different(fake_quantize(x, qparams), values) == 0


@pytest.mark.oracle
@pytest.mark.parametrize("dtype", FLOAT8)
def test_float8_per_tensor_is_torchao_s(dtype: str, primitives: Any) -> None:
    torch = oracle("torch")
    rng = np.random.default_rng(3)
    for size in (1e-20, 1e-3, 1.0, 300.0, 1e9):
        x = (rng.standard_normal((100, 300)) * size).astype(np.float32)
        ours = choose_qparams(x.min(), x.max(), dtype=dtype)
        scale = primitives._choose_scale_float8(torch.from_numpy(x), list(x.shape), getattr(torch, dtype))
        assert n_different(ours.scale, scale.numpy().reshape(())) == 0
        theirs = primitives._quantize_affine_float8(torch.from_numpy(x), scale, getattr(torch, dtype))
        assert n_different(quantize(x, ours), from_torch(torch, theirs)) == 0


GRANULARITIES = {  # name: (group_size, shape, torchao's block_size)
    "tensor": (None, (24, 256), (24, 256)),
    "channel": (None, (24, 256), (1, 256)),
    "group": (32, (24, 256), (1, 32)),
    "block": ((8, 64), (24, 256), (8, 64)),
    "token": (None, (3, 8, 256), (1, 1, 256)),
}


@pytest.mark.oracle
@pytest.mark.parametrize("dtype", FLOAT8)
@pytest.mark.parametrize("granularity", GRANULARITIES)
@pytest.mark.parametrize("kind", [np.dtype(np.float32), np.dtype(np.float16), BFLOAT16], ids=str)
def test_torchao_s_own_convention_at_every_granularity(
    dtype: str, granularity: str, kind: np.dtype[Any], primitives: Any
) -> None:
    torch = oracle("torch")
    group_size, shape, block = GRANULARITIES[granularity]
    x = (np.random.default_rng(9).standard_t(3, shape) * np.logspace(-2, 2, shape[-2])[:, None]).astype(kind)
    ours = fitted(x, dtype=dtype, granularity=granularity, group_size=group_size, convention="torchao")
    tensor = to_torch(torch, x)
    scale = primitives._choose_scale_float8(tensor, list(block), getattr(torch, dtype))
    assert n_different(ours.scale, scale.numpy().reshape(ours.scale.shape)) == 0
    theirs = primitives._quantize_affine_float8(tensor, scale, getattr(torch, dtype))
    codes = quantize(x, ours)
    assert n_different(codes, from_torch(torch, theirs)) == 0
    assert n_different(dequantize(codes, ours), primitives._dequantize_affine_float8(theirs, scale).numpy()) == 0


@pytest.mark.oracle
@pytest.mark.parametrize("dtype", FLOAT8)
@pytest.mark.parametrize("kind", [np.dtype(np.float16), BFLOAT16], ids=str)
def test_torchao_divides_half_precision_ranges_in_their_own_dtype(
    dtype: str, kind: np.dtype[Any], primitives: Any
) -> None:
    torch = oracle("torch")
    with np.errstate(over="ignore"):
        low, high = (end.astype(kind) for end in known_ranges(dtype))
    amax = np.maximum(np.abs(low), np.abs(high))
    usable = np.isfinite(amax) & (amax / kind.type(float_grid(dtype).quant_max) > 0)  # else inf, or 0 to divide by
    low, high = low[usable], high[usable]
    ends = to_torch(torch, np.stack([low, high], 1))
    scale = primitives._choose_scale_float8(ends, [1, 2], getattr(torch, dtype)).numpy()[:, 0]
    assert n_different(choose_qparams(low, high, dtype=dtype, convention="torchao", ch_axis=0).scale, scale) == 0


@pytest.mark.oracle
@pytest.mark.parametrize(("dtype", "bits"), [("float6_e2m3fn", (2, 3)), ("float6_e3m2fn", (3, 2))])
def test_float6_is_torchao_s_floatx(dtype: str, bits: tuple[int, int], primitives: Any) -> None:
    torch = oracle("torch")
    low, high = known_ranges(dtype)
    ordinary = np.maximum(np.abs(low), np.abs(high)) > 1e-12  # torchao's floatx holds smaller ranges at this
    low, high = low[ordinary], high[ordinary]
    ends = torch.from_numpy(np.stack([low, high], 1))
    scale = primitives._choose_qparams_affine_floatx(ends, *bits).numpy()
    assert n_different(choose_qparams(low, high, dtype=dtype, ch_axis=0).scale, scale) == 0

    some = with_exact_ties(scale[:200])
    x = float_elements(some, float_grid(dtype))
    qparams = QParams(some, np.zeros(200), dtype=dtype, convention="pytorch", ch_axis=0)
    theirs = primitives._quantize_affine_floatx(torch.from_numpy(x), torch.from_numpy(some), *bits)
    codes = quantize(x, qparams)
    assert n_different(codes.view(np.uint8), theirs.numpy()) == 0
    values = primitives._dequantize_affine_floatx(theirs, torch.from_numpy(some), *bits).numpy()
    assert n_different(dequantize(codes, qparams), values) == 0


@pytest.mark.parametrize("dtype", FLOAT_DTYPES)
def test_codes_are_a_saturated_cast_of_the_quotient(dtype: str) -> None:
    scale = with_exact_ties(np.linspace(0.003, 3.0, 100).astype(np.float32))
    x = float_elements(scale, float_grid(dtype))
    x = x[:, np.isfinite(x).all(0)]  # bfloat16's largest values times some of these scales are not
    qparams = QParams(scale, np.zeros(100), dtype=dtype, convention="pytorch", ch_axis=0)
    with np.errstate(over="ignore"):
        theirs = saturated(x / scale[:, None], dtype).astype(qparams.code_dtype)
        values = theirs.astype(np.float32) * scale[:, None]
    codes = quantize(x, qparams)
    assert n_different(codes, theirs) == 0
    assert n_different(dequantize(codes, qparams), values) == 0


def test_scale_rules() -> None:
    assert choose_qparams(-3, 7, dtype="float8_e4m3fn").scale == np.float32(7) / np.float32(448)
    assert choose_qparams(-3, 7, dtype="float8_e4m3fn", scale_rule="one").scale == 1
    assert choose_qparams(-3, 7, dtype="float16").scale == 1
    assert choose_qparams(-3, 7, dtype="float16", scale_rule="amax").scale == np.float32(7) / np.float32(65504)
    assert choose_qparams(-3, 7, dtype="bfloat16").scale == 1
    with pytest.raises(QuantValueError, match="choose scale_rule 'one'"):
        choose_qparams(-3, 7, dtype="bfloat16", scale_rule="amax")


@pytest.mark.parametrize("dtype", FLOAT_DTYPES)
def test_parameters_say_the_format_s_ends_and_no_zero_point(dtype: str) -> None:
    qparams = choose_qparams([-1, 0], [2, 0], dtype=dtype, ch_axis=0)
    values = float_values(float_grid(dtype))
    assert (qparams.quant_min, qparams.quant_max) == (values[0], values[-1])
    assert qparams.zero_point.tolist() == [0, 0]
    assert qparams.scale[1] == 1  # a range of zeros: nothing to divide by
    assert qparams.grid.n_levels == len(values)


@pytest.mark.parametrize("dtype", FLOAT_DTYPES)
def test_nan_becomes_zero_and_inf_saturates(dtype: str) -> None:
    qparams = choose_qparams(-1.0, 3.0, dtype=dtype)
    x = np.array([np.nan, np.inf, -np.inf], np.float32)
    assert quantize(x, qparams).astype(np.float64).tolist() == [0, qparams.quant_max, qparams.quant_min]
    assert np.isnan(fake_quantize(x, qparams)[0])


def test_what_floats_do_not_have_is_refused() -> None:
    for settings in ({"scheme": "affine"}, {"reduce_range": True}, {"narrow_range": True}):
        with pytest.raises(QuantValueError, match=r"choose|turn"):
            choose_qparams(-1, 1, dtype="float8_e4m3fn", **settings)
    with pytest.raises(QuantValueError, match="quant_range"):
        choose_qparams(-1, 1, dtype="float8_e4m3fn", quant_range=(-5, 5))


def units_of(x: np.ndarray, granularity: str, size: int | None) -> np.ndarray:
    """``x`` with the last axis running over what shares a scale."""
    return {"channel": x, "tensor": x.reshape(1, -1), "group": x.reshape(-1, size or 1)}[granularity]


@pytest.mark.parametrize(
    ("dtype", "granularity", "size"),
    [
        *((dtype, granularity, None) for dtype in FLOAT_DTYPES for granularity in ("channel", "tensor")),
        *((dtype, "group", 32) for dtype in (*FLOAT8, *SMALL)),
    ],
)
def test_analyze_is_whole_tensor_arithmetic(dtype: str, granularity: str, size: int | None) -> None:
    x = (np.random.default_rng(5).standard_t(3, (24, 4096)) * np.logspace(-3, 3, 24)[:, None]).astype(np.float32)
    x[3], x[5, ::7] = 0, 0
    report = pq.analyze(x, dtype=dtype, granularity=granularity, group_size=size)
    grid, units = float_grid(dtype), units_of(x, granularity, size)
    amax = np.abs(units).max(1, keepdims=True)
    scale = np.where(amax > 0, amax / np.float32(grid.quant_max), np.float32(1)).astype(np.float32)
    if FLOAT_DTYPES[dtype] == 16:
        scale[...] = 1
    codes = saturated(units / scale, dtype).astype(grid.storage)
    back = (codes.astype(np.float32) * scale).reshape(x.shape).astype(np.float64)
    wide = x.astype(np.float64)
    error = back - wide
    signal, noise = (wide**2).sum(1), (error**2).sum(1)
    with np.errstate(divide="ignore", invalid="ignore"):
        sqnr = np.where(noise == 0, np.inf, 10 * np.log10(signal / noise))
        pct = np.where(signal == 0, 0, 100 * np.abs(error).sum(1) / np.abs(wide).sum(1))
    nonzero = np.maximum((x != 0).sum(1), 1)
    expected = {
        "max_abs_error": np.abs(error).max(1),
        "mean_abs_error": np.abs(error).mean(1),
        "mse": (error**2).mean(1),
        "sqnr_db": sqnr,
        "pct_error": pct,
        "zeroed_pct": 100 * ((x != 0) & (back == 0)).sum(1) / nonzero,
    }
    for column, values in expected.items():
        slack = 1e-5 if column == "sqnr_db" else 0  # decibels near 0 are differences of equal logarithms
        np.testing.assert_allclose(report.table[column].to_numpy(float), values, rtol=2e-6, atol=slack, err_msg=column)
    assert not report.table["clipped"].any()
    assert n_different(report.codes(), codes.reshape(x.shape)) == 0
