"""NVFP4 in its three dialects, and ModelOpt's and compressed-tensors' own MX formats, against those libraries.

Left out, because our own policy differs: tensors of zeros, whose global scale is NaN or 0 in the libraries (we raise).
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from core.runtimes.bits import float_values, n_different
from core.runtimes.block_cases import SHAPE, assert_same, block_params, hard, middles_of, nibbles
from needs import oracle
from samples_of import Sample, samples

from perchq_widget.core.blockscaled import BlockParams
from perchq_widget.core.elements import dequantize, fake_quantize, quantize
from perchq_widget.core.errors import QuantValueError
from perchq_widget.core.grids import float_grid

E2M1 = middles_of(float_values(float_grid("float4_e2m1fn")))
#: One tensor has one global scale: blocks of one size, of many sizes, and dwarfed by huge ones.
KINDS = {
    "one size": {"spread": 0.5, "without": ("huge", "subnormal")},
    "many sizes": {"spread": 4.0, "without": ("huge",)},
    "dwarfed": {"spread": 4.0, "without": ()},
}


def imported(name: str) -> Any:
    """A library's module; their imports warn about what they import, and take seconds."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return oracle(name)


@pytest.fixture(scope="module")
def modelopt() -> Any:
    return imported("modelopt.torch.quantization.qtensor")


@pytest.fixture(scope="module")
def torchao() -> Any:
    return imported("torchao.prototype.mx_formats.nvfp4_tensor")


class CompressedTensors:
    """compressed-tensors' functions on groups along the last axis."""

    def __init__(self, bits: int, strategy: str, size: int, scale_dtype: Any) -> None:
        self.lib = imported("compressed_tensors.quantization")
        self.utils = imported("compressed_tensors.quantization.utils")
        self.life = imported("compressed_tensors.quantization.lifecycle.forward")
        self.pack = imported("compressed_tensors.compressors.nvfp4.helpers").pack_fp4_to_uint8
        self.size = size
        self.args = self.lib.QuantizationArgs(
            num_bits=bits, type="float", symmetric=True, strategy=strategy, group_size=size, scale_dtype=scale_dtype,
            zp_dtype=scale_dtype,
        )  # fmt: skip

    def scales(self, x: Any, overall: Any = None) -> Any:
        groups = x.unflatten(-1, (-1, self.size))
        return self.utils.calculate_qparams(groups.amin(-1), groups.amax(-1), self.args, global_scale=overall)[0]

    def through(self, x: Any, scale: Any, overall: Any = None) -> tuple[Any, Any, Any]:
        """Elements as float32, values, and the values of fake_quantize."""
        elements = self.life.quantize(x, scale, None, self.args, global_scale=overall)
        values = self.life.dequantize(elements, scale, None, self.args, global_scale=overall)
        return elements, values, self.life.fake_quantize(x, scale, None, self.args, global_scale=overall)


@pytest.mark.oracle
@pytest.mark.parametrize("kinds", KINDS)
def test_modelopt_s_nvfp4(modelopt: Any, kinds: str) -> None:
    torch = oracle("torch")
    x, params = hard(E2M1, 16, KINDS[kinds], dtype="nvfp4", convention="modelopt")
    packed, scale, overall = modelopt.NVFP4QTensor.quantize(torch.from_numpy(x.copy()), 16)
    values = packed.dequantize(torch.float32, scale=scale, double_scale=overall, block_sizes={-1: 16}).numpy()
    assert params.global_scale == overall.item()
    assert n_different(params.scale.view(np.uint8), scale.view(torch.uint8).numpy()) == 0
    assert_same(x, params, nibbles(packed._quantized_data.numpy()), values)


@pytest.mark.oracle
@pytest.mark.parametrize("kinds", KINDS)
def test_torchao_s_nvfp4(torchao: Any, kinds: str) -> None:
    torch = oracle("torch")
    x, params = hard(E2M1, 16, KINDS[kinds], dtype="nvfp4", convention="torchao")
    data = torch.from_numpy(x)
    overall = torchao.per_tensor_amax_to_scale(data.abs().max())
    tensor = torchao.NVFP4Tensor.to_nvfp4(data, 16, overall)
    assert params.global_scale == overall.item()
    assert n_different(params.scale.view(np.uint8), tensor.scale.view(torch.uint8).numpy()) == 0
    assert_same(x, params, nibbles(tensor.qdata.view(torch.uint8).numpy()), tensor.dequantize(torch.float32).numpy())


