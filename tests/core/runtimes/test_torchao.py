"""torchao's affine conventions against torchao, in float32, bfloat16 and float16, at every granularity.

Left out, because our own policy differs there: scales that are not finite (we raise), NaN and infinities in values.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from core.runtimes.bits import BFLOAT16, from_torch, n_different, to_torch
from core.runtimes.cases import elements, ranges
from needs import oracle
from samples_of import Sample, samples

import perchq_widget as pq
from perchq_widget.core.conventions import allowed
from perchq_widget.core.elements import dequantize, fake_quantize, quantize
from perchq_widget.core.errors import QuantValueError
from perchq_widget.core.grids import full_range
from perchq_widget.core.qparams import QParams, choose_qparams
from perchq_widget.core.schemes import QuantScheme

FLOAT32, FLOAT16 = np.dtype(np.float32), np.dtype(np.float16)
DTYPES = (FLOAT32, BFLOAT16, FLOAT16)
#: (our convention, our scheme, torchao's MappingType)
MAPPINGS = (
    ("torchao", "affine", "ASYMMETRIC"),
    ("torchao", "symmetric", "SYMMETRIC"),
    ("torchao-no-clip", "symmetric", "SYMMETRIC_NO_CLIPPING_ERR"),
)
SIGNED = ("qint8", *(f"int{n}" for n in range(2, 8)))
UNSIGNED = ("quint8", *(f"uint{n}" for n in range(2, 8)))
#: Everything that torchao has: (convention, scheme, mapping, format, quant_range)
FREE_RANGES = (("qint8", (-100, 90)), ("quint8", (0, 14)))
SETTINGS = [
    (*mapping, dtype, quant_range)
    for mapping in MAPPINGS
    for dtype, quant_range in (*((each, None) for each in (*SIGNED, *UNSIGNED)), *FREE_RANGES)
    if mapping[0] == "torchao" or dtype in SIGNED
]


class Torchao:
    """torchao's own functions for one mapping, format and block size, numpy in and out."""

    def __init__(self, mapping: str, dtype: str, quant_range: tuple[int, int] | None) -> None:
        self.torch, self.ops = oracle("torch"), oracle("torchao.quantization.quant_primitives")
        self.mapping = self.ops.MappingType[mapping]
        # its int1..int7 have no tensors of their own: codes are int8 with a quant_min and quant_max, as in its configs
        self.target = self.torch.uint8 if dtype.startswith(("u", "qu")) else self.torch.int8
        self.ends = full_range(dtype) if quant_range is None else quant_range

    def params(self, x: np.ndarray, block: tuple[int, ...]) -> tuple[Any, Any]:
        """scale and zero_point, as its tensors."""
        return self.ops.choose_qparams_affine(to_torch(self.torch, x), self.mapping, block, self.target, *self.ends)

    def codes(self, x: np.ndarray, block: tuple[int, ...], params: tuple[Any, Any]) -> np.ndarray:
        """Its codes, int8 or uint8."""
        codes = self.ops.quantize_affine(to_torch(self.torch, x), block, *params, self.target, *self.ends)
        return from_torch(self.torch, codes)

    def values(self, codes: np.ndarray, block: tuple[int, ...], params: tuple[Any, Any]) -> np.ndarray:
        """Values of codes, in the dtype of the scale."""
        found = self.ops.dequantize_affine(
            to_torch(self.torch, codes), block, *params, self.target, *self.ends, output_dtype=params[0].dtype
        )
        return from_torch(self.torch, found)

    def fake(self, x: np.ndarray, block: tuple[int, ...], params: tuple[Any, Any]) -> np.ndarray:
        """Its fake_quantize."""
        found = self.ops._fake_quantize_affine(to_torch(self.torch, x), block, *params, self.target, *self.ends)
        return from_torch(self.torch, found)

    def numbers(self, params: tuple[Any, Any]) -> tuple[np.ndarray, np.ndarray]:
        """scale and zero_point in numpy."""
        return from_torch(self.torch, params[0]), from_torch(self.torch, params[1])


def usable_ranges(dtype: np.dtype[Any]) -> np.ndarray:
    """Ranges of (10000, 2) in ``dtype``, cut to a third of its largest value, so that every scale is finite."""
    most = float(oracle("ml_dtypes").finfo(dtype).max) / 3
    return np.clip(np.stack(ranges(), axis=1), -most, most).astype(dtype)


