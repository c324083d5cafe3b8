"""Units of one tensor: which elements share one set of parameters, and which set an element of a channel meets.

Units are numbered in the order of the scales. Where a channel has one unit or all channels share one, that is the
channel or the tensor; else groups of a channel's elements, blocks of the flattened tensor or of a matrix, or tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from perchq_widget.core.errors import QuantTypeError, QuantValueError
from perchq_widget.core.kernels import Expanded
from perchq_widget.core.layouts import Units

from .channels import ChannelTable

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False, slots=True)
class Unit:
    """One set of parameters. ``index`` is its place among the scales, () where one scale serves the whole tensor.

    ``name`` says which it is where a channel has several: "group 3 of 128, elements 96..127".
    """

    number: int
    index: tuple[int, ...]
    name: str

    def params(self, table: ChannelTable) -> Expanded:
        """The unit's parameters, each an array of shape (1, 1)."""
        return table.qparams.expand(self.units, 0)

    @property
    def units(self) -> Units:
        """How to take the unit's numbers from arrays of scale's shape."""
        return Units(tuple(slice(at, at + 1) for at in self.index), (1, 1))


def numbers_in_channel(table: ChannelTable, channel: int) -> Integers:
    """The unit of each element of a channel, in the order of :meth:`ChannelTable.channel_values`."""
    granularity, size = table.qparams.layout
    if table.array is None or granularity in ("tensor", "channel"):
        n = 1 if table.array is None else table.array.size // table.n_channels
        return np.full(n, channel if table.qparams.scale.ndim else 0)
    flat = _positions(table.array.shape, table.ch_axis, channel)
    if granularity == "group":
        assert isinstance(size, int)
        return np.asarray(np.arange(flat.size) // size + channel * table.qparams.scale.shape[1])
    if granularity == "flat":
        assert isinstance(size, int)
        return np.asarray(flat // size)
    if granularity == "token":
        return np.asarray(flat // table.array.shape[-1])
    assert isinstance(size, tuple)
    rows, columns = np.divmod(flat, table.array.shape[1])
    return np.asarray(rows // size[0] * table.qparams.scale.shape[1] + columns // size[1])


def _positions(shape: tuple[int, ...], axis: int, channel: int) -> Integers:
    """Where the elements of a channel lie in the flattened tensor, in the channel's own order."""
    before, after = int(np.prod(shape[:axis], dtype=np.int64)), int(np.prod(shape[axis + 1 :], dtype=np.int64))
    starts = (np.arange(before) * shape[axis] + channel) * after
    return np.asarray((starts[:, None] + np.arange(after)).ravel())


def element_params(table: ChannelTable, channel: int) -> tuple[Integers, Expanded]:
    """The unit of each element of a channel, and its parameters, of shape (1, n) or (1, 1) where all have the same."""
    numbers = numbers_in_channel(table, channel)
    if table.qparams.scale.ndim == 0 or table.qparams.granularity == "channel":
        return numbers, unit_of(table, int(numbers[0])).params(table)
    index = np.unravel_index(numbers, table.qparams.scale.shape)
    return numbers, table.qparams.expand(Units(index, (1, numbers.size)), 1)


def unit_of(table: ChannelTable, number: int) -> Unit:
    """The unit of that number."""
    shape = table.qparams.scale.shape
    index = tuple(int(at) for at in np.unravel_index(number, shape)) if shape else ()
    return Unit(number, index, _name(table, index, number))


def chosen_unit(table: ChannelTable, channel: int, group: object) -> Unit:
    """The unit that ``group`` names among those of a channel, as :func:`~.groups.group_frame` numbers them."""
    if not has_units(table):
        raise QuantValueError(
            f"group must be left out: {table.name!r} is quantized per {table.qparams.granularity}, so that a channel "
            "has one scale; analyze it with a group_size to have groups"
        )
    if isinstance(group, bool) or not isinstance(group, (int, np.integer)):
        raise QuantTypeError(f"group must be an integer, got {group!r:.60}")
    own = np.unique(numbers_in_channel(table, channel))
    along = table.qparams.layout[0] in ("group", "block")  # numbered along the channel; the others over the tensor
    known = np.arange(own.size) if along else own
    if group not in known:
        raise QuantValueError(
            f"group must lie in {known[0]}..{known[-1]} and be one that channel {table.channels[channel]!r} meets, "
            f"got {int(group)}"
        )
    return unit_of(table, int(own[np.flatnonzero(known == group)[0]]))


def has_units(table: ChannelTable) -> bool:
    """Whether scales are shared over other sets of elements than channels and the tensor."""
    return table.array is not None and table.qparams.granularity not in ("tensor", "channel")


def unit_values(table: ChannelTable, unit: Unit) -> npt.NDArray[Any]:
    """All values of one unit of a tensor that :func:`has_units`, flat."""
    array, (granularity, size) = table.array, table.qparams.layout
    assert array is not None
    if granularity == "token":
        return np.asarray(array[unit.index]).ravel()
    if granularity == "block":
        assert isinstance(size, tuple)
        block = tuple(slice(at * n, (at + 1) * n) for at, n in zip(unit.index, size, strict=True))
        return np.asarray(array[block]).ravel()
    assert isinstance(size, int)
    if granularity == "flat":
        return np.asarray(array.flat[unit.number * size : (unit.number + 1) * size])
    return table.channel_values(unit.index[0])[unit.index[1] * size : (unit.index[1] + 1) * size]


def _name(table: ChannelTable, index: tuple[int, ...], number: int) -> str:
    if not has_units(table):
        return ""
    array, (granularity, size), shape = table.array, table.qparams.layout, table.qparams.scale.shape
    assert array is not None
    if granularity == "token":
        return f"token {number} of {table.qparams.scale.size}"
    if granularity == "block":
        assert isinstance(size, tuple)
        rows, columns = (_span(at, n, length) for at, n, length in zip(index, size, array.shape, strict=True))
        return f"block ({index[0]}, {index[1]}) of {shape[0]} x {shape[1]}, rows {rows}, columns {columns}"
    assert isinstance(size, int)
    if granularity == "flat":
        return f"group {number} of {shape[0]}, elements {_span(number, size, array.size)} of the flattened tensor"
    span = _span(index[1], size, array.size // table.n_channels)
    return f"group {index[1]} of {shape[1]}, elements {span}"


def _span(at: int, size: int, length: int) -> str:
    return f"{at * size}..{min((at + 1) * size, length) - 1}"
