"""``.safetensors`` files: eight bytes of header length, a JSON header, then the raw data of all tensors.

Read without the safetensors package, whose numpy reader lacks the 8-bit floats. A bad header spoils the file; a bad
entry spoils only its tensor, unless another entry claims the same bytes: then neither can be believed.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from perchq_widget.core.errors import QuantValueError
from perchq_widget.sources.base import TensorRecord, TensorSource
from perchq_widget.sources.decimals import clip_text
from perchq_widget.sources.file_bytes import FileStamp, entry_problem, overlapping
from perchq_widget.sources.json_walk import JsonError, JsonWalk, Pairs
from perchq_widget.sources.memory import as_array, dtype_problem, shape_problem
from perchq_widget.sources.model_config import config_of
from perchq_widget.sources.name_axes import axis_by_name

MAX_HEADER_BYTES = 100_000_000
"""The format's own limit."""

MAX_MALFORMED = 1000
"""Malformed entries that are listed; a header with more of them is refused, as listing takes more than writing."""

_MAX_METADATA = 100_000  # entries of __metadata__, which is passed over
_MAX_RANK = 64  # numpy's

_DTYPES: dict[str, np.dtype[Any]] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "F8_E4M3": np.dtype(ml_dtypes.float8_e4m3fn),
    "F8_E5M2": np.dtype(ml_dtypes.float8_e5m2),
    "F8_E4M3FNUZ": np.dtype(ml_dtypes.float8_e4m3fnuz),
    "F8_E5M2FNUZ": np.dtype(ml_dtypes.float8_e5m2fnuz),
    "F8_E8M0": np.dtype(ml_dtypes.float8_e8m0fnu),
    "C64": np.dtype("<c8"),
    "I64": np.dtype("<i8"),
    "U64": np.dtype("<u8"),
    "I32": np.dtype("<i4"),
    "U32": np.dtype("<u4"),
    "I16": np.dtype("<i2"),
    "U16": np.dtype("<u2"),
    "I8": np.dtype("i1"),
    "U8": np.dtype("u1"),
    "BOOL": np.dtype("?"),
}
_FLOAT4 = np.dtype(ml_dtypes.float4_e2m1fn)
_PACKED = {"F4": 4, "F6_E2M3": 6, "F6_E3M2": 6}


@dataclass(frozen=True, slots=True)
class _Entry:
    """One header entry. ``begin`` and ``end`` count from the start of the file; ``malformed`` says what is wrong."""

    name: str
    dtype: str
    stamp: FileStamp
    shape: tuple[int, ...] = ()
    begin: int = 0
    end: int = 0
    malformed: str | None = None

    def array(self) -> np.ndarray[Any, Any]:
        """The values as floats, mapped; F4 unpacked."""
        return as_array(self.unpacked() if self.dtype == "F4" else self.raw(), argument=self.name)

    def rows(self, start: int, stop: int) -> np.ndarray[Any, Any]:
        """The values of rows ``start`` to ``stop``; of a mapped array no others are read."""
        return self.array()[start:stop]

    def raw(self) -> np.ndarray[Any, Any]:
        """What the file holds: of packed and unknown types the bytes, uint8 of shape (n,)."""
        if self.dtype in _DTYPES:
            return self.stamp.map(_DTYPES[self.dtype], self.begin, self.shape)
        return self.stamp.map(np.dtype(np.uint8), self.begin, (self.end - self.begin,))

    def unpacked(self) -> np.ndarray[Any, Any]:
        """F4 as float4_e2m1fn, a byte each: the lower half of a byte comes first, as torch and OCP have it."""
        packed = self.raw()
        values = np.empty((packed.size, 2), np.uint8)
        np.bitwise_and(packed, 15, out=values[:, 0])
        np.right_shift(packed, 4, out=values[:, 1])
        floats: np.ndarray[Any, Any] = values.view(_FLOAT4).reshape(self.shape)
        return floats


def open_safetensors(path: Path) -> TensorSource:
    """The tensors of a ``.safetensors`` file in the order of its header; quantized ones whole, by what is beside it.

    QuantValueError if the header cannot be read; a tensor with a bad entry is listed as not applicable.
    """
    from perchq_widget.sources.checkpoints.recognize import fold_quantized

    config = config_of(path.parent)
    records = {record.name: record for record in safetensors_records(path, str(path), config.values)}
    folded = fold_quantized(records, config.values, str(path))
    return TensorSource(folded, name=str(path), kind=config.described(".safetensors file"))


def safetensors_records(path: Path, source: str, config: Mapping[str, Any] | None) -> list[TensorRecord]:
    """The plain tensors of a ``.safetensors`` file, for records of ``source``. Raises as :func:`open_safetensors`."""
    try:
        entries = _entries(FileStamp.of(path))
    except JsonError as error:
        raise QuantValueError(f"{path}: malformed: the header {error}") from error
    except OSError as error:
        raise QuantValueError(f"{path}: cannot be read ({error.strerror})") from error
    shared = overlapping((entry.begin, entry.end, entry.name) for entry in entries if entry.malformed is None)
    count = Counter(entry.name for entry in entries)
    return [_record(entry, _problem(entry, count[entry.name], shared), source, config) for entry in entries]