@pytest.mark.oracle
@pytest.mark.parametrize("tensor_dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("convention", "scheme", "mapping", "dtype", "quant_range"), SETTINGS)
def test_scales_and_zero_points(convention, scheme, mapping, dtype, quant_range, tensor_dtype) -> None:
    theirs = Torchao(mapping, dtype, quant_range)
    x = usable_ranges(tensor_dtype)
    scale, zero_point = theirs.numbers(theirs.params(x, (1, 2)))
    ours = choose_qparams(
        x[:, 0], x[:, 1], dtype=dtype, scheme=scheme, convention=convention, quant_range=quant_range
    )
    assert n_different(ours.scale, scale) == 0
    assert np.array_equal(ours.zero_point, zero_point)
    assert (ours.quant_min, ours.quant_max) == theirs.ends


def some_params(theirs: Torchao, tensor_dtype: np.dtype[Any], n: int) -> tuple[tuple[Any, Any], np.ndarray]:
    """torchao's parameters of n ordinary ranges, and their elements: ties in the tensor's own dtype among them."""
    rng = np.random.default_rng(8)
    ends = np.sort(rng.standard_normal((n, 2)) * 10.0 ** rng.uniform(-2, 2, (n, 1)), axis=1).astype(tensor_dtype)
    params = theirs.params(ends, (1, 2))
    scale, zero_point = theirs.numbers(params)
    low, high = (end - zero_point.astype(np.int64) for end in theirs.ends)
    x = elements(scale.astype(np.float32), low, high)
    return params, x.astype(tensor_dtype)


@pytest.mark.oracle
@pytest.mark.parametrize("tensor_dtype", DTYPES, ids=str)
@pytest.mark.parametrize(
    ("convention", "mapping", "dtype"),
    [
        (convention, mapping, dtype)
        for convention, _, mapping in MAPPINGS
        for dtype in ("qint8", "quint8", "int4", "uint4")
        if convention == "torchao" or dtype in SIGNED
    ],
)
def test_codes_and_values(convention, mapping, dtype, tensor_dtype) -> None:
    theirs = Torchao(mapping, dtype, None)
    params, x = some_params(theirs, tensor_dtype, 50)
    scale, zero_point = theirs.numbers(params)
    q = QParams(scale, zero_point, dtype=dtype, convention=convention, ch_axis=0)
    assert q.scale.dtype == tensor_dtype
    block = (1, x.shape[1])
    assert_same(theirs, x, block, params, q)


def assert_same(theirs: Torchao, x: np.ndarray, block: tuple[int, ...], params: Any, q: QParams) -> None:
    """Codes, their values, and fake_quantize are torchao's, bit for bit."""
    codes = quantize(x, q)
    assert np.array_equal(codes, theirs.codes(x, block, params))
    assert n_different(dequantize(codes, q), theirs.values(codes, block, params)) == 0
    # integers have no -0.0, and our fake_quantize goes through them; torchao's goes without
    assert np.array_equal(fake_quantize(x, q), theirs.fake(x, block, params))


LAYOUTS = {
    "tensor": ({"granularity": "tensor"}, 0, (96, 256), (96, 256)),
    "channel": ({"granularity": "channel"}, 0, (96, 256), (1, 256)),
    "channel of axis 1": ({"granularity": "channel"}, 1, (96, 256), (96, 1)),
    "convolution": ({"granularity": "channel"}, 0, (24, 16, 3, 3), (1, 16, 3, 3)),
    "group": ({"group_size": 128}, 0, (96, 256), (1, 128)),
    "small group": ({"group_size": 32}, 0, (96, 256), (1, 32)),
    "group of axis 1": ({"group_size": 32}, 1, (96, 256), (32, 1)),
    "block": ({"group_size": (32, 64)}, 0, (96, 256), (32, 64)),
    "token": ({"granularity": "token"}, 0, (3, 32, 256), (1, 1, 256)),
    "token of a matrix": ({"granularity": "token"}, 0, (96, 256), (1, 256)),
}


@pytest.mark.oracle
@pytest.mark.parametrize("tensor_dtype", DTYPES, ids=str)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("convention", "scheme", "mapping"), MAPPINGS)
def test_every_granularity_from_tensor_to_report(convention, scheme, mapping, layout, tensor_dtype) -> None:
    options, axis, shape, block = LAYOUTS[layout]
    theirs = Torchao(mapping, "int4", None)
    rng = np.random.default_rng(len(layout))
    x = (rng.standard_normal(shape) * rng.uniform(0.01, 3, (shape[0], *(1 for _ in shape[1:])))).astype(tensor_dtype)
    report = pq.analyze(x, dtype="int4", scheme=scheme, convention=convention, ch_axis=axis, **options)
    params = theirs.params(x, block)
    scale, zero_point = theirs.numbers(params)
    q = report.qparams
    if layout == "group of axis 1":  # torchao has the groups of a column below each other
        scale, zero_point = scale.T, zero_point.T
    assert n_different(q.scale, scale) == 0
    assert np.array_equal(q.zero_point, zero_point)
    assert_same(theirs, x, block, params, q)
    assert np.array_equal(report.codes(), theirs.codes(x, block, params))
    assert_figures(report, x, theirs.values(report.codes(), block, params), axis)


