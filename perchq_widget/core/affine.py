"""Affine arithmetic: range rules (range -> scale, zero point) and element kernels (value -> level).

A *level* is the code before the zero point is added and before the clamp. Kernels write levels, so that
clipping can be counted and ``dequantized = level * scale`` needs no subtraction.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from . import exact
from .schemes import QuantScheme

FloatArray = npt.NDArray[Any]

#: torch.ao observers' ``eps`` buffer: no scale is smaller.
PYTORCH_EPS = np.float32(np.finfo(np.float32).eps)
#: float64 quotients this close to a tie (relative) are decided on exact fractions.
TIE_MARGIN = 1e-9
#: Above this a zero point no longer has an exact float64, and no code would ever be in reach.
LARGEST_ZERO_POINT = 1 << 53


@dataclass(frozen=True, eq=False, slots=True)
class Params:
    """What a range rule returns: arrays of the ranges' shape. ``exact`` holds the fractions, if the rule has any."""

    scale: FloatArray
    zero_point: npt.NDArray[np.int64]
    exact: tuple[exact.ExactParams, ...] | None = None


@dataclass(frozen=True, eq=False, slots=True)
class Expanded:
    """Parameters shaped to broadcast against one block, in the kernel's dtype."""

    scale: FloatArray
    inverse: FloatArray
    low: FloatArray  # quant_min - zero_point
    high: FloatArray  # quant_max - zero_point
    exact: tuple[exact.ExactParams, ...] | None
    axis: int  # of the block, along which the parameters vary


RangeRule = Callable[[FloatArray, FloatArray, QuantScheme], Params]
Kernel = Callable[[FloatArray, Expanded, FloatArray], None]


def pytorch_range(min_val: FloatArray, max_val: FloatArray, scheme: QuantScheme) -> Params:
    """torch.ao observers' ``_calculate_qparams`` in float32, in its order of operations.

    Zero is always inside the range, the scale is at least float32 eps, the affine zero point is clamped.
    The symmetric denominator is (quant_max - quant_min) / 2, which is 127.5 for 8 bits.
    """
    grid = scheme.grid
    low = np.minimum(min_val.astype(np.float32), np.float32(0))
    high = np.maximum(max_val.astype(np.float32), np.float32(0))
    with np.errstate(over="ignore"):
        if scheme.symmetric:
            scale = np.maximum(-low, high) / np.float32((grid.quant_max - grid.quant_min) / 2)
        else:
            scale = (high - low) / np.float32(grid.quant_max - grid.quant_min)
    scale = np.maximum(scale, PYTORCH_EPS)
    if scheme.symmetric:
        zero_point = np.full(scale.shape, pytorch_symmetric_zero_point(scheme), np.int64)
    else:
        zero_point = grid.quant_min - np.rint(low / scale).astype(np.int64)
        zero_point = np.clip(zero_point, grid.quant_min, grid.quant_max)
    return Params(scale, zero_point)


def pytorch_symmetric_zero_point(scheme: QuantScheme) -> int:
    """0 for signed codes; 128 for quint8, or the middle of a free (quant_min, quant_max)."""
    if scheme.grid.signed:
        return 0
    return 128 if scheme.quant_range is None else (scheme.quant_min + scheme.quant_max) // 2


def calculator_range(min_val: FloatArray, max_val: FloatArray, scheme: QuantScheme) -> Params:
    """The textbook formulas, exact on the decimals that the floats print as."""
    rule = exact.symmetric_params if scheme.symmetric else exact.affine_params
    ends = zip(min_val.ravel().tolist(), max_val.ravel().tolist(), strict=True)
    found = tuple(
        rule(exact.fraction(low), exact.fraction(high), scheme.quant_min, scheme.quant_max) for low, high in ends
    )
    scale = np.array([exact.to_float(each.scale) for each in found], np.float64).reshape(min_val.shape)
    limit = LARGEST_ZERO_POINT  # beyond it the caller refuses; clipped here so that int64 can hold it
    zero_point = [min(max(each.zero_point, -limit), limit) for each in found]
    return Params(scale, np.array(zero_point, np.int64).reshape(min_val.shape), found)


def pytorch_levels(x: FloatArray, params: Expanded, out: FloatArray) -> None:
    """K2: round half to even of x times the float32 reciprocal, as torch.fake_quantize_per_channel_affine."""
    np.multiply(x, params.inverse, out=out)
    np.rint(out, out=out)


def calculator_levels(x: FloatArray, params: Expanded, out: FloatArray) -> None:
    """Round half away from zero of x / scale; what float64 cannot decide goes through exact fractions."""
    np.divide(x, params.scale, out=out)
    size = np.abs(out)
    whole = np.floor(size)
    rest = size - whole
    doubtful = np.abs(rest - 0.5) <= TIE_MARGIN * np.maximum(size, 1.0)
    np.copysign(whole + (rest >= 0.5), out, out=out)
    if params.exact is not None and doubtful.any():
        _decide_ties(x, params, np.nonzero(doubtful), out)


def _decide_ties(x: FloatArray, params: Expanded, where: tuple[npt.NDArray[np.intp], ...], out: FloatArray) -> None:
    """Overwrite ``out`` at ``where``. Each distinct (value, channel) is worked out once."""
    assert params.exact is not None
    n_channels = len(params.exact)
    channel = where[params.axis] if n_channels > 1 else np.zeros(len(where[0]), np.intp)
    pairs = np.stack([x[where].astype(np.float64), channel.astype(np.float64)])
    distinct, back = np.unique(pairs, axis=1, return_inverse=True)
    levels = [
        exact.round_half_away(exact.fraction(value) / params.exact[int(index)].scale) for value, index in distinct.T
    ]
    out[where] = np.array(levels, np.float64)[back.ravel()]
