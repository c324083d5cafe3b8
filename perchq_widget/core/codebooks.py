"""Formats whose values are a list: which of them a number goes to, ties included, without looking at all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from .kernels import Expanded, FloatArray, Kernel
from .trace import Formula

#: Numbers at a time: they and their indices stay in a core's own cache.
CHUNK = 1 << 15
#: Cells of the table that numbers are looked up in; one that a bound falls into is looked at again.
CELLS = 4096

#: (numbers, their multiplier, their scale, output): what is looked up.
Scaled = Callable[[FloatArray, FloatArray, FloatArray, FloatArray], None]


@dataclass(frozen=True, eq=False, slots=True)
class Desk:
    """Room to work in, of as many numbers as are rounded at a time: new memory for each chunk costs as much again."""

    work: FloatArray
    index: npt.NDArray[np.intp]
    unsure: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, size: int) -> Desk:
        """Room for ``size`` numbers."""
        return cls(np.empty(size, np.float32), np.empty(size, np.intp), np.empty(size, np.bool_))


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
    per_unit: np.float32  # cells
    start: np.float32  # cell of the number 0
    table: FloatArray  # of each cell the value, NaN where the cell does not tell it
    places: npt.NDArray[np.uint8]  # of each cell the value's place in the list

    def round(self, x: FloatArray, out: FloatArray, desk: Desk) -> None:
        """Write to ``out`` the values that float32 ``x`` goes to; both flat and contiguous, and not the same.

        Numbers out of reach, infinities and NaN become ``unit`` times themselves, and so lie outside the list.
        """
        index = desk.index[: x.size]
        self._cells(x, desk.work[: x.size], index)
        np.take(self.table, index, out=out, mode="clip")
        again = np.isnan(out, out=desk.unsure[: x.size]).nonzero()[0]
        if again.size:
            out[again] = self._one_by_one(x[again])

    def index_of(self, values: FloatArray) -> npt.NDArray[np.uint8]:
        """The places in the list of ``values``, which must be listed."""
        out = np.empty(values.shape, np.uint8)
        flat, places = (values / self.unit).ravel(), out.reshape(-1)
        desk = Desk.of(min(CHUNK, flat.size))
        for start in range(0, flat.size, CHUNK):
            part = flat[start : start + CHUNK]
            self._cells(part, desk.work[: part.size], index := desk.index[: part.size])
            np.take(self.places, index, out=places[start : start + CHUNK], mode="clip")
        return out

    def _cells(self, x: FloatArray, work: FloatArray, index: npt.NDArray[np.intp]) -> None:
        """Write to ``index`` the cell of each number; one out of reach, or NaN, lies in or beyond an outer cell.

        Cells never fall where numbers rise, however these steps are rounded: so one without a bound has one value.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            np.multiply(x, self.per_unit, out=work)
            np.add(work, self.start, out=work)
            np.copyto(index, work, casting="unsafe")

    def _one_by_one(self, x: FloatArray) -> FloatArray:
        value = self.values[np.searchsorted(self.bounds, x, side="left")]
        if x.min() >= self.first and x.max() <= self.last:  # NaN is not
            return value
        with np.errstate(over="ignore", invalid="ignore"):
            return np.where((x >= self.first) & (x <= self.last), value, x * self.unit)


def codebook(values: npt.ArrayLike, bounds: npt.ArrayLike, unit: float = 1.0) -> Codebook:
    """The codebook of these values and bounds, with its lookup tables."""
    listed, between = np.asarray(values, np.float32), np.asarray(bounds, np.float32)
    low, high = listed[0] / np.float32(unit), listed[-1] / np.float32(unit)
    first, last = low - (between[0] - low), high + (high - between[-1])
    per_unit = np.float32(CELLS - 6) / (last - first)
    start = np.float32(3) - first * per_unit
    empty = Codebook(listed, between, np.float32(unit), first, last, per_unit, start, listed, np.empty(0, np.uint8))
    cells = np.empty(len(between) + 2, np.intp)
    empty._cells(np.array([first, *between, last], np.float32), np.empty(cells.shape, np.float32), cells)
    places = np.searchsorted(cells[1:-1], np.arange(CELLS), side="left").astype(np.uint8)
    table = listed[places]
    table[: cells[0] + 1] = table[cells[-1] :] = np.nan
    table[cells] = np.nan
    return replace(empty, table=table, places=places)


def nearest(book: Codebook, scaled: Scaled, quotient: Formula) -> Kernel:
    """The kernel that scales numbers, as ``quotient`` says in words, and goes to the nearest value of the list."""

    def levels(x: FloatArray, p: Expanded, out: FloatArray) -> None:
        assert p.multiplier is not None  # such formats always have one
        rows = min(max(1, CHUNK // x.shape[1]), len(x))  # so many stay in a core's own cache
        desk, value = Desk.of(rows * x.shape[1]), np.empty((rows, x.shape[1]), np.float32)
        for start in range(0, len(x), rows):
            part = slice(start, start + rows)
            here = value[: len(x) - start]
            multiplier, scale = (each if len(each) == 1 else each[part] for each in (p.multiplier, p.scale))
            scaled(x[part], multiplier, scale, here)
            book.round(here.reshape(-1), out[part].reshape(-1, copy=False), desk)

    return Kernel("codebook", levels, (quotient, _nearest_value(book)), "to the nearest value, ties to the lower side")


def _by_multiplier(x: FloatArray, multiplier: FloatArray, scale: FloatArray, out: FloatArray) -> None:
    np.multiply(x, multiplier, out=out)


def nearest_product(book: Codebook) -> Kernel:
    """The kernel that multiplies and goes to the nearest value of the list."""
    return nearest(book, _by_multiplier, Formula("quotient", "x * multiplier", lambda k: k["x"] * k["multiplier"]))


def _nearest_value(book: Codebook) -> Formula:
    def compute(known: Mapping[str, Any]) -> Any:
        value = np.empty(1, np.float32)
        book.round(np.array([known["quotient"]], np.float32), value, Desk.of(1))
        return value[0]

    return Formula("level", "nearest(quotient)", compute, f"the nearest of {len(book.values)} values")
