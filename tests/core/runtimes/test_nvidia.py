"""ModelOpt against nvidia-modelopt on the CPU; TensorRT, which has no CPU, against its documents' formulas."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from core.runtimes.bits import BFLOAT16, fitted, float_elements, from_torch, n_different, to_torch
from core.runtimes.cases import elements, ranges
from needs import oracle
from samples_of import Sample, samples

from perchq_widget.core.conventions import CONVENTIONS
from perchq_widget.core.elements import dequantize, fake_quantize, quantize
from perchq_widget.core.errors import QuantValueError
from perchq_widget.core.grids import float_grid
from perchq_widget.core.qparams import QParams, choose_qparams

SIGNED = {"qint8": 8, "int16": 16, "int7": 7, "int4": 4, "int2": 2}
ZERO = np.float32(0)  # added, it makes -0.0 into 0.0: ModelOpt's integers keep the sign of zero, ours have none


@pytest.fixture(scope="module")
def tensor_quant() -> Any:
    """modelopt's module; its import warns about what it imports, and takes seconds."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return oracle("modelopt.torch.quantization.tensor_quant")


@pytest.fixture(scope="module")
def quantizers(tensor_quant: Any) -> Any:
    """modelopt's modules, which choose the ranges too."""
    del tensor_quant
    return oracle("modelopt.torch.quantization.nn")


def tied_ranges(quant_max: float) -> tuple[np.ndarray, np.ndarray]:
    """10,000 ranges, every tenth one with a multiplier that is a power of two, so that products on ties are exact."""
    low, high = ranges()
    exponents = np.random.default_rng(6).integers(-10, 10, len(low[::10]))
    high[::10] = np.ldexp(quant_max, exponents).astype(np.float32)
    low[::10] = -high[::10] / 2
    return low, high


@pytest.mark.oracle
@pytest.mark.parametrize("narrow_range", [False, True])
@pytest.mark.parametrize("dtype", SIGNED)
def test_integers_are_modelopt_s(tensor_quant: Any, dtype: str, narrow_range: bool) -> None:
    torch = oracle("torch")
    quant_max = float((1 << SIGNED[dtype] - 1) - 1)
    low, high = tied_ranges(quant_max)
    ours = choose_qparams(
        low, high, dtype=dtype, scheme="symmetric", convention="modelopt", narrow_range=narrow_range, ch_axis=0
    )
    assert (ours.quant_min, ours.quant_max) == (-quant_max - (not narrow_range), quant_max)
    amax = torch.from_numpy(np.maximum(np.abs(low), np.abs(high)))
    known = (amax > 2.0**-24).numpy()
    assert ours.multiplier is not None
    assert n_different(ours.multiplier[known], (torch.tensor(quant_max) / amax).numpy()[known]) == 0
    x = elements(ours.scale, ours.quant_min, ours.quant_max)
    assert x.size == 1_000_000
    with np.errstate(over="ignore"):
        x = np.where(np.isfinite(x), x, np.float32(1))
    theirs = tensor_quant._tensor_quant(torch.from_numpy(x), amax[:, None], SIGNED[dtype], False, narrow_range).numpy()
    codes = quantize(x, ours)
    assert n_different(dequantize(codes, ours), theirs + ZERO) == 0
    assert n_different(fake_quantize(x, ours), theirs + ZERO) == 0
    scaled = torch.from_numpy(x[known]) * to_torch(torch, ours.multiplier[known])[:, None]
    levels = tensor_quant.int_cast_ste(scaled, SIGNED[dtype], False, narrow_range).numpy()
    assert np.array_equal(codes[known], levels)


@pytest.mark.oracle
def test_the_scale_is_the_step_size(quantizers: Any) -> None:
    torch = oracle("torch")
    low, high = tied_ranges(127.0)
    amax = np.maximum(np.abs(low), np.abs(high))
    quantizer = quantizers.TensorQuantizer(amax=torch.from_numpy(amax))
    ours = choose_qparams(low, high, dtype="qint8", scheme="symmetric", convention="modelopt", ch_axis=0)
    known = amax > 2.0**-24  # below, ModelOpt's codes are all 0 and its divisor is 1
    assert n_different(ours.scale[known], quantizer.step_size.numpy()[known]) == 0
    assert (ours.scale[~known] == 1).all()


