"""BlockParams: layouts on every axis, what they refuse, and that the rules explain what they compute."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from core.runtimes.bits import n_different
from core.runtimes.block_cases import block_params

import perchq_widget as pq
from perchq_widget.core.blockscaled import BlockParams, get_format
from perchq_widget.core.conventions import CONVENTIONS
from perchq_widget.core.elements import dequantize, fake_quantize, quantize
from perchq_widget.core.errors import QuantTypeError, QuantValueError
from perchq_widget.core.grids import BLOCK_DTYPES
from perchq_widget.core.layouts import Units
from perchq_widget.core.trace import Tracer, follow, silent

E8M0 = np.dtype(ml_dtypes.float8_e8m0fnu)
FORMATS = [(rules.name, form.dtype) for rules in CONVENTIONS.values() for form in rules.block_formats]


def tensor(*shape: int) -> np.ndarray:
    return np.random.default_rng(len(shape)).standard_normal(shape).astype(np.float32)


def test_every_format_has_a_convention_by_default() -> None:
    assert {dtype for _, dtype in FORMATS} == set(BLOCK_DTYPES)
    for dtype in BLOCK_DTYPES:
        assert pq.analyze(tensor(4, 64), dtype=dtype).qparams.dtype == dtype


@pytest.mark.parametrize(("convention", "dtype"), FORMATS)
def test_blocks_run_along_each_channel_whatever_its_axis(convention: str, dtype: str) -> None:
    """A channel's elements in order, cut into blocks: the same as of the tensor with that axis first, as a matrix."""
    x = tensor(3, 4, 64)
    for axis in (0, 1, -2, -3):
        moved = np.ascontiguousarray(np.moveaxis(x, axis, 0))
        matrix = moved.reshape(len(moved), -1)
        params = block_params(x, dtype=dtype, convention=convention, ch_axis=axis % 3)
        plain = block_params(matrix, dtype=dtype, convention=convention)
        flat = params.ch_axis is None
        if flat and axis % 3 != 0:  # blocks of the flattened tensor lie otherwise
            continue
        assert n_different(params.scale.view(np.uint8), plain.scale.view(np.uint8)) == 0
        codes = np.moveaxis(quantize(x, params), axis, 0).reshape(matrix.shape)
        assert np.array_equal(codes, quantize(matrix, plain))
        values = np.moveaxis(fake_quantize(x, params), axis, 0).reshape(matrix.shape)
        assert n_different(np.ascontiguousarray(values), fake_quantize(matrix, plain)) == 0


@pytest.mark.parametrize(("convention", "dtype"), FORMATS)
def test_fake_quantize_is_there_and_back(convention: str, dtype: str) -> None:
    x = tensor(6, 192)
    params = block_params(x, dtype=dtype, convention=convention)
    assert n_different(dequantize(quantize(x, params), params), fake_quantize(x, params)) == 0
    assert quantize(x, params).dtype == params.code_dtype


@pytest.mark.parametrize(("convention", "dtype"), FORMATS)
def test_what_is_not_finite_is_left_out(convention: str, dtype: str) -> None:
    """As zeros to the scales; NaN stays in values, infinities saturate."""
    x = tensor(6, 192)
    x[1, 7], x[2, 8], x[3, 9] = np.nan, np.inf, -np.inf
    params = block_params(x, dtype=dtype, convention=convention)
    plain = block_params(np.where(np.isfinite(x), x, np.float32(0)), dtype=dtype, convention=convention)
    assert params == plain
    values = fake_quantize(x, params)
    assert np.isnan(values[1, 7])
    assert np.isfinite(np.delete(values, 199)).all()
    low, high = (np.repeat(end.reshape(-1), params.group_size).reshape(x.shape) for end in params.represented())
    assert values[2, 8] == pytest.approx(high[2, 8])
    assert values[3, 9] == pytest.approx(low[3, 9])
    report = pq.analyze(x, dtype=dtype, convention=convention)
    assert report.summary["non_finite"] == 3
    assert np.isfinite(report.summary["sqnr_db"])


@pytest.mark.parametrize(("convention", "dtype"), FORMATS)
def test_table_is_that_of_the_values(convention: str, dtype: str) -> None:
    x = tensor(6, 192)
    report = pq.analyze(x, dtype=dtype, convention=convention)
    error = (fake_quantize(x, report.qparams) - x).astype(np.float64)
    np.testing.assert_allclose(report.table["mse"], (error**2).mean(1), rtol=1e-5)
    np.testing.assert_allclose(report.table["max_abs_error"], np.abs(error).max(1), rtol=1e-6)
    assert (report.table["scale"] >= 0).all()


