"""From a tensor to its parameters: ranges of every unit, then the convention's rule on all of them at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .blocks import BLOCK, Array, as_carried
from .codec import Parameters
from .conventions import require_allowed
from .errors import QuantValueError
from .layouts import pieces, unit_shape
from .observers import MinMax, observer_of
from .qparams import qparams_from_range
from .ranges import ChannelRanges
from .record import Statistic
from .reduce import small_buffers
from .runtimes.floats import FIXED_RULES
from .schemes import QuantScheme

if TYPE_CHECKING:
    from .evidence import Evidence

Ends = tuple[npt.NDArray[Any], npt.NDArray[Any]]


def fit(
    array: Array, ch_axis: int, scheme: QuantScheme, observed: ChannelRanges, given: Ends | None = None
) -> Parameters:
    """The parameters that ``scheme`` takes from ``array``.

    ``observed`` are its ranges per channel; ``given`` ranges per channel, of shape (C,), stand in for what the
    scheme's observer takes from them.
    """
    rules = require_allowed(scheme)
    if given is None:
        given = searched_ends(array, ch_axis, scheme, observed)
    if scheme.family == "block":
        from .block_fitting import fit_blocks

        if given is not None:
            raise QuantValueError(
                f"ranges are one per channel, and {scheme.dtype} takes one scale for each block: leave ranges out"
            )
        return fit_blocks(array, ch_axis, scheme, observed)
    if scheme.scale_rule in FIXED_RULES and (given is not None or scheme.clip_ratio != 1.0):
        raise QuantValueError(
            f"scale_rule {scheme.scale_rule!r} sets the scale of {scheme.dtype} whatever the range is: leave "
            "clip_ratio and ranges out, or choose scale_rule 'amax' where the format has it"
        )
    dtype = rules.working_dtype(array.dtype)
    statistic = rules.statistics.get(str(scheme.scale_rule))
    if statistic is not None:
        if given is not None:
            raise QuantValueError(
                f"scale_rule {scheme.scale_rule!r} looks at all values and not at ranges: leave ranges out, or choose "
                "scale_rule 'amax'"
            )
        low, high = spread_ends(array, ch_axis, scheme, statistic)
    elif scheme.granularity in ("tensor", "channel"):
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
    with np.errstate(over="ignore", under="ignore"):  # a scale that is not finite is refused
        low, high = (np.asarray(end).astype(dtype) * dtype.type(scheme.clip_ratio) for end in (low, high))
    return qparams_from_range(low, high, scheme, ch_axis)


def searched_ends(
    array: Array,
    ch_axis: int,
    scheme: QuantScheme,
    observed: ChannelRanges,
    evidence: Callable[[np.dtype[Any], bool], Evidence] | None = None,
) -> Ends | None:
    """The ends that the scheme's observer finds, (C,) each, one pair repeated per tensor; None for "minmax".

    ``evidence`` gives what is known of the values already, taken as a dtype, per channel or as a whole.
    """
    if isinstance(observer_of(scheme.observer), MinMax):
        return None
    from .observing import observed_ends

    low, high = observed_ends(array, ch_axis, scheme, observed, evidence)
    shape = observed.min_val.shape
    return np.broadcast_to(low, shape), np.broadcast_to(high, shape)


def spread_ends(array: Array, ch_axis: int, scheme: QuantScheme, statistic: Statistic) -> Ends:
    """Minus and plus the statistic of the finite values of every channel or of the tensor, 0 where there is none."""
    whole = scheme.granularity == "tensor"
    values = array.reshape(1, -1) if whole else np.moveaxis(array, ch_axis, 0).reshape(array.shape[ch_axis], -1)
    step = max(1, BLOCK // values.shape[1])
    parts = [_statistic_of(values[start : start + step], statistic) for start in range(0, len(values), step)]
    found = np.concatenate(parts)
    found = found[0] if whole else found
    return 0 - found, found


def _statistic_of(rows: Array, statistic: Statistic) -> npt.NDArray[Any]:
    with np.errstate(over="ignore"):
        values = np.ascontiguousarray(rows.astype(np.float32, copy=False))
    finite = np.isfinite(values)
    if finite.all():
        return np.asarray(statistic(values))
    each = ((row[known] if known.any() else np.zeros(1, np.float32)) for row, known in zip(values, finite, strict=True))
    return np.array([statistic(row[None])[0] for row in each])


def check_groups(shape: tuple[int, ...], ch_axis: int, scheme: QuantScheme) -> None:
    """Raise where the last group or block would be short and the runtime has no short ones."""
    size, rules = scheme.group_size, require_allowed(scheme)
    parts: list[tuple[str, int, int]] = []
    if isinstance(size, tuple) and len(shape) == 2 and not rules.short_block:  # the layout refuses other shapes
        parts = list(zip(("the matrix's {} rows", "the matrix's {} columns"), shape, size, strict=True))
    elif isinstance(size, int) and not rules.short_group:
        parts = [("a channel's {} elements", int(np.prod(shape)) // shape[ch_axis], size)]
    for what, n, each in parts:
        if n == 1 and each > 1:
            raise QuantValueError(
                f"group_size {each} needs more than the one element that each channel of ch_axis {ch_axis} has: choose "
                "granularity 'channel' or 'tensor'"
            )
        if n % each:
            fitting = [other for other in (256, 128, 64, 32, 16, 8, 4, 2) if n % other == 0]
            instead = f"choose one that does, such as {fitting[0]}" if fitting else f"choose {n}, all of them"
            raise QuantValueError(
                f"group_size must divide {what.format(n)} under {scheme.convention!r}, got {each}: {instead}, "
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
    array, wide = as_carried(array, dtype)
    ends = np.full(shape, np.inf, wide), np.full(shape, -np.inf, wide)
    for piece in pieces(array, ch_axis, granularity, size, wide):
        x = piece.x.reshape(piece.view)
        low, high = x.min(piece.over), x.max(piece.over)
        if not (np.isfinite(low).all() and np.isfinite(high).all()):
            finite = np.isfinite(x)
            low = np.where(finite, x, wide.type(np.inf)).min(piece.over)
            high = np.where(finite, x, wide.type(-np.inf)).max(piece.over)
        for end, found, pick in ((ends[0], low, np.minimum), (ends[1], high, np.maximum)):
            part = end[piece.units.index]
            end[piece.units.index] = pick(part, found.reshape(part.shape))
    empty = ends[0] > ends[1]
    low, high = (np.where(empty, wide.type(0), end).astype(dtype, copy=False) for end in ends)
    return low, high
