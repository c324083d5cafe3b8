"""Numbers as somebody typed them: what is accepted as a decimal, and how a Python number becomes one.

The text is kept, because the calculator decides its rounding on the exact decimal; so a text is accepted only
if its exact fraction is cheap, which a few bytes such as ``1e999999999`` would otherwise make impossible.
"""

from __future__ import annotations

import re
from decimal import Decimal

import numpy as np

MAX_CHARACTERS = 1000
"""Longest accepted number. The longest exact float64 decimal has 767 significant digits."""

MAX_EXPONENT = 2000
"""Largest accepted written exponent; values are further limited to the float64 range."""

_DECIMAL = re.compile(r"[+-]?([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE]([+-]?[0-9]+))?")
_NOT_FINITE = re.compile(r"[+-]?(?:nan|inf|infinity)", re.IGNORECASE)
_MISSING_TYPES = frozenset({"NoneType", "NAType", "NaTType"})
_BOOL_TYPES = (bool, np.bool_)


def clip_text(text: str, limit: int) -> str:
    """``text``, or its first ``limit`` characters and an ellipsis."""
    return text if len(text) <= limit else text[:limit] + "…"


def decimal_problem(text: str) -> str | None:
    """Why ``text`` is not a usable number, or None if it is one (ASCII digits, point, exponent; float64 range)."""
    shown = repr(clip_text(text, 40))
    if len(text) > MAX_CHARACTERS:
        return f"{shown} has {len(text)} characters; write at most {MAX_CHARACTERS}"
    if _NOT_FINITE.fullmatch(text):
        return f"{shown} is not finite; write a finite number"
    match = _DECIMAL.fullmatch(text)
    if match is None:
        return f"{shown} is not a number{_hint(text)}"
    return _range_problem(text, match[1], match[2] or "0", shown)


def _range_problem(text: str, mantissa: str, exponent: str, shown: str) -> str | None:
    if abs(int(exponent)) > MAX_EXPONENT or abs(float(text)) == float("inf"):
        return f"{shown} is outside the float64 range (up to 1.8e308)"
    if float(text) == 0 and mantissa.strip("0."):
        return f"{shown} is closer to zero than float64 can hold (down to 4.9e-324); write 0 if that is meant"
    return None


def _hint(text: str) -> str:
    """What to write instead, for the usual slips; empty if the slip is another one."""
    repaired = text.replace("\u2212", "-").replace("_", "").replace(" ", "")
    if repaired.count(",") == 1 and "." not in repaired:
        repaired = repaired.replace(",", ".")
    if repaired.isascii() and _DECIMAL.fullmatch(repaired):
        return f": write {clip_text(repaired, 40)}"
    return " (digits 0-9, a point and an exponent such as 1e-3)"


def is_missing(cell: object) -> bool:
    """True for None and for pandas' NA and NaT, which are recognised without importing pandas."""
    return type(cell).__name__ in _MISSING_TYPES


def number_text(cell: object) -> str:
    """The shortest decimal text of a cell in the cell's own precision; text stays as typed, missing gives ''.

    ``np.float64(0.1)`` and ``np.float32(0.1)`` both give ``'0.1'``. Anything else gives its ``repr``, which
    :func:`decimal_problem` then refuses by name.
    """
    if isinstance(cell, str):
        return cell.strip()
    if is_missing(cell):
        return ""
    if isinstance(cell, _BOOL_TYPES):
        return repr(bool(cell))
    if isinstance(cell, (int, np.integer)):
        return _integer_text(int(cell))
    if isinstance(cell, float):
        return float.__repr__(cell)
    return str(cell) if isinstance(cell, (np.generic, Decimal)) else repr(cell)


def _integer_text(value: int) -> str:
    # str() of a very long int raises; the length check of decimal_problem must get to speak first.
    return str(value) if value.bit_length() < 4 * MAX_CHARACTERS else hex(value)
