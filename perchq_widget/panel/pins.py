"""Pinned states: named moments of a panel to compare later ones with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..api import compare
from ..core.errors import QuantTypeError, QuantValueError
from ..report.text import shorten
from ..study.comparison_table import apart, settings_text

if TYPE_CHECKING:
    from ..report.comparison import ReportComparison
    from ..report.documents import ChannelReport
    from .state import Intent

MOST_PINS = 4
MOST_NAME = 80
NOW = "now"
AS_STORED = "as stored"  # the pin of a tensor's parameters in its file


@dataclass(frozen=True, eq=False)
class Pin:
    """A state under a name: what was asked for, and what came of it, complete."""

    name: str
    intent: Intent
    report: ChannelReport


def pinned(name: str, intent: Intent, report: ChannelReport) -> Pin:
    """A pin of a report, every column of which is computed now; of the tensor it keeps a reference, no copy."""
    report.study.frame  # noqa: B018 - asking for it computes what followed the control only in part
    return Pin(name, intent, report)


def with_pin(pins: tuple[Pin, ...], pin: Pin) -> tuple[Pin, ...]:
    """``pins`` and one more; one of the same name is replaced in its place."""
    check_name(pins, pin.name)
    if any(each.name == pin.name for each in pins):
        return tuple(pin if each.name == pin.name else each for each in pins)
    return (*pins, pin)


def check_name(pins: tuple[Pin, ...], name: object) -> None:
    """Raise unless ``name`` may be given to one more pin, or is the name of one that it replaces."""
    if not isinstance(name, str) or not name.strip():
        raise QuantTypeError(f"name must be a text that names the pin, got {name!r:.80}")
    if len(name) > MOST_NAME:
        raise QuantValueError(f"name must have at most {MOST_NAME} characters, got {len(name):,}: shorten it")
    if len(pins) >= MOST_PINS and name not in [pin.name for pin in pins]:
        raise QuantValueError(
            f"there are {MOST_PINS} pins already ({_listed(pins)}): take one out with unpin(name) or its ×, "
            "or reuse a name"
        )


def pin_named(pins: tuple[Pin, ...], name: object) -> Pin:
    """The pin of that name; raises QuantValueError naming those that there are."""
    found = next((pin for pin in pins if pin.name == name), None)
    if found is None:
        known = f"there are {_listed(pins)}" if pins else "there is none yet; pin(name) makes one"
        raise QuantValueError(f"name: no pin is called {shorten(repr(name), 60)}; {known}")
    return found


def suggested(pins: tuple[Pin, ...], intent: Intent, report: ChannelReport) -> str:
    """A name for the state: its settings in few words, numbered where another state has that name already."""
    name = AS_STORED if intent.as_stored else settings_text(report.scheme)[: MOST_NAME - 8]
    same = next((pin for pin in pins if pin.name == name), None)
    here = (intent.tensor, intent.as_stored, report.scheme)
    if same is None or (same.intent.tensor, same.intent.as_stored, same.report.scheme) == here:
        return name
    return apart([*(pin.name for pin in pins), name])[-1]


def compared(pins: tuple[Pin, ...], report: ChannelReport) -> ReportComparison:
    """All pins and the report in view, against the first pin."""
    if not pins:
        raise QuantValueError("there is no pin to compare with; pin(name) makes one of the state in view")
    names = apart([*(pin.name for pin in pins), NOW])
    return compare(*(pin.report for pin in pins), report, names=names)


def _listed(pins: tuple[Pin, ...]) -> str:
    return ", ".join(repr(shorten(pin.name, 40)) for pin in pins)
