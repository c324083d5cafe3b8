"""The channel table of a report: sizes, orientation and flags decided here, so that Typst only sets it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from .text import breakable
from .values import items, mapping, number, text
from .widths import LANDSCAPE_PT, PORTRAIT_PT, column_ems, fit_columns

_MAX_ROWS = 400
_MAX_COLUMNS = 40
_FLAG_COLUMN_PT = 14.0
_INSET_PT = 5.5
_LARGEST_PT = 8.5
_WIDEST_EM = 16.0
_NUMERIC = re.compile(r"[-+−]?(\d[\d\u2009, _]*\.?\d*|\.\d+)([eE][-+]?\d+)?\s?(%|dB)?|[-+−]?inf|[-−]?∞|nan|–|—|")

View = dict[str, Any]


def table_view(source: Mapping[str, Any]) -> View:
    """Return columns, rows, flags, type size and page orientation of the channel table.

    ``display_rows`` are printed as they are; ``rows`` only where they are missing.
    """
    columns = [text(name)[:120] for name in items(source.get("columns"))[:_MAX_COLUMNS]]
    rows = _cells(source, len(columns))
    flags = [[text(flag) for flag in items(row)[:8]] for row in items(source.get("row_flags"))[: len(rows)]]
    flags += [[] for _ in range(len(rows) - len(flags))]
    sides = [_side(x, [row[x] for row in rows]) for x in range(len(columns))]
    natural = [_natural(name, [row[x] for row in rows]) for x, name in enumerate(columns)]
    landscape = sum(natural) * 7.5 + _INSET_PT * len(natural) + _FLAG_COLUMN_PT > PORTRAIT_PT
    available = (LANDSCAPE_PT if landscape else PORTRAIT_PT) - _FLAG_COLUMN_PT
    fit = fit_columns(natural, available, inset=_INSET_PT, largest=_LARGEST_PT, keep=1)
    widths = _stretch(fit.widths, available)
    parts = [_part(chosen, columns, rows, sides, widths, fit.size) for chosen in fit.parts] if columns else []
    return {
        "parts": parts if rows else [],
        "flags": flags,
        "size": fit.size,
        "landscape": landscape and len(rows) > 0,
        "note": _note(source, len(rows)),
        "has-clipped": any("clipped" in row for row in flags),
        "has-low": any("low_sqnr" in row for row in flags),
    }


def _stretch(widths: tuple[float, ...], available: float) -> tuple[float, ...]:
    """Let a table that nearly fills the page fill it; a small one keeps its columns together."""
    scale = min(1.3, available / sum(widths)) if sum(widths) > 0.65 * available else 1.0
    return tuple(round(width * max(1.0, scale) - 0.05, 1) for width in widths)


def _cells(source: Mapping[str, Any], width: int) -> list[list[str]]:
    shown = items(source.get("display_rows"))
    rows = shown if shown else items(source.get("rows"))
    limited = [items(row)[:width] for row in rows[:_MAX_ROWS]]
    return [[text(cell)[:2000] for cell in row] + [""] * (width - len(row)) for row in limited]


def _side(column: int, cells: list[str]) -> str:
    """Numbers to the right, yes and no in the middle; the first column names the channel, digits or not."""
    if column > 0 and all(_NUMERIC.fullmatch(cell) for cell in cells) and any(cells):
        return "right"
    return "center" if set(cells) <= {"yes", "no"} else "left"


def _natural(header: str, cells: list[str]) -> float:
    # A header breaks at its underscores, so only its longest word claims width.
    words = re.split(r"(?<=_)|\s", header)
    return max(column_ems(cells, _WIDEST_EM), column_ems(words, _WIDEST_EM) * 1.06) + 0.2


def _part(
    chosen: tuple[int, ...],
    columns: list[str],
    texts: list[list[str]],
    sides: list[str],
    widths: tuple[float, ...],
    size: float,
) -> View:
    heads = [{"name": _breaking_name(columns[x]), "width": widths[x], "side": sides[x]} for x in chosen]
    room = [max(4, int((widths[x] - _INSET_PT) / size / 0.55)) for x in chosen]
    rows = [[breakable(row[x], limit) for x, limit in zip(chosen, room, strict=True)] for row in texts]
    return {"columns": heads, "rows": rows}


def _breaking_name(name: str) -> str:
    return breakable(name.replace("_", "_\u200b"), 24)


def _note(source: Mapping[str, Any], shown: int) -> str:
    note = text(source.get("rows_note"))
    if note:
        return note
    total = source.get("rows_total")
    if total == shown:
        return f"All {shown} channels." if shown > 1 else ""
    channels = mapping(source.get("tensor")).get("n_channels")
    return f"{shown} of {number(total) or number(channels) or shown} rows shown." if shown else ""
