"""What changes along with a setting: a format brings its runtime, a granularity its group size.

Pure functions on the settings as a mapping. The state applies them when a trait is set, the menus before it is, to
judge a choice by the settings that it would leave behind.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..core.conventions import CONVENTIONS, conventions_with, why_not
from ..core.defaults import settled
from ..core.errors import QuantError, QuantValueError
from ..core.grids import INTEGER_DTYPES, block_shape
from ..core.record import Support
from ..core.schemes import GroupSize, QuantScheme, family_of

#: Settings that make a scheme, in an order in which they can be set one by one.
SCHEME_NAMES = (
    "dtype", "scheme", "granularity", "group_size", "convention", "scale_rule", "reduce_range", "narrow_range",
    "observer", "clip_ratio",
)  # fmt: skip
#: Those that a format may bring along.
MOVED = ("scheme", "granularity", "group_size", "convention", "scale_rule")
DEFAULT_GROUP, DEFAULT_BLOCK = 128, (128, 128)
USUAL_OBSERVER = "minmax"
Settings = Mapping[str, Any]


def scheme_of(settings: Settings) -> QuantScheme:
    """The scheme that the settings describe; a scale rule that is None is the convention's first."""
    others = {name: settings[name] for name in ("reduce_range", "narrow_range", "observer", "clip_ratio")}
    return settled(
        settings["dtype"], settings["scheme"], settings["granularity"], settings["convention"],
        settings["group_size"], settings["scale_rule"], **others,
    )  # fmt: skip


def rows_of(dtype: str, convention: str | None = None) -> tuple[Support, ...]:
    """The table's rows for a format, of one convention or of all."""
    names = conventions_with(dtype) if convention is None else (convention,)
    return tuple(row for name in names for row in CONVENTIONS[name].supports if dtype in row.dtypes)


def scale_rules(dtype: str, convention: str) -> tuple[str, ...]:
    """The scale rules to choose from, empty where the convention has no choice."""
    return tuple(dict.fromkeys(rule for row in rows_of(dtype, convention) for rule in row.scale_rules))


def followed(settings: Settings, name: str) -> dict[str, Any]:
    """The settings that change because ``name`` was just set, with their new values; those as they are included."""
    if name == "dtype":
        return _with_format(settings)
    if name == "granularity":
        return {"group_size": _size_for(settings)}
    if name == "group_size":
        return {"granularity": _granularity_for(settings)}
    if name == "convention":
        known = settings["scale_rule"] in scale_rules(settings["dtype"], settings["convention"])
        return {} if known else {"scale_rule": None}
    return {}


def integer_of(dtype: str, bits: object) -> str:
    """The integer format of ``bits`` bits that is signed if ``dtype`` is; raises where there is none."""
    if dtype not in INTEGER_DTYPES:
        raise QuantValueError(f"bits is the width of integers, and dtype is {dtype!r}: choose dtype 'int4' first")
    named = {width: name for name, (width, signed) in INTEGER_DTYPES.items() if signed == INTEGER_DTYPES[dtype][1]}
    if isinstance(bits, bool) or bits not in named:
        raise QuantValueError(f"bits must be one of {', '.join(map(str, sorted(named)))}, got {bits!r:.80}")
    return named[bits]


def widths_of(dtype: str) -> tuple[int, ...]:
    """The widths that integers with the sign of ``dtype`` have, ascending; empty for other formats."""
    signed = INTEGER_DTYPES.get(dtype, (0, None))[1]
    return tuple(sorted(bits for bits, sign in INTEGER_DTYPES.values() if sign == signed))


def _with_format(settings: Settings) -> dict[str, Any]:
    """As few of the settings as it takes moved to what follows from the format; none where no move helps.

    The observer stays unless the format has no other than the usual one.
    """
    plain = {"reduce_range": False, "narrow_range": False}
    usual = {} if settings["observer"] == USUAL_OBSERVER else {"observer": USUAL_OBSERVER}
    for observer in ({}, usual) if usual else ({},):
        for candidate in _candidates(settings):
            try:
                refused = why_not(scheme_of({**settings, **plain, **candidate, **observer}))
            except QuantError:
                continue
            if refused is None:
                return {**candidate, **observer}
    return {}


def _candidates(settings: Settings) -> Iterator[dict[str, Any]]:
    """Moves, the smallest first; the last is everything that follows from the format."""
    dtype, convention = settings["dtype"], settings["convention"]
    yield {}
    if dtype in CONVENTIONS[convention].formats:
        yield {"scale_rule": None}
        for kept in (("granularity", "group_size"), ("scheme",), ()):
            keeps = {name: settings[name] for name in kept}
            yield {**_defaults(dtype, convention=convention), **keeps, "scale_rule": None}
    yield _defaults(dtype)


def _defaults(dtype: str, convention: str | None = None) -> dict[str, Any]:
    try:
        scheme = settled(dtype, convention=convention)
    except QuantError:
        return {}
    return {**{name: getattr(scheme, name) for name in MOVED}, "scale_rule": None}


def _size_for(settings: Settings) -> GroupSize | None:
    size: GroupSize | None = settings["group_size"]
    if settings["granularity"] == "group":
        return size if isinstance(size, int) else _usual_size(settings)
    if settings["granularity"] == "block":
        return size if isinstance(size, tuple) else DEFAULT_BLOCK
    return None


def _usual_size(settings: Settings) -> int:
    """The format's own block, a size that the convention has, or the usual one."""
    if family_of(settings["dtype"]) == "block":
        return block_shape(settings["dtype"])[1]
    sizes = [size for row in rows_of(settings["dtype"], settings["convention"]) for size in row.group_sizes]
    return sizes[0] if sizes and DEFAULT_GROUP not in sizes else DEFAULT_GROUP


def _granularity_for(settings: Settings) -> str:
    size, granularity = settings["group_size"], settings["granularity"]
    if size is not None:
        return "block" if isinstance(size, tuple) else "group"
    alone = granularity not in ("group", "block") or family_of(settings["dtype"]) == "block"
    return str(granularity) if alone else "channel"
