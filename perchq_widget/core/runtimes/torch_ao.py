"""torch.ao observers: with fake_quantize, and with quantized tensors, whose kernels are others."""

from __future__ import annotations

import numpy as np

from ..grids import INTEGER_DTYPES
from ..kernels import K2, K3, FloatArray
from ..kernels_fma import K4
from ..record import Convention, Params, Refusal, Support
from ..schemes import QuantScheme
from ..trace import Note
from .floats import WIDE_FLOATS, amax_or_one, scaled_floats

#: torch.ao observers' ``eps`` buffer: no scale is smaller.
EPS = np.float32(np.finfo(np.float32).eps)
EIGHT_BITS_AND_LESS = tuple(dtype for dtype, (bits, _) in INTEGER_DTYPES.items() if bits <= 8)
QUANTIZED_TENSORS = ("qint8", "quint8")


def observer_range(min_val: FloatArray, max_val: FloatArray, scheme: QuantScheme, note: Note) -> Params:
    """torch.ao observers' ``_calculate_qparams`` in float32, in its order of operations.

    Zero is always inside the range, the scale is at least float32 eps, the affine zero point is clamped.
    The symmetric denominator is (quant_max - quant_min) / 2, which is 127.5 for 8 bits.
    """
    low = note("min", "min(min, 0)", np.minimum(min_val.astype(np.float32), np.float32(0)), "zero is in the range")
    high = note("max", "max(max, 0)", np.maximum(max_val.astype(np.float32), np.float32(0)))
    return (_symmetric if scheme.symmetric else _affine)(low, high, scheme, note)


def _symmetric(low: FloatArray, high: FloatArray, scheme: QuantScheme, note: Note) -> Params:
    largest = note("largest", "max(-min, max)", np.maximum(-low, high))
    half = np.float32((scheme.quant_max - scheme.quant_min) / 2)
    scale = _floored(largest / half, "largest / ((quant_max - quant_min) / 2)", note)
    zero = middle(scheme)
    why = "0 for signed codes" if scheme.grid.signed else "the middle of the unsigned codes"
    zero_point = note("zero_point", str(zero), np.full(scale.shape, zero, np.int64), why)
    return Params(scale, zero_point)


def _affine(low: FloatArray, high: FloatArray, scheme: QuantScheme, note: Note) -> Params:
    quant_min, quant_max = int(scheme.quant_min), int(scheme.quant_max)
    with np.errstate(over="ignore"):
        width = high - low
    scale = _floored(width / np.float32(quant_max - quant_min), "(max - min) / (quant_max - quant_min)", note)
    zero_point = quant_min - np.rint(low / scale).astype(np.int64)
    note("zero_point", "quant_min - round(min / scale)", zero_point, "half to even")
    inside = np.clip(zero_point, quant_min, quant_max)
    if not np.array_equal(inside, zero_point):
        note("zero_point", "min(max(zero_point, quant_min), quant_max)", inside)
    return Params(scale, inside)


def _floored(scale: FloatArray, formula: str, note: Note) -> FloatArray:
    scale = note("scale", formula, scale)
    floored = np.maximum(scale, EPS)
    if not np.array_equal(floored, scale, equal_nan=True):
        note("scale", "max(scale, 1.1920929e-07)", floored, "held at eps, the least that torch allows")
    return floored


def middle(scheme: QuantScheme) -> int:
    """The zero point of torch's symmetric scheme: 0 for signed codes; 128 for quint8, else the lower middle."""
    if scheme.grid.signed:
        return 0
    if scheme.dtype == "quint8" and scheme.quant_range is None:
        return 128
    return (int(scheme.quant_min) + int(scheme.quant_max)) // 2


UNSIGNED_REDUCED = tuple(
    Refusal(
        (("dtype", dtype), ("scheme", "symmetric"), ("reduce_range", True)),
        "torch.ao observers raise NotImplementedError for quint8, symmetric, with reduce_range"
        + ("" if dtype == "quint8" else f", and {dtype} is quint8 with a quant_min and quant_max there"),
        f"choose scheme 'affine', or dtype {dtype.replace('uint', 'int')!r}, or turn reduce_range off",
    )
    for dtype in EIGHT_BITS_AND_LESS
    if not INTEGER_DTYPES[dtype][1]
)
NARROW_AND_REDUCED = Refusal(
    (("narrow_range", True), ("reduce_range", True)),
    "torch halves -127..127 with floor division, which gives -64..63 again: narrow_range would do nothing",
    "turn one of narrow_range and reduce_range off",
)

PYTORCH = Convention(
    name="pytorch",
    title="PyTorch observers and fake_quantize",
    used_by="torch.ao quantization: observers choose the parameters, fake_quantize applies them",
    supports=(
        Support(EIGHT_BITS_AND_LESS, flags=("reduce_range", "narrow_range", "quant_range")),
        scaled_floats(),
        *WIDE_FLOATS,
    ),
    range_rule=observer_range,
    kernel=K2,
    float_rule=amax_or_one,
    symmetric_zero_point=middle,
    scale_floor=float(EPS),
    checked="torch 2.13.0, CPU, x86-64; floats: torchao 0.18.0 and ml_dtypes 0.6.0",
    source="torch.ao.quantization observers and torch.fake_quantize_per_channel_affine, float32 throughout; "
    "floats as torchao's float8 primitives: amax / largest value, x / scale, saturate, cast",
    refusals=(*UNSIGNED_REDUCED, NARROW_AND_REDUCED),
)

NARROW_NOT_KEPT = Refusal(
    (("narrow_range", True),),
    "torch.quantize_per_channel and quantize_per_tensor saturate at the dtype's -128..127, so that no code is dropped",
    "choose quant_range=(-127, 127), which is what the observer takes the scale for, or convention 'pytorch'",
)
FEWER_BITS = tuple(
    Refusal(
        (("dtype", dtype),),
        f"torch's quantized tensors are qint8 and quint8; {dtype} is one of them with a quant_min and quant_max, and "
        "torch.quantize_per_channel and quantize_per_tensor do not stop there",
        f"choose convention 'pytorch' or 'torchao', or dtype {'qint8' if INTEGER_DTYPES[dtype][1] else 'quint8'!r}",
    )
    for dtype in EIGHT_BITS_AND_LESS
    if dtype not in QUANTIZED_TENSORS
)

PYTORCH_QUANTIZED = Convention(
    name="pytorch-quantized",
    title="PyTorch observers and quantized tensors",
    used_by="torch.ao eager mode after convert: qint8 weights per channel, quint8 activations per tensor",
    supports=(Support(QUANTIZED_TENSORS, flags=("reduce_range", "quant_range")),),
    range_rule=observer_range,
    kernel=K3,
    tensor_kernel=K4,
    whole_dtype_saturates=True,
    symmetric_zero_point=middle,
    scale_floor=float(EPS),
    checked="torch 2.13.0, CPU, x86-64 with FMA",
    source="torch.ao.quantization observers, torch.quantize_per_channel and torch.quantize_per_tensor, float32 "
    "throughout; reduce_range and quant_range set what the scale is for, codes saturate at the dtype's ends",
    refusals=(*FEWER_BITS, NARROW_NOT_KEPT, *UNSIGNED_REDUCED),
)
