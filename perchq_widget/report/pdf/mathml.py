"""Formulas: TeX to MathML (latex2mathml), MathML to Typst.

Every character of a formula is written as ``\\u{...}`` or inside a string literal, so that no formula can end its own
equation or call anything. A formula that cannot be read is shown as its TeX text.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from xml.etree.ElementTree import Element

from .text import TextCleaner, quote

_MAX_TEX = 5_000
_MAX_DEPTH = 60
_OPEN, _CLOSE = frozenset("([{⟨⌈⌊|‖"), frozenset(")]}⟩⌉⌋|‖")
_VARIANTS = {
    "bold": "bold(upright({}))",
    "bold-italic": "bold({})",
    "normal": "upright({})",
    "double-struck": "bb({})",
    "script": "cal({})",
    "fraktur": "frak({})",
    "sans-serif": "sans({})",
    "monospace": "mono({})",
}
_OVER = {"―": "overline({})", "¯": "overline({})", "‾": "overline({})", "_": "overline({})", "⏞": "overbrace({})"}
_UNDER = {"―": "underline({})", "_": "underline({})", "⏟": "underbrace({})"}
_ACCENTS = frozenset("^~`¨\u02dc\u02c6\u02d9\u02c7\u02d8\u00b4\u20d7\u2190\u2192\u2194")
_NUMBERED = re.compile(r"\\(begin|end)\{(align|gather|equation|eqnarray|multline)\}")
_LARGE = frozenset("\u2211\u220f\u2210\u22c3\u22c2\u22c1\u22c0\u2a01\u2a02")


class FormulaError(ValueError):
    """A formula that we cannot set; its text is shown instead."""


def math_expression(tex: str, *, block: bool, cleaner: TextCleaner) -> str:
    """Return a Typst code expression for TeX without its ``$`` signs; its text in monospace where it is unreadable."""
    try:
        body = _tex_to_typst(tex, block, cleaner)
    except FormulaError:
        return f"raw({cleaner.literal(tex)}, block: {str(block).lower()})"
    return f"math.equation(block: {str(block).lower()}, ${body}$)"


def mathml_expression(source: str, *, block: bool, cleaner: TextCleaner) -> str:
    """Return a Typst code expression for a MathML element. Raises FormulaError."""
    return f"math.equation(block: {str(block).lower()}, ${_mathml_to_typst(source, cleaner)}$)"


def _tex_to_typst(tex: str, block: bool, cleaner: TextCleaner) -> str:
    if not tex.strip() or len(tex) > _MAX_TEX:
        raise FormulaError("empty or too long")
    from latex2mathml.converter import convert

    unnumbered = _NUMBERED.sub(r"\\\1{\2*}", tex.strip())
    try:
        mathml = convert(unnumbered, display="block" if block else "inline")
    except Exception as error:  # its parser raises a dozen kinds, IndexError and RecursionError among them
        raise FormulaError(str(error)) from error
    return _mathml_to_typst(mathml, cleaner)


def _mathml_to_typst(source: str, cleaner: TextCleaner) -> str:
    from defusedxml.common import DefusedXmlException
    from defusedxml.ElementTree import ParseError, fromstring

    try:
        root: Element = fromstring(source)
    except (ParseError, DefusedXmlException, ValueError) as error:
        raise FormulaError(str(error)) from error
    return _Formula(cleaner).element(root, 0)


class _Formula:
    def __init__(self, cleaner: TextCleaner) -> None:
        self.cleaner = cleaner
        self.rules: dict[str, Callable[[list[str], Element, int], str]] = {
            "mfrac": self._fraction,
            "msqrt": lambda parts, _, __: f"sqrt({' '.join(parts)})",
            "mroot": lambda parts, _, __: f"root({parts[1]}, {parts[0]})",
            "msup": lambda parts, _, __: f"attach({parts[0]}, t: {parts[1]})",
            "msub": lambda parts, _, __: f"attach({parts[0]}, b: {parts[1]})",
            "msubsup": lambda parts, _, __: f"attach({parts[0]}, b: {parts[1]}, t: {parts[2]})",
            "mover": self._over,
            "munder": self._under,
            "munderover": lambda parts, _, __: f"attach({_limits(parts[0])}, b: {parts[1]}, t: {parts[2]})",
            "menclose": lambda parts, _, __: f"cancel({' '.join(parts)})",
            "mphantom": lambda parts, _, __: f"#hide($ {' '.join(parts)} $)",
            "mtable": self._table,
        }
        self.arity = {"mfrac": 2, "mroot": 2, "msup": 2, "msub": 2, "msubsup": 3, "mover": 2, "munder": 2}

    def element(self, element: Element, depth: int) -> str:
        tag = element.tag.rpartition("}")[2]
        if depth > _MAX_DEPTH:
            raise FormulaError("nested too deeply")
        if tag in ("mi", "mn", "mo", "mtext", "ms"):
            return self._leaf(tag, element)
        if tag == "mspace":
            return f"#h({_space(element):.3f}em)"
        if tag in ("annotation", "annotation-xml", "none", "mprescripts"):
            return '""'
        parts = [] if tag == "mtable" else [self.element(child, depth + 1) for child in element]
        rule = self.rules.get(tag)
        if rule is None:
            return self._row(parts, element)
        if len(parts) != self.arity.get(tag, len(parts)) or (tag == "munderover" and len(parts) != 3):
            raise FormulaError(f"{tag} with {len(parts)} parts")
        return rule(parts, element, depth)

    def _row(self, parts: list[str], element: Element) -> str:
        children = list(element)
        if len(children) > 1 and all(child.get("mathvariant") == "normal" for child in children):
            return quote(self.cleaner.clean("".join(element.itertext())))  # a word, not a product of letters
        if len(children) >= 2 and children[0].get("stretchy") == "true" and children[0].get("form") == "prefix":
            return f"lr({' '.join(parts)})"
        return " ".join(parts) if parts else '""'

    def _leaf(self, tag: str, element: Element) -> str:
        text = "".join(element.itertext())
        if not text.strip():
            return "#h(0.25em)" if text else '""'
        if tag == "mtext":
            return quote(self.cleaner.clean(text).replace("\n", " "))
        text = self.cleaner.clean(text.strip())
        if tag == "mn":
            return quote(text)
        if tag != "mn" and len(text) > 1 and text.isalpha():
            return f"op({quote(text)})"
        # A character that had to be spelt out is text, not mathematics.
        shown = quote(text) if "⟨U+" in text else " ".join(f"\\u{{{ord(c):x}}}" for c in text)
        return _VARIANTS.get(element.get("mathvariant", ""), "{}").replace("{}", shown, 1)

    def _fraction(self, parts: list[str], element: Element, depth: int) -> str:
        if element.get("linethickness") in ("0", "0pt", "0em"):
            return f"mat(delim: #none, {parts[0]}; {parts[1]})"
        return f"frac({parts[0]}, {parts[1]})"

    def _over(self, parts: list[str], element: Element, depth: int) -> str:
        mark = "".join(element[1].itertext()).strip()
        if mark in _OVER:
            return _OVER[mark].replace("{}", parts[0], 1)
        if mark in _ACCENTS:
            return f"accent({parts[0]}, {parts[1]})"
        return f"attach({_limits(parts[0])}, t: {parts[1]})"

    def _under(self, parts: list[str], element: Element, depth: int) -> str:
        mark = "".join(element[1].itertext()).strip()
        if mark in _UNDER:
            return _UNDER[mark].replace("{}", parts[0], 1)
        return f"attach({_limits(parts[0])}, b: {parts[1]})"

    def _table(self, _: list[str], element: Element, depth: int) -> str:
        rows = [list(row) for row in element]
        cells = [[self.element(cell, depth + 2) for cell in row] for row in rows]
        width = max((len(row) for row in cells), default=0)
        if width == 0:
            return '""'
        padded = [", ".join(row + ['""'] * (width - len(row))) for row in cells]
        if any(cell.get("columnalign") == "right" for row in rows for cell in row):
            return " \\ ".join(" & ".join(row) for row in cells)
        return f"mat(delim: #none{_side(rows)}, {'; '.join(padded)})"


def _side(rows: list[list[Element]]) -> str:
    sides = {cell.get("columnalign") for row in rows for cell in row}
    return ", align: #left" if sides == {"left"} else ""


def _limits(base: str) -> str:
    # Large operators place their own limits (beside them in running text), anything else is told to.
    character = base.removeprefix("\\u{").removesuffix("}")
    large = len(character) <= 5 and all(c in "0123456789abcdef" for c in character)
    return base if large and chr(int(character, 16)) in _LARGE else f"limits({base})"


def _space(element: Element) -> float:
    width = element.get("width", "0em").removesuffix("em")
    try:
        return min(4.0, max(-1.0, float(width)))
    except ValueError:
        return 0.25
