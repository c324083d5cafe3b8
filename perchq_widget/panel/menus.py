"""The choices of the panel's controls, why some of them are not allowed beside the others, and which apply at all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from ..core.conventions import CONVENTIONS, FLAGS, conventions_with, why_not
from ..core.defaults import settled
from ..core.errors import QuantError
from ..core.grids import DTYPES, FLOAT_DTYPES, INTEGER_DTYPES, block_shape
from ..core.observers import POLICIES
from ..core.record import Refusal
from ..core.schemes import GRANULARITIES, SCHEMES, QuantScheme, family_of
from .moves import (
    SCHEME_NAMES,
    USUAL_OBSERVER,
    Settings,
    followed,
    integer_of,
    rows_of,
    scale_rules,
    scheme_of,
    widths_of,
)
from .observing import policy_of

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


_GRANULARITY_LABELS = {
    "channel": "channel",
    "tensor": "tensor",
    "group": "group · elements of a channel",
    "block": "block · of a matrix",
    "token": "token · rows of activations",
}


def menus(intent: Intent, kind: str) -> Mapping[str, Menu]:
    """One menu per scheme setting, each judged with the other settings as they are."""
    # The table looks neither at the ratio, which changes at every step of its slider, nor at an observer's parameters.
    settings = {**settings_of(intent), "observer": policy_of(intent.observer)}
    return _menus(kind, tuple(settings[name] for name in SCHEME_NAMES if name != "clip_ratio"))


@lru_cache(maxsize=64)
def _menus(kind: str, given: tuple[object, ...]) -> Mapping[str, Menu]:
    settings = {"clip_ratio": 1.0, **dict(zip((n for n in SCHEME_NAMES if n != "clip_ratio"), given, strict=True))}
    values: dict[str, tuple[object, ...]] = {
        "dtype": dtypes_for(kind),
        "scheme": SCHEMES,
        "reduce_range": (False, True),
        "convention": conventions_for(kind),
    }
    if kind == "tensor":
        values |= {"granularity": tuple(GRANULARITIES), "narrow_range": (False, True), "observer": tuple(POLICIES)}
        values |= {"scale_rule": scale_rules(str(settings["dtype"]), str(settings["convention"]))}
    for name, offered in values.items():  # what a file has and nobody would choose is shown while it is in view
        values[name] = offered if settings[name] in offered or settings[name] is None else (*offered, settings[name])
    found = {name: Menu(tuple(_choice(settings, name, value) for value in each)) for name, each in values.items()}
    return found | {"bits": Menu(tuple(_width(settings, bits) for bits in widths_of(str(settings["dtype"]))))}


def dtypes_for(kind: str) -> tuple[str, ...]:
    """The formats to choose from, integers first, then floats, then those that share a scale."""
    if kind != "tensor":
        return tuple(INTEGER_DTYPES)
    return tuple(dtype for dtype in DTYPES if conventions_with(dtype))


def conventions_for(kind: str) -> tuple[str, ...]:
    """The conventions to choose from; the calculator's lines need one that has integers per channel."""
    if kind == "tensor":
        return tuple(CONVENTIONS)

    def has_lines(name: str) -> bool:
        rows = CONVENTIONS[name].supports
        return any("channel" in row.granularities and set(row.dtypes) & set(INTEGER_DTYPES) for row in rows)

    return tuple(name for name in CONVENTIONS if has_lines(name))


def dtype_label(dtype: str) -> str:
    """A format's name, kind and width: bits of a code, and how many elements share a scale."""
    if dtype in INTEGER_DTYPES:
        return f"{dtype} · integer, {INTEGER_DTYPES[dtype][0]} bits"
    if dtype in FLOAT_DTYPES:
        return f"{dtype} · float, {FLOAT_DTYPES[dtype]} bits"
    bits, size = block_shape(dtype)
    return f"{dtype} · {bits:g} bits, blocks of {size}"


def settings_of(intent: Intent) -> dict[str, Any]:
    """The scheme settings of the intent as a mapping."""
    return {name: getattr(intent, name) for name in SCHEME_NAMES}


def changed(settings: Settings, name: str, value: object) -> dict[str, Any]:
    """The settings after ``name`` was set to ``value``, with what follows from it."""
    after = {**settings, name: value}
    return {**after, **followed(after, name)}


def refusal_of(settings: Settings) -> Refusal | None:
    """The row of the table that refuses the settings, with the conventions that would take them as a way out."""
    scheme = scheme_of(settings)
    refusal = why_not(scheme)
    if refusal is None or "convention" in refusal.instead or "convention" not in [name for name, _ in refusal.when]:
        return refusal
    takers = _takers(scheme)
    if not takers:
        return refusal
    return replace(refusal, instead=f"{refusal.instead}, or convention {' or '.join(map(repr, takers))}")


