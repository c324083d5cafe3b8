"""Which characters a font file can draw: a small reader of the OpenType ``cmap`` table."""

from __future__ import annotations

import struct
from collections.abc import Iterator

_MAX_SEGMENTS = 70_000


class FontError(ValueError):
    """The bytes are no font whose character map we can read."""


def covered_ranges(data: bytes) -> list[tuple[int, int]]:
    """Return inclusive code point ranges of the font at the start of ``data`` (TTF, OTF, or a TTC's first font).

    Only the best Unicode subtable is read (formats 4 and 12, which every Unicode font has). Raises FontError.
    """
    try:
        start = struct.unpack_from(">I", data, 12)[0] if data[:4] == b"ttcf" else 0
        return list(_best_subtable(data, _table(data, start, b"cmap")))
    except (struct.error, IndexError) as error:
        raise FontError(f"the font's character map is damaged: {error}") from error


def _table(data: bytes, start: int, wanted: bytes) -> int:
    if data[start : start + 4] not in (b"OTTO", b"\x00\x01\x00\x00", b"true"):
        raise FontError("not a TrueType or OpenType font")
    count = struct.unpack_from(">H", data, start + 4)[0]
    for index in range(count):
        tag, _, offset, _ = struct.unpack_from(">4sIII", data, start + 12 + 16 * index)
        if tag == wanted:
            return int(offset)
    raise FontError("the font has no character map")


def _best_subtable(data: bytes, cmap: int) -> Iterator[tuple[int, int]]:
    count = struct.unpack_from(">H", data, cmap + 2)[0]
    found: dict[int, int] = {}
    for index in range(count):
        platform, encoding, offset = struct.unpack_from(">HHI", data, cmap + 4 + 8 * index)
        if platform == 0 or (platform == 3 and encoding in (1, 10)):
            found.setdefault(struct.unpack_from(">H", data, cmap + offset)[0], cmap + offset)
    if 12 in found:
        return _format_12(data, found[12])
    if 4 in found:
        return _format_4(data, found[4])
    raise FontError("the font has no Unicode character map")


def _format_12(data: bytes, at: int) -> Iterator[tuple[int, int]]:
    count = struct.unpack_from(">I", data, at + 12)[0]
    if count > _MAX_SEGMENTS:
        raise FontError("the font's character map is unreasonably large")
    for index in range(count):
        first, last, _ = struct.unpack_from(">III", data, at + 16 + 12 * index)
        if first <= last <= 0x10FFFF:
            yield int(first), int(last)


def _format_4(data: bytes, at: int) -> Iterator[tuple[int, int]]:
    doubled = struct.unpack_from(">H", data, at + 6)[0]
    for offset in range(0, doubled, 2):
        last = struct.unpack_from(">H", data, at + 14 + offset)[0]
        first = struct.unpack_from(">H", data, at + 16 + doubled + offset)[0]
        if first <= last and first != 0xFFFF:
            yield int(first), min(int(last), 0xFFFE)
