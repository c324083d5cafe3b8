"""One tensor of a model: what it claims to be, checked against the file, and how its values are read."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from perchq_widget.core.errors import QuantValueError
from perchq_widget.sources.decimals import clip_text
from perchq_widget.sources.file_bytes import FileStamp
from perchq_widget.sources.onnx.external import DataFolder, Span
from perchq_widget.sources.onnx.types import KINDS, STRING, Array, Kind, as_kind, from_numbers, unpacked, varints
from perchq_widget.sources.onnx.wire import DATA_FIELDS, FIXED32, FIXED64, RAW_DATA, Pieces, Place, WireError, pieces_of

_MAX_RANK = 64  # numpy's
_EXTERNAL = 1
_FIXED = (FIXED32, FIXED64)


@dataclass(frozen=True, slots=True)
class Typed:
    """Numbers in a typed field of the model file, ``n_bytes`` of them; ``wire``: the type of one number."""

    stamp: FileStamp
    places: tuple[Place, ...]
    field: int
    wire: int
    n_bytes: int


@dataclass(frozen=True, eq=False, slots=True)
class Tensor:
    """A constant of the model. ``problem``: why it cannot be read, and then ``data`` is None.

    ``data``: bytes that lie in a file as the kind has them, numbers of a typed field, or values known already.
    """

    name: str
    shape: tuple[int, ...]
    kind: Kind | None
    data: Span | Typed | Array | None
    dtype: str
    problem: str | None = None

    @property
    def size(self) -> int:
        """How many elements it has."""
        return math.prod(self.shape)

    @property
    def n_bytes(self) -> int:
        """What the file spends on it."""
        if isinstance(self.data, Span):
            return self.data.size
        if isinstance(self.data, Typed):
            return self.data.n_bytes
        return 0 if self.data is None else self.data.nbytes

    def read(self) -> Array:
        """All values in the file's own type, mapped where they lie there as they are."""
        return self.rows(0, self.shape[0] if self.shape else 1)

    def rows(self, start: int, stop: int) -> Array:
        """Those of the rows of axis 0; a number of rank 0 is its own row."""
        if self.data is None or self.kind is None:
            raise QuantValueError(f"tensor {clip_text(self.name, 80)!r}: {self.problem}")
        if not self.shape:
            return self._elements(0, 1).reshape(())
        row = math.prod(self.shape[1:])
        return self._elements(start * row, stop * row).reshape(stop - start, *self.shape[1:])

    def _elements(self, start: int, stop: int) -> Array:
        assert self.kind is not None
        if start == stop:
            return np.empty(0, self.kind.dtype)
        if isinstance(self.data, Span):
            return _mapped(self.data, self.kind, start, stop)
        if isinstance(self.data, Typed):
            return _typed(self.data, self.kind, self.size, self.name)[start:stop]
        assert self.data is not None
        return self.data.reshape(-1)[start:stop]


