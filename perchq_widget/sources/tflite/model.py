"""What a ``.tflite`` model says of its constant tensors: where their bytes lie, their types, scales and users.

The schema is LiteRT's (version 3, as of ai-edge-litert 2.3); its fields are numbered in its order.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from perchq_widget.core.errors import QuantValueError
from perchq_widget.sources.axes import AxisHint, suggested_axis
from perchq_widget.sources.tflite.axes import Uses
from perchq_widget.sources.tflite.flatbuffer import Flatbuffer, OverlapError, Table
from perchq_widget.sources.tflite.kinds import KINDS, Kind, Scales, affine, check_values, size_problem

#: Fields by their number: Model, SubGraph, OperatorCode, Tensor, Buffer, QuantizationParameters, BlockwiseQuantization.
_CODES, _SUBGRAPHS, _BUFFERS = 1, 2, 4
_TENSORS = 0
_OLD_CODE, _CODE = 0, 3
_SHAPE, _TYPE, _BUFFER, _NAME, _QUANTIZATION, _SPARSITY, _EXTERNAL = 0, 1, 2, 3, 4, 6, 10
_DATA, _OFFSET, _SIZE = 0, 1, 2
_SCALE, _ZERO_POINT, _DETAILS_TYPE, _DETAILS, _AXIS = 2, 3, 4, 5, 6
_BLOCK_SCALES, _BLOCK_ZERO_POINTS, _BLOCK_SIZE = 0, 1, 2

_BLOCKWISE = 2
_MAX_RANK = 64  # numpy's
_SPARSE = "it is stored sparse: only some of its values are in the file; convert the model without sparsity"
_ELSEWHERE = "its data is in another file (an external buffer), which is not read"
_BIAS = "it is a bias of integers, whose scale is that of the input times the weight's; it is not quantized on its own"
_BIASES = ("int32", "int64")
_UNSCALED = ("float16", "bfloat16", "float32", "float64", "string", "bool")  # with which a scale has no meaning
_TENSOR_COST = 64  # a tensor that is listed takes no less in a file: its table, buffer, name and shape


@dataclass(frozen=True, eq=False, slots=True)
class Constant:
    """One constant tensor; its bytes are known to lie in the file unless ``problem`` says why it cannot be read."""

    name: str
    kind: Kind
    shape: tuple[int, ...]
    hint: AxisHint
    offset: int = 0
    n_bytes: int = 0
    scales: Scales | None = None
    problem: str | None = None
    readable: bool = False


def read_constants(data: memoryview, path: Path) -> list[Constant]:
    """The constant tensors of all subgraphs, in order, each under a name of its own.

    One that several subgraphs share is listed once. QuantValueError if the model's own tables are malformed.
    """
    buffer = Flatbuffer(data, path)
    if bytes(data[4:8]) != b"TFL3":
        raise QuantValueError(f"{path}: is no TFLite model (bytes 4 to 8 are {bytes(data[4:8])!r}, not b'TFL3')")
    model = buffer.root()
    codes = [_operator_code(buffer.follow(at)) for at in model.items(_CODES)]
    buffers = model.items(_BUFFERS)
    found: dict[str, Constant] = {}
    for number, at in enumerate(model.items(_SUBGRAPHS)):
        subgraph = buffer.follow(at)
        _Subgraph(subgraph, buffers, Uses(subgraph, codes), number).add_to(found)
    return list(found.values())


def _operator_code(code: Table) -> int:
    """Models from before there were 128 operators have the code in one byte."""
    return max(code.number(_OLD_CODE, "b"), code.number(_CODE, "i"))


class _Subgraph:
    """A subgraph while its constants are listed."""

    def __init__(self, table: Table, buffers: range, uses: Uses, number: int) -> None:
        self._buffers, self._uses, self._number = buffers, uses, number
        self._buffer, self._tensors = table.buffer, table.items(_TENSORS)

    def add_to(self, found: dict[str, Constant]) -> None:
        """Add each constant under its name, or under that and its place where the name is taken."""
        for index in range(len(self._tensors)):
            constant = self._constant(index)
            if constant is None:
                continue
            name = constant.name or self._place(index)
            if name in found and _same(constant, found[name]):
                continue
            if name in found:
                name = f"{name} [{self._place(index)}]"
            while name in found:
                name += "_"
            found[name] = constant if name == constant.name else replace(constant, name=name)

    def _place(self, index: int) -> str:
        return f"subgraph {self._number}, tensor {index}"

    def _constant(self, index: int) -> Constant | None:
        """Tensor number ``index`` if it has data of its own, or is too malformed to tell."""
        try:
            self._buffer.spend(_TENSOR_COST)
            tensor = self._buffer.follow(self._tensors[index])
            name = tensor.text(_NAME)
        except OverlapError:
            raise
        except QuantValueError as error:
            return _unreadable("", self._reason(error))
        try:
            return self._described(tensor, index, name)
        except OverlapError:
            raise
        except QuantValueError as error:
            return _unreadable(name, self._reason(error))

    def _reason(self, error: QuantValueError) -> str:
        """Why, without the path, which the record's own errors begin with."""
        return str(error).removeprefix(f"{self._buffer.path}: ")

    def _described(self, tensor: Table, index: int, name: str) -> Constant | None:
        place = self._place_of_data(tensor)
        if place is None and not tensor.number(_EXTERNAL, "I"):
            return None
        number = tensor.number(_TYPE, "b")
        kind = KINDS.get(number, Kind(f"type {number}", 0))
        shape = self._shape(tensor)
        hint = self._uses.hint(index, shape)
        if place is None:
            return Constant(name, kind, shape, hint, problem=_ELSEWHERE)
        problem = _SPARSE if tensor.table(_SPARSITY) is not None else size_problem(kind, shape, place[1])
        if problem is not None:
            return Constant(name, Kind(kind.name, 0), shape, hint, *place, problem=problem, readable=True)
        scales = None
        try:
            scales = self._scales(tensor, kind, shape)
        except OverlapError:
            raise
        except QuantValueError as error:
            problem = self._reason(error)
        return Constant(name, kind, shape, hint, *place, scales, problem, readable=True)

    def _place_of_data(self, tensor: Table) -> tuple[int, int] | None:
        """(first byte, number of bytes) of a tensor's data; None if it has none of its own."""
        index = tensor.number(_BUFFER, "I")
        if index == 0:
            return None
        if index >= len(self._buffers):
            raise self._buffer.malformed(f"a tensor's data is buffer {index} of {len(self._buffers)}")
        held = self._buffer.follow(self._buffers[index])
        start, n = held.span(_DATA, 1)
        if n:
            return start, n
        start, n = held.number(_OFFSET, "Q"), held.number(_SIZE, "Q")
        if start <= 1 or n <= 1:  # 1 stands for a place that the writer has not filled in
            return None
        self._buffer.check(start, n)
        return start, n

    def _shape(self, tensor: Table) -> tuple[int, ...]:
        n = tensor.span(_SHAPE, 4)[1]
        if n > _MAX_RANK:
            raise self._buffer.malformed(f"a tensor has {n} dimensions; {_MAX_RANK} are possible")
        shape = tuple(tensor.array(_SHAPE, "<i4").tolist())
        if any(size < 0 for size in shape):
            raise self._buffer.malformed(f"a constant tensor has the shape {shape}")
        return shape

    def _scales(self, tensor: Table, kind: Kind, shape: tuple[int, ...]) -> Scales | None:
        """How the codes of a tensor become values; None if it has no scale."""
        given = tensor.table(_QUANTIZATION)
        if given is None:
            return None
        details, axis = given.number(_DETAILS_TYPE, "B"), given.number(_AXIS, "i")
        if details == _BLOCKWISE:
            table = given.table(_DETAILS)
            return None if table is None or not kind.codes else self._blocks(table, kind, shape, axis)
        if details and kind.codes:
            raise QuantValueError(f"its scales are of a kind that is not read (quantization details {details})")
        scale = given.array(_SCALE, "<f4")
        if scale.size == 0 or kind.name in _UNSCALED:
            return None
        if not kind.codes:
            raise QuantValueError(_BIAS if kind.name in _BIASES else f"it has {kind.name} codes with a scale")
        return affine(scale, given.array(_ZERO_POINT, "<i8"), axis, kind, shape)

    def _blocks(self, table: Table, kind: Kind, shape: tuple[int, ...], axis: int) -> Scales:
        """Scales that are a tensor of their own, one for every ``block`` elements of the last axis."""
        block = table.number(_BLOCK_SIZE, "i")
        if len(shape) < 2 or axis != 0 or block <= 0 or shape[-1] % block:
            raise QuantValueError(f"its blocks of {block} do not fit its shape {shape} along axis {axis}")
        parts = (shape[0], math.prod(shape[1:]) // block)
        scale = self._numbers(table.number(_BLOCK_SCALES, "i", -1), parts, ("float16", "float32", "bfloat16"))
        n_bytes, zero_point = scale.nbytes, np.zeros(parts, np.int64)
        at = table.number(_BLOCK_ZERO_POINTS, "i", -1)
        if at >= 0:
            zeros = self._numbers(at, parts, ("int8", "uint8", "int16", "int32", "int64"))
            n_bytes, zero_point = n_bytes + zeros.nbytes, zeros.astype(np.int64)
        check_values(scale, zero_point, kind)
        return Scales(scale.astype(np.float32), zero_point, 0, block, n_bytes)

    def _numbers(self, index: int, shape: tuple[int, ...], kinds: tuple[str, ...]) -> np.ndarray[Any, Any]:
        """The values of tensor number ``index``, which has as many elements as ``shape``."""
        if not 0 <= index < len(self._tensors):
            raise QuantValueError(f"malformed: the scales of its blocks are tensor {index} of {len(self._tensors)}")
        tensor = self._buffer.follow(self._tensors[index])
        kind, place = KINDS.get(tensor.number(_TYPE, "b")), self._place_of_data(tensor)
        if kind is None or kind.name not in kinds or kind.dtype is None or place is None:
            raise QuantValueError(f"the scales of its blocks (tensor {index}) are no constant of {' or '.join(kinds)}")
        if place[1] != math.prod(shape) * kind.dtype.itemsize:
            raise QuantValueError(f"malformed: its blocks' scales (tensor {index}) take {place[1]} bytes for {shape}")
        self._buffer.spend(place[1])
        return np.frombuffer(self._buffer.data, kind.dtype, math.prod(shape), place[0]).reshape(shape).copy()


def _same(one: Constant, other: Constant) -> bool:
    """Whether two entries are one tensor, used in several subgraphs."""
    return (one.offset, one.n_bytes, one.kind, one.shape) == (other.offset, other.n_bytes, other.kind, other.shape)


def _unreadable(name: str, problem: str) -> Constant:
    return Constant(name, Kind("unknown", 0), (), AxisHint(*suggested_axis(())), problem=problem)
