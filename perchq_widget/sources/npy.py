"""numpy's own files: ``.npy`` memory-mapped, ``.npz`` member by member. Never unpickled.

Headers are claims: sizes are compared with the file before any memory is allocated for them.
"""

from __future__ import annotations

import math
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from perchq_widget.core.errors import QuantValueError
from perchq_widget.sources.axes import suggested_axis
from perchq_widget.sources.base import TensorRecord, TensorSource
from perchq_widget.sources.file_bytes import FileStamp
from perchq_widget.sources.memory import as_array, dtype_problem, shape_problem

_Loader = Callable[[], np.ndarray[Any, Any]]

_MAX_DEFLATE_RATIO = 1040  # deflate cannot compress further than 1032:1
_METHODS = {zipfile.ZIP_STORED: 1, zipfile.ZIP_DEFLATED: _MAX_DEFLATE_RATIO}
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

    def problem(self, available: int) -> str | None:
        """Why the data cannot be used, if ``available`` bytes follow the header."""
        if self.dtype.hasobject:
            return "it holds Python objects (a pickle), which are not read; save an array of floats"
        if self.dtype.kind == "V" and self.dtype.names is None:
            return _VOID.format(self.dtype.str)
        if self.n_bytes != available:
            return f"malformed: the header claims {self.n_bytes} bytes of data for {self.shape}, {available} are there"
        problem = dtype_problem(self.dtype) or shape_problem(self.shape)
        return f"it {problem}" if problem else None


def open_npy(path: Path) -> TensorSource:
    """The one tensor of an ``.npy`` file, named after the file. QuantValueError if it cannot be analysed."""
    stamp = FileStamp.of(path)
    with path.open("rb") as file:
        header = _read_header(file, str(path))
    problem = header.problem(stamp.size - header.offset)
    if problem:
        raise QuantValueError(f"{path}: {problem}")
    record = _record(path.stem, header, None, path, lambda: _map(stamp, header, path.stem))
    return TensorSource([record], name=str(path), kind=".npy file")


def open_npz(path: Path) -> TensorSource:
    """The members of an ``.npz`` archive, stored or deflated. A malformed member spoils only itself."""
    stamp = FileStamp.of(path)
    try:
        with zipfile.ZipFile(path) as archive:
            names = Counter(info.filename for info in archive.infolist())
            records = [_member(archive, info, stamp, names) for info in archive.infolist()]
    except (zipfile.BadZipFile, NotImplementedError, OSError, ValueError) as error:
        raise QuantValueError(f"{path}: is no .npz archive that can be read ({error})") from error
    return TensorSource(records, name=str(path), kind=".npz file")


def _map(stamp: FileStamp, header: _Header, name: str) -> np.ndarray[Any, Any]:
    return as_array(stamp.map(header.dtype, header.offset, header.shape, fortran=header.fortran), argument=name)


def _read_header(file: IO[bytes], name: str) -> _Header:
    """The header at the start of ``file``; QuantValueError naming ``name`` if there is none that can be trusted."""
    try:
        version = np.lib.format.read_magic(file)
        read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(version)
        if read is None:
            raise QuantValueError(
                f"{name}: .npy version {version[0]}.{version[1]} is for named fields, not for tensors"
            )
        shape, fortran, dtype = read(file)
    except (ValueError, EOFError, MemoryError, RecursionError, SyntaxError, TypeError, zlib.error) as error:
        if isinstance(error, QuantValueError):
            raise
        raise QuantValueError(f"{name}: malformed .npy header ({error})") from error
    if any(isinstance(size, bool) or size < 0 for size in shape):
        raise QuantValueError(f"{name}: malformed .npy header (shape {shape})")
    return _Header(dtype, tuple(int(size) for size in shape), bool(fortran), file.tell())


def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, stamp: FileStamp, names: Counter[str]) -> TensorRecord:
    name = info.filename.removesuffix(".npy")
    problem = _member_problem(info, stamp.size, names)
    header = _Header(np.dtype(np.uint8), (), False, 0)
    if problem is None:
        try:
            with archive.open(info) as file:
                header = _read_header(file, name)
            problem = header.problem(info.file_size - header.offset)
        except (QuantValueError, zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, zlib.error) as error:
            problem = f"it cannot be read ({error})"
    return _record(name, header, problem, stamp.path, lambda: _read_member(stamp, info.filename, header))


def _member_problem(info: zipfile.ZipInfo, archive_size: int, names: Counter[str]) -> str | None:
    if not info.filename.endswith(".npy"):
        return "it is not an array (.npy)"
    if names[info.filename] > 1:
        return "it is in the archive twice under this name"
    ratio = _METHODS.get(info.compress_type)
    if ratio is None:
        return f"it is compressed by method {info.compress_type}; only stored and deflated members are read"
    if info.compress_size > archive_size or info.file_size > ratio * (info.compress_size + 1):
        return "malformed: it claims more bytes than the archive can hold"
    return None


def _read_member(stamp: FileStamp, filename: str, header: _Header) -> np.ndarray[Any, Any]:
    stamp.check()
    try:
        with zipfile.ZipFile(stamp.path) as archive, archive.open(filename) as file:
            file.read(header.offset)
            data = file.read(header.n_bytes)
    except (zipfile.BadZipFile, OSError, EOFError, RuntimeError, zlib.error) as error:
        raise QuantValueError(f"{stamp.path}: {filename!r} cannot be read ({error})") from error
    if len(data) != header.n_bytes:
        raise QuantValueError(f"{stamp.path}: {filename!r} ends after {len(data)} of {header.n_bytes} bytes")
    array = np.frombuffer(data, header.dtype).reshape(header.shape, order="F" if header.fortran else "C")
    return as_array(array, argument=filename)


def _record(name: str, header: _Header, problem: str | None, path: Path, loader: _Loader) -> TensorRecord:
    axis = suggested_axis(header.shape)
    return TensorRecord(name, header.shape, header.dtype.name, header.n_bytes, *axis, problem, str(path), loader)
