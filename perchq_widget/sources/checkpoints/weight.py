"""One weight as a layout describes it: how its values and its codes are made when they are asked for."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from perchq_widget.core.grids import full_range
from perchq_widget.core.schemes import GroupSize
from perchq_widget.sources.checkpoints.parts import FLOAT8, UnfitError
from perchq_widget.sources.stored import Stored

Array = npt.NDArray[Any]

#: (first row, row after the last) -> an array of these rows
Rows = Callable[[int, int], Array]

#: Elements that are worked on at a time: what is made on the way is small beside the result.
AT_ONCE = 1 << 18

ROWS_FIRST = "rows of the unpacked matrix make the outputs, whatever way the file packs them"


@dataclass(frozen=True, eq=False)
class Weight:
    """A weight that was recognised. ``used``: the names of its parts; ``values``: decoded rows of axis 0."""

    layout: str
    shape: tuple[int, ...]
    dtype: str
    scheme: str
    used: tuple[str, ...]
    values: Rows
    stored: Callable[[], Stored] | None
    note: str = ""
    ch_axis: int = 0
    ch_axis_reason: str = ROWS_FIRST


@dataclass(frozen=True, eq=False)
class Affine:
    """A matrix of codes with real = (code - zero) * scale, computed in the scale's dtype.

    ``codes`` gives rows of codes of ``shape``; ``scale`` and ``zero`` give those of rows: () for the whole matrix,
    (rows,) per channel, (rows, groups) per group of ``group`` columns; of blocks, all blocks that the rows touch.
    ``group_of`` gives the group of each column, where they do not lie in order. ``whole``: one scale for all.
    """

    shape: tuple[int, ...]
    dtype: str
    codes: Rows
    scale: Rows
    zero: Rows | None = None
    group: GroupSize | None = None
    group_of: Callable[[], Array] | None = None
    convention: str = "compressed-tensors"
    whole: bool = False

    @property
    def columns(self) -> int:
        """Elements of a row."""
        return math.prod(self.shape[1:])

    def values(self, first: int, last: int) -> Array:
        """Decoded rows, in the scale's dtype, columns in their natural order."""
        places = None if self.group_of is None else self.group_of()
        step = max(1, AT_ONCE // self.columns)
        out: Array | None = None
        for row in range(first, last, step):
            end = min(row + step, last)
            scale = self.scale(row, end)
            level = self.codes(row, end).reshape(end - row, -1).astype(np.float32)
            if self.zero is not None:
                level -= self._spread(self.zero(row, end), row, end, places).astype(np.float32)
            with np.errstate(all="ignore"):
                level *= self._spread(scale, row, end, places).astype(np.float32)
                if out is None:
                    out = np.empty((last - first, self.columns), scale.dtype)
                out[row - first : end - first] = level
        if out is None:
            out = np.empty((0, self.columns), self.scale(0, 1).dtype)
        return out.reshape(-1, *self.shape[1:])

    def _spread(self, each: Array, first: int, last: int, places: Array | None) -> Array:
        """Numbers per unit as an array that broadcasts against the rows."""
        if each.ndim < 2:
            return each[:, None] if each.ndim else each
        if places is not None:
            return each[:, places]
        if isinstance(self.group, tuple):
            high, wide = self.group
            rows = np.arange(first, last) // high - first // high
            return np.repeat(each, wide, axis=1)[rows, : self.columns]
        assert self.group is not None
        return np.repeat(each, self.group, axis=1)[:, : self.columns]

    def stored(self) -> Stored:
        """All codes with their parameters; the columns sorted by group where they are not.

        QuantValueError where parameters cannot be: scales of 0, groups of different sizes.
        """
        from perchq_widget.core.qparams import QParams

        order, sorted_by = self._order()
        n = self.shape[0]
        codes = np.ascontiguousarray(self.codes(0, n).reshape(n, -1))
        _check_codes(codes, self.dtype)
        scale, rounded = _wide_enough(np.asarray(self.scale(0, n)), self.dtype)
        zero = np.zeros(scale.shape, np.int64) if self.zero is None else self.zero(0, n)
        channels = not (self.whole or isinstance(self.group, tuple))
        qparams = QParams(
            scale, zero, dtype=self.dtype, convention=self.convention, ch_axis=0 if channels else None,
            group_size=self.group if not self.whole else None,
        )  # fmt: skip
        sorted_codes = codes if order is None else codes[:, order]
        return Stored(sorted_codes.reshape(self.shape), qparams, note="; ".join(filter(None, (sorted_by, rounded))))

    def _order(self) -> tuple[Array | None, str]:
        """The columns sorted by group, None where they are already, and what to say of that."""
        if self.group_of is None:
            return None, ""
        places = self.group_of()
        assert isinstance(self.group, int)
        if np.array_equal(places, np.arange(self.columns) // self.group):
            return None, ""
        order = np.argsort(places, kind="stable")
        if not np.array_equal(places[order], np.arange(self.columns) // self.group):
            raise UnfitError(
                f"its g_idx makes groups that are not of {self.group} columns each, which no parameters here describe; "
                "read() decodes it"
            )
        return order, "columns are sorted by their group (g_idx), so that groups lie together; read() has them in order"


def _check_codes(codes: Array, dtype: str) -> None:
    """A configuration may say fewer bits than int8 codes take."""
    if dtype in FLOAT8 or dtype == "qint8":
        return
    low, high = full_range(dtype)
    if not low <= codes.min() <= codes.max() <= high:
        raise UnfitError(f"its codes {codes.min()}..{codes.max()} are not {dtype}, which its configuration says")


def _wide_enough(scale: Array, dtype: str) -> tuple[Array, str]:
    """Scales of 8-bit integers in float32 where they are bfloat16, whose 8 bits hold no product from which the code
    could be told again: 127 and 126.5 steps may round to one number.
    """
    if dtype != "qint8" or scale.dtype.itemsize > 2 or scale.dtype == np.float16:
        return scale, ""
    return scale.astype(np.float32), "products are in float32; the runtime rounds them to bfloat16, as read() does"


def affine_weight(spec: Affine, layout: str, used: tuple[str, ...], note: str = "") -> Weight:
    """The weight of ``spec``, with its scheme in words."""
    over = _shared_by(spec)
    bits = spec.dtype.removeprefix("q")
    return Weight(layout, spec.shape, spec.dtype, f"{bits}, {over}, {layout}", used, spec.values, spec.stored, note)


def _shared_by(spec: Affine) -> str:
    if isinstance(spec.group, tuple):
        return f"blocks of {spec.group[0]}x{spec.group[1]}"
    if spec.group is not None:
        return f"groups of {spec.group}"
    return "per tensor" if spec.whole else "per channel"
