"""Errors of groups as they lie in memory, for parameters whose codes have the same bounds everywhere.

Where bounds do not differ from group to group, only the sums of squares are needed for each of them; all else is added
up along whole rows. So nothing has to be laid across, which would cost as much as a quarter of the work.
"""

from __future__ import annotations

from itertools import islice

import numpy as np
import numpy.typing as npt

from .blocks import RUN, Array, reshaped, scratch
from .codec import Parameters
from .kernels import Expanded
from .layouts import Piece, group_pieces, groups_of, straddling
from .metrics import ABS, CLIPPED, CROSS, MAX, NOISE, OVER, ROWS, ZERO, ChannelErrors, GroupErrors
from .ranges import ChannelRanges
from .reduce import clamp, count, settle
from .sharing import in_turns

FLOAT32 = np.dtype(np.float32)


def in_rows(array: Array, ch_axis: int, qparams: Parameters, ranges: ChannelRanges) -> bool:
    """Whether :func:`row_errors` can do it: groups inside channels, one pair of bounds, nothing out of the ordinary."""
    granularity, size = qparams.layout
    if granularity not in ("group", "flat") or qparams.working_dtype != FLOAT32:
        return False
    if granularity == "flat" and straddling(array.shape, ch_axis, size):
        return False
    zero: npt.NDArray[np.int64] | None = getattr(qparams, "zero_point", None)
    uniform = zero is None or bool((zero == zero.flat[0]).all())
    return uniform and not ranges.unsafe.any() and not (ranges.n_nan + ranges.n_inf).any()


def row_errors(array: Array, ch_axis: int, qparams: Parameters, ranges: ChannelRanges) -> ChannelErrors:
    """As :func:`~perchq_widget.core.metrics.channel_errors`, for what :func:`in_rows` allows."""
    granularity, size = qparams.layout
    assert isinstance(size, int)
    moved = np.moveaxis(array, ch_axis, 0)
    shape = (len(moved), groups_of(ranges.n, size))
    keeps = GroupErrors.empty(shape, ranges)
    as_it_lies = moved.dtype == FLOAT32 and reshaped(moved, (len(moved), ranges.n)) is not None
    shares: list[Array] = []

    def work(turn: int, n: int) -> None:
        sums = np.zeros((ROWS, len(moved)))
        shares.append(sums)
        worker = _Worker(qparams, keeps)
        pieces = group_pieces(moved, size, FLOAT32, shape if granularity == "flat" else None)
        with np.errstate(over="ignore", under="ignore", divide="ignore", invalid="ignore"):
            for piece in islice(pieces, turn, None, n):
                worker.add(piece, qparams.expand(piece.units, piece.across), sums[:, piece.channels])

    # a thread that has to convert pieces first would convert those of the others as well
    in_turns(moved.size if as_it_lies else 0, work)
    return ChannelErrors.of(ranges, _together(shares), qparams.keeps_zero, keeps)


def _together(shares: list[Array]) -> Array:
    """The sums of all threads."""
    total = np.asarray(np.sum(shares, axis=0))
    for row in (MAX, OVER):
        total[row] = np.max([share[row] for share in shares], axis=0)
    return total


class _Worker:
    """Errors of one piece after the other. Scratch buffers are sized at the first: later ones are rarely larger."""

    def __init__(self, qparams: Parameters, keeps: GroupErrors) -> None:
        self.qparams, self.keeps = qparams, keeps
        self.keeps_zero = qparams.keeps_zero  # asks every zero point
        self.buffers: tuple[Array, Array, Array] | None = None
        self.ones = np.ones(RUN, np.float32)

    def _scratch(self, shape: tuple[int, ...]) -> tuple[Array, Array, Array]:
        size = shape[0] * shape[1]
        if self.buffers is None or self.buffers[0].size < size:
            self.buffers = scratch(size, FLOAT32, 0), scratch(size, FLOAT32, 1), scratch(size, np.dtype(bool), 3)
        e, other, mask = (each[:size].reshape(shape) for each in self.buffers)
        return e, other, mask

    def add(self, piece: Piece, params: Expanded, sums: Array) -> None:
        """Add this piece's sums to ``sums``, a (ROWS, channels) view."""
        x = piece.x  # (groups, elements of a group)
        e, other, mask = self._scratch(x.shape)
        n_channels = sums.shape[1]
        rows = _rows_of(n_channels, len(x) // n_channels, x.shape[1])
        self.qparams.kernel.levels(x, params, e)
        settle(e, params.inverse)
        low, high = params.low.flat[0], params.high.flat[0]
        over = np.maximum(e.reshape(rows).max(1) - high, low - e.reshape(rows).min(1))
        if over.max() > 0:
            np.maximum(sums[OVER], over.reshape(n_channels, -1).max(1), out=sums[OVER])
            clamp(e, params.low, params.high, 0, other)
            sums[CLIPPED] += _counted(np.not_equal(e, other, out=mask), rows, n_channels)
            e, other = other, e
        self.qparams.decoder.values(e, params, e)
        np.equal(e, 0, out=mask)
        sums[ZERO] += _counted(mask if self.keeps_zero else mask & (x != 0), rows, n_channels)
        np.subtract(e, x, out=e)
        self._keep(piece, x, e, sums)
        by_row = x.reshape(rows), e.reshape(rows)
        sums[CROSS] += _per_channel(np.vecdot(*by_row), n_channels)
        np.abs(e, out=e)
        sums[ABS] += _per_channel(np.vecdot(by_row[1], self._ones(rows[1])), n_channels)
        np.maximum(sums[MAX], by_row[1].max(1).reshape(n_channels, -1).max(1), out=sums[MAX])

    def _keep(self, piece: Piece, x: Array, e: Array, sums: Array) -> None:
        """The sums of squares of each group."""
        where = (piece.channels, piece.groups)
        self.keeps.signal[where] = np.vecdot(x, x).reshape(sums.shape[1], -1)
        noise = np.vecdot(e, e)
        self.keeps.noise[where] = noise.reshape(sums.shape[1], -1)
        sums[NOISE] += _per_channel(noise, sums.shape[1])

    def _ones(self, n: int) -> Array:
        if self.ones.size < n:
            self.ones = np.ones(n, np.float32)
        return self.ones[:n]


def _rows_of(n_channels: int, n_groups: int, size: int) -> tuple[int, int]:
    """The shape in which a piece is added up: rows inside channels, of at most RUN elements or else one group."""
    parts = next((n for n in range(1, n_groups) if n_groups % n == 0 and n_groups // n * size <= RUN), n_groups)
    return n_channels * parts, n_groups // parts * size


def _counted(mask: Array, rows: tuple[int, int], n_channels: int) -> Array:
    return _per_channel(count(mask.reshape(rows), 0), n_channels)


def _per_channel(values: Array, n_channels: int) -> Array:
    """Sums of each row's sums, float64."""
    return np.asarray(values.reshape(n_channels, -1).sum(1, dtype=np.float64))
