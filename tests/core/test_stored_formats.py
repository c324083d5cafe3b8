"""Formats that are given and never chosen: the block types of GGUF whose scales llama.cpp searches for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import perchq_widget as pq
from perchq_widget.core.blockscaled import get_format
from perchq_widget.core.conventions import CONVENTIONS, allowed, conventions_with
from perchq_widget.core.defaults import settled
from perchq_widget.core.elements import code_limits
from perchq_widget.core.grids import DTYPES, STORED_DTYPES, CodebookGrid, IntGrid, canonical_dtype
from perchq_widget.core.schemes import QuantScheme
from perchq_widget.panel.menus import dtypes_for
from perchq_widget.study.tensor import scheme_of

WITH_MINIMUM = ("q2_k", "q4_k", "q5_k")
#: Bits per weight of the files.
BITS = {
    "q2_k": 2.625, "q3_k": 3.4375, "q4_k": 4.5, "q5_k": 5.5, "q6_k": 6.5625, "tq1_0": 1.6875, "tq2_0": 2.0625,
    "gguf_nvfp4": 4.5, "iq2_xxs": 2.0625, "iq2_xs": 2.3125, "iq2_s": 2.5625, "iq3_xxs": 3.0625, "iq3_s": 3.4375,
    "iq1_s": 1.5625, "iq1_m": 1.75, "iq4_nl": 4.5, "iq4_xs": 4.25,
}  # fmt: skip


def given(dtype: str, scale: Any, minimum: Any = None, ch_axis: int | None = 0) -> pq.BlockParams:
    """The parameters, with a minimum where the format has one."""
    some = np.zeros_like(scale) if minimum is None else minimum
    own = {"minimum": some} if dtype in WITH_MINIMUM else {}
    return pq.BlockParams(scale, dtype=dtype, convention="gguf", ch_axis=ch_axis, **own)


def random_params(dtype: str, shape: tuple[int, ...] = (4, 3), seed: int = 0) -> pq.BlockParams:
    """Scales of both signs, and minima."""
    rng = np.random.default_rng(seed)
    scale, minimum = rng.normal(0, 0.01, (2, *shape)).astype(np.float32)
    return given(dtype, scale, minimum, 0 if len(shape) == 2 else None)


def test_no_list_of_choices_has_them() -> None:
    assert set(BITS) == set(STORED_DTYPES)
    assert not set(STORED_DTYPES) & {*DTYPES, *dtypes_for("tensor"), *dtypes_for("ranges")}
    for dtype in STORED_DTYPES:
        assert canonical_dtype(dtype) == dtype
        assert conventions_with(dtype) == ()
        assert not any(dtype in rules.formats for rules in CONVENTIONS.values())


@pytest.mark.parametrize("dtype", STORED_DTYPES)
def test_none_is_chosen_from_values(dtype: str) -> None:
    x = np.ones((4, 256), np.float32)
    says = f"searches for the scales of {dtype}.*open a file that holds it .pq.open_source.*choose 'q4_0'"
    for call in (
        lambda: pq.analyze(x, dtype=dtype),
        lambda: pq.analyze(x, dtype=dtype, ranges=(-1, 1)),
        lambda: pq.analyze(x, dtype=dtype, convention="ocp", granularity="channel", observer="mse"),
        lambda: pq.convention_diff(x, "gguf", "ocp", dtype=dtype),
        lambda: pq.calculate("a,-1,1,0.5", dtype=dtype),
        lambda: pq.choose_qparams(-1, 1, dtype=dtype),
    ):
        with pytest.raises(pq.QuantValueError, match=says):
            call()
    with pytest.raises(pq.QuantValueError, match=r"its parameters are pq\.BlockParams"):
        pq.QParams(1.0, 0, dtype=dtype, convention="gguf")
    with pytest.raises(pq.QuantValueError, match="give BlockParams"):
        get_format(dtype, "gguf").fit(x, None, None, lambda *told: told[2])


def test_every_convention_says_the_same() -> None:
    for name in CONVENTIONS:
        for scheme in ("affine", "symmetric"):
            for granularity, size in (("channel", None), ("tensor", None), ("group", 32), ("token", None)):
                asked = QuantScheme("iq3_s", scheme, granularity, convention=name, group_size=size)
                assert "searches for the scales of iq3_s" in str(allowed(asked))


@pytest.mark.parametrize("dtype", STORED_DTYPES)
def test_every_code_comes_back(dtype: str) -> None:
    q = random_params(dtype)
    low, high = code_limits(q)
    codes = np.resize(np.arange(low, high + 1), (4, 3 * q.group_size)).astype(q.code_dtype)
    values = pq.dequantize(codes, q)
    again = pq.quantize(values, q)
    second_zero = (codes == 8) & (dtype == "gguf_nvfp4")
    assert np.array_equal(again[~second_zero], codes[~second_zero])
    assert (again[second_zero] == 0).all()
    report = pq.analyze(values, qparams=q)
    assert report.summary["max_abs_error"] == 0
    assert report.summary["bits_per_weight"] == BITS[dtype]
    assert np.array_equal(report.codes(), again)
    for beyond in (low - 1, high + 1):
        if np.iinfo(q.code_dtype).min <= beyond:
            with pytest.raises(pq.QuantValueError, match=f"must lie in {low}..{high}"):
                pq.dequantize(np.full(codes.shape, beyond, np.int16), q)


@pytest.mark.parametrize("dtype", STORED_DTYPES)
def test_what_a_scheme_says_of_them(dtype: str) -> None:
    q = random_params(dtype)
    scheme = scheme_of(q)
    assert scheme == settled(dtype)
    assert (scheme.dtype, scheme.family, scheme.granularity) == (dtype, "block", "group")
    assert scheme.group_size == STORED_DTYPES[dtype][1]
    assert scheme.scheme == ("affine" if dtype in WITH_MINIMUM else "symmetric")
    assert type(scheme.grid) in (IntGrid, CodebookGrid)
    assert (scheme.quant_min, scheme.quant_max) == (q.quant_min, q.quant_max)
    zero = pq.dequantize(pq.quantize(np.zeros((4, 3 * q.group_size)), q), q)
    assert q.keeps_zero == bool((zero == 0).all())


@pytest.mark.parametrize("dtype", STORED_DTYPES)
def test_blocks_of_a_tensor_of_one_axis(dtype: str) -> None:
    size = STORED_DTYPES[dtype][1]
    q = random_params(dtype, (5,))
    assert q.ch_axis is None
    x = np.random.default_rng(1).normal(0, 0.1, 5 * size).astype(np.float32)
    values = pq.fake_quantize(x, q)
    rows = given(dtype, q.scale[:, None], None if q.minimum is None else q.minimum[:, None])
    assert np.array_equal(values.reshape(5, size), pq.fake_quantize(x.reshape(5, size), rows))
    report = pq.analyze(values, qparams=q)
    assert report.summary["max_abs_error"] == 0
    assert np.array_equal(report.table["scale"], np.repeat(np.abs(q.scale.astype(np.float64)), size))
    assert len(report.groups()) == 5


@pytest.mark.parametrize("dtype", [*WITH_MINIMUM, "q4_1", "q5_1"])
def test_values_beside_a_large_minimum_come_back(dtype: str) -> None:
    """Steps from a thousandth of what float32 has there to thousands of it: codes may be lost, values are not."""
    rng = np.random.default_rng(7)
    n_blocks, kind = 4000, np.float16 if dtype.startswith(("q4_1", "q5_1")) else np.float32
    minimum = rng.normal(0, 1000, (1, n_blocks)).astype(kind)
    minimum[:, ::5] = -np.exp2(rng.integers(-4, 12, minimum[:, ::5].shape))  # just below, the steps are half as wide
    tiny = np.spacing(np.abs(minimum.astype(np.float32)))
    scale = (tiny * np.exp2(rng.uniform(-10, 10, minimum.shape))).astype(kind)
    scale[:, :400] = (tiny * rng.choice([0.5, 1, 1.5, 2], minimum.shape).astype(np.float32)).astype(kind)[:, :400]
    q = pq.BlockParams(scale, dtype=dtype, convention="gguf", ch_axis=0, minimum=minimum)
    codes = rng.integers(q.quant_min, q.quant_max + 1, (1, n_blocks * q.group_size)).astype(q.code_dtype)
    values = pq.dequantize(codes, q)
    again = pq.quantize(values, q)
    assert np.array_equal(pq.dequantize(again, q), values)
    clear = np.repeat(scale.astype(np.float32) > 4 * tiny, q.group_size, axis=1)
    assert clear.sum() > codes.size // 4
    assert np.array_equal(again[clear], codes[clear])
    report = pq.analyze(values, qparams=q)
    assert (report.summary["max_abs_error"], report.summary["clipped"]) == (0, 0)


def test_a_fitted_q4_1_still_rounds_as_the_library_does() -> None:
    x = np.random.default_rng(2).normal(0, 1, (4, 64)).astype(np.float32)
    fitted = pq.analyze(x, dtype="q4_1").qparams
    assert fitted.kernel is get_format("q4_1", "gguf").kernel
    bare = pq.BlockParams(fitted.scale, dtype="q4_1", convention="gguf", ch_axis=0, minimum=fitted.minimum)
    assert bare.kernel is not fitted.kernel
    assert bare.kernel.formulas[:-1] == fitted.kernel.formulas[:-1]


ONES = np.ones((4, 3))
BAD = [
    ((ONES,), {"dtype": "q4_k", "convention": "ocp", "ch_axis": 0}, ValueError, "ocp has no blocks of q4_k.*'gguf'"),
    ((ONES,), {"dtype": "q4_k"}, TypeError, "minimum: q4_k needs its minimum"),
    ((ONES,), {"dtype": "q6_k", "minimum": ONES}, TypeError, "minimum: q6_k has no minimum"),
    ((ONES,), {"dtype": "q6_k", "multiplier": ONES}, TypeError, "multiplier: q6_k has no multiplier"),
    ((ONES,), {"dtype": "q4_k", "minimum": ONES, "origin": ONES}, TypeError, "origin: q4_k has no origin"),
    ((ONES,), {"dtype": "q6_k", "global_scale": 1.0}, TypeError, "global_scale: q6_k has no global_scale"),
    ((ONES,), {"dtype": "q6_k", "group_size": 32}, ValueError, "group_size of q6_k must be 16, got 32"),
    ((ONES,), {"dtype": "q6_k", "ch_axis": None}, ValueError, r"\(blocks,\) without ch_axis"),
    ((ONES[0],), {"dtype": "q6_k"}, ValueError, r"\(C, G\) with ch_axis"),
    ((ONES[0],), {"dtype": "mxfp4", "convention": "ocp", "ch_axis": None}, ValueError, r"\(C, G\) with ch_axis"),
    ((ONES * np.nan,), {"dtype": "iq2_s"}, ValueError, "scale must be finite, got nan"),
    ((ONES,), {"dtype": "q4_k", "minimum": ONES * np.inf}, ValueError, "minimum must be finite, got inf"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "keywords", "error", "message"), BAD)
def test_bad_parameters(arguments: Any, keywords: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message) as found:
        pq.BlockParams(*arguments, **{"convention": "gguf", "ch_axis": 0, **keywords})
    assert isinstance(found.value, pq.QuantError)


def test_a_list_that_its_bits_do_not_fill() -> None:
    q = random_params("iq2_xs")
    assert code_limits(q) == (0, 5)
    assert isinstance(q.grid, CodebookGrid)
    assert (q.grid.bits, q.grid.n_levels, q.grid.last_code) == (3, 6, 5)