@pytest.mark.parametrize(("convention", "dtype"), FORMATS)
def test_all_zero_tensors(convention: str, dtype: str) -> None:
    x = np.zeros((2, 64), np.float32)
    if dtype == "nvfp4" and convention != "compressed-tensors":
        with pytest.raises(QuantValueError, match="rescale it"):
            block_params(x, dtype=dtype, convention=convention)
        return
    report = pq.analyze(x, dtype=dtype, convention=convention)
    assert (fake_quantize(x, report.qparams) == 0).all()
    assert report.table["sqnr_db"].tolist() == [np.inf, np.inf]


@pytest.mark.parametrize(
    ("dtype", "bits"),
    [("mxfp4", 4.25), ("mxfp6_e2m3fn", 6.25), ("mxfp8_e5m2", 8.25), ("mxint8", 8.25), ("nvfp4", 4.5 + 32 / 768),
     ("nf4", 4.5), ("q8_0", 8.5), ("q4_0", 4.5), ("q4_1", 5.0), ("q5_0", 5.5), ("q5_1", 6.0), ("gguf_mxfp4", 4.25)],
)  # fmt: skip
def test_bits_per_weight_count_scales_and_minima(dtype: str, bits: float) -> None:
    assert pq.analyze(tensor(4, 192), dtype=dtype).summary["bits_per_weight"] == pytest.approx(bits)


@pytest.mark.parametrize(("convention", "dtype"), FORMATS)
@pytest.mark.parametrize("scale_rule", ["floor", "even", "ceil", "rceil"])
def test_rules_tell_what_they_compute(convention: str, dtype: str, scale_rule: str) -> None:
    """One block through the rule with a tracer: the same scale, in steps whose formulas name known numbers."""
    form = get_format(dtype, convention)
    x = tensor(form.block_size, 1)
    overall = None
    if form.global_scale is not None:
        told = Tracer({"tensor_largest": np.float32(5)})
        overall = form.global_scale(np.float32(5), told)
        assert told.steps[-1].name == "global_scale"
    tracer = Tracer({"global_scale": overall} if overall is not None else {})
    found = form.fit(x, scale_rule, overall, tracer)
    assert n_different(found.scale.view(np.uint8), form.fit(x, scale_rule, overall, silent).scale.view(np.uint8)) == 0
    names = [step.name for step in tracer.steps]
    assert {"scale", "block_scale"} & set(names)
    assert all(step.formula and step.result for step in tracer.steps)
    assert "largest" in names or "extreme" in names or "max" in names


@pytest.mark.parametrize(("convention", "dtype"), FORMATS)
def test_kernels_tell_what_they_compute(convention: str, dtype: str) -> None:
    """The kernel's steps in words give the same level as the kernel on arrays, for ordinary values and zero."""
    x = tensor(2, 128)
    x[0, 3] = 0
    params = block_params(x, dtype=dtype, convention=convention)
    size = params.group_size
    for column in range(0, 128, 3):
        block = column // size
        index = np.index_exp[block : block + 1] if params.ch_axis is None else np.index_exp[0:1, block : block + 1]
        one = params.expand(Units(index, (1, 1)), 0)
        known = {"x": x[0, column], "scale": one.scale[0, 0], "grid": params.grid, "zero_point": one.zero[0, 0]}
        for name in ("multiplier", "minimum", "origin"):
            value = getattr(one, name)
            known |= {} if value is None else {name: value[0, 0]}
        tracer = Tracer(known)
        follow(params.kernel.formulas, tracer)
        level = tracer.known["level"]
        out = np.empty((1, 1), np.float32)
        params.kernel.levels(x[:1, column : column + 1], one, out)
        assert level == out[0, 0]
        tracer.known["clamped"] = np.clip(level, one.low[0, 0], one.high[0, 0])
        follow((params.decoder.formula,), tracer)
        assert tracer.known["dequantized"] == fake_quantize(x, params)[0, column]


