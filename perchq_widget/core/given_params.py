"""What can be wrong with parameters that someone built, and what they say about themselves."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from .checks import as_numbers
from .errors import QuantTypeError, QuantValueError
from .grids import FLOAT_DTYPES, check_quant_range, float_grid, full_range
from .kernels import FloatArray
from .record import Convention
from .runtimes.calculator import LARGEST_ZERO_POINT
from .schemes import GroupSize, family_of


def frozen(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """A read-only copy."""
    array = array.copy()
    array.flags.writeable = False
    return array


def code_ends(
    dtype: str, quant_min: int | None, quant_max: int | None, rules: Convention
) -> tuple[int | float, int | float]:
    """The codes in force, from what was given and the format's own; a float format's finite ends."""
    if family_of(dtype) == "block":
        raise QuantValueError(f"{dtype} has blocks that share a scale: its parameters are pq.BlockParams")
    if dtype in FLOAT_DTYPES:
        if (quant_min, quant_max) != (None, None):
            raise QuantValueError(f"quant_min and quant_max name integer codes, and {dtype} has none: leave them out")
        return float_grid(dtype).quant_min, float_grid(dtype).quant_max
    low, high = full_range(dtype)
    ends = check_quant_range(dtype, (low if quant_min is None else quant_min, high if quant_max is None else quant_max))
    if rules.whole_dtype_saturates and ends != (low, high):
        raise QuantValueError(
            f"quant_min and quant_max must be left out under {rules.name!r}, whose codes saturate at {dtype}'s "
            f"{low}..{high} whatever range the scale was taken for; got {ends}"
        )
    return ends


def granularity_of(
    granularity: str | None, scale: FloatArray, ch_axis: int | None, group_size: GroupSize | None
) -> str:
    """What the parameters are shared over, from what was given; raises where the pieces do not fit together."""
    whole = isinstance(ch_axis, (int, np.integer)) and not isinstance(ch_axis, bool)
    if ch_axis is not None and not whole:
        raise QuantTypeError(f"ch_axis must be an integer or None, got {ch_axis!r}")
    if granularity == "token":
        found, fits = "token", ch_axis is None and group_size is None
    elif isinstance(group_size, (tuple, list)):
        found, fits = "block", scale.ndim == 2 and ch_axis is None
    elif group_size is not None:
        found, fits = "group", scale.ndim == 2 and ch_axis is not None
    else:
        found = "tensor" if ch_axis is None else "channel"
        fits = scale.ndim == int(ch_axis is not None)
    if granularity is not None and granularity != found:
        raise QuantValueError(f"granularity must be {found!r} for these arguments, or left out, got {granularity!r}")
    if not fits:
        raise QuantValueError(
            "ch_axis must be given exactly when there is one scale per channel, of shape (C,), or per group, of shape "
            f"(C, G) with group_size; got ch_axis={ch_axis!r} and group_size={group_size!r} with scale of shape "
            f"{scale.shape}"
        )
    return found


def checked_scale(
    scale: npt.ArrayLike, rules: Convention, argument: str = "scale", *, signed: bool = False
) -> FloatArray:
    """Scales in the dtype that the convention computes in, finite and, unless ``signed``, above 0."""
    given = as_numbers(scale, argument)
    dtype = rules.working_dtype(given.dtype)
    with np.errstate(over="ignore", under="ignore"):
        values = given.astype(dtype)
    bad = ~(np.isfinite(values) & (signed | (values > 0)))
    if bad.any():
        where = f" (channel {int(np.argwhere(bad)[0][0])})" if values.ndim else ""
        first = float(values[bad][0])
        step = "a step between codes has a size; a scale that underflowed needs a wider dtype or rescaled values"
        instead = "clip the range or leave outliers out of it" if not np.isfinite(first) else step
        raise QuantValueError(
            f"{argument} must be finite and above 0 in {dtype.name}, got {first!r}{where}; {instead}"
        )
    return values


def checked_zero_point(
    zero_point: npt.ArrayLike, rules: Convention, ends: tuple[int | float, int | float], dtype: str
) -> npt.NDArray[np.int64]:
    """Zero points as integers, inside the codes where the convention has them there."""
    given = as_numbers(zero_point, "zero_point")
    with np.errstate(invalid="ignore"):
        values = given.astype(np.int64)
    if not np.array_equal(values, given):
        raise QuantTypeError(f"zero_point must be integers, got {zero_point!r:.80}")
    low, high = ends if rules.zero_point_in_range else (-LARGEST_ZERO_POINT + 1, LARGEST_ZERO_POINT - 1)
    if dtype in FLOAT_DTYPES:
        low, high = 0, 0
    bad = (values < low) | (values > high)
    if bad.any():
        raise QuantValueError(f"zero_point must lie in {low}..{high} under {rules.name!r}, got {int(values[bad][0])}")
    return values
