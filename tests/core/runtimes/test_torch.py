"""torch's conventions against torch: observers, quantized tensors, and the parameters of dynamic quantization.

Left out, because our own policy differs there: scales that are not finite (we raise), NaN and infinities in values.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from core.runtimes.bits import n_different
from core.runtimes.cases import elements, ranges
from needs import oracle
from samples_of import Sample, samples

from perchq_widget.core.conventions import allowed
from perchq_widget.core.elements import dequantize, fake_quantize, quantize
from perchq_widget.core.errors import QuantValueError
from perchq_widget.core.grids import full_range
from perchq_widget.core.qparams import QParams, choose_qparams
from perchq_widget.core.schemes import QuantScheme

#: Ranges whose scale and zero point make the kernels disagree; one-sided, symmetric around zero, and tiny among them.
SOME_RANGES = (
    (-1.3, 2.9), (-0.02, 7.0), (-5.5, 0.0), (0.0, 3.3), (-2.0, 2.0), (-3e-5, 4e-5), (-811.0, 12.5), (-7e8, 4e9),
)  # fmt: skip
ANNOUNCEMENTS = ("torch.quantize_per_tensor, torch.quantize_per_channel", "Please use quant_min and quant_max")
BOTH_DTYPES = ("qint8", "quint8")
FREE_RANGES = {"qint8": (-127, 127), "quint8": (0, 254)}
SETTINGS = [
    (dtype, scheme, reduce_range, quant_range)
    for dtype in BOTH_DTYPES
    for scheme in ("affine", "symmetric")
    for reduce_range in (False, True)
    for quant_range in (None, FREE_RANGES[dtype])
    if not (dtype == "quint8" and scheme == "symmetric" and reduce_range)
]


@pytest.fixture(autouse=True)
def _torch_announces() -> Iterator[None]:
    """torch says that quantized tensors and the observers' reduce_range will go."""
    with warnings.catch_warnings():
        for announcement in ANNOUNCEMENTS:
            warnings.filterwarnings("ignore", message=announcement)
        yield


def observed(kind: str, options: dict[str, Any]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, Any]:
    """10,000 ranges, the scales and zero points that torch's own observer takes from them, and the observer."""
    torch, observers = oracle("torch"), pytest.importorskip("torch.ao.quantization")
    low, high = ranges()
    per = "channel" if kind.startswith("PerChannel") else "tensor"
    free = options.pop("quant_range", None)
    ends = {} if free is None else {"quant_min": free[0], "quant_max": free[1]}
    dtype, scheme = getattr(torch, options.pop("dtype")), getattr(torch, f"per_{per}_{options.pop('scheme')}")
    observer = getattr(observers, kind)(dtype=dtype, qscheme=scheme, **ends, **options)
    if per == "channel":
        observer(torch.from_numpy(np.stack([low, high], axis=1)))
        scale, zero_point = observer.calculate_qparams()
    else:  # the arithmetic is that of single numbers, element by element
        scale, zero_point = observer._calculate_qparams(torch.from_numpy(low), torch.from_numpy(high))
    return low, high, scale.numpy(), zero_point.numpy(), observer


@pytest.mark.oracle
@pytest.mark.parametrize("kind", ["PerChannelMinMaxObserver", "MinMaxObserver"])
@pytest.mark.parametrize(("dtype", "scheme", "reduce_range", "quant_range"), SETTINGS)
def test_scales_and_zero_points_are_the_observers(kind, dtype, scheme, reduce_range, quant_range) -> None:
    options = {"dtype": dtype, "scheme": scheme, "reduce_range": reduce_range, "quant_range": quant_range}
    low, high, scale, zero_point, observer = observed(kind, dict(options))
    for convention in ("pytorch", "pytorch-quantized"):
        ours = choose_qparams(low, high, convention=convention, **options)
        assert n_different(ours.scale, scale) == 0
        assert np.array_equal(ours.zero_point, zero_point)
        in_force = (observer.quant_min, observer.quant_max) if convention == "pytorch" else full_range(dtype)
        assert (ours.quant_min, ours.quant_max) == in_force


