"""ONNX's element types: their names here, their numpy dtypes, and how their bits lie in a file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Kind:
    """An element type. ``bits`` of an element in raw data; ``field``: of TensorProto, where it is not in raw data."""

    name: str
    dtype: np.dtype[Any]
    bits: int
    field: int

    @property
    def packed(self) -> bool:
        """Whether an element takes less than a byte."""
        return 0 < self.bits < 8

    def n_bytes(self, n: int) -> int:
        """The bytes that n elements take in raw data."""
        return -(-n * self.bits // 8)


def _of(dtype: Any, field: int, bits: int | None = None) -> Kind:
    found = np.dtype(dtype).newbyteorder("<")
    return Kind(
        "string" if found.kind == "O" else found.name, found, 8 * found.itemsize if bits is None else bits, field
    )


#: TensorProto.DataType -> its kind
KINDS: dict[int, Kind] = {
    1: _of(np.float32, 4),
    2: _of(np.uint8, 5),
    3: _of(np.int8, 5),
    4: _of(np.uint16, 5),
    5: _of(np.int16, 5),
    6: _of(np.int32, 5),
    7: _of(np.int64, 7),
    8: _of(object, 6, 0),
    9: _of(np.bool_, 5),
    10: _of(np.float16, 5),
    11: _of(np.float64, 10),
    12: _of(np.uint32, 11),
    13: _of(np.uint64, 11),
    14: _of(np.complex64, 4),
    15: _of(np.complex128, 10),
    16: _of(ml_dtypes.bfloat16, 5),
    17: _of(ml_dtypes.float8_e4m3fn, 5),
    18: _of(ml_dtypes.float8_e4m3fnuz, 5),
    19: _of(ml_dtypes.float8_e5m2, 5),
    20: _of(ml_dtypes.float8_e5m2fnuz, 5),
    21: _of(ml_dtypes.uint4, 5, 4),
    22: _of(ml_dtypes.int4, 5, 4),
    23: _of(ml_dtypes.float4_e2m1fn, 5, 4),
    24: _of(ml_dtypes.float8_e8m0fnu, 5),
    25: _of(ml_dtypes.uint2, 5, 2),
    26: _of(ml_dtypes.int2, 5, 2),
    27: _of(ml_dtypes.float6_e2m3fn, 5, 6),
    28: _of(ml_dtypes.float6_e3m2fn, 5, 6),
}
FLOAT32, UINT8, INT8, INT32, INT64, STRING = (KINDS[number] for number in (1, 2, 3, 6, 7, 8))

_CHUNK = 1 << 20  # bytes of numbers that are decoded at a time


def unpacked(packed: Array, bits: int, skip: int, n: int) -> Array:
    """``n`` elements of ``bits`` bits as a uint8 each, the first at the low end; ``skip`` elements are left out."""
    if bits == 6:
        stream = np.unpackbits(packed, bitorder="little")[skip * bits : (skip + n) * bits]
        return np.asarray(np.packbits(stream.reshape(n, bits), axis=1, bitorder="little").reshape(n))
    per_byte = 8 // bits
    out = np.empty((packed.size, per_byte), np.uint8)
    for place in range(per_byte):
        np.right_shift(packed, np.uint8(place * bits), out=out[:, place])
    np.bitwise_and(out, np.uint8((1 << bits) - 1), out=out)
    return np.asarray(out.reshape(-1)[skip : skip + n])


def as_kind(values: Array, kind: Kind) -> Array:
    """uint8 values of a kind that takes less than a byte, as that kind."""
    if kind.dtype.name.startswith("int"):  # ml_dtypes wants the sign in all bits of the byte
        top = np.uint8(1 << kind.bits - 1)
        values = (values ^ top) - top
    return np.asarray(values.view(kind.dtype))


def varints(packed: Array) -> Array:
    """The numbers of a packed varint field, int64 (uint64's keep their bits); uint8 in, of any length."""
    parts = []
    start = 0
    while start < packed.size:
        piece = np.asarray(packed[start : start + _CHUNK])
        ends = np.flatnonzero(piece < 0x80)
        if ends.size == 0:
            raise ValueError("a number does not end")
        parts.append(_decoded(piece, ends))
        start += int(ends[-1]) + 1
    return np.concatenate(parts) if parts else np.zeros(0, np.int64)


def _decoded(piece: Array, ends: Array) -> Array:
    """The numbers that end at ``ends``."""
    begins = np.concatenate([[0], ends[:-1] + 1])
    lengths = ends - begins + 1
    if lengths.max() > 10:
        raise ValueError("a number has more than ten bytes")
    values = np.zeros(ends.size, np.uint64)
    for place in range(int(lengths.max())):
        some = lengths > place
        bits = (piece[begins[some] + place] & np.uint8(0x7F)).astype(np.uint64)
        values[some] |= bits << np.uint64(7 * place)
    return values.view(np.int64)


def from_numbers(numbers: Array, kind: Kind, n: int) -> Array:
    """``n`` elements of ``kind`` out of a typed field's integers, as ONNX stores each kind in them."""
    if kind.packed and kind.bits != 6:
        return as_kind(unpacked(numbers.astype(np.uint8), kind.bits, 0, n), kind)
    if kind.dtype.kind == "b":
        return np.asarray(numbers.astype(np.uint8) != 0)
    if kind.dtype.kind in "iu" and not kind.packed:
        return numbers.astype(kind.dtype)
    words = numbers.astype(f"<u{kind.dtype.itemsize}")
    return np.asarray((words & 0x3F if kind.bits == 6 else words).view(kind.dtype))
