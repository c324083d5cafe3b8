"""litert and litert-xnnpack against LiteRT: its converter's parameters and weights, and QUANTIZE in its interpreter.

Left out, because our own policy differs there: scales that are 0 or not finite, NaN and infinities in values.
"""

from __future__ import annotations

import numpy as np
import pytest
from core.runtimes.bits import fitted, n_different
from core.runtimes.cases import elements, ranges
from core.runtimes.litert_models import STORAGE, Model, quantized_by_converter, run

from perchq_widget.core.conventions import allowed, get_convention
from perchq_widget.core.elements import dequantize, fake_quantize, quantize
from perchq_widget.core.grids import full_range
from perchq_widget.core.qparams import QParams, choose_qparams
from perchq_widget.core.schemes import QuantScheme
from perchq_widget.core.trace import silent

RNG = np.random.default_rng(23)
BOTH = ("litert", "litert-xnnpack")
TINY = float(np.finfo(np.float32).tiny)


def activation_ranges() -> tuple[np.ndarray, np.ndarray]:
    """The 10,000 ranges, zero points that are exactly on a tie, and widths around the least normal number."""
    low, high = ranges()
    below = np.arange(255, dtype=np.float32) + np.float32(0.5)
    widths = np.array([0, 1e-45, 1e-42, 1e-40, TINY / 2, TINY, TINY * 1.5, 1e-37], np.float32)
    ends = (low, -below, -widths, 0 * widths, -widths), (high, 255 - below, 0 * widths, widths, -widths / 2)
    return np.concatenate(ends[0]), np.concatenate(ends[1])


@pytest.fixture(scope="module")
def many_additions() -> bytes:
    """A model with an input for every range; each is added to itself."""
    model, n = Model(), len(activation_ranges()[0])
    inputs, outputs = ([model.tensor((2,)) for _ in range(n)] for _ in range(2))
    for first, sum_of in zip(inputs, outputs, strict=True):
        model.operation("ADD", [first, first], [sum_of])
    return model.between(inputs, outputs)


@pytest.mark.oracle
@pytest.mark.parametrize(("dtype", "scheme"), [("qint8", "affine"), ("quint8", "affine"), ("int16", "symmetric")])
def test_activations_get_the_converter_s_bits(many_additions: bytes, dtype: str, scheme: str) -> None:
    low, high = activation_ranges()
    inputs, _ = quantized_by_converter(many_additions, list(np.stack([low, high], axis=1)), dtype)
    settings = QuantScheme(dtype, scheme, "tensor", convention="litert")
    ours = get_convention("litert").range_rule(low, high, settings, silent)  # of single numbers, element by element
    assert allowed(settings) is None
    assert n_different(ours.scale, np.concatenate([each.scale for each in inputs])) == 0
    assert np.array_equal(ours.zero_point, np.concatenate([each.zero_point for each in inputs]))
    if dtype != "int16":
        again = get_convention("litert-xnnpack").range_rule(low, high, settings, silent)
        assert n_different(again.scale, ours.scale) == 0
        assert np.array_equal(again.zero_point, ours.zero_point)


def convolution(weight: np.ndarray) -> bytes:
    """A model that convolves one pixel with weight, of shape (channels, inputs)."""
    n_channels, n = weight.shape
    model = Model()
    x, y = model.tensor((1, 1, 1, n)), model.tensor((1, 1, 1, n_channels))
    kernel = model.tensor((n_channels, 1, 1, n), data=weight)
    bias = model.tensor((n_channels,), data=np.zeros(n_channels, np.float32))
    steps = {"strideW": 1, "strideH": 1, "dilationWFactor": 1, "dilationHFactor": 1}
    model.operation("CONV_2D", [x, kernel, bias], [y], **steps)
    return model.between([x], [y])


def weights() -> np.ndarray:
    """1,000,000 elements: the 10,000 ranges as channels, a third of the rest of their values on ties or beside."""
    low, high = ranges()
    subnormal = RNG.random(len(low)) < 0.01  # some so small that 127 / largest is infinite
    low[subnormal], high[subnormal] = low[subnormal] * 0, np.float32(3e-37) * RNG.random(subnormal.sum())
    x = elements(np.maximum(-low, high) / np.float32(127), -127, 127)
    x[:, 0], x[:, 1] = low, high
    return x.clip(low[:, None], high[:, None])


@pytest.mark.oracle
@pytest.mark.parametrize("whole", [False, True], ids=["channels", "tensor"])
def test_weights_get_the_converter_s_bits(whole: bool) -> None:
    x = weights()
    model = convolution(x)
    batch = np.linspace(-1, 1, x.shape[1], dtype=np.float32).reshape(1, 1, 1, -1)
    _, tensors = quantized_by_converter(model, [batch], "qint8", whole)
    kernel = tensors["t2"]
    assert kernel.data is not None
    settings = {"dtype": "qint8", "scheme": "symmetric", "granularity": "tensor" if whole else "channel"}
    ours = fitted(x, convention="litert", **settings)
    zero = kernel.scale == 0
    assert np.array_equal(zero, np.abs(x).max(1) == 0 if not whole else [False])
    assert n_different(ours.scale.reshape(-1)[~zero], kernel.scale[~zero]) == 0
    assert (ours.scale.reshape(-1)[zero] == 1).all()  # nothing can be divided by the converter's 0
    assert x.size == 1_000_000
    assert np.array_equal(quantize(x, ours), kernel.data.reshape(x.shape))
    values = kernel.data.reshape(x.shape).astype(np.float32) * kernel.scale[:, None]
    assert n_different(fake_quantize(x, ours), values) == 0
    assert n_different(fitted(x, convention="litert-xnnpack", **settings).scale, ours.scale) == 0


