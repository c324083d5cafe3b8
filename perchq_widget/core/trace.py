"""Arithmetic that can tell its steps: the same functions compute a million scales and explain one.

A range rule passes each intermediate value through ``note``. :func:`silent` gives it back at once; a :class:`Tracer`
keeps name, formula, the formula with its numbers put in, and the result, in the precision it was computed in.
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import numpy as np

T = TypeVar("T")
_NAME = re.compile(r"[A-Za-z_]\w*(?!\w*\()")
_LONE = re.compile(r"(?<!\w)\((_\d+)\)")
_OPERATORS: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
}  # fmt: skip


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


class Typed(float):
    """A number that is shown as it was typed."""

    text: str

    def __new__(cls, value: float, text: str) -> Typed:
        """``value``, shown as ``text``."""
        typed = super().__new__(cls, value)
        typed.text = text
        return typed


@dataclass(slots=True)
class Tracer:
    """Keeps the steps of one computation. ``known`` are the numbers that formulas may name."""

    known: dict[str, Any]
    steps: list[Step] = field(default_factory=list)

    def __call__(self, name: str, formula: str, value: T, why: str = "") -> T:
        """Keep the step; its result can be named by the next ones."""
        forms = [insert_numbers(formula, self.known), worked_out(formula, self.known)]
        put_in = " = ".join(dict.fromkeys(form for form in forms if form not in ("", formula)))
        self.steps.append(Step(name, formula, put_in, number(value), why))
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
    """``formula`` with the names in ``known`` replaced by their numbers, negative ones in brackets where needed."""

    def put(match: re.Match[str]) -> str:
        name = match.group()
        if name not in known:
            return name
        text = number(known[name])
        before = formula[: match.start()].rstrip()
        return f"({text})" if text.startswith("-") and before and before[-1] not in "(,|" else text

    return _NAME.sub(put, formula)


def worked_out(formula: str, known: Mapping[str, Any]) -> str:
    """``formula`` with its inner sums and products as numbers: ``3.2 / 255`` for ``(max - min) / (127 + 128)``.

    They follow from the numbers as shown, as a reader would work them out. "" where there are none, or where the
    formula is no expression of names in ``known``.
    """
    try:
        root = ast.parse(formula, mode="eval").body
        found = [(node, _value(node, known)) for node in _inner_sums(root)]
    except (SyntaxError, KeyError, ZeroDivisionError):
        return ""
    if not found:
        return ""
    text, names = formula, dict(known)
    for index, (node, value) in reversed(list(enumerate(found))):
        names[f"_{index}"] = value
        text = f"{text[: node.col_offset]}_{index}{text[node.end_col_offset :]}"
    return insert_numbers(_LONE.sub(r"\1", text), names)


def _inner_sums(root: ast.expr) -> Iterator[ast.expr]:
    """The largest parts below ``root`` that are arithmetic of names and numbers alone, in the order of the text."""
    for child in ast.iter_child_nodes(root):
        inside = {type(node) for node in ast.walk(child)}
        if isinstance(child, (ast.BinOp, ast.UnaryOp)) and ast.Name in inside and ast.Call not in inside:
            yield child
        elif isinstance(child, (ast.BinOp, ast.Call)):
            yield from _inner_sums(child)


def _value(node: ast.expr, known: Mapping[str, Any]) -> float:
    """What an arithmetic expression gives; KeyError for what it cannot name."""
    if isinstance(node, ast.Name):
        return _as_shown(known[node.id])
    if isinstance(node, ast.Constant):
        return float(node.value) if isinstance(node.value, float) else int(str(node.value))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_value(node.operand, known)
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        return _OPERATORS[type(node.op)](_value(node.left, known), _value(node.right, known))
    raise KeyError(ast.dump(node))


def _as_shown(value: object) -> float:
    text = number(value)
    return int(text) if text.lstrip("-").isdigit() else float(text)


def number(value: object) -> str:
    """Eight significant digits, as the table shows them; integers and texts in full.

    A float32 that six digits name is written with those: 34.898 and not 34.897999.
    """
    if isinstance(value, (str, Typed)):
        return value.text if isinstance(value, Typed) else value
    array = np.asarray(value)
    item = array.item()
    if isinstance(item, (int, bool)):
        return str(item)
    short = f"{float(item):.6g}"
    return short if array.dtype == np.float32 and np.float32(short) == item else f"{float(item):.8g}"
