"""The ONNX standard's own cases for quantization: 33 small models with their inputs and outputs, by our functions."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from core.runtimes.bits import n_different
from needs import oracle

import perchq_widget as pq

QUANTIZE = (
    "test_quantizelinear test_quantizelinear_axis test_quantizelinear_blocked_asymmetric "
    "test_quantizelinear_blocked_symmetric test_quantizelinear_e4m3fn test_quantizelinear_e5m2 "
    "test_quantizelinear_float4e2m1 test_quantizelinear_int16 test_quantizelinear_int2 test_quantizelinear_int4 "
    "test_quantizelinear_uint16 test_quantizelinear_uint2 test_quantizelinear_uint4"
).split()
DEQUANTIZE = (
    "test_dequantizelinear test_dequantizelinear_axis test_dequantizelinear_blocked test_dequantizelinear_e4m3fn "
    "test_dequantizelinear_e4m3fn_float16 test_dequantizelinear_e4m3fn_zero_point test_dequantizelinear_e5m2 "
    "test_dequantizelinear_float4e2m1 test_dequantizelinear_int16 test_dequantizelinear_int2 "
    "test_dequantizelinear_int4 test_dequantizelinear_uint16 test_dequantizelinear_uint2 test_dequantizelinear_uint4"
).split()
DYNAMIC = (
    "test_dynamicquantizelinear test_dynamicquantizelinear_expanded test_dynamicquantizelinear_max_adjusted "
    "test_dynamicquantizelinear_max_adjusted_expanded test_dynamicquantizelinear_min_adjusted "
    "test_dynamicquantizelinear_min_adjusted_expanded"
).split()


@pytest.fixture(scope="module")
def cases() -> dict[str, Any]:
    """The cases whose name or whose nodes speak of linear quantization, by name."""
    oracle("onnx")
    from onnx.backend.test.loader import load_model_tests

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # making the other 1,800 cases divides by zero and overflows
        every = load_model_tests(kind="node")
    operators = {"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"}
    return {
        case.name: case
        for case in every
        if "quantizelinear" in case.name or operators & {node.op_type for node in case.model.graph.node}
    }


def as_array(value: Any) -> np.ndarray:
    """Inputs and outputs are arrays, or tensors of formats that numpy lacks."""
    numpy_helper = oracle("onnx").numpy_helper
    return np.asarray(value if isinstance(value, (np.ndarray, np.generic)) else numpy_helper.to_array(value))


def in_bytes(codes: np.ndarray) -> np.ndarray:
    """Codes of less than a byte in a byte each, as ours are."""
    small = {"int4": np.int8, "int2": np.int8, "uint4": np.uint8, "uint2": np.uint8}
    return codes.astype(small.get(codes.dtype.name, codes.dtype))


def format_of(case: Any, zero_point: np.ndarray | None, attributes: dict[str, Any]) -> str:
    """Our name of the format: the zero point's, or what output_dtype says."""
    if zero_point is not None:
        name = zero_point.dtype.name
    else:
        name = oracle("onnx").helper.tensor_dtype_to_np_dtype(attributes["output_dtype"]).name
    return {"int8": "qint8", "uint8": "quint8"}.get(name, name)


class Layout:
    """An operator's attributes as our layouts: blocks along an axis are groups of a matrix with that axis last."""

    def __init__(self, shape: tuple[int, ...], scale: np.ndarray, attributes: dict[str, Any]) -> None:
        self._axis, self._size = attributes.get("axis", 1), attributes.get("block_size", 0)
        self._moved = np.moveaxis(np.empty(shape, np.bool_), self._axis, -1).shape if self._size else shape
        self._scale = scale

    def there(self, x: np.ndarray) -> np.ndarray:
        """As our functions take it."""
        return np.moveaxis(x, self._axis, -1).reshape(-1, self._moved[-1]) if self._size else x

    def back(self, x: np.ndarray) -> np.ndarray:
        """As the operator gives it."""
        return np.moveaxis(x.reshape(self._moved), -1, self._axis) if self._size else x

    def qparams(self, zero_point: np.ndarray | None, dtype: str) -> pq.QParams:
        """The operator's inputs as ours."""
        scale = self._scale
        none = zero_point is None
        zeros = np.zeros(scale.shape, np.int64) if none else zero_point.astype(np.int64).reshape(scale.shape)
        own: dict[str, Any] = {"ch_axis": self._axis} if scale.ndim == 1 else {}
        if self._size:
            rows = int(np.prod(self._moved[:-1]))
            scale, zeros = (np.moveaxis(each, self._axis, -1).reshape(rows, -1) for each in (scale, zeros))
            own = {"ch_axis": 0, "group_size": self._size}
        return pq.QParams(scale, zeros, dtype=dtype, convention="onnxruntime", **own)


def attributes_of(case: Any) -> dict[str, Any]:
    """The attributes of a model's one node."""
    helper = oracle("onnx").helper
    (node,) = case.model.graph.node
    return {each.name: helper.get_attribute_value(each) for each in node.attribute}


@pytest.mark.oracle
def test_there_are_33_cases(cases: dict[str, Any]) -> None:
    assert sorted(cases) == sorted((*QUANTIZE, *DEQUANTIZE, *DYNAMIC))
    assert len(cases) == 33
    assert all(case.data_sets for case in cases.values())


@pytest.mark.oracle
@pytest.mark.parametrize("name", QUANTIZE)
def test_quantize_linear(cases: dict[str, Any], name: str) -> None:
    attributes = attributes_of(cases[name])
    for inputs, (expected,) in cases[name].data_sets:
        x, scale, *rest = (as_array(each) for each in inputs)
        zero_point = rest[0] if rest else None
        layout = Layout(x.shape, scale, attributes)
        qparams = layout.qparams(zero_point, format_of(cases[name], zero_point, attributes))
        codes = layout.back(pq.quantize(layout.there(x), qparams))
        assert n_different(codes, in_bytes(as_array(expected))) == 0


@pytest.mark.oracle
@pytest.mark.parametrize("name", DEQUANTIZE)
def test_dequantize_linear(cases: dict[str, Any], name: str) -> None:
    attributes = attributes_of(cases[name])
    for inputs, (expected,) in cases[name].data_sets:
        codes, scale, *rest = (as_array(each) for each in inputs)
        layout = Layout(codes.shape, scale, attributes)
        qparams = layout.qparams(rest[0] if rest else None, format_of(cases[name], codes, attributes))
        values = layout.back(pq.dequantize(layout.there(in_bytes(codes)), qparams))
        assert n_different(values.astype(scale.dtype), expected) == 0


@pytest.mark.oracle
@pytest.mark.parametrize("name", DYNAMIC)
def test_dynamic_quantize_linear(cases: dict[str, Any], name: str) -> None:
    for (x,), (codes, scale, zero_point) in cases[name].data_sets:
        qparams = pq.choose_qparams(x.min(), x.max(), dtype="quint8", convention="onnx-dynamic")
        assert n_different(qparams.scale, np.asarray(scale)) == 0
        assert qparams.zero_point == zero_point
        assert n_different(pq.quantize(x, qparams), codes) == 0
