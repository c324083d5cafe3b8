"""Data that a model keeps in files beside it: found, or refused where they lie elsewhere."""

from __future__ import annotations

import re
import stat
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath

from perchq_widget.core.errors import QuantValueError
from perchq_widget.sources.decimals import clip_text
from perchq_widget.sources.file_bytes import FileStamp

_NUMBER = re.compile(r"[0-9]{1,19}")


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes of a file: the whole content of one tensor."""

    stamp: FileStamp
    offset: int
    size: int


@dataclass(frozen=True)
class DataFolder:
    """The folder of a model, where its data files may lie; each is looked at once."""

    model: Path
    _seen: dict[str, FileStamp | str] = field(default_factory=dict)

    def span(self, entries: dict[str, str], n_bytes: int) -> Span:
        """Where ``n_bytes`` lie by a tensor's external_data; QuantValueError says why they do not."""
        location = entries.get("location", "")
        if location not in self._seen:
            try:
                self._seen[location] = self._stamp(location)
            except QuantValueError as error:
                self._seen[location] = str(error)
        found = self._seen[location]
        if isinstance(found, str):
            raise QuantValueError(found)
        offset = _number(entries, "offset", 0)
        size = _number(entries, "length", n_bytes)
        if size != n_bytes:
            raise QuantValueError(f"malformed: it takes {n_bytes} bytes, but {size} are given in {_shown(location)}")
        if offset + size > found.size:
            raise QuantValueError(
                f"malformed: its bytes {offset}..{offset + size} are not in {_shown(location)} of {found.size} bytes"
            )
        return Span(found, offset, size)

    def _stamp(self, location: str) -> FileStamp:
        """The file that ``location`` names, if it lies in the model's folder."""
        if not location:
            raise QuantValueError("malformed: its data are outside the model, and no file is named")
        if _leaves(location):
            raise QuantValueError(
                f"its data file {_shown(location)} is not in the model's folder: refused; only a plain path inside "
                "that folder is followed"
            )
        try:
            found = (self.model.parent / location).resolve()
            folders = {self.model.resolve().parent, self.model.parent.resolve()}
            if not any(found.is_relative_to(folder) for folder in folders):
                raise QuantValueError(f"its data file {_shown(location)} is a link out of the model's folder: refused")
            status = found.stat()
            if not stat.S_ISREG(status.st_mode):
                raise QuantValueError(f"its data file {_shown(location)} is no regular file")
            return FileStamp.of(found)
        except FileNotFoundError as error:
            raise QuantValueError(f"its data file {_shown(location)} is missing; put it beside the model") from error
        except (OSError, ValueError, RuntimeError) as error:
            if isinstance(error, QuantValueError):
                raise
            raise QuantValueError(f"its data file {_shown(location)} cannot be read ({_cause(error)})") from error


def _leaves(location: str) -> bool:
    """Whether a path is absolute or goes up, read as on any system."""
    windows, posix = PureWindowsPath(location), PurePosixPath(location)
    absolute = posix.is_absolute() or bool(windows.drive or windows.root)
    return absolute or ".." in posix.parts or ".." in windows.parts


def _number(entries: dict[str, str], key: str, default: int) -> int:
    text = entries.get(key)
    if text is None:
        return default
    if not _NUMBER.fullmatch(text):
        raise QuantValueError(f"malformed: the {key} of its external data is {_shown(text)}, not a number of bytes")
    return int(text)


def _cause(error: Exception) -> str:
    return (error.strerror or type(error).__name__) if isinstance(error, OSError) else str(error)


def _shown(text: str) -> str:
    return repr(clip_text(text, 80))