def quantize_model(shape: tuple[int, ...], qparams: QParams, back: bool = False) -> bytes:
    """One QUANTIZE, or one DEQUANTIZE, with these parameters."""
    model = Model()
    plain, coded = model.tensor(shape), model.tensor(shape, qparams.dtype)
    model.quantized(coded, qparams.scale, qparams.zero_point)
    if back:
        model.operation("DEQUANTIZE", [coded], [plain], version=5)
        return model.between([coded], [plain])
    model.operation("QUANTIZE", [plain], [coded])
    return model.between([plain], [coded])


def parameters(convention: str, dtype: str, n_channels: int) -> QParams:
    """Scales of many sizes, some under which ties are exact; zero points anywhere."""
    scale = (10.0 ** RNG.uniform(-4, 4, n_channels)).astype(np.float32)
    scale[::4] = np.exp2(np.rint(np.log2(scale[::4])))
    zero_point = RNG.integers(*full_range(dtype), n_channels, endpoint=True)
    if dtype == "int16":
        zero_point[:] = 0  # DEQUANTIZE has no other
    own = {"ch_axis": 0} if n_channels > 1 else {}
    shape = (n_channels,) if own else ()
    return QParams(scale.reshape(shape), zero_point.reshape(shape), dtype=dtype, convention=convention, **own)


def values_of(qparams: QParams, n: int) -> np.ndarray:
    """Elements on and off ties, as (channels, n / channels)."""
    zero_point = qparams.zero_point.reshape(-1)
    return elements(qparams.scale, qparams.quant_min - zero_point, qparams.quant_max - zero_point, n)


CASES = [
    ("litert", "qint8", "BUILTIN_REF"), ("litert", "quint8", "BUILTIN_REF"), ("litert", "int16", "BUILTIN_REF"),
    ("litert-xnnpack", "qint8", "AUTO"), ("litert-xnnpack", "quint8", "AUTO"),
]  # fmt: skip


@pytest.mark.oracle
@pytest.mark.parametrize(("convention", "dtype", "kernels"), CASES)
def test_quantize_gives_the_interpreter_s_codes_and_values(convention: str, dtype: str, kernels: str) -> None:
    for _ in range(5):
        qparams = parameters(convention, dtype, 1)
        x = values_of(qparams, 200_003)[0]
        codes = run(quantize_model(x.shape, qparams), x, kernels)
        assert codes.dtype == STORAGE[dtype]
        assert n_different(quantize(x, qparams), codes) == 0
        values = run(quantize_model(x.shape, qparams, back=True), codes, kernels)
        assert n_different(dequantize(codes, qparams), values) == 0
        assert n_different(fake_quantize(x, qparams), values) == 0


@pytest.mark.oracle
@pytest.mark.parametrize("kernels", ["BUILTIN_REF", "AUTO"])
@pytest.mark.parametrize("dtype", ["qint8", "quint8"])
def test_channels_of_one_operation_are_litert_s_whatever_the_delegate(dtype: str, kernels: str) -> None:
    qparams = parameters("litert", dtype, 20)
    x = values_of(qparams, 1_000_000)
    codes = run(quantize_model(x.shape, qparams), x, kernels)
    assert n_different(quantize(x, qparams), codes) == 0


@pytest.mark.oracle
@pytest.mark.parametrize("convention", BOTH)
def test_activations_through_their_own_parameters(convention: str) -> None:
    kernels = {name: kernels for name, _, kernels in CASES}[convention]
    for low, high in ((-1.3, 2.9), (0.0, 255.0), (-128.0, 127.0), (-7e-5, 0.0), (3e8, 4e9)):
        qparams = choose_qparams(low, high, dtype="qint8", scheme="affine", convention=convention)
        x = values_of(qparams, 100_000)[0].clip(np.float32(min(low, 0)), np.float32(high))
        assert n_different(quantize(x, qparams), run(quantize_model(x.shape, qparams), x, kernels)) == 0


@pytest.mark.parametrize("convention", BOTH)
def test_zeros_and_tiny_values_stay_zero(convention: str) -> None:
    x = np.array([[0, 0, 0], [1, -2, 0.5], [1e-39, 0, -1e-38], [1e-45, 0, 0]], np.float32)
    ours = fitted(x, dtype="qint8", scheme="symmetric", convention=convention)
    assert np.array_equal(quantize(x, ours)[[0, 1, 3]], [[0, 0, 0], [64, -127, 32], [0, 0, 0]])
    whole = fitted(x * 0, dtype="qint8", scheme="affine", granularity="tensor", convention=convention)
    assert float(whole.scale) == np.float32(TINY) / np.float32(255)
    assert (fake_quantize(x * 0, whole) == 0).all()


@pytest.mark.parametrize(
    ("scheme", "reason"),
    [
        (QuantScheme("qint8", convention="litert"), "zero points are 0 by LiteRT's specification; choose scheme 'symm"),
        (QuantScheme("int16", "affine", "tensor", convention="litert"), "int16 activations have zero point 0; choose"),
        (QuantScheme("quint8", "symmetric", "tensor", convention="litert"), "choose scheme 'affine'"),
        (QuantScheme("int4", "symmetric", convention="litert"), "litert has no int4; choose convention"),
        (QuantScheme("int16", "symmetric", "tensor", convention="litert-xnnpack"), "litert-xnnpack has no int16"),
        (QuantScheme("qint8", "symmetric", reduce_range=True, convention="litert"), "turn reduce_range off"),
    ],
    ids=str,
)
def test_what_the_runtime_has_not_is_refused_with_a_way_out(scheme: QuantScheme, reason: str) -> None:
    assert reason in str(allowed(scheme))
