"""Tables of a flatbuffer, read in place with every offset checked: Python's own flatbuffers verifies none.

A table begins with the distance back to its vtable, which says where each field lies; a field holds a number or the
distance to a table, a text or a vector. All numbers are little-endian. Layout: flatbuffers.dev, "FlatBuffer Internals".
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np

from perchq_widget.core.errors import QuantValueError

_U16, _I32, _U32 = struct.Struct("<H"), struct.Struct("<i"), struct.Struct("<I")
_NUMBERS = {kind: struct.Struct("<" + kind) for kind in "bBiIQ"}
_SLACK = 1 << 16
_MOST_FIELDS = 100  # that are looked at; no schema read here has as many


class OverlapError(QuantValueError):
    """The parts of a file claim more bytes than it has: it was made to be read for ever, and no part is believed."""


class Flatbuffer:
    """The bytes of a file, from which numbers are taken only where they lie.

    Parts may share bytes, so a small file could claim a huge number of long texts. What is read is therefore counted,
    and reading ends once that is twice the file's size.
    """

    def __init__(self, data: memoryview, path: Path) -> None:
        self.data, self.path, self.size = data, path, len(data)
        self._left = 2 * self.size + _SLACK

    def root(self) -> Table:
        """The table that the file begins with."""
        return self.follow(0)

    def follow(self, at: int) -> Table:
        """The table that the offset at ``at`` points to."""
        return Table(self, at + int(self.number(_U32, at)))

    def number(self, kind: struct.Struct, at: int) -> int | float:
        """The number at ``at``."""
        if not 0 <= at <= self.size - kind.size:  # where it is negative, struct would count from the end
            self.check(at, kind.size)
        value: int | float = kind.unpack_from(self.data, at)[0]
        return value

    def check(self, at: int, n_bytes: int) -> None:
        """Raise unless ``n_bytes`` from ``at`` lie in the file."""
        if not 0 <= at <= self.size - n_bytes:
            raise self.malformed(f"an offset leads to bytes {at}..{at + n_bytes} of {self.size}")

    def spend(self, n_bytes: int) -> None:
        """Count bytes that are read."""
        self._left -= n_bytes
        if self._left < 0:
            raise OverlapError(f"{self.path}: malformed: its parts overlap and claim more bytes than the file has")

    def malformed(self, what: str) -> QuantValueError:
        """The error for a file that contradicts itself."""
        return QuantValueError(f"{self.path}: malformed: {what}")


class Table:
    """One table. Fields are named by their number in the schema; one that is absent has its default."""

    __slots__ = ("_offsets", "_position", "buffer")

    def __init__(self, buffer: Flatbuffer, position: int) -> None:
        vtable = position - int(buffer.number(_I32, position))
        length = int(buffer.number(_U16, vtable))
        if length < 4 or length % 2:
            raise buffer.malformed(f"a table at byte {position} has a field list of {length} bytes")
        buffer.check(vtable, length)
        n = min(length // 2 - 1, _MOST_FIELDS)
        size, *self._offsets = struct.unpack_from(f"<{n}H", buffer.data, vtable + 2)
        buffer.spend(max(4, size))
        self.buffer, self._position = buffer, position

    def _at(self, field: int) -> int | None:
        """Where a field lies, None if it is absent."""
        if field >= len(self._offsets) or not self._offsets[field]:
            return None
        return self._position + int(self._offsets[field])

    def number(self, field: int, kind: str, default: int = 0) -> int:
        """A whole number; ``kind`` is its letter in :mod:`struct`."""
        at = self._at(field)
        return default if at is None else int(self.buffer.number(_NUMBERS[kind], at))

    def table(self, field: int) -> Table | None:
        """The table that a field points to."""
        at = self._at(field)
        return None if at is None else self.buffer.follow(at)

    def span(self, field: int, itemsize: int) -> tuple[int, int]:
        """(first byte, number of items) of a vector, all of whose items lie in the file; (0, 0) if it is absent."""
        at = self._at(field)
        if at is None:
            return 0, 0
        start = at + int(self.buffer.number(_U32, at))
        n = int(self.buffer.number(_U32, start))
        self.buffer.check(start + 4, n * itemsize)
        return start + 4, n

    def items(self, field: int) -> range:
        """Where the offsets of a vector of tables lie, each for :meth:`Flatbuffer.follow`."""
        start, n = self.span(field, 4)
        self.buffer.spend(4 * n)
        return range(start, start + 4 * n, 4)

    def array(self, field: int, dtype: str) -> np.ndarray[Any, Any]:
        """A copy of a vector of numbers; empty if it is absent."""
        kind = np.dtype(dtype)
        start, n = self.span(field, kind.itemsize)
        self.buffer.spend(n * kind.itemsize)
        return np.frombuffer(self.buffer.data, kind, n, start).copy()

    def text(self, field: int) -> str:
        """A text, with what is not UTF-8 spelled as escapes; "" if it is absent."""
        start, n = self.span(field, 1)
        self.buffer.spend(n)
        return bytes(self.buffer.data[start : start + n]).decode("utf-8", "backslashreplace")
