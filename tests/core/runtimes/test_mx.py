"""The OCP's MX formats against torchao's to_mx and to_dtype; mxint8, which no installed library has, against its rule.

microxcaling, where mxint8's rule comes from, was not run.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from core.runtimes.bits import float_values, n_different
from core.runtimes.block_cases import assert_same, block_params, hard, middles_of, nibbles
from needs import oracle
from samples_of import Sample, samples

from perchq_widget.core.elements import dequantize, fake_quantize, quantize
from perchq_widget.core.grids import FloatGrid, float_grid
from perchq_widget.core.runtimes.ocp import ELEMENTS, SCALE_RULES

NAMES = {
    "mxfp8_e4m3fn": "e4m3", "mxfp8_e5m2": "e5m2", "mxfp6_e2m3fn": "e2m3", "mxfp6_e3m2fn": "e3m2", "mxfp4": "e2m1",
}  # fmt: skip


@pytest.fixture(scope="module")
def mx() -> Any:
    """torchao's module."""
    return oracle("torchao.prototype.mx_formats.mx_tensor")


def element_dtype(mx: Any, dtype: str) -> Any:
    torch = oracle("torch")
    return {
        "mxfp8_e4m3fn": torch.float8_e4m3fn, "mxfp8_e5m2": torch.float8_e5m2, "mxfp6_e2m3fn": mx.DTYPE_FP6_E2M3,
        "mxfp6_e3m2fn": mx.DTYPE_FP6_E3M2, "mxfp4": torch.float4_e2m1fn_x2,
    }[dtype]  # fmt: skip


@pytest.mark.oracle
@pytest.mark.parametrize("scale_rule", SCALE_RULES)
@pytest.mark.parametrize("dtype", ELEMENTS)
def test_blocks_are_torchao_s(mx: Any, dtype: str, scale_rule: str) -> None:
    torch = oracle("torch")
    middles = middles_of(float_values(float_grid(ELEMENTS[dtype])))
    x, params = hard(middles, 32, {}, dtype=dtype, scale_rule=scale_rule)
    element = element_dtype(mx, dtype)
    scale, data = mx.to_mx(torch.from_numpy(x), element, 32, mx.ScaleCalculationMode[scale_rule.upper()])
    values = mx.to_dtype(data, scale, element, 32, torch.float32).numpy()
    assert n_different(params.scale.view(np.uint8), scale.view(torch.uint8).numpy()) == 0
    codes = data.view(torch.uint8).numpy()
    assert_same(x, params, nibbles(codes) if dtype == "mxfp4" else codes, values)


def mxint8_rule(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(exponents, codes, values) in exact arithmetic: X = 2^floor(log2(amax)), round(64 x / X), -127..127."""
    rows = x.reshape(-1, 32).astype(np.float64)
    top = np.abs(rows).max(1, keepdims=True)
    exponent = np.where(top > 0, np.frexp(top)[1] - 1, -127).clip(-127, 127)
    exponent = np.where(top < 2.0**-126, -127, exponent)  # subnormal: the exponent bits are 0
    codes = np.rint(np.ldexp(rows, 6 - exponent)).clip(-127, 127)
    return exponent, codes, np.ldexp(codes, exponent - 6)


def test_mxint8_is_microxcaling_s_rule() -> None:
    x, params = hard(np.arange(-127, 127) + 0.5, 32, {}, dtype="mxint8")
    exponent, codes, values = mxint8_rule(x)
    assert n_different(params.scale.view(np.uint8).reshape(-1, 1), (exponent + 127).astype(np.uint8)) == 0
    with np.errstate(under="ignore"):
        assert_same(x, params, codes.astype(np.int8).view(np.uint8), (values + 0.0).astype(np.float32))


@pytest.mark.parametrize("scale_rule", SCALE_RULES)
def test_mxint8_scale_rules_keep_their_promise(scale_rule: str) -> None:
    """ceil and rceil clip nothing, floor and even a little; each scale is within a factor 2 of the next."""
    x = np.random.default_rng(3).standard_normal((64, 512)).astype(np.float32)
    scale = block_params(x, dtype="mxint8", scale_rule=scale_rule).scale.astype(np.float32)
    top = np.abs(x).reshape(64, -1, 32).max(-1)
    most = {"floor": 2.0, "even": 127.5 / 64, "ceil": 1.0, "rceil": 127 / 64}[scale_rule]
    assert (top <= most * scale).all()
    assert (top > most / 2 * scale).all()


@pytest.mark.parametrize("sample", samples("torchao.mx"), ids=str)
def test_samples(sample: Sample) -> None:
    dtype = next(name for name, short in NAMES.items() if short == sample.spec["elem"])
    x = sample["x"]
    params = block_params(x, dtype=dtype, scale_rule=sample.spec["mode"].lower(), group_size=sample.spec["block"])
    assert n_different(params.scale.view(np.uint8), sample["scale_e8m0"]) == 0
    assert n_different(quantize(x, params).view(np.uint8), sample["code"]) == 0


def test_rceil_leaves_the_smallest_scale_s_values_alone() -> None:
    """torchao multiplies by 1 where the scale is 2^-127, so that everything becomes 0."""
    x = np.full((1, 32), 1e-40, np.float32)
    by_rule = {rule: fake_quantize(x, block_params(x, dtype="mxfp4", scale_rule=rule)) for rule in SCALE_RULES}
    assert (by_rule["rceil"] == 0).all()
    params = block_params(x, dtype="mxfp8_e4m3fn", scale_rule="rceil")
    assert params.multiplier is not None
    assert params.multiplier.tolist() == [[1.0]]
    assert params.scale.astype(np.float32).tolist() == [[2.0**-127]]


@pytest.mark.parametrize("dtype", ELEMENTS)
def test_codes_decode_to_the_format_s_values(dtype: str) -> None:
    grid = float_grid(ELEMENTS[dtype])
    assert isinstance(grid, FloatGrid)
    values = np.resize(float_values(grid), (8, 32)).astype(np.float32)
    params = block_params(values, dtype=dtype)
    expected = values * params.scale.astype(np.float32)[:, :1]
    assert n_different(dequantize(values.astype(grid.storage), params), expected) == 0
