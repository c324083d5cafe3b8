"""Exact per-channel errors of a tensor through its parameters, in one blocked pass.

Sums are float32 over at most a few thousand elements and float64 above (good to about 2e-7 of the sum); blocks
whose squares would leave float32's range are summed in float64 throughout.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .blocks import Array, as_carried, scratch
from .codec import Parameters
from .elements import one_channel, raw_codes
from .grids import carrier
from .kernels import Expanded
from .layouts import Piece, groups_of, pieces, straddling
from .ranges import ChannelRanges
from .reduce import clamp, count, dot, settle, small_buffers, total

ROWS = 7
NOISE, CROSS, ABS, MAX, CLIPPED, ZERO, OVER = range(ROWS)


@dataclass(frozen=True, eq=False, slots=True)
class GroupErrors:
    """Sums per group, of shape (C, G): signal is the sum of x^2, noise that of e^2.

    float32; float64 where some channel's squares would leave float32's range.
    """

    signal: npt.NDArray[Any]
    noise: npt.NDArray[Any]

    @classmethod
    def empty(cls, shape: tuple[int, int], ranges: ChannelRanges) -> GroupErrors:
        """Room for the sums of a tensor with these ranges."""
        dtype = np.float64 if ranges.unsafe.any() else np.float32
        return cls(np.empty(shape, dtype), np.empty(shape, dtype))

    @property
    def sqnr_db(self) -> npt.NDArray[Any]:
        """(C, G), dB; inf without noise, -inf for noise without signal."""
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            value = self.signal.dtype.type(10) * np.log10(self.signal / self.noise)
        return np.asarray(np.where(self.noise == 0, self.signal.dtype.type(np.inf), value))


@dataclass(frozen=True, eq=False, slots=True)
class ChannelErrors:
    """Sums per channel, each of shape (C,), over the finite values; e is dequantized - x.

    signal: sum x^2, noise: sum e^2, cross: sum x e, abs_*: sums of magnitudes, max_noise: largest |e|,
    clipped: values whose raw code is outside the range, overflow: by how many codes at most, zeroed: non-zero values
    that became zero, of ``nonzero``. ``groups``: the errors of each group, where scales are shared over groups.
    ``complete``: False where only noise, max_noise, clipped and overflow were measured; then cross and abs_noise are
    NaN and zeroed is 0.
    """

    n: npt.NDArray[np.int64]
    nonzero: npt.NDArray[np.int64]
    signal: npt.NDArray[np.float64]
    noise: npt.NDArray[np.float64]
    cross: npt.NDArray[np.float64]
    abs_signal: npt.NDArray[np.float64]
    abs_noise: npt.NDArray[np.float64]
    max_noise: npt.NDArray[np.float64]
    clipped: npt.NDArray[np.int64]
    zeroed: npt.NDArray[np.int64]
    overflow: npt.NDArray[np.float64]
    groups: GroupErrors | None = None
    complete: bool = True

    @classmethod
    def of(
        cls, ranges: ChannelRanges, sums: Array, keeps_zero: bool, groups: GroupErrors | None, complete: bool = True
    ) -> ChannelErrors:
        """From sums of shape (ROWS, C), whose zeros are counted among all values if ``keeps_zero``."""
        if not complete:
            sums[[CROSS, ABS]] = np.nan
        return cls(
            ranges.n_finite,
            ranges.n_finite - ranges.n_zero,
            ranges.signal,
            sums[NOISE],
            sums[CROSS],
            ranges.abs_signal,
            sums[ABS],
            sums[MAX],
            sums[CLIPPED].astype(np.int64),
            # zeros stay zero, unless zero is off the grid: then they are not counted
            np.maximum(sums[ZERO].astype(np.int64) - ranges.n_zero * keeps_zero, 0),
            sums[OVER],
            groups,
            complete,
        )

    @property
    def sqnr_db(self) -> npt.NDArray[np.float64]:
        """Signal to quantization noise ratio in dB; inf without noise, -inf where no value is finite."""
        return np.where(self.n > 0, decibels(self.signal, self.noise), -np.inf)

    @property
    def pct_error(self) -> npt.NDArray[np.float64]:
        """100 sum|e| / sum|x|."""
        return percent(self.abs_noise, self.abs_signal)

    @property
    def cosine(self) -> npt.NDArray[np.float64]:
        """Cosine between x and dequantized; 1 where both are zero, 0 where only one is."""
        inner = self.signal + self.cross
        length = np.sqrt(self.signal) * np.sqrt(np.maximum(inner + self.cross + self.noise, 0.0))
        both_zero = (self.signal == 0) & (self.noise == 0)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(np.where(length > 0, np.clip(inner / length, -1.0, 1.0), both_zero.astype(np.float64)))

    def mean(self, total: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """``total`` per finite value; 0 where there is none."""
        return total / np.maximum(self.n, 1)

    @property
    def zeroed_pct(self) -> npt.NDArray[np.float64]:
        """Share of the non-zero values that became zero."""
        return 100.0 * self.zeroed / np.maximum(self.nonzero, 1)


def decibels(signal: npt.ArrayLike, noise: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """10 log10(signal / noise); no noise gives inf, noise without signal -inf, never nan."""
    signal, noise = np.asarray(signal, np.float64), np.asarray(noise, np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        value = 10.0 * (np.log10(signal) - np.log10(noise))
    return np.asarray(np.where(noise == 0, np.inf, np.where(signal == 0, -np.inf, value)))


def percent(error: npt.ArrayLike, signal: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """100 error / signal; 0 when both are 0, inf when only the signal is."""
    error, signal = np.asarray(error, np.float64), np.asarray(signal, np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        value = 100.0 * error / signal
    return np.asarray(np.where(signal == 0, np.where(error == 0, 0.0, np.inf), value))


def channel_errors(array: Array, ch_axis: int, qparams: Parameters, ranges: ChannelRanges) -> ChannelErrors:
    """Errors of ``array`` per channel of ``ch_axis`` under ``qparams``.

    ``ranges`` of the same tensor tell which channels can clip at all and which hold values that are not finite.
    """
    from .row_metrics import in_rows, row_errors

    if in_rows(array, ch_axis, qparams, ranges):
        return row_errors(array, ch_axis, qparams, ranges)
    n_channels = len(ranges.min_val)
    sums = np.zeros((ROWS, n_channels))
    granularity, size = qparams.layout
    keeps: GroupErrors | None = None
    if granularity == "group" or (granularity == "flat" and not straddling(array.shape, ch_axis, size)):
        assert isinstance(size, int)
        keeps = GroupErrors.empty((n_channels, groups_of(ranges.n, size)), ranges)
    array, dtype = as_carried(array, qparams.working_dtype)
    worker = Worker(qparams, Reach.of(qparams, ranges))
    last: tuple[int, int] | None = None
    with small_buffers():
        for piece in pieces(array, ch_axis, granularity, size, dtype):
            ends = piece.channels.start, piece.channels.stop
            if granularity not in ("channel", "tensor") or ends != last:  # blocks of the same channels follow
                last, params = ends, qparams.expand(piece.units, piece.across)
            if piece.groups is None:
                worker.add(piece, params, sums[:, piece.channels])
            else:
                _add_groups(worker, piece, params, sums[:, piece.channels], keeps)
    return ChannelErrors.of(ranges, sums, qparams.keeps_zero, keeps)


def _add_groups(worker: Worker, piece: Piece, params: Expanded, sums: Array, keeps: GroupErrors | None) -> None:
    """Add a piece's groups up per channel, and keep what the table of groups needs."""
    n_channels = sums.shape[1]
    lanes = np.zeros((ROWS, piece.x.shape[piece.axis]))
    if keeps is not None:
        where = (piece.channels, piece.groups)
        finite = worker.finite(piece)
        x = piece.x.astype(keeps.signal.dtype, copy=False)
        x = x if finite is None else np.where(finite, x, 0)
        with np.errstate(over="ignore", under="ignore"):
            keeps.signal[where] = dot(x, x, piece.axis).reshape(n_channels, -1)
    worker.add(piece, params, lanes)
    if keeps is not None:
        keeps.noise[where] = lanes[NOISE].reshape(n_channels, -1)
    each = lanes.reshape(ROWS, n_channels, -1)
    for row in range(ROWS):
        if row in (MAX, OVER):
            np.maximum(sums[row], each[row].max(1), out=sums[row])
        else:
            sums[row] += each[row].sum(1)


