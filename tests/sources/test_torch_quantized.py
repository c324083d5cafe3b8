"""Tensors that torch or torchao quantized: their codes and parameters decode to what the library says."""

from __future__ import annotations

import warnings
from typing import Any

import needs
import numpy as np
import pytest
from core.runtimes.bits import from_torch

import perchq_widget as pq
from perchq_widget.sources.base import TensorRecord
from perchq_widget.sources.opening import open_source

pytestmark = pytest.mark.oracle
torch = needs.oracle("torch")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    ao = needs.oracle("torchao")
    from torchao import quantization as aoq

WEIGHT = torch.randn(16, 64, generator=torch.Generator().manual_seed(1))


def quietly(make: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch and torchao warn about the age of these
        return make()


def check(record: TensorRecord, tensor: Any) -> None:
    """Decodes to the library's bits in the library's dtype, and the parameters give the codes again."""
    expected, stored = from_torch(torch, tensor.dequantize()), record.stored()
    read, decoded = record.read(), stored.decoded()
    assert read.dtype == expected.dtype
    assert read.tobytes() == expected.tobytes()
    assert decoded.astype(expected.dtype).tobytes() == expected.tobytes()
    assert np.array_equal(pq.analyze(record).codes(), stored.codes)
    assert record.quantized
    assert stored.qparams.ch_axis in (None, record.ch_axis)


TORCH: dict[str, Any] = {
    "tensor qint8": lambda: torch.quantize_per_tensor(WEIGHT, 0.0317, 3, torch.qint8),
    "tensor quint8": lambda: torch.quantize_per_tensor(WEIGHT, 0.0317, 120, torch.quint8),
    "channel qint8": lambda: torch.quantize_per_channel(
        WEIGHT, torch.linspace(0.01, 0.05, 16), torch.arange(-8, 8), 0, torch.qint8
    ),
    "channel quint8": lambda: torch.quantize_per_channel(
        WEIGHT, torch.linspace(0.01, 0.05, 64), torch.arange(64) + 90, 1, torch.quint8
    ),
    "strided": lambda: torch.quantize_per_tensor(WEIGHT.t(), 0.0317, 3, torch.qint8),
}


@pytest.mark.parametrize("case", TORCH)
def test_torchs_quantized_tensors(case: str) -> None:
    tensor = quietly(TORCH[case])
    record = open_source({"w": tensor})["w"]
    check(record, tensor)
    assert record.stored().qparams.convention == "pytorch-quantized"
    assert np.array_equal(record.raw(), tensor.int_repr().numpy())
    assert (record.ch_axis, record.dtype) == (int(case == "channel quint8"), str(tensor.dtype).removeprefix("torch."))
    assert open_source(tensor)["tensor"].quantized


OTHERS: dict[str, Any] = {
    "qint32": lambda: torch.quantize_per_tensor(WEIGHT, 1e-6, 0, torch.qint32),
    "float zero points": lambda: torch.quantize_per_channel(
        WEIGHT, torch.linspace(0.01, 0.05, 16), torch.rand(16), 0, torch.quint8
    ),
    "quint4x2": lambda: torch.quantize_per_channel(
        WEIGHT, torch.linspace(0.1, 0.5, 16), torch.rand(16), 0, torch.quint4x2
    ),
}


@pytest.mark.parametrize("case", OTHERS)
def test_what_our_formats_lack_is_decoded_and_says_so(case: str) -> None:
    tensor = quietly(OTHERS[case])
    record = open_source({"w": tensor})["w"]
    assert record.read().tobytes() == tensor.dequantize().numpy().tobytes()
    assert "only decoded" in record.note
    assert not record.quantized
    assert record.stored_as


TORCHAO: dict[str, tuple[Any, str]] = {
    "int8 channel": (lambda: aoq.Int8WeightOnlyConfig(), "qint8"),
    "int8 tensor": (lambda: aoq.Int8WeightOnlyConfig(granularity=aoq.PerTensor()), "qint8"),
    "int8 dynamic": (lambda: aoq.Int8DynamicActivationInt8WeightConfig(), "qint8"),
    "intx int8": (lambda: aoq.IntxWeightOnlyConfig(torch.int8), "qint8"),
    "intx groups": (lambda: aoq.IntxWeightOnlyConfig(torch.int4, aoq.PerGroup(32)), "int4"),
    "intx 3 bits": (lambda: aoq.IntxWeightOnlyConfig(torch.int3), "int3"),
    "float8": (lambda: aoq.Float8WeightOnlyConfig(), "float8_e4m3fn"),
}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("case", TORCHAO)
def test_torchaos_subclasses(case: str, dtype: str) -> None:
    config, codes = TORCHAO[case]
    model = torch.nn.Sequential(torch.nn.Linear(64, 16, bias=False)).to(getattr(torch, dtype))
    with torch.no_grad():
        model[0].weight.copy_(WEIGHT)
    quietly(lambda: aoq.quantize_(model, config()))
    for source in (open_source(model), open_source(model.state_dict())):
        record = source["0.weight"]
        check(record, model[0].weight)
        assert (record.dtype, record.shape) == (codes, (16, 64))
        assert record.stored().qparams.convention == "torchao"
        assert "torchao" in record.stored_as


def test_a_layout_that_is_not_known_is_refused_with_the_call_that_decodes() -> None:
    packed = aoq.Int4Tensor(
        torch.zeros(16, 32, dtype=torch.int8), torch.ones(2, 16), torch.zeros(2, 16), [1, 32], torch.Size([16, 64])
    )
    source = open_source({"w": packed, "other": WEIGHT})
    assert "Int4Tensor of torchao" in str(source["w"].not_applicable)
    assert "tensor.dequantize()" in str(source["w"].not_applicable)
    assert source["other"].read().shape == (16, 64)


def test_quantized_layers_hand_out_their_weights() -> None:
    def convert() -> Any:
        model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Linear(6, 4)).eval()
        model.qconfig = torch.ao.quantization.get_default_qconfig("x86")
        prepared = torch.ao.quantization.prepare(model)
        prepared[0](torch.randn(1, 3, 8, 8))
        prepared[2](torch.randn(2, 6))
        return torch.ao.quantization.convert(prepared)

    model = quietly(convert)
    source = open_source(model)
    for name, layer, kind in (("0.weight", model[0], "Conv2d"), ("2.weight", model[2], "Linear")):
        check(source[name], layer.weight())
        assert kind in source[name].ch_axis_reason
    assert source["2.bias"].read().shape == (4,)
    state = open_source(model.state_dict())
    check(state["2._packed_params._packed_params.0"], model[2].weight())


def test_a_quantizer_that_makes_no_sense_spoils_only_its_tensor() -> None:
    source = open_source({
        "zero": quietly(lambda: torch.quantize_per_tensor(WEIGHT, 0.0, 0, torch.qint8)),
        "empty": quietly(lambda: torch.quantize_per_tensor(WEIGHT[:0], 0.1, 0, torch.qint8)),
    })  # fmt: skip
    assert "scale must be finite and above 0" in str(source["zero"].not_applicable)
    assert "no elements" in str(source["empty"].not_applicable)
