"""The files of a GGUF model: one, or the parts that llama.cpp's gguf-split makes of a large one."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from perchq_widget.core.errors import QuantValueError

from ..file_bytes import FileStamp
from ..files import existing_file
from .header import Header, read_header

_PART = re.compile(r"(.*)-([0-9]{5})-of-([0-9]{5})\.gguf", re.DOTALL | re.IGNORECASE)
_MOST_PARTS = 1000  # that are looked for


@dataclass(frozen=True, slots=True)
class Part:
    """A file whose header was read."""

    stamp: FileStamp
    header: Header


@dataclass(frozen=True, slots=True)
class Unusable:
    """A part that is missing or malformed, and why its tensors cannot be listed."""

    name: str
    reason: str


def read_part(path: Path) -> Part:
    """The header of one file. QuantValueError where it is malformed or cannot be read."""
    try:
        stamp = FileStamp.of(path)
    except OSError as error:
        raise QuantValueError(f"{path}: cannot be read ({error.strerror})") from error
    return Part(stamp, read_header(path, stamp.size))


def read_parts(path: Path) -> tuple[list[Part], list[Unusable]]:
    """All parts of the model that ``path`` belongs to, in order, from the same folder; QuantValueError if it is bad.

    A file is a part if its metadata says so; the others are found by their names where its own name says the same.
    """
    given = read_part(path)
    matched = _PART.fullmatch(path.name)
    count = given.header.number("split.count")
    if count is None or count < 2:
        return [given], []
    if matched is None or (int(matched[2]) - 1, int(matched[3])) != _claims(given) or count > _MOST_PARTS:
        return [given], [_others_of(given, path)]
    parts: list[Part] = []
    unusable: list[Unusable] = []
    for index in range(count):
        name = f"{matched[1]}-{index + 1:05d}-of-{count:05d}{path.suffix}"
        found = given if name == path.name else _other_part(path.with_name(name), index, count)
        if isinstance(found, Part):
            parts.append(found)
        else:
            unusable.append(found)
    return parts, unusable


def _claims(part: Part) -> tuple[int | None, int | None]:
    """The number of a part, from 0, and the count of all, as its metadata has them."""
    return part.header.number("split.no"), part.header.number("split.count")


def _others_of(given: Part, path: Path) -> Unusable:
    """The parts that cannot be looked up, since the file was renamed or claims too many of them."""
    number, count = _claims(given)
    reason = (
        f"its metadata says that {path.name} is part {number} (from 0) of {count}; the others are not listed: a part "
        f"is named accordingly, as NAME-00001-of-00003.gguf from 1 on, and {_MOST_PARTS} are looked for at most"
    )
    return Unusable("the other parts", reason)


def _other_part(path: Path, index: int, count: int) -> Part | Unusable:
    try:
        part = read_part(existing_file(path, "part"))
    except QuantValueError as error:
        return Unusable(path.name, f"its tensors are not listed: {error}")
    if _claims(part) != (index, count):
        number, of = _claims(part)
        reason = f"its metadata has split.no {number} and split.count {of}; {index} and {count} belong to its name"
        return Unusable(path.name, f"its tensors are not listed: {reason}")
    return part
