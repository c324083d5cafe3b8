"""What the numbers say in words: summary tiles, the selected channel's arithmetic, the findings."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from ..report.summary import decibels
from ..report.text import clean_name, escape, short_number, shorten
from .charts import count, without_value
from .controls import TITLES, error_html, set_if_new
from .table_html import WAITING

if TYPE_CHECKING:
    from ..core.findings import Finding
    from ..report.documents import ChannelReport
    from ..study.explain import Explanation, Step
    from .kit import Kit
    from .view import PanelView

_NONE = "no value"
_OUTDATED = "perchq-outdated"
_MAX_FINDINGS = 30
_MARKS = {"error": "✕", "warning": "⚠", "info": "i"}


class Tiles:
    """The summary, one figure a tile."""

    def __init__(self, kit: Kit) -> None:
        self.widget = kit.html()

    def apply(self, view: PanelView) -> None:
        """Show the figures of the report in view, those that are known."""
        if view.report is not None:
            set_if_new(self.widget, "value", tiles_html(view.report))


def tiles_html(report: ChannelReport) -> str:
    """Six figures that decide: how many channels, how good, which is worst, what is cut, how far off, how fine."""
    s = report.study.known_summary
    # Without a finite value there is no error, which is not the same as being exact.
    nothing = s.get("n") == 0
    worst = _NONE if without_value(report).any() else decibels(s["worst_sqnr_db"])
    tiles = [
        ("channels", f"{int(s['channels']):,}", ""),
        ("overall SQNR", _NONE if nothing else decibels(s["sqnr_db"]), ""),
        ("worst", worst, shorten(clean_name(str(s["worst_channel"])), 40)),
        ("clipped", f"{_number(s['clipped_pct'], 3)} %", count(int(s["clipped_channels"]), "channel")),
        ("mean |error|", *((_NONE, "") if nothing else _mean_error(s))),
        ("scales", _number(s["scale_min"], 3), f"to {_number(s['scale_max'], 3)}"),
    ]
    return '<div class="perchq-tiles">' + "".join(_tile(*tile) for tile in tiles) + "</div>"


def _mean_error(summary: Mapping[str, Any]) -> tuple[str, str]:
    """In real units and as a percentage; while a control moves, neither is known."""
    if "mean_abs_error" not in summary:
        return WAITING, WAITING
    pct = summary["mean_pct_error" if "mean_pct_error" in summary else "pct_error"]
    return _number(summary["mean_abs_error"], 3), f"{_number(pct, 3)} %"


def _tile(label: str, value: str, detail: str) -> str:
    small = f"<small>{escape(detail)}</small>" if detail else ""
    return f'<div class="perchq-tile"><span>{escape(label)}</span><b>{escape(value)}</b>{small}</div>'


def _number(value: object, digits: int) -> str:
    return short_number(float(value), digits) if isinstance(value, (int, float)) else str(value)


class Banner:
    """Says when what is shown is not what the controls ask for; ``places`` have messages of their own beside them."""

    def __init__(self, kit: Kit, places: Collection[str]) -> None:
        self.widget = kit.html()
        self._places = {name: TITLES[name] for name in places}

    def apply(self, view: PanelView) -> None:
        """Say what has no control to be said beside, where the rest is said, and what is shown instead."""
        problem, text = view.problem, ""
        if problem is not None:
            place = self._places.get(problem.about or "")
            text = error_html(problem.message if place is None else f"No result: see {place}.")
        if view.stale and view.report is not None:
            text += f" <span>Shown below is the last result: {escape(view.report.caption)}</span>"
        self._say(text)

    def computing(self) -> None:
        """Say that a result is on its way."""
        self._say("computing …", "perchq-banner perchq-busy")

    def failed(self, error: Exception) -> None:
        """Say that evaluating or drawing failed, which is a defect and not the input's fault."""
        what = f"{type(error).__name__}: {error}"
        self._say(
            error_html(f"This could not be computed or drawn ({shorten(clean_name(what), 300)}).")
            + " What stands below may be out of date, and nothing is exported until a result stands. "
            "Change a setting to try again; <code>panel.settle()</code> in a cell raises the error with its traceback."
        )

    def _say(self, text: str, css_class: str = "perchq-banner") -> None:
        set_if_new(self.widget, "value", f'<div class="{css_class}">{text}</div>' if text else "")


class Explain:
    """The selected channel's arithmetic: formula, the numbers put in, the result."""

    def __init__(self, kit: Kit) -> None:
        self.widget = kit.html("perchq-explain")

    def apply(self, view: PanelView) -> None:
        """Show the steps of the selected channel; while a control moves, those of before, greyed."""
        if view.report is None or view.row is None:
            return
        if view.complete:
            set_if_new(self.widget, "value", explain_html(view.report.explain(view.row)))
        if view.complete == (_OUTDATED in self.widget._dom_classes):
            (self.widget.remove_class if view.complete else self.widget.add_class)(_OUTDATED)


def explain_html(explanation: Explanation) -> str:
    """An explanation as a list of steps."""
    steps = "".join(
        f"<li><b>{escape(step.name)}</b> {_equation(step)}{f' <small>{escape(step.note)}</small>' if step.note else ''}"
        "</li>"
        for step in explanation.steps
    )
    return (
        f"<h4>Explain this number: {escape(explanation.title)}</h4><ol>{steps}</ol>"
        f"<small>{escape(explanation.source)}</small>"
    )


def _equation(step: Step) -> str:
    numbers = f"<code>= {escape(step.numbers)}</code> " if step.numbers else ""
    return f"<code>{escape(step.formula)}</code> {numbers}<code><b>= {escape(step.result)}</b></code>"


class Findings:
    """What the rules found, most severe first."""

    def __init__(self, kit: Kit) -> None:
        self.widget = kit.html("perchq-findings")

    def apply(self, view: PanelView) -> None:
        """List the findings of the report in view."""
        if view.report is not None:
            set_if_new(self.widget, "value", findings_html(view.report.study.known_findings))


def findings_html(findings: tuple[Finding, ...]) -> str:
    """Findings as a list; the first ones in full, the rest counted."""
    if not findings:
        return "<h4>Findings</h4><p>None: no rule was broken.</p>"
    ranked = sorted(findings, key=lambda finding: list(_MARKS).index(finding.severity))
    items = "".join(_finding_html(finding) for finding in ranked[:_MAX_FINDINGS])
    more = len(ranked) - _MAX_FINDINGS
    return f"<h4>Findings</h4><ul>{items}</ul>" + (f"<p>… and {more:,} more, in every export.</p>" if more > 0 else "")


def _finding_html(finding: Finding) -> str:
    where = "" if finding.channel is None else f"<b>{escape(finding.channel)}</b>: "
    return (
        f'<li class="perchq-{escape(finding.severity)}">{_mark(finding.severity)} {where}'
        f"{escape(finding.message)} <small>{escape(finding.next_step)}</small></li>"
    )


def _mark(severity: str) -> str:
    """A sign for the eye, the word for the ear."""
    return f'<b aria-hidden="true">{_MARKS[severity]}</b><span class="perchq-sr">{escape(severity)}:</span>'
