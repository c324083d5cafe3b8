"""ai-edge against ai-edge-quantizer: scales and zero points, codes and values.

Left out, because our own policy differs there: scales that are 0 or not finite, NaN and infinities in values.
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import pytest
from core.runtimes.bits import fitted, n_different
from core.runtimes.cases import elements, ranges
from needs import oracle
from samples_of import Sample, samples

from perchq_widget.core.conventions import allowed
from perchq_widget.core.elements import dequantize, fake_quantize, quantize
from perchq_widget.core.errors import QuantValueError
from perchq_widget.core.grids import INTEGER_DTYPES
from perchq_widget.core.qparams import QParams, choose_qparams
from perchq_widget.core.schemes import QuantScheme

SETTINGS = [
    ("qint8", "affine", "channel"), ("qint8", "symmetric", "channel"), ("qint8", "affine", "tensor"),
    ("int4", "affine", "channel"), ("int4", "symmetric", "channel"), ("int2", "symmetric", "channel"),
    ("quint8", "affine", "tensor"), ("int16", "symmetric", "tensor"),
]  # fmt: skip


def quantizer() -> tuple[Any, Any]:
    """ai-edge-quantizer's modules of arithmetic and of its types."""
    oracle("ai_edge_quantizer")
    arithmetic = importlib.import_module("ai_edge_quantizer.algorithms.uniform_quantize.uniform_quantize_tensor")
    return arithmetic, importlib.import_module("ai_edge_quantizer.qtyping")


def their_params(low: np.ndarray, high: np.ndarray, dtype: str, scheme: str, granularity: str) -> Any:
    """(zero points, scales) of ranges."""
    arithmetic, types = quantizer()
    bits, signed = INTEGER_DTYPES[dtype]
    kind = getattr(types.QuantGranularity, granularity)
    return arithmetic.tensor_zp_scale_from_min_max(low, high, bits, scheme == "symmetric", kind, None, signed)


def uniform(qparams: QParams, symmetric: bool, zero_point: np.ndarray) -> Any:
    """Our parameters as the quantizer's; of blocks, as its matrices have them."""
    _, types = quantizer()
    bits, signed = INTEGER_DTYPES[qparams.dtype]
    size = qparams.group_size if isinstance(qparams.group_size, int) else 0
    axis = {"tensor": None, "channel": 0, "group": 1}[qparams.granularity]
    return types.UniformQuantParams(
        bits, axis, qparams.scale, zero_point, symmetric, block_size=size, signed=signed
    )


@pytest.mark.oracle
@pytest.mark.parametrize(("dtype", "scheme", "granularity"), SETTINGS)
def test_ranges_give_the_quantizer_s_bits(dtype: str, scheme: str, granularity: str) -> None:
    low, high = ranges()
    zero_point, scale = their_params(low, high, dtype, scheme, "CHANNELWISE")
    if granularity == "channel":
        ours = choose_qparams(low, high, dtype=dtype, scheme=scheme, convention="ai-edge", ch_axis=0)
        assert n_different(ours.scale, scale) == 0
        assert np.array_equal(ours.zero_point, zero_point)
        return
    for index in range(0, len(low), 5):
        one = choose_qparams(low[index], high[index], dtype=dtype, scheme=scheme, convention="ai-edge")
        assert (one.scale, one.zero_point) == (scale[index], zero_point[index])


@pytest.mark.oracle
@pytest.mark.parametrize("dtype", ["int4", "int2"])
def test_groups_store_their_scales_as_the_quantizer_does(dtype: str) -> None:
    low, high = ranges()
    most = np.float32(60_000 * (2 ** (INTEGER_DTYPES[dtype][0] - 1) - 1))  # a larger scale is infinite in float16
    low, high = low.clip(-most, most), high.clip(-most, most)
    x = np.zeros((100, 100, 32), np.float32)
    x[:, :, 7], x[:, :, 20] = low.reshape(100, 100), high.reshape(100, 100)
    _, scale = their_params(low, high, dtype, "symmetric", "BLOCKWISE_32")
    ours = fitted(x.reshape(100, -1), dtype=dtype, scheme="symmetric", group_size=32, convention="ai-edge")
    stored = scale > 0
    assert stored.mean() > 0.5
    assert n_different(ours.scale.ravel()[stored], scale[stored]) == 0
    assert (ours.scale.ravel()[~stored] == 2.0**-24).all()  # the quantizer would divide by 0
    codes = quantize(x.reshape(100, -1), ours).reshape(-1, 32)
    assert not codes[(low == 0) & (high == 0)].any()


def scales(shape: tuple[int, ...]) -> np.ndarray:
    """float32 of many sizes, a fourth of them powers of two, under which ties are exact."""
    rng = np.random.default_rng(24)
    scale = 10.0 ** rng.uniform(-4, 4, shape)
    return np.where(rng.random(shape) < 0.25, np.exp2(np.rint(np.log2(scale))), scale).astype(np.float32)


