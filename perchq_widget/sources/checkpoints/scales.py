"""Scales as checkpoints lay them out: one number, one a row, one a group of columns, one a block."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from perchq_widget.core.schemes import GroupSize
from perchq_widget.sources.checkpoints.facts import Facts
from perchq_widget.sources.checkpoints.parts import Part, UnfitError
from perchq_widget.sources.checkpoints.weight import Rows

COMMON_BLOCKS = (128, 128)
"""What DeepSeek and those after it use, and so what is assumed where no configuration says."""


def group_of_scales(scale: Part, shape: tuple[int, ...], facts: Facts) -> GroupSize | None:
    """What shares a scale, from the shapes: None for the whole tensor or a row; columns of a group; a block's sides.

    UnfitError where the scales fit none of these.
    """
    rows, columns = shape[0], math.prod(shape[1:])
    if whole_or_rows(scale, shape) is not None:
        return None
    if len(scale.shape) == 2 and len(shape) == 2:
        blocks = facts.blocks or COMMON_BLOCKS
        grid = (-(-rows // blocks[0]), -(-columns // blocks[1]))
        if scale.shape == grid and (facts.strategy == "block" or facts.blocks or scale.shape[0] != rows):
            return blocks
        if scale.shape[0] == rows and columns % scale.shape[1] == 0:
            return columns // scale.shape[1]
    raise UnfitError(f"{scale.name!r} has the shape {scale.shape}, which shares out no weight of shape {shape}")


def whole_or_rows(scale: Part, shape: tuple[int, ...]) -> str | None:
    """ "tensor" for a single number, "channel" for one of each row, None for anything else."""
    if scale.size == 1 and (shape[0] != 1 or len(scale.shape) < 2):
        return "tensor"
    if scale.size == shape[0] and scale.shape[:1] == shape[:1]:
        return "channel"
    return None


def is_whole(scale: Part, shape: tuple[int, ...], group: GroupSize | None) -> bool:
    """Whether one number serves all of the weight."""
    return group is None and whole_or_rows(scale, shape) == "tensor"


def rows_of_scales(scale: Part, shape: tuple[int, ...], group: GroupSize | None) -> Rows:
    """The scales (or zero points of their shape) that rows need, as :class:`Affine` takes them."""
    if is_whole(scale, shape, group):
        return lambda first, last: scale.array().reshape(())
    if group is None:
        return lambda first, last: _copied(scale.array().reshape(-1)[first:last])
    if isinstance(group, tuple):
        high = group[0]
        return lambda first, last: _copied(scale.array()[first // high : -(-last // high)])
    return lambda first, last: _copied(scale.array()[first:last])


def _copied(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return np.array(values)
