"""Python that gives the same result again. Untrusted names and lines enter as ASCII literals and as nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_WIDTH = 100


def lines_literal(lines: str) -> str:
    """``lines`` as a Python expression, one literal per line; it evaluates to the same text.

    A final line break is added where there is none: text without one might be taken for the name of a file.
    """
    text = lines if lines.endswith("\n") else f"{lines}\n"
    parts = "".join(f"    {line!a}\n" for line in text.splitlines(keepends=True))
    return f"(\n{parts})"


def text_block(text: str) -> str:
    """``text`` as a literal in triple quotes, line below line; it evaluates to the same text, with a final line break.

    Backslashes, quotes and all that is no printable ASCII are escaped, so that nothing in it can end the literal.
    """
    whole = text if text.endswith("\n") else f"{text}\n"
    lines = (line.encode("unicode_escape").decode("ascii").replace('"', '\\"') for line in whole.split("\n"))
    body = "\n".join(lines)
    return f'"""\\\n{body}"""'


def call(function: str, first: str, arguments: Mapping[str, Any]) -> str:
    """``function(first, name=value, ...)`` with every value as an ASCII literal, one per line if it is long."""
    given = [first, *(f"{name}={value!a}" for name, value in arguments.items())]
    line = f"{function}({', '.join(given)})"
    return line if len(line) <= _WIDTH else f"{function}(\n" + "".join(f"    {each},\n" for each in given) + ")"


def comment(text: str) -> str:
    """``text`` as one line of comment: ASCII, nothing in it can end the line."""
    return f"# {ascii(text)[1:-1]}"
