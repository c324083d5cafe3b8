"""LiteRT, once TensorFlow Lite: its converter's parameters, and QUANTIZE with and without XNNPACK."""

from __future__ import annotations

import numpy as np

from ..kernels import K2, K6, K8_AWAY, FloatArray, round_half_away
from ..record import AFFINE, CHANNEL_TENSOR, SYMMETRIC, Convention, Params, Refusal, Support
from ..schemes import QuantScheme
from ..trace import Note
from .floats import above_zero, largest, no_shift

#: Calibration starts from this maximum, float32's smallest normal number: no activation's maximum is less.
LEAST_MAX = np.finfo(np.float32).tiny
#: Zero points are rounded where int8 has them; uint8 is int8, moved up by 128.
INT8_MIN, INT8_MAX = -128, 127


def runtime_range(min_val: FloatArray, max_val: FloatArray, scheme: QuantScheme, note: Note) -> Params:
    """The converter's scale and zero point: of weights (symmetric int8), and of activations, in float32."""
    if not scheme.symmetric:
        return _activations(min_val, max_val, scheme, note)
    weights = scheme.dtype == "qint8"
    top = largest(min_val, max_val if weights else _held(max_val, note), note)
    scale = note("scale", "largest / quant_max", np.asarray(top / np.float32(scheme.quant_max)))
    return Params(above_zero(scale, note) if weights else scale, no_shift(scale, note))


def converter_range(min_val: FloatArray, max_val: FloatArray, scheme: QuantScheme, note: Note) -> Params:
    """As :func:`runtime_range`, with the number that the converter multiplies weights by.

    Where that is infinite or the channel is all zero, the converter writes code 0 for every value; 1 does the same.
    """
    params = runtime_range(min_val, max_val, scheme, note)
    if not scheme.symmetric or scheme.dtype != "qint8":
        return params
    with np.errstate(divide="ignore", over="ignore"):
        multiplier = np.asarray(np.float32(scheme.quant_max) / np.maximum(np.abs(min_val), np.abs(max_val)))
    note("multiplier", "quant_max / largest", multiplier, "values are multiplied by this, not divided by the scale")
    usable = np.where(np.isfinite(multiplier), multiplier, np.float32(1))
    if not np.array_equal(usable, multiplier, equal_nan=True):
        note("multiplier", "1", usable, "as none is finite: all codes are 0, as the converter's are")
    return Params(params.scale, params.zero_point, multiplier=usable)


def _activations(min_val: FloatArray, max_val: FloatArray, scheme: QuantScheme, note: Note) -> Params:
    low = note("min", "min(min, 0)", np.minimum(min_val, np.float32(0)), "zero is in the range")
    high, steps = _held(max_val, note), np.float32(scheme.quant_max - scheme.quant_min)
    scale = note("scale", "(max - min) / (quant_max - quant_min)", np.asarray((high - low) / steps))
    zero_point = np.array(np.float32(INT8_MIN) - low / scale)
    round_half_away(zero_point)
    inside = np.clip(zero_point, INT8_MIN, INT8_MAX).astype(np.int64)
    if scheme.grid.signed:
        return Params(scale, note("zero_point", "round(-128 - min / scale)", inside, "half away from zero"))
    moved = note("zero_point", "round(-128 - min / scale) + 128", inside - INT8_MIN, "half away from zero, as int8")
    return Params(scale, moved)


def _held(max_val: FloatArray, note: Note) -> FloatArray:
    held = np.maximum(max_val, LEAST_MAX)
    if np.array_equal(held, max_val):
        return note("max", "max(max, 0)", held)
    return note("max", f"max(max, {LEAST_MAX:.8g})", held, "calibration starts from the smallest normal number")


ONE_ZERO_POINT = Refusal(
    (("scheme", "affine"), ("granularity", "channel")),
    "scales per channel are for weights, and their zero points are 0 by LiteRT's specification",
    "choose scheme 'symmetric', or granularity 'tensor'",
)
NO_INT16_SHIFT = Refusal(
    (("dtype", "int16"), ("scheme", "affine")),
    "LiteRT's int16 activations have zero point 0",
    "choose scheme 'symmetric' with granularity 'tensor'",
)
WEIGHTS = Support(("qint8",), SYMMETRIC, CHANNEL_TENSOR)
ACTIVATIONS = Support(("qint8", "quint8"), AFFINE, ("tensor",))

LITERT = Convention(
    name="litert",
    title="LiteRT converter and reference kernels",
    used_by="TensorFlow Lite and LiteRT: int8 weights as the converter writes them, activations by reference kernels",
    supports=(WEIGHTS, ACTIVATIONS, Support(("int16",), SYMMETRIC, ("tensor",))),
    range_rule=converter_range,
    kernel=K6,
    multiplier_kernel=K8_AWAY,
    scale_floor=float(LEAST_MAX / np.float32(255)),
    checked="ai-edge-litert 2.3.0, CPU, x86-64",
    source="the converter's quantization after calibration, and the reference kernels of QUANTIZE and DEQUANTIZE, all "
    "in float32; weights are multiplied by 127 / largest, values under given parameters divided by their scale",
    refusals=(ONE_ZERO_POINT, NO_INT16_SHIFT),
)

LITERT_XNNPACK = Convention(
    name="litert-xnnpack",
    title="LiteRT with XNNPACK",
    used_by="LiteRT interpreters as they come: XNNPACK quantizes tensors at run time (for weights see litert)",
    supports=(WEIGHTS, ACTIVATIONS),
    range_rule=runtime_range,
    kernel=K2,
    scale_floor=float(LEAST_MAX / np.float32(255)),
    checked="ai-edge-litert 2.3.0, default delegate, CPU, x86-64",
    source="the converter's scales and XNNPACK's QUANTIZE, float32 throughout; XNNPACK takes whole tensors, so several "
    "channels are one QUANTIZE each (an operation with one scale per channel falls to the kernels of litert)",
    refusals=(ONE_ZERO_POINT,),
)
