"""ONNX Runtime: its quantization tool, QuantizeLinear, and DynamicQuantizeLinear.

float16 data are divided in float32, as models up to opset 21 are, which the tool writes; from opset 23 on in float16
unless the operator's ``precision`` says otherwise. The CPU has no float4: there the standard's reference is followed.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from ..grids import FLOAT_DTYPES, FloatGrid, float_grid
from ..kernels import CAST_QUOTIENT, K1, Expanded, FloatArray, Kernel
from ..record import AFFINE, CHANNEL_TENSOR, SYMMETRIC, Convention, Params, Refusal, Support
from ..schemes import QuantScheme
from ..trace import Note
from .floats import amax_or_one, no_shift

#: The tool takes a range whose step is below this for one without width.
TINY = np.finfo(np.float32).tiny
TOOL_DTYPES = ("qint8", "quint8", "int16", "uint16", "int4", "uint4")
FLOAT_CODES = (*(dtype for dtype in FLOAT_DTYPES if dtype.startswith("float8")), "float4_e2m1fn")


def tool_range(min_val: FloatArray, max_val: FloatArray, scheme: QuantScheme, note: Note) -> Params:
    """The tool's ``compute_scale_zp``, and for groups its ``compute_scale_zp_blocked``.

    Both take zero into the range and divide in float64; they differ in what happens to the step afterwards.
    """
    low = note("min", "min(min, 0)", np.minimum(min_val, np.float32(0)), "zero is in the range")
    high = note("max", "max(max, 0)", np.maximum(max_val, np.float32(0)))
    if scheme.symmetric:
        high = note("largest", "max(-min, max)", np.maximum(-low, high))
        low = -high
    return (_of_blocks if scheme.granularity == "group" else _of_tensors)(low, high, scheme, note)


def _of_tensors(low: FloatArray, high: FloatArray, scheme: QuantScheme, note: Note) -> Params:
    """The zero point comes from the step before that is rounded to float32; without width it is 0 in every scheme."""
    quant_min = int(scheme.quant_min)
    width = high.astype(np.float64) - low
    exact = note("step", _step(scheme), np.asarray(width / (scheme.quant_max - quant_min)), "in float64")
    flat = exact < TINY
    if flat.all():
        return Params(_one(flat.shape, note), no_shift(exact, note))
    if scheme.symmetric:
        zero_point = _noted_middle(scheme, exact.shape, note)
    else:
        zero_point = np.rint(quant_min - low / np.where(flat, 1, exact)).astype(np.int64)
        note("zero_point", "round(quant_min - min / step)", zero_point, "half to even, from the step in float64")
    scale = note("scale", "float32(step)", exact.astype(np.float32))
    return Params(np.where(flat, np.float32(1), scale), np.where(flat, 0, zero_point))


def _of_blocks(low: FloatArray, high: FloatArray, scheme: QuantScheme, note: Note) -> Params:
    """The width is subtracted in float32, the zero point comes from the rounded scale and is clamped."""
    quant_min, quant_max = int(scheme.quant_min), int(scheme.quant_max)
    step = (high - low).astype(np.float64) / (quant_max - quant_min)
    scale = note("scale", _step(scheme), np.asarray(step.astype(np.float32)), "divided in float64")
    flat = scale < TINY
    scale = _one(flat.shape, note) if flat.all() else np.where(flat, np.float32(1), scale)
    if scheme.symmetric:
        return Params(scale, _noted_middle(scheme, scale.shape, note))
    if flat.all():
        return Params(scale, no_shift(scale, note))
    exact = np.rint(quant_min - low.astype(np.float64) / scale.astype(np.float64))
    zero_point = np.where(flat, 0, np.clip(exact, quant_min, quant_max).astype(np.int64))
    note("zero_point", "round(quant_min - min / scale)", zero_point, "in float64, half to even")
    return Params(scale, zero_point)


def _one(shape: tuple[int, ...], note: Note) -> FloatArray:
    return note("scale", "1", np.ones(shape, np.float32), "for a step below the smallest normal number")


def _step(scheme: QuantScheme) -> str:
    width = "2 * largest" if scheme.symmetric else "(max - min)"
    return f"{width} / (quant_max - quant_min)"


def _noted_middle(scheme: QuantScheme, shape: tuple[int, ...], note: Note) -> npt.NDArray[np.int64]:
    why = "the middle of the codes, half to even"
    return note("zero_point", "round((quant_min + quant_max) / 2)", np.full(shape, middle(scheme), np.int64), why)


def middle(scheme: QuantScheme) -> int:
    """The zero point of the symmetric scheme: 0 for signed codes, 128 for quint8, 64 with reduce_range."""
    return int(np.rint((int(scheme.quant_min) + int(scheme.quant_max)) / 2))


def _cast(x: FloatArray, p: Expanded, out: FloatArray) -> None:
    """As CAST_QUOTIENT; the standard adds the zero point to quotients of float4 only, so that -0 becomes 0."""
    np.divide(x, p.scale, out=out)
    assert isinstance(p.grid, FloatGrid)
    if p.grid.bits == 4:
        np.add(out, p.zero, out=out)
    p.grid.round(out, np.empty_like(out))


def float_range(min_val: FloatArray, max_val: FloatArray, scheme: QuantScheme, note: Note) -> Params:
    """scale_rule "std" is the tool's ``compute_scale_zp_float8``: the values spread as the format's own values do."""
    if scheme.scale_rule != "std":
        return amax_or_one(min_val, max_val, scheme, note)
    spread = note("std", "std(x)", max_val, "of all values, in float32")
    own = _deviation(scheme.dtype)
    scale = note("scale", f"std / {own:.8g}", np.asarray(spread / own), f"the std of all values of {scheme.dtype}")
    usable = np.where(scale > 0, scale, np.float32(1))
    if not np.array_equal(usable, scale):
        note("scale", "1", usable, "instead of 0, which nothing can be divided by")
    return Params(usable, no_shift(scale, note))


@cache
def _deviation(dtype: str) -> np.float32:
    """The standard deviation of a format's 2^bits codes, in the order of the codes, without NaN."""
    with np.errstate(invalid="ignore"):
        values = np.arange(256, dtype=np.uint8).view(float_grid(dtype).storage).astype(np.float32)
    return np.float32(np.std(values[np.isfinite(values)]))


