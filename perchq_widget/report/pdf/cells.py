"""Cells of a notebook to fragments: the filters that the template calls.

Each returns markup that only calls ``fragment(n)``: all content lies in fragments, which can fail one by one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from perchq_widget.report.document import MIMETYPE

from .bundle import Bundle
from .document import DocumentError, report_view
from .html_walk import Walker, join, parse
from .image_source import ImageSource
from .markdown import markdown_to_html
from .mathml import math_expression
from .terminal import coloured_source, lines_source
from .values import items, mapping, text

_RASTERS = ("image/png", "image/jpeg", "image/webp", "image/gif")
_MAX_HTML, _MAX_MARKDOWN, _MAX_CODE = 12_000_000, 200_000, 200_000
_MATH = re.compile(r"\s*(\$|\\\(|\\\[|\\begin\{(equation|align|gather|multline|eqnarray|split|cases|[a-z]?matrix))")
_DOLLARS = re.compile(r"\s*(\${1,2})(.*?)\1\s*", re.DOTALL)
_REPORT_HEAD = '#import "/report.typ": report\n'


def markdown_cell(cell: Mapping[str, Any], resources: Mapping[str, Any]) -> str:
    """Return the call of a Markdown cell."""
    bundle: Bundle = resources["perchq"]
    source = text_of(cell.get("source"))
    if not source.strip():
        return ""
    kept, attachments = bundle.cut(source, _MAX_MARKDOWN, "A Markdown cell"), mapping(cell.get("attachments"))
    return _guarded(lambda: _html(bundle, markdown_to_html(kept), source, attachments, pad=False) or "", kept, bundle)


def input_of(cell: Mapping[str, Any], resources: Mapping[str, Any]) -> str:
    """Return the call of a code cell's source."""
    bundle: Bundle = resources["perchq"]
    source = text_of(cell.get("source"))
    hidden = mapping(mapping(cell.get("metadata")).get("jupyter")).get("source_hidden") is True
    if hidden or not source.strip():
        return ""
    count = cell.get("execution_count")
    prompt = f"[{count}]" if isinstance(count, int) and not _no_prompt(resources) else ""
    arguments = (prompt, bundle.cut(source, _MAX_CODE, "A code cell"), bundle.language)
    return bundle.add_fragment(f"#code-cell({', '.join(map(bundle.literal, arguments))})", source)


def outputs_of(cell: Mapping[str, Any], resources: Mapping[str, Any]) -> str:
    """Return the calls of a code cell's outputs, one fragment each."""
    bundle: Bundle = resources["perchq"]
    hidden = mapping(mapping(cell.get("metadata")).get("jupyter")).get("outputs_hidden") is True
    if hidden:
        return ""
    outputs = [mapping(output) for output in items(cell.get("outputs"))]
    plain = [text_of(mapping(output.get("data")).get("text/plain")) for output in outputs]
    return "\n".join(
        _guarded(partial(_output, output, bundle), shown, bundle) for output, shown in zip(outputs, plain, strict=True)
    )


def raw_cell(cell: Mapping[str, Any], resources: Mapping[str, Any]) -> str:
    """Return the call of a raw cell: always its text, whatever format it claims (Typst's own included)."""
    bundle: Bundle = resources["perchq"]
    source = text_of(cell.get("source"))
    if not source.strip():
        return ""
    return bundle.add_fragment(lines_source(source, bundle), source)


def notes_of(resources: Mapping[str, Any]) -> str:
    """Return the call of the notes, last of all: what was cut, left out, or has no glyph."""
    bundle: Bundle = resources["perchq"]
    notices = bundle.all_notices()
    listed = ", ".join(bundle.literal(notice) for notice in notices)
    return bundle.add_fragment(f"#notes(({listed},))", "\n".join(notices)) if notices else ""


def _guarded(build: Callable[[], str], plain: str, bundle: Bundle) -> str:
    """Return what ``build`` makes; where it fails on input that we did not foresee, the plain text and a notice."""
    try:
        return build()
    except Exception as error:  # one strange cell must not cost the reader all others
        bundle.note(f"A part could not be converted ({type(error).__name__}) and is shown as plain text.")
        return bundle.add_fragment(lines_source(plain or "[no plain text]", bundle), plain)


def text_of(value: object) -> str:
    """Return a notebook's multi-line string: a str or a list of lines."""
    return value if isinstance(value, str) else "".join(str(line) for line in items(value))


