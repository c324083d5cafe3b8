"""The header of a GGUF file: metadata, walked over rather than read, and the table of its tensors.

Layout as ggml's docs/gguf.md gives it: magic, version, two counts, the key/values, the tensor infos, then padding to
``general.alignment``, from where offsets count. Every count and length is a claim, compared with the file before
anything is done with it.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from perchq_widget.core.errors import QuantValueError

MAX_TENSORS = 65_536
"""More are refused; models have some thousands, and a listed tensor takes far more memory than its 30 bytes here."""

MAX_DIMS = 4
DEFAULT_ALIGNMENT = 32

_KEPT = {
    "general.architecture": str,
    "general.name": str,
    "general.alignment": int,
    "general.file_type": int,
    "split.no": int,
    "split.count": int,
}
_LONGEST_KEPT_TEXT = 200
_MAX_NESTING = 8  # of arrays in arrays; ggml itself reads none
_STRING, _ARRAY = 8, 9
_SCALARS = {
    kind: struct.Struct(code)
    for kind, code in {
        0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<B", 10: "<Q", 11: "<q", 12: "<d",
    }.items()
}  # fmt: skip
_FLOATS = (6, 12)
_U32, _U64, _KIND_AND_COUNT, _KIND_AND_OFFSET = (struct.Struct(code) for code in ("<I", "<Q", "<IQ", "<IQ"))
_SMALLEST_PAIR, _SMALLEST_INFO = 8 + 4 + 1, 8 + 4 + 4 + 8


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One entry of the table of tensors, as it stands there. ``dims`` are in ggml's order, the fastest first.

    ``dims`` is () where ``n_dims`` is more than the format allows. ``kind`` is the number of ggml's type.
    """

    name: str
    n_dims: int
    dims: tuple[int, ...]
    kind: int
    offset: int


@dataclass(frozen=True, slots=True)
class Header:
    """What is kept of a header. ``data_start`` is where the tensors' offsets count from."""

    version: int
    metadata: Mapping[str, str | int]
    tensors: tuple[TensorInfo, ...]
    alignment: int
    data_start: int

    def text(self, key: str) -> str:
        """A kept text, "" where the file has none."""
        found = self.metadata.get(key, "")
        return found if isinstance(found, str) else ""

    def number(self, key: str) -> int | None:
        """A kept whole number, None where the file has none."""
        found = self.metadata.get(key)
        return found if isinstance(found, int) else None


def read_header(path: Path, size: int) -> Header:
    """The header of the file of ``size`` bytes at ``path``. QuantValueError where it cannot be followed to its end."""
    if size < 24:
        raise QuantValueError(f"{path}: malformed: {size} bytes are no GGUF file; its header alone takes 24")
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _Walk(path, data).header()
    except (OSError, ValueError) as error:
        if isinstance(error, QuantValueError):
            raise
        raise QuantValueError(f"{path}: cannot be read ({error})") from error


