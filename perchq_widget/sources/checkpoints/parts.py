"""The raw tensors that together are one quantized weight, checked before anything is made of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from perchq_widget.core.errors import QuantValueError
from perchq_widget.sources.base import TensorRecord

SCALES = ("float32", "float16", "bfloat16")
"""Types of scales that products are taken in."""

FLOAT8 = ("float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz")

SMALL = 1 << 16
"""Elements of a part that is read when the file is opened: a shape, a short text."""


class UnfitError(QuantValueError):
    """Parts that have a layout's names and cannot be a weight in it: why, as the end of a sentence."""


@dataclass(frozen=True)
class Part:
    """One raw tensor of a weight."""

    record: TensorRecord

    @property
    def name(self) -> str:
        """Its name in the file."""
        return self.record.name

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape in the file."""
        return self.record.shape

    @property
    def dtype(self) -> str:
        """Its type in the file."""
        return self.record.dtype

    @property
    def size(self) -> int:
        """Its number of elements."""
        return math.prod(self.shape)

    def of(self, *dtypes: str, rank: int | None = None) -> Part:
        """Itself, if it has one of these types, that many dimensions and elements at all; else UnfitError."""
        if self.dtype not in dtypes:
            raise UnfitError(f"{self.name!r} is {self.dtype} and should be {' or '.join(dtypes)}")
        if rank is not None and len(self.shape) != rank:
            raise UnfitError(f"{self.name!r} has the shape {self.shape} and should have {rank} dimensions")
        if self.size == 0:
            raise UnfitError(f"{self.name!r} is empty (shape {self.shape})")
        return self

    def shaped(self, *shapes: tuple[int, ...]) -> Part:
        """Itself, if it has one of these shapes; else UnfitError."""
        if self.shape not in shapes:
            wanted = " or ".join(map(str, shapes))
            raise UnfitError(f"{self.name!r} has the shape {self.shape} and should have {wanted}")
        return self

    def array(self) -> npt.NDArray[Any]:
        """What the file holds, memory-mapped where it can be; UnfitError if it is not what the header said."""
        found = np.asarray(self.record.raw())
        if found.shape != self.shape or found.dtype.name != self.dtype:
            raise UnfitError(f"{self.name!r} reads as {found.dtype} {found.shape}, not as {self.dtype} {self.shape}")
        return found

    def octets(self) -> npt.NDArray[np.uint8]:
        """Its bytes, flat, whatever its type."""
        return np.ascontiguousarray(self.array()).reshape(-1).view(np.uint8)

    def small(self) -> npt.NDArray[Any]:
        """Its values, for a part that may be read while the file is opened; UnfitError for a large one."""
        if self.size > SMALL:
            raise UnfitError(f"{self.name!r} has {self.size} elements, far more than it needs")
        return self.array()


@dataclass(frozen=True)
class Parts:
    """The parts of one weight among all records of a file. ``base``: the name that the weight gets."""

    base: str
    records: Mapping[str, TensorRecord]

    @property
    def stem(self) -> str:
        """The layer's name: the weight's up to its last dot, with it."""
        return self.base[: self.base.rfind(".") + 1]

    def find(self, name: str) -> Part | None:
        """The part of that full name, None where there is none; UnfitError if its entry is malformed."""
        record = self.records.get(name)
        if record is None:
            return None
        if (record.not_applicable or "").startswith("malformed"):
            raise UnfitError(f"{name!r} is malformed")
        if record.raw_loader is None and record.loader is None:
            raise UnfitError(f"{name!r} cannot be read")
        return Part(record)

    def need(self, name: str) -> Part:
        """The part of that full name; UnfitError without it."""
        found = self.find(name)
        if found is None:
            raise UnfitError(f"{name!r} is missing")
        return found
