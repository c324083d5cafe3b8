"""onnxruntime's scales and zero points against onnxruntime.quantization, the tool that writes the models.

Left out, because our own policy differs there: scales that are not finite (we raise).
"""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from core.runtimes.bits import fitted, n_different
from core.runtimes.cases import ranges
from core.runtimes.onnx_models import OUR_NAMES, code_type
from needs import oracle
from samples_of import Sample, samples

import perchq_widget as pq
from perchq_widget.core.conventions import allowed
from perchq_widget.core.elements import quantize
from perchq_widget.core.errors import QuantValueError
from perchq_widget.core.grids import full_range
from perchq_widget.core.qparams import choose_qparams
from perchq_widget.core.schemes import QuantScheme

TOOL_DTYPES = ("qint8", "quint8", "int16", "uint16", "int4", "uint4")
SCHEMES = ("affine", "symmetric")
SETTINGS = list(product(TOOL_DTYPES, SCHEMES, (False, True)))
CODE_E4M3FN = 17  # onnx.TensorProto.FLOAT8E4M3FN
RNG = np.random.default_rng(21)


def tool() -> Any:
    """The functions of onnxruntime.quantization."""
    oracle("onnxruntime")
    return pytest.importorskip("onnxruntime.quantization.quant_utils")


@pytest.mark.oracle
@pytest.mark.parametrize(("dtype", "scheme", "reduce_range"), SETTINGS)
def test_ranges_give_the_tool_s_bits(dtype: str, scheme: str, reduce_range: bool) -> None:
    low, high = ranges()
    symmetric = scheme == "symmetric"
    ends = tool().get_qmin_qmax_for_qType(code_type(dtype), reduce_range, symmetric)
    found = [tool().compute_scale_zp(*pair, *ends, symmetric) for pair in zip(low, high, strict=True)]
    ours = choose_qparams(
        low, high, dtype=dtype, scheme=scheme, reduce_range=reduce_range, convention="onnxruntime", ch_axis=0
    )
    assert n_different(ours.scale, np.array([scale for _, scale in found])) == 0
    assert np.array_equal(ours.zero_point, [int(zero) for zero, _ in found])
    settings = QuantScheme(dtype, scheme, reduce_range=reduce_range, convention="onnxruntime")
    assert (settings.quant_min, settings.quant_max) == tuple(int(end) for end in ends)


@pytest.mark.oracle
@pytest.mark.parametrize(("dtype", "scheme"), list(product(TOOL_DTYPES, SCHEMES)))
def test_groups_give_the_tool_s_bits(dtype: str, scheme: str) -> None:
    low, high = ranges()
    weight = np.stack([low, high], axis=1).reshape(100, -1)
    weight = weight[:, :-1]  # the last block of each row is short
    for axis, along in ((1, weight), (0, np.ascontiguousarray(weight.T))):
        zero_point, scale = tool().compute_scale_zp_blocked(along, code_type(dtype), axis, 2, scheme == "symmetric")
        ours = fitted(along, 1 - axis, dtype=dtype, scheme=scheme, group_size=2, convention="onnxruntime")
        assert n_different(ours.scale, np.moveaxis(scale, axis, 1)) == 0
        assert np.array_equal(ours.zero_point, np.moveaxis(zero_point, axis, 1).astype(np.int64))


@pytest.mark.oracle
@pytest.mark.parametrize(("dtype", "scheme", "reduce_range"), SETTINGS)
def test_data_beyond_its_range_saturates_at_the_dtype_s_ends(dtype: str, scheme: str, reduce_range: bool) -> None:
    x = RNG.standard_normal(10_000).astype(np.float32)
    low, high = np.float32(-0.7), np.float32(1.1)
    settings = {"symmetric": scheme == "symmetric", "reduce_range": reduce_range}
    narrower = {"rmin_override": low, "rmax_override": high}
    zero_point, scale, codes = tool().quantize_data(x, code_type(dtype), **settings, **narrower)
    ours = choose_qparams(low, high, dtype=dtype, scheme=scheme, reduce_range=reduce_range, convention="onnxruntime")
    assert n_different(ours.scale, scale) == 0
    assert ours.zero_point == int(zero_point)
    assert np.array_equal(quantize(x, ours), codes.astype(ours.code_dtype))
    assert quantize(np.float32(1e9), ours) == full_range(dtype)[1]


