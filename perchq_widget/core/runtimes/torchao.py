"""torchao: every operation in the tensor's own dtype, so that bfloat16 weights have bfloat16 scales and products."""

from __future__ import annotations

import ml_dtypes
import numpy as np

from ..grids import INTEGER_DTYPES
from ..kernels import K2, FloatArray
from ..record import SYMMETRIC, Convention, Params, Refusal, Support
from ..schemes import QuantScheme
from ..trace import Note
from .floats import amax_or_one, scaled_floats
from .nvfp4 import TORCHAO_BLOCKS
from .torch_ao import EIGHT_BITS_AND_LESS

DTYPES = (np.dtype(np.float32), np.dtype(ml_dtypes.bfloat16), np.dtype(np.float16))
#: torch.finfo(dtype).smallest_normal
LEAST_SCALES = {"float32": 2.0**-126, "bfloat16": 2.0**-126, "float16": 2.0**-14}
GRANULARITIES = ("channel", "tensor", "group", "block", "token")
FLAGS = ("narrow_range", "quant_range")
SIGNED = tuple(dtype for dtype in EIGHT_BITS_AND_LESS if INTEGER_DTYPES[dtype][1])
UNSIGNED = tuple(dtype for dtype in EIGHT_BITS_AND_LESS if not INTEGER_DTYPES[dtype][1])


def affine_or_symmetric(min_val: FloatArray, max_val: FloatArray, scheme: QuantScheme, note: Note) -> Params:
    """``choose_qparams_affine`` with MappingType.ASYMMETRIC or SYMMETRIC, in the ranges' dtype.

    The symmetric denominator is (quant_max - quant_min) / 2; the least scale is the dtype's smallest normal number.
    """
    low, high = _with_zero(min_val, max_val, note)
    number = low.dtype.type
    if scheme.symmetric:
        largest = note("largest", "max(-min, max)", np.maximum(-low, high))
        half = number((scheme.quant_max - scheme.quant_min) / 2)
        return _centred(note("scale", "largest / ((quant_max - quant_min) / 2)", largest / half), scheme, note)
    width = note("width", "max - min", high - low)
    steps = number(scheme.quant_max - scheme.quant_min)
    scale = _floored(note("scale", "width / (quant_max - quant_min)", width / steps), note)
    zero_point = int(scheme.quant_min) - np.rint(low / scale).astype(np.int64)
    note("zero_point", "quant_min - round(min / scale)", zero_point, "half to even")
    inside = np.clip(zero_point, int(scheme.quant_min), int(scheme.quant_max))
    if not np.array_equal(inside, zero_point):
        note("zero_point", "min(max(zero_point, quant_min), quant_max)", inside)
    return Params(scale, inside)


def no_clipping(min_val: FloatArray, max_val: FloatArray, scheme: QuantScheme, note: Note) -> Params:
    """``choose_qparams_affine`` with MappingType.SYMMETRIC_NO_CLIPPING_ERR, in the ranges' dtype.

    Each end is divided by its own code, and the larger step serves both: no value is clipped.
    """
    low, high = _with_zero(min_val, max_val, note)
    number = low.dtype.type
    with np.errstate(divide="ignore", invalid="ignore"):  # a quant_range may end in 0
        below = note("from_min", "min / quant_min", low / number(scheme.quant_min))
        above = note("from_max", "max / quant_max", high / number(scheme.quant_max))
        scale = note("scale", "max(from_min, from_max)", np.where(below > above, below, above))
    return _centred(scale, scheme, note)


def _with_zero(low: FloatArray, high: FloatArray, note: Note) -> tuple[FloatArray, FloatArray]:
    why = f"zero is in the range; all in {low.dtype.name}"
    zero = low.dtype.type(0)
    return note("min", "min(min, 0)", np.minimum(low, zero), why), note("max", "max(max, 0)", np.maximum(high, zero))


def _centred(scale: FloatArray, scheme: QuantScheme, note: Note) -> Params:
    scale = _floored(scale, note)
    zero = centre(scheme)
    why = "the middle of the codes" if zero else ""
    formula = "trunc((quant_max + quant_min + 1) / 2)"
    return Params(scale, note("zero_point", formula, np.full(scale.shape, zero, np.int64), why))


def _floored(scale: FloatArray, note: Note) -> FloatArray:
    least = scale.dtype.type(LEAST_SCALES[scale.dtype.name])
    floored = np.maximum(scale, least)
    if not np.array_equal(floored, scale, equal_nan=True):
        note("scale", f"max(scale, {float(least):.8g})", floored, f"the smallest normal number of {scale.dtype.name}")
    return np.asarray(floored)


def centre(scheme: QuantScheme) -> int:
    """The zero point of torchao's symmetric mappings: 0 for whole signed formats, 128 for quint8, 8 for uint4."""
    return int((scheme.quant_max + scheme.quant_min + 1) / 2)


TORCHAO = Convention(
    name="torchao",
    title="torchao affine quantization",
    used_by="torchao's quantize_ and QAT, and what comes from it: int4 and int8 weights, int8 activations per token",
    supports=(
        Support(EIGHT_BITS_AND_LESS, granularities=GRANULARITIES, flags=FLAGS),
        scaled_floats(GRANULARITIES),
        Support(("nvfp4",), SYMMETRIC, ("group",), group_sizes=(16,)),
    ),
    block_formats=TORCHAO_BLOCKS,
    range_rule=affine_or_symmetric,
    kernel=K2,
    float_rule=amax_or_one,
    dtypes=DTYPES,
    short_block=False,
    symmetric_zero_point=centre,
    scale_floor=LEAST_SCALES["float32"],
    scale_floors=tuple(LEAST_SCALES.items()),
    checked="torchao 0.18.0, CPU, x86-64",
    source="torchao.quantization.quant_primitives: choose_qparams_affine (ASYMMETRIC, SYMMETRIC), quantize_affine, "
    "dequantize_affine, all in the tensor's dtype; floats: _choose_scale_float8 in the tensor's dtype, then float32; "
    "nvfp4: nvfp4_quantize with per_tensor_amax_to_scale, float32",
)

TORCHAO_NO_CLIP = Convention(
    name="torchao-no-clip",
    title="torchao symmetric without clipping",
    used_by="torchao's intx weight configurations with mapping_type SYMMETRIC_NO_CLIPPING_ERR",
    supports=(Support(SIGNED, SYMMETRIC, GRANULARITIES, FLAGS),),
    range_rule=no_clipping,
    kernel=K2,
    dtypes=DTYPES,
    short_block=False,
    symmetric_zero_point=centre,
    scale_floor=LEAST_SCALES["float32"],
    scale_floors=tuple(LEAST_SCALES.items()),
    checked="torchao 0.18.0, CPU, x86-64",
    source="torchao.quantization.quant_primitives: choose_qparams_affine (SYMMETRIC_NO_CLIPPING_ERR), quantize_affine, "
    "dequantize_affine; all in the tensor's dtype",
    refusals=tuple(
        Refusal(
            (("dtype", dtype),),
            f"SYMMETRIC_NO_CLIPPING_ERR divides min by quant_min, which is 0 for {dtype}",
            f"choose dtype {dtype.replace('uint', 'int')!r}, or convention 'torchao'",
        )
        for dtype in UNSIGNED
    ),
)