@pytest.mark.oracle
@pytest.mark.parametrize("dtype", [f"{sign}int{n}" for sign in ("", "u") for n in range(2, 8)])
@pytest.mark.parametrize("scheme", ["affine", "symmetric"])
def test_fewer_bits_are_a_free_range_of_eight(dtype: str, scheme: str) -> None:
    holder = "quint8" if dtype.startswith("u") else "qint8"
    options = {"dtype": holder, "scheme": scheme, "quant_range": full_range(dtype)}
    low, high, scale, zero_point, _ = observed("PerChannelMinMaxObserver", options)
    ours = choose_qparams(low, high, dtype=dtype, scheme=scheme, convention="pytorch")
    assert n_different(ours.scale, scale) == 0
    assert np.array_equal(ours.zero_point, zero_point)


def some_qparams(convention: str, dtype: str, scheme: str, **options: Any) -> QParams:
    """Parameters of SOME_RANGES, one channel each."""
    low, high = np.array(SOME_RANGES, np.float32).T
    return choose_qparams(low, high, dtype=dtype, scheme=scheme, convention=convention, **options)


def one_of(qparams: QParams, channel: int) -> QParams:
    """One channel's parameters as those of a tensor."""
    q = qparams
    return QParams(
        q.scale[channel], q.zero_point[channel], dtype=q.dtype, convention=q.convention,
        quant_min=int(q.quant_min), quant_max=int(q.quant_max),
    )  # fmt: skip


def hard_values(qparams: QParams) -> np.ndarray:
    """A million values, in rows that go with the scales; a third of them on ties or beside."""
    low, high = (end - qparams.zero_point for end in (qparams.quant_min, qparams.quant_max))
    return elements(qparams.scale, low, high)


def tensor_of(x: np.ndarray) -> Any:
    return oracle("torch").from_numpy(x)


@pytest.mark.oracle
@pytest.mark.parametrize(("dtype", "scheme", "reduce_range", "quant_range"), SETTINGS)
def test_pytorch_is_fake_quantize(dtype, scheme, reduce_range, quant_range) -> None:
    torch = oracle("torch")
    q = some_qparams("pytorch", dtype, scheme, reduce_range=reduce_range, quant_range=quant_range)
    x = hard_values(q)
    ends = q.quant_min, q.quant_max
    scale, zero_point = torch.tensor(q.scale), torch.tensor(q.zero_point, dtype=torch.int32)
    theirs = torch.fake_quantize_per_channel_affine(tensor_of(x), scale, zero_point, 0, *ends).numpy()
    assert n_different(fake_quantize(x, q), theirs) == 0
    for row in range(len(x)):
        one, whole = one_of(q, row), tensor_of(x[row])
        theirs = torch.fake_quantize_per_tensor_affine(whole, float(one.scale), int(one.zero_point), *ends).numpy()
        assert n_different(fake_quantize(x[row], one), theirs) == 0


@pytest.mark.oracle
@pytest.mark.parametrize(("dtype", "scheme", "reduce_range", "quant_range"), SETTINGS)
def test_pytorch_quantized_is_quantize_per_channel(dtype, scheme, reduce_range, quant_range) -> None:
    torch = oracle("torch")
    q = some_qparams("pytorch-quantized", dtype, scheme, reduce_range=reduce_range, quant_range=quant_range)
    x = hard_values(q)
    scale, zero_point = torch.tensor(q.scale), torch.tensor(q.zero_point)
    theirs = torch.quantize_per_channel(tensor_of(x), scale, zero_point, 0, getattr(torch, dtype))
    assert_same(theirs, x, q)


