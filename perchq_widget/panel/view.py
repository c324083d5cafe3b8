"""What follows from a state (PanelView), by the pure function resolve."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

from ..core.errors import LineError, LinesError, QuantError, QuantValueError
from ..report.rows import finding_counts
from ..report.text import shorten
from ..sources.lines import EXAMPLE_LINES, EXAMPLE_PARAMS
from .menus import Menu, hidden_controls, menus, refusal_of, settings_of
from .observing import check_parameters
from .ordering import findings_by_row, known_table, order_of, same_look, select_row
from .state import INTENT_NAMES, MOST_AXES, Intent

if TYPE_CHECKING:
    import pandas as pd

    from ..core.record import Refusal
    from ..report.documents import ChannelReport
    from ..sources.base import TensorRecord
    from .pins import Pin
    from .subjects import Subject

PAGE_ROWS = 16
LINES = "lines"
_CONTROLS = (
    "ch_axis", "clip_ratio", "tensor", "as_stored", "observer", "dtype", "scheme", "granularity", "group_size",
    "scale_rule", "reduce_range", "narrow_range", "convention",
)  # fmt: skip


@dataclass(frozen=True)
class Problem:
    """Why the intent has no result of its own and what to do.

    ``about`` is the trait whose control the message belongs beside, "lines" for the text, None for no control.
    """

    about: str | None
    message: str


@dataclass(frozen=True, eq=False)
class PanelView:
    """Everything that the parts of the panel draw.

    ``report`` is the result; where the intent has none (``problem``), the last good one, and ``stale`` is True.
    ``kind`` is the subject's. ``table`` is what is known of the report's table (see ChannelTable.known): all of it if
    ``complete``, no estimate if ``exact``. ``names`` are the channels' names, ``record`` is the tensor's, if it has
    one. ``order`` holds the rows as sorted; ``row`` is the selected one, None without a report.
    """

    intent: Intent
    report: ChannelReport | None
    stale: bool
    problem: Problem | None
    errors: tuple[LineError, ...]
    kind: str
    table: pd.DataFrame | None = field(repr=False)
    names: tuple[str, ...] = field(repr=False)
    row: int | None
    channel_note: str
    order: tuple[int, ...] = field(repr=False)
    page: int
    n_pages: int
    pins: tuple[Pin, ...] = field(default=(), repr=False)
    complete: bool = True
    exact: bool = True
    place: int | None = None
    finding_counts: Mapping[str, int] = field(default_factory=dict, repr=False)
    record: TensorRecord | None = field(default=None, repr=False)

    @cached_property
    def menus(self) -> Mapping[str, Menu]:
        """One menu per scheme setting; made when it is drawn, for it takes as long as the numbers do."""
        return menus(self.intent, self.kind)

    @cached_property
    def hidden(self) -> frozenset[str]:
        """The settings whose controls do not apply."""
        idle = hidden_controls(self.intent)
        return idle if self.record is not None and self.record.quantized else idle | {"as_stored"}

    @property
    def baseline(self) -> Pin | None:
        """The pinned state to compare with, if the one that is asked for exists."""
        return next((pin for pin in self.pins if pin.name == self.intent.baseline), None)

    def current(self) -> ChannelReport:
        """The result of the settings; raises QuantValueError where there is none, and says why."""
        if self.report is None or self.stale:
            reason = "" if self.problem is None else f": {self.problem.message}"
            raise QuantValueError(f"there is no result for this input and these settings; correct them first{reason}")
        return self.report

    @property
    def rows_on_page(self) -> tuple[int, ...]:
        """Rows of ``table`` that the page shows, in order."""
        return self.order[self.page * PAGE_ROWS : (self.page + 1) * PAGE_ROWS]

    @property
    def channel(self) -> str:
        """The selected channel's name, "" without a report."""
        return "" if self.row is None else self.names[self.row]


