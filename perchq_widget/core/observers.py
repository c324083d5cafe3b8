"""Observers: how a range is taken from data. Frozen policies, written as text wherever a setting is written.

``"mse"`` is ``MSE()``, and ``"percentile(99.99)"`` is ``Percentile(99.99)``: :func:`observer_of` reads both, ``str`` of
a policy writes the shortest text that reads back as it. A policy turns the values of every channel, or of the tensor,
into (min_val, max_val) at once; the convention's own rule then makes scale and zero point of that.
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import numpy as np

from .errors import QuantTypeError, QuantValueError, choose_from

#: How many candidates a search may have.
CANDIDATES = (2, 10_000)
_TEXT = re.compile(r"\s*([a-z][a-z0-9_.]*)\s*(?:\((.*)\))?\s*", re.DOTALL)


@dataclass(frozen=True)
class Observer:
    """One policy with its parameters. ``name`` is how settings call it, ``title`` how menus do."""

    name: ClassVar[str] = ""
    title: ClassVar[str] = ""

    def __str__(self) -> str:
        given = [(f.name, getattr(self, f.name)) for f in fields(self) if getattr(self, f.name) != f.default]
        first = fields(self)[0].name if fields(self) else ""
        texts = [_digits(value) if name == first else f"{name}={_digits(value)}" for name, value in given]
        return f"{self.name}({', '.join(texts)})" if texts else self.name

    def _number(self, name: str, rule: str, meets: Callable[[float], bool]) -> None:
        """Check one parameter and keep it as a plain float."""
        value: Any = getattr(self, name)
        if isinstance(value, bool) or not isinstance(value, (int, float, np.number)):
            raise QuantTypeError(f"{name} of observer {self.name!r} must be a number, got {value!r:.60}")
        if not (math.isfinite(value) and meets(float(value))):
            raise QuantValueError(f"{name} of observer {self.name!r} must be {rule}, got {value!r:.60}")
        object.__setattr__(self, name, float(value))

    def _whole(self, name: str, least: int, most: int) -> None:
        """Check one parameter and keep it as a plain int."""
        value: Any = getattr(self, name)
        if isinstance(value, bool) or not isinstance(value, (int, float, np.number)):
            raise QuantTypeError(f"{name} of observer {self.name!r} must be a whole number, got {value!r:.60}")
        if not (math.isfinite(value) and least <= value <= most and value == int(value)):
            raise QuantValueError(
                f"{name} of observer {self.name!r} must be a whole number in {least}..{most}, got {value!r:.60}"
            )
        object.__setattr__(self, name, int(value))


def _digits(value: float) -> str:
    """The shortest text that reads back as the number."""
    short = f"{value:g}"
    return short if float(short) == value else repr(value)


@dataclass(frozen=True)
class MinMax(Observer):
    """The smallest and the largest finite value."""

    name: ClassVar[str] = "minmax"
    title: ClassVar[str] = "minimum and maximum"


@dataclass(frozen=True)
class MovingAverage(Observer):
    """Ends that follow the minimum and maximum of batch after batch, as torch's moving average observers do.

    The tensor is read in ``n_batches`` runs of equal length along its first axis that is not the channels';
    ``averaging_constant`` is the weight of the newest.
    """

    name: ClassVar[str] = "moving_average"
    title: ClassVar[str] = "moving average of batches"

    averaging_constant: float = 0.01
    n_batches: int = 32

    def __post_init__(self) -> None:
        self._number("averaging_constant", "above 0 and at most 1", lambda value: 0 < value <= 1)
        self._whole("n_batches", 1, 1_000_000)


@dataclass(frozen=True)
class Percentile(Observer):
    """The ends between which ``percentile`` % of the values lie, the rest shared evenly by both sides."""

    name: ClassVar[str] = "percentile"
    title: ClassVar[str] = "percentile"

    percentile: float = 99.9

    def __post_init__(self) -> None:
        self._number("percentile", "above 50 and at most 100", lambda value: 50 < value <= 100)


@dataclass(frozen=True)
class MSE(Observer):
    """Of ``n_candidates`` shares of the range, the one with the least squared error."""

    name: ClassVar[str] = "mse"
    title: ClassVar[str] = "least squared error"

    n_candidates: int = 100

    def __post_init__(self) -> None:
        self._whole("n_candidates", *CANDIDATES)


@dataclass(frozen=True)
class LpNorm(Observer):
    """Of ``n_candidates`` shares of the range, the one with the least sum of abs(e) ** p."""

    name: ClassVar[str] = "lp"
    title: ClassVar[str] = "least |e|^p"

    p: float = 2.4
    n_candidates: int = 100

    def __post_init__(self) -> None:
        self._number("p", "above 0", lambda value: value > 0)
        self._whole("n_candidates", *CANDIDATES)


@dataclass(frozen=True)
class Entropy(Observer):
    """Of ``n_candidates`` shares of the range, the one whose quantized distribution has the least KL divergence.

    A channel of fewer values than the format has codes keeps its range.
    """

    name: ClassVar[str] = "entropy"
    title: ClassVar[str] = "least KL divergence"

    n_candidates: int = 100

    def __post_init__(self) -> None:
        self._whole("n_candidates", *CANDIDATES)


@dataclass(frozen=True)
class MeanStd(Observer):
    """Mean minus and plus ``n_sigmas`` standard deviations, within the observed range."""

    name: ClassVar[str] = "mean_std"
    title: ClassVar[str] = "mean ± k standard deviations"

    n_sigmas: float = 4.0

    def __post_init__(self) -> None:
        self._number("n_sigmas", "above 0", lambda value: value > 0)


POLICIES: Mapping[str, type[Observer]] = {
    kind.name: kind for kind in (MinMax, MovingAverage, Percentile, MSE, LpNorm, Entropy, MeanStd)
}
#: Other names of the same policies.
ALIASES: Mapping[str, str] = {"l2.4": "lp", "kl": "entropy", "sigma": "mean_std"}


def observer_of(value: object) -> Observer:
    """The policy that ``value`` stands for: one already, its name, or its name with parameters in parentheses."""
    if isinstance(value, Observer):
        return value
    if not isinstance(value, str):
        raise QuantTypeError(f"observer must be a name such as 'mse', or a policy such as MSE(), got {value!r:.80}")
    found = _TEXT.fullmatch(value)
    name = found.group(1) if found else value
    kind = POLICIES[choose_from("observer", ALIASES.get(name, name), POLICIES)]
    arguments = _arguments(found.group(2) or "") if found else ([], {})
    names = [f.name for f in fields(kind)]
    unknown = [each for each in arguments[1] if each not in names]
    if unknown or len(arguments[0]) > len(names):
        takes = ", ".join(names) if names else "no parameter"
        raise QuantValueError(f"observer {kind.name!r} takes {takes}, got {value!r:.80}")
    return kind(*arguments[0], **arguments[1])


def _arguments(text: str) -> tuple[list[float], dict[str, float]]:
    """Numbers between parentheses, by place and by name; nothing is executed."""
    try:
        call = ast.parse(f"f({text})", mode="eval").body
        assert isinstance(call, ast.Call)
        return [ast.literal_eval(each) for each in call.args], {
            str(each.arg): ast.literal_eval(each.value) for each in call.keywords
        }
    except (SyntaxError, ValueError, AssertionError):
        raise QuantValueError(f"observer parameters must be numbers, as in 'lp(p=2.4)', got {text[:60]!r}") from None
