"""What is done with every damaged file, and what must hold: everything that a user's code would do with a good one."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import perchq_widget as pq
from perchq_widget.core.errors import QuantError
from perchq_widget.sources.base import TensorRecord

_MOST_RECORDS = 200
_FORBIDDEN = (
    "pickle.find_class", "os.system", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "subprocess.Popen",
    "os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.chmod", "os.chown",
    "shutil.", "tempfile.", "socket.", "urllib.", "ctypes.dlopen", "webbrowser.", "ftplib.", "http.",
)  # fmt: skip


class BrokenPromiseError(Exception):
    """Something held that must not, or the other way round."""


class Watch:
    """An audit hook, once installed for good, that complains of what a reader must never do while it is armed."""

    def __init__(self, folder: Path) -> None:
        self._folder = str(folder)
        self._allowed = tuple({sys.prefix, sys.base_prefix, str(Path(pq.__file__).parent), "/proc/", "/sys/", "/dev/"})
        self._armed = False
        self.seen: list[str] = []
        sys.addaudithook(self._hook)

    @contextlib.contextmanager
    def armed(self) -> Iterator[None]:
        """While one file is read."""
        self.seen, self._armed = [], True
        try:
            yield
        finally:
            self._armed = False
            if self.seen:
                raise BrokenPromiseError(f"a reader did what it must not: {', '.join(self.seen[:5])}")

    def _hook(self, event: str, args: tuple[Any, ...]) -> None:
        if not self._armed:
            return
        if event.startswith(_FORBIDDEN):
            self.seen.append(f"{event}{args!r:.200}")
        elif event == "exec" and self._from_outside(getattr(args[0], "co_filename", "<string>")):
            self.seen.append(f"exec of {args[0]!r:.200}")
        elif event == "open":
            self._opened(*args)

    def _from_outside(self, origin: str) -> bool:
        """Whether code is a text or lies beside the file; named tuples of a library that is imported late are not."""
        return origin.startswith(self._folder) or (origin.startswith("<string") and not _importing())

    def _opened(self, path: Any, mode: Any, flags: Any) -> None:
        if isinstance(path, int):
            return
        text = path.decode("utf-8", "replace") if isinstance(path, bytes) else str(path)
        writes = any(each in mode for each in "wax+") if isinstance(mode, str) else bool(flags & 3)
        plain, followed = os.path.abspath(text), os.path.realpath(text)  # noqa: PTH100 -- links stay
        if writes:
            self.seen.append(f"writing {text!r:.200}")
        elif not plain.startswith((self._folder, *self._allowed)):
            self.seen.append(f"reading {text!r:.200}")
        elif text.endswith(".data") and not followed.startswith(self._folder):  # what a user links is read, but this
            self.seen.append(f"following {text!r:.200}")


def _importing() -> bool:
    frame = sys._getframe()
    while frame.f_back is not None and not frame.f_code.co_filename.startswith("<frozen importlib"):
        frame = frame.f_back
    return frame.f_back is not None


def exercise(path: Path, *, analyze: bool) -> bool:
    """Whether the file was opened. Raises BrokenPromiseError, and what a reader lets out beside its own errors."""
    try:
        source = pq.open_source(path)
    except QuantError:
        return False
    repr(source), len(source), source.applicable()
    for name in list(source)[:_MOST_RECORDS]:
        _use(source[name], analyze)
    source.close()
    repr(source)
    return True


def _use(record: TensorRecord, analyze: bool) -> None:
    repr(record)
    record.name.encode()  # what cannot be written anywhere is no name
    _require(all(type(each) is int and each >= 0 for each in record.shape), record, "a shape of whole numbers from 0")
    _require(type(record.n_bytes) is int and record.n_bytes >= 0, record, "a size")
    _require(0 <= record.ch_axis < max(1, len(record.shape)), record, "a channel axis that it has")
    whole, some, raw = _tried(record.read), _tried(lambda: record.rows(0, 2)), _tried(record.raw)
    stored = _tried(record.stored)
    if raw is not None:
        raw.tobytes()
    if whole is not None:
        _require(whole.shape == record.shape, record, f"the shape it claims, not {whole.shape}")
    if whole is not None and some is not None:
        _require(some.shape == whole[:2].shape, record, f"rows of the shape of read()'s, not {some.shape}")
        _require(some.tobytes() == whole[:2].tobytes(), record, "rows that are those of read()")
    if stored is not None:
        _require(stored.codes.shape == record.shape, record, f"codes of its shape, not {stored.codes.shape}")
        _require(stored.decoded().shape == record.shape, record, "decoded values of its shape")
        axis = stored.qparams.ch_axis
        _require(axis is None or axis % len(record.shape) == record.ch_axis, record, "the axis of its parameters")
    if analyze and whole is not None and whole.size < 100_000:
        _tried(lambda: pq.analyze(record).summary)


def _tried(call: Callable[[], Any]) -> Any:
    """What a call gives, None where it refuses."""
    try:
        return call()
    except QuantError:
        return None


def _require(holds: bool, record: TensorRecord, what: str) -> None:
    if not holds:
        raise BrokenPromiseError(f"{record!r} does not have {what}")