def assert_figures(report: Any, x: np.ndarray, back: np.ndarray, axis: int) -> None:
    """The table's errors are those of torchao's values, summed in float64."""
    rows, values = (np.moveaxis(each.astype(np.float64), axis, 0).reshape(x.shape[axis], -1) for each in (x, back))
    noise = ((values - rows) ** 2).sum(1)
    np.testing.assert_allclose(report.table["mse"], noise / rows.shape[1], rtol=1e-5)
    np.testing.assert_allclose(report.table["max_abs_error"], np.abs(values - rows).max(1), rtol=1e-6)
    np.testing.assert_allclose(report.table["sqnr_db"], 10 * np.log10((rows**2).sum(1) / noise), rtol=1e-5)
    assert np.array_equal(report.table["min"], rows.min(1))
    zeroed = 100.0 * ((values == 0) & (rows != 0)).sum(1) / (rows != 0).sum(1)
    np.testing.assert_allclose(report.table["zeroed_pct"], zeroed)


@pytest.mark.oracle
def test_a_bfloat16_tensor_is_quantized_in_bfloat16() -> None:
    """The same weights in float32 have other scales, and by them other codes."""
    rng = np.random.default_rng(3)
    x = rng.standard_normal((64, 128)).astype(BFLOAT16)
    half = pq.analyze(x, dtype="int4", scheme="symmetric", group_size=32)
    single = pq.analyze(x.astype(np.float32), dtype="int4", scheme="symmetric", group_size=32)
    assert half.scheme.convention == "torchao"
    assert half.qparams.scale.dtype == BFLOAT16
    assert single.qparams.scale.dtype == FLOAT32
    assert 0 < (half.codes() != single.codes()).mean() < 0.05


def test_least_scales_are_the_dtype_s_smallest_normal_number() -> None:
    for dtype, least in ((FLOAT32, 2.0**-126), (BFLOAT16, 2.0**-126), (FLOAT16, 2.0**-14)):
        zero = np.zeros(1, dtype)
        q = choose_qparams(zero, zero, convention="torchao", scheme="symmetric")
        assert float(q.scale[0]) == least
        assert q.scale.dtype == dtype


@pytest.mark.oracle
@pytest.mark.parametrize("dtype", UNSIGNED)
def test_unsigned_symmetric_codes_lie_around_their_middle(dtype: str) -> None:
    theirs = Torchao("SYMMETRIC", dtype, None)
    x = np.array([[-1.0, 2.0]], np.float32)
    zero_point = int(theirs.params(x, (1, 2))[1])
    assert zero_point == (theirs.ends[1] + 1) // 2
    ours = choose_qparams(-1.0, 2.0, dtype=dtype, scheme="symmetric", convention="torchao")
    assert int(ours.zero_point) == zero_point


