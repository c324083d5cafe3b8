"""``.safetensors`` files: eight bytes of header length, a JSON header, then the raw data of all tensors.

Read without the safetensors package, whose numpy reader lacks the 8-bit floats. A bad header spoils the file; a bad
entry spoils only its tensor, unless another entry claims the same bytes: then neither can be believed.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from perchq_widget.core.errors import QuantValueError
from perchq_widget.sources.axes import suggested_axis
from perchq_widget.sources.base import TensorRecord, TensorSource
from perchq_widget.sources.decimals import clip_text
from perchq_widget.sources.file_bytes import FileStamp
from perchq_widget.sources.memory import as_array, dtype_problem, shape_problem

MAX_HEADER_BYTES = 100_000_000
"""The format's own limit."""

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
_PACKED = {"F4": 4, "F6_E2M3": 6, "F6_E3M2": 6}


@dataclass(frozen=True)
class _Entry:
    """One header entry. ``begin`` and ``end`` count from the start of the file; ``malformed`` says what is wrong."""

    name: str
    dtype: str
    shape: tuple[int, ...] = ()
    begin: int = 0
    end: int = 0
    malformed: str | None = None


def open_safetensors(path: Path) -> TensorSource:
    """The tensors of a ``.safetensors`` file in the order of its header.

    QuantValueError if the header cannot be read; a tensor with a bad entry is listed as not applicable.
    """
    stamp = FileStamp.of(path)
    pairs, data_start = _read_header(path, stamp.size)
    tensors = [(_printable(name), value) for name, value in pairs if name != "__metadata__"]
    entries = [_entry(name, value, data_start, stamp.size) for name, value in tensors]
    overlapping = _overlapping(entries)
    count = Counter(name for name, _ in tensors)
    records = [_record(entry, _problem(entry, count[entry.name], overlapping), stamp) for entry in entries]
    return TensorSource(records, name=str(path), kind=".safetensors file")


def _read_header(path: Path, size: int) -> tuple[list[tuple[str, Any]], int]:
    """The header's pairs, repeated names included, and where the data starts."""
    with path.open("rb") as file:
        prefix = file.read(8)
        length = int.from_bytes(prefix, "little")
        if len(prefix) < 8 or length > size - 8:
            raise QuantValueError(f"{path}: malformed: the header would be longer than the file ({size} bytes)")
        if length > MAX_HEADER_BYTES:
            raise QuantValueError(f"{path}: the header claims {length} bytes; the format allows {MAX_HEADER_BYTES}")
        raw = file.read(length)
    try:
        header = json.loads(raw.decode("utf-8"), object_pairs_hook=_Pairs)
    except (ValueError, RecursionError) as error:
        raise QuantValueError(f"{path}: malformed: the header is not JSON ({error})") from error
    if not isinstance(header, _Pairs):
        raise QuantValueError(f"{path}: malformed: the header is not a JSON object")
    return list(header), 8 + length


class _Pairs(list[tuple[str, Any]]):
    """A JSON object as its pairs: a dict would hide repeated names."""


def _entry(name: str, value: Any, data_start: int, size: int) -> _Entry:
    fields = dict(value) if isinstance(value, _Pairs) else {}
    dtype, shape, offsets = fields.get("dtype"), _sizes(fields.get("shape")), _sizes(fields.get("data_offsets"))
    if not isinstance(dtype, str) or shape is None or offsets is None or len(offsets) != 2 or len(fields) != len(value):
        needs = "malformed entry: it needs one dtype, one shape and two data_offsets, whole numbers from 0"
        return _Entry(name, "unknown", malformed=needs)
    dtype = clip_text(dtype, 40)
    if len(shape) > _MAX_RANK:
        return _Entry(name, dtype, malformed=f"malformed entry: {len(shape)} dimensions; {_MAX_RANK} are possible")
    begin, end = data_start + offsets[0], data_start + offsets[1]
    return _Entry(name, dtype, shape, begin, end, _span_problem(dtype, shape, begin, end, size))


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


def _overlapping(entries: list[_Entry]) -> set[str]:
    """The names of tensors whose bytes another tensor claims too."""
    spans = [entry for entry in entries if entry.malformed is None and entry.begin < entry.end]
    spans.sort(key=lambda entry: entry.begin)
    found: set[str] = set()
    widest: _Entry | None = None
    for entry in spans:
        if widest is not None and entry.begin < widest.end:
            found |= {entry.name, widest.name}
        widest = entry if widest is None or entry.end > widest.end else widest
    return found


def _problem(entry: _Entry, count: int, overlapping: set[str]) -> str | None:
    """Why the tensor of an entry cannot be analysed."""
    if count > 1:
        return "malformed: the header names it more than once"
    if entry.malformed is not None:
        return entry.malformed
    if entry.name in overlapping:
        return "malformed entry: another tensor claims the same bytes"
    if entry.dtype in _PACKED:
        return f"it has the packed type {entry.dtype}; unpack or dequantize it to float32 first"
    if entry.dtype not in _DTYPES:
        return f"unknown dtype {entry.dtype!r}; known are {', '.join([*_DTYPES, *_PACKED])}"
    problem = dtype_problem(_DTYPES[entry.dtype]) or shape_problem(entry.shape)
    return f"it {problem}" if problem else None


def _printable(name: str) -> str:
    """``name`` without the lone surrogates that JSON can spell and no UTF-8 export could hold."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


def _record(entry: _Entry, problem: str | None, stamp: FileStamp) -> TensorRecord:
    dtype = _DTYPES.get(entry.dtype)
    return TensorRecord(
        entry.name,
        entry.shape,
        entry.dtype if dtype is None else dtype.name,
        entry.end - entry.begin if entry.malformed is None else 0,
        *suggested_axis(entry.shape),
        not_applicable=problem,
        source=str(stamp.path),
        loader=None if dtype is None else lambda: as_array(stamp.map(dtype, entry.begin, entry.shape)),
    )