def _lanes_are_units(piece: Piece) -> bool:
    """Whether every lane of the piece has one set of parameters."""
    return len(piece.view) == 2 and piece.across == piece.axis


@dataclass(frozen=True, eq=False, slots=True)
class Reach:
    """Per channel: which of the slow steps its values can need. Kernels are monotone, so the ends decide.

    ``measured``: whether a value's overflow has to be measured, because no channel's ends tell it.
    """

    clips: npt.NDArray[np.bool_]
    unsafe: npt.NDArray[np.bool_]
    nonfinite: npt.NDArray[np.bool_]
    measured: bool

    @classmethod
    def of(cls, qparams: Parameters, ranges: ChannelRanges) -> Reach:
        """What the ends of every channel tell."""
        bad = ranges.n_nan + ranges.n_inf > 0
        if qparams.granularity not in ("channel", "tensor"):
            return cls(np.ones_like(bad), ranges.unsafe, bad, True)
        params = one_channel(slice(None), qparams)
        low, high = (raw_codes(end[:, None], qparams, params)[:, 0] for end in ranges.known())
        return cls((low < qparams.quant_min) | (high > qparams.quant_max), ranges.unsafe, bad, False)


class Worker:
    """Errors of one piece after the other. Scratch buffers are sized at the first: later ones are rarely larger."""

    def __init__(self, qparams: Parameters, reach: Reach, live: bool = False) -> None:
        self.qparams, self.reach, self.live = qparams, reach, live
        self.dtype = carrier(qparams.working_dtype)
        self.keeps_zero = qparams.keeps_zero
        self.buffers: tuple[Array, Array, Array] | None = None
        self.ones = np.empty(0, np.float32)

    def _scratch(self, shape: tuple[int, int], along: int) -> tuple[Array, Array, Array, Array]:
        size = shape[0] * shape[1]
        if self.buffers is None or self.buffers[0].size < size:
            levels, other = scratch(size, self.dtype, 0), scratch(size, self.dtype, 1)
            self.buffers = levels, other, scratch(size, np.dtype(bool), 3)
        if self.ones.size < along:
            self.ones = np.ones(along, self.dtype)
        blocks = (each[:size].reshape(shape) for each in self.buffers)
        return (*blocks, self.ones[:along])  # type: ignore[return-value]

    def finite(self, piece: Piece) -> Array | None:
        """Which values of the piece are finite; None where all are."""
        return np.isfinite(piece.x) if self.reach.nonfinite[piece.channels].any() else None

    def add(self, piece: Piece, params: Expanded, sums: Array) -> None:
        """Add this piece's sums to ``sums``, a (rows, lanes) view."""
        x, axis, view = piece.x, piece.axis, piece.view
        e, other, mask, ones = self._scratch((x.shape[0], x.shape[1]), x.shape[1 - axis])
        finite = self.finite(piece)

        def counted(mask: Array) -> Array:
            return count(mask if finite is None else mask & finite, axis)

        with np.errstate(invalid="ignore", over="ignore", under="ignore", divide="ignore"):
            self.qparams.kernel.levels(x.reshape(view), params, e.reshape(view))
            settle(e, params.inverse)
            if self._may_clip(piece, params, e, finite, sums):
                clamp(e.reshape(view), params.low, params.high, piece.across, other.reshape(view))
                np.not_equal(e, other, out=mask)
                sums[CLIPPED] += counted(mask)
                if self.reach.measured and not _lanes_are_units(piece):
                    np.subtract(e, other, out=e)
                    np.abs(e, out=e)
                    far = e if finite is None else np.where(finite, e, 0)
                    np.maximum(sums[OVER], far.max(1 - axis), out=sums[OVER])
                e, other = other, e
            self.qparams.decoder.values(e.reshape(view), params, e.reshape(view))
            if not self.live:
                np.equal(e, 0, out=mask)
                sums[ZERO] += counted(mask if self.keeps_zero else mask & (x != 0))
            self._add_sums(*self._errors(x, e, ones, finite, piece.channels), axis, sums)

    def _may_clip(self, piece: Piece, params: Expanded, e: Array, finite: Array | None, sums: Array) -> bool:
        """Whether levels of the piece can lie outside; where each lane has its own bounds, its ends tell how far."""
        if not self.reach.measured:
            return bool(self.reach.clips[piece.channels].any())
        if not _lanes_are_units(piece):
            return True
        levels = e if finite is None else np.where(finite, e, 0)
        along = 1 - piece.axis
        over = np.maximum(levels.max(along) - params.high.ravel(), params.low.ravel() - levels.min(along))
        np.maximum(sums[OVER], over, out=sums[OVER])
        return bool((over > 0).any()) or finite is not None

    def _errors(
        self, x: Array, e: Array, ones: Array, finite: Array | None, channels: slice
    ) -> tuple[Array, Array, Array]:
        """Values, errors and ones in a dtype in which their squares can be summed."""
        if self.dtype.itemsize < 8 and self.reach.unsafe[channels].any():
            x, e, ones = (each.astype(np.float64) for each in (x, e, ones))
        np.subtract(e, x, out=e)
        if finite is not None:
            x = np.where(finite, x, 0)
            e[~finite] = 0
        return x, e, ones

    def _add_sums(self, x: Array, e: Array, ones: Array, axis: int, sums: Array) -> None:
        sums[NOISE] += dot(e, e, axis)
        if not self.live:
            sums[CROSS] += dot(x, e, axis)
        np.abs(e, out=e)
        if not self.live:
            sums[ABS] += total(e, ones, axis)
        np.maximum(sums[MAX], e.max(1 - axis), out=sums[MAX])
