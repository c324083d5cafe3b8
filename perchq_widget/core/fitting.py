"""From a tensor to its parameters: ranges of every unit, then the convention's rule on all of them at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from .blocks import Array
from .codec import Parameters
from .conventions import require_allowed
from .errors import QuantValueError
from .layouts import pieces, unit_shape
from .qparams import qparams_from_range
from .ranges import ChannelRanges
from .reduce import small_buffers
from .schemes import QuantScheme

Ends = tuple[npt.NDArray[Any], npt.NDArray[Any]]


def fit(
    array: Array, ch_axis: int, scheme: QuantScheme, observed: ChannelRanges, given: Ends | None = None
) -> Parameters:
    """The parameters that ``scheme`` takes from ``array``.

    ``observed`` are its ranges per channel; ``given`` ranges per channel, of shape (C,), stand in for them.
    """
    rules = require_allowed(scheme)
    if scheme.family == "block":
        from .blockscaled import fit_blocks

        return fit_blocks(array, ch_axis, scheme)
    dtype = rules.working_dtype(array.dtype)
    if scheme.granularity in ("tensor", "channel"):
        low, high = given if given is not None else observed.known()
        if scheme.granularity == "tensor":
            low, high = (low.min(), high.max()) if given is not None else observed.whole()
    else:
        if given is not None:
            raise QuantValueError(
                f"ranges are one per channel, and granularity {scheme.granularity!r} needs one per "
                f"{scheme.granularity}: leave ranges out, or choose 'channel' or 'tensor'"
            )
        check_groups(array.shape, ch_axis, scheme)
        low, high = unit_ranges(array, ch_axis, scheme, dtype)
    low, high = (np.asarray(end).astype(dtype) * dtype.type(scheme.clip_ratio) for end in (low, high))
    return qparams_from_range(low, high, scheme, ch_axis)


def check_groups(shape: tuple[int, ...], ch_axis: int, scheme: QuantScheme) -> None:
    """Raise where the last group would be short and the runtime has no short groups."""
    size = scheme.group_size
    if scheme.granularity != "group" or not isinstance(size, int) or require_allowed(scheme).short_group:
        return
    n = int(np.prod(shape)) // shape[ch_axis]
    if n % size:
        fitting = [each for each in (256, 128, 64, 32, 16, 8, 4, 2) if n % each == 0]
        instead = f"choose one that does, such as {fitting[0]}" if fitting else f"choose {n}, the whole channel"
        raise QuantValueError(
            f"group_size must divide a channel's {n} elements under {scheme.convention!r}, got {size}: {instead}, "
            "or pad the tensor as the runtime would"
        )


@small_buffers()
def unit_ranges(array: Array, ch_axis: int, scheme: QuantScheme, dtype: np.dtype[Any]) -> Ends:
    """(min_val, max_val) of the finite values of every unit, in the layout of its scales; zeros where there is none."""
    if scheme.granularity == "token":
        rows = array.reshape(-1, array.shape[-1])
        low, high = _ranges_of(rows, 0, "channel", None, dtype, (len(rows),))
        return low.reshape(array.shape[:-1]), high.reshape(array.shape[:-1])
    shape = unit_shape(array.shape, ch_axis, scheme.granularity, scheme.group_size)
    return _ranges_of(array, ch_axis, scheme.granularity, scheme.group_size, dtype, shape)


def _ranges_of(array: Array, ch_axis: int, granularity: str, size: Any, dtype: np.dtype[Any], shape: Any) -> Ends:
    ends = np.full(shape, np.inf, dtype), np.full(shape, -np.inf, dtype)
    for piece in pieces(array, ch_axis, granularity, size, dtype):
        x = piece.x.reshape(piece.view)
        low, high = x.min(piece.over), x.max(piece.over)
        if not (np.isfinite(low).all() and np.isfinite(high).all()):
            finite = np.isfinite(x)
            low = np.where(finite, x, dtype.type(np.inf)).min(piece.over)
            high = np.where(finite, x, dtype.type(-np.inf)).max(piece.over)
        for end, found, pick in ((ends[0], low, np.minimum), (ends[1], high, np.maximum)):
            part = end[piece.units.index]
            end[piece.units.index] = pick(part, found.reshape(part.shape))
    empty = ends[0] > ends[1]
    return np.where(empty, dtype.type(0), ends[0]), np.where(empty, dtype.type(0), ends[1])