def _no_prompt(resources: Mapping[str, Any]) -> bool:
    return mapping(resources.get("global_content_filter")).get("include_input_prompt") is False


def _output(output: Mapping[str, Any], bundle: Bundle) -> str:
    kind = output.get("output_type")
    if kind == "stream":
        shown = text_of(output.get("text"))
        source = coloured_source(shown, bundle)
        wrapped = f"#stderr({_code(source)})" if output.get("name") == "stderr" else source
        return _indented(bundle, wrapped, shown) if shown.strip() else ""
    if kind == "error":
        traceback = "\n".join(text_of(line) for line in items(output.get("traceback")))
        shown = traceback or f"{text_of(output.get('ename'))}: {text_of(output.get('evalue'))}"
        return _indented(bundle, f"#stderr({_code(coloured_source(shown, bundle))})", shown)
    return _representation(mapping(output.get("data")), mapping(output.get("metadata")), bundle)


def _representation(data: Mapping[str, Any], metadata: Mapping[str, Any], bundle: Bundle) -> str:
    """Return the best representation that can be shown; ours wins over all others of the same output."""
    plain = text_of(data.get("text/plain"))
    if MIMETYPE in data:
        report = _report(data[MIMETYPE], bundle)
        if report:
            return report
    images = ImageSource(bundle)
    if "image/svg+xml" in data:
        shown = images.mime_expression("image/svg+xml", text_of(data["image/svg+xml"]), {})
        return _indented(bundle, f"#{shown}", plain)
    if _MATH.match(text_of(data.get("text/latex"))):
        return _indented(bundle, f"#{_latex(text_of(data['text/latex']), bundle)}", plain)
    for mime in _RASTERS:
        if mime in data:
            size = mapping(metadata.get(mime))
            return _indented(bundle, f"#{images.mime_expression(mime, text_of(data[mime]), size)}", plain)
    return _textual(data, plain, bundle)


def _textual(data: Mapping[str, Any], plain: str, bundle: Bundle) -> str:
    for mime in ("text/html", "text/markdown"):
        source = text_of(data.get(mime))
        if source.strip():
            html = source if mime == "text/html" else markdown_to_html(source[:_MAX_MARKDOWN])
            shown = _html(bundle, html, plain or source, {}, pad=True)
            if shown is not None:
                return shown
    if not plain and "application/json" in data:
        plain = json.dumps(data["application/json"], indent=1, ensure_ascii=False, default=str)
    return _indented(bundle, coloured_source(plain, bundle), plain) if plain.strip() else ""


def _report(document: object, bundle: Bundle) -> str:
    if isinstance(document, str):
        try:
            document = json.loads(document)
        except ValueError:
            return ""
    try:
        view = report_view(document, bundle.cleaner.fresh(), bundle.add_figure)
    except DocumentError:
        bundle.note("An output of this package has a version that this exporter does not know.")
        return ""
    created = text(mapping(document).get("created"))
    bundle.created = bundle.created or created
    plain = "\n".join([view["title"], view["caption"], *("\t".join(pair) for pair in view["summary"])])
    return bundle.add_fragment(f"#report({bundle.add_json(view)})", plain, head=_REPORT_HEAD)


def _html(bundle: Bundle, html: str, plain: str, attachments: Mapping[str, Any], *, pad: bool) -> str | None:
    """Return the call of an HTML fragment; None if it shows nothing (a script, say), so that others are tried."""
    walker = Walker(bundle, ImageSource(bundle, attachments))
    source = walker.write(parse(bundle.cut(html, _MAX_HTML, "An HTML output")))
    if not walker.shown:
        return None
    return _indented(bundle, f"#{source}", plain) if pad else bundle.add_fragment(f"#{source}", plain)


def _latex(source: str, bundle: Bundle) -> str:
    match = _DOLLARS.fullmatch(source)
    tex = match[2] if match is not None else source
    inline = match is not None and match[1] == "$"
    return math_expression(tex.removeprefix("\\displaystyle"), block=not inline, cleaner=bundle.cleaner)


def _code(markup: str) -> str:
    return join([line.removeprefix("#") for line in markup.split("\n") if line])


def _indented(bundle: Bundle, markup: str, plain: str) -> str:
    return bundle.add_fragment(f"#in-column({_code(markup)})", plain)
