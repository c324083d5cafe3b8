"""Arguments: defaults that can be told from the same value given, and unknown names that get a hint."""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches
from functools import wraps
from inspect import signature
from typing import Any, TypeVar

from .errors import QuantTypeError

F = TypeVar("F", bound=Callable[..., Any])


class DefaultText(str):
    """A default that ``given`` tells from the same text passed by a caller."""

    __slots__ = ()


class DefaultNumber(int):
    """A default that ``given`` tells from the same number passed by a caller."""

    __slots__ = ()


def given(value: object) -> bool:
    """Whether a caller passed this value, rather than leaving the default."""
    return not isinstance(value, (DefaultText, DefaultNumber))


def known_keywords(function: F) -> F:
    """Make an unknown keyword a TypeError that names the nearest known one."""
    parameters = signature(function).parameters
    known = [name for name, each in parameters.items() if each.kind is each.KEYWORD_ONLY]
    shown = function.__qualname__.removesuffix(".__init__")

    @wraps(function)
    def checked(*args: Any, **kwargs: Any) -> Any:
        for name in kwargs:
            if name not in parameters:
                near = get_close_matches(name, known, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
                raise QuantTypeError(f"{shown}() has no argument {name!r}; {hint}")
        return function(*args, **kwargs)

    return checked  # type: ignore[return-value]
