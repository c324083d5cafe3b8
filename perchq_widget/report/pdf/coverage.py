"""The characters that a PDF's fonts can draw.

Typst draws a character that no font has as an empty box and says nothing, so we must know beforehand. Its embedded
fonts are not files; their character maps are kept in ``data/coverage.json`` (a test compares it with the typesetter
that is installed).
"""

from __future__ import annotations

import json
import unicodedata
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

from .cmap import FontError, covered_ranges

_DATA = Path(__file__).parent / "data" / "coverage.json"
_FONT_SUFFIXES = frozenset({".ttf", ".otf", ".ttc", ".otc"})
_MAX_FONT_BYTES = 64 * 2**20
_MAX_FONTS = 500


class Coverage:
    """A set of code points, kept as sorted disjoint ranges."""

    def __init__(self, ranges: Iterable[tuple[int, int]]) -> None:
        self.ranges = merge(ranges)
        self._firsts = [first for first, _ in self.ranges]

    def __contains__(self, code: int) -> bool:
        index = bisect_right(self._firsts, code) - 1
        return index >= 0 and code <= self.ranges[index][1]

    def plus(self, ranges: Iterable[tuple[int, int]]) -> Coverage:
        """Return the union with ``ranges``."""
        return Coverage([*self.ranges, *ranges])


def merge(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Sort inclusive ranges and join those that touch."""
    joined: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if joined and first <= joined[-1][1] + 1:
            joined[-1] = (joined[-1][0], max(last, joined[-1][1]))
        else:
            joined.append((first, last))
    return joined


@cache
def embedded() -> Coverage:
    """Return what the fonts inside the typesetter can draw."""
    ranges = json.loads(_DATA.read_text("ascii"))["ranges"]
    return Coverage((first, last) for first, last in ranges)


def font_files(folders: Sequence[str]) -> list[Path]:
    """Return the font files below ``folders``, at most 500; a folder that does not exist holds none."""
    files = (path for folder in folders for path in sorted(Path(folder).expanduser().rglob("*")))
    fonts = (path for path in files if path.suffix.lower() in _FONT_SUFFIXES and path.is_file())
    return [path for _, path in zip(range(_MAX_FONTS), fonts, strict=False)]


def coverage_of(folders: Sequence[str]) -> Coverage:
    """Return what the embedded fonts and those in ``folders`` can draw together; damaged fonts count for nothing."""
    coverage = embedded()
    for path in font_files(folders):
        if path.stat().st_size <= _MAX_FONT_BYTES:
            try:
                coverage = coverage.plus(covered_ranges(path.read_bytes()))
            except FontError:
                continue
    return coverage


def missing_notice(codes: Sequence[int]) -> str:
    """Return the sentence for readers on characters that could not be drawn; nothing if there are none."""
    if not codes:
        return ""
    return (
        "The fonts of this PDF lack these characters, shown in the text by their code in ⟨ ⟩: "
        f"{name_characters(codes)}. Name a folder of fonts in PerchqPDFExporter.font_paths to print them."
    )


def name_characters(codes: Sequence[int], limit: int = 12) -> str:
    """Return e.g. ``U+4E2D CJK UNIFIED IDEOGRAPH-4E2D, ...`` for a notice, at most ``limit`` of them."""
    named = [f"U+{code:04X} {unicodedata.name(chr(code), 'UNNAMED').title()}" for code in codes[:limit]]
    more = f" and {len(codes) - limit} more" if len(codes) > limit else ""
    return ", ".join(named) + more
