"""From a tensor to the scales of its blocks: the format's rule on thousands of blocks at once."""

from __future__ import annotations

from itertools import islice
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt

from .block_format import BlockFit, BlockFormat
from .blocks import reshaped
from .blockscaled import BlockParams, get_format
from .errors import QuantValueError
from .layouts import group_pieces, unit_shape
from .ranges import ChannelRanges
from .schemes import QuantScheme
from .sharing import in_turns
from .trace import silent

_PARTS = ("scale", "multiplier", "minimum", "origin")


def fit_blocks(array: npt.NDArray[Any], ch_axis: int, scheme: QuantScheme, observed: ChannelRanges) -> BlockParams:
    """The scales of ``array`` in the format of ``scheme``. NaN and infinities are left out, as zeros.

    ``observed`` are the tensor's ranges per channel.
    """
    form = get_format(scheme.dtype, scheme.convention)
    size = scheme.group_size
    assert isinstance(size, int)
    moved = array.reshape(1, -1) if form.flat else np.moveaxis(array, ch_axis, 0)  # flat blocks may straddle channels
    _check(moved.size // len(moved), size, form, scheme)
    overall = None if form.global_scale is None else _global_scale(form, scheme, observed)
    parts = _fitted(moved, size, form, scheme.scale_rule, overall, bool((observed.n_nan + observed.n_inf).any()))
    shaped: dict[str, Any] = {name: each.reshape(-1) if form.flat else each for name, each in parts.items()}
    return BlockParams(
        dtype=scheme.dtype,
        convention=scheme.convention,
        ch_axis=None if form.flat else ch_axis,
        group_size=size,
        global_scale=None if overall is None else float(overall),
        **shaped,
    )


def _fitted(
    moved: npt.NDArray[Any],
    size: int,
    form: BlockFormat,
    scale_rule: str | None,
    overall: np.float32 | None,
    dirty: bool,
) -> dict[str, npt.NDArray[Any]]:
    """What the format's rule takes from the blocks of each channel of axis 0, each of shape (C, G).

    Blocks are passed on as they lie in memory, one after the other; the rule sees them as columns. ``dirty``: whether
    some value is not finite.
    """
    shape = unit_shape(moved.shape, 0, "group", size)
    parts: dict[str, npt.NDArray[Any]] = {}
    lock = Lock()

    def work(turn: int, n: int) -> None:
        for piece in islice(group_pieces(moved, size, np.dtype(np.float32)), turn, None, n):
            x = np.where(np.isfinite(piece.x), piece.x, np.float32(0)) if dirty else piece.x
            rule = form.fit if x.shape[1] == size else form.short_fit
            assert rule is not None  # checked before
            with np.errstate(over="ignore", under="ignore", divide="ignore", invalid="ignore"):
                found = rule(x.T, scale_rule, overall, silent)
            with lock:
                _keep(found, parts, shape, piece.units.index)

    # a thread that has to convert pieces first would convert those of the others as well
    as_it_lies = moved.dtype == np.float32 and reshaped(moved, (shape[0], -1)) is not None
    in_turns(moved.size if as_it_lies else 0, work)
    return parts


def _check(n: int, size: int, form: BlockFormat, scheme: QuantScheme) -> None:
    """Refuse what a block's own values leave no room for."""
    if scheme.clip_ratio != 1.0:
        raise QuantValueError(
            f"clip_ratio must be 1 for {form.dtype}, whose scales come from each block's values as the runtime takes "
            f"them, got {scheme.clip_ratio:g}: leave clip_ratio out, or choose another scale_rule or format"
        )
    if n % size and form.short_fit is None:
        raise QuantValueError(
            f"{scheme.convention} has no short blocks: {n} elements of a channel are no multiple of {size}; choose the "
            "ch_axis whose channels are, or pad the tensor"
        )


def _global_scale(form: BlockFormat, scheme: QuantScheme, observed: ChannelRanges) -> np.float32:
    assert form.global_scale is not None
    low, high = observed.whole()
    largest = np.float32(max(abs(float(low)), abs(float(high))))
    with np.errstate(over="ignore", under="ignore", divide="ignore", invalid="ignore"):
        found = form.global_scale(largest, silent)
    if not (np.isfinite(found) and found > 0):
        raise QuantValueError(
            f"{scheme.convention} takes the global scale of {form.dtype} from the tensor's largest magnitude, "
            f"{largest:g}, which gives {found:g}: every value would be NaN; leave the tensor as it is, or rescale it"
        )
    return found


def _keep(found: BlockFit, parts: dict[str, npt.NDArray[Any]], shape: tuple[int, ...], where: Any) -> None:
    """Put one piece's numbers at their blocks' places."""
    for name in _PARTS:
        values = getattr(found, name)
        if values is None:
            continue
        if name not in parts:
            parts[name] = np.empty(shape, values.dtype)
        part = parts[name][where]
        parts[name][where] = values.reshape(part.shape)
