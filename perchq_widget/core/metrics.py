"""Exact per-channel errors of a tensor through its parameters, in one blocked pass.

Sums are float32 over at most a few thousand elements and float64 above (good to about 2e-7 of the sum); blocks
whose squares would leave float32's range are summed in float64 throughout.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .affine import Expanded
from .blocks import Array, cut, scratch
from .elements import raw_codes
from .qparams import QParams
from .ranges import ChannelRanges
from .reduce import clamp, count, dot, small_buffers, total

_ROWS = ("noise", "cross", "abs_noise", "max_noise", "clipped", "zero_levels")
_NOISE, _CROSS, _ABS, _MAX, _CLIPPED, _ZERO = range(6)


@dataclass(frozen=True, eq=False, slots=True)
class ChannelErrors:
    """Sums per channel, each of shape (C,), over the finite values; e is dequantized - x.

    signal: sum x^2, noise: sum e^2, cross: sum x e, abs_*: sums of magnitudes, max_noise: largest |e|,
    clipped: values whose raw code is outside the range, zeroed: non-zero values that became zero, of ``nonzero``.
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


def channel_errors(array: Array, ch_axis: int, qparams: QParams, ranges: ChannelRanges) -> ChannelErrors:
    """Errors of ``array`` per channel of ``ch_axis`` under ``qparams`` (per tensor or of that axis).

    ``ranges`` of the same tensor tell which channels can clip at all and which hold values that are not finite.
    """
    blocks = cut(array, ch_axis)
    sums = np.zeros((len(_ROWS), blocks.n_channels))
    reach = _Reach.of(qparams, ranges)
    worker = _Worker(qparams, blocks.axis)
    last: slice | None = None
    with small_buffers():
        for channels, block in blocks.walk(qparams.rules.dtype):
            if channels != last:  # blocks of the same channels follow one another
                last, params, steps = channels, qparams.expand(channels, blocks.axis), reach.within(channels)
            worker.add(block, params, sums[:, channels], steps)
    return ChannelErrors(
        ranges.n_finite,
        ranges.n_finite - ranges.n_zero,
        ranges.signal,
        sums[_NOISE],
        sums[_CROSS],
        ranges.abs_signal,
        sums[_ABS],
        sums[_MAX],
        sums[_CLIPPED].astype(np.int64),
        # zeros stay zero, unless zero is off the grid: then no level is zero
        np.maximum(sums[_ZERO].astype(np.int64) - ranges.n_zero, 0),
    )


@dataclass(frozen=True, eq=False, slots=True)
class _Reach:
    """Per channel: which of the slow steps its values can need. Kernels are monotone, so the ends decide."""

    clips: npt.NDArray[np.bool_]
    unsafe: npt.NDArray[np.bool_]
    nonfinite: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, qparams: QParams, ranges: ChannelRanges) -> _Reach:
        params = qparams.expand(slice(None), 0)
        low, high = (raw_codes(end[:, None], qparams, params)[:, 0] for end in ranges.known())
        bad = ranges.n_nan + ranges.n_inf > 0
        return cls((low < qparams.quant_min) | (high > qparams.quant_max), ranges.unsafe, bad)

    def within(self, channels: slice) -> _Steps:
        """What a block that holds these channels needs."""
        needs = (self.clips, self.unsafe, self.nonfinite)
        return _Steps(*(bool(each[channels].any()) for each in needs))


@dataclass(frozen=True, slots=True)
class _Steps:
    """Whether a block clips, needs float64 sums, holds values that are not finite."""

    clips: bool
    unsafe: bool
    nonfinite: bool


class _Worker:
    """Scratch buffers, sized at the first block: later blocks are never larger."""

    def __init__(self, qparams: QParams, axis: int) -> None:
        self.qparams, self.axis = qparams, axis
        self.dtype = qparams.rules.dtype
        self.buffers: tuple[Array, Array, Array, Array] | None = None

    def _scratch(self, shape: tuple[int, int]) -> tuple[Array, Array, Array, Array]:
        size = shape[0] * shape[1]
        if self.buffers is None:
            ones = np.ones(shape[1 - self.axis], self.dtype)
            levels, other = scratch(size, self.dtype, 0), scratch(size, self.dtype, 1)
            self.buffers = levels, other, scratch(size, np.dtype(bool), 3), ones
        levels, other, mask, ones = self.buffers
        blocks = (each[:size].reshape(shape) for each in (levels, other, mask))
        return (*blocks, ones[: shape[1 - self.axis]])  # type: ignore[return-value]

    def add(self, x: Array, params: Expanded, sums: Array, steps: _Steps) -> None:
        """Add this block's sums to ``sums``, a (rows, channels) view."""
        e, other, mask, ones = self._scratch((x.shape[0], x.shape[1]))
        finite = np.isfinite(x) if steps.nonfinite else None
        with np.errstate(invalid="ignore", over="ignore", under="ignore"):
            self.qparams.rules.levels(x, params, e)
            if steps.clips:
                clamp(e, params.low, params.high, self.axis, other)
                np.not_equal(e, other, out=mask)
                sums[_CLIPPED] += count(mask if finite is None else mask & finite, self.axis)
                e, other = other, e
            np.equal(e, 0, out=mask)
            sums[_ZERO] += count(mask if finite is None else mask & finite, self.axis)
            np.multiply(e, params.scale, out=e)
            np.subtract(e, x, out=e)
            if finite is not None:
                x = np.where(finite, x, 0)
                e[~finite] = 0
            if steps.unsafe and self.dtype.itemsize < 8:
                x, e, ones = (each.astype(np.float64) for each in (x, e, ones))
            self._add_sums(x, e, ones, sums)

    def _add_sums(self, x: Array, e: Array, ones: Array, sums: Array) -> None:
        sums[_CROSS] += dot(x, e, self.axis)
        sums[_NOISE] += dot(e, e, self.axis)
        np.abs(e, out=e)
        sums[_ABS] += total(e, ones, self.axis)
        np.maximum(sums[_MAX], e.max(1 - self.axis), out=sums[_MAX])
