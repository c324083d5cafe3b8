"""numpy's own files: ``.npy`` memory-mapped, ``.npz`` member by member. Never unpickled.

Headers are claims: sizes are compared with the file before any memory is allocated for them.
"""

from __future__ import annotations

import io
import math
import struct
import warnings
import zipfile
import zlib
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from tokenize import TokenError
from typing import IO, Any

import numpy as np

from perchq_widget.core.errors import QuantValueError
from perchq_widget.sources.base import Loader, RowLoader, TensorRecord, TensorSource
from perchq_widget.sources.decimals import clip_text
from perchq_widget.sources.file_bytes import FileStamp, overlapping
from perchq_widget.sources.memory import as_array, dtype_problem, shape_problem
from perchq_widget.sources.name_axes import axis_by_name

MAX_DIRECTORY_BYTES = 1 << 24
"""Larger directories of archives are refused; 100,000 members take some 10 million bytes."""

_MAX_DEFLATE_RATIO = 1040  # deflate cannot compress further than 1032:1
_BOMB_RATIO, _BOMB_BYTES = 200, 1 << 26  # weights shrink by a tenth; only zeros shrink like this
_CHUNK = 1 << 20
_LOCAL_HEADER = 30  # bytes ahead of a member's name
_MAX_HEADER = 10_000  # numpy reads no longer ones as untrusted
_UNREADABLE = (
    ValueError, EOFError, MemoryError, RecursionError, SyntaxError, TypeError, RuntimeError, zlib.error, struct.error,
    zipfile.BadZipFile, NotImplementedError, OverflowError, KeyError, OSError, TokenError,
)  # fmt: skip
"""What zipfile and numpy raise for an archive, member or header that is damaged."""
_METHODS = {zipfile.ZIP_STORED: 1, zipfile.ZIP_DEFLATED: _MAX_DEFLATE_RATIO}
_MAX_RANK = 64  # numpy's
_VOID = (
    "it was saved with a type that .npy cannot name (raw {0}), perhaps bfloat16; save it as .safetensors, or load it "
    "with numpy and give array.view(ml_dtypes.bfloat16)"
)


