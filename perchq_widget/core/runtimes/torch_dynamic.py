"""PyTorch's C++ choice of parameters, which dynamic quantization makes at run time from each activation."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..kernels import FloatArray
from ..kernels_fma import K4
from ..record import Convention, Params, Refusal, Support
from ..schemes import QuantScheme
from ..trace import Note
from .torch_ao import FEWER_BITS, NARROW_NOT_KEPT, QUANTIZED_TENSORS

#: Stands in for a scale that is zero or has no finite reciprocal in float32.
NO_SCALE = 0.1
#: No scale is smaller. It is float32 here; a smaller range is blown up to it.
LEAST_SCALE = np.float32(6.1e-5)

Ends = tuple[FloatArray, FloatArray]
Float64s = npt.NDArray[np.float64]
ZERO = np.float32(0)


def choose_at_run_time(min_val: FloatArray, max_val: FloatArray, scheme: QuantScheme, note: Note) -> Params:
    """ATen's ``ChooseQuantizationParams``: float64 arithmetic on float32 ends; the scale is float32 where it is used.

    Symmetric ("preserve_sparsity") moves the ends of a range that has zero inside; any other range is taken as affine.
    """
    steps = int(scheme.quant_max) - int(scheme.quant_min)
    ends = min_val.astype(np.float32), max_val.astype(np.float32)
    if scheme.symmetric:
        ends = _balanced(*ends, steps, note)
    low = note("min", "min(min, 0)", np.minimum(ends[0], ZERO), "zero is in the range")
    high = note("max", "max(max, 0)", np.maximum(ends[1], ZERO))
    width = note("width", "max - min", high.astype(np.float64) - low, "in float64, as all that follows")
    scale = _usable(note("scale", "width / (quant_max - quant_min)", width / steps), note)
    low, high = _blown_up(scale, (low, high), steps, note)
    scale = np.maximum(scale, np.float64(LEAST_SCALE))
    zero_point = _zero_point(scale, low, high, scheme, note)
    return Params(note("scale", "float32(scale)", scale.astype(np.float32)), zero_point)


def _balanced(low: FloatArray, high: FloatArray, steps: int, note: Note) -> Ends:
    """The ends moved out until half the codes, the odd one below zero, reach both of them."""
    below, above = -(steps // 2 + 1), steps // 2
    has_zero = (low < 0) & (high > 0)
    step = np.maximum(np.abs(low / np.float32(below)), np.abs(high / np.float32(above))).astype(np.float64)
    step = note("step", f"max(|min / ({below})|, |max / {above}|)", step)
    why = "" if np.all(has_zero) else "zero is not inside the range, which is taken as affine"
    first = np.where(has_zero, (step * below).astype(np.float32), low)
    last = np.where(has_zero, (step * above).astype(np.float32), high)
    return note("min", f"step * ({below})", first, why), note("max", f"step * {above}", last, why)


def _usable(scale: Float64s, note: Note) -> Float64s:
    with np.errstate(under="ignore", divide="ignore", over="ignore"):
        inverse = np.float32(1) / scale.astype(np.float32)
    usable = np.where(np.isinf(inverse), NO_SCALE, scale)
    if not np.array_equal(usable, scale):
        note("scale", "0.1", usable, "zero, or without a finite reciprocal in float32")
    return usable


def _blown_up(scale: Float64s, ends: Ends, steps: int, note: Note) -> Ends:
    """The range of a scale below the least one, stretched as the scale is: both ends, or the one that is not zero."""
    low, high = ends
    small = scale < LEAST_SCALE
    if not small.any():
        return ends
    note("scale", "6.1e-5", np.maximum(scale, np.float64(LEAST_SCALE)), "the least that torch allows at run time")
    factor = LEAST_SCALE / np.where(small, scale, 1).astype(np.float32)
    whole = LEAST_SCALE * np.float32(steps)
    first = np.where(low == 0, low, np.where(high == 0, -whole, low * factor))
    last = np.where(low == 0, whole, np.where(high == 0, high, high * factor))
    why = "stretched as the scale was"
    low, high = np.where(small, first, low), np.where(small, last, high)
    return note("min", "min * (6.1e-5 / scale)", low, why), note("max", "max * (6.1e-5 / scale)", high, why)


def _zero_point(
    scale: Float64s, low: FloatArray, high: FloatArray, scheme: QuantScheme, note: Note
) -> npt.NDArray[np.int64]:
    """From the end whose terms are the smaller ones, rounded half to even, inside the codes."""
    quant_min, quant_max = int(scheme.quant_min), int(scheme.quant_max)
    below, above = low / scale, high / scale
    from_min = abs(quant_min) - np.abs(below) < abs(quant_max) - np.abs(above)
    exact = np.where(from_min, quant_min - below, quant_max - above)
    formula = "quant_min - min / scale" if np.all(from_min) else "quant_max - max / scale"
    exact = note("exact", formula, exact, "from the end that adds the smaller terms")
    if scheme.symmetric:
        has_zero = (low < 0) & (high > 0)
        exact = np.where(has_zero, (quant_min + quant_max) / 2, exact)
        if np.any(has_zero):
            note("exact", "(quant_min + quant_max) / 2", exact)
    zero_point = np.rint(np.clip(exact, quant_min, quant_max)).astype(np.int64)
    return note("zero_point", "round(min(max(exact, quant_min), quant_max))", zero_point, "half to even")


def middle_of_codes(scheme: QuantScheme) -> int:
    """The zero point of a range with zero inside: half the sum of the ends, half to even."""
    return round((int(scheme.quant_min) + int(scheme.quant_max)) / 2)


ONE_SCALE = Refusal(
    (("granularity", "channel"),),
    "dynamic quantization in PyTorch takes one scale from each whole activation",
    "choose granularity 'tensor', or convention 'pytorch' or 'pytorch-quantized'",
)
NO_FREE_RANGE = Refusal(
    (("quant_range", True),),
    "torch.quantize_per_tensor_dynamic takes the dtype and reduce_range, and no quant_min and quant_max",
    "leave quant_range out, or choose convention 'pytorch'",
)

PYTORCH_DYNAMIC = Convention(
    name="pytorch-dynamic",
    title="PyTorch dynamic quantization",
    used_by="torch.ao dynamic quantization on CPU: activations of Linear and LSTM, one scale each, chosen at run time",
    supports=(Support(QUANTIZED_TENSORS, granularities=("tensor",), flags=("reduce_range",)),),
    range_rule=choose_at_run_time,
    kernel=K4,
    whole_dtype_saturates=True,
    symmetric_zero_point=middle_of_codes,
    scale_floor=float(LEAST_SCALE),
    checked="torch 2.13.0, CPU, x86-64 with FMA",
    source="ChooseQuantizationParams of ATen's QuantUtils.h, as torch.quantize_per_tensor_dynamic and "
    "torch.fused_moving_avg_obs_fake_quant call it, and torch.quantize_per_tensor; codes saturate at the dtype's ends",
    refusals=(*FEWER_BITS, NARROW_NOT_KEPT, NO_FREE_RANGE, ONE_SCALE),
)
