"""Formats whose values are a list: which of them a number goes to, ties included, without looking at all of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .blocks import scratch
from .kernels import Expanded, FloatArray, Kernel
from .trace import Formula

#: Numbers at a time: they and their indices stay in a core's own cache.
CHUNK = 1 << 15
#: Cells of the table that numbers are looked up in; one that a bound falls into is looked at again.
CELLS = 4096


@dataclass(frozen=True, eq=False, slots=True)
class Codebook:
    """An ascending list of values and the bounds between them. Build with :func:`codebook`.

    A number goes to ``values[i]``, where i of ``bounds`` lie below it: a number on a bound goes to the lower side. (A
    bound one float32 lower sends what lies on it to the upper side.) ``unit``: how many times larger the values are
    than the numbers that go to them. Numbers from ``first`` to ``last`` are in reach: at most half a step further out
    than the outermost value.
    """

    values: FloatArray
    bounds: FloatArray
    unit: np.float32
    first: np.float32
    last: np.float32
    table: FloatArray  # of each cell the value, NaN where the cell does not tell it
    places: npt.NDArray[np.uint8]  # of each cell the value's place in the list

    def round(self, x: FloatArray) -> None:
        """Replace float32 ``x``, contiguous, by the values that it goes to.

        Numbers out of reach, infinities and NaN become ``unit`` times themselves, and so lie outside the list.
        """
        flat = x.reshape(-1, copy=False)
        size = min(flat.size, CHUNK)
        work, index = scratch(size, np.dtype(np.float32), 0), scratch(size, np.dtype(np.intp), 1)
        found = scratch(size, np.dtype(np.float32), 2)
        for start in range(0, flat.size, CHUNK):
            part = flat[start : start + CHUNK]
            n = part.size
            _cells(part, self.first, self.last, work[:n], index[:n])
            np.take(self.table, index[:n], out=found[:n], mode="clip")
            again = np.flatnonzero(np.isnan(found[:n]))
            if again.size:
                found[again] = self._one_by_one(part[again])
            part[...] = found[:n]

    def index_of(self, values: FloatArray) -> npt.NDArray[np.uint8]:
        """The places in the list of ``values``, which must be listed."""
        out = np.empty(values.shape, np.uint8)
        flat, places = (values / self.unit).ravel(), out.reshape(-1)
        work, index = np.empty(CHUNK, np.float32), np.empty(CHUNK, np.intp)
        for start in range(0, flat.size, CHUNK):
            part = flat[start : start + CHUNK]
            _cells(part, self.first, self.last, work[: part.size], index[: part.size])
            np.take(self.places, index[: part.size], out=places[start : start + CHUNK], mode="clip")
        return out

    def _one_by_one(self, x: FloatArray) -> FloatArray:
        value = self.values[np.searchsorted(self.bounds, x, side="left")]
        with np.errstate(over="ignore", invalid="ignore"):
            return np.where((x >= self.first) & (x <= self.last), value, x * self.unit)


def codebook(values: npt.ArrayLike, bounds: npt.ArrayLike, unit: float = 1.0) -> Codebook:
    """The codebook of these values and bounds, with its lookup tables."""
    listed, between = np.asarray(values, np.float32), np.asarray(bounds, np.float32)
    low, high = listed[0] / np.float32(unit), listed[-1] / np.float32(unit)
    first, last = low - (between[0] - low), high + (high - between[-1])
    cells = np.empty(between.shape, np.intp)
    _cells(between, first, last, np.empty_like(between), cells)
    places = np.searchsorted(cells, np.arange(CELLS), side="left").astype(np.uint8)
    table = listed[places]
    table[[0, 1, -2, -1, *cells]] = np.nan
    return Codebook(listed, between, np.float32(unit), first, last, table, places)


def _cells(
    x: FloatArray, first: np.float32, last: np.float32, work: FloatArray, index: npt.NDArray[np.intp]
) -> None:
    """Write to ``index`` the cell of each number; what is out of reach, or no number, lies in or beyond an outer one.

    Cells never fall where numbers rise, however these steps are rounded: so one that no bound falls into has one value.
    """
    per_unit = np.float32(CELLS - 4) / (last - first)
    with np.errstate(over="ignore", invalid="ignore"):
        np.subtract(x, first, out=work)
        np.multiply(work, per_unit, out=work)
        np.add(work, np.float32(2), out=work)
        np.copyto(index, work, casting="unsafe")


def nearest(book: Codebook) -> Kernel:
    """The kernel that multiplies and takes the nearest value of the list."""

    def levels(x: FloatArray, p: Expanded, out: FloatArray) -> None:
        assert p.multiplier is not None  # these formats always have one
        np.multiply(x, p.multiplier, out=out)
        book.round(out)

    quotient = Formula("quotient", "x * multiplier", lambda k: k["x"] * k["multiplier"])
    return Kernel("codebook", levels, (quotient, nearest_value(book)), "to the nearest value, ties to the lower side")


def nearest_value(book: Codebook) -> Formula:
    """The step from a quotient to its value in the list."""

    def compute(known: Mapping[str, Any]) -> Any:
        value = np.array([known["quotient"]], np.float32)
        book.round(value)
        return value[0]

    return Formula("level", "nearest(quotient)", compute, f"the nearest of {len(book.values)} values")
