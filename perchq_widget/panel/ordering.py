"""Which channel is selected, and which rows the table shows in which order: pure functions of intent and table."""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ..core.rules import finding_names, line_hits
from ..report.rows import rows_with
from ..report.text import shorten
from .state import GIVEN, WORST

if TYPE_CHECKING:
    import pandas as pd

    from ..study.channels import ChannelTable
    from .state import Intent

_POSITION = re.compile(r"[+-]?\d{1,9}")
_SPAN = re.compile(r"\s*(\d{1,9})\s*[-–:]\s*(\d{1,9})\s*")
_LOOK = ("sort", "descending", "find", "finding")

Mask = npt.NDArray[np.bool_]


def known_table(intent: Intent, study: ChannelTable) -> pd.DataFrame:
    """What is known of the table; the whole of it where the column to sort by is not known yet."""
    column = _sort_column(intent)
    return study.known if column is None or column in study.known.columns else study.frame


def findings_by_row(study: ChannelTable, table: pd.DataFrame) -> list[str]:
    """Per row its findings, joined with "; ": a tensor's column, or what the rules say of a calculator's lines."""
    if "findings" in table.columns:
        return [str(names) for names in table["findings"].tolist()]
    return finding_names(line_hits(table, study.kind, study.scheme), len(table))


def same_look(one: Intent, other: Intent) -> bool:
    """Whether two intents filter and sort alike."""
    return all(getattr(one, name) == getattr(other, name) for name in _LOOK)


def order_of(intent: Intent, table: pd.DataFrame, names: Sequence[str], findings: Sequence[str]) -> tuple[int, ...]:
    """Numbers of the rows that pass the filter, as sorted."""
    rows = _ascending(intent, table)
    rows = rows[::-1] if intent.descending else rows
    mask = _passing(intent, names, findings)
    return tuple((rows if mask is None else rows[mask[rows]]).tolist())


def _passing(intent: Intent, names: Sequence[str], findings: Sequence[str]) -> Mask | None:
    """Which rows pass the filter, None if there is none."""
    masks = [] if intent.finding is None else [rows_with(intent.finding, findings)]
    if intent.find.strip():
        masks.append(_found(intent.find, names))
    return np.logical_and.reduce(masks) if masks else None


def _found(find: str, names: Sequence[str]) -> Mask:
    """Names that hold the text, whatever the case; ``10-20`` and ``10:20`` mean positions too, both ends included."""
    wanted = find.strip().casefold()
    mask = np.fromiter((wanted in name.casefold() for name in names), bool, len(names))
    span = position_span(find)
    if span is not None:
        mask[span[0] : span[1] + 1] = True
    return mask


def position_span(find: str) -> tuple[int, int] | None:
    """The first and the last position that ``find`` means beside part of a name, None if it is no span."""
    span = _SPAN.fullmatch(find)
    return None if span is None else (int(span[1]), int(span[2]))


def _sort_column(intent: Intent) -> str | None:
    return None if intent.sort == GIVEN else "sqnr_db" if intent.sort == WORST else intent.sort


def _ascending(intent: Intent, table: pd.DataFrame) -> npt.NDArray[np.intp]:
    """Rows by the column to sort by; a tensor's channels are numbered, a calculator's names hold numbers."""
    column = _sort_column(intent)
    if column is None or (column == "channel" and intent.tensor is not None):
        return np.arange(len(table))
    if column != "channel":
        return np.argsort(table[column].to_numpy(), kind="stable")
    keys = [_natural(str(name)) for name in table["channel"]]
    return np.array(sorted(range(len(keys)), key=keys.__getitem__), dtype=np.intp)


def _natural(name: str) -> list[tuple[int, int, str]]:
    """A sort key by which filter_10 comes after filter_9."""
    parts = re.split(r"(\d{1,18})", name)
    return [(int(part), 0, "") if at % 2 else (-1, 1, part.casefold()) for at, part in enumerate(parts)]


def _worst_row(table: pd.DataFrame) -> int:
    """The row with the lowest SQNR; the first of equals."""
    return int(np.argmin(table["sqnr_db"].to_numpy(dtype=np.float64)))


def select_row(table: pd.DataFrame, names: tuple[str, ...], channel: str | int | None) -> tuple[int, str]:
    """The row that ``channel`` names, and a note where there is none of that name (then the worst)."""
    if channel is None:
        return _worst_row(table), ""
    text = channel_text(channel)
    if text in names:
        return names.index(text), ""
    position = int(text) if _POSITION.fullmatch(text) else len(names)
    if -len(names) <= position < len(names):
        return position % len(names), ""
    text = shorten(text, 80)
    near = get_close_matches(text, names[:5000], n=1)
    hint = f"; did you mean {near[0]!r}?" if near else f"; there are {len(names)}"
    return _worst_row(table), f"no channel {text!r}{hint}. The worst one is shown."


def channel_text(channel: str | int) -> str:
    """What the channel's box shows for what was asked for; Python writes no integer of 5,000 digits."""
    return channel if isinstance(channel, str) else str(channel) if abs(channel) < 10**12 else hex(channel)
