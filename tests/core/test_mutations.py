"""The samples notice every confusion that real tools differ by: each mutation of a record makes them fail.

The battery needs no library: its numbers were made once by torch and ONNX Runtime (tests/golden).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from samples_of import Sample, samples

from perchq_widget.core import kernels
from perchq_widget.core.conventions import CONVENTIONS
from perchq_widget.core.elements import fake_quantize, quantize
from perchq_widget.core.errors import QuantValueError
from perchq_widget.core.kernels import Expanded, Kernel
from perchq_widget.core.qparams import QParams, choose_qparams
from perchq_widget.core.record import Params
from perchq_widget.core.runtimes import torch_ao

FLOAT64 = np.dtype(np.float64)


def observer_agrees(sample: Sample) -> bool:
    """Scales, zero points and fake-quantized values of a torch observer, per channel."""
    spec, x, axis = sample.spec, sample["x"], sample.spec["axis"]
    other = tuple(each for each in range(x.ndim) if each != axis)
    ends = None if spec["quant_range"] is None else tuple(spec["quant_range"])
    finite = np.isfinite(sample["scale"])
    low, high = x.min(other)[finite], x.max(other)[finite]
    q = choose_qparams(
        low, high, dtype=spec["dtype"], scheme=spec["scheme"], reduce_range=spec["reduce_range"], quant_range=ends,
        ch_axis=axis, convention="pytorch",
    )  # fmt: skip
    back = fake_quantize(np.compress(finite, x, axis), q)
    wanted = np.compress(finite, sample["fake_quant"], axis)
    return (
        np.array_equal(q.scale, sample["scale"][finite].astype(np.float32))
        and np.array_equal(q.zero_point, sample["zero_point"][finite])
        and np.array_equal(back.astype(np.float32).view(np.uint32), wanted.view(np.uint32))
    )


def codes_agree(sample: Sample, convention: str, out: str) -> bool:
    """Codes of values on ties and one ulp beside, with one given scale."""
    spec = sample.spec
    if "scale" in spec:
        scale, zero, dtype = spec["scale"], spec["zero_point"], spec["dtype"]
    else:
        dtype = {"int8": "qint8", "uint8": "quint8"}.get(spec["type"], spec["type"])
        scale, zero = sample["scale"], sample["zero_point"]
    q = QParams(scale, np.asarray(zero, np.int64), dtype=dtype, convention=convention)
    if out.startswith("fq"):
        return np.array_equal(fake_quantize(sample["x"], q), sample[out])
    return np.array_equal(quantize(sample["x"], q), sample[out])


def battery() -> list[bool]:
    """Whether each sample agrees; a refusal is a disagreement."""
    checks: list[Callable[[], bool]] = [
        *(lambda s=s: observer_agrees(s) for s in samples("torch.per_channel")),  # type: ignore[misc]
        *(lambda s=s: codes_agree(s, "pytorch", "fq_per_channel") for s in samples("torch.kernels")),  # type: ignore[misc]
        *(lambda s=s: codes_agree(s, "pytorch-quantized", "q_per_tensor") for s in samples("torch.kernels")),  # type: ignore[misc]
        *(
            lambda s=s: codes_agree(s, "onnxruntime", "q")  # type: ignore[misc]
            for s in samples("ort.quantize_linear")
            if s.spec["granularity"] == "tensor"
        ),
    ]
    return [_passes(check) for check in checks]


def _passes(check: Callable[[], bool]) -> bool:
    try:
        with np.errstate(all="ignore"):
            return check()
    except (QuantValueError, ValueError):
        return False


def away(kernel: Kernel) -> Kernel:
    """The same kernel with ties rounded away from zero."""

    def levels(x: np.ndarray, p: Expanded, out: np.ndarray) -> None:
        np.divide(x, p.scale, out=out)
        kernels.round_half_away(out)

    return replace(kernel, levels=levels)


def without_eps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_ao, "EPS", np.float32(0))


def in_float64(low: np.ndarray, high: np.ndarray, scheme: Any, note: Any, /) -> Params:
    """The observer's rule with its quotients in float64."""
    wide = [np.minimum(low.astype(FLOAT64), 0), np.maximum(high.astype(FLOAT64), 0)]
    found = torch_ao.observer_range(low, high, scheme, note)
    steps = scheme.quant_max - scheme.quant_min
    width = 2 * np.maximum(-wide[0], wide[1]) if scheme.symmetric else wide[1] - wide[0]
    scale = np.maximum(width / steps, float(torch_ao.EPS))
    return replace(found, scale=scale)


def changed(name: str, **changes: Any) -> Callable[[pytest.MonkeyPatch], None]:
    """A mutation: the record ``name`` with ``changes``."""

    def mutate(monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(CONVENTIONS, name, replace(CONVENTIONS[name], **changes))

    return mutate


MUTATIONS: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "K1 for K2": changed("pytorch", kernel=kernels.K1),
    "K2 for K1": changed("onnxruntime", kernel=kernels.K2),
    "K3 for K4": changed("pytorch-quantized", tensor_kernel=kernels.K3),
    "K5 for K1": changed("onnxruntime", kernel=kernels.K5),
    "no eps": without_eps,
    "scales in float64": changed("pytorch", range_rule=in_float64),
    "elements in float64": changed("pytorch", dtypes=(FLOAT64,)),
    "half away for half to even": changed("onnxruntime", kernel=away(kernels.K1)),
    "denominator 127": changed("pytorch", range_rule=lambda low, high, scheme, note: replace(
        torch_ao.observer_range(low, high, scheme, note), scale=np.maximum(-low, high) / np.float32(127))),
}  # fmt: skip


@pytest.fixture
def _as_they_are() -> Iterator[None]:
    assert all(battery())
    yield
    assert all(battery())


@pytest.mark.usefixtures("_as_they_are")
@pytest.mark.parametrize("mutation", MUTATIONS)
def test_the_samples_notice(mutation: str) -> None:
    with pytest.MonkeyPatch.context() as patched:
        MUTATIONS[mutation](patched)
        assert not all(battery())


def test_the_half_away_kernel_notices_half_to_even() -> None:
    """LiteRT's reference kernel: 0.5, 1.5 and 2.5 steps become 1, 2 and 3; half to even would give 0, 2, 2."""
    q = QParams(0.5, 0, dtype="qint8", convention="litert")
    ties = np.array([0.25, 0.75, 1.25, -0.25, -0.75, -1.25], np.float32)
    wanted = [1, 2, 3, -1, -2, -3]
    assert quantize(ties, q).tolist() == wanted
    with pytest.MonkeyPatch.context() as patched:
        changed("litert", kernel=kernels.K1)(patched)
        assert quantize(ties, q).tolist() != wanted
