"""Plain float formats: how a scale follows from the largest magnitude, and the settings that runtimes have for them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..grids import FLOAT_DTYPES
from ..kernels import FloatArray
from ..record import CHANNEL_TENSOR, SYMMETRIC, Params, Support
from ..schemes import QuantScheme
from ..trace import Note

#: Formats so narrow that values need a scale to fit them.
SCALED = tuple(dtype for dtype, bits in FLOAT_DTYPES.items() if bits <= 8)

#: Scale rules that look at no range.
FIXED_RULES = ("one",)

def amax_or_one(min_val: FloatArray, max_val: FloatArray, scheme: QuantScheme, note: Note) -> Params:
    """scale_rule "amax": the largest magnitude becomes the format's largest value. "one": values as they are.

    The division is in the ranges' dtype, the scale in float32, as torchao's ``_choose_scale_float8`` has it.
    """
    if scheme.scale_rule in FIXED_RULES:
        scale = note("scale", "1", np.ones(min_val.shape, np.float32), "values are cast as they are")
    else:
        scale = above_zero(amax_scale(min_val, max_val, scheme, note).astype(np.float32), note)
    return Params(scale, no_shift(scale, note))


def amax_scale(min_val: FloatArray, max_val: FloatArray, scheme: QuantScheme, note: Note) -> FloatArray:
    """The largest magnitude over quant_max, in the ranges' dtype; 0 where all values are zero."""
    top = largest(min_val, max_val, note)
    return note("scale", "largest / quant_max", np.asarray(top / top.dtype.type(scheme.quant_max)))


def largest(min_val: FloatArray, max_val: FloatArray, note: Note) -> FloatArray:
    """The largest magnitude of each range."""
    return note("largest", "max(|min|, |max|)", np.maximum(np.abs(min_val), np.abs(max_val)))


def above_zero(scale: FloatArray, note: Note) -> FloatArray:
    """1 where a scale is 0: there the runtime would divide by zero, and no value is as large as any step."""
    usable = np.where(scale > 0, scale, scale.dtype.type(1))
    if not np.array_equal(usable, scale, equal_nan=True):
        note("scale", "1", usable, "instead of 0, which nothing can be divided by; all codes are 0 then")
    return usable


def no_shift(scale: FloatArray, note: Note) -> npt.NDArray[np.int64]:
    """Zero points of a scheme whose zero is code 0."""
    return note("zero_point", "0", np.zeros(scale.shape, np.int64), "0 by definition")


def scaled_floats(granularities: tuple[str, ...] = CHANNEL_TENSOR) -> Support:
    """Float formats of 8 bits and less, with the scale rules that people use, the default first."""
    return Support(SCALED, SYMMETRIC, granularities, scale_rules=("amax", "one"))


#: The wider formats hold most tensors as they are; bfloat16's largest value is too large to divide by.
WIDE_FLOATS = (
    Support(("float16",), SYMMETRIC, scale_rules=("one", "amax")),
    Support(("bfloat16",), SYMMETRIC, scale_rules=("one",)),
)
