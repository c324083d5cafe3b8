"""The rows that the table shows, as text to paste elsewhere: CSV or Markdown, every page, every column, every digit."""

from __future__ import annotations

import html
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..core.errors import choose_from
from ..report.export import csv_text
from ..report.markdown import markdown_text
from ..report.text import plural
from .controls import error_html, set_if_new
from .naming import on_arrival

if TYPE_CHECKING:
    import pandas as pd

    from .kit import Kit
    from .view import PanelView

KINDS = {"csv": "CSV", "markdown": "Markdown"}
MOST_ROWS = 2000  # that go to the browser; the CSV export has no such limit
_FRESH_S = 15.0  # after which a text that arrives (from a stored notebook, say) leaves the clipboard alone
# Widgets cannot reach the clipboard; the page can, for a moment after a click. An image that has loaded says that the
# text has arrived. Where the page refuses too, the text stands there, focused and selected, for Ctrl+C.
_COPY = """
const box = this.parentNode, area = box.querySelector('textarea'), said = box.querySelector('[role=status] b');
this.remove();
if (Math.abs(Date.now() - {now}) < {fresh}) {{
  area.focus(); area.select();
  const say = done => {{ said.textContent = done ? 'Copied' : 'Press Ctrl+C (on a Mac ⌘C) to copy'; }};
  const old = () => say(document.execCommand('copy'));
  if (navigator.clipboard) navigator.clipboard.writeText(area.value).then(() => say(true), old); else old();
}}"""


def table_text(view: PanelView, kind: str, most: int | None = None) -> str:
    """The rows that pass the filter, as sorted, at most ``most`` of them; all columns of the complete table.

    ``kind``: "csv", the table's columns as :meth:`ChannelReport.to_csv` writes them, or "markdown". Raises
    QuantValueError for another kind, and where the input and settings have no result.
    """
    choose_from("kind", kind, KINDS)
    rows = view.current().study.frame.iloc[list(view.order[:most])]
    return csv_text(rows, {}) if kind == "csv" else _markdown(rows)


def _markdown(rows: pd.DataFrame) -> str:
    """A table with numbers to the right, as their shortest text that reads back exactly."""
    names = [str(name) for name in rows.columns]
    numeric = [rows[name].dtype.kind in "iuf" for name in rows.columns]
    rule = ["---:" if number else "---" for number in numeric]
    cells = [[_markdown_cell(value) for value in rows[name].tolist()] for name in rows.columns]
    lines = [names, rule, *zip(*cells, strict=True)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _markdown_cell(value: object) -> str:
    return repr(float(value)) if isinstance(value, float) else markdown_text(str(value))


class TableCopy:
    """Two buttons, and a text that is made when one of them is first pressed."""

    def __init__(self, kit: Kit) -> None:
        self._kit = kit
        self._view: PanelView | None = None
        self.text: Any = None
        self.parts: list[Any] = []  # made when first needed
        self.buttons = [self._button(kind) for kind in KINDS]
        self.widget = kit.column([], "perchq-copy")

    def _button(self, kind: str) -> Any:
        tooltip = f"Copy the rows that the table shows, on all pages, as {KINDS[kind]}"
        return self._kit.button(self._copier(kind), description=f"Copy {KINDS[kind]}", icon="copy", tooltip=tooltip)

    def _copier(self, kind: str) -> Callable[[], None]:
        return lambda: self.copy(kind)

    def apply(self, view: PanelView) -> None:
        """Take back a text that no longer is what the table shows."""
        last, self._view = self._view, view
        if last is not None and (last.report is not view.report or last.order != view.order):
            self.clear()

    def copy(self, kind: str) -> None:
        """Show the text, selected, and put it on the clipboard where the browser lets us."""
        if self.text is None:
            self.text = self._kit.html()
            close = self._kit.button(self.clear, description="Close", tooltip="Close the text of the table")
            self.parts = [self.text, close]
        try:
            shown = "" if self._view is None else _area(self._view, kind)
        except Exception as error:  # the button has nobody else to tell
            shown = error_html(f"The table was not copied: {error}")
        self.text.value = shown
        self.widget.children = self.parts

    def clear(self) -> None:
        """Remove the text."""
        if self.text is not None:
            set_if_new(self.text, "value", "")
            self.widget.children = []


def _area(view: PanelView, kind: str) -> str:
    text, name, count = table_text(view, kind, MOST_ROWS), KINDS[kind], min(len(view.order), MOST_ROWS)
    rest = f", the first of {len(view.order):,}; all of them are in the CSV export" if count < len(view.order) else ""
    script = _COPY.format(now=int(time.time() * 1000), fresh=int(_FRESH_S * 1000))
    return (
        f'<div class="perchq-note" role="status"><b>Press Ctrl+C (on a Mac ⌘C) to copy</b>: '
        f"{plural(count, 'row')} as {name}{rest}</div>"
        f'<textarea readonly rows="6" spellcheck="false" aria-label="The table as {name}">'
        f"{html.escape(text)}</textarea>"
        f"{on_arrival(script)}"
    )