def test_given_scales_make_values() -> None:
    scale = np.array([[0.5, 2.0]], np.float32)
    params = pq.BlockParams(scale, dtype="mxfp4", convention="ocp", ch_axis=0)
    x = np.full((1, 64), 1.3, np.float32)
    assert fake_quantize(x, params)[0, [0, -1]].tolist() == [1.5, 1.0]
    assert params.scale.dtype == E8M0
    assert params.represented()[1].tolist() == [[3.0, 12.0]]
    assert params == pq.BlockParams(scale.astype(E8M0), dtype="mxfp4", convention="ocp", ch_axis=0)
    assert params != pq.BlockParams(scale * 2, dtype="mxfp4", convention="ocp", ch_axis=0)
    assert not params.scale.flags.writeable


def test_given_parameters_give_the_same_table() -> None:
    x = tensor(6, 192)
    for convention, dtype in FORMATS:
        first = pq.analyze(x, dtype=dtype, convention=convention)
        again = pq.analyze(x, qparams=first.qparams)
        assert again.table.equals(first.table), (convention, dtype)
        assert again.scheme.dtype == dtype


def test_a_stored_scale_serves_where_no_multiplier_is_given() -> None:
    x = tensor(4, 64)
    fitted = block_params(x, dtype="q8_0")
    stored = pq.BlockParams(fitted.scale, dtype="q8_0", convention="gguf", ch_axis=0)
    assert stored.multiplier is None
    assert np.abs(quantize(x, stored).astype(int) - quantize(x, fitted)).max() <= 1


MX = {"dtype": "mxfp4", "convention": "ocp", "ch_axis": 0}
NVFP4 = {"dtype": "nvfp4", "convention": "modelopt", "ch_axis": 0}
BAD = [
    (([[1.0]],), {"dtype": "mxfp4", "convention": "gguf", "ch_axis": 0}, ValueError, "gguf has no blocks of mxfp4"),
    (([[1.0]],), {"dtype": "mxfp5", "convention": "ocp", "ch_axis": 0}, ValueError, "dtype must be one of"),
    (([1.0],), MX, ValueError, "shape .C, G. with ch_axis"),
    (([[1.0]],), {"dtype": "mxfp4", "convention": "ocp"}, ValueError, "shape .C, G. with ch_axis"),
    (([[1.0]],), {"dtype": "nf4", "convention": "bitsandbytes", "ch_axis": 0}, ValueError, "without ch_axis"),
    (([[0.3]],), MX, ValueError, "numbers of float8_e8m0fnu, got 0.3"),
    (([[0.0]],), MX, ValueError, "numbers of float8_e8m0fnu, got 0.0"),
    (([[1.0]],), {"dtype": "mxfp4", "convention": "ocp", "ch_axis": True}, TypeError, "ch_axis must be an integer"),
    (([[1.0]],), MX | {"group_size": 16}, ValueError, "must be 32, got 16"),
    (([[1.0]],), MX | {"minimum": [[0]]}, TypeError, "has no minimum"),
    (([[1.0]],), MX | {"global_scale": 1}, TypeError, "has no global_scale"),
    (([[1.0]],), MX | {"origin": [[1.0]]}, TypeError, "has no origin"),
    (([[1.0]],), {"dtype": "q4_1", "convention": "gguf", "ch_axis": 0}, TypeError, "needs its minimum"),
    (([[1.0]],), {"dtype": "q4_1", "convention": "gguf", "ch_axis": 0, "minimum": [0.0]}, ValueError, "scale's shape"),
    (([[1.0]],), NVFP4, TypeError, "needs its global_scale"),
    (([[1.0]],), NVFP4 | {"global_scale": 0.0}, ValueError, "finite and above 0"),
    (([[1.0]],), NVFP4 | {"global_scale": np.nan}, ValueError, "finite and above 0"),
    (([[np.nan]],), NVFP4 | {"global_scale": 1.0}, ValueError, "numbers of float8_e4m3fn, got nan"),
    ((np.array([[np.nan]], E8M0),), MX, ValueError, "scale must be finite"),
    (([[np.inf]],), {"dtype": "q8_0", "convention": "gguf", "ch_axis": 0}, ValueError, "scale must be finite, got inf"),
    (([[1.0]],), {"dtype": "mxfp4", "convention": "ocp", "chaxis": 0}, TypeError, "did you mean 'ch_axis'"),
    ((np.empty((0, 0)),), MX, ValueError, "shape .C, G."),
]


