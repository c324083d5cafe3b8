"""Wrong words and values get a hint that leads somewhere, and no warning besides."""

from collections.abc import Callable

import numpy as np
import pytest
from needs import oracle

import perchq_widget as pq
from perchq_widget.core.errors import QuantError
from perchq_widget.core.grids import canonical_dtype

W = np.random.default_rng(0).normal(size=(16, 128)).astype(np.float32)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("float8", "float8_e4m3fn"), ("fp8", "float8_e4m3fn"), ("e4m3", "float8_e4m3fn"), ("mxfp8", "mxfp8_e4m3fn"),
        ("bf16", "bfloat16"), ("QINT8", "qint8"), ("qunit8", "quint8"), ("q4_m", "q4_"),
        ("Q4_K", "q4_k"), ("Q4_K_M", "q4_k"),
    ],
)  # fmt: skip
def test_short_and_mistyped_formats_are_understood(name: str, meant: str) -> None:
    with pytest.raises(QuantError, match=f"did you mean .*{meant}"):
        canonical_dtype(name)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: pq.analyze(W, scheme="asymmetric"), "that is 'affine'"),
        (lambda: pq.analyze(W, group_size=32.0), "an integer, such as 128"),
        (lambda: pq.analyze(W, group_size="32"), "an integer, such as 128"),
        (lambda: pq.analyze(W[0], group_size=32), "more than the one element that each channel"),
        (lambda: pq.analyze(W, dtype="float16", clip_ratio=0.5), "scale_rule 'one' sets the scale"),
        (lambda: pq.analyze(W, dtype="float16", ranges=(-1, 1)), "scale_rule 'one' sets the scale"),
        (lambda: pq.analyze(W, ranges=(-1e39, 1.0)), "got inf .*clip the range"),
        (lambda: pq.choose_qparams(-1e308, 1e308), "got inf; clip the range"),
        (lambda: pq.QParams(0.0, 0, dtype="qint8", convention="pytorch"), "a step between codes has a size"),
        (lambda: pq.analyze(W.reshape(4, 4, 128), group_size=(4, 4)), "needs a matrix"),
        (lambda: pq.calculate("a,-1,1,0", dtype="mxfp4", convention="ocp", scheme="symmetric"), "choose granularity"),
    ],
)
def test_bad_arguments_lead_somewhere(call: Callable[[], object], message: str) -> None:
    with pytest.raises(QuantError, match=message):
        call()


def test_numpy_integers_and_negative_axes_are_as_good() -> None:
    assert pq.analyze(W, group_size=np.int64(32)).qparams.group_size == 32
    q = pq.QParams([0.1] * 128, [0] * 128, dtype="qint8", convention="pytorch", ch_axis=-1)
    assert pq.analyze(W, qparams=q, ch_axis=1).table["scale"].eq(np.float32(0.1)).all()


@pytest.mark.oracle
def test_torch_tensors_are_values_too() -> None:
    torch = oracle("torch")
    layer = torch.nn.Linear(32, 8)
    report = pq.analyze(layer.weight)
    assert np.array_equal(pq.quantize(layer.weight, report.qparams), report.codes())
    half = layer.weight.to(torch.bfloat16)
    assert pq.fake_quantize(half, pq.analyze(half).qparams).shape == (8, 32)


@pytest.mark.parametrize("convention", ["litert-xnnpack", "onnx-dynamic", "pytorch-dynamic", "pytorch", "torchao"])
def test_an_all_zero_tensor_has_no_error(convention: str) -> None:
    """LiteRT's scale of such a tensor is subnormal, and 0 times its infinite reciprocal is not a number."""
    report = pq.analyze(np.zeros((4, 64), np.float32), dtype="quint8", granularity="tensor", convention=convention)
    assert report.summary["max_abs_error"] == 0
    assert report.summary["sqnr_db"] == np.inf


def test_the_scale_range_is_that_of_all_groups() -> None:
    report = pq.analyze(W, dtype="int4", group_size=32)
    ends = report.summary["scale_min"], report.summary["scale_max"]
    assert ends == (report.groups()["scale"].min(), report.groups()["scale"].max())