def _entries(stamp: FileStamp) -> list[_Entry]:
    header, data_start = _read_header(stamp)
    walk = JsonWalk(header)
    entries: list[_Entry] = []
    malformed = 0
    for name in walk.names():
        if name == "__metadata__":
            walk.skip_texts(_MAX_METADATA)
            continue
        entries.append(_entry(printable(name), walk.value(), data_start, stamp))
        malformed += entries[-1].malformed is not None
        if malformed > MAX_MALFORMED:
            raise JsonError(f"has more than {MAX_MALFORMED} malformed entries, the last {clip_text(repr(name), 80)}")
    walk.finish()
    return entries


def _read_header(stamp: FileStamp) -> tuple[str, int]:
    """The header's text, and where the data begins."""
    path = stamp.path
    with path.open("rb") as file:
        first = file.read(8)
        length = int.from_bytes(first, "little")
        if len(first) < 8 or length > stamp.size - 8:
            raise QuantValueError(f"{path}: malformed: the header is longer than the file ({stamp.size} bytes)")
        if length > MAX_HEADER_BYTES:
            raise QuantValueError(f"{path}: the header claims {length} bytes; the format allows {MAX_HEADER_BYTES}")
        raw = file.read(length)
    try:
        return raw.decode("utf-8"), 8 + length
    except UnicodeDecodeError as error:
        raise JsonError(f"is not JSON ({error})") from error


def _entry(name: str, value: Any, data_start: int, stamp: FileStamp) -> _Entry:
    fields = dict(value) if isinstance(value, Pairs) else {}
    dtype, shape, offsets = fields.get("dtype"), _sizes(fields.get("shape")), _sizes(fields.get("data_offsets"))
    if not isinstance(dtype, str) or shape is None or offsets is None or len(offsets) != 2 or len(fields) != len(value):
        return _Entry(name, "unknown", stamp, malformed=_NEEDS)
    dtype = dtype if dtype in _DTYPES else clip_text(repr(dtype)[1:-1], 40)  # of an unknown one, what can be shown
    if len(shape) > _MAX_RANK:
        return _Entry(
            name, dtype, stamp, malformed=f"malformed entry: {len(shape)} dimensions; {_MAX_RANK} are possible"
        )
    begin, end = data_start + offsets[0], data_start + offsets[1]
    return _Entry(name, dtype, stamp, shape, begin, end, _span_problem(dtype, shape, begin, end, stamp.size))


_NEEDS = "malformed entry: it needs one dtype, one shape and two data_offsets, whole numbers from 0"


def _sizes(value: Any) -> tuple[int, ...] | None:
    """A JSON list of whole numbers that a file or an array could have, else None (booleans are not numbers)."""
    if not isinstance(value, list) or not all(type(item) is int and 0 <= item < 2**63 for item in value):
        return None
    return tuple(value)


def _span_problem(dtype: str, shape: tuple[int, ...], begin: int, end: int, size: int) -> str | None:
    """Why an entry contradicts itself or the file."""
    if not begin <= end <= size:
        return f"malformed entry: its bytes {begin}..{end} are not in the file of {size} bytes"
    bits = _bits(dtype)
    if bits is not None and math.prod(shape) * bits != (end - begin) * 8:
        needed = math.prod(shape) * bits / 8
        return f"malformed entry: {shape} of {dtype} takes {needed:g} bytes, but its offsets span {end - begin}"
    return None


def _bits(dtype: str) -> int | None:
    return _DTYPES[dtype].itemsize * 8 if dtype in _DTYPES else _PACKED.get(dtype)


def _problem(entry: _Entry, count: int, shared: set[str]) -> str | None:
    """Why the tensor of an entry cannot be analysed."""
    unbelievable = entry_problem(count, entry.malformed, entry.name in shared)
    if unbelievable:
        return unbelievable
    problem = _type_problem(entry.dtype) or shape_problem(entry.shape)
    return f"it {problem}" if problem else None


@lru_cache(maxsize=64)
def _type_problem(dtype: str) -> str | None:
    """Why tensors of a type cannot be analysed, as what follows "it"."""
    if dtype == "F4":
        return None
    if dtype in _PACKED:
        return f"has the packed type {dtype}, whose order in the bytes no document fixes; convert it to float32 first"
    if dtype not in _DTYPES:
        return f"has the unknown dtype {dtype!r}; known are {', '.join([*_DTYPES, *_PACKED])}"
    return dtype_problem(_DTYPES[dtype])


def printable(name: str) -> str:
    """``name`` without the lone surrogates that JSON can spell and no UTF-8 export could hold."""
    return name if name.isascii() else name.encode("utf-8", "backslashreplace").decode("utf-8")


def _record(entry: _Entry, problem: str | None, source: str, config: Mapping[str, Any] | None) -> TensorRecord:
    axis = axis_by_name(entry.name, entry.shape, config)
    sound = entry.malformed is None
    return TensorRecord(
        entry.name,
        entry.shape,
        _type_name(entry.dtype),
        entry.end - entry.begin if sound else 0,
        axis.axis,
        axis.reason,
        not_applicable=problem,
        source=source,
        loader=entry.array if problem is None else None,
        row_loader=entry.rows if problem is None else None,
        raw_loader=entry.raw if sound else None,
    )


@lru_cache(maxsize=64)
def _type_name(dtype: str) -> str:
    known = _FLOAT4 if dtype == "F4" else _DTYPES.get(dtype)
    return dtype if known is None else known.name
