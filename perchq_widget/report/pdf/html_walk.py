"""HTML of strangers to Typst: one walk that writes calls with string literals, and knows no other way to write.

The result is a Typst *code* expression. Elements we do not know are walked through; scripts, styles, frames and form
controls are left out; links keep http, https and mailto targets only.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from bs4 import BeautifulSoup, CData, Tag
from bs4.element import NavigableString

from .bundle import Bundle
from .css import Style, StyleSheet, colour, declarations, is_bold
from .html_repair import close_implied
from .html_table import TableReader
from .image_source import ImageSource
from .markdown import MATH_TAG
from .mathml import FormulaError, math_expression, mathml_expression
from .text import breakable, quote

_MAX_DEPTH = 40
_LONG_WORD = 36
_PARAGRAPHS = frozenset(
    [
        "p",
        "div",
        "section",
        "article",
        "header",
        "footer",
        "main",
        "aside",
        "nav",
        "figure",
        "figcaption",
        "address",
        "form",
        "fieldset",
        "center",
        "dl",
    ]
)
_WRAPPERS = {
    "strong": "strong", "b": "strong", "em": "emph", "i": "emph", "cite": "emph", "var": "emph", "dfn": "emph",
    "u": "underline", "ins": "underline", "s": "strike", "del": "strike", "strike": "strike", "sub": "sub",
    "sup": "super", "mark": "highlight", "small": "text.with(size: 0.85em)", "summary": "strong", "dt": "strong",
    "th": "strong", "caption": "emph",
}  # fmt: skip
_CODE = frozenset(("code", "kbd", "samp", "tt"))
_DROPPED = frozenset(
    [
        "script",
        "style",
        "head",
        "title",
        "meta",
        "link",
        "noscript",
        "template",
        "object",
        "embed",
        "param",
        "select",
        "textarea",
        "datalist",
        "canvas",
        "map",
        "track",
        "source",
        "base",
    ]
)
_PLACEHOLDERS = {"iframe": "embedded page", "video": "video", "audio": "audio"}
_SAFE_LINK = re.compile(r"(https?://|mailto:)[^\s\"<>\\^`{|}]+")


def parse(html: str) -> BeautifulSoup:
    """Return the tree of HTML, however broken it is."""
    return BeautifulSoup(close_implied(html), "html.parser")


def join(parts: list[str]) -> str:
    """Return Typst code expressions joined into one piece of content (never ``none``)."""
    edges = ("[ ]", "parbreak()")  # a break at an edge would only add space around what is nested
    while parts and parts[0] in edges:
        parts = parts[1:]
    while parts and parts[-1] in edges:
        parts = parts[:-1]
    return "{" + ";".join(["[]", *parts]) + "}"


class Walker:
    """Writes one HTML tree. ``images`` finds what ``<img>`` names; the tree's own ``<style>`` rules are honoured."""

    def __init__(self, bundle: Bundle, images: ImageSource) -> None:
        self.bundle = bundle
        self.images = images
        self.sheet = StyleSheet()
        self.shown = False  # whether anything a reader would see was written
        self.rules: dict[str, Callable[[Tag, int], str]] = {
            "br": lambda _, __: "linebreak()",
            "hr": lambda _, __: "rule()",
            "a": self._link,
            "pre": self._preformatted,
            "ul": self._list,
            "ol": self._list,
            "dd": lambda tag, depth: f"pad(left: 14pt, {self._inside(tag, depth)})",
            "blockquote": lambda tag, depth: f"quote(block: true, {self._inside(tag, depth)})",
            "img": self._image,
            "svg": self._svg,
            "table": lambda tag, depth: TableReader(self).read(tag, depth + 1),
            "math": self._mathml,
            MATH_TAG: self._math,
            "input": self._input,
            **dict.fromkeys(_PLACEHOLDERS, self._placeholder),
            **dict.fromkeys(_CODE, self._code),
            **{f"h{level}": self._heading for level in range(1, 7)},
        }

    def write(self, tree: BeautifulSoup) -> str:
        """Return the code expression of a whole tree."""
        for style in tree.find_all("style"):
            self.sheet.add("".join(str(piece) for piece in style.strings or style.contents))
        return join(self.children(tree, 0))

    def children(self, tag: Tag, depth: int) -> list[str]:
        """Return the expressions of a tag's children; below a depth of 40 only their text."""
        if depth > _MAX_DEPTH:
            return self._text(tag.get_text(" "))
        parts: list[str] = []
        for child in tag.children:
            if isinstance(child, Tag):
                parts += self._tag(child, depth)
            elif type(child) in (NavigableString, CData):
                parts += self._text(str(child))
        return parts

    def _inside(self, tag: Tag, depth: int) -> str:
        return join(self.children(tag, depth + 1))

    def _text(self, text: str) -> list[str]:
        words = " ".join(text.split())
        if not words:
            return ["[ ]"] if text else []
        self.shown = True
        literal = self.bundle_literal(words)
        return [*(["[ ]"] if text[0].isspace() else []), literal, *(["[ ]"] if text[-1].isspace() else [])]

    def bundle_literal(self, words: str) -> str:
        """Return a literal in which a very long word may break."""
        return _breakable_literal(self.bundle, words)

    def _tag(self, tag: Tag, depth: int) -> list[str]:
        name = tag.name.lower()
        style = declarations(str(tag["style"])) if tag.has_attr("style") else {}
        if name in _DROPPED or tag.has_attr("hidden") or style.get("display") == "none":
            return []
        rule = self.rules.get(name)
        if rule is not None:
            expression = rule(tag, depth)
            return [expression] if expression else []
        if name in _WRAPPERS:
            return [f"{_WRAPPERS[name]}({self._inside(tag, depth)})"]
        inner = _styled(self.children(tag, depth + 1), style)
        return ["parbreak()", *inner, "parbreak()"] if name in _PARAGRAPHS else inner

    def _heading(self, tag: Tag, depth: int) -> str:
        return f"heading(level: {int(tag.name[1])}, {self._inside(tag, depth)})"

    def _link(self, tag: Tag, depth: int) -> str:
        target = str(tag.get("href", ""))
        inner = self._inside(tag, depth)
        if len(target) < 2000 and _SAFE_LINK.fullmatch(target):
            return f"link({self.bundle.literal(target)}, {inner})"
        return inner

    def _code(self, tag: Tag, _: int) -> str:
        self.shown = True
        return f"raw({_breakable_literal(self.bundle, tag.get_text())})"

    def _preformatted(self, tag: Tag, _: int) -> str:
        self.shown = True
        language = str(tag.get("data-language", ""))
        lang = self.bundle.literal(language) if re.fullmatch(r"[A-Za-z0-9+#-]{1,20}", language) else "none"
        source = tag.get_text().removeprefix("\n").rstrip("\n")
        return f"code-block({self.bundle.literal(self.bundle.cut(source, 100_000, 'A code block'))}, {lang})"

    def _list(self, tag: Tag, depth: int) -> str:
        entries = [child for child in tag.children if isinstance(child, Tag) and child.name == "li"]
        if not entries:
            return self._inside(tag, depth)
        bodies = ", ".join(self._inside(entry, depth) for entry in entries)
        start = str(tag.get("start", ""))
        number = f"start: {int(start)}, " if tag.name == "ol" and re.fullmatch(r"\d{1,6}", start) else ""
        return f"{'enum' if tag.name == 'ol' else 'list'}({number}{bodies})"

    def _input(self, tag: Tag, _: int) -> str:
        if tag.get("type") != "checkbox":
            return ""
        return '"☑ "' if tag.has_attr("checked") else '"☐ "'

    def _placeholder(self, tag: Tag, _: int) -> str:
        self.shown = True
        source = str(tag.get("src", ""))[:300]
        return f"placeholder({self.bundle.literal(f'[{_PLACEHOLDERS[tag.name]} left out] {source}'.strip())})"

    def _image(self, tag: Tag, _: int) -> str:
        self.shown = True
        return self.images.expression(
            str(tag.get("src", "")), str(tag.get("alt", "")), width=tag.get("width"), height=tag.get("height")
        )

    def _svg(self, tag: Tag, _: int) -> str:
        self.shown = True
        return self.images.svg_expression(str(tag), "inline SVG")

    def _math(self, tag: Tag, _: int) -> str:
        self.shown = True
        return math_expression(tag.get_text(), block=tag.get("data-block") == "1", cleaner=self.bundle.cleaner)

    def _mathml(self, tag: Tag, depth: int) -> str:
        self.shown = True
        try:
            return mathml_expression(str(tag), block=tag.get("display") == "block", cleaner=self.bundle.cleaner)
        except FormulaError:
            return self._inside(tag, depth)


def _styled(parts: list[str], style: Style) -> list[str]:
    paint = colour(style.get("color"))
    options = [f'fill: rgb("{paint}")'] if paint is not None else []
    options += ['weight: "bold"'] if is_bold(style) else []
    options += ['style: "italic"'] if style.get("font-style") == "italic" else []
    return [f"text({', '.join(options)}, {join(parts)})"] if options and parts else parts


def _breakable_literal(bundle: Bundle, text: str) -> str:
    return quote(breakable(bundle.cleaner.clean(text), _LONG_WORD))
