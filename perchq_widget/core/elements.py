"""Values through their parameters: quantize, dequantize, fake_quantize, in pieces that stay in cache."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt

from .blocks import BLOCK
from .checks import as_numbers, normal_axis
from .codec import Parameters
from .errors import QuantTypeError, QuantValueError
from .grids import INTEGER_DTYPES, CodebookGrid, IntGrid, carried, carrier, full_range
from .kernels import Expanded, FloatArray
from .layouts import Units, matrix_of, matrix_pieces, unit_shape
from .reduce import clamp
from .sharing import in_turns

#: Elements of a piece where threads share them: larger, so that handing over the interpreter between two of them is a
#: small part of the work (two threads: 57 ms -> 33 ms for 4096 x 4096).
LARGE_BLOCK = 1 << 18


def levels_of(x: FloatArray, qparams: Parameters, params: Expanded) -> FloatArray:
    """Levels before the clamp, of the block's shape. NaN becomes level 0, real zero (our policy)."""
    values = carried(x, qparams.working_dtype)
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


def quantize(x: npt.ArrayLike, qparams: Parameters) -> npt.NDArray[Any]:
    """Codes of ``x``, in its shape. inf saturates, NaN becomes the zero point.

    int8 for signed integers up to 8 bits, uint8, int16, uint16; ml_dtypes' dtype for float formats and elements of MX
    and NVFP4; uint8 indices for codebooks and GGUF.
    """

    def encoded(block: FloatArray, params: Expanded) -> npt.NDArray[Any]:
        levels = levels_of(block, qparams, params)
        clamp(levels, params.low, params.high, params.axis, levels)
        return qparams.codes_of(levels, params)

    values = _prepared(x, qparams)
    return _through(values, qparams, encoded, carrier(qparams.working_dtype), qparams.code_dtype).reshape(np.shape(x))


def dequantize(codes: npt.ArrayLike, qparams: Parameters) -> npt.NDArray[Any]:
    """Real values of ``codes`` in the dtype that the convention computes in: float32, float64 or the scale's own."""

    def decoded(block: npt.NDArray[Any], params: Expanded) -> FloatArray:
        levels = qparams.levels_of(block, params)
        with np.errstate(over="ignore", under="ignore"):
            qparams.decoder.values(levels, params, levels)
        return levels

    values = _prepared(codes, qparams, "codes")
    _check_codes(values, qparams)
    return _through(values, qparams, decoded, values.dtype, qparams.working_dtype).reshape(np.shape(codes))


def fake_quantize(x: npt.ArrayLike, qparams: Parameters) -> npt.NDArray[Any]:
    """``dequantize(quantize(x))`` with NaN kept as NaN."""

    def faked(block: FloatArray, params: Expanded) -> FloatArray:
        levels = levels_of(block, qparams, params)
        clamp(levels, params.low, params.high, params.axis, levels)
        if isinstance(params.grid, IntGrid):
            levels += 0  # integers have no negative zero
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            qparams.decoder.values(levels, params, levels)
            if np.isnan(block.sum()):
                np.copyto(levels, block, where=np.isnan(block))
        return levels

    values = _prepared(x, qparams)
    working = qparams.working_dtype
    return _through(values, qparams, faked, carrier(working), working).reshape(np.shape(x))


def _through(
    values: npt.NDArray[Any],
    qparams: Parameters,
    work: Callable[[npt.NDArray[Any], Expanded], npt.NDArray[Any]],
    takes: np.dtype[Any],
    gives: np.dtype[Any],
) -> npt.NDArray[Any]:
    """``work`` on every piece of ``values`` as ``takes`` with its parameters; its results as ``gives``."""
    axis = None if qparams.ch_axis is None else normal_axis(qparams.ch_axis, values.ndim)
    granularity, size = qparams.layout
    matrix, shape = matrix_of(values, axis, granularity)
    out = np.empty(matrix.shape, gives)
    # A thread that has to convert pieces first would convert those of the others as well.
    shared = matrix.size if matrix.dtype == takes else 0

    def share(turn: int, n_threads: int) -> None:
        pieces = matrix_pieces(matrix, granularity, size, takes, BLOCK if n_threads == 1 else LARGE_BLOCK)
        for piece in islice(pieces, turn, None, n_threads):
            assert piece.place is not None
            target = out[piece.place]
            block = work(piece.x.reshape(piece.view), qparams.expand(piece.units, piece.across))
            with np.errstate(over="ignore", invalid="ignore"):  # a file's scales may take float16 beyond its end
                target[...] = block.reshape(target.shape)

    in_turns(shared, share)
    whole = out.reshape(shape)
    if axis is not None and granularity in ("channel", "group"):
        whole = np.moveaxis(whole, 0, axis)
    return np.ascontiguousarray(whole)


def _check_codes(values: npt.NDArray[Any], qparams: Parameters) -> None:
    if qparams.code_dtype.kind not in "iu":
        if values.dtype != qparams.code_dtype:
            raise QuantTypeError(f"codes of {qparams.dtype} must be {qparams.code_dtype}, got {values.dtype}")
        return
    if values.dtype.kind not in "iu":
        raise QuantTypeError(f"codes must be integers, got {values.dtype}")
    low, high = code_limits(qparams)
    if values.size and not low <= values.min() <= values.max() <= high:
        raise QuantValueError(f"codes of {qparams.dtype} must lie in {low}..{high}, got {values.min()}..{values.max()}")


def code_limits(qparams: Parameters) -> tuple[int, int]:
    """All codes that the format can store."""
    if qparams.dtype in INTEGER_DTYPES:
        return full_range(qparams.dtype)
    if isinstance(qparams.grid, CodebookGrid):
        return 0, qparams.grid.last_code
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
