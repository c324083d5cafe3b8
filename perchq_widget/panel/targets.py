"""Settings by deployment target: what each runtime's own tool does when nobody tells it otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from ..core.schemes import GroupSize, QuantScheme
from .menus import conventions_for, dtypes_for
from .moves import USUAL_OBSERVER, scheme_of


@dataclass(frozen=True)
class Preset:
    """One target. ``settings`` are all settings of a scheme; ``source`` is one line on where the target says so.

    ``why`` is what it is for and, where the target does something that is not done here, what.
    """

    name: str
    title: str
    settings: Mapping[str, Any] = field(hash=False)
    why: str
    source: str

    @property
    def scheme(self) -> QuantScheme:
        """What the settings come to."""
        return scheme_of(self.settings)


def _preset(
    name: str,
    title: str,
    dtype: str,
    scheme: str,
    granularity: str,
    convention: str,
    why: str,
    source: str,
    *,
    group_size: GroupSize | None = None,
    reduce_range: bool = False,
) -> Preset:
    settings = {
        "dtype": dtype, "scheme": scheme, "granularity": granularity, "group_size": group_size,
        "convention": convention, "scale_rule": None, "reduce_range": reduce_range, "narrow_range": False,
        "observer": USUAL_OBSERVER, "clip_ratio": 1.0,
    }  # fmt: skip
    return Preset(name, title, MappingProxyType(settings), why, source)


_TORCH = (
    _preset(
        "torch-x86-weights", "torch x86 (fbgemm) weights: int8 per channel",
        "qint8", "symmetric", "channel", "pytorch-quantized",
        "Weights of Linear and Conv in torch.ao, as they are after convert.",
        "torch.ao get_default_qconfig('x86' and 'fbgemm').weight: PerChannelMinMaxObserver, per_channel_symmetric",
    ),
    _preset(
        "torch-x86-activations", "torch x86 (fbgemm) activations: uint8, 7 bits in use",
        "quint8", "affine", "tensor", "pytorch-quantized",
        "Activations in torch.ao. The default HistogramObserver searches a narrower range; here it is min to max.",
        "torch.ao get_default_qconfig('x86').activation: HistogramObserver(reduce_range=True), quint8",
        reduce_range=True,
    ),
    _preset(
        "torch-dynamic-weights", "torch dynamic weights: int8 per tensor",
        "qint8", "symmetric", "tensor", "pytorch-quantized",
        "Weights under torch.ao quantize_dynamic.",
        "torch.ao default_dynamic_qconfig.weight: MinMaxObserver, qint8, per_tensor_symmetric",
    ),
    _preset(
        "torch-dynamic-activations", "torch dynamic activations: uint8, 7 bits in use",
        "quint8", "affine", "tensor", "pytorch-dynamic",
        "Inputs of a dynamically quantized Linear, one scale each, chosen at run time.",
        "torch.ao.nn.quantized.dynamic.Linear.forward: linear_dynamic(..., reduce_range=True)",
        reduce_range=True,
    ),
)  # fmt: skip
_ONNXRUNTIME = (
    _preset(
        "onnxruntime-weights", "ONNX Runtime CPU weights: int8 per tensor",
        "qint8", "symmetric", "tensor", "onnxruntime",
        "Weights under quantize_static and quantize_dynamic as they come.",
        "onnxruntime.quantization: weight_type QInt8, per_channel False, reduce_range False, WeightSymmetric",
    ),
    _preset(
        "onnxruntime-weights-per-channel", "ONNX Runtime CPU weights: int8 per channel",
        "qint8", "symmetric", "channel", "onnxruntime",
        "Weights with per_channel=True, on CPUs with VNNI or on ARM.",
        "onnxruntime.quantization quantize_static(per_channel=True), weight_type QInt8, WeightSymmetric",
    ),
    _preset(
        "onnxruntime-weights-reduced", "ONNX Runtime CPU weights: 7 bits per channel",
        "qint8", "symmetric", "channel", "onnxruntime",
        "Weights with per_channel=True and reduce_range=True, for x86 without VNNI, whose 16-bit sums overflow.",
        "onnxruntime.quantization quantize_static(per_channel=True, reduce_range=True)",
        reduce_range=True,
    ),
    _preset(
        "onnxruntime-activations", "ONNX Runtime CPU activations: int8",
        "qint8", "affine", "tensor", "onnxruntime",
        "Activations under quantize_static as it comes.",
        "onnxruntime.quantization: activation_type QInt8, CalibrationMethod.MinMax, ActivationSymmetric off",
    ),
    _preset(
        "onnxruntime-dynamic-activations", "ONNX Runtime CPU dynamic activations: uint8",
        "quint8", "affine", "tensor", "onnx-dynamic",
        "Activations of a model from quantize_dynamic: DynamicQuantizeLinear chooses as they come.",
        "ONNX operator DynamicQuantizeLinear, which onnxruntime.quantization.quantize_dynamic inserts",
    ),
)  # fmt: skip
_LITERT = (
    _preset(
        "litert-weights", "LiteRT weights: int8 per channel",
        "qint8", "symmetric", "channel", "ai-edge",
        "Weights of models for LiteRT, static or dynamic.",
        "ai_edge_quantizer.recipe static_wi8_ai8 and dynamic_wi8_afp32: 8 bits, symmetric, CHANNELWISE",
    ),
    _preset(
        "litert-activations", "LiteRT activations: int8",
        "qint8", "affine", "tensor", "ai-edge",
        "Activations of models for LiteRT, quantized statically.",
        "ai_edge_quantizer.recipe static_wi8_ai8: activations 8 bits, asymmetric, TENSORWISE",
    ),
    _preset(
        "litert-activations-int16", "LiteRT activations: int16",
        "int16", "symmetric", "tensor", "ai-edge",
        "Activations where 8 bits lose too much, beside int8 weights.",
        "ai_edge_quantizer.recipe static_wi8_ai16: activations 16 bits, symmetric, TENSORWISE",
    ),
    _preset(
        "litert-int4", "LiteRT weights: int4 per channel",
        "int4", "symmetric", "channel", "ai-edge",
        "Weights of dynamically quantized models, four bits.",
        "ai_edge_quantizer.recipe dynamic_wi4_afp32: 4 bits, symmetric, CHANNELWISE",
    ),
    _preset(
        "litert-int4-blocks", "LiteRT weights: int4, groups of 32",
        "int4", "symmetric", "group", "ai-edge",
        "Weights of language models, four bits with a scale per 32.",
        "ai_edge_quantizer.recipe dynamic_wi4b32_afp32: 4 bits, symmetric, BLOCKWISE_32",
        group_size=32,
    ),
)  # fmt: skip
_TENSORRT = (
    _preset(
        "tensorrt-int8-weights", "TensorRT INT8 weights: per channel",
        "qint8", "symmetric", "channel", "tensorrt",
        "Weights of explicitly quantized networks.",
        "modelopt INT8_DEFAULT_CFG weight_quantizer: 8 bits, axis 0; TensorRT documents: zero point 0, amax / 127",
    ),
    _preset(
        "tensorrt-int8-activations", "TensorRT INT8 activations: per tensor",
        "qint8", "symmetric", "tensor", "tensorrt",
        "Activations of explicitly quantized networks.",
        "modelopt INT8_DEFAULT_CFG input_quantizer: 8 bits, axis None; TensorRT documents: zero point 0",
    ),
    _preset(
        "tensorrt-fp8", "TensorRT FP8: per tensor",
        "float8_e4m3fn", "symmetric", "tensor", "tensorrt",
        "Weights and activations in FP8, one scale for each tensor.",
        "modelopt FP8_DEFAULT_CFG: num_bits (4, 3), axis None",
    ),
    _preset(
        "tensorrt-int4", "TensorRT INT4 weights: groups of 128",
        "int4", "symmetric", "group", "tensorrt",
        "Weight-only INT4. AWQ scales channels before it; that is not done here.",
        "modelopt INT4_AWQ_CFG and INT4_BLOCKWISE_WEIGHT_ONLY_CFG: 4 bits, blocks of 128",
        group_size=128,
    ),
    _preset(
        "tensorrt-nvfp4", "TensorRT NVFP4: blocks of 16",
        "nvfp4", "symmetric", "group", "modelopt",
        "Four-bit floats on Blackwell; Model Optimizer writes the scales.",
        "modelopt NVFP4_DEFAULT_CFG: num_bits (2, 1), blocks of 16 with (4, 3) scales",
        group_size=16,
    ),
)  # fmt: skip


def _gguf(dtype: str, title: str, scheme: str, why: str) -> Preset:
    source = f"ggml quantize_row_{dtype.removeprefix('gguf_')}_ref, as gguf.quants has it: blocks of 32"
    return _preset(f"llama.cpp-{title.lower()}", f"llama.cpp {title}", dtype, scheme, "group", "gguf", why, source,
                   group_size=32)  # fmt: skip


_LLAMA_CPP = (
    _gguf("q8_0", "Q8_0", "symmetric", "Eight bits with a scale per 32: hardly told from float16."),
    _gguf("q5_1", "Q5_1", "affine", "Five bits with a scale and a minimum per 32."),
    _gguf("q5_0", "Q5_0", "symmetric", "Five bits with a scale per 32."),
    _gguf("q4_1", "Q4_1", "affine", "Four bits with a scale and a minimum per 32."),
    _gguf("q4_0", "Q4_0", "symmetric", "Four bits with a scale per 32: the smallest of the legacy formats."),
    _gguf("gguf_mxfp4", "MXFP4", "symmetric", "Four-bit floats with a power of two per 32, as gpt-oss ships them."),
)


def _vllm(
    key: str, title: str, dtype: str, scheme: str, granularity: str, why: str, size: GroupSize | None = None
) -> Preset:
    part = "input_activations" if granularity == "token" else "weights"
    name = f"vllm-{key.lower().replace('_', '-')}" + ("-activations" if granularity == "token" else "")
    source = f"compressed_tensors PRESET_SCHEMES[{key!r}], {part}"
    return _preset(name, f"vLLM {title}", dtype, scheme, granularity, "compressed-tensors", why, source,
                   group_size=size)  # fmt: skip


_VLLM = (
    _vllm("W8A8", "W8A8 weights (int8 per channel)", "qint8", "symmetric", "channel",
          "Weights of INT8 checkpoints from llm-compressor."),
    _vllm("W8A8", "W8A8 activations (int8 per token)", "qint8", "symmetric", "token",
          "Inputs of INT8 layers, a scale per token, chosen at run time."),
    _vllm("W4A16", "W4A16 (int4, groups of 128)", "int4", "symmetric", "group",
          "Weight-only INT4. GPTQ and AWQ choose other roundings on the same grid.", 128),
    _vllm("W4A16_ASYM", "W4A16 asymmetric (int4, groups of 128)", "int4", "affine", "group",
          "Weight-only INT4 with zero points.", 128),
    _vllm("FP8", "FP8 (float8 per tensor)", "float8_e4m3fn", "symmetric", "tensor",
          "Weights in FP8, one scale for each tensor."),
    _vllm("FP8_DYNAMIC", "FP8 dynamic weights (float8 per channel)", "float8_e4m3fn", "symmetric", "channel",
          "Weights in FP8 where activations get their scales at run time."),
    _vllm("FP8_BLOCK", "FP8 block (float8, blocks of 128x128)", "float8_e4m3fn", "symmetric", "block",
          "Weights in FP8 as DeepSeek-V3 has them.", (128, 128)),
    _vllm("NVFP4A16", "NVFP4 (blocks of 16)", "nvfp4", "symmetric", "group",
          "Weights in four-bit floats with float8 scales.", 16),
    _vllm("MXFP4A16", "MXFP4 (blocks of 32)", "mxfp4", "symmetric", "group",
          "Weights in four-bit floats with powers of two as scales.", 32),
)  # fmt: skip

PRESETS: Mapping[str, Preset] = MappingProxyType(
    {each.name: each for each in (*_TORCH, *_ONNXRUNTIME, *_LITERT, *_TENSORRT, *_LLAMA_CPP, *_VLLM)}
)


def presets_for(kind: str) -> tuple[Preset, ...]:
    """The presets whose settings all apply: for the calculator's lines, integers with a scale per channel."""
    if kind == "tensor":
        return tuple(PRESETS.values())
    conventions, dtypes = conventions_for(kind), dtypes_for(kind)
    return tuple(
        each
        for each in PRESETS.values()
        if each.settings["granularity"] == "channel"
        and each.settings["convention"] in conventions
        and each.settings["dtype"] in dtypes
    )
