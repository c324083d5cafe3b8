"""A file whose layout was checked once, mapped anew for each read, so that nothing stays open in between."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from perchq_widget.core.errors import QuantValueError


@dataclass(frozen=True)
class FileStamp:
    """A file as it was when its header was checked."""

    path: Path
    size: int
    mtime_ns: int

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
        """The bytes from ``offset`` as a read-only mapped array. The caller has checked that they lie in the file."""
        self.check()
        return np.memmap(self.path, dtype=dtype, mode="r", offset=offset, shape=shape, order="F" if fortran else "C")
