"""A report as LaTeX, for nbconvert's own ``latex`` and ``pdf`` exporters.

Drawn from the document (see :mod:`perchq_widget.report.documents`) and nothing else, and put into a display bundle as
``text/latex``: of all exporters and front ends only those that make LaTeX prefer that to HTML. It is raw LaTeX, so
nothing has to be converted, and it uses only packages that nbconvert's template loads (array, graphicx, longtable,
textcomp, xcolor, amssymb; pgf comes with tcolorbox). A template without pgf gets the figures' titles instead.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from perchq_widget.report.latex_text import latex_text
from perchq_widget.report.pgf import pgf_picture
from perchq_widget.report.svg import ORANGE, VERMILLION, VERMILLION_INK
from perchq_widget.report.text import clean_name, column_title, shorten

# The line of a letter page with margins of an inch is 469 pt, that of A4 452 pt.
_LINE_PT = 450.0
_GAP_PT = 4.0
_LARGEST_PT = 8.0
_WIDEST_EM = 16.0
_LONG_WORD = 12
# A row of a table cannot run over a page.
_LONGEST_NAME, _LONGEST = 160, 1000
_RULE = r"\hline\noalign{\vskip 2pt}"
_SPACED = f"\\setlength{{\\tabcolsep}}{{{_GAP_PT / 2:g}pt}}\\renewcommand{{\\arraystretch}}{{1.1}}"
# A longtable lets a page end before it, so a heading that has no room for some of its rows moves to the next page.
_ROOM = (
    r"\par{\dimen0=\pagegoal\advance\dimen0-\pagetotal"
    r"\ifdim\dimen0>0pt\ifdim\dimen0<9\baselineskip\newpage\fi\fi}"
)
_COLOURS = {"pqclip": VERMILLION, "pqclipink": VERMILLION_INK, "pqlow": ORANGE, "pqnote": "#555555"}
_MARKS = {
    "clipped": f"\\textcolor{{pqclip}}{{{latex_text('▲')}}}",
    "low_sqnr": f"\\textcolor{{pqlow}}{{{latex_text('▼')}}}",
}
_LEGEND = f"{_MARKS['clipped']} clipped\\quad {_MARKS['low_sqnr']} low SQNR"
_SEVERITIES = {"error": "pqclipink", "warning": "pqclipink", "info": "pqnote"}
# Widths of Latin Modern Sans in em, on the wide side.
_NARROW, _WIDE = frozenset("iljtf.,:;'|!()[] I-"), frozenset("mwMW@%")


def latex_fragment(document: Mapping[str, Any]) -> str:
    """The report as LaTeX for the body of a document: heading, summary, lines left out, findings, figures, channels.

    It changes nothing behind its end, has no blank line, and fits the line of a letter or A4 page with margins of an
    inch: a table that does not, even in 5 pt, is cut into parts that repeat the first column. All texts of ``document``
    are untrusted and print as themselves. Raises QuantValueError for figures that are not ours.
    """
    sections = [
        _head(document),
        _summary(document),
        _errors(document),
        _findings(document),
        *_figures(document),
        _channels(document),
    ]
    colours = "\n".join(f"\\definecolor{{{name}}}{{HTML}}{{{code[1:].upper()}}}" for name, code in _COLOURS.items())
    setup = f"\\par\\begingroup\\setlength{{\\parindent}}{{0pt}}\\raggedright\n{colours}"
    return "\n".join([setup, *filter(None, sections), "\\par\\endgroup"]) + "\n"


def _prose(value: object) -> str:
    return latex_text(shorten(clean_name(str(value)), _LONGEST), every=_LONG_WORD)


def _note(content: str) -> str:
    return f"{{\\footnotesize\\textcolor{{pqnote}}{{{content}}}\\par}}"


def _heading(content: str) -> str:
    # Real sections would enter the notebook's own numbering.
    return f"{_ROOM}\\medskip{{\\large\\bfseries {content}\\par}}\\nopagebreak"


def _head(document: Mapping[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in document["versions"].items())
    made = _note(_prose(f"{document['created']} · {versions}"))
    title = f"{{\\Large\\bfseries {_prose(document['title'])}\\par}}\\nopagebreak"
    return f"{_ROOM}{title}\n{_prose(document['caption'])}\\par\\nopagebreak\n{made}"


def _summary(document: Mapping[str, Any]) -> str:
    rows = [(_prose(label), f"\\textbf{{{_prose(text)}}}") for label, text in document["summary_rows"]]
    return f"\\nopagebreak{{\\small{_SPACED}\n{_tabular('tabular', _shares(0.3, 0.66), _lines(rows))}\\par}}"


def _shares(*shares: float) -> str:
    """Columns of text that take ``shares`` of the line."""
    return "".join(f">{{\\raggedright\\arraybackslash}}p{{{share:g}\\linewidth}}" for share in shares)


def _tabular(name: str, columns: str, body: str) -> str:
    return f"\\begin{{{name}}}{{@{{}}{columns}@{{}}}}\n{_RULE}\n{body}\n{_RULE}\n\\end{{{name}}}"


def _long_table(columns: str, head: Sequence[str], body: str) -> str:
    """A table that may run over pages, its heading repeated."""
    lengths = r"\setlength{\LTleft}{0pt}\setlength{\LTright}{\fill}\setlength{\LTpre}{3pt}\setlength{\LTpost}{6pt}"
    rows = f"{_lines([head])}\n{_RULE}\n\\endhead\n{body}"
    return f"{lengths}{_SPACED}\n{_tabular('longtable', columns, rows)}"


def _lines(rows: Iterable[Sequence[str]]) -> str:
    return "\n".join(" & ".join(row) + r" \\" for row in rows)


def _errors(document: Mapping[str, Any]) -> str:
    errors = document["errors"]
    if not errors:
        return ""
    rows = [[_prose(error["line"]), _prose(error["text"]), _prose(error["reason"])] for error in errors]
    title = _heading(f"Lines left out ({int(document.get('errors_total', len(errors)))})")
    table = _long_table(_shares(0.07, 0.33, 0.54), ("line", "text", "reason"), _lines(rows))
    return f"{title}\n{{\\small{table}}}{_more(document, 'errors')}"


def _more(document: Mapping[str, Any], key: str) -> str:
    """What of a list is not shown."""
    hidden = int(document.get(f"{key}_total", 0)) - len(document[key])
    return f"\n{_note(f'{hidden:,} more are in the JSON export.')}" if hidden > 0 else ""


def _findings(document: Mapping[str, Any]) -> str:
    if not document["findings"]:
        return ""
    items = "\n".join(map(_finding, document["findings"]))
    return f"{_heading('Findings')}\n\\begin{{itemize}}\n{items}\n\\end{{itemize}}{_more(document, 'findings')}"


def _finding(finding: Mapping[str, Any]) -> str:
    severity = finding["severity"] if finding["severity"] in _SEVERITIES else "info"
    where = "" if finding["channel"] is None else f"\\textbf{{{_prose(finding['channel'])}}}: "
    label = f"\\textcolor{{{_SEVERITIES[severity]}}}{{\\textbf{{{severity}}}}}"
    return f"\\item {label} {where}{_prose(finding['message'])} \\textit{{{_prose(finding['next_step'])}}}"


def _figures(document: Mapping[str, Any]) -> Iterable[str]:
    figures = document["figures"]
    for name in ("histogram", "overview"):
        if name in figures:
            title = f"\\emph{{Figure: {_prose(figures['titles'][name])}}}"
            yield f"\\par\\medskip\\ifdefined\\pgfpicture\n{pgf_picture(figures[name])}\n\\else {title}\\fi\\par"


def _channels(document: Mapping[str, Any]) -> str:
    note = f"{_prose(document['rows_note'])}\\par\n" if document["rows_note"] else ""
    parts = "\n".join(_parts(document["columns"], document["display_rows"], document["row_flags"]))
    return f"{_heading('Channels')}\n{note}{_note(_LEGEND)}\\nopagebreak\n{parts}"


def _parts(columns: Sequence[str], rows: Sequence[Sequence[str]], flags: Sequence[Sequence[str]]) -> Iterable[str]:
    """The channel table, whole if it fits the line, else in as few parts as hold all columns.

    Findings that no mark tells, which most channels lack, stand in a line of their own below their row.
    """
    across = [at for at, column in enumerate(columns) if column != "findings"]
    titles = [column_title(columns[at]) for at in across]
    natural = [_natural(title, [row[at] for row in rows], at == 0) for at, title in zip(across, titles, strict=True)]
    size, widths, parts = _fit(natural)
    cells = [_cells([row[at] for at in across], marks) for row, marks in zip(rows, flags, strict=True)]
    below = [_below(columns, row, marks) for row, marks in zip(rows, flags, strict=True)]
    look = f"\\sffamily\\fontsize{{{size:.3g}}}{{{1.2 * size:.3g}}}\\selectfont"
    for number, part in enumerate(parts):
        kinds = "".join(_column(at == 0, widths[at] - _GAP_PT) for at in part)
        width = sum(widths[at] for at in part[1:]) - _GAP_PT
        notes = (_under(note, len(part) - 1, width) if number == 0 else "" for note in below)
        body = "\n".join(_lines([[row[at] for at in part]]) + note for row, note in zip(cells, notes, strict=True))
        yield f"{{{look}{_long_table(kinds, [latex_text(titles[at]) for at in part], body)}}}"


def _fit(natural: Sequence[float]) -> tuple[float, list[float], tuple[tuple[int, ...], ...]]:
    """Type size and column widths in points and the columns of each part; parts only where 5 pt are too large."""
    from perchq_widget.report.pdf.widths import fit_columns

    for shrink in (1.0, 1.1, 1.2):
        fit = fit_columns(natural, _LINE_PT * shrink, inset=_GAP_PT * shrink, largest=_LARGEST_PT * shrink, keep=1)
        if len(fit.parts) == 1:
            return fit.size / shrink, [width / shrink for width in fit.widths], fit.parts
    fit = fit_columns(natural, _LINE_PT, inset=_GAP_PT, largest=_LARGEST_PT, keep=1)
    return fit.size, list(fit.widths), fit.parts


def _below(columns: Sequence[str], row: Sequence[str], flags: Sequence[str]) -> str:
    """A row's findings but for those that its marks tell."""
    if "findings" not in columns:
        return ""
    told = {flag.replace("_", "-") for flag in flags}
    return "; ".join(name for name in row[columns.index("findings")].split("; ") if name not in told)