def deviations(values: FloatArray) -> FloatArray:
    """The standard deviation of each row, summed in numpy's order as the tool has it."""
    return np.asarray(np.std(values, axis=1))


def dynamic_range(min_val: FloatArray, max_val: FloatArray, scheme: QuantScheme, note: Note) -> Params:
    """DynamicQuantizeLinear, float32 throughout: the step of the data's own range, 1 where all values are zero."""
    zero = np.float32(0)
    low = note("min", "min(min, 0)", np.minimum(min_val, zero), "zero is in the range")
    high = note("max", "max(max, 0)", np.maximum(max_val, zero))
    scale = np.asarray((high - low) / np.float32(scheme.quant_max))
    note("scale", "(max - min) / quant_max", scale)
    flat = high == low
    if flat.any():
        scale = note("scale", "1", np.where(flat, np.float32(1), scale), "all values are zero")
    with np.errstate(divide="ignore", invalid="ignore"):  # a step of 0 is refused by whoever takes the scale
        start: npt.NDArray[Any] = np.clip(zero - low / scale, zero, np.float32(scheme.quant_max))
    zero_point = np.rint(np.nan_to_num(start)).astype(np.int64)
    note("zero_point", "round(min(max(0 - min / scale, 0), quant_max))", zero_point, "half to even")
    return Params(scale, zero_point)


NO_REDUCED_BLOCKS = Refusal(
    (("granularity", "group"), ("reduce_range", True)),
    "onnxruntime.quantization spreads blocks over all codes: compute_scale_zp_blocked has no reduced range",
    "turn reduce_range off, or choose granularity 'channel' or 'tensor'",
)

ONNXRUNTIME = Convention(
    name="onnxruntime",
    title="ONNX Runtime's quantization tool",
    used_by="ONNX Runtime: onnxruntime.quantization writes the model, QuantizeLinear applies it",
    supports=(
        Support(TOOL_DTYPES, flags=("reduce_range",)),
        Support(TOOL_DTYPES, granularities=("group",)),
        Support(("float8_e4m3fn",), SYMMETRIC, CHANNEL_TENSOR, scale_rules=("amax", "one", "std")),
        Support(FLOAT_CODES, SYMMETRIC, ("channel", "tensor", "group"), scale_rules=("amax", "one")),
    ),
    range_rule=tool_range,
    kernel=K1,
    float_rule=float_range,
    statistics={"std": deviations},
    float_kernel=Kernel("cast", _cast, CAST_QUOTIENT.formulas, CAST_QUOTIENT.rounding),
    whole_dtype_saturates=True,
    symmetric_zero_point=middle,
    short_group=True,
    signed_groups=True,  # MatMulNBits, symmetric: a block's largest value is at code 0, its sign in the scale
    refusals=(NO_REDUCED_BLOCKS,),
    checked="onnxruntime 1.32.0, onnx 1.23.2, CPU, x86-64",
    source="onnxruntime.quantization compute_scale_zp and compute_scale_zp_blocked; ONNX QuantizeLinear and "
    "DequantizeLinear, dividing in float32",
)

ONNX_DYNAMIC = Convention(
    name="onnx-dynamic",
    title="ONNX DynamicQuantizeLinear",
    used_by="ONNX models quantized dynamically: activations get their parameters as they come",
    supports=(Support(("quint8",), AFFINE, ("tensor",)),),
    range_rule=dynamic_range,
    kernel=K1,
    checked="onnxruntime 1.32.0, CPU, x86-64",
    source="ONNX DynamicQuantizeLinear in ONNX Runtime, float32 throughout",
)
