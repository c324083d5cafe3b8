"""How GGUF's blocks lay out codes and scales in their bytes, by ggml's block structures: one function per type.

Each takes (blocks, bytes of a block) and gives :class:`Parts`. All numbers are little-endian, and of a byte that holds
several codes the lowest bits come first.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from perchq_widget.core.runtimes.gguf_bytes import RECORDS

from .tables import magnitude_places, parity_signs, ternary_grid

Bytes = npt.NDArray[np.uint8]
Array = npt.NDArray[Any]
SUPER = 256  # elements of a large block


@dataclass(frozen=True, eq=False, slots=True)
class Parts:
    """Codes, (blocks, elements of a block); scale, and minimum where there is one, (blocks, parts of a block)."""

    codes: Array
    scale: Array
    minimum: Array | None = None


Unpack = Callable[[Bytes], Parts]


def _numbers(blocks: Bytes, start: int, count: int, kind: str) -> Array:
    """``count`` numbers of dtype ``kind``, from byte ``start`` of every block."""
    dtype = np.dtype(kind)
    part = np.ascontiguousarray(blocks[:, start : start + count * dtype.itemsize])
    return part.view(dtype)


def _halves(blocks: Bytes, start: int) -> Array:
    """The float16 at ``start``, as float32 of shape (blocks, 1)."""
    return _numbers(blocks, start, 1, "<f2").astype(np.float32)


def _spread(packed: Array, run: int, bits: int) -> Bytes:
    """Codes of ``bits`` bits out of bytes: of each ``run`` bytes first all lowest codes, then all second ones."""
    shifts = np.arange(0, 8, bits, dtype=np.uint8)[:, None]
    codes = packed.reshape(len(packed), -1, 1, run) >> shifts & np.uint8((1 << bits) - 1)
    return codes.reshape(len(packed), -1)


def _fields(words: Array, shifts: list[int], mask: int) -> Array:
    """Of each word (blocks, words) the numbers at ``shifts``: (blocks, words * shifts)."""
    found: Array = words[:, :, None] >> np.array(shifts, words.dtype) & words.dtype.type(mask)
    return found.reshape(len(words), -1)


def _record(dtype: str, scales: int = 1) -> Unpack:
    """The small blocks that core can write: float16 scale, and minimum where there are two numbers, then codes."""
    record = RECORDS[dtype]

    def unpack(blocks: Bytes) -> Parts:
        numbers = [_numbers(blocks, 2 * at, 1, "<f2") for at in range(scales)]
        return Parts(record.unpack(blocks[:, -record.code_bytes :]), *numbers)

    return unpack


def _q8_0(blocks: Bytes) -> Parts:
    return Parts(blocks[:, 2:].view(np.int8), _numbers(blocks, 0, 1, "<f2"))


def _mxfp4(blocks: Bytes) -> Parts:
    return Parts(_spread(blocks[:, 1:], 16, 4), blocks[:, :1])


#: Half of the unsigned E4M3 number that a byte is without its highest bit, 0 where all bits are set.
_BYTES = np.arange(256) & 0x7F
_HALF_E4M3 = np.where(
    _BYTES >> 3 == 0, np.ldexp(_BYTES & 7, -10), np.ldexp(1 + (_BYTES & 7) / 8, (_BYTES >> 3) - 8)
).astype(np.float32)
_HALF_E4M3[0x7F] = 0  # with the highest bit it is a number


def _nvfp4(blocks: Bytes) -> Parts:
    return Parts(_spread(blocks[:, 4:], 8, 4), _HALF_E4M3[blocks[:, :4]])


def _q2_k(blocks: Bytes) -> Parts:
    scales, d, dmin = blocks[:, :16], _halves(blocks, 80), _halves(blocks, 82)
    minimum = -(dmin * (scales >> 4).astype(np.float32))
    return Parts(_spread(blocks[:, 16:80], 32, 2), d * (scales & 15).astype(np.float32), minimum)


def _q3_k(blocks: Bytes) -> Parts:
    low, high = _spread(blocks[:, 96:104], 8, 4), _spread(blocks[:, 104:108], 4, 2)
    scales = (low | high << np.uint8(4)).astype(np.float32) - np.float32(32)
    third = _spread(blocks[:, :32], 32, 1)  # a bit that is not set takes 4 off
    codes = _spread(blocks[:, 32:96], 32, 2) | third << np.uint8(2)
    return Parts(codes.view(np.int8) - np.int8(4), _halves(blocks, 108) * scales)


def _scales_and_minima(blocks: Bytes) -> tuple[Array, Array]:
    """Of Q4_K and Q5_K: eight scales and minima of 6 bits in twelve bytes, multiplied out.

    The first four scales and then minima have bytes of their own; of the last four the low bits share a byte, and the
    two high ones lie above those of the first.
    """
    first, second, shared = (blocks[:, at : at + 4] for at in (4, 8, 12))
    scales = np.concatenate([first & 63, shared & 15 | first >> 6 << 4], axis=1)
    minima = np.concatenate([second & 63, shared >> 4 | second >> 6 << 4], axis=1)
    d, dmin = _halves(blocks, 0), _halves(blocks, 2)
    return d * scales.astype(np.float32), -(dmin * minima.astype(np.float32))


def _q4_k(blocks: Bytes) -> Parts:
    return Parts(_spread(blocks[:, 16:], 32, 4), *_scales_and_minima(blocks))


def _q5_k(blocks: Bytes) -> Parts:
    fifth = _spread(blocks[:, 16:48], 32, 1)
    return Parts(_spread(blocks[:, 48:], 32, 4) | fifth << np.uint8(4), *_scales_and_minima(blocks))


def _q6_k(blocks: Bytes) -> Parts:
    codes = _spread(blocks[:, :128], 64, 4) | _spread(blocks[:, 128:192], 32, 2) << np.uint8(4)
    scales = _numbers(blocks, 192, 16, "i1").astype(np.float32)
    return Parts(codes.view(np.int8) - np.int8(32), _halves(blocks, 208) * scales)


def _trits(packed: Bytes, count: int) -> Bytes:
    """The ``count`` first digits to base 3 of each byte, which is a fraction of 256: all first digits come first."""
    powers = np.array([1, 3, 9, 27, 81][:count], np.uint8)[:, None]
    fraction = (packed[:, None, :] * powers).astype(np.uint16)  # the product keeps its last byte
    return (fraction * 3 >> 8).astype(np.uint8).reshape(len(packed), -1)


def _tq1_0(blocks: Bytes) -> Parts:
    parts = (_trits(blocks[:, :32], 5), _trits(blocks[:, 32:48], 5), _trits(blocks[:, 48:52], 4))
    return Parts(np.concatenate(parts, axis=1).view(np.int8) - np.int8(1), _halves(blocks, 52))


def _tq2_0(blocks: Bytes) -> Parts:
    return Parts(_spread(blocks[:, :64], 32, 2).view(np.int8) - np.int8(1), _halves(blocks, 64))


def _iq4_nl(blocks: Bytes) -> Parts:
    return Parts(_spread(blocks[:, 2:], 16, 4), _halves(blocks, 0))


def _iq4_xs(blocks: Bytes) -> Parts:
    high = _fields(_numbers(blocks, 2, 1, "<u2"), list(range(0, 16, 2)), 3)
    low = _fields(blocks[:, 4:8], [0, 4], 15)
    scales = (low | high << 4).astype(np.float32) - np.float32(32)
    return Parts(_spread(blocks[:, 8:], 16, 4), _halves(blocks, 0) * scales)


def _signed_codes(dtype: str, rows: Array, signs: Array) -> Bytes:
    """Places among the signed levels: ``rows`` of the type's table, ``signs`` one bit for each element."""
    places, n = magnitude_places(dtype)
    at = places[rows].reshape(len(rows), -1)
    negative = np.unpackbits(np.ascontiguousarray(signs), axis=1, bitorder="little")
    return np.where(negative == 0, at + np.uint8(n), np.uint8(n - 1) - at)


