"""Arguments that are numbers: arrays of them, axes, ranges."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from .errors import QuantTypeError, QuantValueError
from .grids import FLOAT_DTYPES


def as_numbers(values: npt.ArrayLike, argument: str) -> npt.NDArray[Any]:
    """``values`` as a numpy array of real numbers; QuantTypeError names the argument and the way out."""
    try:
        array = np.asarray(values)
    except Exception as error:  # whatever a foreign __array__ raises
        raise QuantTypeError(
            f"{argument} cannot be read as an array ({error}); for a torch tensor call .detach().cpu().float() first"
        ) from error
    real = array.dtype.kind in "fiu" or array.dtype.name in (*FLOAT_DTYPES, "float8_e8m0fnu")
    if not real:
        raise QuantTypeError(f"{argument} must be real numbers, got {array.dtype} ({values!r:.60})")
    return array


def normal_axis(ch_axis: int, ndim: int) -> int:
    """``ch_axis`` as a non-negative axis; raises with the valid range."""
    if isinstance(ch_axis, bool) or not isinstance(ch_axis, (int, np.integer)):
        raise QuantTypeError(f"ch_axis must be an integer, got {ch_axis!r}")
    if not -ndim <= ch_axis < ndim:
        raise QuantValueError(f"ch_axis must lie in {-ndim}..{ndim - 1} for a tensor of {ndim} axes, got {ch_axis}")
    return int(ch_axis) % ndim


def check_ranges(low: npt.NDArray[Any], high: npt.NDArray[Any], argument: str) -> None:
    """Raise unless all ends are finite and in order; names the first that is not."""
    bad = np.flatnonzero(~(np.isfinite(low) & np.isfinite(high) & (low <= high)))
    if bad.size:
        first, last = (float(end.ravel()[bad[0]]) for end in (low, high))
        where = f" (channel {int(bad[0])})" if low.ndim else ""
        raise QuantValueError(
            f"{argument} must be finite with min_val <= max_val, got {first!r}..{last!r}{where}; "
            "leave NaN and infinities out of the range, and swap ends that are the wrong way round"
        )
