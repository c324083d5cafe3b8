"""Values through the parameters of onnxruntime and onnx-dynamic, against sessions of ONNX Runtime's operators.

Left out, because our own policy differs there: scales that are 0 or not finite (we raise), NaN in values.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from core.runtimes.bits import float_elements, n_different
from core.runtimes.cases import elements, ranges
from core.runtimes.onnx_models import CODES, OUR_NAMES, session, there_and_back
from needs import oracle
from samples_of import Sample, samples

from perchq_widget.core.elements import dequantize, fake_quantize, quantize
from perchq_widget.core.grids import float_grid, full_range
from perchq_widget.core.qparams import QParams, choose_qparams
from perchq_widget.core.runtimes.onnxruntime import ONNX_DYNAMIC
from perchq_widget.core.schemes import QuantScheme
from perchq_widget.core.trace import silent

RNG = np.random.default_rng(22)
LAYOUTS = {"tensor": ((), None, 0), "axis 0": ((40,), 0, 0), "axis 1": ((40,), 1, 0), "blocks": ((125, 250), 1, 32)}


def scales(shape: tuple[int, ...]) -> np.ndarray:
    """float32 of many sizes, a fourth of them powers of two, under which ties are exact."""
    scale = 10.0 ** RNG.uniform(-5, 5, shape)
    return np.where(RNG.random(shape) < 0.25, np.exp2(np.rint(np.log2(scale))), scale).astype(np.float32)


def laid_out(per_unit: np.ndarray, shape: tuple[int, ...], axis: int | None) -> np.ndarray:
    """Elements of (units, n) where an operation with these attributes finds them."""
    if len(shape) == 2:
        return per_unit.reshape(shape[0], -1)
    return per_unit[0] if not shape else np.moveaxis(per_unit, 0, axis or 0)


def differences(x: np.ndarray, qparams: QParams, axis: int | None, block_size: int) -> int:
    """Codes and values that are not ONNX Runtime's, there and back and in one go."""
    zero_point = qparams.zero_point
    codes, values = there_and_back(x, qparams.scale, zero_point, qparams.dtype, axis, block_size)
    ours = quantize(x, qparams)
    there, back = ours.astype(codes.dtype), dequantize(ours, qparams)
    return n_different(there, codes) + n_different(back, values) + n_different(fake_quantize(x, qparams), values)


@pytest.mark.oracle
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [dtype for dtype in CODES if not dtype.startswith("float")])
def test_integer_sessions_give_the_same_codes_and_values(dtype: str, layout: str) -> None:
    shape, axis, block_size = LAYOUTS[layout]
    scale, (low, high) = scales(shape), full_range(dtype)
    zero_point = RNG.integers(low, high + 1, shape)
    x = laid_out(elements(scale.ravel(), low - zero_point.ravel(), high - zero_point.ravel()), shape, axis)
    group = {"group_size": block_size} if block_size else {}
    ch_axis = 0 if block_size else axis
    qparams = QParams(scale, zero_point, dtype=dtype, convention="onnxruntime", ch_axis=ch_axis, **group)
    assert x.size == 1_000_000
    assert differences(x, qparams, axis, block_size) == 0


@pytest.mark.oracle
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [dtype for dtype in CODES if dtype.startswith("float8")])
def test_float8_sessions_give_the_same_codes_and_values(dtype: str, layout: str) -> None:
    shape, axis, block_size = LAYOUTS[layout]
    scale = scales(shape)
    x = laid_out(float_elements(scale.ravel(), float_grid(dtype)), shape, axis)
    x.flat[:2] = 0.0, -0.0
    group = {"group_size": block_size} if block_size else {}
    ch_axis = 0 if block_size else axis
    qparams = QParams(
        scale, np.zeros(shape, np.int64), dtype=dtype, convention="onnxruntime", ch_axis=ch_axis, **group
    )
    assert differences(x, qparams, axis, block_size) == 0


@pytest.mark.oracle
@pytest.mark.parametrize("dtype", ["qint8", "uint16", "int4", "float8_e4m3fn"])
def test_short_last_blocks(dtype: str) -> None:
    scale = scales((5, 4))
    x = (RNG.standard_normal((5, 100)) * np.repeat(scale, 30, axis=1)[:, :100] * 40).astype(np.float32)
    qparams = QParams(
        scale, np.zeros((5, 4), int), dtype=dtype, convention="onnxruntime", ch_axis=0, group_size=30
    )
    assert differences(x, qparams, 1, 30) == 0