def _quarters(blocks: Bytes, scales: Array) -> Array:
    """The scales of IQ2: d * (1/2 + scale) / 4."""
    quarters: Array = _halves(blocks, 0) * (np.float32(0.5) + scales.astype(np.float32)) * np.float32(0.25)
    return quarters


_SEVENS = [0, 7, 14, 21]


def _iq2_xxs(blocks: Bytes) -> Parts:
    words = _numbers(blocks, 2, 16, "<u4")  # of each 32 elements: four rows of the table, then signs and a scale
    rows = np.ascontiguousarray(words[:, ::2]).view(np.uint8)
    signs = parity_signs()[_fields(words[:, 1::2], _SEVENS, 127)]
    return Parts(_signed_codes("iq2_xxs", rows, signs), _quarters(blocks, words[:, 1::2] >> 28))


def _iq2_xs(blocks: Bytes) -> Parts:
    words = _numbers(blocks, 2, 32, "<u2")
    codes = _signed_codes("iq2_xs", words & 511, parity_signs()[words >> 9])
    return Parts(codes, _quarters(blocks, _fields(blocks[:, 66:74], [0, 4], 15)))


def _iq2_s(blocks: Bytes) -> Parts:
    high = _fields(blocks[:, 66:74], [0, 2, 4, 6], 3).astype(np.uint16)
    codes = _signed_codes("iq2_s", blocks[:, 2:34] | high << 8, blocks[:, 34:66])
    return Parts(codes, _quarters(blocks, _fields(blocks[:, 74:82], [0, 4], 15)))