class _Walk:
    """A position in the header, moved forward only."""

    def __init__(self, path: Path, data: mmap.mmap) -> None:
        self.path = path
        self.data = data
        self.size = len(data)
        self.at = 0

    def header(self) -> Header:
        """All of it."""
        version = self._version()
        n_tensors, n_pairs = self.take(_U64)[0], self.take(_U64)[0]
        self._require(n_pairs, _SMALLEST_PAIR, "the metadata's entries")
        metadata = self._metadata(n_pairs)
        if n_tensors > MAX_TENSORS:
            raise QuantValueError(f"{self.path}: the header claims {n_tensors} tensors; {MAX_TENSORS} are read at most")
        self._require(n_tensors, _SMALLEST_INFO, "the table of tensors")
        tensors = tuple(self._info(index) for index in range(n_tensors))
        alignment = self._alignment(metadata)
        return Header(version, metadata, tensors, alignment, -(-self.at // alignment) * alignment)

    def take(self, form: struct.Struct, what: str = "the header") -> tuple[Any, ...]:
        """The next numbers."""
        self._require(1, form.size, what)
        found = form.unpack_from(self.data, self.at)
        self.at += form.size
        return found

    def _require(self, count: int, each: int, what: str) -> None:
        if count * each > self.size - self.at:
            raise self._error(f"{what} would end beyond the file of {self.size} bytes")

    def _error(self, problem: str) -> QuantValueError:
        return QuantValueError(f"{self.path}: malformed GGUF header at byte {self.at}: {problem}")

    def _version(self) -> int:
        if self.data[:4] != b"GGUF":
            raise QuantValueError(f"{self.path}: is no GGUF file: it begins with {self.data[:4]!r}, not with b'GGUF'")
        self.at = 4
        version: int = self.take(_U32)[0]
        if version in (2, 3):
            return version
        if version & 0xFFFF == 0 and version != 0:
            raise QuantValueError(
                f"{self.path}: is big-endian, for other machines; turn it round with the gguf package: "
                "gguf-convert-endian FILE little"
            )
        raise QuantValueError(f"{self.path}: has GGUF version {version}; 2 and 3 are read: convert the model again")

    def _metadata(self, count: int) -> dict[str, str | int]:
        kept: dict[str, str | int] = {}
        for index in range(count):
            raw = self._bytes(64, f"the key of metadata entry {index}")
            key = raw.decode("utf-8", "backslashreplace")
            kind: int = self.take(_U32)[0]
            expected = _KEPT.get(key)
            if expected is None or not self._matches(kind, expected):
                self._skip(kind, key)
                continue
            if key in kept:
                raise self._error(f"it has {key} twice")
            kept[key] = self._text() if expected is str else self.take(_SCALARS[kind])[0]
        return kept

    def _matches(self, kind: int, expected: type) -> bool:
        return kind == _STRING if expected is str else kind in _SCALARS and kind not in _FLOATS

    def _text(self) -> str:
        return self._bytes(_LONGEST_KEPT_TEXT, "a text of the metadata").decode("utf-8", "replace")

    def _bytes(self, limit: int, what: str) -> bytes:
        """The next string, or its beginning if it is longer than ``limit``."""
        length: int = self.take(_U64, what)[0]
        self._require(length, 1, what)
        found = self.data[self.at : self.at + min(length, limit)]
        self.at += length
        return found

    def _skip(self, kind: int, key: str, depth: int = 0) -> None:
        """Go past one value of the metadata."""
        if kind in _SCALARS:
            self._skip_many(kind, 1, key)
        elif kind == _STRING:
            self._skip_strings(1, key)
        elif kind == _ARRAY and depth < _MAX_NESTING:
            inner, count = self.take(_KIND_AND_COUNT)
            if inner == _ARRAY:
                self._require(count, _KIND_AND_COUNT.size, f"the array {key!r}")
                for _ in range(count):
                    self._skip(inner, key, depth + 1)
            elif inner == _STRING:
                self._skip_strings(count, key)
            else:
                self._skip_many(inner, count, key)
        else:
            problem = f"arrays nested deeper than {_MAX_NESTING}" if kind == _ARRAY else f"the unknown type {kind}"
            raise self._error(f"the metadata {key!r} has {problem}")

    def _skip_many(self, kind: int, count: int, key: str) -> None:
        if kind not in _SCALARS:
            raise self._error(f"the metadata {key!r} has the unknown type {kind}")
        self._require(count, _SCALARS[kind].size, f"the metadata {key!r}")
        self.at += count * _SCALARS[kind].size

    def _skip_strings(self, count: int, key: str) -> None:
        """Past strings, of which a tokenizer has hundreds of thousands: some 0.2 microseconds each."""
        self._require(count, _U64.size, f"the strings {key!r}")
        data, at, length = self.data, self.at, _U64.unpack_from
        try:
            for _ in range(count):
                at += 8 + length(data, at)[0]
        except (struct.error, OverflowError, IndexError):  # the last length led out of the file
            at = self.size + 1
        if at > self.size:
            raise self._error(f"the strings {key!r} would end beyond the file of {self.size} bytes")
        self.at = at

    def _info(self, index: int) -> TensorInfo:
        what = f"the entry of tensor {index}"
        length: int = self.take(_U64, what)[0]
        self._require(length, 1, f"the name of tensor {index}")
        name = self.data[self.at : self.at + length].decode("utf-8", "backslashreplace")
        self.at += length
        n_dims: int = self.take(_U32, what)[0]
        self._require(n_dims, _U64.size, what)
        dims = struct.unpack_from(f"<{n_dims}Q", self.data, self.at) if n_dims <= MAX_DIMS else ()
        self.at += n_dims * _U64.size
        return TensorInfo(name, n_dims, dims, *self.take(_KIND_AND_OFFSET, what))

    def _alignment(self, metadata: Mapping[str, str | int]) -> int:
        alignment = metadata.get("general.alignment", DEFAULT_ALIGNMENT)
        assert isinstance(alignment, int)
        if alignment < 1 or alignment & (alignment - 1):
            raise self._error(f"general.alignment must be a power of two, got {alignment}")
        return alignment
