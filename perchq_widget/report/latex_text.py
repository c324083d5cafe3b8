"""Untrusted text on its way into LaTeX: every character is set as itself, and none is ever a command.

Whatever LaTeX, a ligature, nbconvert's filters or ``\\\\`` at the end of a table row would act upon is written as a
command or in braces. What comes out is ASCII and Latin-1, which XeLaTeX's and pdfLaTeX's default fonts have.
"""

from __future__ import annotations

import re

from perchq_widget.report.text import clean_name

# Private characters, which clean_name has removed from any text, hold the places of commands until the end.
_LIGATURE, _SPACE, _BREAK, _HARD_BREAK = "\ue000", "\ue001", "\ue002", "\ue003"
_COMMANDS = {
    _LIGATURE: r"\kern0pt{}", _SPACE: r"\ ", _BREAK: r"\allowbreak{}", _HARD_BREAK: r"\penalty1000{}",
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%", "_": r"\_",
    "^": r"\textasciicircum{}", "~": r"\textasciitilde{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': r"\textquotedbl{}", "'": r"\textquotesingle{}", "`": r"\textasciigrave{}",
    # A row of a table ends in \\, which looks for a star or a bracket; nbconvert rewrites src=files/ and [](files/).
    "*": "{*}", "[": "{[}", "]": "{]}", "=": "{=}",
    "\xa0": r"\nobreakspace{}", "·": r"\textperiodcentered{}", "…": r"\textellipsis{}", "–": r"\textendash{}",
    "—": r"\textemdash{}", "“": r"\textquotedblleft{}", "”": r"\textquotedblright{}", "’": r"\textquoteright{}",
}  # fmt: skip
# In formulas the fonts have what their text faces lack; the names are those of amssymb.
_SYMBOLS = {
    "→": "rightarrow", "←": "leftarrow", "×": "times", "∞": "infty", "≤": "leq", "≥": "geq", "‖": "Vert",
    "⟨": "langle", "⟩": "rangle", "⌊": "lfloor", "⌋": "rfloor", "⌈": "lceil", "⌉": "rceil", "✓": "checkmark",
    "σ": "sigma", "ρ": "rho", "γ": "gamma",
    "⏎": "hookleftarrow",
}  # fmt: skip
# Latin Modern has no triangles; the fonts of amssymb, which any engine can use by their names, do.
_SHAPES = {"▲": 78, "▼": 72, "◆": 7}
_CONTROLS = {"␍": "CR", "⇥": "TAB", "␀": "NUL"}
_REPEATED = re.compile(r"([-,<>])(?=\1)")
# Numbers and plain names, which most cells are.
_PLAIN = re.compile(r"-?[A-Za-z0-9.+/]*(?:e-[0-9]+)?")
_LONE_SPACE = re.compile(r"(?<= ) |^ | $")
_SEPARATOR = re.compile(r"(?<=[^\s_./:;,=-])([_./:;,=-])(?=[^\s\d])")


def latex_text(value: object, every: int = 0) -> str:
    """``value`` as LaTeX source that prints it in one piece; ``every`` > 0 lets a line end inside long words.

    Lines then end after separators of names, and, where nothing else helps, after every so many characters.
    Line breaks, control and reordering characters appear as :func:`~perchq_widget.report.text.clean_name` shows them;
    a character that the default fonts lack as its code point in angle brackets.
    """
    if isinstance(value, str) and every == 0 and _PLAIN.fullmatch(value):
        return value
    text = _REPEATED.sub(rf"\1{_LIGATURE}", clean_name(str(value)))
    if every > 0:
        text = re.sub(rf"(\S{{{every}}})(?=\S)", rf"\1{_HARD_BREAK}", text)
        text = _SEPARATOR.sub(rf"\1{_BREAK}", text)
    return "".join(map(_CHARACTERS.__getitem__, _LONE_SPACE.sub(_SPACE, text)))


class _Characters(dict[str, str]):
    """What each character is written as, decided once."""

    def __missing__(self, char: str) -> str:
        self[char] = written = self._decide(char)
        return written

    def _decide(self, char: str) -> str:
        if char in _COMMANDS:
            return _COMMANDS[char]
        if char in _SYMBOLS:
            return rf"\ensuremath{{\{_SYMBOLS[char]}}}"
        if char in _SHAPES:
            return rf"{{\usefont{{U}}{{msa}}{{m}}{{n}}\symbol{{{_SHAPES[char]}}}}}"
        if char == "−":
            return r"\ensuremath{-}"
        if char.isascii() or "\xa1" <= char <= "\xff":
            return char
        name = _CONTROLS[char] if char in _CONTROLS else f"U+{ord(char):04X}"
        return rf"\ensuremath{{\langle}}{name}\ensuremath{{\rangle}}"


_CHARACTERS = _Characters()
