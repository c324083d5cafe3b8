"""Parameters and values through them, with torch as the judge of the pytorch convention."""

import math
import warnings

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from needs import oracle

from perchq_widget.core.conventions import allowed, conventions_with
from perchq_widget.core.elements import dequantize, fake_quantize, quantize
from perchq_widget.core.errors import QuantTypeError, QuantValueError
from perchq_widget.core.qparams import QParams, choose_qparams
from perchq_widget.core.schemes import QuantScheme

RNG = np.random.default_rng(2026)
N_RANGES = 10_000
SETTINGS = [
    (dtype, scheme, reduce_range, quant_range)
    for dtype, full in (("qint8", (-127, 127)), ("quint8", (0, 15)))
    for scheme in ("affine", "symmetric")
    for reduce_range in (False, True)
    for quant_range in (None, full)
    if not (dtype == "quint8" and scheme == "symmetric" and reduce_range)
]


def random_data(n: int = N_RANGES, per_channel: int = 24) -> np.ndarray:
    """Rows over many magnitudes: mixed signs, one-sided, constant, zero and tiny ones among them."""
    x = RNG.standard_normal((n, per_channel)) * 10.0 ** RNG.uniform(-9, 6, (n, 1))
    x[: n // 10] = np.abs(x[: n // 10])
    x[n // 10 : n // 5] = -np.abs(x[n // 10 : n // 5])
    x[n // 5 : n // 5 + 20] = 0.0
    x[n // 5 + 20 : n // 5 + 40] = x[n // 5 + 20 : n // 5 + 40, :1]
    x[n // 5 + 40 : n // 5 + 400] = np.round(x[n // 5 + 40 : n // 5 + 400], 0)
    return x.astype(np.float32)


def torch_observer(kind, granularity, dtype, scheme, reduce_range, quant_range, **options):
    """torch's own observer of these settings."""
    torch = oracle("torch")
    observers = pytest.importorskip("torch.ao.quantization")
    ends = {} if quant_range is None else {"quant_min": quant_range[0], "quant_max": quant_range[1]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch announces that qint8 tensors will go
        return getattr(observers, kind)(
            dtype=getattr(torch, dtype),
            qscheme=getattr(torch, f"per_{granularity}_{scheme}"),
            reduce_range=reduce_range,
            **ends,
            **options,
        )


@pytest.mark.oracle
@pytest.mark.parametrize(("dtype", "scheme", "reduce_range", "quant_range"), SETTINGS)
def test_per_channel_bits_equal_torch(dtype, scheme, reduce_range, quant_range) -> None:
    torch = oracle("torch")
    x = random_data()
    observer = torch_observer(
        "PerChannelMinMaxObserver", "channel", dtype, scheme, reduce_range, quant_range, ch_axis=0
    )
    observer(torch.from_numpy(x))
    scale, zero_point = observer.calculate_qparams()
    ours = choose_qparams(
        x.min(1), x.max(1), dtype=dtype, scheme=scheme, reduce_range=reduce_range, quant_range=quant_range
    )
    assert (ours.quant_min, ours.quant_max) == (observer.quant_min, observer.quant_max)
    assert np.array_equal(ours.scale.view(np.int32), scale.numpy().view(np.int32))
    assert np.array_equal(ours.zero_point, zero_point.numpy())
    theirs = torch.fake_quantize_per_channel_affine(
        torch.from_numpy(x), scale, zero_point.int(), 0, observer.quant_min, observer.quant_max
    ).numpy()
    assert np.array_equal(fake_quantize(x, ours).view(np.int32), theirs.view(np.int32))


@pytest.mark.oracle
@pytest.mark.parametrize(("dtype", "scheme", "reduce_range", "quant_range"), SETTINGS)
def test_per_tensor_bits_equal_torch(dtype, scheme, reduce_range, quant_range) -> None:
    torch = oracle("torch")
    observer = torch_observer("MinMaxObserver", "tensor", dtype, scheme, reduce_range, quant_range)
    for row in random_data()[::10]:  # over all settings that is some ten thousand ranges
        observer.min_val, observer.max_val = (torch.tensor(end) for end in (row.min(), row.max()))
        scale, zero_point = observer.calculate_qparams()
        ours = choose_qparams(
            row.min(), row.max(), dtype=dtype, scheme=scheme, reduce_range=reduce_range, quant_range=quant_range
        )
        assert ours.scale == scale.numpy().item()
        assert ours.zero_point == zero_point.item()
        theirs = torch.fake_quantize_per_tensor_affine(
            torch.from_numpy(row), scale.item(), int(zero_point), observer.quant_min, observer.quant_max
        ).numpy()
        assert np.array_equal(fake_quantize(row, ours).view(np.int32), theirs.view(np.int32))


@pytest.mark.oracle
def test_torch_refuses_what_our_table_refuses() -> None:
    torch = oracle("torch")
    observers = pytest.importorskip("torch.ao.quantization")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(NotImplementedError):
            observers.MinMaxObserver(dtype=torch.quint8, qscheme=torch.per_tensor_symmetric, reduce_range=True)(
                torch.ones(3)
            )


ends = st.floats(-1e6, 1e6, width=32)


@st.composite
def fitted(draw: st.DrawFn) -> tuple[QParams, float, float]:
    """Parameters of a random range under random allowed settings, and the range."""
    low, high = sorted((draw(ends), draw(ends)))
    dtype = draw(st.sampled_from(("qint8", "quint8")))
    scheme = draw(st.sampled_from(("affine", "symmetric")))
    convention = draw(st.sampled_from(("calculator", "pytorch")))
    reduce_range = draw(st.booleans()) and not (dtype == "quint8" and scheme == "symmetric")
    if convention == "calculator":
        assume(low <= 0 <= high or high - low > 1e-3)  # else its unclamped zero point passes 2^53 and is refused
    qparams = choose_qparams(low, high, dtype=dtype, scheme=scheme, convention=convention, reduce_range=reduce_range)
    return qparams, low, high


@given(fitted(), st.floats(0, 1))
def test_error_is_at_most_half_a_step_inside_the_grid(found, position: float) -> None:
    qparams, _, _ = found
    low, high = (float(end) for end in qparams.represented())
    x = qparams.rules.dtype.type(low + (high - low) * position)
    error = abs(float(x) - float(fake_quantize(x, qparams)))
    slack = (abs(low) + abs(high)) * float(np.finfo(qparams.rules.dtype).eps)
    assert error <= float(qparams.scale) / 2 + slack


@given(fitted(), st.lists(st.floats(-2e6, 2e6), min_size=2, max_size=50))
def test_codes_are_monotone_and_in_bounds(found, values: list[float]) -> None:
    qparams, _, _ = found
    codes = quantize(np.sort(np.array(values)), qparams).astype(int)
    assert (np.diff(codes) >= 0).all()
    assert codes.min() >= qparams.quant_min
    assert codes.max() <= qparams.quant_max


@given(ends, ends, st.floats(0, 1), st.sampled_from(("qint8", "quint8")))
def test_affine_never_clips_by_more_than_rounding(first: float, second: float, position: float, dtype: str) -> None:
    low, high = min(first, second, 0.0), max(first, second, 0.0)
    qparams = choose_qparams(low, high, dtype=dtype)
    x = np.float32(low + (high - low) * position)
    slack = (abs(low) + abs(high)) * float(np.finfo(np.float32).eps)
    assert abs(float(x) - float(fake_quantize(x, qparams))) <= float(qparams.scale) + slack


def test_calculator_decides_ties_exactly_for_floats_too() -> None:
    qparams = choose_qparams(-0.8, 0.9, convention="calculator")
    assert quantize(-0.21, qparams) == -40  # float64 alone says -39
    many = np.full((3, 5), -0.21)
    per_channel = choose_qparams([-0.8] * 5, [0.9] * 5, convention="calculator", ch_axis=1)
    assert (quantize(many, per_channel) == -40).all()


@pytest.mark.parametrize("convention", conventions_with("qint8"))
def test_nan_becomes_zero_point_and_inf_saturates(convention: str) -> None:
    """In every convention, whatever the runtime does."""
    settings = {"dtype": "qint8", "granularity": "tensor", "convention": convention}
    schemes = [each for each in ("affine", "symmetric") if allowed(QuantScheme(scheme=each, **settings)) is None]
    for scheme in schemes or pytest.fail("no scheme"):
        qparams = choose_qparams(-1.0, 3.0, scheme=scheme, convention=convention)
        zero, low, high = int(qparams.zero_point), int(qparams.quant_min), int(qparams.quant_max)
        x = np.array([np.nan, np.inf, -np.inf, 1e30, 0.0], np.float32)
        assert quantize(x, qparams).tolist() == [zero, high, low, high, zero]
        back = fake_quantize(x, qparams)
        assert math.isnan(back[0])
        assert np.isfinite(back[1:]).all()


def test_shapes_and_dtypes() -> None:
    x = RNG.standard_normal((3, 4, 5)).astype(np.float32)
    qparams = choose_qparams(x.min((0, 2)), x.max((0, 2)), dtype="quint8", ch_axis=1)
    codes = quantize(x, qparams)
    assert codes.shape == x.shape
    assert codes.dtype == np.uint8
    assert dequantize(codes, qparams).dtype == np.float32
    assert quantize(np.float32(0.5), choose_qparams(0, 1)).shape == ()
    by_hand = np.clip(np.rint(x * (np.float32(1) / qparams.scale)[:, None]) + qparams.zero_point[:, None], 0, 255)
    assert np.array_equal(codes, by_hand)


def test_long_tensors_go_in_chunks() -> None:
    x = RNG.standard_normal((1000, 300)).astype(np.float32)
    qparams = choose_qparams(x.min(1), x.max(1))
    rows = [quantize(x[i], choose_qparams(x[i].min(), x[i].max())) for i in range(1000)]
    assert np.array_equal(quantize(x, qparams), np.stack(rows))


def test_qparams_are_values() -> None:
    one, two = choose_qparams(-1, 1), choose_qparams(-1, 1)
    assert one == two
    assert one != choose_qparams(-1, 2)
    assert one != "scale"
    with pytest.raises(ValueError, match="read-only"):
        one.scale[...] = 2
    with pytest.raises(TypeError):
        hash(one)


@pytest.mark.parametrize(
    ("scale", "zero_point", "options", "message"),
    [
        (0.0, 0, {}, "scale must be finite and above 0"),
        (-1.0, 0, {}, "scale must be finite and above 0"),
        (math.inf, 0, {}, "scale must be finite and above 0"),
        (1e-60, 0, {}, "scale must be finite and above 0 in float32"),
        (1.0, 300, {}, "zero_point must lie in -128..127"),
        (1.0, 0.5, {}, "zero_point must be integers"),
        ([1.0, 2.0], [0, 0], {}, "ch_axis must be given exactly"),
        (1.0, 0, {"ch_axis": 0}, "ch_axis must be given exactly"),
        ([1.0], [0, 0], {"ch_axis": 0}, "one shape"),
        ([[1.0]], [[0]], {"ch_axis": 0}, "one scale per channel"),
        ([1.0], [0], {"ch_axis": 0, "group_size": 32}, r"per group, of shape \(C, G\) with group_size"),
        (1.0, 0, {"group_size": (8, 8)}, "group_size"),
        ([1.0], [0], {"ch_axis": 0, "granularity": "token"}, "granularity must be|ch_axis must be"),
        (1.0, 0, {"granularity": "chanel"}, "granularity must be 'tensor'"),
        (1.0, 0, {"quant_max": 200}, "quant_range"),
    ],
)
def test_bad_parameters_are_named(scale, zero_point, options, message) -> None:
    with pytest.raises((QuantValueError, QuantTypeError), match=message):
        QParams(scale, zero_point, dtype="qint8", convention="pytorch", **options)


def test_calculator_takes_zero_points_outside_the_codes() -> None:
    assert int(QParams(1.0, -298, dtype="qint8", convention="calculator").zero_point) == -298


@pytest.mark.parametrize(
    ("low", "high", "message"),
    [(2, 1, "min_val <= max_val"), (math.nan, 1, "finite"), (0, math.inf, "finite"), ([0, 0], [1], "one shape")],
)
def test_bad_ranges_are_named(low, high, message) -> None:
    with pytest.raises(QuantValueError, match=message):
        choose_qparams(low, high)


def test_a_range_that_overflows_the_runtime_raises() -> None:
    with pytest.raises(QuantValueError, match="scale must be finite and above 0 in float32, got inf"):
        choose_qparams(-3e38, 3e38)


def test_wrong_axis_and_count_are_named() -> None:
    qparams = choose_qparams([0, 0], [1, 1], ch_axis=1)
    with pytest.raises(QuantValueError, match="3 channels on axis 1 but scale has 2"):
        quantize(np.zeros((2, 3)), qparams)
    with pytest.raises(QuantValueError, match=r"ch_axis must lie in -1..0"):
        quantize(np.zeros(2), qparams)
    with pytest.raises(QuantTypeError, match="codes must be integers"):
        dequantize(np.zeros((1, 2)), qparams)


def test_calculator_parameters_built_by_hand_decide_ties_exactly() -> None:
    assert quantize([0.35], QParams(0.1, 0, dtype="qint8", convention="calculator")).tolist() == [4]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: quantize("abc", choose_qparams(0, 1)), "x must be real numbers"),
        (lambda: quantize([None], choose_qparams(0, 1)), "x must be real numbers"),
        (lambda: quantize([1j], choose_qparams(0, 1)), "x must be real numbers"),
        (lambda: quantize([1.0], 0.1), "qparams must be a QParams"),  # type: ignore[arg-type]
        (lambda: dequantize([1000, -5], choose_qparams(0, 1, dtype="quint8")), "must lie in 0..255"),
        (lambda: QParams("a", 0, dtype="qint8", convention="pytorch"), "scale must be real numbers"),
        (lambda: QParams(None, 0, dtype="qint8", convention="pytorch"), "scale must be real numbers"),
        (lambda: QParams([1.0], [0], dtype="qint8", convention="pytorch", ch_axis="x"), "ch_axis must be an integer"),
        (lambda: QParams([], [], dtype="qint8", convention="pytorch", ch_axis=0), "at least one number"),
        (lambda: choose_qparams([], []), "two numbers or two arrays"),
        (lambda: choose_qparams([[1]], [[1]]), "two numbers or two arrays"),
        (lambda: choose_qparams(1, -1), r"got 1.0..-1.0; .* swap"),
        (lambda: choose_qparams(0, 1, dtyp="qint8"), "did you mean 'dtype'"),
        (lambda: QParams(1, 0, dtype="qint8", convention="pytorch", qmin=3), r"QParams\(\) has no argument 'qmin'"),
    ],
)
def test_bad_arguments_are_named(call, message) -> None:
    with pytest.raises((QuantValueError, QuantTypeError), match=message):
        call()


@pytest.mark.oracle
def test_torch_tensors_that_numpy_cannot_read_say_what_to_call() -> None:
    torch = oracle("torch")
    for tensor in (torch.ones(2, dtype=torch.bfloat16), torch.ones(2, requires_grad=True)):
        with pytest.raises(QuantTypeError, match=r"\.detach\(\)\.cpu\(\)\.float\(\)"):
            quantize(tensor, choose_qparams(0, 1))


def test_groups_of_onnxruntime_may_have_scales_of_any_sign() -> None:
    """MatMulNBits puts a block's largest value at code 0, so that its scale takes the other sign."""
    codes = np.array([[0, 8, 15, 8, 8, 8], [0, 7, 15, 3, 9, 1]], np.uint8)
    scale, zero_point = [[-0.5, 0.0], [0.25, -2.0]], np.full((2, 2), 8)
    params = QParams(scale, zero_point, dtype="uint4", convention="onnxruntime", ch_axis=0, group_size=3)
    values = dequantize(codes, params)
    assert values.tolist() == [[4, 0, -3.5, 0, 0, 0], [-2, -0.25, 1.75, 10, -2, 14]]
    assert np.array_equal(quantize(values, params), codes)
    assert params.effective().min() == 0
    low, high = params.represented()
    assert (low <= high).all()
    assert (low[0, 0], high[0, 0]) == (-3.5, 4)
    with pytest.raises(QuantValueError, match="finite and above 0"):
        QParams(-0.5, 8, dtype="uint4", convention="onnxruntime")
    with pytest.raises(QuantValueError, match="finite and above 0"):
        QParams(scale, zero_point, dtype="uint4", convention="pytorch", ch_axis=0, group_size=3)
