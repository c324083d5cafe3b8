"""The table of groups: what each set of values that shares a scale is like, and how well it survives."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from perchq_widget.core.blocks import as_carried
from perchq_widget.core.codec import Parameters
from perchq_widget.core.elements import levels_of
from perchq_widget.core.errors import QuantValueError
from perchq_widget.core.layouts import Piece, matrix_of, matrix_pieces, pieces, unit_shape
from perchq_widget.core.metrics import decibels
from perchq_widget.core.reduce import clamp, small_buffers

from .channels import ChannelTable

if TYPE_CHECKING:
    import pandas as pd

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False, slots=True)
class UnitFacts:
    """Of each unit, in scale's shape: finite values, their ends, the sums of x^2 and of squared errors."""

    n: npt.NDArray[np.int64]
    low: Array
    high: Array
    signal: Array
    noise: Array


def group_frame(table: ChannelTable) -> pd.DataFrame:
    """One row per group, in the order of the scales; reads the tensor again.

    Columns for groups of a channel's elements: ``channel group start n min max scale zero_point mse sqnr_db``;
    ``group`` counts inside the channel, ``start`` is its first element there. Blocks of the flattened tensor have the
    same, counted and begun in the tensor; ``channel`` is the one that a block begins in. Blocks of a matrix have
    ``row_block column_block`` in place of the first three, tokens have ``token``. ``n`` counts finite values;
    ``zero_point`` is NaN in a format that has none. QuantValueError where scales are per channel or tensor.
    """
    import pandas as pd

    q = table.qparams
    if table.array is None or q.granularity in ("channel", "tensor"):
        raise QuantValueError(
            f"groups: {table.name!r} is quantized per {q.granularity} and has no groups; report.table has a row per "
            "channel. Analyze it with group_size=128, or in a format with blocks, to have groups"
        )
    facts = unit_facts(table.array, table.ch_axis, q, errors=table.groups is None)
    signal, noise = facts.signal, facts.noise
    if table.groups is not None:
        signal, noise = table.groups.signal.astype(np.float64), table.groups.noise.astype(np.float64)
    n, none = facts.n.ravel(), facts.n.ravel() == 0
    zero = getattr(q, "zero_point", None)
    with np.errstate(invalid="ignore"):
        mse = noise.ravel() / n
    columns = {
        **_places(table),
        "n": n,
        "min": np.where(none, np.nan, facts.low.ravel()),
        "max": np.where(none, np.nan, facts.high.ravel()),
        "scale": q.effective().ravel(),
        "zero_point": np.full(n.size, np.nan) if zero is None else zero.ravel(),
        "mse": np.where(none, np.nan, mse),
        "sqnr_db": np.where(none, -np.inf, decibels(signal.ravel(), noise.ravel())),
    }
    return pd.DataFrame(columns, copy=False)


def _places(table: ChannelTable) -> dict[str, Any]:
    """Where each group lies."""
    assert table.array is not None
    (granularity, size), shape = table.qparams.layout, table.qparams.scale.shape
    numbers = np.arange(table.qparams.scale.size)
    if granularity == "token":
        return {"token": numbers}
    if granularity == "block":
        row, column = np.divmod(numbers, shape[1])
        return {"row_block": row, "column_block": column}
    assert isinstance(size, int)
    names = np.array(table.channels, object)
    if granularity == "flat":
        after = int(np.prod(table.array.shape[table.ch_axis + 1 :], dtype=np.int64))
        channel = numbers * size // after % table.n_channels
        return {"channel": names[channel], "group": numbers, "start": numbers * size}
    channel, group = np.divmod(numbers, shape[1])
    return {"channel": names[channel], "group": group, "start": group * size}


@small_buffers()
def unit_facts(array: Array, ch_axis: int, qparams: Parameters, *, errors: bool = True) -> UnitFacts:
    """Facts of every unit of ``array`` in one pass; without ``errors``, signal and noise are zeros."""
    shape = unit_shape(array.shape, ch_axis, *qparams.layout)
    low, high, signal, noise = (np.full(shape, start) for start in (np.inf, -np.inf, 0.0, 0.0))
    n = np.zeros(shape, np.int64)
    facts = UnitFacts(n, low, high, signal, noise)
    array, dtype = as_carried(array, qparams.working_dtype)
    for piece in _cut(array, ch_axis, qparams, dtype):
        _add(piece, qparams, facts, errors)
    return facts


def _cut(array: Array, ch_axis: int, qparams: Parameters, dtype: np.dtype[Any]) -> Iterator[Piece]:
    """Pieces in which every unit is whole, or which add up."""
    granularity, size = qparams.layout
    if granularity == "group":  # as they lie in memory
        return pieces(array, ch_axis, granularity, size, dtype)
    matrix, _ = matrix_of(array, None if granularity == "flat" else ch_axis, granularity)
    return matrix_pieces(matrix, granularity, size, dtype)


def _add(piece: Piece, qparams: Parameters, facts: UnitFacts, errors: bool) -> None:
    x, over = piece.x.reshape(piece.view), piece.over
    finite = np.isfinite(x)
    whole = bool(finite.all())
    kept = [
        each if piece.units.of is None else each.reshape(piece.units.of)
        for each in (facts.n, facts.low, facts.high, facts.signal, facts.noise)
    ]

    def put(pick: Any, target: Array, found: Any) -> None:
        part = target[piece.units.index]
        target[piece.units.index] = pick(part, np.asarray(found).reshape(part.shape))

    put(np.add, kept[0], finite.sum(over))
    put(np.minimum, kept[1], (x if whole else np.where(finite, x, np.inf)).min(over))
    put(np.maximum, kept[2], (x if whole else np.where(finite, x, -np.inf)).max(over))
    if errors:
        wide = np.where(finite, x, 0).astype(np.float64)
        error = np.where(finite, _read_back(piece, x, qparams) - wide, 0.0)
        put(np.add, kept[3], (wide * wide).sum(over))
        put(np.add, kept[4], (error * error).sum(over))


def _read_back(piece: Piece, x: Array, qparams: Parameters) -> Array:
    """The values that a piece's codes stand for, float64."""
    params = qparams.expand(piece.units, piece.across)
    levels = levels_of(x, qparams, params)
    clamp(levels, params.low, params.high, params.axis, levels)
    with np.errstate(over="ignore", under="ignore"):
        qparams.decoder.values(levels, params, levels)
    return levels.astype(np.float64)