@pytest.mark.oracle
def test_float8_is_modelopt_s(tensor_quant: Any) -> None:
    torch = oracle("torch")
    low, high = tied_ranges(448.0)
    ours = choose_qparams(low, high, dtype="float8_e4m3fn", convention="modelopt", ch_axis=0)
    amax = torch.from_numpy(np.maximum(np.abs(low), np.abs(high)))
    safe = torch.where(amax <= 2.0**-24, torch.ones_like(amax), amax)
    assert ours.multiplier is not None
    assert n_different(ours.multiplier, (448.0 / safe).numpy()) == 0
    assert n_different(ours.scale, (1 / (448.0 / safe)).numpy()) == 0
    x = float_elements(ours.scale, float_grid("float8_e4m3fn"))
    theirs = tensor_quant._fp8_eager(torch.from_numpy(x), amax[:, None]).numpy()
    codes = quantize(x, ours)
    assert n_different(dequantize(codes, ours), theirs) == 0
    assert n_different(fake_quantize(x, ours), theirs) == 0
    product = torch.from_numpy(x) * to_torch(torch, ours.multiplier)[:, None]
    cast = product.clamp(-448.0, 448.0).to(torch.float8_e4m3fn)
    assert n_different(codes, from_torch(torch, cast)) == 0


GRANULARITIES: dict[str, tuple[Any, tuple[int, ...], dict[str, Any]]] = {  # name: (group_size, shape, ModelOpt's words)
    "tensor": (None, (24, 250), {"axis": None}),
    "channel": (None, (24, 250), {"axis": 0}),
    "group": (32, (24, 250), {"block_sizes": {-1: 32}}),
    "block": ((8, 64), (20, 250), {"block_sizes": {-1: 64, -2: 8}}),
    "token": (None, (3, 8, 250), {"block_sizes": {-1: None}}),
}


@pytest.mark.oracle
@pytest.mark.filterwarnings("ignore:Using a non-tuple sequence:UserWarning")  # ModelOpt on short last blocks
@pytest.mark.parametrize("kind", [np.dtype(np.float32), BFLOAT16], ids=str)
@pytest.mark.parametrize("dtype", ["qint8", "int4", "float8_e4m3fn"])
@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_quantizers_at_every_granularity(quantizers: Any, granularity: str, dtype: str, kind: np.dtype[Any]) -> None:
    torch, config = oracle("torch"), oracle("modelopt.torch.quantization.config")
    group_size, shape, words = GRANULARITIES[granularity]
    x = (np.random.default_rng(4).standard_t(3, shape) * np.logspace(-2, 2, shape[-2])[:, None]).astype(kind)
    x[..., 3, :] = 0
    bits = (4, 3) if dtype == "float8_e4m3fn" else SIGNED[dtype]
    quantizer = quantizers.TensorQuantizer(config.QuantizerAttributeConfig(num_bits=bits, **words))
    theirs = from_torch(torch, quantizer(to_torch(torch, x)))
    settings = {"dtype": dtype, "granularity": granularity, "group_size": group_size}
    ours = fitted(x, scheme="symmetric", convention="modelopt", **settings)
    found = fake_quantize(x, ours).astype(kind)  # ModelOpt gives the input's dtype back, from float32
    signs = kind.type(0)
    assert n_different(found + signs, theirs + signs) == 0


@pytest.mark.parametrize("sample", samples("modelopt.int8"), ids=str)
def test_samples(sample: Sample) -> None:
    amax = sample["amax"][:, 0]
    qparams = choose_qparams(
        -amax, amax, dtype="qint8", scheme="symmetric", convention="modelopt", ch_axis=0, **sample.spec
    )
    assert n_different(fake_quantize(sample["x"], qparams), sample["fake_quant"] + ZERO) == 0