@dataclass(frozen=True)
class _Header:
    """What an ``.npy`` header claims; ``offset`` is where the data begins."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    fortran: bool
    offset: int

    @property
    def n_bytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize

    def damage(self, available: int) -> str | None:
        """Why nothing can be read, if ``available`` bytes follow the header."""
        if self.dtype.hasobject:
            return "it holds Python objects (a pickle), which are not read; save an array of floats"
        if self.n_bytes != available:
            return f"malformed: the header claims {self.n_bytes} bytes of data for {self.shape}, {available} are there"
        return None

    def problem(self) -> str | None:
        """Why what can be read cannot be analysed."""
        if self.dtype.kind == "V" and self.dtype.names is None:
            return _VOID.format(self.dtype.str)
        problem = dtype_problem(self.dtype) or shape_problem(self.shape)
        return f"it {problem}" if problem else None


_NOTHING = _Header(np.dtype(np.uint8), (), False, 0)


def open_npy(path: Path) -> TensorSource:
    """The one tensor of an ``.npy`` file, named after the file. QuantValueError if the file is malformed."""
    stamp = FileStamp.of(path)
    with path.open("rb") as file:
        header = _read_header(file, str(path))
    damage = header.damage(stamp.size - header.offset)
    if damage:
        raise QuantValueError(f"{path}: {damage}")

    def raw() -> np.ndarray[Any, Any]:
        return stamp.map(header.dtype, header.offset, header.shape, fortran=header.fortran)

    record = _record(path.stem, header, header.problem(), path, raw)
    return TensorSource([record], name=str(path), kind=".npy file")


def open_npz(path: Path) -> TensorSource:
    """The members of an ``.npz`` archive, stored or deflated. A malformed member spoils only itself."""
    stamp = FileStamp.of(path)
    try:
        _check_directory(stamp)
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
            names = Counter(map(_name, infos))
            shared = overlapping(map(_span, infos))
            records = [_member(archive, info, stamp, names, shared) for info in infos]
    except _UNREADABLE as error:
        if isinstance(error, QuantValueError):
            raise
        raise QuantValueError(f"{path}: is no .npz archive that can be read ({error})") from error
    return TensorSource(records, name=str(path), kind=".npz file")


def _check_directory(stamp: FileStamp) -> None:
    """Refuse a directory that would take far more memory as Python objects than the archive has bytes."""
    with stamp.path.open("rb") as file:
        file.seek(max(0, stamp.size - (1 << 16) - 100))
        tail = file.read()
    end = tail.rfind(b"PK\x05\x06")
    wide = tail.rfind(b"PK\x06\x06", 0, max(end, 0))
    sizes = [tail[end + 12 : end + 16] if end >= 0 else b"", tail[wide + 40 : wide + 48] if wide >= 0 else b""]
    # Without a wide record zipfile takes the narrow size as it is, and finds that the file is shorter.
    claimed = int.from_bytes(sizes[1] or sizes[0], "little")
    if MAX_DIRECTORY_BYTES < claimed <= stamp.size:
        raise QuantValueError(
            f"{stamp.path}: the archive's directory has {claimed} bytes; up to {MAX_DIRECTORY_BYTES} are read"
        )


def _name(info: zipfile.ZipInfo) -> str:
    return info.filename.removesuffix(".npy")


def _span(info: zipfile.ZipInfo) -> tuple[int, int, int]:
    """Where a member begins and ends. Members that share bytes can make a small archive expand without end."""
    begin = info.header_offset
    return begin, begin + _LOCAL_HEADER + len(info.orig_filename) + info.compress_size, begin


def _read_header(file: IO[bytes], name: str) -> _Header:
    """The header at the start of ``file``; QuantValueError naming ``name`` if there is none that can be trusted."""
    try:
        version = np.lib.format.read_magic(file)
        if version not in ((1, 0), (2, 0)):
            raise QuantValueError(
                f"{name}: .npy version {version[0]}.{version[1]} is for named fields, not for tensors"
            )
        size = file.read(2 * version[0])
        length = int.from_bytes(size, "little")
        if length > _MAX_HEADER:
            raise QuantValueError(f"{name}: malformed .npy header ({length} bytes; {_MAX_HEADER} are read at most)")
        text = file.read(length)
        shape, fortran, dtype = _parsed(version[0], size + text)
    except _UNREADABLE as error:
        if isinstance(error, QuantValueError):
            raise
        raise QuantValueError(f"{name}: malformed .npy header ({clip_text(str(error), 300)})") from error
    if len(shape) > _MAX_RANK or any(isinstance(each, bool) or not 0 <= each < 2**63 for each in shape):
        raise QuantValueError(f"{name}: malformed .npy header (shape {clip_text(str(shape), 80)})")
    return _Header(dtype, tuple(int(each) for each in shape), bool(fortran), 8 + len(size) + len(text))


@lru_cache(maxsize=256)  # a model's tensors have few different shapes
def _parsed(version: int, raw: bytes) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    read = np.lib.format.read_array_header_1_0 if version == 1 else np.lib.format.read_array_header_2_0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of headers that Python 2 wrote
        return read(io.BytesIO(raw))


def _member(
    archive: zipfile.ZipFile, info: zipfile.ZipInfo, stamp: FileStamp, names: Counter[str], shared: set[int]
) -> TensorRecord:
    name, header = _name(info), _NOTHING
    damage = _member_damage(info, stamp.size, names, shared)
    if damage is None:
        try:
            with archive.open(info) as file:
                header = _read_header(file, repr(clip_text(name, 80)))
            damage = header.damage(info.file_size - header.offset)
        except _UNREADABLE as error:
            damage = f"it cannot be read ({clip_text(str(error), 300)})"
    if damage is not None:
        return _record(name, header, damage, stamp.path)

    def raw() -> np.ndarray[Any, Any]:
        return _read_member(stamp, info.filename, header)

    def rows(start: int, stop: int) -> np.ndarray[Any, Any]:
        return _read_member(stamp, info.filename, header, (start, stop))

    return _record(name, header, header.problem(), stamp.path, raw, None if header.fortran else rows)


def _member_damage(info: zipfile.ZipInfo, archive_size: int, names: Counter[str], shared: set[int]) -> str | None:
    if names[_name(info)] > 1:
        return "it is in the archive twice under this name"
    if not info.filename.endswith(".npy"):
        return "it is not an array (.npy)"
    ratio = _METHODS.get(info.compress_type)
    if ratio is None:
        return f"it is compressed by method {info.compress_type}; only stored and deflated members are read"
    if info.compress_size > archive_size or info.file_size > ratio * (info.compress_size + 1):
        return "malformed: it claims more bytes than the archive can hold"
    if info.header_offset in shared:
        return "malformed: another member claims the same bytes of the archive"
    if info.file_size > max(_BOMB_BYTES, _BOMB_RATIO * info.compress_size):
        return (
            f"it would expand from {info.compress_size} to {info.file_size} bytes, as only zeros or a zip bomb do; if "
            "it is an array of yours, save it with numpy.savez"
        )
    return None


def _read_member(
    stamp: FileStamp, filename: str, header: _Header, rows: tuple[int, int] | None = None
) -> np.ndarray[Any, Any]:
    """A whole member, or the rows from one to another of an array in C order."""
    stamp.check()
    shape = header.shape if rows is None else (rows[1] - rows[0], *header.shape[1:])
    shown = repr(clip_text(filename, 80))
    begin = 0 if rows is None else rows[0] * math.prod(header.shape[1:]) * header.dtype.itemsize
    try:
        data = np.empty(math.prod(shape) * header.dtype.itemsize, np.uint8)
        with zipfile.ZipFile(stamp.path) as archive, archive.open(filename) as file:
            _pass(file, header.offset + begin)
            done = _fill(file, data)
            file.read(1)  # at its end the member's checksum is compared
        if done != data.size:
            raise EOFError(f"it ends after {done} of {data.size} bytes")
        return data.view(header.dtype).reshape(shape, order="F" if header.fortran else "C")
    except _UNREADABLE as error:
        raise QuantValueError(f"{stamp.path}: {shown} cannot be read ({error})") from error


def _pass(file: IO[bytes], count: int) -> None:
    while count and (passed := len(file.read(min(count, _CHUNK)))):
        count -= passed


def _fill(file: IO[bytes], target: np.ndarray[Any, Any]) -> int:
    """Read until ``target`` is full or the file ends; how many bytes it were."""
    done = 0
    while done < len(target) and (chunk := file.read(min(len(target) - done, _CHUNK))):
        target[done : done + len(chunk)] = np.frombuffer(chunk, np.uint8)
        done += len(chunk)
    return done


def _record(
    name: str,
    header: _Header,
    problem: str | None,
    path: Path,
    raw: Loader | None = None,
    rows: RowLoader | None = None,
) -> TensorRecord:
    axis = axis_by_name(name, header.shape)
    usable = raw if problem is None else None

    def load() -> np.ndarray[Any, Any]:
        assert usable is not None
        return as_array(usable(), argument=name)

    def load_rows(start: int, stop: int) -> np.ndarray[Any, Any]:
        if rows is None:
            return load()[start:stop]
        found = rows(start, stop)
        return found if found.dtype.isnative else found.astype(found.dtype.newbyteorder("="))

    return TensorRecord(
        name,
        header.shape,
        "unknown" if header is _NOTHING else header.dtype.name,
        0 if header is _NOTHING else header.n_bytes,
        axis.axis,
        axis.reason,
        not_applicable=problem,
        source=str(path),
        loader=None if usable is None else load,
        row_loader=None if usable is None else load_rows,
        raw_loader=raw,
    )