def _iq3_xxs(blocks: Bytes) -> Parts:
    words = _numbers(blocks, 66, 8, "<u4")
    codes = _signed_codes("iq3_xxs", blocks[:, 2:66], parity_signs()[_fields(words, _SEVENS, 127)])
    scales = np.float32(0.5) + (words >> 28).astype(np.float32)
    return Parts(codes, _halves(blocks, 0) * scales * np.float32(0.5))


def _iq3_s(blocks: Bytes) -> Parts:
    high = np.unpackbits(np.ascontiguousarray(blocks[:, 66:74]), axis=1, bitorder="little").astype(np.uint16)
    codes = _signed_codes("iq3_s", blocks[:, 2:66] | high << 8, blocks[:, 74:106])
    scales = 1 + 2 * _fields(blocks[:, 106:110], [0, 4], 15).astype(np.float32)
    return Parts(codes, _halves(blocks, 0) * scales)


def _ternary_codes(rows: Array, above: Array) -> Bytes:
    """Places among the shifted levels; ``above``: for each row of the table, whether they are shifted upwards."""
    codes = ternary_grid()[rows] << np.uint8(1) | above[:, :, None].astype(np.uint8)
    return codes.reshape(len(rows), -1)


_THREES = [0, 3, 6, 9]


def _iq1_s(blocks: Bytes) -> Parts:
    words = _numbers(blocks, 34, 8, "<u2")
    rows = blocks[:, 2:34] | _fields(words, _THREES, 7) << 8
    scales = (2 * (words >> 12 & 7) + 1).astype(np.float32)
    return Parts(_ternary_codes(rows, np.repeat(words < 0x8000, 4, axis=1)), _halves(blocks, 0) * scales)


def _iq1_m(blocks: Bytes) -> Parts:
    words = _numbers(blocks, 48, 4, "<u2")  # four scales of 3 bits each, and above them a quarter of d's bits
    bits = (words >> 12 << np.array([0, 4, 8, 12], np.uint16)).sum(1, dtype=np.uint16)
    scales = (2 * _fields(words, _THREES, 7) + 1).astype(np.float32)
    high = _fields(blocks[:, 32:48], [0, 4], 15)
    rows = blocks[:, :32] | (high & np.uint8(7)).astype(np.uint16) << 8
    return Parts(_ternary_codes(rows, high < 8), bits.view(np.float16)[:, None].astype(np.float32) * scales)


UNPACK: dict[str, Unpack] = {
    "Q8_0": _q8_0, "Q4_0": _record("q4_0"), "Q4_1": _record("q4_1", 2), "Q5_0": _record("q5_0"),
    "Q5_1": _record("q5_1", 2), "MXFP4": _mxfp4, "NVFP4": _nvfp4, "Q2_K": _q2_k, "Q3_K": _q3_k, "Q4_K": _q4_k,
    "Q5_K": _q5_k, "Q6_K": _q6_k, "TQ1_0": _tq1_0, "TQ2_0": _tq2_0, "IQ4_NL": _iq4_nl, "IQ4_XS": _iq4_xs,
    "IQ2_XXS": _iq2_xxs, "IQ2_XS": _iq2_xs, "IQ2_S": _iq2_s, "IQ3_XXS": _iq3_xxs, "IQ3_S": _iq3_s,
    "IQ1_S": _iq1_s, "IQ1_M": _iq1_m,
}  # fmt: skip
