"""How a tensor is cut so that each piece meets its own parameters, whatever they are shared over.

Parameters belong to *units*: the tensor, a channel, a group of a channel's elements, a block of a matrix, a token.
Errors are summed over *lanes*: channels, or the groups of channels, whose sums are then added up per channel. A
:class:`Piece` is a block with both: parameters broadcast against ``x.reshape(view)``, sums run along the other axis of
the two-dimensional ``x``.

Where sums are wanted, short groups lie across: a piece is (elements of a group, groups), because numpy reduces three
times faster along thousands of groups than along 32 elements. Where they are not, a piece is as it lies in memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .blocks import BLOCK, Array, cut, reshaped, scratch
from .errors import QuantValueError
from .schemes import GroupSize

#: Groups of this many elements and more are long enough to lie along a block's rows.
WIDE = 1024


@dataclass(frozen=True, eq=False, slots=True)
class Units:
    """Which parameters a piece needs: those at ``index`` of the arrays, shaped to broadcast against its view.

    ``of``: the shape that the arrays take first; ``moved``: the axis of them that comes first before that.
    """

    index: Any
    shape: tuple[int, ...]
    of: tuple[int, ...] | None = None
    moved: int | None = None

    def take(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The parameters among ``values``; a single number serves every piece."""
        if values.ndim == 0:
            return values.reshape((1,) * len(self.shape))
        if self.moved is not None:
            values = np.moveaxis(values, self.moved, 0)
        if self.of is not None:
            values = values.reshape(self.of)
        return np.asarray(values[self.index].reshape(self.shape))


@dataclass(frozen=True, eq=False, slots=True)
class Piece:
    """One block of a tensor. ``axis`` of the two-dimensional ``x`` counts lanes; it may be reused: do not keep it.

    ``channels``: whose lanes they are; ``groups``: the groups of each of them, None where a lane is a channel.
    ``view``: the shape of x in which ``units`` broadcast; they vary along ``across`` of it. ``place``: of the pieces of
    a matrix (:func:`matrix_pieces`), the rows and columns they come from.
    """

    x: Array
    axis: int
    channels: slice
    units: Units
    view: tuple[int, ...]
    across: int
    groups: slice | None = None
    place: tuple[slice, slice] | None = None

    @property
    def over(self) -> tuple[int, ...]:
        """The axes of the view that lie inside a unit."""
        return tuple(axis for axis, n in enumerate(self.units.shape) if n == 1)


def pieces(
    array: Array, ch_axis: int, granularity: str, group_size: GroupSize | None, dtype: np.dtype[Any]
) -> Iterator[Piece]:
    """All of ``array`` in ``dtype``, in pieces that hold whole units, but for tensors and channels."""
    if granularity == "group":
        assert isinstance(group_size, int)
        return _groups(array, ch_axis, group_size, dtype)
    if granularity == "flat":
        assert isinstance(group_size, int)
        return _flat(array, ch_axis, group_size, dtype)
    if granularity == "block":
        assert isinstance(group_size, tuple)
        return _matrix_blocks(array, ch_axis, group_size, dtype)
    if granularity == "token" and not (ch_axis == 0 and array.ndim <= 2):
        return _tokens(array, ch_axis, dtype)
    return _channels(array, ch_axis, dtype)


def matrix_of(array: Array, ch_axis: int | None, granularity: str) -> tuple[Array, tuple[int, ...]]:
    """``array`` as the matrix that its parameters are laid out on, and the shape to go back by (channels first).

    Rows are channels; tokens; the rows of a matrix in blocks; one row for a tensor and for flat blocks.
    """
    if granularity == "block":
        return array, array.shape
    if granularity == "token":
        return array.reshape(-1, array.shape[-1]), array.shape
    if granularity in ("tensor", "flat") or ch_axis is None:
        return array.reshape(1, -1), array.shape
    moved = np.moveaxis(array, ch_axis, 0)
    return moved.reshape(len(moved), -1), moved.shape


def matrix_pieces(
    matrix: Array, granularity: str, group_size: GroupSize | None, dtype: np.dtype[Any], block: int = BLOCK
) -> Iterator[Piece]:
    """All of a matrix from :func:`matrix_of`, each piece of about ``block`` elements and with its place."""
    if granularity in ("group", "flat"):
        assert isinstance(group_size, int)
        of = (1, groups_of(matrix.size, group_size)) if granularity == "flat" else None
        return _groups(matrix, 0, group_size, dtype, of, across=False, block=block)
    if granularity == "block":
        assert isinstance(group_size, tuple)
        return _matrix_blocks(matrix, 0, group_size, dtype)
    return _rows(matrix, dtype, (len(matrix),), block)


