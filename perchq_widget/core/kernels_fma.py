"""K4: multiply and add in one rounding, as a fused multiply-add instruction does, on any machine.

The product of two float32 numbers is exact in float64. Adding the zero point there and casting to float32 rounds
twice, which goes wrong only where the first rounding moved a sum onto the middle between two float32 numbers: those
few are found by their bits and put right.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from .kernels import Expanded, FloatArray, Kernel
from .trace import Formula

Float64s = npt.NDArray[np.float64]

#: The bits of a float64 that float32 has no room for, and their pattern in the middle of two float32 numbers.
_DROPPED, _MIDDLE = np.uint32((1 << 29) - 1), np.uint32(1 << 28)
_LOW_HALVES = slice(0 if sys.byteorder == "little" else 1, None, 2)  # of float64 seen as pairs of 32 bits


def fused_multiply_add(x: FloatArray, factor: FloatArray, addend: FloatArray, out: FloatArray) -> None:
    """``x * factor + addend`` of float32 numbers, rounded once to float32, into ``out``, which is none of them.

    ``addend`` is an integer below 2^23 in magnitude, as zero points are, so that no sum is rounded as a subnormal.
    """
    total = np.empty(out.shape)
    np.copyto(total, x)
    np.multiply(total, factor.astype(np.float64), out=total)
    np.add(total, addend.astype(np.float64), out=total)
    dropped = out.view(np.uint32)  # written over at the end; a large array more is slow to come by
    np.bitwise_and(total.view(np.uint32)[..., _LOW_HALVES], _DROPPED, out=dropped)
    middle = dropped == _MIDDLE
    if middle.any():
        total[middle] = _off_the_middle(total[middle], *(_picked(each, middle) for each in (x, factor, addend)))
    np.copyto(out, total, casting="same_kind")


def _picked(values: FloatArray, where: npt.NDArray[np.bool_]) -> Float64s:
    return np.asarray(np.broadcast_to(values, where.shape)[where], np.float64)


def _off_the_middle(total: Float64s, x: Float64s, factor: Float64s, addend: Float64s) -> Float64s:
    """Each sum one step further to the side on which the exact sum lies; itself where it is exact."""
    product = x * factor
    from_product = total - addend
    lost = (product - from_product) + (addend - (total - from_product))
    return np.where(lost == 0, total, np.nextafter(total, np.copysign(np.inf, lost)))


def _k4(x: FloatArray, p: Expanded, out: FloatArray) -> None:
    fused_multiply_add(x, p.inverse, p.zero, out)
    np.rint(out, out=out)
    np.subtract(out, p.zero, out=out)


def _fused(known: Mapping[str, Any]) -> Any:
    out = np.empty(1, np.float32)
    x, inverse, zero_point = (np.array([known[name]], np.float32) for name in ("x", "inverse", "zero_point"))
    fused_multiply_add(x, inverse, zero_point, out)
    return out[0]


K4 = Kernel(
    "K4",
    _k4,
    (
        Formula("inverse", "1 / scale", lambda k: type(k["scale"])(1) / k["scale"]),
        Formula("shifted", "x * inverse + zero_point", _fused, "rounded once, by a fused multiply-add"),
        Formula(
            "level",
            "round(shifted) - zero_point",
            lambda k: np.rint(k["shifted"]) - np.float32(k["zero_point"]),
            "half to even, after the zero point was added",
        ),
    ),
    "half to even",
)