@pytest.mark.parametrize(("arguments", "keywords", "error", "message"), BAD)
def test_bad_parameters(arguments: tuple[object], keywords: dict[str, object], error: type, message: str) -> None:
    with pytest.raises(error, match=message) as found:
        BlockParams(*arguments, **keywords)  # type: ignore[arg-type]
    assert isinstance(found.value, (QuantValueError, QuantTypeError))


def test_tensors_that_do_not_fit() -> None:
    params = block_params(tensor(4, 64), dtype="mxfp4")
    with pytest.raises(QuantValueError, match=r"needs scales of shape \(4, 4\) per group of 32"):
        quantize(tensor(4, 128), params)
    with pytest.raises(QuantTypeError, match="codes of mxfp4 must be float4_e2m1fn, got uint8"):
        dequantize(np.zeros((4, 64), np.uint8), params)
    nf4 = block_params(tensor(4, 64), dtype="nf4")
    with pytest.raises(QuantValueError, match=r"codes of nf4 must lie in 0\.\.15, got 0\.\.16"):
        dequantize(np.resize(np.arange(17, dtype=np.uint8), (4, 64)), nf4)


def test_settings_that_blocks_do_not_have() -> None:
    x = tensor(4, 64)
    with pytest.raises(QuantValueError, match="leave ranges out"):
        pq.analyze(x, dtype="mxfp4", ranges=(-1.0, 1.0))
    with pytest.raises(QuantValueError, match="clip_ratio must be 1 for mxfp4"):
        pq.analyze(x, dtype="mxfp4", clip_ratio=0.9)
    with pytest.raises(QuantValueError, match="scale_rule 'up'"):
        pq.analyze(x, dtype="mxfp4", scale_rule="up")
    with pytest.raises(QuantValueError, match="choose scheme 'symmetric'"):
        pq.analyze(x, dtype="nf4", scheme="affine")
    with pytest.raises(QuantValueError, match="choose scheme 'affine'"):
        pq.analyze(x, dtype="q4_1", scheme="symmetric")
    with pytest.raises(QuantValueError, match="choose group_size 32"):
        pq.analyze(x, dtype="mxfp4", group_size=16)
    with pytest.raises(QuantValueError, match="pytorch has no nf4; choose convention 'bitsandbytes'"):
        pq.analyze(x, dtype="nf4", convention="pytorch")


@pytest.mark.parametrize("dtype", ["mxfp4", "mxint8", "nvfp4", "nf4"])
def test_a_last_short_block(dtype: str) -> None:
    """The runtimes pad it with zeros or take it as it is: the same scale either way."""
    x = tensor(4, 72)
    params = block_params(x, dtype=dtype)
    size = params.group_size
    if params.ch_axis is None:
        assert params.scale.shape == (-(-x.size // size),)
    else:
        padded = np.zeros((4, -(-72 // size) * size), np.float32)
        padded[:, :72] = x
        whole = block_params(padded, dtype=dtype)
        assert n_different(params.scale.view(np.uint8), whole.scale.view(np.uint8)) == 0
        assert n_different(fake_quantize(x, params), np.ascontiguousarray(fake_quantize(padded, whole)[:, :72])) == 0
    assert np.isfinite(pq.analyze(x, dtype=dtype).summary["sqnr_db"])


def test_half_precision_input_is_taken_as_float32() -> None:
    wide = tensor(4, 64)
    for kind in (np.float16, ml_dtypes.bfloat16, np.float64):
        x = wide.astype(kind)
        for dtype in ("mxfp4", "nvfp4", "nf4", "q4_1"):
            assert block_params(x, dtype=dtype) == block_params(x.astype(np.float32), dtype=dtype)


@pytest.mark.parametrize("bits", [-1, 2.5, True, "8"])
def test_bits_of_scales_are_a_number_of_bits(bits: Any) -> None:
    with pytest.raises(pq.QuantError, match="scale_bits must be"):
        BlockParams(np.ones(2, np.float32), dtype="nf4", convention="bitsandbytes", scale_bits=bits)


def test_bits_of_scales_are_part_of_the_parameters_and_of_the_code_that_gives_them_again() -> None:
    from perchq_widget.report.params_code import params_code

    plain, fewer = (
        BlockParams(np.ones(2, np.float32), dtype="nf4", convention="bitsandbytes", scale_bits=bits)
        for bits in (None, 48)
    )
    assert (plain.overhead_bits, fewer.overhead_bits) == (64, 48)
    assert plain != fewer
    assert params_code(fewer).options["scale_bits"] == 48
    assert "scale_bits" not in params_code(plain).options
