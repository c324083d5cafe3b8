"""The channel table: one styled page, filtered and sorted as asked, whose rows select their channel."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import ipywidgets as w

from ..report.text import clean_name, column_title, escape, shorten
from .controls import set_if_new
from .copying import TableCopy
from .state import GIVEN, WORST
from .table_html import columns_of, page_html
from .view import PAGE_ROWS

if TYPE_CHECKING:
    from .kit import Kit
    from .state import PanelState
    from .view import PanelView

__all__ = ["TableView", "page_html"]

_ANY = ""


class TableView:
    """Filter, sort, page and rows. Each row carries a transparent button, so that a click or a key selects it."""

    def __init__(self, kit: Kit, state: PanelState) -> None:
        self._state = state
        self._view: PanelView | None = None
        self.copy = TableCopy(kit)
        self.place, self.note, self.html = kit.html("perchq-place"), kit.html("perchq-note"), kit.html()
        self.rows = [
            kit.button(partial(self._select, place), tooltip=f"Select the channel in row {place + 1}")
            for place in range(PAGE_ROWS)
        ]
        self._overlay = kit.column(self.rows, "perchq-rows")
        stack = kit.column([self.html, self._overlay], "perchq-stack")
        bars = [kit.row(self._filters(kit), "perchq-row-of-controls perchq-bar"), kit.row(
            [self.place, *self._pages(kit), *self.copy.buttons], "perchq-row-of-controls perchq-bar"
        )]
        box = kit.column([stack], "perchq-table-box")
        self.widget = kit.column([*bars, self.copy.widget, self.note, box], "perchq-channels")

    def _filters(self, kit: Kit) -> list[Any]:
        self.find = kit.field(
            w.Text, description="Find", placeholder="name or 10-20",
            tooltip="Show only channels whose name holds this text, or whose positions lie in a span such as 10-20",
        )
        self.finding = kit.field(
            w.Dropdown, options=[("any or none", _ANY)], description="Finding",
            tooltip="Show only channels that have this finding",
        )
        self.sort = kit.field(
            w.Dropdown, options=[("as given", GIVEN), ("worst first", WORST)], description="Sort",
            tooltip="Order of the rows",
        )
        self.descending = w.ToggleButton(
            icon="sort-amount-asc", description="Reverse", tooltip="Reverse the order", layout=kit.shared_layout
        )
        self.descending.add_class("perchq-small")
        self.find.observe(lambda change: self._write("find", change["new"]), "value")
        self.finding.observe(lambda change: self._write("finding", change["new"]), "value")
        self.sort.observe(lambda change: self._write("sort", change["new"]), "value")
        self.descending.observe(lambda change: self._write("descending", change["new"]), "value")
        return [self.find, self.finding, self.sort, self.descending]

    def _pages(self, kit: Kit) -> list[Any]:
        turn = {"previous": (-1, "chevron-left"), "next": (1, "chevron-right")}
        self.previous, self.next = (
            kit.button(partial(self._turn, by), "perchq-small", icon=icon, description=f"{way.capitalize()} page",
                       tooltip=f"{way.capitalize()} page")
            for way, (by, icon) in turn.items()
        )  # fmt: skip
        self.page = kit.field(
            w.BoundedIntText, min=1, max=1, value=1, description="Page", tooltip="Number of the page; press Enter"
        )
        self.page.observe(lambda change: self._write("page", change["new"] - 1), "value")
        return [self.previous, self.page, self.next]

    def apply(self, view: PanelView) -> None:
        """Show the page."""
        self._view = None
        if view.report is not None:
            self._offer(view)
            self._page(view)
            self.copy.apply(view)
        self._view = view

    def _offer(self, view: PanelView) -> None:
        intent = view.intent
        set_if_new(self.find, "value", intent.find)
        columns = [(column_title(name), name) for name in columns_of(view)]
        _choose(self.sort, (("as given", GIVEN), ("worst first", WORST), *columns), intent.sort, GIVEN)
        wanted = _ANY if intent.finding is None else intent.finding
        known = [name for _, name in self.finding.options]
        if view.complete or wanted not in known or known == [_ANY]:  # numbers in a closed list can wait for rest
            found = {**view.finding_counts, **({wanted: 0} if wanted not in (_ANY, *view.finding_counts) else {})}
            counts = [(f"{shorten(clean_name(name), 40)} ({n:,})", name) for name, n in found.items()]
            _choose(self.finding, (("any or none", _ANY), *counts), wanted, _ANY)
        else:
            set_if_new(self.finding, "value", wanted)
        set_if_new(self.descending, "value", intent.descending)
        set_if_new(self.descending, "icon", "sort-amount-desc" if intent.descending else "sort-amount-asc")

    def _page(self, view: PanelView) -> None:
        set_if_new(self.html, "value", page_html(view))
        names = [view.names[row] for row in view.rows_on_page]
        for button, name in zip(self.rows, names if view.complete else (), strict=False):  # a message each
            set_if_new(button, "tooltip", f"Select channel {shorten(clean_name(name), 60)}")
        if len(self._overlay.children) != len(names):
            self._overlay.children = self.rows[: len(names)]
        set_if_new(self.place, "value", f'<span role="status">{place_text(view)}</span>')
        set_if_new(self.note, "value", _note(view))
        with self.page.hold_sync():
            set_if_new(self.page, "max", view.n_pages)
            set_if_new(self.page, "value", view.page + 1)
        set_if_new(self.previous, "disabled", view.page == 0)
        set_if_new(self.next, "disabled", view.page >= view.n_pages - 1)

    def _write(self, name: str, value: Any) -> None:
        if self._view is not None and value is not None:
            setattr(self._state, name, None if name == "finding" and value == _ANY else value)

    def _turn(self, by: int) -> None:
        if self._view is not None:
            self._state.page = self._view.page + by

    def _select(self, place: int) -> None:
        view = self._view
        if view is not None and place < len(view.rows_on_page):
            self._state.channel = view.names[view.rows_on_page[place]]


def _choose(field: Any, options: tuple[tuple[str, str], ...], value: str, otherwise: str) -> None:
    with field.hold_sync():
        if tuple(field.options) != options:
            field.options = options
        set_if_new(field, "value", value if value in [name for _, name in options] else otherwise)


def place_text(view: PanelView) -> str:
    """Which rows the page shows, and how many pass the filter."""
    first, n, total = view.page * PAGE_ROWS, len(view.order), len(view.names)
    span = f"{first + 1:,}–{first + len(view.rows_on_page):,}"
    filtered = view.intent.find.strip() or view.intent.finding is not None
    if not filtered:
        return f"rows {span} of {total:,}"
    return f"{n:,} of {total:,} rows{f' · {span}' if n else ''}"


def _note(view: PanelView) -> str:
    """What the filter does that one would not expect."""
    if view.place is not None:
        return ""
    selected = f"Channel <b>{escape(shorten(clean_name(view.channel), 60))}</b> is selected in the charts"
    if view.order:
        return f'<span role="status">{selected}; the filter leaves its row out.</span>'
    asked = []
    if view.intent.find.strip():
        asked.append(f"a name that holds <b>{escape(shorten(view.intent.find.strip(), 60))}</b>")
    if view.intent.finding is not None:
        asked.append(f"the finding <b>{escape(shorten(view.intent.finding, 60))}</b>")
    wide = f"empty Find and choose any finding to see all {len(view.names):,} rows"
    return f'<span role="status">No channel has {" and ".join(asked)}; {wide}. {selected}.</span>'