@pytest.mark.oracle
@pytest.mark.parametrize("attributes", [{"opset": 19}, {"opset": 21}, {"opset": 25, "precision": 1}], ids=str)
@pytest.mark.parametrize("dtype", ["qint8", "quint8"])
def test_float16_is_divided_in_float32(dtype: str, attributes: dict[str, int]) -> None:
    """Up to opset 21, which the tool writes; from 23 on where ``precision`` says so, else in float16."""
    scale = scales((40,)).clip(2.0**-10, 2.0**7).astype(np.float16)
    low, high = full_range(dtype)
    zero_point = RNG.integers(low, high + 1, 40)
    x = elements(scale, low - zero_point, high - zero_point).astype(np.float16)
    codes, values = there_and_back(x, scale, zero_point, dtype, 0, **attributes)
    qparams = QParams(scale, zero_point, dtype=dtype, convention="onnxruntime", ch_axis=0)
    assert np.array_equal(quantize(x, qparams).astype(np.int32), codes)
    assert n_different(fake_quantize(x, qparams).astype(np.float16), values) == 0


def dynamic_session() -> Any:
    """DynamicQuantizeLinear: x -> codes, scale, zero point."""
    onnx = oracle("onnx")
    types = onnx.TensorProto
    node = onnx.helper.make_node("DynamicQuantizeLinear", ["x"], ["codes", "scale", "zero"])
    outputs = {"codes": types.UINT8, "scale": types.FLOAT, "zero": types.UINT8}
    return session([node], {"x": (types.FLOAT, ["n"])}, outputs)


@pytest.mark.oracle
def test_dynamic_parameters_give_the_same_bits() -> None:
    run = dynamic_session().run
    low, high = ranges()
    found = [run(["scale", "zero"], {"x": np.array(pair)}) for pair in zip(low, high, strict=True)]
    scheme = QuantScheme("quint8", "affine", "tensor", convention="onnx-dynamic")
    ours = ONNX_DYNAMIC.range_rule(low, high, scheme, silent)  # of single numbers, element by element
    assert n_different(ours.scale, np.array([scale for scale, _ in found])) == 0
    assert np.array_equal(ours.zero_point, [zero_point for _, zero_point in found])


@pytest.mark.oracle
@pytest.mark.parametrize("ends", [(-1.5, 2.25), (0.0, 255.0), (-127.5, 127.5), (-3e-4, 0.0), (1e4, 3e4), (-7.0, -2.0)])
def test_dynamic_codes_give_the_same_bits(ends: tuple[float, float]) -> None:
    fit = choose_qparams(*ends, dtype="quint8", convention="onnx-dynamic")
    x = elements(fit.scale, -fit.zero_point, 255 - fit.zero_point)[0].clip(*np.float32(ends))
    x[:2] = ends
    codes, scale, zero_point = dynamic_session().run(None, {"x": x})
    ours = choose_qparams(x.min(), x.max(), dtype="quint8", convention="onnx-dynamic")
    assert (ours.scale, ours.zero_point) == (scale, zero_point)
    assert n_different(quantize(x, ours), codes) == 0
    assert n_different(dequantize(codes, ours), (codes.astype(np.int32) - zero_point).astype(np.float32) * scale) == 0


@pytest.mark.parametrize("sample", samples("ort.quantize_linear") + samples("ort.quantize_linear_f16"), ids=str)
def test_operator_samples(sample: Sample) -> None:
    spec, x, scale, zero_point = sample.spec, sample["x"], sample["scale"], sample["zero_point"]
    dtype, axis, size = OUR_NAMES[spec["type"]], spec.get("axis"), spec.get("block_size", 0)
    group = {}
    if size:  # blocks along an axis are groups of channels that lie along the other
        scale, zero_point = (np.moveaxis(each, axis, -1) for each in (scale, zero_point))
        axis, group = 1 - axis, {"group_size": size}
    qparams = QParams(scale, zero_point, dtype=dtype, convention="onnxruntime", ch_axis=axis, **group)
    codes = quantize(x, qparams)
    assert np.array_equal(codes, sample["q"])
    if sample.family == "ort.quantize_linear":
        assert n_different(dequantize(codes, qparams), sample["dq"]) == 0


@pytest.mark.parametrize("sample", samples("ort.dynamic_quantize_linear"), ids=str)
def test_dynamic_samples(sample: Sample) -> None:
    x = sample["x"]
    ours = choose_qparams(x.min(), x.max(), dtype="quint8", convention="onnx-dynamic")
    assert (ours.scale, ours.zero_point) == (sample["scale"], sample["zero_point"])
    assert np.array_equal(quantize(x, ours), sample["q"])
