"""``.gguf`` files, as llama.cpp, whisper.cpp and others write them: floats mapped, quantized blocks as they are stored.

The header is followed by our own reader, which compares every claim with the file and leaves tokenizers unread. A bad
header spoils the file; a bad entry spoils only its tensor, unless another entry claims the same bytes.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from ..base import TensorRecord, TensorSource
from ..file_bytes import FileStamp, entry_problem, overlapping
from ..memory import as_array, dtype_problem, shape_problem
from .blocks import BlockType
from .header import MAX_DIMS, Header, TensorInfo
from .names import axis_of, note_of
from .parts import Part, Unusable, read_parts
from .stored import BLOCK_SIZES, FORMATS
from .values import Blocks

#: ggml's numbers of its types; the names are ggml's, too.
TYPES = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 6: "Q5_0", 7: "Q5_1", 8: "Q8_0", 9: "Q8_1", 10: "Q2_K", 11: "Q3_K",
    12: "Q4_K", 13: "Q5_K", 14: "Q6_K", 15: "Q8_K", 16: "IQ2_XXS", 17: "IQ2_XS", 18: "IQ3_XXS", 19: "IQ1_S",
    20: "IQ4_NL", 21: "IQ3_S", 22: "IQ2_S", 23: "IQ4_XS", 24: "I8", 25: "I16", 26: "I32", 27: "I64", 28: "F64",
    29: "IQ1_M", 30: "BF16", 34: "TQ1_0", 35: "TQ2_0", 39: "MXFP4", 40: "NVFP4", 41: "Q1_0",
}  # fmt: skip
_REMOVED = {
    4: "Q4_2", 5: "Q4_3", 31: "Q4_0_4_4", 32: "Q4_0_4_8", 33: "Q4_0_8_8", 36: "IQ4_NL_4_4", 37: "IQ4_NL_4_8",
    38: "IQ4_NL_8_8",
}  # fmt: skip
_PLAIN: dict[str, np.dtype[Any]] = {
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "F64": np.dtype("<f8"),
    "I8": np.dtype("i1"),
    "I16": np.dtype("<i2"),
    "I32": np.dtype("<i4"),
    "I64": np.dtype("<i8"),
}
_FILE_TYPES = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K", 11: "Q3_K_S",
    12: "Q3_K_M", 13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S", 17: "Q5_K_M", 18: "Q6_K", 19: "IQ2_XXS",
    20: "IQ2_XS", 21: "Q2_K_S", 22: "IQ3_XS", 23: "IQ3_XXS", 24: "IQ1_S", 25: "IQ4_NL", 26: "IQ3_S", 27: "IQ3_M",
    28: "IQ2_S", 29: "IQ2_M", 30: "IQ4_XS", 31: "IQ1_M", 32: "BF16", 36: "TQ1_0", 37: "TQ2_0", 38: "MXFP4",
    39: "NVFP4", 40: "Q1_0",
}  # fmt: skip
_SHOWN_UNUSABLE = 20


@dataclass(frozen=True, slots=True)
class _Entry:
    """A tensor's claims, worked out. ``begin`` counts from the start of its file; ``malformed`` says what is wrong."""

    name: str
    shape: tuple[int, ...]
    kind: BlockType | None
    number: int
    begin: int
    n_bytes: int
    malformed: str | None
    stamp: FileStamp


def open_gguf(path: Path) -> TensorSource:
    """The tensors of a ``.gguf`` file in the order of its header, or of all parts of the split model it belongs to.

    QuantValueError if the header cannot be followed; a tensor with a bad entry is listed as not applicable, and so is
    a part that is missing.
    """
    parts, unusable = read_parts(path)
    entries = [[_entry(info, part) for info in part.header.tensors] for part in parts]
    count = Counter(entry.name for each in entries for entry in each)
    architecture = next(filter(None, (part.header.text("general.architecture") for part in parts)), "")
    records = [_missing(each, path) for each in unusable[:_SHOWN_UNUSABLE]]
    for each in entries:
        shared = overlapping((entry.begin, entry.begin + entry.n_bytes, entry.name) for entry in each)
        for entry in each:
            problem = _problem(entry, count[entry.name], shared)
            note = note_of(entry.name, architecture, count)
            records.append(_record(entry, problem, note, path, readable=count[entry.name] == 1))
    return TensorSource(records, name=str(path), kind=_kind([part.header for part in parts], len(unusable)))


def _kind(headers: list[Header], n_unusable: int) -> str:
    """One line about the model: what the metadata says of it, and how many parts were found."""
    words = [".gguf file" if len(headers) + n_unusable == 1 else ".gguf files"]
    for key in ("general.architecture", "general.name"):
        words += next(([repr(header.text(key))] for header in headers if header.text(key)), [])
    types = [header.number("general.file_type") for header in headers]
    words += [f"mostly {_FILE_TYPES[each]}" for each in types if each in _FILE_TYPES][:1]
    if n_unusable:
        words.append(f"PARTS MISSING: {n_unusable}")
    return ", ".join(words)


