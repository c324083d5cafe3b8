"""Codes that lie several to a byte or word, taken apart."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]

_RUN = 32  # so many codes of b bits fill b words exactly


def words_for(count: int, bits: int) -> int:
    """How many 32-bit words hold ``count`` codes without gaps."""
    return -(-count * bits // 32)


def unpack_words(words: npt.NDArray[Any], bits: int, count: int) -> Bytes:
    """The first ``count`` codes of each row of 32-bit ``words`` (rows, words), lowest bits first, without gaps.

    Code i has the bits from i * bits on, so that codes of 3, 5, 6 and 7 bits may lie across two words.
    """
    little = np.ascontiguousarray(words).astype("<u4", copy=False)
    if bits == 8:
        return little.view(np.uint8)[:, :count]
    if bits == 4:
        return unpack_nibbles(little.view(np.uint8))[:, :count]
    if 8 % bits == 0:
        return _split_bytes(little.view(np.uint8), bits)[:, :count]
    return _across_words(little, bits)[:, :count]


def unpack_nibbles(packed: Bytes, *, high_first: bool = False) -> Bytes:
    """Two codes of four bits from each byte along the last axis, the low half first unless told otherwise."""
    out = np.empty((*packed.shape, 2), np.uint8)
    first, second = (1, 0) if high_first else (0, 1)
    np.bitwise_and(packed, 15, out=out[..., first])
    np.right_shift(packed, 4, out=out[..., second])
    return out.reshape(*packed.shape[:-1], 2 * packed.shape[-1])


def _split_bytes(packed: Bytes, bits: int) -> Bytes:
    parts = 8 // bits
    out = np.empty((*packed.shape, parts), np.uint8)
    for part in range(parts):
        out[..., part] = packed >> bits * part & (1 << bits) - 1
    return out.reshape(len(packed), -1)


def _across_words(words: npt.NDArray[Any], bits: int) -> Bytes:
    rows, n_words = words.shape
    runs = -(-n_words // bits)
    padded = np.zeros((rows, runs * bits), np.uint32)
    padded[:, :n_words] = words
    grouped = padded.reshape(rows, runs, bits)
    out = np.empty((rows, runs, _RUN), np.uint8)
    for code in range(_RUN):
        word, shift = divmod(code * bits, 32)
        found = grouped[..., word] >> np.uint32(shift)
        if shift + bits > 32:
            found = found | grouped[..., word + 1] << np.uint32(32 - shift)
        out[..., code] = found & np.uint32((1 << bits) - 1)
    return out.reshape(rows, runs * _RUN)
