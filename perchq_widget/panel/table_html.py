"""One page of the channel table as HTML. pandas' Styler draws it once per shape; each page fills in its cells."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from itertools import chain, zip_longest
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..report.rows import row_flags
from ..report.text import clean_name, column_title, escape, format_cell, short_number, shorten
from ..study.channels import TENSOR_COLUMNS
from .baseline import baseline_columns

if TYPE_CHECKING:
    from .view import PanelView

WAITING = "…"  # what a moving control leaves for later
_SELECTED = ("◆", "selected")
_MARKS = (("▲", "clipped"), ("▼", "low_sqnr"))
_NAME_LIMIT = 28
# A tensor's table is wider than most screens: what one decides by comes first, the rest is a scroll away.
_FIRST = ("channel", "sqnr_db", "clipped", "clipped_pct", "scale", "zero_point", "min", "max")
_HEADS = {"sqnr_delta_db": "Δ SQNR, dB", "clipped_delta_pct": "Δ clipped, points"}
_GAIN = {"sqnr_delta_db": 1, "clipped_delta_pct": -1}  # the sign of a change for the better
_PLACE = "\ue000"  # a private character: no heading holds one once cleaned
_KEY = (
    '<div class="perchq-legend"><span class="perchq-key"><b class="perchq-clip">▲</b> clipped{beyond}</span>'
    '<span class="perchq-key"><b class="perchq-weak">▼</b> low SQNR</span>'
    '<span class="perchq-key"><b class="perchq-pick">◆</b> selected</span></div>'
)


def columns_of(view: PanelView) -> list[str]:
    """The table's columns as the panel orders them, those that are still to come included."""
    assert view.report is not None
    assert view.table is not None
    if view.report.kind != "tensor":
        return [str(name) for name in view.table.columns]
    return [*_FIRST, *(name for name in TENSOR_COLUMNS if name not in _FIRST)]


def page_html(view: PanelView) -> str:
    """The page of ``view`` as an HTML table by pandas' Styler; marks and classes, no colour alone."""
    assert view.report is not None
    assert view.table is not None
    rows = list(view.rows_on_page)
    page, deltas = view.table.iloc[rows], baseline_columns(view)
    columns = columns_of(view)
    cells = {name: _texts(page, name) for name in columns}
    classes: dict[str, list[str]] = {}
    for name in [] if deltas is None else [str(each) for each in deltas.columns]:
        assert deltas is not None
        values = deltas[name].to_numpy(np.float64)[rows]
        cells[name], classes[name] = [_signed(value) for value in values], [_turn(name, value) for value in values]
        columns.insert(columns.index("sqnr_db") + len(classes), name)
    flags = [_flags(row == view.row, found) for row, found in zip(rows, row_flags(page), strict=True)]
    fills = _fills(flags, [(cells[name], classes.get(name)) for name in columns])
    pieces = _template(tuple(columns), len(rows))
    filled = chain.from_iterable(zip_longest(pieces, [escape(view.report.caption), *fills], fillvalue=""))
    # A value less than a code outside is counted, and no reason to mark its channel.
    return "".join(filled) + _KEY.format(beyond=" by more than a code" if view.report.kind == "tensor" else "")


def _fills(flags: list[list[tuple[str, str]]], columns: list[tuple[list[str], list[str] | None]]) -> Iterator[str]:
    """Class and text of every cell, as they follow one another in the table."""
    for row, found in enumerate(flags):
        classes = " ".join(name for _, name in found)
        yield classes
        yield _marked(found)
        for texts, own in columns:
            yield classes if own is None else f"{classes} {own[row]}"
            yield texts[row]


def _marked(found: list[tuple[str, str]]) -> str:
    """The marks of a row, and in words for whoever hears the table."""
    if not found:
        return ""
    words = ", ".join(name.replace("low_sqnr", "low SQNR") for _, name in found)
    return f'<span aria-hidden="true">{"".join(mark for mark, _ in found)}</span><span class="perchq-sr">{words}</span>'


@lru_cache(maxsize=32)
def _template(columns: tuple[str, ...], n_rows: int) -> tuple[str, ...]:
    """The table drawn by Styler, cut where the caption and then each cell's class and text are to be filled in.

    Drawing 16 rows anew takes Styler 20 ms and more, which a control that moves does not have.
    """
    from pandas.io.formats.style import Styler

    titles = [escape(_HEADS.get(name, column_title(name))) for name in columns]
    heads = ['<span class="perchq-sr">marks</span>', *titles]
    frame = pd.DataFrame(np.full((n_rows, len(heads)), _PLACE, dtype=object), columns=pd.Index(heads))
    styler = Styler(frame, uuid="perchq", cell_ids=False, caption=_PLACE).hide(axis="index").set_td_classes(frame)
    html = str(styler.set_table_attributes('class="perchq-table"').to_html())
    table = html[html.index("<table") :].replace(' id="T_perchq"', "")  # panels share a page, and ids do not repeat
    table = re.sub(r'class="col_heading level0 col\d+" ', 'scope="col"', re.sub(r"data row\d+ col\d+ ", "", table))
    return tuple(re.sub(r"\n\s+", "\n", table).split(_PLACE))  # what nobody reads need not cross to the browser


def _texts(page: pd.DataFrame, column: str) -> list[str]:
    if column not in page.columns:
        return [WAITING] * len(page)
    return [_cell(column, value) for value in page[column].tolist()]


def _cell(column: str, value: Any) -> str:
    if column == "channel":
        return escape(shorten(clean_name(str(value)), _NAME_LIMIT))
    if column == "zero_point" and value != value:
        return "–"  # shared-scale formats have none
    return escape(format_cell(column, value))


def _signed(change: float) -> str:
    """A change with its sign, so that the colour repeats it and does not tell it alone."""
    text = f"{change:+.2f}" if abs(change) < 1e6 else f"{'+' if change > 0 else '-'}{short_number(abs(change))}"
    return "0.00" if change == 0 or text in ("+0.00", "-0.00") else "no value" if change != change else text


def _turn(column: str, change: float) -> str:
    gain = _GAIN[column] * change
    return "better" if gain >= 0.005 else "worse" if gain <= -0.005 else "same"


def _flags(selected: bool, found: list[str]) -> list[tuple[str, str]]:
    """(mark, class) pairs of a row."""
    return [_SELECTED] * selected + [each for each in _MARKS if each[1] in found]
