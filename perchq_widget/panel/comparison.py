"""What would differ for this data: a table of all conventions beside the one in use; a row selects its convention."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..core.conventions import CONVENTIONS
from ..report.summary import decibels
from ..report.text import escape, short_number
from .as_stored import WAY_OUT
from .comparing import Outcome, outcome_or_reason, settings_under
from .menus import conventions_for, refusal_of
from .rows_table import RowsTable, alike

if TYPE_CHECKING:
    import pandas as pd

    from .kit import Kit
    from .state import Intent, PanelState
    from .subjects import Subject
    from .view import PanelView

_HEADS = ("", "convention", "codes that differ", "SQNR", "difference", "who uses it")
_SAME_DB = 0.005  # less than two decimals show
STORED_ALREADY = (
    f"The parameters in view are the file's own, and conventions differ in how they choose them: {WAY_OUT} first."
)
OUTDATED = "The settings have changed since: press Compare conventions again."


class ConventionTable(RowsTable[Outcome]):
    """Filled convention by convention while the panel goes on listening; emptied when the settings change."""

    trait, outdated = "convention", OUTDATED

    def __init__(self, kit: Kit, state: PanelState, subject: Subject) -> None:
        super().__init__(kit, state)
        self._subject = subject

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

    def lacking(self, view: PanelView) -> str:
        """A convention chooses parameters, and those of a file are chosen already."""
        return STORED_ALREADY if view.intent.as_stored else ""

    def same_question(self, base: Intent, intent: Intent) -> bool:
        """Whether a comparison made for ``base`` still holds: only the convention may differ, and its rule with it."""
        if not alike(base, intent, ("convention", "scale_rule")):
            return False
        moved = intent.scale_rule is None and intent.convention != base.convention
        return not intent.as_stored and (intent.scale_rule == base.scale_rule or moved)

    def _steps(self, view: PanelView) -> Iterator[None]:
        intent = view.intent
        names = [name for name in conventions_for(self._subject.kind) if name != intent.convention]
        able = [name for name in names if refusal_of(settings_under(intent, name)) is None]
        refused = [(name, refusal_of(settings_under(intent, name))) for name in names if name not in able]
        self.outcomes = tuple(Outcome(name, refused=str(refusal)) for name, refusal in refused)
        return self._try(self._work(intent, [intent.convention, *able]))

    def _work(self, intent: Intent, waiting: list[str]) -> Iterator[None]:
        order = [intent.convention, *(name for name in CONVENTIONS if name != intent.convention)]
        comparison = self._subject.comparison(intent)
        for at, name in enumerate(waiting):
            self._say(f"Comparing … {at} of {len(waiting)}")
            self._draw()
            yield
            self._add(outcome_or_reason(comparison, intent, name), order)
        note = f" {escape(comparison.note)}" if comparison.note else ""
        self._say(f"Against <b>{escape(intent.convention)}</b>, all other settings alike. Click a row to use it.{note}")
        self._draw()

    def _table_html(self, able: list[Outcome]) -> str:
        return table_html(able, self._shown)


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
