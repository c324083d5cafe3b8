"""The values of a quantized GGUF tensor: blocks decoded as the runtime decodes them, a few at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from perchq_widget.core.errors import MissingExtra, QuantValueError

from ..file_bytes import FileStamp
from .blocks import BlockType, dequantize_gguf, gguf_types
from .stored import stored_blocks

if TYPE_CHECKING:
    from ..stored import Stored

_AT_ONCE = 1 << 18  # elements decoded together: 1 MiB of floats and a few times that while decoding


@dataclass(frozen=True, slots=True)
class Blocks:
    """The tensor ``name``, of ``shape``, whose blocks begin at the byte ``begin`` of a file and lie in it: checked."""

    name: str
    stamp: FileStamp
    begin: int
    kind: BlockType
    shape: tuple[int, ...]
    ch_axis: int

    def raw(self) -> npt.NDArray[np.uint8]:
        """The bytes, mapped, uint8: of the tensor's shape but for the last axis, which counts the bytes of a row."""
        row = self.shape[-1] // self.kind.n_elements * self.kind.n_bytes
        return np.asarray(self.stamp.map(np.dtype(np.uint8), self.begin, (*self.shape[:-1], row)))

    def stored(self) -> Stored:
        """Codes and scales as they are in the file."""
        raw = self.raw()
        with self._named():
            return stored_blocks(raw, self.kind.name, self.shape, ch_axis=self.ch_axis)

    def values(self) -> npt.NDArray[np.float32]:
        """All values."""
        return self.rows(0, self.shape[0])

    def rows(self, start: int, stop: int) -> npt.NDArray[np.float32]:
        """The values of the rows of axis 0; reads no block of another row, but for blocks that they share."""
        row = math.prod(self.shape[1:])
        first, last = start * row, stop * row
        if first == last:
            return np.empty((0, *self.shape[1:]), np.float32)
        size = self.kind.n_elements
        begin, end = first // size, -(-last // size)
        found = np.empty((end - begin) * size, np.float32)
        self._decode(begin, found)
        return found[first - begin * size : last - begin * size].reshape(stop - start, *self.shape[1:])

    def _decode(self, begin: int, found: npt.NDArray[np.float32]) -> None:
        """Fill ``found`` with the values of the blocks from number ``begin``."""
        size, n_bytes = self.kind.n_elements, self.kind.n_bytes
        total, step = found.size // size, max(1, _AT_ONCE // size)
        mapped = self.stamp.map(np.dtype(np.uint8), self.begin + begin * n_bytes, (total * n_bytes,))
        for start in range(0, total, step):
            stop = min(start + step, total)
            raw = np.asarray(mapped[start * n_bytes : stop * n_bytes])
            with self._named():
                found[start * size : stop * size] = decoded(raw, self.kind)

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Say which tensor the bytes belong to that cannot be decoded."""
        try:
            yield
        except QuantValueError as error:
            raise QuantValueError(f"{self.stamp.path}: tensor {self.name!r}: {error}") from error


def decoded(raw: npt.NDArray[np.uint8], kind: BlockType) -> npt.NDArray[Any]:
    """The values of whole blocks, flat, float32: by our own decoding, which gives the bits of the gguf package.

    Blocks whose scales are no finite numbers have no codes and parameters of ours; the package decodes them, too.
    """
    n_elements = raw.size // kind.n_bytes * kind.n_elements
    try:
        return stored_blocks(raw.reshape(1, -1), kind.name, (1, n_elements)).decoded().reshape(-1)
    except QuantValueError:
        if not _package_decodes(kind.name):
            raise
        return dequantize_gguf(raw, kind.name).reshape(-1)


def _package_decodes(name: str) -> bool:
    try:
        return name in gguf_types()
    except MissingExtra:
        return False
