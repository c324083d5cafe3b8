"""A report as HTML: a fragment for notebooks and the panel's static form, and a page that stands alone.

Both are drawn from the document (see :mod:`perchq_widget.report.documents`) and nothing else. Every text in it is
escaped here; figures are our own SVG. No script, and nothing is loaded from elsewhere. The markup has no blank line and
no indentation, so that Markdown exporters, which end an HTML block at a blank line, keep it whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from perchq_widget.report.html_style import FRAGMENT_CSS, PAGE_CSS
from perchq_widget.report.text import codes_line, column_title, escape, unit_text

# More columns than this need a sheet of paper laid on its side.
_PORTRAIT_COLUMNS = 13
_TEXT_COLUMNS = frozenset({"channel", "findings"})
_MARKS = {
    "clipped": '<span class="pq-mark pq-clip" title="clipped">▲</span>',
    "low_sqnr": '<span class="pq-mark pq-low" title="low SQNR">▼</span>',
}
_FORMULAS = ("formula", "numbers")
_LEGEND = f"{_MARKS['clipped']} clipped {_MARKS['low_sqnr']} low SQNR"
# Only what our own figures consist of is put into a page unescaped.
_SVG_START = '<svg xmlns="http://www.w3.org/2000/svg" '


def html_fragment(document: Mapping[str, Any]) -> str:
    """The report as one ``<div class="pq-report">`` with its own scoped style; takes on the page's text colour."""
    return f'<div class="pq-report pq-embedded"><style>{FRAGMENT_CSS}</style>{_body(document, _div_heading)}</div>'


def html_page(document: Mapping[str, Any]) -> str:
    """The report as a whole page in UTF-8 that follows the reader's light or dark setting and prints well."""
    return whole_page(document["title"], _body(document, _real_heading))


def whole_page(title: str, body: str) -> str:
    """A page around ``body``, which is HTML already, while ``title`` is text; nothing is loaded from elsewhere."""
    head = (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>{escape(title)}</title><style>{PAGE_CSS}{FRAGMENT_CSS}</style></head>"
    )
    return f'{head}\n<body><main class="pq-report">{body}</main></body></html>\n'


class _Heading:
    """How a heading is written at level 1 or 2, and whether details begin open (on paper nobody can open them)."""

    def __init__(self, pattern: str, *, whole_page: bool) -> None:
        self._pattern = pattern
        self.opened = " open" if whole_page else ""

    def __call__(self, level: int, content: str) -> str:
        return self._pattern.format(level=level, content=content)


# Real headings in an output would enter the notebook's table of contents.
_div_heading = _Heading(
    '<div class="pq-h{level}" role="heading" aria-level="{level}">{content}</div>', whole_page=False
)
_real_heading = _Heading('<h{level} class="pq-h{level}">{content}</h{level}>', whole_page=True)


def _body(document: Mapping[str, Any], heading: _Heading) -> str:
    sections = [
        _head(document, heading),
        _overview(document),
        _errors(document, heading),
        _findings(document, heading),
        _figures(document),
        _explanation(document, heading),
        _convention(document, heading),
        _channels(document, heading),
    ]
    return "".join(section for section in sections if section)


def _head(document: Mapping[str, Any], heading: _Heading) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in document["versions"].items())
    return (
        f'{heading(1, escape(document["title"]))}<p class="pq-caption">{escape(document["caption"])}</p>'
        f'<p class="pq-note">{escape(document["created"])} · {escape(versions)}</p>'
    )


def _pairs(rows: Iterable[tuple[object, object]], caption: str) -> str:
    cells = "".join(f'<tr><th scope="row">{escape(name)}</th><td>{escape(value)}</td></tr>' for name, value in rows)
    return f'<table class="pq-pairs"><caption>{escape(caption)}</caption><tbody>{cells}</tbody></table>'


def _overview(document: Mapping[str, Any]) -> str:
    """Summary and settings side by side; they carry captions instead of headings."""
    summary = [(label, text) for label, text in document["summary_rows"]]
    pairs = _pairs(summary, "Summary") + _pairs(_settings(document), "Settings")
    return f'<div class="pq-columns">{pairs}</div>'


def _settings(document: Mapping[str, Any]) -> list[tuple[object, object]]:
    """Settings in reading order; what only a measured tensor has is shown only there."""
    given = document["settings"]
    rows: list[tuple[object, object]] = [
        ("Number format", given["dtype"]),
        ("Scheme", f"{given['scheme']}, per {unit_text(given['granularity'], given['group_size'])}"),
        codes_line(given["quant_min"], given["quant_max"]),
        ("Reduce range", "on" if given["reduce_range"] else "off"),
        ("Convention", given["convention"]),
        ("Channel axis", document["tensor"]["ch_axis"]),
    ]
    if given["narrow_range"]:
        rows.insert(4, ("Narrow range", "on"))
    if given["scale_rule"] is not None:
        rows.insert(-2, ("Scale rule", given["scale_rule"]))
    if document["kind"] == "tensor":
        ratio = "" if given["clip_ratio"] == 1 else f", times {given['clip_ratio']}"
        rows.append(("Range from", f"{given['range_from']}{ratio}"))
    return rows


