"""The types of a ``.tflite`` model's tensors by the schema's numbers, and the scales of those that hold codes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np

from perchq_widget.core.errors import QuantValueError
from perchq_widget.core.grids import full_range


@dataclass(frozen=True, slots=True)
class Kind:
    """A type of the schema: its name here, bits of an element (0: they vary) and, for whole bytes, numpy's type."""

    name: str
    bits: int
    dtype: np.dtype[Any] | None = None
    codes: str = ""


def _whole(dtype: Any, codes: str = "") -> Kind:
    kind = np.dtype(dtype)
    return Kind(kind.name, kind.itemsize * 8, kind, codes)


#: By the schema's number. ``codes``: what its values are called where they are codes with a scale.
KINDS: dict[int, Kind] = {
    0: _whole("<f4"),
    1: _whole("<f2"),
    2: _whole("<i4"),
    3: _whole("u1", "quint8"),
    4: _whole("<i8"),
    5: Kind("string", 0),
    6: _whole("?"),
    7: _whole("<i2", "int16"),
    8: _whole("<c8"),
    9: _whole("i1", "qint8"),
    10: _whole("<f8"),
    11: _whole("<c16"),
    12: _whole("<u8"),
    13: Kind("resource", 0),
    14: Kind("variant", 0),
    15: _whole("<u4"),
    16: _whole("<u2", "uint16"),
    17: Kind("int4", 4, codes="int4"),
    18: _whole(ml_dtypes.bfloat16),
    19: Kind("int2", 2, codes="int2"),
    20: Kind("uint4", 4, codes="uint4"),
    21: _whole(ml_dtypes.float8_e4m3fn),
    22: _whole(ml_dtypes.float8_e5m2),
}


@dataclass(frozen=True, eq=False, slots=True)
class Scales:
    """Scales and zero points as the file has them.

    Of shape () for the tensor, (C,) along ``axis``, (C, G) for the blocks of ``block`` elements of each channel.
    ``n_bytes`` is what they take in the file.
    """

    scale: np.ndarray[Any, Any]
    zero_point: np.ndarray[Any, Any]
    axis: int | None
    block: int | None
    n_bytes: int


def size_problem(kind: Kind, shape: tuple[int, ...], n_bytes: int) -> str | None:
    """Why ``n_bytes`` are not the data of a tensor of ``shape``; None if they are, or if that cannot be told."""
    needed = (math.prod(shape) * kind.bits + 7) // 8
    if kind.bits == 0 or needed == n_bytes:
        return None
    return f"malformed: {shape} of {kind.name} takes {needed} bytes, its buffer has {n_bytes}"


def affine(
    scale: np.ndarray[Any, Any], zero: np.ndarray[Any, Any], axis: int, kind: Kind, shape: tuple[int, ...]
) -> Scales:
    """Scales and zero points of the tensor or of its channels."""
    n_bytes = scale.nbytes + zero.nbytes
    zero = zero if zero.size else np.zeros(1, np.int64)
    if zero.size not in (1, scale.size):
        raise QuantValueError(f"malformed: {zero.size} zero points for {scale.size} scales")
    if scale.size > 1 and not (0 <= axis < len(shape) and shape[axis] == scale.size):
        raise QuantValueError(f"malformed: {scale.size} scales along axis {axis} of {shape}")
    check_values(scale, zero, kind)
    if scale.size == 1:
        return Scales(scale.reshape(()), zero.reshape(()), None, None, n_bytes)
    return Scales(scale, np.full(scale.shape, zero[0]) if zero.size == 1 else zero, axis, None, n_bytes)


def check_values(scale: np.ndarray[Any, Any], zero: np.ndarray[Any, Any], kind: Kind) -> None:
    """Raise QuantValueError unless scales are finite and not negative and zero points are codes of ``kind``."""
    bad = ~(np.isfinite(scale) & (scale >= 0))
    if bad.any():
        raise QuantValueError(f"malformed: one of its scales is {float(scale[bad][0])!r}")
    low, high = full_range(kind.codes)
    outside = (zero < low) | (zero > high)
    if outside.any():
        raise QuantValueError(f"malformed: one of its zero points is {int(zero[outside][0])}, not in {low}..{high}")
