"""Values through their parameters: quantize, dequantize, fake_quantize, in pieces that stay in cache."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from .checks import as_numbers, normal_axis
from .codec import Parameters
from .errors import QuantTypeError, QuantValueError
from .grids import INTEGER_DTYPES, IntGrid, full_range
from .kernels import Expanded, FloatArray
from .layouts import Piece, Units, matrix_of, matrix_pieces, unit_shape
from .reduce import clamp, small_buffers


def levels_of(x: FloatArray, qparams: Parameters, params: Expanded) -> FloatArray:
    """Levels before the clamp, of the block's shape. NaN becomes level 0, real zero (our policy)."""
    values = x.astype(qparams.working_dtype, copy=False)
    levels = np.empty(np.broadcast_shapes(x.shape, params.scale.shape), values.dtype)
    with np.errstate(invalid="ignore", over="ignore", under="ignore", divide="ignore"):
        qparams.kernel.levels(values, params, levels)
        if np.isnan(levels.sum()):  # cheaper than to look at each; infinities of both signs only cost time
            levels[np.isnan(levels)] = 0
    return levels


def raw_codes(x: FloatArray, qparams: Parameters, params: Expanded) -> FloatArray:
    """Codes before the clamp, float, of the block's shape."""
    return np.asarray(levels_of(x, qparams, params) + params.zero)


def one_channel(channels: slice, qparams: Parameters, axis: int = 0, ndim: int = 2) -> Expanded:
    """Parameters per channel or tensor, shaped for blocks whose axis ``axis`` of ``ndim`` counts channels."""
    shape = [1] * ndim
    shape[axis] = -1
    return qparams.expand(Units(channels, tuple(shape)), axis)


@small_buffers()
def quantize(x: npt.ArrayLike, qparams: Parameters) -> npt.NDArray[Any]:
    """Codes of ``x``, in its shape. inf saturates, NaN becomes the zero point.

    int8 for signed integers up to 8 bits, uint8, int16, uint16; ml_dtypes' dtype for float formats and elements of MX
    and NVFP4; uint8 indices for codebooks and GGUF.
    """
    values = _prepared(x, qparams)
    codes = _Matrix(values, qparams, qparams.code_dtype)
    for block, params in codes.walk(qparams.working_dtype):
        levels = levels_of(block, qparams, params)
        clamp(levels, params.low, params.high, params.axis, levels)
        codes.put(qparams.codes_of(levels, params))
    return codes.result(np.shape(x))


@small_buffers()
def dequantize(codes: npt.ArrayLike, qparams: Parameters) -> npt.NDArray[Any]:
    """Real values of ``codes`` in the dtype that the convention computes in: float32, float64 or the scale's own."""
    values = _prepared(codes, qparams, "codes")
    _check_codes(values, qparams)
    out = _Matrix(values, qparams, qparams.working_dtype)
    for block, params in out.walk(values.dtype):
        levels = qparams.levels_of(block, params)
        with np.errstate(over="ignore", under="ignore"):
            qparams.decoder.values(levels, params, levels)
        out.put(levels)
    return out.result(np.shape(codes))


@small_buffers()
def fake_quantize(x: npt.ArrayLike, qparams: Parameters) -> npt.NDArray[Any]:
    """``dequantize(quantize(x))`` with NaN kept as NaN."""
    values = _prepared(x, qparams)
    out = _Matrix(values, qparams, qparams.working_dtype)
    nans = values.dtype.kind not in "iu"
    for block, params in out.walk(qparams.working_dtype):
        levels = levels_of(block, qparams, params)
        clamp(levels, params.low, params.high, params.axis, levels)
        if isinstance(params.grid, IntGrid):
            levels += 0  # integers have no negative zero
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            qparams.decoder.values(levels, params, levels)
            if nans and np.isnan(block.sum()):
                np.copyto(levels, block, where=np.isnan(block))
        out.put(levels)
    return out.result(np.shape(x))