def resolve(intent: Intent, subject: Subject, last: PanelView | None, pins: tuple[Pin, ...] = ()) -> PanelView:
    """The view that ``intent`` asks for. Pure, up to the subject's memory of its last result."""
    report: ChannelReport | None = None
    problem: Problem | None = None
    errors: tuple[LineError, ...] = ()
    try:
        _check_typed(intent)
        report = subject.report(intent)
        errors = tuple(report.errors)
    except LinesError as failure:
        errors, problem = failure.errors, _no_line(intent, failure)
    except QuantError as failure:
        problem = _refused(intent, failure, last)
    stale = report is None and last is not None and last.report is not None
    if stale and last is not None:
        report = last.report
        same_text = (last.intent.lines, last.intent.mode) == (intent.lines, intent.mode)
        errors = last.errors if same_text and not errors else errors
    view = _arranged(intent, report, stale, problem, errors, subject.kind, last)
    return replace(view, pins=pins, record=subject.known(intent.tensor))


def _arranged(
    intent: Intent,
    report: ChannelReport | None,
    stale: bool,
    problem: Problem | None,
    errors: tuple[LineError, ...],
    kind: str,
    last: PanelView | None,
) -> PanelView:
    if report is None:
        return PanelView(
            intent, None, stale, problem, errors, kind, None, (), None, "", (), 0, 1
        )
    study = report.study
    table = known_table(intent, study)
    same = last is not None and last.table is table
    names = last.names if last is not None and last.report is report else tuple(study.channels)
    row, note = select_row(table, names, intent.channel)
    if last is not None and same and same_look(last.intent, intent):
        order, counts = last.order, last.finding_counts
    else:
        found = findings_by_row(study, table)
        order, counts = order_of(intent, table, names, found), finding_counts(found)
    n_pages = max(1, math.ceil(len(order) / PAGE_ROWS))
    place = order.index(row) if row in order else None
    own_page = 0 if place is None else place // PAGE_ROWS
    page = own_page if intent.page is None else min(max(intent.page, 0), n_pages - 1)
    return PanelView(
        intent, report, stale, problem, errors, kind, table, names, row, note, order, page, n_pages,
        complete=study.complete, exact=study.exact, place=place, finding_counts=counts,
    )  # fmt: skip


def _check_typed(intent: Intent) -> None:
    if intent.size_text is not None:
        raise QuantValueError(
            "group_size must be a number of elements such as 128, or rows and columns such as 128x128, "
            f"got {shorten(intent.size_text, 40)!r}"
        )
    if intent.observer_text is not None:
        check_parameters(intent.observer, intent.observer_text)
    if intent.axis_text is not None:
        raise QuantValueError(
            f"ch_axis must be a whole number in {-MOST_AXES}..{MOST_AXES - 1}, such as 0 or -1, "
            f"got {shorten(intent.axis_text, 40)!r}"
        )


def _no_line(intent: Intent, failure: LinesError) -> Problem:
    if failure.errors:
        return Problem(LINES, "No line can be used; the reasons are listed below.")
    example = (EXAMPLE_PARAMS if intent.mode == "params" else EXAMPLE_LINES).partition("\n")[0]
    return Problem(LINES, f"There is no line yet; type a line such as {example}")


def _refused(intent: Intent, failure: QuantError, last: PanelView | None) -> Problem:
    """The failure beside its control; a refused combination in the words of the table, with every way out."""
    message, refusal = str(failure), _refusal(intent)
    if refusal is not None and refusal.reason in message:
        message = f"this combination is not allowed: {refusal}"
    return Problem(_culprit(intent, message, last), message)


def _refusal(intent: Intent) -> Refusal | None:
    try:
        return refusal_of(settings_of(intent))
    except QuantError:  # a value that no scheme can have; its own message says so
        return None


def _culprit(intent: Intent, message: str, last: PanelView | None) -> str | None:
    """The control to show a refusal beside: the argument that the message begins with, else what was changed last."""
    first = re.match(r"\w+", message)
    if first is not None and first.group() in _CONTROLS:
        return first.group()
    if last is not None and last.problem is not None and last.problem.message == message:
        return last.problem.about
    before = None if last is None else last.intent
    changed = [name for name in INTENT_NAMES if before is not None and getattr(before, name) != getattr(intent, name)]
    refusal = _refusal(intent)
    candidates = _CONTROLS if refusal is None else tuple(name for name, _ in refusal.when)
    named = next((name for name in changed if name in candidates), None)
    return candidates[-1] if named is None and refusal is not None else named
