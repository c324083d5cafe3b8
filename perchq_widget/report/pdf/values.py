"""Reading untrusted JSON: each function takes anything and returns one type."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

_MAX_TEXT = 20_000
_OPERATORS = ((" * ", " × "), (" - ", " − "), (">=", "≥"), ("<=", "≤"), ("->", "→"))


def mapping(value: object) -> Mapping[str, Any]:
    """Return ``value`` if it is a mapping, else an empty one."""
    return value if isinstance(value, Mapping) else {}


def items(value: object) -> list[Any]:
    """Return ``value`` if it is a list or tuple, else an empty list."""
    return list(value) if isinstance(value, list | tuple) else []


def text(value: object) -> str:
    """Return a scalar as text, None and containers as nothing; at most 20,000 characters."""
    if value is None or isinstance(value, Mapping | list | tuple):
        return ""
    return (value if isinstance(value, str) else str(value))[:_MAX_TEXT]


def number(value: object, unit: str = "") -> str:
    """Return a number for reading: whole ones with thin groups, others with five significant digits."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        shown = {"inf": "∞", "-inf": "−∞", "nan": "not a number"}.get(text(value), text(value))
        return shown + unit if shown else ""
    if isinstance(value, float) and not math.isfinite(value):
        return number(str(value), unit)
    whole = isinstance(value, int) or (value.is_integer() and abs(value) < 1e15)
    shown = f"{int(value):,}".replace(",", "\u2009") if whole else f"{value:.5g}"
    return shown.replace("-", "−") + unit


def decibels(value: object) -> str:
    """Return a level with two decimals, as the summary prints it."""
    finite = isinstance(value, float | int) and not isinstance(value, bool) and math.isfinite(value)
    return f"{value:.2f} dB".replace("-", "−") if finite else number(value, " dB")


def pair_rows(value: object) -> list[list[str]]:
    """Return ``[[label, text], ...]``, skipping whatever is not such a pair."""
    pairs = [items(row) for row in items(value)[:60]]
    return [[text(pair[0]), text(pair[1])] for pair in pairs if len(pair) == 2]


def shorten(words: str, limit: int) -> str:
    """Return ``words`` with an ellipsis in place of what is beyond ``limit`` characters."""
    return words if len(words) <= limit else words[: limit - 1] + "…"


def shorten_middle(name: str, limit: int) -> str:
    """Return ``name`` with an ellipsis inside: channels of one tensor differ at their ends."""
    tail = limit // 2
    return name if len(name) <= limit else f"{name[: limit - tail - 1]}…{name[-tail:]}"


def operators(formula: str) -> str:
    """Return a formula typed on a keyboard with the operators a typesetter would use."""
    for typed, printed in _OPERATORS:
        formula = formula.replace(typed, printed)
    return formula