@pytest.mark.oracle
@pytest.mark.parametrize("kinds", KINDS)
def test_compressed_tensors_nvfp4(kinds: str) -> None:
    torch = oracle("torch")
    lib = CompressedTensors(4, "tensor_group", 16, torch.float8_e4m3fn)
    x, params = hard(E2M1, 16, KINDS[kinds], dtype="nvfp4", convention="compressed-tensors")
    data = torch.from_numpy(x)
    overall = lib.utils.generate_gparam(data.min(), data.max())
    scale = lib.scales(data, overall)
    elements, values, faked = lib.through(data, scale, overall)
    assert params.global_scale == overall.item()
    assert n_different(params.scale.view(np.uint8), scale.to(torch.float8_e4m3fn).view(torch.uint8).numpy()) == 0
    assert n_different(values.numpy(), faked.numpy()) == 0
    assert_same(x, params, nibbles(lib.pack(elements).numpy()), values.numpy())


@pytest.mark.oracle
def test_modelopt_s_mxfp4(modelopt: Any) -> None:
    """An exact zero gets code 8 there, which is -0."""
    torch = oracle("torch")
    x, params = hard(E2M1, 32, {}, dtype="mxfp4", convention="modelopt")
    packed, scale = modelopt.MXFP4QTensor.quantize(torch.from_numpy(x), 32)
    values = packed.dequantize(torch.float32, scale=scale, block_sizes={-1: 32}).numpy()
    assert n_different(params.scale.view(np.uint8).reshape(-1, 1), scale.numpy()) == 0
    codes = nibbles(packed._quantized_data.numpy())
    assert (codes[x == 0] == 8).all()
    assert_same(x, params, codes, values)


@pytest.mark.oracle
@pytest.mark.parametrize(("dtype", "bits"), [("mxfp4", 4), ("mxfp8_e4m3fn", 8)])
def test_compressed_tensors_mx(dtype: str, bits: int) -> None:
    torch = oracle("torch")
    lib = CompressedTensors(bits, "group", 32, torch.uint8)
    compressors = imported("compressed_tensors.compressors.mx_utils")
    middles = E2M1 if bits == 4 else middles_of(float_values(float_grid("float8_e4m3fn")))
    x, params = hard(middles, 32, {}, dtype=dtype, convention="compressed-tensors")
    scale = lib.scales(torch.from_numpy(x))
    elements, values, faked = lib.through(torch.from_numpy(x), scale)
    assert n_different(params.scale.view(np.uint8), compressors.compress_mx_scale(scale, torch.uint8).numpy()) == 0
    assert n_different(values.numpy(), faked.numpy()) == 0
    eight = elements.to(torch.float8_e4m3fn).view(torch.uint8).numpy()
    codes = eight if bits == 8 else nibbles(lib.pack(elements).numpy())
    assert_same(x, params, codes, values.numpy())


@pytest.mark.oracle
def test_modelopt_pads_a_short_block(modelopt: Any) -> None:
    torch = oracle("torch")
    x = np.random.default_rng(4).standard_normal((8, 40)).astype(np.float32)
    params = block_params(x, dtype="nvfp4", convention="modelopt")
    assert params.scale.shape == (8, 3)
    packed, scale, overall = modelopt.NVFP4QTensor.quantize(torch.from_numpy(x.copy()), 16)
    del overall
    assert n_different(params.scale.view(np.uint8), scale.view(torch.uint8).numpy()) == 0
    codes = nibbles(packed._quantized_data.numpy())[:, :40]
    assert n_different(quantize(x, params).view(np.uint8), np.ascontiguousarray(codes)) == 0


