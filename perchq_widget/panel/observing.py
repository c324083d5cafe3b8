"""The observer as it is chosen: a policy from a list, and its parameters as text."""

from __future__ import annotations

from dataclasses import fields

from ..core.errors import QuantError, QuantValueError
from ..core.observers import POLICIES, observer_of

_LONGEST = 200


def policy_of(observer: str) -> str:
    """The name of the policy that an observer's text stands for."""
    return observer_of(observer).name


def has_parameters(observer: str) -> bool:
    """Whether the policy has any."""
    return bool(fields(POLICIES[policy_of(observer)]))


def parameters_text(observer: str) -> str:
    """All parameters with their values, as in ``"p=2.4, n_candidates=100"``; "" for a policy that has none."""
    policy = observer_of(observer)
    return ", ".join(f"{each.name}={_digits(getattr(policy, each.name))}" for each in fields(policy))


def _digits(value: float) -> str:
    short = f"{value:g}"
    return short if float(short) == value else repr(value)


def with_parameters(observer: str, text: str) -> str:
    """The policy of ``observer`` with the parameters that ``text`` gives by place or by name; the rest are the usual.

    Raises QuantValueError, whose message begins with "observer", for what is no parameter of it.
    """
    name = policy_of(observer)
    if len(text) > _LONGEST:
        raise QuantValueError(f"observer parameters are a few numbers, got a text of {len(text):,} characters")
    try:
        return str(observer_of(f"{name}({text})"))
    except QuantError as error:
        said = str(error) if str(error).startswith("observer") else f"observer: {error}"
        named = not has_parameters(name) or any(each.name in said for each in fields(POLICIES[name]))
        hint = "" if named else f"; {name} takes numbers as in {parameters_text(name)}"
        raise QuantValueError(f"{said}{hint}") from None


def check_parameters(observer: str, text: str) -> None:
    """Raise QuantValueError where ``text`` names no parameters of the policy."""
    with_parameters(observer, text)
