"""Markdown cells to HTML: nbconvert's own parser, with formulas and code kept as elements that the walker knows."""

from __future__ import annotations

from html import escape
from typing import Any

from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

# An element name that no notebook needs; were one to use it, it would get a formula set, nothing more.
MATH_TAG = "perchq-math"
# The parser looks for the end of each environment in all that follows: thousands without one take minutes.
_MAX_ENVIRONMENTS = 500


class _Renderer(IPythonRenderer):
    """Formulas as elements, code blocks with their language, images with their source as written."""

    def block_math(self, body: str) -> str:
        return _math(body, block=True)

    def inline_math(self, body: str) -> str:
        return _math(body, block=False)

    def latex_environment(self, name: str, body: str) -> str:
        return _math(f"\\begin{{{name}}}{body}\\end{{{name}}}", block=True)

    def block_code(self, code: str, info: str | None = None) -> str:
        words = (info if info is not None else "").split()
        language = escape(words[0], quote=True) if words else ""
        return f'<pre data-language="{language}">{escape(code, quote=False)}</pre>'

    def heading(self, text: str, level: int, **attrs: Any) -> str:
        return f"<h{level}>{text}</h{level}>"

    def _embed_image_or_attachment(self, src: str) -> str:
        return src


def _math(tex: str, *, block: bool) -> str:
    return f'<{MATH_TAG} data-block="{int(block)}">{escape(tex, quote=False)}</{MATH_TAG}>'


def markdown_to_html(source: str) -> str:
    """Return the HTML of Markdown with formulas; it is as untrusted as its source."""
    if source.count("\\begin{") > _MAX_ENVIRONMENTS:
        return f"<pre>{escape(source, quote=False)}</pre>"
    return MarkdownWithMath(renderer=_Renderer(escape=False, allow_harmful_protocols=True)).render(source)