def _rows(matrix: Array, dtype: np.dtype[Any], of: tuple[int, ...], block: int) -> Iterator[Piece]:
    n_rows, n = matrix.shape
    step, span = max(1, block // n), min(n, block)
    buffer = scratch(step * span, dtype, 2)
    for r0 in range(0, n_rows, step):
        rows = slice(r0, min(r0 + step, n_rows))
        for e0 in range(0, n, span):
            part = matrix[rows, e0 : e0 + span]
            x = buffer[: part.size].reshape(part.shape)
            _fill(x, part)
            place = (rows, slice(e0, e0 + part.shape[1]))
            yield Piece(x, 0, rows, Units(rows, (len(x), 1), of), x.shape, 0, None, place)


def _channels(array: Array, ch_axis: int, dtype: np.dtype[Any]) -> Iterator[Piece]:
    blocks = cut(array, ch_axis)
    for channels, x in blocks.walk(dtype):
        yield channel_piece(x, blocks.axis, channels)


def channel_piece(x: Array, axis: int, channels: slice) -> Piece:
    """A block whose lanes along ``axis`` are these channels."""
    shape = (-1, 1) if axis == 0 else (1, -1)
    return Piece(x, axis, channels, Units(channels, shape), x.shape, axis)


def groups_of(n: int, size: int) -> int:
    """How many groups of ``size`` hold ``n`` elements, a short last one counted."""
    return -(-n // size)


def unit_shape(
    shape: tuple[int, ...], ch_axis: int | None, granularity: str, group_size: GroupSize | None
) -> tuple[int, ...]:
    """The shape that the scales of a tensor of ``shape`` have."""
    n = int(np.prod(shape))
    if granularity == "token":
        return shape[:-1]
    if granularity == "block":
        assert isinstance(group_size, tuple)
        return tuple(groups_of(length, size) for length, size in zip(shape, group_size, strict=False))
    if granularity == "flat":
        assert isinstance(group_size, int)
        return (groups_of(n, group_size),)
    if granularity == "tensor" or ch_axis is None:
        return ()
    if granularity == "channel":
        return (shape[ch_axis],)
    assert isinstance(group_size, int)
    return (shape[ch_axis], groups_of(n // shape[ch_axis], group_size))


def group_pieces(
    channels: Array, size: int, dtype: np.dtype[Any], of: tuple[int, ...] | None = None
) -> Iterator[Piece]:
    """All groups of ``size`` of each channel of axis 0, as they lie: each is a row of a piece, which is contiguous."""
    return _groups(channels, 0, size, dtype, of, across=False)


def _groups(
    array: Array,
    ch_axis: int,
    size: int,
    dtype: np.dtype[Any],
    of: tuple[int, ...] | None = None,
    across: bool = True,
    block: int = BLOCK,
) -> Iterator[Piece]:
    moved = np.moveaxis(array, ch_axis, 0)
    n_channels = moved.shape[0]
    n = moved.size // n_channels
    flat = reshaped(moved, (n_channels, n))
    whole, rest = divmod(n, size)
    step = max(1, block // n)
    span = max(1, min(whole, block // (size * step))) if n <= block else max(1, block // size)
    buffer = scratch(max(step * span * size, step * rest), dtype, 2)
    for c0 in range(0, n_channels, step):
        channels = slice(c0, min(c0 + step, n_channels))
        rows = flat[channels] if flat is not None else moved[channels].reshape(-1, n)
        for g0 in range(0, whole, span):
            groups = slice(g0, min(g0 + span, whole))
            elements = slice(groups.start * size, groups.stop * size)
            part = rows[:, elements].reshape(len(rows), -1, size)
            yield _group_piece(part, (channels, elements), groups, buffer, of, across and size < WIDE)
        if rest:
            last = slice(whole * size, n)
            yield _group_piece(rows[:, None, last], (channels, last), slice(whole, whole + 1), buffer, of, across)


def _group_piece(
    part: Array, place: tuple[slice, slice], groups: slice, buffer: Array, of: tuple[int, ...] | None, across: bool
) -> Piece:
    """``part`` is (channels, groups, elements of a group), of any strides."""
    channels = place[0]
    n_channels, n_groups, size = part.shape
    lanes, index = n_channels * n_groups, (channels, groups)
    if not across:
        flat = reshaped(part, (lanes, size)) if part.dtype == buffer.dtype else None
        x = buffer[: part.size].reshape(lanes, size) if flat is None else flat
        if flat is None:
            _fill(x.reshape(part.shape), part)
        return Piece(x, 0, channels, Units(index, (lanes, 1), of), x.shape, 0, groups, place)
    columns = buffer[: part.size].reshape(size, n_channels, n_groups)
    _fill(columns, part.transpose(2, 0, 1))
    x = columns.reshape(size, lanes)
    return Piece(x, 1, channels, Units(index, (1, lanes), of), x.shape, 1, groups, place)


def _fill(out: Array, values: Array) -> None:
    with np.errstate(over="ignore"):  # beyond the working dtype becomes inf, which is counted as such
        np.copyto(out, values, casting="unsafe")


def straddling(shape: tuple[int, ...], ch_axis: int, size: GroupSize | None) -> bool:
    """Whether some block of ``size`` elements of the flattened tensor holds values of two channels."""
    return ch_axis != 0 or int(np.prod(shape[1:], dtype=np.int64)) % int(np.prod(size or 1)) != 0


def _flat(array: Array, ch_axis: int, size: int, dtype: np.dtype[Any]) -> Iterator[Piece]:
    """Blocks of the flattened tensor; they may straddle channels."""
    n_channels = array.shape[ch_axis]
    n = array.size // n_channels
    if not straddling(array.shape, ch_axis, size):
        yield from _groups(array, 0, size, dtype, of=(n_channels, n // size))
        return
    places = np.arange(array.size, dtype=np.int64).reshape(array.shape) // size
    moved, places = np.moveaxis(array, ch_axis, 0), np.moveaxis(places, ch_axis, 0)
    for c0 in range(0, n_channels, step := max(1, BLOCK // n)):
        channels = slice(c0, min(c0 + step, n_channels))
        x = np.empty(moved[channels].shape, dtype)
        _fill(x, moved[channels])
        x = x.reshape(-1, n)
        yield Piece(x, 0, channels, Units(places[channels].reshape(x.shape), x.shape), x.shape, 0)


def _matrix_blocks(array: Array, ch_axis: int, size: tuple[int, int], dtype: np.dtype[Any]) -> Iterator[Piece]:
    if array.ndim != 2:
        raise QuantValueError(
            f"granularity 'block' needs a matrix, got a tensor of {array.ndim} axes: reshape it to two, "
            "or choose 'group' or 'channel'"
        )
    n_rows, n_columns = array.shape
    whole, rest = divmod(n_columns, size[1])
    span = max(1, BLOCK // (size[0] * size[1]))
    for row, r0 in enumerate(range(0, n_rows, size[0])):
        rows = slice(r0, min(r0 + size[0], n_rows))
        for b0 in range(0, whole, span):
            yield _matrix_piece(array, ch_axis, rows, row, slice(b0, min(b0 + span, whole)), size[1], dtype)
        if rest:
            yield _matrix_piece(array, ch_axis, rows, row, slice(whole, whole + 1), size[1], dtype)


def _matrix_piece(
    array: Array, ch_axis: int, rows: slice, row: int, blocks: slice, width: int, dtype: np.dtype[Any]
) -> Piece:
    columns = slice(blocks.start * width, min(blocks.stop * width, array.shape[1]))
    part = array[rows, columns]
    x = np.empty(part.shape, dtype)
    _fill(x, part)
    n_blocks = blocks.stop - blocks.start
    units = Units((slice(row, row + 1), blocks), (1, n_blocks, 1))
    view = (x.shape[0], n_blocks, x.shape[1] // n_blocks)
    return Piece(x, ch_axis, rows if ch_axis == 0 else columns, units, view, 1, None, (rows, columns))


def _tokens(array: Array, ch_axis: int, dtype: np.dtype[Any]) -> Iterator[Piece]:
    width = array.shape[-1]
    if ch_axis == array.ndim - 1:
        rows = array.reshape(-1, width)
        for t0 in range(0, len(rows), step := max(1, BLOCK // width)):
            part = slice(t0, min(t0 + step, len(rows)))
            x = np.empty((part.stop - t0, width), dtype)
            _fill(x, rows[part])
            yield Piece(x, 1, slice(0, width), Units(part, (len(x), 1), (len(rows),)), x.shape, 0)
        return
    moved = np.moveaxis(array, ch_axis, 0)
    n_channels = moved.shape[0]
    n_tokens = moved.size // n_channels // width
    for c0 in range(0, n_channels, step := max(1, BLOCK // (n_tokens * width))):
        channels = slice(c0, min(c0 + step, n_channels))
        x = np.empty(moved[channels].shape, dtype)
        _fill(x, moved[channels])
        x = x.reshape(-1, n_tokens * width)
        units = Units(channels, (len(x), n_tokens, 1), (n_channels, n_tokens), ch_axis)
        yield Piece(x, 0, channels, units, (len(x), n_tokens, width), 1)
