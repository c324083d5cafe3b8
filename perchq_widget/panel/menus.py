"""The choices of the panel's controls, and why some of them are not allowed beside the others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..core.conventions import CONVENTIONS, why_not
from ..core.grids import INTEGER_DTYPES
from ..core.record import Refusal
from ..core.schemes import GRANULARITIES, SCHEMES, QuantScheme

if TYPE_CHECKING:
    from .state import Intent


@dataclass(frozen=True)
class Choice:
    """One value of a setting; ``reason`` says why it is not allowed now and what to choose instead, "" if it is."""

    value: object
    label: str
    reason: str


@dataclass(frozen=True)
class Menu:
    """All values of one setting, allowed or not."""

    choices: tuple[Choice, ...]

    def reason(self, value: object) -> str:
        """Why ``value`` is not allowed, "" if it is."""
        return next((choice.reason for choice in self.choices if choice.value == value), "")

    @property
    def refused(self) -> tuple[Choice, ...]:
        """The values that are not allowed now."""
        return tuple(choice for choice in self.choices if choice.reason)


_LABELS: Mapping[str, Mapping[object, str]] = {
    "granularity": {"channel": "channel", "tensor": "tensor"},
    "reduce_range": {False: "off", True: "on"},
    "narrow_range": {False: "off", True: "on"},
}


def menus(intent: Intent, kind: str) -> Mapping[str, Menu]:
    """One menu per scheme setting, each judged with the other settings as they are."""
    values: dict[str, Iterable[object]] = {
        "dtype": INTEGER_DTYPES,
        "scheme": SCHEMES,
        "reduce_range": (False, True),
        "convention": CONVENTIONS,
    }
    if kind == "tensor":
        values |= {"granularity": GRANULARITIES, "narrow_range": (False, True)}
    return {name: Menu(tuple(_choice(intent, name, value) for value in each)) for name, each in values.items()}


def scheme_of(intent: Intent, **changes: object) -> QuantScheme:
    """The scheme that the intent describes, with ``changes`` made to it."""
    settings: dict[str, object] = {
        name: getattr(intent, name)
        for name in (
            "dtype", "scheme", "granularity", "reduce_range", "narrow_range", "convention", "observer", "clip_ratio",
        )
    }
    return QuantScheme(**{**settings, **changes})  # type: ignore[arg-type]


def refusal_of(intent: Intent) -> Refusal | None:
    """The row of the table that refuses the settings as they are."""
    return why_not(scheme_of(intent))


def _choice(intent: Intent, name: str, value: object) -> Choice:
    """Refused only where the value itself is part of the reason: another setting's fault is said there."""
    label = _LABELS.get(name, {}).get(value, str(value))
    scheme = scheme_of(intent, **{name: value})
    cause = why_not(scheme)
    reason = str(cause) if cause is not None and (name, value) in cause.when else ""
    return Choice(value, label, reason)
