"""One channel's finite values as the kernels take them; of a long channel a sample that keeps its extremes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from perchq_widget.core.grids import carried
from perchq_widget.core.reduce import SAFE

from .channels import ChannelTable

Array = npt.NDArray[Any]
#: Values up to which a channel is taken whole.
WHOLE = 1 << 16
#: Of a longer one: values drawn, how many of the draw tell where the tails begin, and how many stand for the rest.
DRAWN, TAIL, KEPT = 1 << 18, 1 << 10, 1 << 15
_SEED = 0


@dataclass(frozen=True, eq=False, slots=True)
class ChannelSample:
    """``values`` (m,) stand for ``weights`` (m,) of the channel's ``n`` finite values each.

    ``exact``: they are all of them, each once. Else the largest magnitudes are all there, because clipping meets them
    first, and evenly chosen quantiles of the rest, by a random draw that is the same every time. Values are in the
    dtype that the kernels compute in, weights in one in which squared errors can be added up.
    """

    values: Array
    weights: Array
    n: int

    @property
    def exact(self) -> bool:
        """Whether nothing was left out."""
        return self.values.size == self.n


def channel_sample(table: ChannelTable, channel: int) -> ChannelSample:
    """The finite values of a channel, or a sample of them above ``WHOLE``."""
    values = table.channel_values(channel)
    if values.size <= WHOLE:
        kept = _finite(values, table)
        return ChannelSample(kept, np.ones(kept.size, _sums(kept)), kept.size)
    return _drawn(values, table)


def _finite(values: Array, table: ChannelTable) -> Array:
    kept = carried(values, table.qparams.working_dtype)
    finite = np.isfinite(kept)
    return kept if finite.all() else kept[finite]


def _sums(values: Array) -> np.dtype[Any]:
    """float32 where it can hold the squares of the values and of their errors."""
    top = float(np.abs(values).max(initial=0.0))
    narrow = values.dtype.itemsize < 8 and (top == 0 or SAFE[0] < top < SAFE[1])
    return np.dtype(np.float32 if narrow else np.float64)


def _drawn(values: Array, table: ChannelTable) -> ChannelSample:
    """Every value in the tails, and quantiles of what lies between them."""
    n = int(np.isfinite(values).sum())
    draw = values if values.size <= DRAWN else values[np.random.default_rng(_SEED).integers(0, values.size, DRAWN)]
    pool = _finite(draw, table)
    if pool.size < KEPT:  # of many values hardly one is finite
        kept = _finite(values, table)[:WHOLE]
        return ChannelSample(kept, np.full(kept.size, n / max(kept.size, 1), _sums(kept)), n)
    limit = np.partition(np.abs(pool), pool.size - TAIL)[pool.size - TAIL]
    with np.errstate(invalid="ignore"):
        tail = _finite(values[(values > limit) | (values < -limit)], table)[: 2 * WHOLE]
    body = np.sort(pool[np.abs(pool) <= limit])
    body = body[((np.arange(KEPT) + 0.5) * (body.size / KEPT)).astype(np.int64)]
    kept = np.concatenate([tail, body])
    weights = np.ones(kept.size, _sums(kept))
    weights[tail.size :] = (n - tail.size) / KEPT
    return ChannelSample(kept, weights, n)
