"""compressed-tensors, the format of llm-compressor and vLLM."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import numpy.typing as npt

from ..grids import INTEGER_DTYPES
from ..kernels import K5, FloatArray
from ..record import SYMMETRIC, Convention, Params, Support
from ..schemes import QuantScheme
from ..trace import Note
from .floats import no_shift
from .nvfp4 import COMPRESSED_TENSORS_BLOCKS

EVERYWHERE = ("channel", "tensor", "group", "block", "token")
SIGNED = tuple(dtype for dtype, (bits, signed) in INTEGER_DTYPES.items() if signed and bits <= 8)


def calculated_range(min_val: FloatArray, max_val: FloatArray, scheme: QuantScheme, note: Note) -> Params:
    """``calculate_qparams`` in the ranges' dtype: float32, or float16 and bfloat16 as the tensor has it.

    A scale of 0 becomes eps of that dtype, after the zero point was taken from it.
    """
    zero = min_val.dtype.type(0)
    low = note("min", "min(min, 0)", np.minimum(min_val, zero), "zero is in the range")
    high = note("max", "max(max, 0)", np.maximum(max_val, zero))
    return (_symmetric if scheme.symmetric else _affine)(low, high, scheme, note)


def _symmetric(low: FloatArray, high: FloatArray, scheme: QuantScheme, note: Note) -> Params:
    top = note("largest", "max(|min|, |max|)", np.maximum(np.abs(low), np.abs(high)))
    half = top.dtype.type(scheme.quant_max - scheme.quant_min) / top.dtype.type(2)
    scale = note("scale", "largest / ((quant_max - quant_min) / 2)", np.asarray(top / half))
    return Params(_not_zero(scale, note), no_shift(scale, note))


def _affine(low: FloatArray, high: FloatArray, scheme: QuantScheme, note: Note) -> Params:
    steps = low.dtype.type(scheme.quant_max - scheme.quant_min)
    with np.errstate(over="ignore"):
        width = note("width", "max - min", np.asarray(high - low))
    scale = note("scale", "width / (quant_max - quant_min)", np.asarray(width / steps))
    zero_point = _zero_point(low, scale, scheme, note)
    return Params(_not_zero(scale, note), zero_point)


def _zero_point(low: FloatArray, scale: FloatArray, scheme: QuantScheme, note: Note) -> npt.NDArray[np.int64]:
    """Clipped as a float, then rounded: quant_min - min / scale. One number alone is subtracted in float32."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        quotient = np.asarray(low / scale)
        if scheme.granularity == "tensor":  # torch takes the wider type of two single numbers
            quotient = quotient.astype(np.float32)
        lowest, highest = (quotient.dtype.type(end) for end in (scheme.quant_min, scheme.quant_max))
        shifted = np.clip(lowest - quotient, lowest, highest)
    note("shifted", "min(max(quant_min - min / scale, quant_min), quant_max)", shifted)
    known = np.where(np.isnan(shifted), shifted.dtype.type(0), shifted)
    why = "half to even" if not np.isnan(shifted).any() else "0 / 0 is not a number, which becomes 0"
    return note("zero_point", "round(shifted)", np.rint(known).astype(np.int64), why)


def _not_zero(scale: FloatArray, note: Note) -> FloatArray:
    eps = scale.dtype.type(ml_dtypes.finfo(scale.dtype).eps)  # type: ignore[no-untyped-call]
    usable = np.where(scale == 0, eps, scale)
    if not np.array_equal(usable, scale, equal_nan=True):
        note("scale", f"{float(eps):.8g}", usable, f"instead of 0: eps of {scale.dtype.name}")
    return usable


COMPRESSED_TENSORS = Convention(
    name="compressed-tensors",
    title="llm-compressor and vLLM checkpoints",
    used_by="llm-compressor, which writes such checkpoints, and vLLM, which serves them",
    supports=(
        Support(SIGNED, granularities=EVERYWHERE),
        Support(("float8_e4m3fn",), SYMMETRIC, EVERYWHERE),
        Support(("nvfp4",), SYMMETRIC, ("group",), group_sizes=(16,)),
        Support(("mxfp4", "mxfp8_e4m3fn"), SYMMETRIC, ("group",), group_sizes=(32,)),
    ),
    block_formats=COMPRESSED_TENSORS_BLOCKS,
    range_rule=calculated_range,
    kernel=K5,
    float_rule=calculated_range,
    dtypes=(np.dtype(np.float32), np.dtype(np.float16), np.dtype(ml_dtypes.bfloat16)),
    # calculate_qparams keeps zero points in the codes; quantize and dequantize take any, and GPTQ's may lie one above
    zero_point_in_range=False,
    checked="compressed-tensors 0.20.0, CPU, x86-64",
    source="compressed_tensors.quantization: calculate_qparams, quantize, dequantize and fake_quantize, in the "
    "tensor's own dtype; per token as for activations of three axes; formats in blocks in float32",
)
