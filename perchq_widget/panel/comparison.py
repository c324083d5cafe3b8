"""What would differ for this data: a table of all conventions beside the one in use; a row selects its convention."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from ..core.conventions import CONVENTIONS
from ..report.summary import decibels
from ..report.text import escape, short_number
from .comparing import Outcome, outcome_or_reason, settings_under
from .controls import by_reason, error_html, set_if_new
from .menus import Choice, conventions_for, refusal_of
from .moves import SCHEME_NAMES
from .timing import Gradual

if TYPE_CHECKING:
    import pandas as pd

    from .kit import Kit
    from .state import Intent, PanelState
    from .subjects import Subject
    from .view import PanelView

_SAME_DATA = ("tensor", "ch_axis", "lines", "mode")
_HEADS = ("", "convention", "codes that differ", "SQNR", "difference", "who uses it")
_SAME_DB = 0.005  # less than two decimals show
OUTDATED = "The settings have changed since: press Compare conventions again."


class ConventionTable:
    """Filled convention by convention while the panel goes on listening; emptied when the settings change."""

    def __init__(self, kit: Kit, state: PanelState, subject: Subject) -> None:
        self._kit, self._state, self._subject = kit, state, subject
        self._base: Intent | None = None
        self._shown = state.convention
        self.outcomes: tuple[Outcome, ...] = ()
        self.work = Gradual()
        self.status, self.html, self.refused = kit.html(), kit.html(), kit.html("perchq-note")
        self.rows: list[Any] = []  # made when first needed, as many as there are rows
        self._overlay = kit.column([], "perchq-rows perchq-compared-rows")
        stack = kit.column([self.html, self._overlay], "perchq-stack")
        self.hide = kit.button(self.clear, description="Hide", tooltip="Hide the comparison")
        head = kit.row([self.status, self.hide])
        self.widget = kit.column(
            [head, kit.column([stack], "perchq-table-box"), self.refused], "perchq-comparison perchq-hidden"
        )

    @property
    def frame(self) -> pd.DataFrame:
        """The outcomes as a table: convention, codes_differ_pct, sqnr_db, gain_db, used_by, refused."""
        import pandas as pd

        rows = [
            (each.name, each.differ_pct, each.sqnr_db, each.gain_db, CONVENTIONS[each.name].used_by, each.refused)
            for each in self.outcomes
        ]
        names = ["convention", "codes_differ_pct", "sqnr_db", "gain_db", "used_by", "refused"]
        return pd.DataFrame(rows, columns=names)

    def start(self, view: PanelView) -> None:
        """Compare the data of ``view`` under every convention, against the one in use."""
        self._base, self._shown, self.outcomes = view.intent, view.intent.convention, ()
        self.widget.remove_class("perchq-hidden")
        if view.problem is not None:
            self._base = None
            self._say(error_html("There is no result to compare with: correct the settings first."))
            self._draw()
        else:
            self.work.start(self._steps(view.intent))

    def clear(self) -> None:
        """Empty and hide the table."""
        self.work.cancel()
        self._base, self.outcomes = None, ()
        self._draw()
        self.widget.add_class("perchq-hidden")

    def apply(self, view: PanelView) -> None:
        """Mark the convention in use; empty the table when it no longer is about what the panel shows."""
        if self._base is None:
            return
        if not same_question(self._base, view.intent):
            self.work.cancel()
            self._base, self.outcomes = None, ()
            self._say(OUTDATED)
            self._draw()
        elif view.intent.convention != self._shown:
            self._shown = view.intent.convention
            self._draw()

    def _steps(self, intent: Intent) -> Iterator[None]:
        names = [name for name in conventions_for(self._subject.kind) if name != intent.convention]
        able = [name for name in names if refusal_of(settings_under(intent, name)) is None]
        waiting = [intent.convention, *able]
        refused = [(name, refusal_of(settings_under(intent, name))) for name in names if name not in able]
        self.outcomes = tuple(Outcome(name, refused=str(refusal)) for name, refusal in refused)
        try:
            comparison = self._subject.comparison(intent)
            for at, name in enumerate(waiting):
                self._say(f"Comparing … {at} of {len(waiting)}")
                self._draw()
                yield
                self._add(outcome_or_reason(comparison, intent, name))
        except Exception as error:
            self._say(error_html(f"The comparison failed ({type(error).__name__}: {error})."))
            raise
        note = f" {escape(comparison.note)}" if comparison.note else ""
        self._say(f"Against <b>{escape(intent.convention)}</b>, all other settings alike. Click a row to use it.{note}")
        self._draw()

    def _add(self, outcome: Outcome) -> None:
        """Keep the outcomes in the order of the table of conventions, the one in use first."""
        base = self._base.convention if self._base is not None else ""
        order = [base, *(name for name in CONVENTIONS if name != base)]
        self.outcomes = tuple(sorted((*self.outcomes, outcome), key=lambda each: order.index(each.name)))

    def _say(self, html: str) -> None:
        set_if_new(self.status, "value", f'<span role="status">{html}</span>')

    def _draw(self) -> None:
        compared = [outcome for outcome in self.outcomes if not outcome.refused]
        set_if_new(self.html, "value", table_html(compared, self._shown) if compared else "")
        set_if_new(self.refused, "value", refused_html([each for each in self.outcomes if each.refused]))
        while len(self.rows) < len(compared):
            self.rows.append(self._kit.button(partial(self._choose, len(self.rows))))
        for button, outcome in zip(self.rows, compared, strict=False):
            set_if_new(button, "tooltip", f"Use convention {outcome.name}")
        if len(self._overlay.children) != len(compared):
            self._overlay.children = self.rows[: len(compared)]

    def _choose(self, place: int) -> None:
        compared = [outcome for outcome in self.outcomes if not outcome.refused]
        if place < len(compared):
            self._state.convention = compared[place].name


def same_question(base: Intent, intent: Intent) -> bool:
    """Whether a comparison made for ``base`` still holds: only the convention may differ, and the rule it brought."""
    names = [name for name in (*_SAME_DATA, *SCHEME_NAMES) if name not in ("convention", "scale_rule")]
    if any(getattr(base, name) != getattr(intent, name) for name in names):
        return False
    moved = intent.scale_rule is None and intent.convention != base.convention
    return intent.scale_rule == base.scale_rule or moved


def table_html(outcomes: list[Outcome], in_use: str) -> str:
    """The conventions that have the settings, one a row."""
    head = "".join(f'<th scope="col">{text}</th>' for text in _HEADS)
    rows = "".join(_row_html(outcome, outcome.name == in_use) for outcome in outcomes)
    key = '<caption><b class="perchq-pick">◆</b> in use</caption>'
    return f'<table class="perchq-compared">{key}<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'


def _row_html(outcome: Outcome, in_use: bool) -> str:
    mark, css_class = ("◆", ' class="selected"') if in_use else ("", "")
    gain = "same" if abs(outcome.gain_db) < _SAME_DB else f"{outcome.gain_db:+.2f} dB"
    return (
        f'<tr{css_class}><td>{mark}</td><th scope="row">{escape(outcome.name)}</th>'
        f"<td>{short_number(outcome.differ_pct, 3)} %</td><td>{escape(decibels(outcome.sqnr_db))}</td>"
        f"<td>{gain}</td><td><div>{escape(CONVENTIONS[outcome.name].used_by)}</div></td></tr>"
    )


def refused_html(outcomes: list[Outcome]) -> str:
    """The conventions that do not have the settings, each with its reason; those that share one together."""
    if not outcomes:
        return ""
    reasons = by_reason("convention", [Choice(each.name, each.name, each.refused) for each in outcomes])
    items = "".join(f"<li><b>✕ {escape(', '.join(names))}</b>: {escape(reason)}</li>" for reason, names in reasons)
    return f"Not with these settings:<ul>{items}</ul>"