@pytest.mark.oracle
def test_what_torchao_cannot_cut_is_refused() -> None:
    theirs = Torchao("SYMMETRIC", "int4", None)
    x = np.ones((4, 100), np.float32)
    for size, block in ((32, (1, 32)), ((4, 32), (4, 32)), ((3, 100), (3, 100))):
        with pytest.raises(AssertionError, match="divisible"):
            theirs.params(x, block)
        with pytest.raises(QuantValueError, match="group_size must divide"):
            pq.analyze(x, dtype="int4", group_size=size)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"convention": "torchao", "reduce_range": True}, "turn reduce_range off"),
        ({"convention": "torchao", "dtype": "int16"}, "torchao has no int16"),
        ({"convention": "torchao-no-clip"}, "choose scheme 'symmetric'"),
        ({"convention": "torchao-no-clip", "dtype": "uint4", "scheme": "symmetric"}, "divides min by quant_min"),
    ],
)
def test_what_torchao_does_not_have_is_refused(options: dict[str, Any], says: str) -> None:
    assert says in str(allowed(QuantScheme(**options)))


@pytest.mark.parametrize("sample", samples("torchao.affine"), ids=str)
def test_samples(sample: Sample) -> None:
    spec = sample.spec
    convention, scheme = next((c, s) for c, s, mapping in MAPPINGS if mapping == spec["mapping"])
    x = sample["x"]
    assert x.dtype == np.dtype(spec["dtype"])
    report = pq.analyze(
        x, dtype=f"int{spec['bits']}", scheme=scheme, convention=convention, group_size=spec["group"], ch_axis=0
    )
    q = report.qparams
    assert (q.quant_min, q.quant_max) == (spec["qmin"], spec["qmax"])
    assert n_different(q.scale, sample["scale"]) == 0
    assert np.array_equal(q.zero_point, sample["zero_point"])
    codes = report.codes()
    assert np.array_equal(codes, sample["q"])
    assert n_different(dequantize(codes, q), sample["dq"]) == 0


@pytest.mark.parametrize("dtype", [BFLOAT16, FLOAT16], ids=str)
@pytest.mark.parametrize("options", [{}, {"group_size": 8}, {"group_size": (2, 8)}, {"granularity": "token"}], ids=str)
def test_half_width_tensors_with_values_that_are_not_finite(dtype: np.dtype[Any], options: dict[str, Any]) -> None:
    rng = np.random.default_rng(5)
    x = rng.standard_normal((6, 16)).astype(dtype)
    x[1, 3], x[2, 0], x[3, :] = np.nan, -np.inf, np.nan
    report = pq.analyze(x, dtype="int4", scheme="symmetric", convention="torchao", **options)
    assert report.table["n"].tolist() == [16, 15, 15, 0, 16, 16]
    assert report.summary["non_finite"] == 18
    codes, back = report.codes(), fake_quantize(x, report.qparams).astype(np.float64)
    assert codes[1, 3] == 0
    assert codes[2, 0] == -8
    assert (codes[3] == 0).all()
    row = x[1].astype(np.float64)
    keep = np.isfinite(row)
    assert report.table["mse"][1] == pytest.approx(((back[1] - row)[keep] ** 2).mean(), rel=1e-5)


def test_a_single_precision_tensor_through_half_width_parameters() -> None:
    """Its values are rounded to bfloat16 first, as a cast of the tensor would do."""
    rng = np.random.default_rng(6)
    x = rng.standard_normal((8, 64)).astype(np.float32)
    half = x.astype(BFLOAT16)
    q = pq.analyze(half, dtype="int4", scheme="symmetric", convention="torchao").qparams
    assert np.array_equal(quantize(x, q), quantize(half, q))
    assert n_different(fake_quantize(x, q), fake_quantize(half, q)) == 0
    cast, own = pq.analyze(x, qparams=q).table, pq.analyze(half, qparams=q).table
    assert cast.drop(columns="findings").equals(own.drop(columns="findings"))


def test_a_scale_held_at_the_least_of_its_dtype_is_a_finding() -> None:
    x = np.array([[-1e-5, 2e-5, 0.0, 1e-5]], np.float32)
    for dtype, held in ((FLOAT32, False), (BFLOAT16, False), (FLOAT16, True)):
        report = pq.analyze(x.astype(dtype), dtype="qint8", scheme="symmetric", convention="torchao")
        assert ("scale-floor" in {finding.rule for finding in report.findings}) is held
