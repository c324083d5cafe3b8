"""Terminal output: colours kept, everything else a terminal would obey taken out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

_ESCAPE = re.compile(r"\x1b\[([0-9;]*)m|\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b.")
# Dark enough to read on paper; yellow and white of a terminal are not.
_COLOURS = ("#3b4048", "#b3261e", "#1f7a3d", "#8f6000", "#1f5fa8", "#8a3a8a", "#0f7470", "#5a6672")
_LEVELS = (0, 95, 135, 175, 215, 255)


@dataclass(frozen=True, slots=True)
class Run:
    """Text of one colour (None: the default) and weight."""

    text: str
    colour: str | None = None
    bold: bool = False


def plain(text: str) -> str:
    """Return terminal output without escape sequences, with overwritten lines resolved."""
    return _overwritten(_ESCAPE.sub("", text))


def has_colour(text: str) -> bool:
    """Whether ``text`` holds a sequence that sets a colour or weight."""
    return any(match[1] not in (None, "", "0") for match in _ESCAPE.finditer(text))


def coloured_lines(text: str) -> list[list[Run]]:
    """Return the lines of terminal output as runs of one colour."""
    lines: list[list[Run]] = [[]]
    for run in _runs(text):
        first, *rest = run.text.replace("\r\n", "\n").split("\n")
        for piece, fresh in ((first, False), *((part, True) for part in rest)):
            if fresh:
                lines.append([])
            shown = piece.rpartition("\r")[2] if not piece.endswith("\r") else piece.rstrip("\r")
            if shown:
                lines[-1].append(replace(run, text=shown))
    return lines


def _runs(text: str) -> Iterator[Run]:
    pen = Run("")
    at = 0
    for match in _ESCAPE.finditer(text):
        if match.start() > at:
            yield replace(pen, text=text[at : match.start()])
        at = match.end()
        if match[1] is not None:
            pen = _turned(pen, [int(code[:4]) for code in match[1].split(";") if code] or [0])
    if at < len(text):
        yield replace(pen, text=text[at:])


def _turned(pen: Run, codes: list[int]) -> Run:
    while codes:
        code, *codes = codes
        if code == 0:
            pen = Run("")
        elif code in (1, 22):
            pen = replace(pen, bold=code == 1)
        elif 30 <= code <= 37 or 90 <= code <= 97:
            pen = replace(pen, colour=_COLOURS[code % 10])
        elif code == 39:
            pen = replace(pen, colour=None)
        elif code in (38, 48):
            colour, codes = _extended(codes)
            pen = replace(pen, colour=colour) if code == 38 else pen
    return pen


def _extended(codes: list[int]) -> tuple[str | None, list[int]]:
    """Read the 256-colour and 24-bit forms; returns the colour and the codes left."""
    if codes[:1] == [2] and len(codes) >= 4:
        red, green, blue = (min(255, code) for code in codes[1:4])
        return _readable(red, green, blue), codes[4:]
    if codes[:1] == [5] and len(codes) >= 2:
        return _indexed(min(255, codes[1])), codes[2:]
    return None, []


def _indexed(index: int) -> str:
    if index < 16:
        return _COLOURS[index % 8]
    if index >= 232:
        return _readable(*(3 * [8 + 10 * (index - 232)]))
    cube = index - 16
    return _readable(_LEVELS[cube // 36], _LEVELS[cube // 6 % 6], _LEVELS[cube % 6])


def _readable(red: int, green: int, blue: int) -> str:
    """Darken what would be too light on white paper."""
    light = 0.299 * red + 0.587 * green + 0.114 * blue
    scale = min(1.0, 140 / light) if light > 0 else 1.0
    return "#" + "".join(f"{round(channel * scale):02x}" for channel in (red, green, blue))


def _overwritten(text: str) -> str:
    """Resolve carriage returns as a terminal would show them at the end: the last text of the line."""
    lines = text.replace("\r\n", "\n").split("\n")
    return "\n".join(line.rstrip("\r").rpartition("\r")[2] if "\r" in line else line for line in lines)