@pytest.mark.oracle
@pytest.mark.parametrize("convention", ["pytorch-quantized", "pytorch-dynamic"])
@pytest.mark.parametrize("scheme", ["affine", "symmetric"])
@pytest.mark.parametrize("dtype", BOTH_DTYPES)
def test_quantized_tensors_of_one_scale_are_quantize_per_tensor(convention: str, dtype: str, scheme: str) -> None:
    torch = oracle("torch")
    params = [choose_qparams(*each, dtype=dtype, scheme=scheme, convention=convention) for each in SOME_RANGES]
    assert len({(float(q.scale), int(q.zero_point)) for q in params}) > 4
    for seed, q in enumerate(params):
        low, high = (end - q.zero_point for end in (q.quant_min, q.quant_max))
        x = elements(q.scale, low, high, 1_000_000 // len(params), seed)[0]
        theirs = torch.quantize_per_tensor(tensor_of(x), float(q.scale), int(q.zero_point), getattr(torch, dtype))
        assert_same(theirs, x, q)


def assert_same(theirs: Any, x: np.ndarray, q: QParams) -> None:
    """Codes and values of a quantized tensor of torch are ours, bit for bit."""
    codes = quantize(x, q)
    assert np.array_equal(codes, theirs.int_repr().numpy())
    assert n_different(dequantize(codes, q), theirs.dequantize().numpy()) == 0
    assert n_different(fake_quantize(x, q), theirs.dequantize().numpy()) == 0


def fused_observer(low: np.ndarray, high: np.ndarray, ends: tuple[int, int], symmetric: bool) -> tuple[Any, Any]:
    """Scale and zero point of each range by ATen's ChooseQuantizationParams, through an operator with rows."""
    torch = oracle("torch")
    n = len(low)
    state = torch.full((n,), float("inf")), torch.full((n,), float("-inf")), torch.ones(n), torch.zeros(n).int()
    on = torch.tensor([1])
    x = torch.from_numpy(np.stack([low, high], axis=1))
    torch.fused_moving_avg_obs_fake_quant(x, on, on, *state, 1.0, *ends, 0, True, symmetric)
    return state[2].numpy(), state[3].numpy()


def dynamic_params(low: np.ndarray, high: np.ndarray, scheme: QuantScheme) -> tuple[np.ndarray, np.ndarray]:
    """Our rule on many ranges at once; the convention itself has one scale per tensor."""
    from perchq_widget.core.runtimes.torch_dynamic import choose_at_run_time
    from perchq_widget.core.trace import silent

    found = choose_at_run_time(low, high, scheme, silent)
    return found.scale, found.zero_point


@pytest.mark.oracle
@pytest.mark.parametrize("reduce_range", [False, True])
@pytest.mark.parametrize("mapping", ["affine", "symmetric"])
@pytest.mark.parametrize("dtype", BOTH_DTYPES)
def test_dynamic_parameters_are_those_of_the_c_plus_plus_rule(dtype: str, mapping: str, reduce_range: bool) -> None:
    scheme = QuantScheme(dtype, mapping, "tensor", reduce_range=reduce_range, convention="pytorch-dynamic")
    low, high = ranges()
    scale, zero_point = dynamic_params(low, high, scheme)
    theirs = fused_observer(low, high, (int(scheme.quant_min), int(scheme.quant_max)), mapping == "symmetric")
    assert n_different(scale, theirs[0]) == 0
    assert np.array_equal(zero_point, theirs[1])
    for row in range(0, len(low), 500):
        one = choose_qparams(
            low[row], high[row], dtype=dtype, scheme=mapping, reduce_range=reduce_range, convention="pytorch-dynamic"
        )
        assert (one.scale, one.zero_point) == (scale[row], zero_point[row])


@pytest.mark.oracle
@pytest.mark.parametrize("reduce_range", [False, True])
def test_dynamic_parameters_are_those_of_choose_qparams_per_tensor(reduce_range: bool) -> None:
    torch = oracle("torch")
    scheme = QuantScheme("quint8", "affine", "tensor", reduce_range=reduce_range, convention="pytorch-dynamic")
    low, high = ranges(seed=3)
    theirs = [torch._choose_qparams_per_tensor(x, reduce_range) for x in torch.from_numpy(np.stack([low, high], 1))]
    scale, zero_point = dynamic_params(low, high, scheme)
    assert n_different(scale, np.array([each[0] for each in theirs]).astype(np.float32)) == 0
    assert zero_point.tolist() == [each[1] for each in theirs]


@pytest.mark.oracle
@pytest.mark.parametrize("reduce_range", [False, True])
@pytest.mark.parametrize("dtype", BOTH_DTYPES)
def test_dynamic_codes_are_those_of_quantize_per_tensor_dynamic(dtype: str, reduce_range: bool) -> None:
    torch = oracle("torch")
    rng = np.random.default_rng(4)
    for ends in (*SOME_RANGES, (0.0, 0.0), (-1e-42, 1e-42), (2.0, 3.0)):
        x = np.concatenate([np.array(ends), rng.uniform(*ends, 20_000)]).astype(np.float32)
        theirs = torch.quantize_per_tensor_dynamic(tensor_of(x), getattr(torch, dtype), reduce_range)
        options = {"dtype": dtype, "reduce_range": reduce_range, "convention": "pytorch-dynamic"}
        q = choose_qparams(x.min(), x.max(), **options)
        assert np.float32(theirs.q_scale()) == q.scale
        assert theirs.q_zero_point() == q.zero_point
        assert_same(theirs, x, q)


@pytest.mark.oracle
@pytest.mark.parametrize("scale", [1.0, 0.013, 1e-7])
@pytest.mark.parametrize(("dtype", "zero_point"), [("qint8", -100), ("qint8", 0), ("quint8", 200)])
def test_values_far_outside_saturate(dtype: str, zero_point: int, scale: float) -> None:
    """But for fake_quantize per channel, which makes quant_min of x / scale >= 2^63: we saturate there too."""
    torch = oracle("torch")
    far = np.float32(2.0) ** np.arange(7, 128).astype(np.float32)
    x = np.concatenate([far, -far])
    real = QParams(scale, zero_point, dtype=dtype, convention="pytorch-quantized")
    step = float(real.scale)
    assert_same(torch.quantize_per_tensor(tensor_of(x), step, zero_point, getattr(torch, dtype)), x, real)
    fake = QParams(scale, zero_point, dtype=dtype, convention="pytorch")
    ends = fake.quant_min, fake.quant_max
    theirs = torch.fake_quantize_per_tensor_affine(tensor_of(x), step, zero_point, *ends).numpy()
    assert n_different(fake_quantize(x, fake), theirs) == 0
    rows = QParams([scale], [zero_point], dtype=dtype, convention="pytorch-quantized", ch_axis=0)
    params = torch.tensor([step]), torch.tensor([zero_point])
    assert_same(torch.quantize_per_channel(tensor_of(x[None]), *params, 0, getattr(torch, dtype)), x[None], rows)


def test_the_kernels_differ_on_these_values() -> None:
    """Else the tests above could not tell them apart."""
    q = some_qparams("pytorch", "quint8", "affine")
    x = hard_values(q)
    fake = quantize(x, q)
    per_channel = quantize(x, some_qparams("pytorch-quantized", "quint8", "affine"))
    assert (fake != per_channel).any()
    one = one_of(some_qparams("pytorch-quantized", "quint8", "affine"), 0)
    assert (quantize(x[0], one) != fake[0]).any()
    assert (quantize(x[0], one) != per_channel[0]).any()


def test_codes_of_quantized_tensors_saturate_at_the_dtype_s_ends() -> None:
    fake = choose_qparams(-1.0, 1.0, dtype="quint8", reduce_range=True, convention="pytorch")
    real = choose_qparams(-1.0, 1.0, dtype="quint8", reduce_range=True, convention="pytorch-quantized")
    assert fake.scale == real.scale
    assert quantize(3.0, fake) == 127
    assert quantize(3.0, real) == 64 + round(3.0 * 127 / 2)
    assert (real.quant_min, real.quant_max) == (0, 255)
    with pytest.raises(QuantValueError, match="quant_min and quant_max must be left out under 'pytorch-quantized'"):
        QParams(0.1, 0, dtype="qint8", convention="pytorch-quantized", quant_min=-127)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"convention": "pytorch-quantized", "narrow_range": True}, "quant_range=(-127, 127)"),
        ({"convention": "pytorch-quantized", "dtype": "int4"}, "convention 'pytorch'"),
        ({"convention": "pytorch-quantized", "granularity": "group", "group_size": 32}, "granularity 'channel' or"),
        ({"convention": "pytorch-dynamic"}, "granularity 'tensor'"),
        ({"convention": "pytorch-dynamic", "granularity": "tensor", "quant_range": (-8, 7)}, "leave quant_range out"),
        ({"dtype": "uint4", "scheme": "symmetric", "reduce_range": True}, "NotImplementedError"),
        ({"dtype": "quint8", "scheme": "symmetric", "reduce_range": True}, "NotImplementedError"),
    ],
)
def test_what_torch_does_not_have_is_refused(options: dict[str, Any], says: str) -> None:
    assert says in str(allowed(QuantScheme(**options)))