class _Matrix:
    """An output of the input's layout, filled piece by piece."""

    def __init__(self, values: npt.NDArray[Any], qparams: Parameters, dtype: np.dtype[Any]) -> None:
        self._qparams = qparams
        self._axis = None if qparams.ch_axis is None else normal_axis(qparams.ch_axis, values.ndim)
        self._granularity, self._size = qparams.layout
        self._values, self._shape = matrix_of(values, self._axis, self._granularity)
        self._out = np.empty(self._values.shape, dtype)
        self._piece: Piece | None = None

    def walk(self, dtype: np.dtype[Any]) -> Iterator[tuple[FloatArray, Expanded]]:
        """Blocks in the shape in which their parameters broadcast. Each is followed by one :meth:`put`."""
        for piece in matrix_pieces(self._values, self._granularity, self._size, dtype):
            self._piece = piece
            yield piece.x.reshape(piece.view), self._qparams.expand(piece.units, piece.across)

    def put(self, block: npt.NDArray[Any]) -> None:
        """Keep what came of the last block."""
        piece = self._piece
        assert piece is not None
        assert piece.place is not None
        target = self._out[piece.place]
        target[...] = block.reshape(target.shape)

    def result(self, shape: tuple[int, ...]) -> npt.NDArray[Any]:
        """The whole output in the shape of the input."""
        out = self._out.reshape(self._shape)
        if self._axis is not None and self._granularity in ("channel", "group"):
            out = np.moveaxis(out, 0, self._axis)
        return np.ascontiguousarray(out).reshape(shape)


def _check_codes(values: npt.NDArray[Any], qparams: Parameters) -> None:
    if values.dtype == qparams.code_dtype and not isinstance(qparams.grid, IntGrid):
        return
    if values.dtype.kind not in "iu":
        raise QuantTypeError(f"codes must be integers, got {values.dtype}")
    if not isinstance(qparams.grid, IntGrid):
        raise QuantTypeError(f"codes of {qparams.dtype} must be {qparams.code_dtype}, got {values.dtype}")
    low, high = code_limits(qparams)
    if values.size and not low <= values.min() <= values.max() <= high:
        raise QuantValueError(f"codes of {qparams.dtype} must lie in {low}..{high}, got {values.min()}..{values.max()}")


def code_limits(qparams: Parameters) -> tuple[int, int]:
    """All codes that the format can store."""
    if qparams.dtype in INTEGER_DTYPES:
        return full_range(qparams.dtype)
    return int(qparams.quant_min), int(qparams.quant_max)


def require_qparams(qparams: object) -> None:
    """QuantTypeError unless they are parameters."""
    if not isinstance(qparams, Parameters):
        raise QuantTypeError(f"qparams must be a QParams, got {qparams!r:.60}; pq.choose_qparams makes one")


def _prepared(x: npt.ArrayLike, qparams: Parameters, argument: str = "x") -> npt.NDArray[Any]:
    require_qparams(qparams)
    values = np.atleast_1d(as_numbers(x, argument))
    axis = None if qparams.ch_axis is None else normal_axis(qparams.ch_axis, values.ndim)
    check_layout(values.shape, axis, qparams)
    return values


def check_layout(shape: tuple[int, ...], axis: int | None, qparams: Parameters) -> None:
    """Raise unless a tensor of ``shape`` has as many units as there are scales; ``axis`` is the channels' or None."""
    found, size = qparams.scale.shape, qparams.group_size
    if qparams.granularity == "channel" and axis is not None and shape[axis] != found[0]:
        raise QuantValueError(
            f"the tensor has {shape[axis]} channels on axis {axis} but scale has {qparams.scale.size}"
        )
    wanted = unit_shape(shape, axis, *qparams.layout)
    if found not in ((), wanted):
        raise QuantValueError(
            f"a tensor of shape {shape} needs scales of shape {wanted} per {qparams.granularity}"
            f"{'' if size is None else f' of {size}'}, but scale has shape {found}"
        )