CODE_CASES = [(dtype, scheme, granularity) for dtype, scheme, granularity in SETTINGS if granularity == "channel"] + [
    ("quint8", "affine", "tensor"), ("int16", "symmetric", "tensor"),
    ("int4", "symmetric", "group"), ("int2", "symmetric", "group"),
]  # fmt: skip


@pytest.mark.oracle
@pytest.mark.parametrize(("dtype", "scheme", "granularity"), CODE_CASES)
def test_codes_and_values_are_the_quantizer_s(dtype: str, scheme: str, granularity: str) -> None:
    arithmetic, _ = quantizer()
    settings = QuantScheme(
        dtype, scheme, granularity, group_size=64 if granularity == "group" else None, convention="ai-edge"
    )
    ends = int(settings.quant_min), int(settings.quant_max)
    shape = {"tensor": (), "channel": (40,), "group": (25, 625)}[granularity]
    affine = scheme == "affine"
    scale = scales(shape)
    zero_point = np.random.default_rng(25).integers(*ends, shape, endpoint=True) * affine
    qparams = QParams(
        scale, zero_point, dtype=dtype, convention="ai-edge", ch_axis=0 if shape else None,
        group_size=settings.group_size, quant_min=ends[0], quant_max=ends[1],
    )  # fmt: skip
    x = elements(scale.ravel(), ends[0] - zero_point.ravel(), ends[1] - zero_point.ravel())
    x = x[0] if granularity == "tensor" else x.reshape(shape[0], -1)
    assert x.size == 1_000_000
    kind = uniform(qparams, not affine, np.asarray(zero_point).astype(qparams.code_dtype))
    codes = arithmetic.uniform_quantize(*((x, kind, True) if granularity == "group" else (x, kind)))
    assert n_different(quantize(x, qparams), codes) == 0
    wide = uniform(qparams, not affine, np.asarray(zero_point).astype(np.int16))  # in int8 its difference would wrap
    if granularity == "group":
        wide = uniform(qparams, True, np.zeros(0, np.int16))
    values = arithmetic.uniform_dequantize(codes, wide).astype(np.float32)
    assert n_different(dequantize(codes, qparams), values) == 0
    assert n_different(fake_quantize(x, qparams), values) == 0


@pytest.mark.oracle
@pytest.mark.parametrize(("dtype", "scheme"), [("qint8", "affine"), ("qint8", "symmetric"), ("int4", "symmetric")])
def test_tensors_through_their_own_parameters(dtype: str, scheme: str) -> None:
    arithmetic, _ = quantizer()
    x = np.random.default_rng(26).standard_normal((300, 500)).astype(np.float32)
    x[3] = 0
    ours = fitted(x, dtype=dtype, scheme=scheme, convention="ai-edge")
    zero_point, scale = their_params(x.min(1), x.max(1), dtype, scheme, "CHANNELWISE")
    assert n_different(ours.scale, scale) == 0
    codes = arithmetic.uniform_quantize(x, uniform(ours, scheme == "symmetric", zero_point))
    assert n_different(quantize(x, ours), codes) == 0


@pytest.mark.parametrize("sample", samples("ai_edge.channel"), ids=str)
def test_samples(sample: Sample) -> None:
    x = sample["x"]
    dtype = {8: "qint8", 4: "int4"}[sample.spec["bits"]]
    scheme = "symmetric" if sample.spec["symmetric"] else "affine"
    ours = choose_qparams(x.min(1), x.max(1), dtype=dtype, scheme=scheme, convention="ai-edge", ch_axis=0)
    assert n_different(ours.scale, sample["scale"].ravel()) == 0
    assert np.array_equal(ours.zero_point, sample["zero_point"].ravel())
    assert n_different(quantize(x, ours), sample["q"]) == 0
    assert n_different(fake_quantize(x, ours), sample["dq"]) == 0


def test_a_group_too_large_for_float16_raises() -> None:
    with pytest.raises(QuantValueError, match="must be finite"):
        fitted(np.full((1, 32), 1e9, np.float32), dtype="int4", scheme="symmetric", group_size=32, convention="ai-edge")


@pytest.mark.parametrize(
    ("scheme", "reason"),
    [
        (QuantScheme("int4", "symmetric", "group", group_size=16, convention="ai-edge"), "choose group_size 32 or 64"),
        (QuantScheme("int4", "affine", "group", group_size=32, convention="ai-edge"), "choose scheme 'symmetric'"),
        (QuantScheme("qint8", "symmetric", "group", group_size=32, convention="ai-edge"), "choose granularity"),
        (QuantScheme("quint8", "symmetric", "tensor", convention="ai-edge"), "choose scheme 'affine'"),
        (QuantScheme("int4", "symmetric", "token", convention="ai-edge"), "choose granularity 'group' or 'channel'"),
        (QuantScheme("int3", "symmetric", convention="ai-edge"), "ai-edge has no int3; choose"),
        (QuantScheme("qint8", "symmetric", reduce_range=True, convention="ai-edge"), "turn reduce_range off"),
    ],
    ids=str,
)
def test_what_the_quantizer_has_not_is_refused_with_a_way_out(scheme: QuantScheme, reason: str) -> None:
    assert reason in str(allowed(scheme))
