"""torch.ao observers with fake_quantize."""

from __future__ import annotations

import numpy as np

from ..grids import INTEGER_DTYPES
from ..kernels import K2, FloatArray
from ..record import Convention, Params, Refusal, Support
from ..schemes import QuantScheme
from ..trace import Note

#: torch.ao observers' ``eps`` buffer: no scale is smaller.
EPS = np.float32(np.finfo(np.float32).eps)
EIGHT_BITS_AND_LESS = tuple(dtype for dtype, (bits, _) in INTEGER_DTYPES.items() if bits <= 8)


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
    scale = _floored(largest / np.float32((scheme.quant_max - scheme.quant_min) / 2), "largest / ((quant_max - quant_min) / 2)", note)
    zero = middle(scheme)
    why = "0 for signed codes" if scheme.grid.signed else "the middle of the unsigned codes"
    zero_point = note("zero_point", str(zero), np.full(scale.shape, zero, np.int64), why)
    return Params(scale, zero_point)


def _affine(low: FloatArray, high: FloatArray, scheme: QuantScheme, note: Note) -> Params:
    quant_min, quant_max = int(scheme.quant_min), int(scheme.quant_max)
    with np.errstate(over="ignore"):
        width = note("width", "max - min", high - low)
    scale = _floored(width / np.float32(quant_max - quant_min), "width / (quant_max - quant_min)", note)
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
    """The zero point of torch's symmetric scheme: 0 for signed codes; 128 for quint8, or a free range's middle."""
    if scheme.grid.signed:
        return 0
    if scheme.dtype == "quint8" and scheme.quant_range is None:
        return 128
    return (int(scheme.quant_min) + int(scheme.quant_max)) // 2


UNSIGNED_REDUCED = Refusal(
    (("dtype", "quint8"), ("scheme", "symmetric"), ("reduce_range", True)),
    "torch.ao observers raise NotImplementedError for quint8, symmetric, with reduce_range",
    "choose scheme 'affine', or dtype 'qint8', or turn reduce_range off",
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
    supports=(Support(EIGHT_BITS_AND_LESS, flags=("reduce_range", "narrow_range", "quant_range")),),
    range_rule=observer_range,
    kernel=K2,
    symmetric_zero_point=middle,
    scale_floor=float(EPS),
    checked="torch 2.13.0, CPU, x86-64",
    source="torch.ao.quantization observers and torch.fake_quantize_per_channel_affine, float32 throughout",
    refusals=(UNSIGNED_REDUCED, NARROW_AND_REDUCED),
)
