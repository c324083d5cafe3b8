"""What a moving control needs of a tensor, in the least time: noise, largest error and clipped values per channel.

As exact as :func:`~perchq_widget.core.metrics.channel_errors`, of which these are a part. Where nothing is out of the
ordinary a block passes through seven calls of numpy; whatever is (values that are not finite, magnitudes whose squares
leave float32, clipping that the tails do not cover) goes the long way.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from .blocks import RUN, Array, Blocks, as_carried, cut, scratch
from .codec import Parameters
from .kernels import Expanded
from .layouts import Units, channel_piece
from .metrics import CLIPPED, MAX, NOISE, ROWS, ChannelErrors, Reach, Worker, channel_errors
from .ranges import ChannelRanges
from .reduce import dot, small_buffers
from .tails import Tails

LIVE_BLOCK = 1 << 16  # elements of a block and of its errors, which stay in a second-level cache with the next ones


def live_errors(
    array: Array, ch_axis: int, qparams: Parameters, ranges: ChannelRanges, tails: Tails | None = None
) -> ChannelErrors:
    """Errors of ``array`` per channel, incomplete where a scale serves a channel or the tensor, else all of them.

    ``tails`` of the same tensor make it faster where values are clipped.
    """
    if qparams.granularity not in ("channel", "tensor"):
        return channel_errors(array, ch_axis, qparams, ranges)
    reach = Reach.of(qparams, ranges)
    later = reach.clips & tails.covers(qparams, ranges) if tails is not None else np.zeros_like(reach.clips)
    reach = replace(reach, clips=reach.clips & ~later)
    sums = np.zeros((ROWS, len(later)))
    clamped = _add_blocks(array, ch_axis, Worker(qparams, reach, live=True), sums)
    later &= ~clamped  # neighbours of a channel that had to be clamped were clamped with it
    if tails is not None and later.any():
        clipped, noise, largest = tails.corrections(qparams, ranges, later)
        sums[CLIPPED] += clipped
        sums[NOISE] += noise
        np.maximum(sums[MAX], largest, out=sums[MAX])
    return ChannelErrors.of(ranges, sums, qparams.keeps_zero, None, complete=False)


@small_buffers()
def _add_blocks(array: Array, ch_axis: int, worker: Worker, sums: Array) -> Array:
    """Add the sums of all blocks to ``sums``, of shape (ROWS, C); returns which channels were clamped."""
    qparams, reach = worker.qparams, worker.reach
    array, dtype = as_carried(array, qparams.working_dtype)
    blocks = cut(array, ch_axis)
    every = qparams.expand(Units(slice(None), (-1, 1) if blocks.axis == 0 else (1, -1)), blocks.axis)
    slow = reach.clips | reach.unsafe | reach.nonfinite | np.isinf(every.inverse).ravel()
    clamped = np.zeros_like(slow)
    add = _Ordinary(qparams, blocks.axis)
    last: slice | None = None
    with np.errstate(over="ignore", under="ignore"):
        for channels, x in _walk(blocks, dtype):
            if channels != last:  # blocks of the same channels follow
                last, params, found, is_slow = channels, every.part(channels), sums[:, channels], slow[channels].any()
            if is_slow:
                clamped[channels] |= reach.clips[channels].any()
                worker.add(channel_piece(x, blocks.axis, channels), params, found)
            else:
                add(x, params, found)
    return clamped


def _walk(blocks: Blocks, dtype: np.dtype[Any]) -> Iterator[tuple[slice, Array]]:
    """As ``blocks.walk``; of rows that lie as they are wanted, fewer at a time: only two blocks are in use."""
    view = blocks.view
    n = view.shape[-1]
    if blocks.columns or view.ndim != 2 or view.dtype != dtype or view.strides[-1] != view.itemsize or n > RUN:
        yield from blocks.walk(dtype)
        return
    step = max(1, LIVE_BLOCK // n)
    for start in range(0, len(view), step):
        yield slice(start, min(start + step, len(view))), view[start : start + step]


class _Ordinary:
    """A block in which nothing needs a second look: values -> levels -> values, and what the difference adds up to."""

    def __init__(self, qparams: Parameters, axis: int) -> None:
        self.levels, self.values, self.axis = qparams.kernel.levels, qparams.decoder.values, axis
        self.buffer = np.empty(0, qparams.working_dtype)

    def __call__(self, x: Array, params: Expanded, sums: Array) -> None:
        """Add the sums of one block to ``sums``, a (rows, lanes) view."""
        if self.buffer.size < x.size:
            self.buffer = scratch(x.size, x.dtype)
        e = self.buffer[: x.size].reshape(x.shape)
        self.levels(x, params, e)
        self.values(e, params, e)
        np.subtract(e, x, out=e)
        sums[NOISE] += dot(e, e, self.axis)
        np.abs(e, out=e)
        np.maximum(sums[MAX], np.maximum.reduce(e, axis=1 - self.axis), out=sums[MAX])
