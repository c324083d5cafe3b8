"""Text to records: which lines belong together, what separates the fields, what the quotes hold.

A line ends at ``\\n``, ``\\r\\n`` or ``\\r`` and normally is one record. Quotes work as in CSV: a field that starts
with ``"`` ends at the next lone ``"``, ``""`` inside it is one quote, and separators, ``#`` and line breaks inside
it are text. A quote that is not closed properly spoils its own line only; the next line starts afresh.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

MAX_NAME = 1000
"""Longest channel name in characters; it also bounds how far an opened quote is followed."""

_BREAK = re.compile(r"\r\n|\n|\r")
_OPENING = re.compile(r'[;\t,][^\S\r\n]*"')
_FIRST_OPENING = re.compile(r'[^\S\r\n]*"')
_CLOSING = re.compile(r'[^"]*+(?:""[^"]*+)*+"')
_AFTER_CLOSING = re.compile(r"[;,\s]|\Z")
_PLAIN_NAME = re.compile(r"[\w.:/+\-\[\]() ]+")
_UNCLOSED = "a quote is opened and not closed on this line; close it, and double a quote inside a quoted field"
_TRAILING = "text follows a closing quote; double a quote inside a quoted field"


@dataclass(frozen=True, slots=True)
class Record:
    """One record: the 1-based number of its first line, its text, its fields, or what is wrong with it."""

    number: int
    text: str
    fields: tuple[str, ...] = ()
    problem: str | None = None


def split_records(text: str) -> Iterator[Record]:
    """Every record of ``text`` that is neither blank nor a ``#`` comment, in order."""
    number, start = 1, 0
    while start < len(text):
        line = _record_at(text, start, number)
        if line.text.strip() and not line.text.lstrip().startswith("#"):
            yield line
        number += 1 + len(_BREAK.findall(line.text))
        after = _BREAK.match(text, start + len(line.text))
        start = after.end() if after else len(text)


def quote_name(name: str) -> str:
    """``name`` as a field that :func:`split_records` reads back exactly."""
    if name == name.strip() and _PLAIN_NAME.fullmatch(name):
        return name
    return '"' + name.replace('"', '""') + '"'


def _record_at(text: str, start: int, number: int) -> Record:
    end = _line_end(text, start)
    line = text[start:end]
    if '"' not in line or line.lstrip().startswith("#"):
        return _split(line, {}, number)
    spans: dict[int, int] = {}
    opening = _FIRST_OPENING.match(text, start, end) or _OPENING.search(text, start, end)
    while opening:
        closing = _CLOSING.match(text, opening.end(), opening.end() + 2 * MAX_NAME + 1)
        if closing is None:
            return Record(number, line, problem=_UNCLOSED)
        if not _AFTER_CLOSING.match(text, closing.end()):
            return Record(number, line, problem=_TRAILING if closing.end() <= start + len(line) else _UNCLOSED)
        spans[opening.end() - 1 - start] = closing.end() - start
        end = end if closing.end() <= end else _line_end(text, closing.end())
        opening = _OPENING.search(text, closing.end(), end)
    return _split(text[start:end], spans, number)


def _line_end(text: str, start: int) -> int:
    found = _BREAK.search(text, start)
    return found.start() if found else len(text)


def _split(line: str, spans: dict[int, int], number: int) -> Record:
    """Split at ``;``, else tab, else ``,``, else white space, whichever first occurs outside the quoted spans."""
    fields: list[str] = []
    for begin, end in _pieces(_masked(line, spans)):
        field = line[begin:end].strip()
        first = begin + len(line[begin:end]) - len(line[begin:end].lstrip())
        closed = spans.get(first)
        if closed is not None and closed != first + len(field):
            return Record(number, line, problem=_TRAILING)
        fields.append(field if closed is None else field[1:-1].replace('""', '"'))
    return Record(number, line, tuple(fields))


def _masked(line: str, spans: dict[int, int]) -> str:
    """``line`` with its quoted spans blotted out, so that separators in them are not seen."""
    parts: list[str] = []
    done = 0
    for begin, end in spans.items():
        parts += [line[done:begin], "x" * (end - begin)]
        done = end
    return "".join([*parts, line[done:]])


def _pieces(masked: str) -> Iterator[tuple[int, int]]:
    inner = masked.strip()
    separator = next((mark for mark in ";\t," if mark in inner), None)
    if separator is None:
        yield from (match.span() for match in re.finditer(r"\S+", masked))
        return
    begin = len(masked) - len(masked.lstrip())
    for piece in inner.split(separator):
        yield begin, begin + len(piece)
        begin += len(piece) + 1
