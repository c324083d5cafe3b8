"""The bytes of a model: protobuf's wire format, walked once to copy everything but the weights.

What is copied, the skeleton, is again a model, which the onnx package parses; so protobuf itself settles what merged
messages and repeated fields mean. Each tensor of the skeleton carries in ``int64_data`` the numbers of the
:class:`Place` s in the file that it was made from, each attribute with long lists the number of its place as
``doc_string``.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from perchq_widget.core.errors import QuantValueError

#: An open file's bytes, or some of them: indexing gives integers, slicing copies.
Bytes = mmap.mmap | bytes
#: (field number, wire type, where the field starts, where its content starts, where it ends)
Field = tuple[int, int, int, int, int]

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
#: TensorProto's fields that hold data -> the wire type of one number of theirs
RAW_DATA = 9
DATA_FIELDS = {4: FIXED32, 5: VARINT, 6: BYTES, 7: VARINT, RAW_DATA: BYTES, 10: FIXED64, 11: VARINT}
#: AttributeProto's floats, ints and strings
LIST_FIELDS = {7: FIXED32, 8: VARINT, 9: BYTES}

#: Message -> its fields that the skeleton keeps -> the message they hold, "" for those that are copied as they are.
KEPT: dict[str, dict[int, str]] = {
    "model": {7: "graph", 8: "", 25: "function"},
    "function": {1: "", 7: "node", 10: ""},
    "graph": {1: "node", 5: "tensor", 11: "value", 15: "sparse"},
    "value": {1: ""},
    "node": {1: "", 2: "", 3: "", 4: "", 5: "attribute", 7: ""},
    "attribute": {1: "", 2: "", 3: "", 4: "", 5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 20: "", 22: "sparse"},
    "sparse": {1: "tensor", 3: ""},
    "tensor": {1: "", 2: "", 3: "", 8: "", 13: "", 14: ""},
}
MAX_DEPTH = 90  # protobuf's own limit is 100
MAX_FIELDS = 4_000_000
#: Of nodes, attributes and tensors, and of tensors: at most so many, and no more than a file of its size can describe.
MAX_MESSAGES, MESSAGE_BYTES = 1_000_000, 4
MAX_TENSORS, TENSOR_BYTES = 100_000, 16
_A_FEW = 2000
MAX_DIMS_BYTES = 1024
MAX_LIST_BYTES = 4096


class WireError(ValueError):
    """Bytes that are no message of this kind."""


@dataclass(slots=True)
class Pieces:
    """A field of a message that holds data: how many pieces, of how many bytes, and where the last one lies."""

    n: int = 0
    n_bytes: int = 0
    start: int = 0
    size: int = 0

    def add(self, start: int, stop: int) -> None:
        """One more piece."""
        self.n, self.n_bytes = self.n + 1, self.n_bytes + stop - start
        self.start, self.size = start, stop - start


@dataclass(slots=True)
class Place:
    """A message in the file that holds data, from ``start`` to ``end``. ``too_many_dims``: they were left out."""

    start: int
    end: int
    data: dict[int, Pieces] = field(default_factory=dict)
    too_many_dims: bool = False


@dataclass(frozen=True, slots=True)
class Skeleton:
    """A serialized model without its weights, and where those are in the file."""

    model: bytes
    places: list[Place]


def read_skeleton(path: Path) -> Skeleton:
    """Walk the file at ``path``; WireError if it is not a protobuf message, or one beyond what a model has."""
    with path.open("rb") as file:
        try:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except ValueError as error:
            raise WireError("the file is empty") from error
        with mapped as data:
            walk = _Walk(data)
            return Skeleton(bytes(walk.message("model", 0, len(data), 0)), walk.places)


def pieces_of(path: Path, places: tuple[Place, ...], number: int, one: int) -> list[bytes]:
    """The contents of a field, of wire type ``one`` or packed, of a message that lies in several places.

    Joined, they are what the numbers would be if they were packed in one.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return [
            data[begin:end]
            for place in places
            for found, wire, _, begin, end in fields(data, place.start, place.end)
            if found == number and wire in (one, BYTES)
        ]


def fields(data: Bytes, start: int, stop: int) -> Iterator[Field]:
    """The fields of the message between two offsets. (Short numbers are read here: calls are most of the time.)"""
    at = start
    while at < stop:
        first, key, at = at, data[at], at + 1
        if key > 0x7F:
            key, at = varint(data, first, stop)
        wire = key & 7
        if wire == BYTES:
            size = data[at] if at < stop else 0x80
            at += 1
            if size > 0x7F:
                size, at = varint(data, at - 1, stop)
            end = at + size
        elif wire == VARINT:
            _, end = varint(data, at, stop)
        elif wire in (FIXED32, FIXED64):
            end = at + (4 if wire == FIXED32 else 8)
        else:
            raise WireError(f"byte {first} starts a field of wire type {wire}, which no model has")
        if end > stop:
            raise WireError(f"the field at byte {first} would end at byte {end}, beyond {stop}, where its message ends")
        if not 8 <= key < 1 << 32:
            raise WireError(f"byte {first} starts a field of number {key >> 3}, which cannot be")
        yield key >> 3, wire, first, at, end
        at = end


