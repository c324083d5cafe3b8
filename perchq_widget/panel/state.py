"""What the user wants (PanelState) and what follows from it (PanelView, by the pure function resolve)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import traitlets as t

from ..core.conventions import CONVENTIONS
from ..core.errors import LineError, LinesError, QuantError, QuantTypeError, QuantValueError, choose_from
from ..core.grids import canonical_dtype
from ..core.schemes import GRANULARITIES, SCHEMES, check_clip_ratio
from .menus import Menu, menus

if TYPE_CHECKING:
    from ..report.documents import ChannelReport
    from .subjects import Subject

OBSERVERS = ("minmax",)
MODES = ("ranges", "params")
PAGE_ROWS = 16
WORST, GIVEN = "worst", "given"


class PanelState(t.HasTraits):
    """The user's intent: every control writes one of these traits, and so may Python.

    ``lines`` is the text of the input ``mode`` in force; the other mode's text is kept and comes back with it.
    ``channel`` is a channel's name or its position, None for the worst. ``sort`` is "given", "worst" or a column of
    the table; ``page`` counts from 0, None for the page with the selected channel.
    """

    mode = t.Unicode("ranges")
    lines = t.Unicode("")
    tensor_name = t.Unicode("tensor")
    tensor = t.Unicode(None, allow_none=True)
    dtype = t.Unicode("qint8")
    scheme = t.Unicode("affine")
    granularity = t.Unicode("channel")
    ch_axis = t.Int(0)
    reduce_range = t.Bool(False)
    narrow_range = t.Bool(False)
    convention = t.Unicode("pytorch")
    observer = t.Unicode("minmax")
    clip_ratio = t.Float(1.0)
    channel = t.Union([t.Unicode(), t.Int()], default_value=None, allow_none=True)
    sort = t.Unicode(GIVEN)
    descending = t.Bool(False)
    page = t.Int(None, allow_none=True)

    def __init__(self, other_lines: str = "", **traits: Any) -> None:
        self._other_lines = other_lines
        self._started = False
        super().__init__(**traits)
        self._started = True

    @t.validate("dtype")
    def _known_dtype(self, proposal: Any) -> str:
        return canonical_dtype(proposal["value"])

    @t.validate("mode")
    def _known_mode(self, proposal: Any) -> str:
        return choose_from("mode", proposal["value"], MODES)

    @t.validate("scheme")
    def _known_scheme(self, proposal: Any) -> str:
        return choose_from("scheme", proposal["value"], SCHEMES)

    @t.validate("convention")
    def _known_convention(self, proposal: Any) -> str:
        return choose_from("convention", proposal["value"], CONVENTIONS)

    @t.validate("observer")
    def _known_observer(self, proposal: Any) -> str:
        return choose_from("observer", proposal["value"], OBSERVERS)

    @t.validate("granularity")
    def _known_granularity(self, proposal: Any) -> str:
        return choose_from("granularity", proposal["value"], GRANULARITIES)

    @t.validate("clip_ratio")
    def _possible_clip_ratio(self, proposal: Any) -> float:
        check_clip_ratio(proposal["value"])
        return float(proposal["value"])

    @t.observe("mode")
    def _swap_lines(self, _change: Any) -> None:
        if self._started:
            self._other_lines, self.lines = self.lines, self._other_lines

    @t.observe("channel")
    def _follow_channel(self, _change: Any) -> None:
        self.page = None

    @t.observe("sort", "descending")
    def _first_page(self, _change: Any) -> None:
        if self._started:
            self.page = 0

    @t.observe("tensor", "ch_axis")
    def _other_channels(self, _change: Any) -> None:
        if self._started:
            self.channel = None
            self.page = None

    def intent(self) -> Intent:
        """The traits as one frozen value."""
        return Intent(**{name: getattr(self, name) for name in INTENT_NAMES})


@dataclass(frozen=True)
class Intent:
    """A snapshot of :class:`PanelState`; equal snapshots give equal views."""

    mode: str
    lines: str
    tensor_name: str
    tensor: str | None
    dtype: str
    scheme: str
    granularity: str
    ch_axis: int
    reduce_range: bool
    narrow_range: bool
    convention: str
    observer: str
    clip_ratio: float
    channel: str | int | None
    sort: str
    descending: bool
    page: int | None


INTENT_NAMES = tuple(f.name for f in fields(Intent))


@dataclass(frozen=True)
class Problem:
    """Why the intent has no result of its own: which trait it is about (None: the input) and what to do."""

    about: str | None
    message: str


@dataclass(frozen=True, eq=False)
class PanelView:
    """Everything that the parts of the panel draw.

    ``report`` is the result; where the intent has none (``problem``), the last good one, and ``stale`` is True.
    ``table`` is its table and ``names`` the channels' names. ``order`` holds the rows as sorted; ``row`` is the
    selected one, None without a report.
    """

    intent: Intent
    report: ChannelReport | None
    stale: bool
    problem: Problem | None
    errors: tuple[LineError, ...]
    menus: Mapping[str, Menu]
    table: pd.DataFrame | None = field(repr=False)
    names: tuple[str, ...] = field(repr=False)
    row: int | None
    channel_note: str
    order: tuple[int, ...] = field(repr=False)
    page: int
    n_pages: int

    @property
    def rows_on_page(self) -> tuple[int, ...]:
        """Rows of ``table`` that the page shows, in order."""
        return self.order[self.page * PAGE_ROWS : (self.page + 1) * PAGE_ROWS]

    @property
    def channel(self) -> str:
        """The selected channel's name, "" without a report."""
        return "" if self.row is None else self.names[self.row]