def test_every_value_of_a_range_without_width_is_zero() -> None:
    for dtype in ("qint8", "float8_e4m3fn"):
        settings = {"dtype": dtype, "scheme": "symmetric", "convention": "modelopt"}
        qparams = choose_qparams([0.0, -5e-8], [0.0, 5e-8], ch_axis=0, **settings)
        assert not dequantize(quantize(np.array([[0.0], [5e-8]], np.float32), qparams), qparams).any()


def test_parameters_without_a_multiplier_divide_by_their_scale() -> None:
    qparams = QParams(0.1, 0, dtype="qint8", convention="modelopt")
    x = np.float32([0.25, -0.35, 100])
    assert quantize(x, qparams).tolist() == np.clip(np.rint(x / np.float32(0.1)), -128, 127).tolist()
    floats = QParams(0.1, 0, dtype="float8_e4m3fn", convention="modelopt")
    assert n_different(quantize(x, floats), (x / np.float32(0.1)).clip(-448, 448).astype(floats.code_dtype)) == 0


@pytest.mark.parametrize(("dtype", "ends"), [("qint8", (-128, 127)), ("int4", (-8, 7))])
def test_tensorrt_integers_are_its_documents_formulas(dtype: str, ends: tuple[int, int]) -> None:
    low, high = ranges()
    amax = np.maximum(np.abs(low), np.abs(high))
    x = np.stack([low, high] * 32, 1)
    size = 64
    ours = fitted(x, dtype=dtype, scheme="symmetric", granularity="group", group_size=size, convention="tensorrt")
    assert (ours.quant_min, ours.quant_max) == ends
    scale = amax / np.float32(ends[1])
    scale[scale == 0] = 1  # the layer wants scales above zero, and no document says which
    assert n_different(ours.scale[:, 0], scale) == 0
    assert not ours.zero_point.any()
    values = elements(scale, *ends, n=640_000)
    values = np.where(np.isfinite(values), values, np.float32(0))
    codes = np.rint(np.clip(values / scale[:, None], *ends)).astype(np.int8)
    assert n_different(quantize(values, ours), codes) == 0
    assert n_different(dequantize(codes, ours), codes.astype(np.float32) * scale[:, None]) == 0


@pytest.mark.parametrize("granularity", ["channel", "tensor"])
def test_tensorrt_float8(granularity: str) -> None:
    x = (np.random.default_rng(2).standard_t(3, (50, 400)) * np.logspace(-3, 3, 50)[:, None]).astype(np.float32)
    ours = fitted(x, dtype="float8_e4m3fn", granularity=granularity, convention="tensorrt")
    scale = np.abs(x).max(1 if granularity == "channel" else None) / np.float32(448)
    assert n_different(ours.scale, np.asarray(scale)) == 0
    cast = np.clip(x / np.reshape(scale, (-1, 1)), -448, 448).astype(ours.code_dtype)
    assert n_different(quantize(x, ours), cast) == 0


def test_tensorrt_says_that_it_was_not_run() -> None:
    assert "documents only" in CONVENTIONS["tensorrt"].checked


@pytest.mark.parametrize(
    "settings",
    [
        {"dtype": "qint8", "scheme": "affine"},
        {"dtype": "quint8"},
        {"dtype": "int4"},
        {"dtype": "int4", "group_size": 32},
        {"dtype": "float8_e5m2"},
    ],
    ids=str,
)
def test_what_tensorrt_does_not_have_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(QuantValueError, match=r"tensorrt has no .*; choose"):
        fitted(np.ones((2, 128), np.float32), convention="tensorrt", **{"scheme": "symmetric", **settings})


@pytest.mark.parametrize("settings", [{"dtype": "qint8", "scheme": "affine"}, {"dtype": "quint8"}], ids=str)
def test_what_modelopt_does_not_have_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(QuantValueError, match=r"modelopt has no .*; choose"):
        choose_qparams(-1, 1, convention="modelopt", **{"scheme": "symmetric", **settings})
