"""A channel table as text for a terminal: as wide as it fits, marks beside colour, nothing that drives the terminal."""

from __future__ import annotations

import os
import shutil
import textwrap
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TextIO

from perchq_widget.report.text import NOTHING, clean_name, shorten

NAME_WIDTH = 32
GAP = "  "
# What is left out first when the terminal is narrow. The columns that say what is wrong stay longest.
EXPENDABLE = (
    "cosine", "mse", "n", "zeroed_pct", "raw_quantized", "mean_abs_error", "pct_error", "clipped_pct", "abs_error",
    "findings", "max_abs_error", "min", "max", "sample", "clipped", "zero_point", "quantized", "dequantized", "scale",
    "zero_point_a", "zero_point_b", "scale_a", "scale_b", "max_code_diff", "sqnr_b_read_by_a_db", "sqnr_a_read_by_b_db",
)  # fmt: skip
TEXT_COLUMNS = frozenset({"channel", "findings"})
COLOURS = {"clipped": "\x1b[38;5;166m", "low_sqnr": "\x1b[38;5;178m", "bold": "\x1b[1m", "off": "\x1b[0m"}


@dataclass(frozen=True)
class Look:
    """How to write to one stream: its width in columns (None: unlimited), colour or not, and the marks it can show."""

    width: int | None = None
    coloured: bool = False
    clipped: str = "▲"
    low_sqnr: str = "▼"
    ellipsis: str = "…"
    nothing: str = NOTHING

    @classmethod
    def of(cls, stream: TextIO) -> Look:
        """The look for ``stream``: colour and a width only on a terminal, colour never when NO_COLOR is set."""
        tty = stream.isatty()
        width = shutil.get_terminal_size((100, 24)).columns if tty or "COLUMNS" in os.environ else None
        coloured = tty and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
        if can_write(stream, f"▲▼…{NOTHING}"):
            return cls(width, coloured)
        return cls(width, coloured, clipped="^", low_sqnr="v", ellipsis="~", nothing="-")


def can_write(stream: TextIO, text: str) -> bool:
    """Whether the stream's encoding has these characters; a Windows code page may not."""
    try:
        text.encode(stream.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True


def display_width(text: str) -> int:
    """Columns that ``text`` takes: two for East Asian wide characters, none for combining marks."""
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text
    )


def pad(text: str, width: int, right: bool) -> str:
    """``text`` filled with blanks to ``width`` columns, on the left when it is a number."""
    blanks = " " * max(0, width - display_width(text))
    return blanks + text if right else text + blanks


def fit_columns(columns: Sequence[str], widths: Sequence[int], limit: int | None) -> tuple[list[int], list[str]]:
    """Positions of the columns that fit into ``limit`` and the names of those left out, as EXPENDABLE orders them."""
    kept = list(range(len(columns)))
    left_out: list[str] = []
    for name in EXPENDABLE:
        if limit is None or sum(widths[i] + len(GAP) for i in kept) <= limit + len(GAP):
            break
        if name in columns:
            kept.remove(columns.index(name))
            left_out.append(name)
    return kept, left_out


def table_lines(
    columns: Sequence[str], rows: Sequence[Sequence[str]], flags: Sequence[Sequence[str]], look: Look
) -> list[str]:
    """The table with its marks, one line per row, and a last line that names the columns left out, if any."""
    # A column of findings without one only takes room.
    used = [i for i, name in enumerate(columns) if name != "findings" or any(row[i] for row in rows)]
    columns, rows = [columns[i] for i in used], [[row[i] for i in used] for row in rows]
    cells = [[_cell(name, text, look) for name, text in zip(columns, row, strict=True)] for row in rows]
    widths = [max(display_width(line[i]) for line in [list(columns), *cells]) for i in range(len(columns))]
    # Every row starts with two characters of marks and a blank.
    limit = None if look.width is None else look.width - 3
    kept, left_out = fit_columns(columns, widths, limit)

    def joined(line: Sequence[str]) -> str:
        return GAP.join(pad(line[i], widths[i], columns[i] not in TEXT_COLUMNS) for i in kept).rstrip()

    lines = [coloured("   " + joined(columns), "bold", look)]
    lines += [_marked(joined(line), flag, look) for line, flag in zip(cells, flags, strict=True)]
    if left_out:
        names = [name for name in columns if name in left_out]
        note = f"(no room for {', '.join(names)}; a wider terminal or --csv has them)"
        lines += textwrap.wrap(note, look.width or 80, initial_indent="   ", subsequent_indent="   ")
    return lines


def _cell(column: str, text: str, look: Look) -> str:
    clean = clean_name(text)
    if column in TEXT_COLUMNS:
        return shorten(clean, NAME_WIDTH).replace("…", look.ellipsis)
    return clean.replace(NOTHING, look.nothing)


def _marked(line: str, flags: Sequence[str], look: Look) -> str:
    clipped, low = "clipped" in flags, "low_sqnr" in flags
    marks = (look.clipped if clipped else " ") + (look.low_sqnr if low else " ")
    colour = "clipped" if clipped else "low_sqnr" if low else ""
    return coloured(f"{marks} {line}", colour, look)


def coloured(text: str, colour: str, look: Look) -> str:
    """``text`` in one of COLOURS where the look allows colour; ``text`` as it is elsewhere, and for no colour."""
    return f"{COLOURS[colour]}{text}{COLOURS['off']}" if look.coloured and colour else text