@pytest.mark.oracle
@pytest.mark.parametrize("kind", ["MinMaxObserver", "PerChannelMinMaxObserver"])
def test_torch_refuses_reduced_symmetric_unsigned_codes_of_any_width(kind: str) -> None:
    for quant_range in (None, (0, 15)):
        options = {"dtype": "quint8", "scheme": "symmetric", "reduce_range": True, "quant_range": quant_range}
        with pytest.raises(NotImplementedError):
            observed(kind, options)


def qparams_of(sample: Sample, convention: str, **options: Any) -> QParams:
    """Parameters of a sample's tensor: per channel of its axis if it has one, else of the whole."""
    x, spec = sample["x"], sample.spec
    axis = spec.get("axis")
    others = None if axis is None else tuple(each for each in range(x.ndim) if each != axis)
    free = spec.get("quant_range")
    return choose_qparams(
        x.min(others), x.max(others), dtype=spec.get("dtype", "quint8"), scheme=spec.get("scheme", "affine"),
        reduce_range=spec["reduce_range"], quant_range=None if free is None else tuple(free), ch_axis=axis,
        convention=convention, **options,
    )  # fmt: skip


@pytest.mark.parametrize("sample", [*samples("torch.per_tensor"), *samples("torch.per_channel")], ids=str)
def test_samples_of_observers(sample: Sample) -> None:
    if not np.isfinite(sample["scale"]).all():
        for convention in ("pytorch", "pytorch-quantized"):
            with pytest.raises(QuantValueError, match="scale must be finite and above 0 in float32, got inf"):
                qparams_of(sample, convention)
        return
    fake, real = qparams_of(sample, "pytorch"), qparams_of(sample, "pytorch-quantized")
    assert (fake.quant_min, fake.quant_max) == (sample.spec["qmin"], sample.spec["qmax"])
    for q in (fake, real):
        assert n_different(np.atleast_1d(q.scale), sample["scale"]) == 0
        assert np.array_equal(np.atleast_1d(q.zero_point), sample["zero_point"])
    x = sample["x"]
    assert n_different(fake_quantize(x, fake), sample["fake_quant"]) == 0
    codes = quantize(x, real)
    assert np.array_equal(codes, sample["q"])
    assert n_different(dequantize(codes, real), sample["dq"]) == 0