def _mapped(span: Span, kind: Kind, start: int, stop: int) -> Array:
    """Elements ``start`` to ``stop`` of those that lie in a span."""
    if not kind.packed:
        return span.stamp.map(kind.dtype, span.offset + start * kind.dtype.itemsize, (stop - start,))
    first, last = start * kind.bits // 8, -(-stop * kind.bits // 8)
    if kind.bits == 6:  # its elements begin anywhere in a byte
        first -= first % 3
    packed = span.stamp.map(np.dtype(np.uint8), span.offset + first, (last - first,))
    return as_kind(unpacked(packed, kind.bits, start - first * 8 // kind.bits, stop - start), kind)


def _typed(data: Typed, kind: Kind, n: int, name: str) -> Array:
    """All ``n`` elements out of a typed field."""
    pieces = [place.data[data.field] for place in data.places if data.field in place.data]
    data.stamp.check()
    if len(pieces) == 1 and pieces[0].n == 1:
        numbers: Array = data.stamp.map(np.dtype(np.uint8), pieces[0].start, (pieces[0].size,))
    else:
        numbers = np.frombuffer(b"".join(_contents(data, name)), np.uint8)
    if kind is STRING:
        return _strings(_contents(data, name))
    if data.wire in _FIXED:
        return numbers.view(kind.dtype)
    try:
        values = varints(numbers)
    except ValueError as error:
        raise _unreadable(data, name, str(error)) from error
    found = from_numbers(values, kind, n)
    if found.size != n or values.size != kind_numbers(kind, n):
        raise _unreadable(data, name, f"its shape has {n} elements, but the file has {values.size} numbers")
    return found


def kind_numbers(kind: Kind, n: int) -> int:
    """How many integers of a typed field n elements take: those of two and four bits share them."""
    return kind.n_bytes(n) if kind.packed and kind.bits != 6 else n


def _contents(data: Typed, name: str) -> list[bytes]:
    try:
        return pieces_of(data.stamp.path, data.places, data.field, data.wire)
    except (OSError, WireError) as error:
        raise _unreadable(data, name, str(error)) from error


def _unreadable(data: Typed, name: str, why: str) -> QuantValueError:
    return QuantValueError(f"{data.stamp.path}: tensor {clip_text(name, 80)!r}: malformed: {why}")


def _strings(pieces: Sequence[bytes]) -> Array:
    out = np.empty(len(pieces), object)
    out[:] = [piece.decode("utf-8", "backslashreplace") for piece in pieces]
    return out


@dataclass(frozen=True, slots=True)
class TensorReader:
    """Makes tensors of the messages of one model file."""

    stamp: FileStamp
    places: list[Place]
    folder: DataFolder

    def tensor(self, proto: Any, name: str) -> Tensor:
        """The tensor of a skeleton's TensorProto; what is wrong with it is its ``problem``."""
        dtype = KINDS[proto.data_type].name if proto.data_type in KINDS else f"type {proto.data_type}"
        places = tuple(self.places[number] for number in proto.int64_data)
        shape = tuple(proto.dims)
        try:
            kind = _kind(proto, shape, places)
            outside = proto.data_location == _EXTERNAL
            data = self._external(proto, kind, shape) if outside else self._own(places, kind, shape)
        except QuantValueError as error:
            usable = shape if len(shape) <= _MAX_RANK and all(length >= 0 for length in shape) else ()
            return Tensor(name, usable, None, None, dtype, str(error))
        return Tensor(name, shape, kind, data, dtype)

    def values(self, array: Array, name: str) -> Tensor:
        """A tensor whose values stand in the skeleton."""
        kind = next(kind for kind in KINDS.values() if kind.dtype == array.dtype)
        return Tensor(name, array.shape, kind, array, kind.name)

    def numbers(self, number: int, field: int, wire: int, kind: Kind, name: str) -> Tensor:
        """A tensor of rank 1 that is a long list of an attribute."""
        place = self.places[number]
        pieces = place.data.get(field)
        if pieces is None:
            return Tensor(name, (0,), kind, np.empty(0, kind.dtype), kind.name)
        typed = Typed(self.stamp, (place,), field, wire, pieces.n_bytes)
        try:
            if wire in _FIXED and pieces.n_bytes * 8 % kind.bits:
                raise ValueError("a number is cut off")
            n = pieces.n_bytes * 8 // kind.bits if wire in _FIXED else len(varints(_bytes_of(typed, pieces)))
        except ValueError as error:
            return Tensor(name, (), None, None, kind.name, f"malformed: {error}")
        return Tensor(name, (n,), kind, typed, kind.name)

    def _external(self, proto: Any, kind: Kind, shape: tuple[int, ...]) -> Span:
        if kind is STRING:
            raise QuantValueError("malformed: strings cannot be in another file")
        entries = {text(entry.key): text(entry.value) for entry in proto.external_data}
        return self.folder.span(entries, kind.n_bytes(math.prod(shape)))

    def _own(self, places: tuple[Place, ...], kind: Kind, shape: tuple[int, ...]) -> Span | Typed:
        """Data in the model file: raw, or in the typed field of the kind."""
        n = math.prod(shape)
        filled = {number for place in places for number, pieces in place.data.items() if pieces.n_bytes}
        raw = [place.data[RAW_DATA] for place in places if RAW_DATA in place.data]
        if len(filled) > 1:
            raise QuantValueError("malformed: it has data in two fields, and only one can be meant")
        if filled - {RAW_DATA, kind.field}:
            raise QuantValueError(f"malformed: its data are not in a field for {kind.name}")
        if raw and kind is not STRING and kind.field not in filled:
            if raw[-1].size != kind.n_bytes(n):
                raise QuantValueError(f"malformed: {_claim(shape, kind)}, but the file has {raw[-1].size} bytes of it")
            return Span(self.stamp, raw[-1].start, raw[-1].size)
        pieces = [place.data[kind.field] for place in places if kind.field in place.data]
        n_bytes = sum(piece.n_bytes for piece in pieces)
        _check_typed(kind, shape, n_bytes, sum(piece.n for piece in pieces))
        if len(pieces) == 1 and pieces[0].n == 1 and DATA_FIELDS[kind.field] in _FIXED:
            return Span(self.stamp, pieces[0].start, pieces[0].size)
        return Typed(self.stamp, places, kind.field, DATA_FIELDS[kind.field], n_bytes)


def _bytes_of(typed: Typed, pieces: Pieces) -> Array:
    if pieces.n == 1:
        return typed.stamp.map(np.dtype(np.uint8), pieces.start, (pieces.size,))
    return np.frombuffer(b"".join(_contents(typed, "")), np.uint8)


def _kind(proto: Any, shape: tuple[int, ...], places: tuple[Place, ...]) -> Kind:
    """The kind of a tensor, if its header can be true."""
    if any(place.too_many_dims for place in places) or len(shape) > _MAX_RANK:
        raise QuantValueError(f"malformed: more than {_MAX_RANK} dimensions")
    if any(length < 0 for length in shape):
        raise QuantValueError(f"malformed: its shape {shape} has a negative length")
    if proto.HasField("segment"):
        raise QuantValueError("it is one segment of a tensor; segments cannot be put together")
    if proto.data_type not in KINDS:
        raise QuantValueError(f"unknown element type {proto.data_type}; known are 1 to {max(KINDS)}")
    return KINDS[proto.data_type]


def _check_typed(kind: Kind, shape: tuple[int, ...], n_bytes: int, n_pieces: int) -> None:
    """Numbers of a typed field fit the shape; of varints it is only known that each takes a byte or more."""
    n = math.prod(shape)
    if kind is STRING:
        fits = n_pieces == n
    elif DATA_FIELDS[kind.field] in _FIXED:
        fits = n_bytes == kind.n_bytes(n)
    else:
        fits = kind_numbers(kind, n) <= n_bytes <= 10 * kind_numbers(kind, n)
    if not fits:
        raise QuantValueError(f"malformed: {_claim(shape, kind)}, but the file has {n_bytes} bytes of it")


def _claim(shape: tuple[int, ...], kind: Kind) -> str:
    return f"{shape} of {kind.name} takes {kind.n_bytes(math.prod(shape))} bytes"


def text(value: Any) -> str:
    """A protobuf string, which may hold bytes that are no UTF-8."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    found = str(value)
    return found if found.isascii() else found.encode("utf-8", "backslashreplace").decode("utf-8")
