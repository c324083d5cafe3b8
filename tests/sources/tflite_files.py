"""TFLite models put together byte by byte, for tests that need no LiteRT, and for files that no library would write."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

KINDS = {
    "float32": 0, "float16": 1, "int32": 2, "uint8": 3, "int64": 4, "string": 5, "bool": 6, "int16": 7, "int8": 9,
    "float64": 10, "uint16": 16, "int4": 17, "bfloat16": 18, "int2": 19, "uint4": 20, "float8_e4m3fn": 21,
}  # fmt: skip
OPERATORS = {
    "ADD": 0, "CONV_2D": 3, "DEPTHWISE_CONV_2D": 4, "DEQUANTIZE": 6, "EMBEDDING_LOOKUP": 7, "FULLY_CONNECTED": 9,
    "MUL": 18, "GATHER": 36, "PRELU": 54, "TRANSPOSE_CONV": 67, "BATCH_MATMUL": 126, "CONV_3D": 132,
    "CONV_3D_TRANSPOSE": 141,
}  # fmt: skip
#: Of the operators that have options: the union's number.
OPTIONS = {
    "CONV_2D": 1, "DEPTHWISE_CONV_2D": 2, "FULLY_CONNECTED": 8, "ADD": 11, "MUL": 21, "GATHER": 23,
    "TRANSPOSE_CONV": 49, "BATCH_MATMUL": 101, "CONV_3D": 106, "CONV_3D_TRANSPOSE": 106, "DEQUANTIZE": 38,
    "EMBEDDING_LOOKUP": 0, "PRELU": 0,
}  # fmt: skip

#: Field number -> (letter of struct, number), text, array, table or list of tables.
Table = dict[int, Any]


@dataclass
class Flatbuffer:
    """A flatbuffer while it is written: each table before what it points to."""

    data: bytearray = field(default_factory=bytearray)

    def pad(self, to: int) -> int:
        self.data += bytes(-len(self.data) % to)
        return len(self.data)

    def point(self, at: int, target: int) -> None:
        struct.pack_into("<I", self.data, at, target - at)

    def table(self, fields: Table) -> int:
        """The position of a table, written with all that it points to."""
        n = max(fields, default=-1) + 1
        vtable = self.pad(8)
        self.data += bytes(4 + 2 * n)
        position = self.pad(8)
        self.data += struct.pack("<i", position - vtable)
        places = {number: self._place(value) for number, value in fields.items()}
        struct.pack_into("<HH", self.data, vtable, 4 + 2 * n, len(self.data) - position)
        for number, at in places.items():
            struct.pack_into("<H", self.data, vtable + 4 + 2 * number, at - position)
        for number, value in fields.items():
            if not isinstance(value, tuple):
                self.point(places[number], self.value(value))
        return position

    def _place(self, value: Any) -> int:
        letter, number = value if isinstance(value, tuple) else ("I", 0)
        at = self.pad(struct.calcsize(letter))
        self.data += struct.pack("<" + letter, number)
        return at

    def value(self, value: Any) -> int:
        if isinstance(value, dict):
            return self.table(value)
        if isinstance(value, list):
            return self.tables(value)
        raw = value if isinstance(value, bytes) else value.tobytes()
        self.pad(16)
        self.data += bytes(12)  # so that the items lie at a multiple of 16
        at = len(self.data)
        self.data += struct.pack("<I", len(value)) + raw + b"\0"
        return at

    def tables(self, items: list[Table]) -> int:
        at = self.pad(4)
        self.data += struct.pack("<I", len(items)) + bytes(4 * len(items))
        for index, item in enumerate(items):
            self.point(at + 4 + 4 * index, self.table(item))
        return at


def packed(codes: np.ndarray, bits: int) -> np.ndarray:
    """Codes of 4 or 2 bits as bytes, the first lowest."""
    flat = np.concatenate([codes.reshape(-1), np.zeros(-codes.size % (8 // bits), codes.dtype)])
    parts = (flat.astype(np.uint8) & ((1 << bits) - 1)).reshape(-1, 8 // bits)
    return np.bitwise_or.reduce(parts << np.arange(0, 8, bits, dtype=np.uint8), axis=1).astype(np.uint8)


class Model:
    """A model while it is put together. Tensors and operators go to the last subgraph."""

    def __init__(self) -> None:
        self.buffers: list[Table] = [{}]
        self.codes: list[str] = []
        self.subgraphs: list[Table] = []
        self.outside: list[tuple[int, bytes]] = []
        self.subgraph()

    def subgraph(self) -> None:
        self.subgraphs.append({0: [], 1: np.zeros(0, np.int32), 2: np.zeros(0, np.int32), 3: []})

    def tensor(
        self,
        shape: Sequence[int],
        kind: str = "float32",
        data: np.ndarray | bytes | None = None,
        *,
        name: str | bytes | None = None,
        scale: Sequence[float] = (),
        zero_point: Sequence[int] | None = None,
        axis: int = 0,
        outside: bool = False,
        **more: Any,
    ) -> int:
        """A tensor's number. ``more``: fields of its tables by name: ``blocks``, ``sparsity``, ``external``."""
        tensors = self.subgraphs[-1][0]
        name = f"t{len(tensors)}" if name is None else name
        made: Table = {0: np.array(shape, np.int32), 1: ("b", KINDS.get(kind, 99)), 2: ("I", 0)}
        made[3] = name if isinstance(name, bytes) else name.encode()
        if data is not None:
            made[2] = ("I", self.buffer(data if isinstance(data, bytes) else data.tobytes(), outside))
        if len(scale):
            zeros = [0] * len(scale) if zero_point is None else zero_point
            made[4] = {2: np.array(scale, np.float32), 3: np.array(zeros, np.int64), 6: ("i", axis)}
        if "blocks" in more:
            scales, size = more["blocks"]
            details = {0: ("i", scales), 1: ("i", -1), 2: ("i", size)}
            made[4] = {4: ("B", 2), 5: details, 6: ("i", axis)}
        if "details" in more:
            made[4] = {2: np.ones(1, np.float32), 4: ("B", more["details"]), 5: {}}
        if "sparsity" in more:
            made[6] = {}
        if "external" in more:
            made[10] = ("I", more["external"])
        tensors.append(made)
        return len(tensors) - 1

    def buffer(self, data: bytes, outside: bool = False) -> int:
        if outside:
            self.outside.append((len(self.buffers), data))
            self.buffers.append({1: ("Q", 1), 2: ("Q", 1)})
        else:
            self.buffers.append({0: data})
        return len(self.buffers) - 1

    def operation(
        self, name: str, inputs: Sequence[int], outputs: Sequence[int], options: Table | None = None
    ) -> None:
        if name not in self.codes:
            self.codes.append(name)
        made: Table = {
            0: ("I", self.codes.index(name)), 1: np.array(inputs, np.int32), 2: np.array(outputs, np.int32),
        }  # fmt: skip
        if OPTIONS[name]:
            made |= {3: ("B", OPTIONS[name]), 4: options or {}}
        self.subgraphs[-1][3].append(made)

    def between(self, inputs: Sequence[int], outputs: Sequence[int]) -> bytes:
        """The file, whose last subgraph goes from inputs to outputs."""
        self.subgraphs[-1] |= {1: np.array(inputs, np.int32), 2: np.array(outputs, np.int32)}
        once = self._written()
        if not self.outside:
            return once
        ends = bytearray(once + bytes(-len(once) % 16))
        for index, data in self.outside:
            self.buffers[index] = {1: ("Q", len(ends)), 2: ("Q", len(data))}
            ends += data + bytes(-len(data) % 16)
        return self._written() + bytes(ends[len(once) :])

    def _written(self) -> bytes:
        codes = [
            {0: ("b", min(OPERATORS[name], 127)), 2: ("i", VERSIONS.get(name, 1)), 3: ("i", OPERATORS[name])}
            for name in self.codes
        ]
        made = Flatbuffer(bytearray(struct.pack("<I", 0) + b"TFL3"))
        root = {0: ("I", 3), 1: codes, 2: self.subgraphs, 3: b"made for tests", 4: self.buffers}
        made.point(0, made.table(root))
        return bytes(made.data)


#: The versions of operators that take what the tests give them.
VERSIONS = {"DEQUANTIZE": 6, "FULLY_CONNECTED": 6}
