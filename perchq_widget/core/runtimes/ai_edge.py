"""ai-edge-quantizer: quantizes LiteRT models after training."""

from __future__ import annotations

import ml_dtypes
import numpy as np

from ..kernels import K5, FloatArray
from ..record import AFFINE, CHANNEL_TENSOR, SYMMETRIC, Convention, Params, Support
from ..schemes import QuantScheme
from ..trace import Note
from .floats import largest, no_shift

#: No range is narrower than this.
LEAST_WIDTH = np.float32(1e-9)
#: Groups store their scales in float16.
LEAST_GROUP_SCALE = np.float32(np.finfo(np.float16).smallest_subnormal)
GROUP_SIZES = (32, 64, 128, 256)


def min_max_range(min_val: FloatArray, max_val: FloatArray, scheme: QuantScheme, note: Note) -> Params:
    """``tensor_zp_scale_from_min_max`` in float32; scales of groups are then rounded as they are stored."""
    if scheme.symmetric:
        top = _held("largest", largest(min_val, max_val, note), note)
        scale = note("scale", "largest / quant_max", np.asarray(top / np.float32(scheme.quant_max)))
        scale = _stored(scale, note) if scheme.granularity == "group" else scale
        return Params(scale, no_shift(scale, note))
    low = note("min", "min(min, 0)", np.minimum(min_val, np.float32(0)), "zero is in the range")
    high = note("max", "max(max, 0)", np.maximum(max_val, np.float32(0)))
    width = _held("width", note("width", "max - min", np.asarray(high - low)), note)
    quant_min, steps = np.float32(scheme.quant_min), np.float32(scheme.quant_max - scheme.quant_min)
    scale = note("scale", "width / (quant_max - quant_min)", np.asarray(width / steps))
    zero_point = np.rint(quant_min - low / scale).astype(np.int64)
    return Params(scale, note("zero_point", "round(quant_min - min / scale)", zero_point, "half to even"))


def _held(name: str, width: FloatArray, note: Note) -> FloatArray:
    held = np.maximum(width, LEAST_WIDTH)
    if not np.array_equal(held, width):
        note(name, f"max({name}, 1e-09)", held, "held at the least that the quantizer allows")
    return np.asarray(held)


def _stored(scale: FloatArray, note: Note) -> FloatArray:
    """float16 with bfloat16's mantissa. Where that is 0 the quantizer divides by 0: the least above stands in."""
    with np.errstate(over="ignore", under="ignore"):
        rounded = scale.astype(ml_dtypes.bfloat16).astype(np.float16).astype(np.float32)
    note("scale", "float16(bfloat16(scale))", rounded, "a group's scale as it is stored")
    usable = np.maximum(rounded, LEAST_GROUP_SCALE)
    if not np.array_equal(usable, rounded):
        note("scale", f"max(scale, {LEAST_GROUP_SCALE:.8g})", usable, "the least above 0 that can be stored")
    return np.asarray(usable)


AI_EDGE = Convention(
    name="ai-edge",
    title="AI Edge Quantizer",
    used_by="ai-edge-quantizer, which quantizes LiteRT models after training, down to int4 and int2 weights",
    supports=(
        Support(("int4", "int2"), SYMMETRIC, ("group",), group_sizes=GROUP_SIZES),
        Support(("qint8", "int4"), granularities=CHANNEL_TENSOR),
        Support(("int2",), SYMMETRIC, CHANNEL_TENSOR),
        Support(("quint8",), AFFINE, ("tensor",)),
        Support(("int16",), SYMMETRIC, ("tensor",)),
    ),
    range_rule=min_max_range,
    kernel=K5,
    checked="ai-edge-quantizer 0.10.0, CPU, x86-64",
    source="ai_edge_quantizer uniform_quantize_tensor: tensor_zp_scale_from_min_max, uniform_quantize and "
    "uniform_dequantize, float32 throughout",
)