def _errors(document: Mapping[str, Any], heading: _Heading) -> str:
    errors = document["errors"]
    if not errors:
        return ""
    rows = "".join(
        f"<tr><td>{escape(error['line'])}</td><td><code>{escape(error['text'])}</code></td>"
        f"<td>{escape(error['reason'])}</td></tr>"
        for error in errors
    )
    head = '<thead><tr><th scope="col">line</th><th scope="col">text</th><th scope="col">reason</th></tr></thead>'
    title = heading(2, f"Lines left out ({document.get('errors_total', len(errors))})")
    return f'{title}<table class="pq-table pq-left">{head}<tbody>{rows}</tbody></table>{_more(document, "errors")}'


def _more(document: Mapping[str, Any], key: str) -> str:
    """What of a list is not shown."""
    hidden = document.get(f"{key}_total", 0) - len(document[key])
    return f'<p class="pq-note">{hidden:,} more are in the JSON export.</p>' if hidden > 0 else ""


def _findings(document: Mapping[str, Any], heading: _Heading) -> str:
    if not document["findings"]:
        return ""
    items = "".join(map(_finding, document["findings"]))
    return f'{heading(2, "Findings")}<ul class="pq-findings">{items}</ul>{_more(document, "findings")}'


def _finding(finding: Mapping[str, Any]) -> str:
    severity = finding["severity"] if finding["severity"] in ("info", "warning", "error") else "info"
    where = f"<b>{escape(finding['channel'])}</b>: " if finding["channel"] is not None else ""
    text = f"{where}{escape(finding['message'])} <i>{escape(finding['next_step'])}</i>"
    return f'<li class="pq-{severity}"><span class="pq-severity">{severity}</span> {text}</li>'


def _figures(document: Mapping[str, Any]) -> str:
    figures = document["figures"]
    drawn = [figures[name] for name in ("histogram", "overview") if figures.get(name, "").startswith(_SVG_START)]
    return "".join(f'<figure class="pq-figure">{svg}</figure>' for svg in drawn)


def _explanation(document: Mapping[str, Any], heading: _Heading) -> str:
    explanation = document["explanation"]
    rows = "".join(map(_step, explanation["steps"]))
    names = ("step", "formula", "with its numbers", "result")
    head = "".join(f'<th scope="col">{name}</th>' for name in names)
    source = f'<p class="pq-note">{escape(explanation["source"])}</p>' if explanation["source"] else ""
    return (
        f"{heading(2, escape(explanation['title']))}"
        f'<div class="pq-scroll"><table class="pq-table pq-left"><thead><tr>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>{source}"
    )


def _step(step: Mapping[str, Any]) -> str:
    note = f'<div class="pq-note">{escape(step["note"])}</div>' if step["note"] else ""
    codes = "".join(f"<td><code>{escape(step[key])}</code></td>" if step[key] else "<td></td>" for key in _FORMULAS)
    result = f'<td><b class="pq-whole">{escape(step["result"])}</b>{note}</td>'
    return f'<tr><th scope="row">{escape(step["name"])}</th>{codes}{result}</tr>'


def _convention(document: Mapping[str, Any], heading: _Heading) -> str:
    convention = document["convention"]
    rules = "".join(f"<li><code>{escape(rule)}</code></li>" for rule in convention["rule"])
    checked = " ".join(text for text in (convention["checked"], convention["source"]) if text)
    return (
        f'<details class="pq-rules"{heading.opened}><summary>Convention: {escape(convention["title"])}</summary>'
        f'<ul>{rules}</ul><p class="pq-note">{escape(checked)}</p></details>'
    )


def _channels(document: Mapping[str, Any], heading: _Heading) -> str:
    columns = document["columns"]
    sides = [' class="pq-text"' if column in _TEXT_COLUMNS else "" for column in columns]
    head = "".join(
        f'<th scope="col"{side}>{escape(column_title(column))}</th>'
        for side, column in zip(sides, columns, strict=True)
    )
    rows = "".join(
        _row(cells, flags, sides) for cells, flags in zip(document["display_rows"], document["row_flags"], strict=True)
    )
    note = f"<p>{escape(document['rows_note'])}</p>" if document["rows_note"] else ""
    wide = " pq-wide" if len(columns) > _PORTRAIT_COLUMNS else ""
    return (
        f'<div class="pq-channels{wide}">{heading(2, "Channels")}{note}<p class="pq-note">{_LEGEND}</p>'
        f'<div class="pq-scroll"><table class="pq-table"><caption>{escape(document["caption"])}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div></div>"
    )


def _row(cells: Sequence[str], flags: Sequence[str], sides: Sequence[str]) -> str:
    """The marks stand before the channel's name: colour alone would be lost in print and to many readers."""
    shown = [flag for flag in ("clipped", "low_sqnr") if flag in flags]
    marks = "".join(_MARKS[flag] for flag in shown)
    first = f'<th scope="row" class="pq-text">{marks}{escape(cells[0])}</th>'
    rest = "".join(f"<td{side}>{escape(cell)}</td>" for cell, side in zip(cells[1:], sides[1:], strict=True))
    classes = "".join(f" pq-row-{flag}" for flag in shown)
    return f'<tr class="pq-row{classes}">{first}{rest}</tr>'
