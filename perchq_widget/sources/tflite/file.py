"""``.tflite`` models, TensorFlow Lite's and LiteRT's: their constant tensors, with the scales of quantized ones.

Read without a package: the one with the schema's classes does not know the types and the blocks of scales that
LiteRT's own quantizer writes today, LiteRT itself weighs 60 MB, and neither checks an offset.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from perchq_widget.core.elements import dequantize
from perchq_widget.core.errors import QuantValueError
from perchq_widget.core.qparams import QParams
from perchq_widget.sources.base import TensorRecord, TensorSource
from perchq_widget.sources.file_bytes import FileStamp
from perchq_widget.sources.memory import as_array, dtype_problem, shape_problem
from perchq_widget.sources.stored import Stored
from perchq_widget.sources.tflite.kinds import Scales
from perchq_widget.sources.tflite.model import Constant, read_constants

_NO_NUMBERS = {"string": "it holds texts", "resource": "it is a handle", "variant": "it has no fixed type"}
_ZERO_SCALE = "{} of the scales are 0, as the converter writes them for channels of zeros; 1 stands in, codes are 0"


def open_tflite(path: Path) -> TensorSource:
    """The constant tensors of all subgraphs of a ``.tflite`` model. Their data stays in the file until it is read.

    QuantValueError if it is no TFLite model or its tables are malformed; a tensor that is malformed, or stored in a way
    that is not read, is listed as not applicable.
    """
    stamp = FileStamp.of(path)
    if stamp.size < 8:
        raise QuantValueError(f"{path}: is no TFLite model: it has {stamp.size} bytes")
    data = stamp.map(np.dtype(np.uint8), 0, (stamp.size,))
    records = [_record(constant, stamp) for constant in read_constants(data.data, path)]
    return TensorSource(records, name=str(path), kind=".tflite file")


def _record(constant: Constant, stamp: FileStamp) -> TensorRecord:
    problem = _problem(constant)
    axis, reason = _axis(constant)
    quantized = constant.scales is not None
    codes = _Codes(constant, stamp)
    floats = constant.kind.dtype is not None and not quantized
    return TensorRecord(
        constant.name,
        constant.shape,
        constant.kind.codes if quantized else constant.kind.name,
        constant.n_bytes + (0 if constant.scales is None else constant.scales.n_bytes),
        axis,
        reason,
        not_applicable=problem,
        source=str(stamp.path),
        loader=partial(_floats, constant, stamp) if floats else None,
        stored_as="" if constant.scales is None else _scheme(constant.kind.codes, constant.scales),
        row_loader=codes.rows if quantized else None,
        raw_loader=partial(_raw, constant, stamp) if constant.readable else None,
        stored_loader=codes.stored if quantized else None,
    )


def _problem(constant: Constant) -> str | None:
    """Why a constant cannot be analysed."""
    kind = constant.kind
    if constant.problem is not None:
        return constant.problem
    if constant.scales is None:
        if kind.dtype is None:
            return _NO_NUMBERS.get(kind.name, f"it has {kind.name} values without a scale")
        problem = dtype_problem(kind.dtype) or shape_problem(constant.shape)
        return f"it {problem}" if problem else None
    problem = shape_problem(constant.shape)
    return f"it {problem}" if problem else None


def _axis(constant: Constant) -> tuple[int, str]:
    """The axis of the scales where they have one, else that of the operator."""
    hint = constant.hint
    if constant.scales is None or constant.scales.axis in (None, hint.axis):
        return hint.axis, hint.reason
    return int(constant.scales.axis), f"the file's own scales run along it ({hint.reason}, on axis {hint.axis})"


def _scheme(dtype: str, scales: Scales) -> str:
    """The scheme in one line."""
    if scales.block is not None:
        return f"{dtype}, blocks of {scales.block}, TFLite"
    return f"{dtype}, per {'tensor' if scales.axis is None else f'channel of axis {scales.axis}'}, TFLite"


def _floats(constant: Constant, stamp: FileStamp) -> np.ndarray[Any, Any]:
    return as_array(_raw(constant, stamp), argument=constant.name)


def _raw(constant: Constant, stamp: FileStamp) -> np.ndarray[Any, Any]:
    """What the file holds: whole elements where there are such, else bytes."""
    if constant.kind.dtype is None:
        return stamp.map(np.dtype(np.uint8), constant.offset, (constant.n_bytes,))
    return stamp.map(constant.kind.dtype, constant.offset, constant.shape)


class _Codes:
    """The codes of a quantized constant, and its parameters for all rows or some."""

    def __init__(self, constant: Constant, stamp: FileStamp) -> None:
        self._constant, self._stamp = constant, stamp

    def stored(self) -> Stored:
        """All codes and parameters. QuantValueError for a scale of 0 whose codes mean something."""
        codes = self._rows(0, self._constant.shape[0])
        zero = self._given.scale == 0
        if zero.any():
            used = dequantize(codes, self._params(slice(None))) != 0
            if np.asarray(used & (self._scale_of_elements() == 0)).any():
                raise QuantValueError(
                    f"{self._stamp.path}: tensor {self._constant.name!r} has a scale of 0 for codes that are not zero"
                )
        note = _ZERO_SCALE.format(int(zero.sum())) if zero.any() else ""
        return Stored(codes, self._params(slice(None)), note=note)

    def rows(self, start: int, stop: int) -> np.ndarray[Any, Any]:
        """The values of some rows of axis 0; what else there is stays in the file."""
        if start >= stop:
            return np.empty((0, *self._constant.shape[1:]), np.float32)
        if (self._given.scale == 0).any():
            return self.stored().array()[start:stop]
        return dequantize(self._rows(start, stop), self._params(slice(start, stop)))

    @property
    def _given(self) -> Scales:
        assert self._constant.scales is not None
        return self._constant.scales

    def _params(self, rows: slice) -> QParams:
        """Parameters of some rows: those along axis 0 are theirs alone."""
        given = self._given
        kept = rows if given.axis == 0 else ...
        scale = np.where(given.scale == 0, np.float32(1), given.scale)[kept]
        return QParams(
            scale, given.zero_point[kept], dtype=self._constant.kind.codes, convention="litert",
            ch_axis=given.axis, group_size=given.block,
        )  # fmt: skip

    def _scale_of_elements(self) -> np.ndarray[Any, Any]:
        """Scales that broadcast against the codes."""
        given, shape = self._given, self._constant.shape
        if given.axis is None:
            return given.scale
        if given.block is not None:
            return np.repeat(given.scale, given.block, axis=1).reshape(shape)
        return given.scale.reshape([-1 if axis == given.axis else 1 for axis in range(len(shape))])

    def _rows(self, start: int, stop: int) -> np.ndarray[Any, Any]:
        constant, shape = self._constant, (stop - start, *self._constant.shape[1:])
        if constant.kind.dtype is not None:
            return _raw(constant, self._stamp)[start:stop]
        per_row = int(np.prod(constant.shape[1:], dtype=object))
        bits = constant.kind.bits
        first, last = start * per_row * bits // 8, (stop * per_row * bits + 7) // 8
        packed = self._stamp.map(np.dtype(np.uint8), constant.offset + first, (last - first,))
        skipped = start * per_row - first * 8 // bits
        codes = _unpacked(packed, bits, constant.kind.codes.startswith("int"))
        return codes[skipped : skipped + (stop - start) * per_row].reshape(shape)


def _unpacked(packed: np.ndarray[Any, Any], bits: int, signed: bool) -> np.ndarray[Any, Any]:
    """Several codes of a byte, the lowest bits first, as int8 or uint8."""
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    codes = ((packed[:, None] >> shifts) & np.uint8((1 << bits) - 1)).reshape(-1)
    if not signed:
        return codes
    middle = np.int8(1 << (bits - 1))
    return np.asarray((codes.astype(np.int8) ^ middle) - middle)
