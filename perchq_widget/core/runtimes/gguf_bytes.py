"""GGUF's blocks as bytes: codes and scales into the records that files hold, and back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..blockscaled import BlockParams, get_format
from ..errors import QuantTypeError, QuantValueError, choose_from

Bytes = npt.NDArray[np.uint8]
SIZE = 32  # elements of every block here


def _nibbles(codes: Bytes) -> Bytes:
    """(blocks, 32) codes below 16 as (blocks, 16) bytes: element j low, element j + 16 high."""
    low, high = codes[:, : SIZE // 2], codes[:, SIZE // 2 :]
    return np.asarray(low & np.uint8(15) | (high & np.uint8(15)) << np.uint8(4))


def _from_nibbles(packed: Bytes) -> Bytes:
    return np.concatenate([packed & np.uint8(15), packed >> np.uint8(4)], axis=1)


def _five_bits(codes: Bytes) -> Bytes:
    """The fifth bits in four bytes, element 0 in the lowest bit, then the nibbles."""
    return np.concatenate([np.packbits(codes >> np.uint8(4), axis=1, bitorder="little"), _nibbles(codes)], axis=1)


def _from_five_bits(packed: Bytes) -> Bytes:
    fifth = np.unpackbits(np.ascontiguousarray(packed[:, :4]), axis=1, bitorder="little")
    return np.asarray(_from_nibbles(packed[:, 4:]) | fifth << np.uint8(4))


def _as_they_are(codes: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return codes


@dataclass(frozen=True, eq=False, slots=True)
class Record:
    """A block's bytes: scale, minimum if there is one, then codes in ``code_bytes``."""

    code_bytes: int
    pack: Callable[[Bytes], Bytes]
    unpack: Callable[[Bytes], Bytes]


_FOUR = Record(16, _nibbles, _from_nibbles)
_FIVE = Record(20, _five_bits, _from_five_bits)
RECORDS = {
    "q8_0": Record(SIZE, _as_they_are, _as_they_are),
    "q4_0": _FOUR,
    "q4_1": _FOUR,
    "q5_0": _FIVE,
    "q5_1": _FIVE,
    "gguf_mxfp4": _FOUR,
}


def block_bytes(dtype: str) -> int:
    """Bytes of one block of 32 elements."""
    form = get_format(dtype, "gguf")
    return RECORDS[dtype].code_bytes + form.scale_dtype.itemsize + form.minimum_bits // 8


def pack_blocks(codes: npt.ArrayLike, qparams: BlockParams) -> Bytes:
    """The bytes of a GGUF tensor: uint8 of codes' shape, but for the last axis, which counts bytes.

    ``codes`` come from ``pq.quantize(x, qparams)`` with ``ch_axis=0``; the last axis must be a multiple of 32, since
    GGUF's blocks do not cross rows.
    """
    if getattr(qparams, "dtype", None) not in RECORDS:
        raise QuantTypeError(f"qparams must be BlockParams of {', '.join(RECORDS)}, got {qparams!r:.60}")
    array = np.asarray(codes)
    if array.dtype != qparams.code_dtype:
        raise QuantTypeError(f"codes of {qparams.dtype} must be {qparams.code_dtype}, got {array.dtype}")
    if qparams.ch_axis != 0 or array.ndim < 2 or array.shape[-1] % SIZE or array.size != qparams.scale.size * SIZE:
        raise QuantValueError(
            f"codes must have rows of a multiple of {SIZE}, with one scale for each block and ch_axis 0, got shape "
            f"{array.shape}, {qparams.scale.size} scales and ch_axis {qparams.ch_axis}"
        )
    parts = [_bytes(qparams.scale)]
    if qparams.minimum is not None:
        parts.append(_bytes(qparams.minimum))
    parts.append(RECORDS[qparams.dtype].pack(np.ascontiguousarray(array).reshape(-1, SIZE).view(np.uint8)))
    return np.concatenate(parts, axis=1).reshape(*array.shape[:-1], -1)


def unpack_blocks(raw: npt.ArrayLike, dtype: str) -> tuple[npt.NDArray[Any], BlockParams]:
    """Codes and scales of a GGUF tensor's bytes: uint8 of any rank, whose last axis counts bytes (one row if 1-d)."""
    choose_from("dtype", dtype, RECORDS)
    array = np.atleast_2d(np.asarray(raw))
    size = block_bytes(dtype)
    if array.dtype != np.uint8:
        raise QuantTypeError(f"raw must be bytes, of dtype uint8, got {array.dtype}")
    if array.size == 0 or array.shape[-1] % size:
        raise QuantValueError(f"rows of {dtype} must be a multiple of {size} bytes, got shape {array.shape}")
    form = get_format(dtype, "gguf")
    blocks = np.ascontiguousarray(array).reshape(-1, size)
    shape = (array.shape[0], len(blocks) // array.shape[0])
    width = form.scale_dtype.itemsize
    stored = [
        np.ascontiguousarray(blocks[:, start : start + width]).view(form.scale_dtype).reshape(shape)
        for start in range(0, size - RECORDS[dtype].code_bytes, width)
    ]
    codes = RECORDS[dtype].unpack(blocks[:, -RECORDS[dtype].code_bytes :])
    minimum = stored[1] if form.minimum_bits else None
    qparams = BlockParams(stored[0], dtype=dtype, convention="gguf", ch_axis=0, minimum=minimum)
    whole = np.ascontiguousarray(codes).view(form.code_dtype)
    return whole.reshape(*array.shape[:-1], array.shape[-1] // size * SIZE), qparams


def _bytes(values: npt.NDArray[Any]) -> Bytes:
    return np.ascontiguousarray(values).reshape(-1, 1).view(np.uint8)