@pytest.mark.parametrize("sample", samples("torch.kernels"), ids=str)
def test_samples_of_kernels(sample: Sample) -> None:
    x, spec = sample["x"], sample.spec
    scale, zero_point = np.float32(spec["scale"]), spec["zero_point"]
    for convention, how, name in (
        ("pytorch", "tensor", "fq_per_tensor"), ("pytorch", "channel", "fq_per_channel"),
        ("pytorch-quantized", "tensor", "q_per_tensor"), ("pytorch-quantized", "channel", "q_per_channel"),
        ("pytorch", "channel", "q_pt2e_per_channel"),
    ):  # fmt: skip
        params = (scale, zero_point) if how == "tensor" else ([scale], [zero_point])
        q = QParams(*params, dtype=spec["dtype"], convention=convention, ch_axis=None if how == "tensor" else 0)
        row = x if how == "tensor" else x[None]
        if name.startswith("fq"):
            assert n_different(fake_quantize(row, q).reshape(-1), sample[name]) == 0, name
        else:
            assert np.array_equal(quantize(row, q).reshape(-1), sample[name]), name


@pytest.mark.parametrize("sample", samples("torch.dynamic"), ids=str)
def test_samples_of_dynamic_quantization(sample: Sample) -> None:
    q = qparams_of(sample, "pytorch-dynamic")
    assert q.scale == np.float32(sample["scale"])
    assert q.zero_point == sample["zero_point"]
    codes = quantize(sample["x"], q)
    assert np.array_equal(codes, sample["q"])
    assert n_different(dequantize(codes, q), sample["dq"]) == 0


@pytest.mark.parametrize("sample", samples("torch.moving_average"), ids=str)
def test_samples_of_moving_averages(sample: Sample) -> None:
    spec = sample.spec
    q = choose_qparams(sample["min"], sample["max"], dtype=spec["dtype"], scheme=spec["scheme"], convention="pytorch")
    assert (q.quant_min, q.quant_max) == (spec["qmin"], spec["qmax"])
    assert n_different(q.scale, sample["scale"]) == 0
    assert np.array_equal(q.zero_point, sample["zero_point"])
