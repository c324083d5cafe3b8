"""Pinned states: named moments of a panel to compare later ones with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..core.errors import QuantTypeError, QuantValueError
from ..report.text import shorten

if TYPE_CHECKING:
    from ..report.documents import ChannelReport
    from .state import Intent

MOST_PINS = 4


@dataclass(frozen=True, eq=False)
class Pin:
    """A state under a name: what was asked for, and what came of it."""

    name: str
    intent: Intent
    report: ChannelReport


def with_pin(pins: tuple[Pin, ...], pin: Pin) -> tuple[Pin, ...]:
    """``pins`` and one more; one of the same name is replaced in its place."""
    name: object = pin.name
    if not isinstance(name, str) or not name.strip():
        raise QuantTypeError(f"name must be a text that names the pin, got {name!r:.80}")
    if any(each.name == pin.name for each in pins):
        return tuple(pin if each.name == pin.name else each for each in pins)
    if len(pins) >= MOST_PINS:
        names = ", ".join(repr(shorten(each.name, 40)) for each in pins)
        raise QuantValueError(
            f"there are {MOST_PINS} pins already ({names}): take one out with unpin(name), "
            "or reuse a name"
        )
    return (*pins, pin)
