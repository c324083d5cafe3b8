"""NVIDIA's TensorRT, by its documents, and Model Optimizer (ModelOpt), by its CPU arithmetic."""

from __future__ import annotations

import numpy as np

from ..grids import INTEGER_DTYPES
from ..kernels import CAST_PRODUCT, DIVIDED, K1, K8_EVEN, FloatArray
from ..record import SYMMETRIC, Convention, Params, Support
from ..schemes import QuantScheme
from ..trace import Note
from .floats import above_zero, amax_scale, largest, no_shift
from .nvfp4 import MODELOPT_BLOCKS

EVERYWHERE = ("channel", "tensor", "group", "block", "token")
SIGNED = tuple(dtype for dtype, (_, signed) in INTEGER_DTYPES.items() if signed)
#: ModelOpt takes a largest magnitude up to this as no range at all.
NO_RANGE = np.float32(2.0**-24)
#: So small that every finite float32 times this rounds to code 0.
VANISHING = np.finfo(np.float32).smallest_subnormal


def amax_range(min_val: FloatArray, max_val: FloatArray, scheme: QuantScheme, note: Note) -> Params:
    """TensorRT: scale = amax / quant_max (127, 7, 448). The documents want it above zero and leave no range open."""
    scale = above_zero(amax_scale(min_val, max_val, scheme, note), note)
    return Params(scale, no_shift(scale, note))


def modelopt_range(min_val: FloatArray, max_val: FloatArray, scheme: QuantScheme, note: Note) -> Params:
    """``_tensor_quant``: values are multiplied by quant_max / amax, and codes divided by it again.

    The scale, amax / quant_max, is ``TensorQuantizer.step_size``; the arithmetic on values does not use it. Where amax
    is at most 2^-24, ModelOpt makes all values 0 and then divides by 1: the least multiplier does the same.
    """
    top = largest(min_val, max_val, note)
    quant_max = np.float32(scheme.quant_max)
    with np.errstate(divide="ignore"):
        multiplier = note("multiplier", "quant_max / largest", quant_max / top)
    scale = note("scale", "largest / quant_max", top / quant_max)
    none = top <= NO_RANGE
    if none.any():
        why = "largest is at most 2^-24: ModelOpt makes every value 0"
        multiplier = note("multiplier", "1e-45", np.where(none, VANISHING, multiplier), why)
        scale = note("scale", "1", np.where(none, np.float32(1), scale), why)
    return Params(scale, no_shift(scale, note), multiplier=multiplier)


def modelopt_float_range(min_val: FloatArray, max_val: FloatArray, scheme: QuantScheme, note: Note) -> Params:
    """``_fp8_eager``: multiplier (1 / amax) * 448, rounded twice; the scale is its reciprocal.

    An amax of at most 2^-24 counts as 1, under which every value of the range is 0.
    """
    top = largest(min_val, max_val, note)
    none = top <= NO_RANGE
    if none.any():
        top = note("largest", "1", np.where(none, np.float32(1), top), "at most 2^-24 counts as 1")
    inverse = note("inverse", "1 / largest", np.float32(1) / top)
    multiplier = note("multiplier", "inverse * quant_max", inverse * np.float32(scheme.quant_max))
    scale = note("scale", "1 / multiplier", np.asarray(np.float32(1) / multiplier))
    return Params(scale, no_shift(scale, note), multiplier=multiplier)


TENSORRT = Convention(
    name="tensorrt",
    title="TensorRT, by its documents",
    used_by="TensorRT engines built from quantized networks",
    supports=(
        Support(("qint8",), SYMMETRIC, ("channel", "tensor", "group", "block")),
        Support(("int4",), SYMMETRIC, ("group",), group_sizes=(64, 128)),
        Support(("float8_e4m3fn",), SYMMETRIC, ("channel", "tensor", "group", "block")),
    ),
    range_rule=amax_range,
    kernel=K1,
    float_rule=amax_range,
    checked="the vendor's documents only: TensorRT itself was not run",
    source="TensorRT documentation, Quantization Schemes, and IQuantizeLayer: zero point 0, clip to -128..127, -8..7 "
    "or +-448; a weight's scale is amax / 127, amax / 7 or amax / 448",
)

MODELOPT = Convention(
    name="modelopt",
    title="NVIDIA Model Optimizer",
    used_by="checkpoints and QAT models made with nvidia-modelopt for TensorRT, TensorRT-LLM and vLLM",
    supports=(
        Support(SIGNED, SYMMETRIC, EVERYWHERE, flags=("narrow_range",)),
        Support(("float8_e4m3fn",), SYMMETRIC, EVERYWHERE),
        Support(("nvfp4",), SYMMETRIC, ("group",), group_sizes=(16,)),
        Support(("mxfp4",), SYMMETRIC, ("group",), group_sizes=(32,)),
    ),
    block_formats=MODELOPT_BLOCKS,
    range_rule=modelopt_range,
    kernel=K1,
    multiplier_kernel=K8_EVEN,
    float_rule=modelopt_float_range,
    float_multiplier_kernel=CAST_PRODUCT,
    multiplier_decoder=DIVIDED,
    short_group=True,
    checked="nvidia-modelopt 0.47.0, CPU, x86-64",
    source="modelopt.torch.quantization: TensorQuantizer, tensor_quant._tensor_quant for integers and _fp8_eager for "
    "float8_e4m3fn; qtensor.NVFP4QTensor and MXFP4QTensor; float32 throughout; unsigned quantizers, which refuse "
    "negative values, are left out",
)
