"""A file whose layout was checked once, mapped while arrays of it live, so that nothing stays open in between."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from weakref import ReferenceType, ref

import numpy as np

from perchq_widget.core.errors import QuantValueError

_Bytes = np.memmap[Any, np.dtype[np.uint8]]
_Key = TypeVar("_Key", bound=Hashable)


@dataclass(frozen=True)
class FileStamp:
    """A file as it was when its header was checked."""

    path: Path
    size: int
    mtime_ns: int
    _mapped: list[ReferenceType[_Bytes]] = field(default_factory=list, repr=False, compare=False)

    @classmethod
    def of(cls, path: Path) -> FileStamp:
        """The present state of the file at ``path``."""
        status = path.stat()
        return cls(path, status.st_size, status.st_mtime_ns)

    def check(self) -> None:
        """Raise QuantValueError if the file is gone or was written since: the checked layout is then void."""
        try:
            now = FileStamp.of(self.path)
        except OSError as error:
            raise QuantValueError(f"{self.path}: cannot be read any more ({error.strerror}); open it again") from error
        if now != self:
            raise QuantValueError(f"{self.path}: has changed since it was opened; open it again")

    def map(
        self, dtype: np.dtype[Any], offset: int, shape: tuple[int, ...], *, fortran: bool = False
    ) -> np.ndarray[Any, Any]:
        """The bytes from ``offset`` as a read-only mapped array. The caller has checked that they lie in the file.

        Pages are read when they are touched. QuantValueError if the file has changed or cannot be mapped.
        """
        self.check()
        try:
            if 0 in shape:
                return np.empty(shape, dtype)
            flat = self._bytes()[offset : offset + dtype.itemsize * math.prod(shape)]
            return flat.view(dtype).reshape(shape, order="F" if fortran else "C")
        except (OSError, ValueError) as error:
            raise QuantValueError(f"{self.path}: {shape} of {dtype} cannot be mapped ({error})") from error

    def _bytes(self) -> _Bytes:
        """The whole file, mapped once for all arrays that live: each mapping of its own would keep a file open."""
        whole = self._mapped[-1]() if self._mapped else None
        if whole is None:
            whole = np.memmap(self.path, dtype=np.uint8, mode="r")
            self._mapped[:] = [ref(whole)]
        return whole


def entry_problem(count: int, malformed: str | None, shared: bool) -> str | None:
    """Why a header's entry cannot be believed: ``count`` of its name, what is wrong in itself, bytes claimed twice."""
    if count > 1:
        return "malformed: the header names it more than once"
    if malformed is not None:
        return malformed
    return "malformed entry: another tensor claims the same bytes" if shared else None


def overlapping(spans: Iterable[tuple[int, int, _Key]]) -> set[_Key]:
    """Of spans (first byte, byte behind the last, key), the keys of those whose bytes another one claims too."""
    found: set[_Key] = set()
    widest: tuple[int, int, _Key] | None = None
    for span in sorted((each for each in spans if each[0] < each[1]), key=lambda each: each[0]):
        if widest is not None and span[0] < widest[1]:
            found |= {span[2], widest[2]}
        if widest is None or span[1] > widest[1]:
            widest = span
    return found
