"""Why two conventions differ: the rules of their records that are not the same, in the records' own words."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import numpy.typing as npt

from perchq_widget.core.blockscaled import get_format
from perchq_widget.core.codec import Parameters
from perchq_widget.core.record import Convention
from perchq_widget.core.schemes import QuantScheme

if TYPE_CHECKING:
    from .channels import ChannelTable

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Contrast:
    """One respect in which two conventions differ: ``what``, how the first does it, how the second does."""

    what: str
    a: str
    b: str


@dataclass(slots=True)
class _Words:
    """A note-taker that keeps formulas, each with its remark, and no numbers; a repeated step is kept once."""

    steps: dict[str, str] = field(default_factory=dict)

    def __call__(self, name: str, formula: str, value: T, why: str = "") -> T:
        self.steps.setdefault(f"{name} = {formula}", why)
        return value

    def beside(self, other: _Words) -> str:
        """The steps that ``other`` does not have, with their remarks."""
        own = [(step, why) for step, why in self.steps.items() if step not in other.steps]
        if not own and len(other.steps) > len(self.steps):
            return "no such step"
        return "; ".join(f"{step} ({why})" if why else step for step, why in own)


def contrasts(tables: tuple[ChannelTable, ChannelTable], shares: npt.NDArray[np.float64]) -> tuple[Contrast, ...]:
    """What differs between the conventions of two tables of one tensor.

    The rules are followed on the channel in which most codes differ (``shares``): rules say what they do to the range
    that they are given.
    """
    index = int(np.argmax(shares))
    a, b = (_rule_steps(table, index) for table in tables)
    pairs = zip(*(_element_words(table) for table in tables), strict=True)
    found = [
        Contrast("range to parameters", a.beside(b), b.beside(a)),
        *(Contrast(what, first, second) for (what, first), (_, second) in pairs),
    ]
    return tuple(each for each in found if each.a != each.b)


def _element_words(table: ChannelTable) -> list[tuple[str, str]]:
    qparams: Parameters = table.qparams
    kernel, rule = qparams.kernel, table.scheme.scale_rule
    return [
        ("codes", f"{qparams.quant_min:g}..{qparams.quant_max:g}"),
        ("scale rule", "the only one" if rule is None else rule),
        ("value to code", "; ".join(f"{each.name} = {each.text}" for each in kernel.formulas)),
        ("rounding", kernel.rounding),
        ("code to value", qparams.decoder.formula.text),
        ("computed in", qparams.working_dtype.name),
    ]


def _rule_steps(table: ChannelTable, index: int) -> _Words:
    """The steps from one channel's range, or first block, to its parameters."""
    words = _Words()
    rules, scheme = table.qparams.rules, table.scheme
    with np.errstate(all="ignore"):
        if scheme.family == "block":
            _follow_block(table, index, scheme, words)
        else:
            _follow_range(table, index, rules, words)
    return words


def _follow_range(table: ChannelTable, index: int, rules: Convention, words: _Words) -> None:
    rule = rules.range_rule if table.scheme.family == "integer" else rules.float_rule
    assert rule is not None  # it made the table's parameters
    ends = (table.frame[end].iloc[[index]].to_numpy(np.float64) for end in ("min", "max"))
    low, high = (np.nan_to_num(end).astype(table.qparams.working_dtype) for end in ends)
    rule(low, high, table.scheme, words)


def _follow_block(table: ChannelTable, index: int, scheme: QuantScheme, words: _Words) -> None:
    form = get_format(scheme.dtype, scheme.convention)
    values = table.channel_values(index).astype(np.float32)
    assert isinstance(scheme.group_size, int)
    values = values[np.isfinite(values)][: scheme.group_size]
    x = values[:, None] if values.size else np.zeros((1, 1), np.float32)
    overall = None if form.global_scale is None else form.global_scale(np.float32(np.abs(x).max()), words)
    form.fit(x, scheme.scale_rule, overall, words)