def resolve(intent: Intent, subject: Subject, last: PanelView | None) -> PanelView:
    """The view that ``intent`` asks for. Pure, up to the subject's memory of its last result."""
    report: ChannelReport | None = None
    problem: Problem | None = None
    errors: tuple[LineError, ...] = ()
    available = menus(intent, subject.kind)
    try:
        report = subject.report(intent)
        errors = tuple(report.errors)
    except LinesError as failure:
        errors, problem = failure.errors, Problem(None, "No line can be used; the reasons are listed below.")
    except QuantError as failure:
        problem = Problem(_culprit(intent, available, last), str(failure))
    stale = report is None and last is not None and last.report is not None and not errors
    if stale and last is not None:
        report = last.report
        same_text = (last.intent.lines, last.intent.mode) == (intent.lines, intent.mode)
        errors = last.errors if same_text else ()
    return _arranged(intent, report, stale, problem, errors, available, last)


def _arranged(
    intent: Intent,
    report: ChannelReport | None,
    stale: bool,
    problem: Problem | None,
    errors: tuple[LineError, ...],
    available: Mapping[str, Menu],
    last: PanelView | None,
) -> PanelView:
    if report is None:
        return PanelView(intent, None, stale, problem, errors, available, None, (), None, "", (), 0, 1)
    same = last is not None and last.report is report
    table = last.table if last is not None and same and last.table is not None else report.table
    names = last.names if last is not None and same else tuple(table["channel"].astype(str))
    row, note = select_row(table, names, intent.channel)
    order = _order(intent, table, last if same else None)
    n_pages = max(1, math.ceil(len(order) / PAGE_ROWS))
    page = order.index(row) // PAGE_ROWS if intent.page is None else min(max(intent.page, 0), n_pages - 1)
    return PanelView(intent, report, stale, problem, errors, available, table, names, row, note, order, page, n_pages)


def _culprit(intent: Intent, available: Mapping[str, Menu], last: PanelView | None) -> str | None:
    """The control to show a refusal beside: the one that was changed last, else one whose own choice is refused."""
    before = None if last is None else last.intent
    changed = [name for name in INTENT_NAMES if before is not None and getattr(before, name) != getattr(intent, name)]
    refused = [name for name, menu in available.items() if menu.reason(getattr(intent, name))]
    previous = last.problem.about if last is not None and last.problem is not None else None
    for name in (*changed, *([previous] if previous else []), *refused):
        if name in available or name in ("ch_axis", "clip_ratio", "tensor", "observer"):
            return name
    return None


def worst_row(table: pd.DataFrame) -> int:
    """The row with the lowest SQNR; the first of equals."""
    return int(np.argmin(table["sqnr_db"].to_numpy(dtype=np.float64)))


def select_row(table: pd.DataFrame, names: tuple[str, ...], channel: str | int | None) -> tuple[int, str]:
    """The row that ``channel`` names, and a note where there is none of that name (then the worst)."""
    if channel is None:
        return worst_row(table), ""
    text = str(channel)
    if text in names:
        return names.index(text), ""
    position = int(text) if text.lstrip("-").isdecimal() else len(names)
    if -len(names) <= position < len(names):
        return position % len(names), ""
    near = get_close_matches(text, names[:5000], n=1)
    hint = f"; did you mean {near[0]!r}?" if near else f"; there are {len(names)}"
    return worst_row(table), f"no channel {text!r}{hint}. The worst one is shown."


def _order(intent: Intent, table: pd.DataFrame, last: PanelView | None) -> tuple[int, ...]:
    """Row numbers as sorted; ``last`` is a view of the same table, whose order may still hold."""
    if last is not None and (last.intent.sort, last.intent.descending) == (intent.sort, intent.descending):
        return last.order
    rows: npt.NDArray[np.integer] = np.arange(len(table))
    column = "sqnr_db" if intent.sort == WORST else intent.sort
    if intent.sort != GIVEN and column in table.columns:
        rows = table[column].reset_index(drop=True).argsort(kind="stable").to_numpy()
    return tuple((rows[::-1] if intent.descending else rows).tolist())


def check_options(options: Mapping[str, object], allowed: tuple[str, ...]) -> None:
    """Raise QuantTypeError for an option of ``show`` that does not exist here, naming the nearest one."""
    for name in options:
        if name not in allowed:
            near = get_close_matches(name, allowed, n=1, cutoff=0.4)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(allowed)}"
            raise QuantTypeError(f"show() got an unknown option {name!r}; {hint}")


def apply_options(state: PanelState, options: Mapping[str, object]) -> None:
    """Set the traits that ``options`` name; a value of the wrong type names its option."""
    for name, value in options.items():
        try:
            setattr(state, name, value)
        except t.TraitError as error:
            raise QuantValueError(f"show({name}={value!r}): {error}") from error