def varint(data: Bytes, at: int, stop: int) -> tuple[int, int]:
    """The number at ``at`` and where it ends."""
    value = shift = 0
    for place in range(at, min(at + 10, stop)):
        byte = data[place]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place + 1
        shift += 7
    raise WireError(f"the number at byte {at} does not end")


def encoded(value: int) -> bytes:
    """A number as the wire has it."""
    if value <= 0x7F:
        return bytes((value,))
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


class _Walk:
    """One pass over a file's messages. ``places`` fills as it goes."""

    def __init__(self, data: Bytes) -> None:
        self.data = data
        self.places: list[Place] = []
        self._left, self._n_messages = MAX_FIELDS, 0
        self._most_messages = min(MAX_MESSAGES, _A_FEW + len(data) // MESSAGE_BYTES)
        self._most_tensors = min(MAX_TENSORS, _A_FEW + len(data) // TENSOR_BYTES)

    def message(self, kind: str, start: int, stop: int, depth: int) -> bytearray:
        """The skeleton of the message of ``kind`` between two offsets."""
        self._count(depth)
        if kind == "tensor":
            return self._tensor(start, stop)
        out, kept, lists = bytearray(), KEPT[kind], Place(start, stop)
        for number, wire, first, begin, end in fields(self.data, start, stop):
            self._spend()
            inner = kept.get(number)
            if inner and wire == BYTES:
                content = self.message(inner, begin, end, depth + 1)
                out += encoded(number << 3 | BYTES) + encoded(len(content)) + content
            elif inner == "" and not (kind == "attribute" and end - begin > MAX_LIST_BYTES):
                out += self.data[first:end]
            elif kind == "attribute" and _holds_data(LIST_FIELDS, number, wire):
                lists.data.setdefault(number, Pieces()).add(begin, end)
        if lists.data:
            out += self._lists(lists)
        return out

    def _lists(self, place: Place) -> bytes:
        """An attribute's lists as they are if they are short, else where they lie."""
        if sum(pieces.n_bytes for pieces in place.data.values()) <= MAX_LIST_BYTES:
            found = fields(self.data, place.start, place.end)
            return b"".join(self.data[first:end] for number, _, first, _, end in found if number in place.data)
        self.places.append(place)
        mark = str(len(self.places) - 1).encode()
        return encoded(13 << 3 | BYTES) + encoded(len(mark)) + mark

    def _tensor(self, start: int, stop: int) -> bytearray:
        out, place, dims = bytearray(), Place(start, stop), Pieces()
        for number, wire, first, begin, end in fields(self.data, start, stop):
            self._spend()
            if _holds_data(DATA_FIELDS, number, wire):
                place.data.setdefault(number, Pieces()).add(begin, end)
            elif number == 1 and dims.n_bytes > MAX_DIMS_BYTES - (end - begin):
                place.too_many_dims = True
            elif number in KEPT["tensor"]:
                out += self.data[first:end]
                if number == 1:
                    dims.add(begin, end)
        if len(self.places) >= self._most_tensors:
            raise WireError(f"it has more than {self._most_tensors} tensors")
        self.places.append(place)
        mark = encoded(len(self.places) - 1)
        return out + encoded(7 << 3 | BYTES) + encoded(len(mark)) + mark

    def _spend(self) -> None:
        self._left -= 1
        if not self._left:
            raise WireError(f"it has more than {MAX_FIELDS} fields")

    def _count(self, depth: int) -> None:
        self._n_messages += 1
        if self._n_messages > self._most_messages:
            raise WireError(f"it has more than {self._most_messages} nodes, attributes and tensors")
        if depth > MAX_DEPTH:
            raise WireError(f"its messages are nested more than {MAX_DEPTH} deep")


def _holds_data(known: dict[int, int], number: int, wire: int) -> bool:
    """Whether a field is one of those ``known``: its numbers one by one or, as BYTES, packed."""
    return number in known and wire in (known[number], BYTES)


def malformed(path: Path, error: Exception) -> QuantValueError:
    """The error for a file whose bytes are no model."""
    return QuantValueError(f"{path}: malformed: this is no ONNX model ({error})")
