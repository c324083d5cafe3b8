"""Questions about paths that every reader asks: is this text a path, does the file exist."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from perchq_widget.core.errors import QuantValueError

_PICKLE = re.compile(rb"\x80[\x02-\x05]")  # by the protocol that it begins with
_PICKLES = (".pt", ".pth", ".ckpt", ".bin")  # these have a reader that tells torch's own from others


class MissingFileError(QuantValueError, FileNotFoundError):
    """A path names no file. Both a QuantValueError and a FileNotFoundError."""


def names_a_file(text: str, suffixes: Sequence[str]) -> bool:
    """True if ``text`` means a path: no line break, and an existing file or one of ``suffixes`` at its end."""
    if "\n" in text or "\r" in text or not text.strip():
        return False
    return text.lower().endswith(tuple(suffixes)) or _is_file(text)


def existing_file(path: str | os.PathLike[str], argument: str) -> Path:
    """``path`` as a Path to a regular file; raises MissingFileError or QuantValueError naming ``argument``."""
    found = Path(path)
    if _is_file(found):
        return found
    if _exists(found) and found.is_dir():
        raise QuantValueError(f"{argument}: {found} is a folder; give the path of a file in it")
    if _exists(found):
        raise QuantValueError(f"{argument}: {found} is a device or a pipe; read it yourself and give the text or array")
    raise MissingFileError(f"{argument}: no such file: {found}{_nearby(found)}")


def check_downloaded(path: Path) -> None:
    """Raise QuantValueError for a file that cannot be read, what stands in for one not downloaded, and a pickle."""
    try:
        with path.open("rb") as file:
            first = file.read(512)
    except OSError as error:
        raise QuantValueError(f"{path}: cannot be read ({error.strerror})") from error
    head = first.lstrip().lower()
    if head.startswith(b"version https://git-lfs"):
        raise QuantValueError(
            f"{path}: is a Git LFS pointer, and the file itself was not downloaded; run git lfs pull in its repository"
        )
    if head.startswith((b"<!doctype html", b"<html")):
        raise QuantValueError(f"{path}: is a web page, saved in place of the file; download the file itself")
    # The length of a .safetensors header may begin alike, but its brace follows at once; torch's files are pickles.
    if _PICKLE.match(first) and first[8:9] != b"{" and path.suffix.lower() not in _PICKLES:
        raise QuantValueError(
            f"{path}: is a Python pickle, whatever its name says. Pickles can run anything, so it is not read; where "
            "you trust it, load it yourself and pass its arrays"
        )


def is_folder(path: str | os.PathLike[str]) -> bool:
    """Whether ``path`` is a folder that exists."""
    try:
        return Path(path).is_dir()
    except (OSError, ValueError):
        return False


def _is_file(path: str | os.PathLike[str]) -> bool:
    try:
        return Path(path).is_file()
    except (OSError, ValueError):  # too long for a file name, or it holds a NUL
        return False


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def _nearby(path: Path) -> str:
    """The folder that was searched, for a relative path; that is what a mistyped path is usually about."""
    return "" if path.is_absolute() else f" (in {Path.cwd()})"
