"""How wide text will be, estimated before it is set: Typst's own measuring of large tables is slow, ours is a sum."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

PORTRAIT_PT = 481.0  # A4 less two margins of 20 mm
LANDSCAPE_PT = 756.0  # A4 turned, less two margins of 15 mm
PAGE_HEIGHT_PT = 660.0
SMALLEST_PT = 6.0

_NARROW = frozenset("iljtf.,:;'|!()[]I ")
_WIDE = frozenset("mwMW@%▲▼")


@dataclass(frozen=True, slots=True)
class Fit:
    """How a table is set: type size and column widths in points, and the columns of each part (split when wide)."""

    size: float
    widths: tuple[float, ...]
    parts: tuple[tuple[int, ...], ...]


def ems(text: str) -> float:
    """Return the estimated width of one line of the serif text face, in em; errs to the wide side."""
    return sum(0.32 if c in _NARROW else 0.85 if c in _WIDE else 0.68 if c.isupper() else 0.51 for c in text)


def column_ems(cells: Sequence[str], limit: float) -> float:
    """Return the width of a column's widest line in em, at most ``limit`` (longer text wraps)."""
    longest = sorted({line for cell in cells for line in cell.split("\n")}, key=len)[-8:]
    return min(limit, max((ems(line) for line in longest), default=1.0))


def fit_columns(natural: Sequence[float], available: float, *, inset: float, largest: float, keep: int = 0) -> Fit:
    """Choose the largest type size (down to 6 pt) at which columns of ``natural`` em fit ``available`` points.

    ``inset`` is the horizontal padding of a cell in points. What does not fit at 6 pt is first given narrower text
    columns and then split into parts, each of which repeats the first ``keep`` columns.
    """
    size = largest
    while size > SMALLEST_PT and sum(natural) * size + inset * len(natural) > available:
        size = max(SMALLEST_PT, size - 0.25)
    widths = [em * size + inset for em in natural]
    if sum(widths) > available:
        widths = _squeeze(widths, available)
    everything = tuple(range(len(widths)))
    parts = (everything,) if sum(widths) <= available + 0.01 else _split(widths, available, keep)
    return Fit(size, tuple(round(width, 1) for width in widths), parts)


def _squeeze(widths: list[float], available: float, floor: float = 58.0) -> list[float]:
    """Take what is missing from columns wider than ``floor``, in proportion; text in them wraps."""
    spare = sum(max(0.0, width - floor) for width in widths)
    missing = sum(widths) - available
    if spare <= 0:
        return widths
    share = min(1.0, missing / spare)
    return [width - max(0.0, width - floor) * share for width in widths]


def _split(widths: list[float], available: float, keep: int) -> tuple[tuple[int, ...], ...]:
    keep = keep if sum(widths[:keep]) < available / 2 else 0
    head = tuple(range(keep))
    room = available - sum(widths[:keep])
    parts: list[tuple[int, ...]] = []
    current: tuple[int, ...] = ()
    used = 0.0
    for index in range(keep, len(widths)):
        if current and used + widths[index] > room:
            parts.append(head + current)
            current, used = (), 0.0
        current, used = (*current, index), used + widths[index]
    return (*parts, head + current)
