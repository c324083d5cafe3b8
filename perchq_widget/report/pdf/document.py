"""From the report's JSON to what ``data/report.typ`` sets: every value checked, cleaned and of a known type.

The JSON may come out of a stranger's notebook, so no key is trusted to exist, to have its type or a sane size.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from perchq_widget.report.document import SCHEMA
from perchq_widget.report.text import codes_line, unit_text

from .coverage import missing_notice
from .document_table import table_view
from .text import TextCleaner, breakable
from .values import decibels, items, mapping, number, operators, pair_rows, shorten, shorten_middle, text

_MAX_FINDINGS = 60
_MAX_ERRORS = 200
_MAX_DEPTH = 12
_KINDS = {"ranges": "Calibration ranges", "params": "Manual parameters", "tensor": "Tensor"}
_SEVERITIES = ("error", "warning", "info")

View = dict[str, Any]
AddFigure = Callable[[str, str, TextCleaner], View | None]


class DocumentError(ValueError):
    """The JSON is no report of a schema that this exporter knows."""


def report_view(document: object, cleaner: TextCleaner, add_figure: AddFigure) -> View:
    """Return the view of one ``application/vnd.perchq.report+json`` document.

    ``add_figure(svg, title, cleaner)`` stores a figure and returns its path and size, or None if it is unusable.
    Raises DocumentError when ``document`` is not a mapping of schema perchq.report/1.
    """
    given = mapping(document)
    if given.get("schema") != SCHEMA:
        raise DocumentError(f"not a {SCHEMA} document")
    # Cleaned before anything is cut or given break points, which cleaning would take out again.
    source = clean_tree({key: value for key, value in given.items() if key != "figures"}, cleaner)
    view = {
        **_heading(source),
        "tiles": _tiles(source),
        "facts": _facts(source),
        "summary": _summary(source),
        **_findings(source),
        **_errors(source),
        "explanation": _explanation(mapping(source.get("explanation"))),
        "convention": _convention(mapping(source.get("convention"))),
        "table": table_view(source),
        "lines": text(source.get("lines")),
        "reproduce": text(source.get("reproduce")),
        "versions": _versions(source),
        "figures": _figures(mapping(given.get("figures")), cleaner, add_figure),
    }
    return {**view, "notice": missing_notice(cleaner.missing)}


def clean_tree(value: Any, cleaner: TextCleaner, depth: int = 0) -> Any:
    """Clean every string of a tree of dicts and lists, keys too; what lies deeper than any report goes is left out."""
    if isinstance(value, str):
        return cleaner.clean(value)
    if depth > _MAX_DEPTH:
        return None
    if isinstance(value, Mapping):
        return {cleaner.clean(key): clean_tree(item, cleaner, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [clean_tree(item, cleaner, depth + 1) for item in value]
    return value


def _heading(source: Mapping[str, Any]) -> View:
    kind = _KINDS.get(text(source.get("kind")), "Report")
    title = " ".join(text(source.get("title")).split()) or "Quantization report"
    created = text(source.get("created"))
    dated = f" · {created[:10]}" if created else ""
    return {
        "title": breakable(title[:300], 30),
        "title-size": 22 if len(title) <= 60 else 14,
        "header": breakable(shorten(title, 80), 60),
        "caption": breakable(text(source.get("caption"))[:1000], 60),
        "kind-title": f"Quantization review · {kind}{dated}",
    }


def _tiles(source: Mapping[str, Any]) -> list[View]:
    summary = mapping(source.get("summary"))
    flags = {text(flag) for row in items(source.get("row_flags")) for flag in items(row)}
    channels = number(summary.get("channels", mapping(source.get("tensor")).get("n_channels")))
    low = "low_sqnr" in flags
    return [
        _tile("Channels", channels, _granularity_note(source)),
        _tile("Overall SQNR", decibels(summary.get("sqnr_db")), "signal to quantization noise"),
        _clipped_tile(summary, channels),
        _tile(
            "Worst channel",
            ("▼ " if low else "") + shorten_middle(text(summary.get("worst_channel")), 48),
            decibels(summary.get("worst_sqnr_db")),
            tone="low" if low else "plain",
        ),
    ]


def _clipped_tile(summary: Mapping[str, Any], channels: str) -> View:
    count, values = number(summary.get("clipped_channels")), number(summary.get("clipped"))
    note = f"of {channels}" + (f", {values} value{'s' * (values != '1')}" if values not in ("", "0") else "")
    if count in ("", "0"):
        return _tile("Clipped channels", count, note)
    return _tile("Clipped channels", f"▲ {count}", note, tone="clipped")


def _granularity_note(source: Mapping[str, Any]) -> str:
    settings = mapping(source.get("settings"))
    granularity = text(settings.get("granularity"))
    return f"quantized per {unit_text(granularity, settings.get('group_size'))}" if granularity else ""


def _tile(label: str, value: str, note: str, tone: str = "plain") -> View:
    shown = value or "–"
    size = 15 if len(shown) <= 12 else 11 if len(shown) <= 22 else 8.5
    return {"label": label, "value": breakable(shown, 18), "note": note, "tone": tone, "size": size}


def _facts(source: Mapping[str, Any]) -> list[list[str]]:
    tensor, settings = mapping(source.get("tensor")), mapping(source.get("settings"))
    shape = " × ".join(text(side) for side in items(tensor.get("shape"))[:16])
    rows = [
        ("Name", text(tensor.get("name"))),
        ("Shape", f"{shape} {text(tensor.get('dtype'))}".strip()),
        ("Channel axis", number(tensor.get("ch_axis"))),
        ("Values", number(tensor.get("n"))),
        ("Number format", text(settings.get("dtype"))),
        _codes(settings),
        ("Scheme", ", ".join(filter(None, (text(settings.get("scheme")), _granularity_note(source))))),
        ("Reduce range", _yes_no(settings.get("reduce_range"))),
        ("Narrow range", _yes_no(settings.get("narrow_range"))),
        ("Scale rule", text(settings.get("scale_rule"))),
        ("Convention", text(settings.get("convention"))),
        ("Range from", _range_from(settings)),
    ]
    return [[label, breakable(value[:300], 26)] for label, value in rows if value]


def _summary(source: Mapping[str, Any]) -> list[list[str]]:
    rows = pair_rows(source.get("summary_rows"))
    return [[breakable(shorten(label, 60), 18), breakable(shorten(value, 400), 22)] for label, value in rows]


def _codes(settings: Mapping[str, Any]) -> tuple[str, str]:
    ends = settings.get("quant_min"), settings.get("quant_max")
    known = all(isinstance(end, int | float) and not isinstance(end, bool) for end in ends)
    return codes_line(*ends) if known else ("Codes", "")


def _yes_no(value: object) -> str:
    return "" if value is None else "on" if value is True else "off" if value is False else text(value)


def _range_from(settings: Mapping[str, Any]) -> str:
    ratio = settings.get("clip_ratio")
    clip = f", clip ratio {number(ratio)}" if isinstance(ratio, int | float) and ratio != 1 else ""
    return text(settings.get("range_from", settings.get("observer"))) + clip


def _findings(source: Mapping[str, Any]) -> View:
    found = [mapping(entry) for entry in items(source.get("findings"))]
    ranked = sorted(found, key=lambda entry: _SEVERITIES.index(_severity(entry)))
    left = len(ranked) - _MAX_FINDINGS
    note = f"{left} more findings are in the JSON and HTML exports." if left > 0 else ""
    return {"findings": [_finding(entry) for entry in ranked[:_MAX_FINDINGS]], "findings-note": note}


def _severity(entry: Mapping[str, Any]) -> str:
    severity = text(entry.get("severity"))
    return severity if severity in _SEVERITIES else "info"


def _finding(entry: Mapping[str, Any]) -> View:
    channel = entry.get("channel")
    name = "all" if channel is None else text(channel)[:120]
    return {
        "severity": _severity(entry),
        "channel": breakable(name, 14 if len(name) <= 16 else 24),
        "message": breakable(text(entry.get("message"))[:2000], 50),
        "next": breakable(text(entry.get("next_step"))[:2000], 50),
    }


def _errors(source: Mapping[str, Any]) -> View:
    given = items(source.get("errors"))
    total = source.get("errors_total")
    left = (total if isinstance(total, int) else len(given)) - min(len(given), _MAX_ERRORS)
    note = f"{number(left)} more lines were not used." if left > 0 else ""
    return {"errors": [_line_error(entry) for entry in given[:_MAX_ERRORS]], "errors-note": note}


def _line_error(entry: object) -> View:
    error = mapping(entry)
    return {
        "line": number(error.get("line")),
        "text": breakable(text(error.get("text"))[:500], 30),
        "reason": breakable(text(error.get("reason"))[:500], 30),
    }


def _explanation(entry: Mapping[str, Any]) -> View:
    steps = [mapping(step) for step in items(entry.get("steps"))[:40]]
    return {
        "title": breakable(text(entry.get("title")), 60),
        "steps": [
            {
                "name": breakable(text(step.get("name")), 20),
                "formula": breakable(operators(text(step.get("formula"))), 36),
                "numbers": breakable(operators(text(step.get("numbers"))), 36),
                "result": breakable(operators(text(step.get("result"))), 20),
                "note": breakable(text(step.get("note")), 20),
            }
            for step in steps
        ],
        "source": breakable(text(entry.get("source")), 70),
    }


def _convention(entry: Mapping[str, Any]) -> View:
    foot = " ".join(filter(None, (text(entry.get("checked")), text(entry.get("source")))))
    return {
        "title": breakable(text(entry.get("title")) or text(entry.get("name")), 24),
        "rule": [breakable(operators(text(rule)), 36) for rule in items(entry.get("rule"))[:40]],
        "foot": breakable(foot, 36),
    }


def _versions(source: Mapping[str, Any]) -> str:
    versions = mapping(source.get("versions"))
    made = ", ".join(f"{text(name)} {text(value)}" for name, value in list(versions.items())[:12])
    created = text(source.get("created"))
    return f"Made with {made}" + (f" on {created}." if created else ".") if made else created


def _figures(entry: Mapping[str, Any], cleaner: TextCleaner, add_figure: AddFigure) -> list[View]:
    titles = mapping(entry.get("titles"))
    figures = []
    for key in ("histogram", "overview"):
        svg = text(entry.get(key))
        title = cleaner.clean(text(titles.get(key)) or key.capitalize())
        figure = add_figure(svg, title, cleaner) if svg else None
        if figure is not None:
            figures.append(figure)
    return figures