@pytest.mark.parametrize("convention", ["torchao", "compressed-tensors"])
def test_others_refuse_a_short_block(convention: str) -> None:
    with pytest.raises(QuantValueError, match="no short blocks: 40 elements of a channel are no multiple of 16"):
        block_params(np.ones((8, 40), np.float32), dtype="nvfp4", convention=convention)


@pytest.mark.parametrize("convention", ["modelopt", "torchao"])
def test_zeros_have_no_global_scale(convention: str) -> None:
    with pytest.raises(QuantValueError, match="largest magnitude, 0, which gives 0"):
        block_params(np.zeros((2, 32), np.float32), dtype="nvfp4", convention=convention)


def test_compressed_tensors_gives_zeros_a_global_scale_of_one() -> None:
    zeros = np.zeros((2, 32), np.float32)
    params = block_params(zeros, dtype="nvfp4", convention="compressed-tensors")
    assert params.global_scale == 1
    assert (params.scale.astype(np.float32) == 0.125).all()
    assert (fake_quantize(zeros, params) == 0).all()


def nvfp4_sample(convention: str, sample: Sample) -> BlockParams:
    return block_params(sample["x"], dtype="nvfp4", convention=convention)


@pytest.mark.parametrize("sample", samples("torchao.nvfp4"), ids=str)
def test_torchao_samples(sample: Sample) -> None:
    params = nvfp4_sample("torchao", sample)
    assert params.global_scale == sample["global_scale"]
    assert n_different(params.scale.view(np.uint8), sample["scale_e4m3"]) == 0
    assert n_different(quantize(sample["x"], params).view(np.uint8), sample["code"]) == 0


@pytest.mark.parametrize("sample", samples("ct.nvfp4"), ids=str)
def test_compressed_tensors_samples(sample: Sample) -> None:
    params = nvfp4_sample("compressed-tensors", sample)
    assert params.global_scale == sample["global_scale"][0]
    assert n_different(params.scale.astype(np.float32), sample["scale"]) == 0
    codes = quantize(sample["x"], params)
    assert n_different(codes.view(np.uint8), sample["code"]) == 0
    assert n_different(codes.astype(np.float32), sample["value"]) == 0


@pytest.mark.parametrize("sample", samples("ct.mx"), ids=str)
def test_compressed_tensors_mx_samples(sample: Sample) -> None:
    dtype = {4: "mxfp4", 8: "mxfp8_e4m3fn"}[sample.spec["bits"]]
    params = block_params(sample["x"], dtype=dtype, convention="compressed-tensors")
    assert n_different(params.scale.astype(np.float32), sample["scale"]) == 0
    assert n_different(quantize(sample["x"], params).astype(np.float32), sample["value"]) == 0


@pytest.mark.parametrize("sample", samples("modelopt.mxfp4"), ids=str)
def test_modelopt_mxfp4_samples(sample: Sample) -> None:
    params = block_params(sample["x"], dtype="mxfp4", convention="modelopt")
    assert n_different(params.scale.view(np.uint8), sample["scale_e8m0"]) == 0
    assert n_different(quantize(sample["x"], params).view(np.uint8), sample["code"]) == 0


def test_dialects_disagree_on_zero_only_by_its_sign() -> None:
    """-0 has code 8 in torchao, where the others ask x < 0; a small negative number has it in all three."""
    x = np.ones((1, 16), np.float32)
    x[0, :3] = -0.0, -1e-6, 0.0
    codes = {name: quantize(x, nv(x, name)).view(np.uint8)[0, :3].tolist() for name in DIALECTS}
    assert codes == {"modelopt": [0, 8, 0], "torchao": [8, 8, 0], "compressed-tensors": [0, 8, 0]}
    signs = {name: np.signbit(dequantize(quantize(x, nv(x, name)), nv(x, name)))[0, :3].tolist() for name in DIALECTS}
    assert signs["modelopt"] == [False, False, False]
    assert signs["torchao"] == [True, True, False]


DIALECTS = ("modelopt", "torchao", "compressed-tensors")


def nv(x: np.ndarray, convention: str) -> BlockParams:
    return block_params(x, dtype="nvfp4", convention=convention)


def test_sizes_are_a_million() -> None:
    assert np.prod(SHAPE) >= 1_000_000
