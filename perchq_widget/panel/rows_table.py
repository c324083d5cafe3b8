"""What the tables of all values of a setting share: filled row by row, a click on a row applies its value."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeVar

from ..report.text import escape
from .controls import by_reason, error_html, set_if_new
from .menus import Choice
from .moves import SCHEME_NAMES
from .timing import Gradual

if TYPE_CHECKING:
    from .kit import Kit
    from .state import Intent, PanelState
    from .view import PanelView

_NO_RESULT = "There is no result to compare with: correct the settings first."
_SAME_DATA = ("tensor", "ch_axis", "lines", "mode")


class Outcome(Protocol):
    """What came of one value of the setting; ``refused`` says why nothing did, "" otherwise."""

    @property
    def name(self) -> str:
        """The value."""

    @property
    def refused(self) -> str:
        """The reason, or nothing."""


Row = TypeVar("Row", bound=Outcome)


class RowsTable(Generic[Row]):
    """A table with a row per value of one setting, all other settings alike; emptied when these change.

    Its widgets are made when it is first asked for. ``outcomes`` are in the order of the rows.
    """

    trait: ClassVar[str]
    outdated: ClassVar[str]
    css_class: ClassVar[str] = ""

    def __init__(self, kit: Kit, state: PanelState) -> None:
        self._kit, self._state = kit, state
        self._base: Intent | None = None
        self._lacked = ""  # what was in the way when it was last asked for
        self._shown = ""
        self.outcomes: tuple[Row, ...] = ()
        self.work = Gradual()
        self.rows: list[Any] = []  # made when first needed, as many as there are rows
        self.widget = kit.column([], f"perchq-comparison perchq-hidden {self.css_class}")

    def _build(self) -> None:
        kit = self._kit
        self.status, self.html, self.refused = kit.html(), kit.html(), kit.html("perchq-note")
        self._overlay = kit.column([], "perchq-rows perchq-compared-rows")
        stack = kit.column([self.html, self._overlay], "perchq-stack")
        self.hide = kit.button(self.clear, description="Hide", tooltip="Hide the comparison")
        head = kit.row([self.status, self.hide])
        self.widget.children = [head, kit.column([stack], "perchq-table-box"), self.refused]

    @property
    def able(self) -> list[Row]:
        """The outcomes that are no refusals."""
        return [outcome for outcome in self.outcomes if not outcome.refused]

    def start(self, view: PanelView) -> None:
        """Try every value of the setting on the data of ``view``."""
        if not self.widget.children:
            self._build()
        self._base, self._shown, self.outcomes, self._lacked = view.intent, self.value_of(view.intent), (), ""
        self.widget.remove_class("perchq-hidden")
        lacking = _NO_RESULT if view.problem is not None else self.lacking(view)
        if not lacking:
            self.work.start(self._steps(view))
            return
        self.work.cancel()
        self._base, self._lacked = None, lacking
        self._say(error_html(lacking))
        self._draw()

    def lacking(self, view: PanelView) -> str:
        """Why what is in view cannot be compared, and what to do; "" where it can."""
        return ""

    def clear(self) -> None:
        """Empty and hide the table."""
        self._empty()
        self.widget.add_class("perchq-hidden")

    def apply(self, view: PanelView) -> None:
        """Mark the value in use; empty the table when it no longer is about what the panel shows."""
        if self._lacked and not self.lacking(view) and view.problem is None:
            self.clear()
        if self._base is None:
            return
        if not self.same_question(self._base, view.intent):
            self._empty()
            self._say(self.outdated)
        elif self.value_of(view.intent) != self._shown:
            self._shown = self.value_of(view.intent)
            self._draw()

    def value_of(self, intent: Intent) -> str:
        """The row that is in use."""
        return str(getattr(intent, self.trait))

    def same_question(self, base: Intent, intent: Intent) -> bool:
        """Whether what was found for ``base`` still holds: only the setting itself may differ."""
        return alike(base, intent, (self.trait,))

    def _steps(self, view: PanelView) -> Iterator[None]:
        """The work: adds the outcomes one by one, with a pause before each."""
        raise NotImplementedError

    def _table_html(self, able: list[Row]) -> str:
        raise NotImplementedError

    def _try(self, work: Iterator[None]) -> Iterator[None]:
        """The steps of ``work``; a failure is said here and raised."""
        try:
            yield from work
        except Exception as error:
            self._say(error_html(f"The comparison failed ({type(error).__name__}: {error})."))
            raise

    def _add(self, outcome: Row, order: Sequence[str]) -> None:
        """Keep the outcomes in the given order."""
        self.outcomes = tuple(sorted((*self.outcomes, outcome), key=lambda each: order.index(each.name)))

    def _empty(self) -> None:
        self.work.cancel()
        self._base, self._lacked, self.outcomes = None, "", ()
        self._draw()

    def _say(self, html: str) -> None:
        set_if_new(self.status, "value", f'<span role="status">{html}</span>')

    def _draw(self) -> None:
        able = self.able
        set_if_new(self.html, "value", self._table_html(able) if able else "")
        set_if_new(self.refused, "value", refused_html(self.trait, [each for each in self.outcomes if each.refused]))
        while len(self.rows) < len(able):
            self.rows.append(self._kit.button(partial(self._choose, len(self.rows))))
        for button, outcome in zip(self.rows, able, strict=False):
            set_if_new(button, "tooltip", f"Use {self.trait} {outcome.name}")
        if len(self._overlay.children) != len(able):
            self._overlay.children = self.rows[: len(able)]

    def _choose(self, place: int) -> None:
        able = self.able
        if place < len(able):
            self.use(able[place].name)

    def use(self, name: str) -> None:
        """Take the value of a row, for parameters that are chosen here."""
        setattr(self._state, self.trait, name)
        self._state.as_stored = False  # also where the value was the same


def alike(base: Intent, intent: Intent, free: tuple[str, ...]) -> bool:
    """Whether two intents are about the same data with the same settings, but for those in ``free``."""
    names = [name for name in (*_SAME_DATA, *SCHEME_NAMES) if name not in free]
    return all(getattr(base, name) == getattr(intent, name) for name in names)


def refused_html(trait: str, outcomes: Sequence[Outcome]) -> str:
    """The values that the settings do not allow, each with its reason; those that share one together."""
    if not outcomes:
        return ""
    reasons = by_reason(trait, [Choice(each.name, each.name, each.refused) for each in outcomes])
    items = "".join(f"<li><b>✕ {escape(', '.join(names))}</b>: {escape(reason)}</li>" for reason, names in reasons)
    return f"Not with these settings:<ul>{items}</ul>"
