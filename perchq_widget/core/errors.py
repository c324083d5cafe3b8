"""The errors of the package. All derive from :class:`QuantError`, so one ``except`` catches them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches


class QuantError(Exception):
    """Base class of every error that the package raises on purpose."""


class QuantValueError(QuantError, ValueError):
    """An argument, line or file holds a value that a rule forbids."""


class QuantTypeError(QuantError, TypeError):
    """An argument is of a kind that cannot be used here."""


class MissingExtra(QuantError, ImportError):  # noqa: N818 -- says what is missing, as users read it
    """An optional dependency is not installed; the message holds the ``pip install`` line."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(
            f'this needs the package {package!r}, which is not installed: pip install "perchq_widget[{extra}]"'
        )


@dataclass(frozen=True, slots=True)
class LineError:
    """One input line that could not be used: its 1-based number, its text and the reason."""

    line: int
    text: str
    reason: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.reason} (got {self.text!r})"


class LinesError(QuantValueError):
    """No usable line at all. ``errors`` holds every :class:`LineError`."""

    def __init__(self, errors: Iterable[LineError], message: str = "no usable line in the input") -> None:
        self.errors = tuple(errors)
        details = "".join(f"\n  {error}" for error in self.errors[:20])
        more = f"\n  ... and {len(self.errors) - 20} more" if len(self.errors) > 20 else ""
        super().__init__(message + details + more)


def choose_from(argument: str, value: object, choices: Iterable[str]) -> str:
    """Return ``value`` if it is one of ``choices``; else raise, naming the argument and the nearest choice."""
    known = list(choices)
    if isinstance(value, str) and value in known:
        return value
    near = get_close_matches(value, known, n=1) if isinstance(value, str) else []
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise QuantValueError(f"{argument} must be one of {', '.join(map(repr, known))}, got {value!r}{hint}")
