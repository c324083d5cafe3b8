"""Untrusted text on its way into Typst: nothing here may become markup, and no glyph may vanish silently."""

from __future__ import annotations

import re
from collections.abc import Iterable

from .coverage import Coverage
from .widths import ems

# Invisible by definition and without effect on the order of letters: dropping them loses nothing a reader could see.
_INVISIBLE = frozenset({0x00AD, 0x200B, 0x200C, 0x200D, 0x2060, 0xFEFF, *range(0xFE00, 0xFE10)})
_KEPT_CONTROLS = frozenset({0x09, 0x0A})
# Overrides, isolates and marks that reorder what is around them; shown, never obeyed.
_BIDI = frozenset({0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)})
_SEPARATORS = frozenset({0x2028, 0x2029, 0x0085})

_PLAIN = re.compile(r"[\t\n\x20-\x7e]*")
# Where a reader would break a name, an address or a list of numbers: after a separator, never inside a number.
_SEGMENT = re.compile(r"[+-]?[0-9.]+[_/:,;=&?]?|[^_./:,;=&?+0-9-]+[_./:,;=&?+-]?|.", re.DOTALL)
_AVERAGE_EM = 0.55
_NEIGHBOURS = re.compile(r"(?<=[0-9A-F])⟩⟨(?=U\+)")


class _Escapes(dict[int, str]):
    """A ``str.translate`` table that decides each character once and remembers which had no glyph."""

    def __init__(self, coverage: Coverage) -> None:
        super().__init__()
        self.coverage = coverage
        self.missing: list[int] = []

    def __missing__(self, code: int) -> str:
        self[code] = replacement = self._decide(code)
        return replacement

    def _decide(self, code: int) -> str:
        if code in _INVISIBLE:
            return ""
        if code in _KEPT_CONTROLS:
            return chr(code)
        unsafe = code < 0x20 or 0x7F <= code < 0xA0 or code in _BIDI or code in _SEPARATORS
        if unsafe or code >= 0xE0000:
            return f"⟨U+{code:04X}⟩"
        if code in self.coverage:
            return chr(code)
        self.missing.append(code)
        return f"⟨U+{code:04X}⟩"


class TextCleaner:
    """Makes text safe and printable, and remembers the characters that no font of this PDF can draw."""

    def __init__(self, coverage: Coverage) -> None:
        self._escapes = _Escapes(coverage)

    @property
    def missing(self) -> tuple[int, ...]:
        """Code points met so far for which no font has a glyph, in order of appearance."""
        return tuple(self._escapes.missing)

    def fresh(self) -> TextCleaner:
        """Return one for the same fonts that has met nothing yet."""
        return TextCleaner(self._escapes.coverage)

    def clean(self, text: object) -> str:
        """Return ``text`` with control, bidi and undrawable characters as visible escapes such as ``⟨U+202E⟩``."""
        raw = text if isinstance(text, str) else str(text)
        if _PLAIN.fullmatch(raw):
            return raw
        shown = raw.replace("\r\n", "\n").replace("\r", "\n").translate(self._escapes)
        return _NEIGHBOURS.sub(" ", shown)

    def literal(self, text: object) -> str:
        """Return ``text``, cleaned, as a Typst string literal."""
        return quote(self.clean(text))


def quote(text: str) -> str:
    """Return already clean ``text`` as a Typst string literal (the only way in which text enters our sources)."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + escaped.replace("\n", "\\n").replace("\t", "\\t").replace("\r", "\\r") + '"'


def breakable(text: str, limit: int) -> str:
    """Allow line breaks (zero-width spaces) inside every run that is wider than ``limit`` average characters.

    They come after the separators of a name or an address; a segment nearly as long as the limit may break every
    few characters, so that wide letters fit a narrow column too. Typst drops the spaces: none is copied out of the PDF.
    """
    if 2 * len(text) <= limit:
        return text
    return re.sub(rf"\S{{{limit // 2 + 1},}}", lambda run: _loosened(run[0], limit), text)


def _loosened(run: str, limit: int) -> str:
    # The monospaced face is wider than narrow letters of the serif one.
    if max(ems(run), 0.51 * len(run)) <= _AVERAGE_EM * limit:
        return run
    step = max(1, limit // 4)
    pieces: list[str] = []
    for segment in _SEGMENT.findall(run):
        every = step if 4 * len(segment) > 3 * limit else len(segment)
        pieces += [segment[at : at + every] for at in range(0, len(segment), every)]
    return "\u200b".join(pieces)


def array(items: Iterable[str]) -> str:
    """Return Typst expressions as a Typst array; the trailing comma keeps one item an array."""
    body = ",".join(items)
    return f"({body},)" if body else "()"


def strip_literals(source: str) -> str:
    """Return ``source`` without its string literals: what is left is all that Typst may read as code."""
    return re.sub(r'"(?:[^"\\]|\\.)*"', '""', source, flags=re.DOTALL)
