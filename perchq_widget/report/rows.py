"""The channel table as rows of a document: which rows, in which order, how they read, which stand out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from perchq_widget.core.rules import LOW_SQNR_DB
from perchq_widget.report.text import format_cell, short_number

if TYPE_CHECKING:
    import pandas as pd

MOST_ROWS = 200
WORST_ROWS = 100
#: Between the names in a cell of the column "findings".
SEPARATOR = "; "


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of a document, parallel: raw cells, the same as text, and flags (``clipped``, ``low_sqnr``)."""

    columns: list[str]
    cells: list[list[object]]
    texts: list[list[str]]
    flags: list[list[str]]
    total: int

    @property
    def note(self) -> str:
        """What is left out and where it is; empty if nothing is."""
        if len(self.cells) == self.total:
            return ""
        return (
            f"The {len(self.cells):,} channels with the lowest SQNR, worst first, of {self.total:,}. "
            "All of them are in the CSV and JSON exports and in report.table."
        )


def worst_first(sqnr_db: NDArray[np.float64]) -> NDArray[np.intp]:
    """Positions from lowest to highest SQNR; ties in table order.

    Channels without a value (NaN: no finite number in them) come first, for nothing else is known of them.
    """
    return np.argsort(np.where(np.isnan(sqnr_db), -np.inf, sqnr_db), kind="stable")


def take_rows(table: pd.DataFrame, most: int | None = None) -> Rows:
    """All rows in table order if there are at most ``most`` (0: any number), else the ``most`` worst, worst first.

    None is what a page can hold: all up to 200, else the worst 100.
    """
    total = len(table)
    keep = (total if total <= MOST_ROWS else WORST_ROWS) if most is None else most
    shown = table
    if 0 < keep < total:
        shown = table.iloc[worst_first(table["sqnr_db"].to_numpy(dtype=np.float64))[:keep]]
    columns = [str(column) for column in table.columns]
    series = [shown[column].tolist() for column in table.columns]
    texts = [_texts(name, cells, "n" in columns) for name, cells in zip(columns, series, strict=True)]
    return Rows(columns, _by_row(series), _by_row(texts), row_flags(shown), total)


def _texts(column: str, cells: Sequence[object], measured: bool) -> list[str]:
    """A typed bound keeps its decimals; of a measured one, seven digits are all that float32 holds."""
    if measured and column in ("min", "max"):
        return [short_number(float(str(cell)), 7, commas=False) for cell in cells]
    return [format_cell(column, cell) for cell in cells]


def _by_row(columns: Sequence[Sequence[Any]]) -> list[list[Any]]:
    return [list(row) for row in zip(*columns, strict=True)]


def row_flags(table: pd.DataFrame) -> list[list[str]]:
    """Per row which of ``clipped`` and ``low_sqnr`` hold; see :func:`clipped_rows`."""
    clipped = clipped_rows(table).tolist()
    low = (table["sqnr_db"].to_numpy(dtype=np.float64) < LOW_SQNR_DB).tolist()
    marked = zip(clipped, low, strict=True)
    return [["clipped"] * is_clipped + ["low_sqnr"] * is_low for is_clipped, is_low in marked]


def clipped_rows(table: pd.DataFrame) -> NDArray[np.bool_]:
    """Which rows count as clipped, a mask of their number; of many rows as fast as of few different findings.

    A calculator's row is clipped if its sample is. A tensor's channel is if it has the finding: under rules that
    divide by 127.5 the extreme value lies half a step outside, and its clip by one step is normal.
    """
    if "findings" not in table.columns:
        return table["clipped"].to_numpy(dtype=bool)
    return rows_with("clipped", table["findings"].tolist())


def rows_with(finding: str, findings: Sequence[str]) -> NDArray[np.bool_]:
    """Which rows have ``finding`` among theirs, written as in the table's column: joined with "; "."""
    has = {names: finding in str(names).split(SEPARATOR) for names in set(findings)}  # few differ among thousands
    if len(set(has.values())) < 2:  # none, or all: the usual case while a control moves
        return np.full(len(findings), any(has.values()))
    return np.fromiter(map(has.__getitem__, findings), bool, len(findings))


def finding_counts(findings: Iterable[str]) -> dict[str, int]:
    """How many rows have each finding, the most frequent first."""
    counts: Counter[str] = Counter()
    for names, n in Counter(findings).items():
        counts.update(dict.fromkeys(names.split(SEPARATOR), n) if names else {})
    return dict(counts.most_common())
