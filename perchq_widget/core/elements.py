"""Values through their parameters: quantize, dequantize, fake_quantize, in chunks that stay in cache."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from .affine import Expanded, FloatArray
from .checks import as_numbers, normal_axis
from .errors import QuantTypeError, QuantValueError
from .grids import full_range
from .qparams import QParams

#: Elements that go through the kernels at once: small enough to stay in cache.
CHUNK = 1 << 16


def raw_codes(x: FloatArray, qparams: QParams, params: Expanded) -> FloatArray:
    """Codes before the clamp, float, of the block's shape. NaN becomes the zero point (our policy)."""
    levels = np.empty(x.shape, qparams.rules.dtype)
    with np.errstate(invalid="ignore", over="ignore", under="ignore"):
        qparams.rules.levels(x.astype(levels.dtype), params, levels)
    levels[np.isnan(levels)] = 0
    return np.asarray(levels + (qparams.quant_min - params.low))


def quantize(x: npt.ArrayLike, qparams: QParams) -> npt.NDArray[Any]:
    """Codes of ``x``, in its shape: int8 for qint8, uint8 for quint8. inf saturates, NaN becomes the zero point."""
    values, axis = _prepared(x, qparams)
    codes = np.empty(values.shape, qparams.grid.storage)
    for part, channels in _chunks(values, axis):
        params = qparams.expand(channels, axis, values.ndim)
        raw = raw_codes(values[part], qparams, params)
        codes[part] = np.clip(raw, qparams.quant_min, qparams.quant_max)
    return codes.reshape(np.shape(x))


def dequantize(codes: npt.ArrayLike, qparams: QParams) -> npt.NDArray[Any]:
    """Real values of ``codes``: (code - zero_point) * scale in the convention's dtype (float32 or float64)."""
    values, axis = _prepared(codes, qparams, "codes")
    if values.dtype.kind not in "iu":
        raise QuantTypeError(f"codes must be integers, got {values.dtype}")
    low, high = full_range(qparams.dtype)
    if values.size and not low <= values.min() <= values.max() <= high:
        raise QuantValueError(f"codes of {qparams.dtype} must lie in {low}..{high}, got {values.min()}..{values.max()}")
    dtype = qparams.rules.dtype
    out = np.empty(values.shape, dtype)
    for part, channels in _chunks(values, axis):
        params = qparams.expand(channels, axis, values.ndim)
        zero_point = qparams.quant_min - params.low.astype(np.int64)
        with np.errstate(over="ignore", under="ignore"):
            np.multiply((values[part].astype(np.int64) - zero_point).astype(dtype), params.scale, out=out[part])
    return out.reshape(np.shape(codes))


def fake_quantize(x: npt.ArrayLike, qparams: QParams) -> npt.NDArray[Any]:
    """``dequantize(quantize(x))`` with NaN kept as NaN."""
    out = dequantize(quantize(x, qparams), qparams)
    values = np.asarray(x)
    return np.where(np.isnan(values), out.dtype.type(np.nan), out) if values.dtype.kind not in "iu" else out


def require_qparams(qparams: object) -> None:
    """QuantTypeError unless it is a QParams."""
    if not isinstance(qparams, QParams):
        raise QuantTypeError(f"qparams must be a QParams, got {qparams!r:.60}; pq.choose_qparams makes one")


def _prepared(x: npt.ArrayLike, qparams: QParams, argument: str = "x") -> tuple[npt.NDArray[Any], int]:
    require_qparams(qparams)
    values = np.atleast_1d(as_numbers(x, argument))
    if qparams.ch_axis is None:
        return values, 0
    axis = normal_axis(qparams.ch_axis, values.ndim)
    if values.shape[axis] != qparams.scale.size:
        raise QuantValueError(
            f"the tensor has {values.shape[axis]} channels on axis {axis} but scale has {qparams.scale.size}"
        )
    return values, axis


def _chunks(values: npt.NDArray[Any], axis: int) -> Iterator[tuple[slice, slice]]:
    """Slices of the first axis with the channels that each of them holds."""
    step = max(1, CHUNK * values.shape[0] // max(1, values.size))
    for start in range(0, values.shape[0], step):
        part = slice(start, start + step)
        yield part, part if axis == 0 else slice(None)
