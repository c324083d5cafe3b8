"""What can be wrong with block scales that someone built."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from .block_format import BlockFormat
from .checks import as_numbers
from .errors import QuantTypeError, QuantValueError
from .schemes import check_group_size


def checked_scale(scale: npt.ArrayLike, form: BlockFormat, ch_axis: int | None) -> npt.NDArray[Any]:
    """``scale`` in the dtype that stores it, of the format's number of axes."""
    given = as_numbers(scale, "scale")
    flat = form.flat or (form.flat_too and ch_axis is None)
    if given.ndim != (1 if flat else 2) or given.size == 0 or (ch_axis is None) != flat:
        wants = "(blocks,) without ch_axis" if flat else "(C, G) with ch_axis"
        raise QuantValueError(f"scale of {form.dtype} must have shape {wants}, got {given.shape}, ch_axis={ch_axis!r}")
    if ch_axis is not None and (isinstance(ch_axis, bool) or not isinstance(ch_axis, (int, np.integer))):
        raise QuantTypeError(f"ch_axis must be an integer, got {ch_axis!r}")
    return as_stored(given, form.scale_dtype, "scale")


def as_stored(values: npt.NDArray[Any], dtype: np.dtype[Any], argument: str) -> npt.NDArray[Any]:
    """``values`` as ``dtype``; eight-bit scales must be numbers of it, since rounding them is the rule's part."""
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        found = values.astype(dtype)
    if dtype.itemsize == 1 and values.dtype != dtype:
        wrong = found.astype(np.float64) != values.astype(np.float64)
        if wrong.any():
            raise QuantValueError(
                f"{argument} must hold numbers of {dtype.name}, got {float(values[wrong][0])!r}; read encoded bytes "
                f"by .view(ml_dtypes.{dtype.name})"
            )
    return found


def checked_size(group_size: int | None, form: BlockFormat, sizes: tuple[int, ...]) -> int:
    """Elements of a block, one of ``sizes`` if there are any."""
    size = form.block_size if group_size is None else check_group_size("group", group_size)
    assert isinstance(size, int)
    if sizes and size not in sizes:
        raise QuantValueError(f"group_size of {form.dtype} must be {' or '.join(map(str, sizes))}, got {size}")
    return size


def checked_bits(scale_bits: object) -> int | None:
    """What all scales take in a file, in bits; None where they are stored in full."""
    if scale_bits is None:
        return None
    if isinstance(scale_bits, bool) or not isinstance(scale_bits, (int, np.integer)):
        raise QuantTypeError(f"scale_bits must be a number of bits, a whole one, got {scale_bits!r:.60}")
    if scale_bits < 0:
        raise QuantValueError(f"scale_bits must be 0 or more, got {scale_bits}; leave it out where scales are in full")
    return int(scale_bits)


def checked_beside(
    scale: npt.NDArray[Any], values: npt.ArrayLike | None, argument: str, dtype: Any, needed: bool, what: str
) -> npt.NDArray[Any] | None:
    """An array beside the scale, of its shape: there where the format has such, else None."""
    if values is None and not needed:
        return None
    if values is None or not needed:
        says = f"needs its {argument}" if needed else f"has no {argument}: leave it out"
        raise QuantTypeError(f"{argument}: {what} {says}")
    array = as_numbers(values, argument).astype(dtype)
    if array.shape != scale.shape:
        raise QuantValueError(f"{argument} must have scale's shape {scale.shape}, got {array.shape}")
    return array


def checked_global(value: float | None, form: BlockFormat) -> np.float32 | None:
    """The global scale of a two-level format, None for others."""
    if (value is None) != (form.global_scale is None):
        says = "needs its global_scale" if value is None else "has no global_scale: leave it out"
        raise QuantTypeError(f"global_scale: {form.dtype} {says}")
    if value is None:
        return None
    with np.errstate(over="ignore", under="ignore"):
        found = np.float32(value)
    if not (np.isfinite(found) and found > 0):
        raise QuantValueError(
            f"global_scale must be finite and above 0 in float32, got {value!r}; a tensor of zeros, or of values near "
            "the ends of float32, has no such scale in this runtime"
        )
    return found


def require_finite(values: npt.NDArray[Any], argument: str, dtype: str) -> None:
    """Raise unless all are; ``values`` are float32."""
    bad = ~np.isfinite(values)
    if bad.any():
        raise QuantValueError(
            f"{argument} must be finite, got {float(values[bad][0])!r} in block {np.argwhere(bad)[0].tolist()}; the "
            f"block's values are beyond what {dtype} can scale: clip them, or choose a format with a wider scale"
        )
