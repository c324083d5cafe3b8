"""One channel's error at every clip ratio, split into what rounding and what clipping does to it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from perchq_widget.core.errors import QuantError, QuantValueError
from perchq_widget.core.kernels import Expanded
from perchq_widget.core.metrics import decibels
from perchq_widget.core.reduce import clamp, settle

from .channel_sample import Array, ChannelSample, channel_sample
from .channels import ChannelTable
from .clip_ratio import LEAST_RATIO, Floats, checked_ratios, params_at, rows_of, why_no_ratio

#: Ratios of the first look, half of them evenly spread and half by equal factors; of the second, around its best.
FIRST, SECOND = 64, 16
_FROM = 0.01
_BLOCK = 1 << 16  # elements of a block, which stays in cache


@dataclass(frozen=True, eq=False, slots=True)
class ErrorCurve:
    """Errors of one channel at ``ratios`` (R,), ascending; all empty where there is a ``reason`` why not.

    ``rounding`` and ``clipping`` (R,) are the sums of squared errors of the values inside the range and of those that
    are clipped; ``signal`` is the sum of squares of the ``n`` finite values. ``exact``: from all of them; else from
    ``n_used`` that stand for the rest. ``now`` is the clip ratio in force.
    """

    channel: str
    index: int
    ratios: Floats
    rounding: Floats
    clipping: Floats
    signal: float
    n: int
    n_used: int
    exact: bool
    now: float
    reason: str = ""

    @property
    def noise(self) -> Floats:
        """Sums of all squared errors, (R,)."""
        return self.rounding + self.clipping

    @property
    def sqnr_db(self) -> Floats:
        """Signal to noise, dB, (R,); inf without noise."""
        return decibels(self.signal, self.noise)

    @property
    def mse(self) -> Floats:
        """Mean squared error, (R,)."""
        return self.noise / max(self.n, 1)

    @property
    def best(self) -> int:
        """Where in ``ratios`` the error is least; of equals the largest ratio, which clips least.

        Raises QuantValueError where there is no curve.
        """
        if not self.ratios.size:
            raise QuantValueError(f"channel {self.channel!r} has no error curve: {self.reason}")
        return int(self.ratios.size - 1 - np.argmin(self.noise[::-1]))

    @property
    def optimum(self) -> float:
        """The ratio with the least error; NaN where there is none."""
        return float(self.ratios[self.best]) if self.ratios.size else float("nan")


def error_curve(table: ChannelTable, channel: int | str, ratios: npt.ArrayLike | None = None) -> ErrorCurve:
    """Errors of ``channel`` at ``ratios``, each evaluated through the convention's own rule and kernel.

    By default 64 ratios from 0.01 to 1, closer at the low end, and 16 more beside the best of them; ratios that are
    given must lie in (0, 1]. Under granularity "tensor" the ratio shrinks the tensor's range. Channels of more than
    65,536 values are represented by their extremes and a draw of the rest. Where ratios do not apply, the curve is
    empty and says why.
    """
    index = table.index_of(channel)
    wanted = None if ratios is None else checked_ratios(ratios)
    reason = why_no_ratio(table)
    if reason:
        return _nothing(table, index, reason)
    sample = channel_sample(table, index)
    if sample.n == 0:
        return _nothing(table, index, "the channel holds no finite value")
    try:
        found = _looked_twice(table, index, sample) if wanted is None else _errors(table, index, sample, wanted)
    except QuantError as failure:
        return _nothing(table, index, f"some ratio has no parameters: {failure}")
    wide = sample.values.astype(np.float64)
    signal = float((wide * wide) @ sample.weights)
    return ErrorCurve(_name(table, index), index, *found, signal, sample.n, sample.values.size, sample.exact,
                      table.scheme.clip_ratio)  # fmt: skip


def _name(table: ChannelTable, index: int) -> str:
    return str(table.known["channel"].iloc[index])


def _nothing(table: ChannelTable, index: int, reason: str) -> ErrorCurve:
    none = np.empty(0)
    return ErrorCurve(_name(table, index), index, none, none, none, 0.0, 0, 0, True, table.scheme.clip_ratio, reason)


def first_ratios() -> Floats:
    """From 0.01 to 1, half of them evenly spread and half by equal factors."""
    half = FIRST // 2
    even = np.linspace(_FROM, 1.0, half, endpoint=False)
    return np.unique(np.concatenate([even, np.geomspace(_FROM, 1.0, FIRST - half + 1)]))


def _looked_twice(table: ChannelTable, index: int, sample: ChannelSample) -> tuple[Floats, Floats, Floats]:
    """Errors at the first ratios, and at more of them on both sides of the best."""
    ratios, rounding, clipping = _errors(table, index, sample, first_ratios())
    best = int(np.argmin(rounding + clipping))
    low, high = ratios[max(best - 1, 0)], ratios[min(best + 1, ratios.size - 1)]
    between = np.round(np.linspace(max(low, LEAST_RATIO), high, SECOND + 2)[1:-1], 4)
    more = _errors(table, index, sample, np.setdiff1d(between, ratios))
    every = (np.concatenate(pair) for pair in zip((ratios, rounding, clipping), more, strict=True))
    ratios, rounding, clipping = every
    order = np.argsort(ratios)
    return ratios[order], rounding[order], clipping[order]


def _errors(table: ChannelTable, index: int, sample: ChannelSample, ratios: Floats) -> tuple[Floats, Floats, Floats]:
    """(ratios, rounding, clipping): sums of squared errors of the values inside the range and of the clipped ones."""
    params = params_at(table, index, ratios)
    rounding, clipping = np.zeros(ratios.size), np.zeros(ratios.size)
    step = max(1, _BLOCK // sample.values.size)
    buffers = tuple(np.empty((step, sample.values.size), sample.values.dtype) for _ in range(2))
    with np.errstate(all="ignore"):
        for start in range(0, ratios.size, step):
            rows = slice(start, min(start + step, ratios.size))
            levels, clamped = (each[: rows.stop - start] for each in buffers)
            rounding[rows], clipping[rows] = _block(table, sample, rows_of(params, rows), levels, clamped)
    return ratios, rounding, clipping


def _block(
    table: ChannelTable, sample: ChannelSample, params: Expanded, levels: Array, clamped: Array
) -> tuple[Floats, Floats]:
    """Sums of squared errors of the values inside and of the clipped ones, at each ratio of the block."""
    x = np.broadcast_to(sample.values, levels.shape)
    table.qparams.kernel.levels(x, params, levels)
    settle(levels, params.inverse)
    clamp(levels, params.low, params.high, 0, clamped)
    beyond = levels != clamped
    table.qparams.decoder.values(clamped, params, clamped)
    squares = clamped.astype(sample.weights.dtype, copy=False)
    np.subtract(squares, x, out=squares)
    np.multiply(squares, squares, out=squares)
    if not beyond.any():
        inside = squares @ sample.weights
        return inside, np.zeros_like(inside)
    outside = squares * beyond
    np.subtract(squares, outside, out=squares)  # a difference of sums would lose the smaller part
    return squares @ sample.weights, outside @ sample.weights
