"""Arithmetic that can tell its steps: the same functions compute a million scales and explain one.

A range rule passes each intermediate value through ``note``. :func:`silent` gives it back at once; a :class:`Tracer`
keeps name, formula, the formula with its numbers put in, and the result, in the precision it was computed in.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import numpy as np

T = TypeVar("T")
_NAME = re.compile(r"[A-Za-z_]\w*(?!\w*\()")


class Note(Protocol):
    """What a rule calls with each intermediate value; returns the value."""

    def __call__(self, name: str, formula: str, value: T, why: str = "") -> T:
        """Take note of ``value``, called ``name``, computed by ``formula``."""


def silent(name: str, formula: str, value: T, why: str = "") -> T:
    """Take no note: for the arithmetic itself."""
    return value


@dataclass(frozen=True, slots=True)
class Step:
    """One line of a derivation: the general formula, the numbers put in, the result, and a remark or ""."""

    name: str
    formula: str
    numbers: str
    result: str
    note: str = ""


@dataclass(slots=True)
class Tracer:
    """Keeps the steps of one computation. ``known`` are the numbers that formulas may name."""

    known: dict[str, Any]
    steps: list[Step] = field(default_factory=list)

    def __call__(self, name: str, formula: str, value: T, why: str = "") -> T:
        """Keep the step; its result can be named by the next ones."""
        put_in = insert_numbers(formula, self.known)
        self.steps.append(Step(name, formula, "" if put_in == formula else put_in, number(value), why))
        self.known[name.replace(" ", "_")] = value
        return value


@dataclass(frozen=True, slots=True)
class Formula:
    """One step of an element kernel: its words, and the same step on one number's variables."""

    name: str
    text: str
    compute: Callable[[Mapping[str, Any]], Any]
    why: str = ""


def follow(formulas: tuple[Formula, ...], tracer: Tracer) -> None:
    """Work the formulas out one after the other on the tracer's numbers."""
    for each in formulas:
        with np.errstate(over="ignore", under="ignore", invalid="ignore", divide="ignore"):
            tracer(each.name, each.text, each.compute(tracer.known), each.why)


def insert_numbers(formula: str, known: Mapping[str, Any]) -> str:
    """``formula`` with the names in ``known`` replaced by their numbers, negative ones in brackets."""

    def put(match: re.Match[str]) -> str:
        name = match.group()
        if name not in known:
            return name
        text = number(known[name])
        return f"({text})" if text.startswith("-") else text

    return _NAME.sub(put, formula)


def number(value: object) -> str:
    """Eight significant digits, as the table shows them; integers and texts in full."""
    if isinstance(value, str):
        return value
    item = np.asarray(value).item()
    return str(item) if isinstance(item, (int, bool)) else f"{item:.8g}"