def _takers(scheme: QuantScheme) -> list[str]:
    """The conventions that allow all of the scheme but its own convention, each with a scale rule of its own."""
    fixed = {name: getattr(scheme, name) for name in (*FLAGS, "observer", "clip_ratio")}

    def takes(name: str) -> bool:
        rules = scale_rules(scheme.dtype, name)
        rule = scheme.scale_rule if scheme.scale_rule in rules else None
        taken = settled(scheme.dtype, scheme.scheme, scheme.granularity, name, scheme.group_size, rule, **fixed)
        return why_not(taken) is None

    return [name for name in conventions_with(scheme.dtype) if name != scheme.convention and takes(name)]


def hidden_controls(intent: Intent) -> frozenset[str]:
    """Settings whose control would offer no choice: no convention has another value for this format.

    What is set to something that the format does not have stays in view, so that it can be set back.
    """
    rows = rows_of(intent.dtype)
    has: dict[str, set[object]] = {
        "scheme": {value for row in rows for value in row.schemes},
        "granularity": {value for row in rows for value in row.granularities},
        **{flag: {False, *(True for row in rows if flag in row.flags)} for flag in ("reduce_range", "narrow_range")},
    }
    idle = {name for name, values in has.items() if len(values) < 2 and getattr(intent, name) in values}
    if intent.size_text is None and (intent.granularity not in ("group", "block") or _one_size(intent)):
        idle.add("group_size")
    if len(scale_rules(intent.dtype, intent.convention)) < 2 and intent.scale_rule is None:
        idle.add("scale_rule")
    if family_of(intent.dtype) == "block" and intent.clip_ratio == 1.0:
        idle.add("clip_ratio")
    if not widths_of(intent.dtype):
        idle.add("bits")
    if policy_of(intent.observer) == USUAL_OBSERVER and not _has_observers(intent.dtype):
        idle.add("observer")
    return frozenset(idle)


@lru_cache(maxsize=64)
def _has_observers(dtype: str) -> bool:
    """Whether any convention takes another observer than the usual one for the format, for one of its granularities."""
    others = [name for name in POLICIES if name != USUAL_OBSERVER]
    plain = {"reduce_range": False, "narrow_range": False, "clip_ratio": 1.0, "scale_rule": None}

    def takes(convention: str, scheme: str, granularity: str, observer: str) -> bool:
        given = {"dtype": dtype, "convention": convention, "scheme": scheme, "granularity": granularity}
        try:
            settings = {**plain, **given, "group_size": None, "observer": observer}
            return why_not(scheme_of({**settings, **followed(settings, "granularity")})) is None
        except QuantError:
            return False

    places = (
        (name, scheme, granularity)
        for name in conventions_with(dtype)
        for row in rows_of(dtype, name)
        for scheme in row.schemes
        for granularity in row.granularities
    )
    return any(takes(*place, observer) for place in places for observer in others)


def _one_size(intent: Intent) -> bool:
    sizes = {size for row in rows_of(intent.dtype, intent.convention) for size in (row.group_sizes or (0, 1))}
    return sizes == {intent.group_size}


def _choice(settings: Settings, name: str, value: object) -> Choice:
    """Refused only where the value itself is part of the reason: another setting's fault is said there."""
    try:
        cause = refusal_of(changed(settings, name, value))
    except QuantError:  # another setting has a value that no scheme can have; it is said beside that one
        return Choice(value, _label(name, value), "")
    blamed = cause is not None and any(each == (name, value) for each in cause.when)
    if name == "observer":  # the table may blame it with its parameters
        blamed = cause is not None and name in dict(cause.when)
    return Choice(value, _label(name, value), str(cause) if blamed else "")


def _width(settings: Settings, bits: int) -> Choice:
    """A width is judged in the runtime in use: unlike a format, it brings none."""
    dtype = integer_of(str(settings["dtype"]), bits)
    try:
        cause = refusal_of({**settings, "dtype": dtype})
    except QuantError:
        cause = None
    reason = str(cause) if cause is not None and ("dtype", dtype) in cause.when else ""
    return Choice(bits, f"{bits} bits", reason)


def _label(name: str, value: object) -> str:
    if name == "observer":
        return POLICIES[str(value)].title
    if name == "dtype":
        return dtype_label(str(value))
    if name == "convention":
        return f"{value} · {CONVENTIONS[str(value)].used_by}"
    if name == "granularity":
        return _GRANULARITY_LABELS[str(value)]
    return {False: "off", True: "on"}.get(value, str(value)) if isinstance(value, bool) else str(value)
