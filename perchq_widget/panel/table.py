"""The channel table: one styled page, sorted as asked, whose rows select their channel."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import ipywidgets as w

from ..report.rows import row_flags
from ..report.text import clean_name, column_title, escape, format_cell, shorten
from .controls import set_if_new
from .state import GIVEN, WORST
from .view import PAGE_ROWS

if TYPE_CHECKING:
    from .kit import Kit
    from .state import PanelState
    from .view import PanelView

CLIPPED, LOW, SELECTED = "▲", "▼", "◆"
_NAME_LIMIT = 28
# A tensor's table is wider than most screens: what one decides by comes first, the rest is a scroll away.
_FIRST = ("channel", "sqnr_db", "clipped", "clipped_pct", "scale", "zero_point", "min", "max")


class TableView:
    """Sort, page and rows. Each row carries a transparent button, so that a click or the keyboard selects it."""

    def __init__(self, kit: Kit, state: PanelState) -> None:
        self._state = state
        self._view: PanelView | None = None
        self.sort = w.Dropdown(
            options=[("as given", GIVEN), ("worst first", WORST)], description="Sort", tooltip="Order of the rows",
            style={"description_width": "40px"},
        )
        self.descending = w.ToggleButton(icon="sort-amount-desc", description="Reverse", tooltip="Reverse the order")
        self.descending.add_class("perchq-small")
        self.previous = kit.button(
            lambda: self._turn(-1), "perchq-small", icon="chevron-left", description="Previous page",
            tooltip="Previous page",
        )
        self.next = kit.button(
            lambda: self._turn(1), "perchq-small", icon="chevron-right", description="Next page", tooltip="Next page",
        )
        self.place = kit.html()
        self.sort.observe(self._sorted, "value")
        self.descending.observe(lambda change: setattr(state, "descending", change["new"]), "value")
        bar = kit.row([self.sort, self.descending, self.previous, self.place, self.next])
        self.html = kit.html()
        self.rows = [kit.button(partial(self._select, place)) for place in range(PAGE_ROWS)]
        self._overlay = kit.column(self.rows, "perchq-rows")
        stack = kit.column([self.html, self._overlay], "perchq-stack")
        self.widget = kit.column([bar, stack], "perchq-table-box")

    def apply(self, view: PanelView) -> None:
        """Show the page."""
        self._view = None
        if view.report is not None:
            columns = [(column_title(name), name) for name in _columns(view)]
            self._offer_sort((("as given", GIVEN), ("worst first", WORST), *columns), view.intent.sort)
            set_if_new(self.descending, "value", view.intent.descending)
            set_if_new(self.descending, "icon", "sort-amount-desc" if view.intent.descending else "sort-amount-asc")
            self._page(view)
        self._view = view

    def _offer_sort(self, options: tuple[tuple[str, str], ...], value: str) -> None:
        known = value if value in [name for _, name in options] else GIVEN
        with self.sort.hold_sync():
            if tuple(self.sort.options) != options:
                self.sort.options = options
            set_if_new(self.sort, "value", known)

    def _page(self, view: PanelView) -> None:
        set_if_new(self.html, "value", page_html(view))
        names = [view.names[row] for row in view.rows_on_page]
        for button, name in zip(self.rows, names, strict=False):
            set_if_new(button, "tooltip", f"Select channel {shorten(clean_name(name), 60)}")
        if len(self._overlay.children) != len(names):
            self._overlay.children = self.rows[: len(names)]
        first = view.page * PAGE_ROWS
        self.place.value = f"rows {first + 1:,}–{first + len(names):,} of {len(view.order):,}"
        set_if_new(self.previous, "disabled", view.page == 0)
        set_if_new(self.next, "disabled", view.page >= view.n_pages - 1)

    def _sorted(self, change: Any) -> None:
        if self._view is not None and change["new"] is not None:
            self._state.sort = change["new"]

    def _turn(self, by: int) -> None:
        if self._view is not None:
            self._state.page = self._view.page + by

    def _select(self, place: int) -> None:
        view = self._view
        if view is not None and place < len(view.rows_on_page):
            self._state.channel = view.names[view.rows_on_page[place]]


def _columns(view: PanelView) -> list[str]:
    assert view.report is not None
    assert view.table is not None
    names = [str(name) for name in view.table.columns]
    if view.report.kind != "tensor":
        return names
    return [*_FIRST, *(name for name in names if name not in _FIRST)]


def page_html(view: PanelView) -> str:
    """The page of ``view`` as an HTML table; marks and classes, no colour alone.

    Written out here because it is drawn on every move: pandas' Styler takes ten times as long for four times the text.
    """
    assert view.report is not None
    assert view.table is not None
    page = view.table.iloc[list(view.rows_on_page)][_columns(view)]
    flags = [_flags(row == view.row, found) for row, found in zip(view.rows_on_page, row_flags(page), strict=True)]
    cells = zip(*([_cell(name, value) for value in page[name].tolist()] for name in page.columns), strict=True)
    head = "".join(f'<th scope="col">{escape(column_title(name))}</th>' for name in page.columns)
    rows = "".join(_row_html(each, row) for each, row in zip(flags, cells, strict=True))
    head = f"<caption>{escape(view.report.caption)}</caption><thead><tr><th></th>{head}</tr></thead>"
    return f'<table class="perchq-table">{head}<tbody>{rows}</tbody></table>{_KEY}'


def _row_html(flags: list[tuple[str, str]], cells: tuple[str, ...]) -> str:
    marks, classes = "".join(mark for mark, _ in flags), " ".join(name for _, name in flags)
    start = f'<td class="{classes}">' if classes else "<td>"
    return f"<tr>{start}{f'</td>{start}'.join((marks, *cells))}</td></tr>"


_KEY = (
    '<div class="perchq-legend"><span class="perchq-key"><b class="perchq-clip">▲</b> clipped</span>'
    '<span class="perchq-key"><b class="perchq-weak">▼</b> low SQNR</span>'
    '<span class="perchq-key"><b class="perchq-pick">◆</b> selected</span></div>'
)


def _cell(column: str, value: object) -> str:
    if column == "channel":
        return escape(shorten(clean_name(str(value)), _NAME_LIMIT))
    if column == "zero_point" and value != value:
        return "–"  # shared-scale formats have none
    return escape(format_cell(column, value))


def _flags(selected: bool, found: list[str]) -> list[tuple[str, str]]:
    """(mark, class) pairs of a row."""
    marks = [(CLIPPED, "clipped"), (LOW, "low_sqnr")]
    return [(SELECTED, "selected")] * selected + [(mark, name) for mark, name in marks if name in found]