@pytest.mark.oracle
@pytest.mark.parametrize("layout", ["tensor", "axis 0", "axis 1"])
def test_float8_spreads_the_values_as_the_tool_does(layout: str) -> None:
    x = (RNG.standard_normal((50, 60, 7)) * 10.0 ** RNG.uniform(-4, 4, (50, 60, 1))).astype(np.float32)
    axis = None if layout == "tensor" else int(layout[-1])
    parts = [x] if axis is None else [x.take(index, axis) for index in range(x.shape[axis])]
    granularity = "tensor" if axis is None else "channel"
    ours = fitted(
        x, axis or 0, dtype="float8_e4m3fn", granularity=granularity, scale_rule="std", convention="onnxruntime"
    )
    zero_points, scale, codes = zip(*(tool().quantize_data(each, CODE_E4M3FN, True) for each in parts), strict=True)
    assert n_different(np.atleast_1d(ours.scale), np.array(scale)) == 0
    assert not any(np.float32(each) for each in zero_points)
    theirs = codes[0] if axis is None else np.stack(codes, axis)
    assert n_different(quantize(x, ours), theirs) == 0


def test_what_looks_at_all_values_takes_no_range() -> None:
    settings = {"dtype": "float8_e4m3fn", "convention": "onnxruntime", "scale_rule": "std"}
    with pytest.raises(QuantValueError, match=r"looks at all values of a tensor.*pq\.analyze"):
        choose_qparams(-1.0, 1.0, **settings)
    x = np.array([[1, -1, np.nan, 3], [np.nan, np.inf, np.nan, np.nan], [2, 2, 2, 2]], np.float32)
    with pytest.raises(QuantValueError, match="leave ranges out"):
        pq.analyze(x, **settings, ranges=([-1] * 3, [1] * 3))
    report = pq.analyze(x, **settings)
    std = np.std(np.array([1, -1, 3], np.float32)) / np.float32(100.057724)
    assert report.table["scale"].to_numpy() == pytest.approx([std, 1, 1], rel=1e-6)


@pytest.mark.parametrize("sample", samples("ort.tool"), ids=str)
def test_tool_samples(sample: Sample) -> None:
    x, spec = sample["x"], sample.spec
    ours = choose_qparams(
        x.min(1), x.max(1), dtype=OUR_NAMES[spec["type"]], convention="onnxruntime",
        scheme="symmetric" if spec["symmetric"] else "affine", reduce_range=spec["reduce_range"],
    )  # fmt: skip
    assert n_different(ours.scale, sample["scale"]) == 0
    assert np.array_equal(ours.zero_point, sample["zero_point"])
    assert np.array_equal(quantize(x, ours), sample["q"])


@pytest.mark.parametrize(
    ("scheme", "reason"),
    [
        (QuantScheme("int2", convention="onnxruntime"), "onnxruntime has no int2"),
        (QuantScheme("qint8", narrow_range=True, convention="onnxruntime"), "has no narrow_range for qint8; turn"),
        (QuantScheme("qint8", quant_range=(-5, 5), convention="onnxruntime"), "has no quant_range"),
        (QuantScheme("int4", "affine", "group", True, group_size=32, convention="onnxruntime"), "turn reduce_range"),
        (QuantScheme("qint8", "affine", "token", convention="onnxruntime"), "choose granularity 'channel' or 'tensor'"),
        (QuantScheme("quint8", convention="onnx-dynamic"), "choose granularity 'tensor'"),
        (QuantScheme("qint8", "affine", "tensor", convention="onnx-dynamic"), "onnx-dynamic has no qint8"),
    ],
    ids=str,
)
def test_what_the_runtime_has_not_is_refused_with_a_way_out(scheme: QuantScheme, reason: str) -> None:
    assert reason in str(allowed(scheme))


def test_a_step_that_underflows_raises() -> None:
    with pytest.raises(QuantValueError, match="above 0"):
        choose_qparams(0.0, 1e-44, dtype="quint8", convention="onnx-dynamic")
    assert choose_qparams(0.0, 1e-44, dtype="quint8", convention="onnxruntime").scale == 1