def _under(note: str, span: int, width: float) -> str:
    """A channel's findings across all columns but the first; no page ends before them."""
    if not note or span < 1:
        return ""
    kind = f">{{\\raggedright\\arraybackslash}}p{{{width:.1f}pt}}@{{}}"
    return f"*\n & \\multicolumn{{{span}}}{{{kind}}}{{\\textcolor{{pqnote}}{{{_prose(note)}}}}} \\\\"


def _column(is_text: bool, width: float) -> str:
    side = "raggedright" if is_text else "raggedleft"
    return f">{{\\{side}\\arraybackslash}}p{{{width:.1f}pt}}"


def _cells(row: Sequence[str], flags: Sequence[str]) -> list[str]:
    """The marks stand before the channel's name: colour alone would be lost in print and to many readers."""
    marks = "".join(_MARKS[flag] for flag in _MARKS if flag in flags)
    name = _prose(shorten(clean_name(row[0]), _LONGEST_NAME))
    name = f"\\textcolor{{pqclipink}}{{{name}}}" if "clipped" in flags else name
    return [f"{marks} {name}" if marks else name, *map(_number, row[1:])]


def _number(cell: str) -> str:
    """A cell in one line; one with more digits than a column is wide, as the calculator may be given, in several."""
    return latex_text(cell, every=_LONG_WORD if len(cell) > _WIDEST_EM else 0)


def _natural(title: str, cells: Sequence[str], marked: bool) -> float:
    """Width of a column in em; its heading may break between words, and room for two marks goes with the first."""
    longest = sorted(set(cells), key=lambda cell: (len(cell), cell))[-8:]
    widest = max(map(_ems, longest), default=1.0)
    return min(_WIDEST_EM, max([widest + 2.2 * marked, *map(_ems, title.split())])) + 0.15


def _ems(text: str) -> float:
    return sum(0.37 if c in _NARROW else 0.96 if c in _WIDE else 0.72 if c.isupper() else 0.54 for c in text)