def _missing(part: Unusable, path: Path) -> TensorRecord:
    return TensorRecord(part.name, (), "unknown", 0, 0, "not read", part.reason, str(path))


def _entry(info: TensorInfo, part: Part) -> _Entry:
    name = TYPES.get(info.kind, "")
    kind = BLOCK_SIZES.get(name)
    shape = tuple(reversed(info.dims))
    problem = _dims_problem(info)
    if problem is not None:
        shape = ()
    elif kind is not None and (shape[-1] if shape else 1) % kind.n_elements:
        problem = f"malformed entry: rows of {shape} in {name} are no multiple of its blocks of {kind.n_elements}"
    n_bytes = math.prod(shape) // kind.n_elements * kind.n_bytes if kind is not None and problem is None else 0
    begin = part.header.data_start + info.offset
    problem = problem or _span_problem(info.offset, begin, n_bytes, part)
    return _Entry(info.name, shape, kind, info.kind, begin, n_bytes if problem is None else 0, problem, part.stamp)


def _dims_problem(info: TensorInfo) -> str | None:
    if info.n_dims > MAX_DIMS:
        return f"malformed entry: {info.n_dims} dimensions; GGUF has {MAX_DIMS} at most"
    if any(size >= 2**63 for size in info.dims):
        return f"malformed entry: the dimensions {info.dims} (GGUF's order); no tensor has 2^63 in one"
    return None


def _span_problem(offset: int, begin: int, n_bytes: int, part: Part) -> str | None:
    """Why the bytes that an entry claims cannot be those of a tensor."""
    alignment, size = part.header.alignment, part.stamp.size
    if offset % alignment:
        return f"malformed entry: its offset {offset} is no multiple of the file's alignment {alignment}"
    if n_bytes and begin + n_bytes > size:
        return f"malformed entry: its bytes {begin}..{begin + n_bytes} are not in the file of {size} bytes"
    return None


def _problem(entry: _Entry, count: int, shared: set[str]) -> str | None:
    """Why the tensor of an entry cannot be analysed."""
    unbelievable = entry_problem(count, entry.malformed, entry.name in shared)
    if unbelievable:
        return unbelievable
    if entry.kind is None:
        return _unknown_type(entry.number)
    plain = _PLAIN.get(entry.kind.name)
    problem = shape_problem(entry.shape) or (dtype_problem(plain) if plain is not None else None)
    if problem:
        return f"it {problem}"
    if plain is None and entry.kind.name not in FORMATS:
        return f"it has the type {entry.kind.name}, which the gguf package does not decode; quantize the model again"
    return None


def _unknown_type(number: int) -> str:
    if number in _REMOVED:
        return f"it has the type {_REMOVED[number]}, which llama.cpp has removed; quantize the model again"
    return f"it has the unknown ggml type {number}; known are {', '.join(TYPES.values())}"


def _record(entry: _Entry, problem: str | None, note: str, path: Path, *, readable: bool) -> TensorRecord:
    """The record of an entry; ``readable``: its name is its own."""
    hint = axis_of(entry.name, entry.shape)
    plain = _PLAIN.get(entry.kind.name) if entry.kind is not None else None
    loaders: dict[str, Any] = {}
    if readable and entry.n_bytes and entry.kind is not None:
        loaders = _plain_loaders(entry, plain) if plain is not None else _block_loaders(entry, hint.axis)
    return TensorRecord(
        entry.name,
        entry.shape,
        _dtype_name(entry, plain),
        entry.n_bytes,
        hint.axis,
        hint.reason,
        not_applicable=problem,
        source=str(path),
        stored_as=_stored_as(entry.kind) if entry.kind is not None and plain is None else "",
        note=note,
        **loaders,
    )


def _dtype_name(entry: _Entry, plain: np.dtype[Any] | None) -> str:
    if plain is not None:
        return plain.name
    if entry.kind is None:
        return _REMOVED.get(entry.number, f"ggml type {entry.number}").lower()
    return FORMATS.get(entry.kind.name, entry.kind.name.lower())


def _stored_as(kind: BlockType) -> str:
    blocks = "super-blocks" if kind.n_elements == 256 else "blocks"
    return f"{kind.name}: {blocks} of {kind.n_elements}, {kind.bits_per_weight:g} bits per weight"


def _plain_loaders(entry: _Entry, dtype: np.dtype[Any]) -> dict[str, Any]:
    def raw() -> np.ndarray[Any, Any]:
        return np.asarray(entry.stamp.map(dtype, entry.begin, entry.shape))

    return {"raw_loader": raw, "loader": lambda: as_array(raw(), argument=entry.name)}


def _block_loaders(entry: _Entry, ch_axis: int) -> dict[str, Any]:
    assert entry.kind is not None
    blocks = Blocks(entry.name, entry.stamp, entry.begin, entry.kind, entry.shape, ch_axis)
    if entry.kind.name not in FORMATS:
        return {"raw_loader": blocks.raw}
    return {
        "loader": blocks.values,
        "row_loader": blocks.rows,
        "raw_loader": blocks.raw,
        "stored_loader": blocks.stored,
    }
