"""float8 in blocks with a float32 scale each, as DeepSeek writes it: weight and weight_scale_inv."""

from __future__ import annotations

import math

import numpy as np

from perchq_widget.sources.checkpoints.facts import Facts
from perchq_widget.sources.checkpoints.parts import FLOAT8, SCALES, Parts, UnfitError
from perchq_widget.sources.checkpoints.scales import COMMON_BLOCKS, group_of_scales, is_whole, rows_of_scales
from perchq_widget.sources.checkpoints.weight import Affine, Array, Weight, affine_weight

LAYOUT = "block FP8"
_MANY = "several matrices with blocks of their own, which no parameters here describe: only its values are read"


def fold_scale_inv(parts: Parts, facts: Facts) -> Weight:
    """A float8 matrix, or several of them stacked, with scales of blocks. The "inv" is a name: values are products."""
    weight = parts.need(parts.base).of(*FLOAT8)
    scale = parts.need(parts.base + "_scale_inv").of(*SCALES)
    shape = weight.shape
    if len(shape) == 3:
        return _stacked(parts, facts)
    if len(shape) != 2:
        raise UnfitError(f"{weight.name!r} has the shape {shape} and should be a matrix")
    group = group_of_scales(scale, shape, facts)
    spec = Affine(
        shape, weight.dtype, lambda first, last: weight.array()[first:last], rows_of_scales(scale, shape, group),
        group=group, whole=is_whole(scale, shape, group),
    )  # fmt: skip
    return affine_weight(spec, LAYOUT, (weight.name, scale.name))


def _stacked(parts: Parts, facts: Facts) -> Weight:
    """Experts in front: (experts, rows, columns), one grid of blocks for each."""
    weight, scale = parts.need(parts.base), parts.need(parts.base + "_scale_inv")
    n, rows, columns = weight.shape
    high, wide = facts.blocks or COMMON_BLOCKS
    scale.shaped((n, -(-rows // high), -(-columns // wide)))

    def matrix(index: int) -> Affine:
        return Affine(
            (rows, columns), weight.dtype, lambda first, last: weight.array()[index, first:last],
            lambda first, last: np.array(scale.array()[index, first // high : -(-last // high)]), group=(high, wide),
        )  # fmt: skip

    def values(first: int, last: int) -> Array:
        found = [matrix(index).values(0, rows) for index in range(first, last)]
        return np.stack(found) if found else matrix(0).values(0, 0).reshape(0, rows, columns)

    assert math.prod(weight.shape)
    return Weight(
        LAYOUT, weight.shape, weight.dtype, f"{weight.dtype}, blocks of {high}x{wide}, {LAYOUT}",
        (weight.name, scale.name), values, None, _MANY, 1, "axis 1 counts the outputs of each expert",
    )  # fmt: skip
