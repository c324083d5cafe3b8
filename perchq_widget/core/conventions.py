"""Runtimes as records, and the one table of what each of them allows.

A convention is a range rule plus an element kernel, with the version it was checked against. Errors, the
panel's menus and the tests all read :func:`allowed`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .affine import (
    Kernel,
    RangeRule,
    calculator_levels,
    calculator_range,
    pytorch_levels,
    pytorch_range,
    pytorch_symmetric_zero_point,
)
from .errors import QuantValueError, choose_from
from .schemes import QuantScheme


@dataclass(frozen=True, slots=True)
class Convention:
    """One runtime's arithmetic. ``rules_*`` are its formulas in words, in the order of operations."""

    name: str
    title: str
    used_by: str
    range_rule: RangeRule
    levels: Kernel
    dtype: np.dtype[np.floating]
    rounding: str
    rules_affine: tuple[str, ...]
    rules_symmetric: tuple[str, ...]
    rules_element: tuple[str, ...]
    zero_point_in_range: bool
    checked: str
    source: str

    def rules(self, scheme: QuantScheme) -> tuple[str, ...]:
        """All formulas that are in use under ``scheme``."""
        chosen = self.rules_symmetric if scheme.symmetric else self.rules_affine
        return chosen + self.rules_element


CALCULATOR = Convention(
    name="calculator",
    title="Textbook formulas, exact",
    used_by="lecture notes, blog posts and pocket calculators; no runtime",
    range_rule=calculator_range,
    levels=calculator_levels,
    dtype=np.dtype(np.float64),
    rounding="half away from zero",
    rules_affine=(
        "scale = (max - min) / (quant_max - quant_min)",
        "zero_point = round(quant_min - min / scale), not clamped",
    ),
    rules_symmetric=(
        "scale = max(|min|, |max|) / max(|quant_min|, |quant_max|)",
        "zero_point = 0",
    ),
    rules_element=(
        "raw = round(x / scale) + zero_point",
        "quantized = min(max(raw, quant_min), quant_max)",
        "dequantized = (quantized - zero_point) * scale",
    ),
    zero_point_in_range=False,
    checked="exact fractions",
    source="textbook formulas on the decimals as typed; round is half away from zero",
)

PYTORCH = Convention(
    name="pytorch",
    title="PyTorch observers and fake_quantize",
    used_by="torch.ao quantization: observers choose the parameters, fake_quantize applies them",
    range_rule=pytorch_range,
    levels=pytorch_levels,
    dtype=np.dtype(np.float32),
    rounding="half to even",
    rules_affine=(
        "min = min(min, 0), max = max(max, 0)",
        "scale = max((max - min) / (quant_max - quant_min), eps)",
        "zero_point = quant_min - round(min / scale), clamped to the codes",
    ),
    rules_symmetric=(
        "min = min(min, 0), max = max(max, 0)",
        "scale = max(max(-min, max) / ((quant_max - quant_min) / 2), eps)",
        "zero_point = 0 for signed codes, 128 for quint8",
    ),
    rules_element=(
        "raw = round(x * (1 / scale)) + zero_point",
        "quantized = min(max(raw, quant_min), quant_max)",
        "dequantized = (quantized - zero_point) * scale",
    ),
    zero_point_in_range=True,
    checked="torch 2.13.0, CPU, x86-64",
    source="torch.ao.quantization observers and torch.fake_quantize_per_channel_affine, float32 throughout",
)

CONVENTIONS: dict[str, Convention] = {each.name: each for each in (CALCULATOR, PYTORCH)}


def get_convention(name: str) -> Convention:
    """The record of that name; an unknown name raises and lists the known ones."""
    return CONVENTIONS[choose_from("convention", name, CONVENTIONS)]


@dataclass(frozen=True, slots=True)
class Refusal:
    """One row of the table: settings that, together, are not allowed; why; and what to choose instead."""

    when: tuple[tuple[str, object], ...]
    reason: str
    instead: str

    def matches(self, scheme: QuantScheme) -> bool:
        """Whether every setting of the row holds."""
        return all(_setting(scheme, name) == value for name, value in self.when)


def _setting(scheme: QuantScheme, name: str) -> object:
    return scheme.quant_range is not None if name == "quant_range" else getattr(scheme, name)


REFUSALS: tuple[Refusal, ...] = (
    Refusal(
        (("convention", "pytorch"), ("dtype", "quint8"), ("scheme", "symmetric"), ("reduce_range", True)),
        "torch.ao observers raise NotImplementedError for quint8, symmetric, with reduce_range",
        "choose scheme 'affine', or dtype 'qint8', or turn reduce_range off",
    ),
    Refusal(
        (("dtype", "quint8"), ("narrow_range", True)),
        "narrow_range drops the lowest signed code, and quint8 has no signed codes",
        "choose dtype 'qint8', or turn narrow_range off",
    ),
    Refusal(
        (("convention", "pytorch"), ("narrow_range", True), ("reduce_range", True)),
        "torch halves -127..127 with floor division, which gives -64..63 again: narrow_range would do nothing",
        "turn one of narrow_range and reduce_range off",
    ),
    Refusal(
        (("quant_range", True), ("narrow_range", True)),
        "quant_range already says which codes are in force",
        "turn narrow_range off, or leave quant_range out",
    ),
    Refusal(
        (("quant_range", True), ("reduce_range", True), ("convention", "calculator")),
        "the calculator takes quant_range as it is given",
        "turn reduce_range off and write the smaller quant_range",
    ),
)


def allowed(scheme: QuantScheme) -> str | None:
    """None if the combination is allowed; else the reason and what to choose instead, as one sentence."""
    get_convention(scheme.convention)
    choose_from("observer", scheme.observer, ("minmax",))
    for refusal in REFUSALS:
        if refusal.matches(scheme):
            return f"{refusal.reason}; {refusal.instead}"
    return None


def symmetric_zero_point(scheme: QuantScheme) -> int:
    """The one zero point that the convention's symmetric scheme has: 0, or for unsigned codes in torch their middle."""
    return 0 if scheme.convention == "calculator" else pytorch_symmetric_zero_point(scheme)


def require_allowed(scheme: QuantScheme) -> Convention:
    """Raise :class:`QuantValueError` unless the combination is allowed; return its convention."""
    reason = allowed(scheme)
    if reason is not None:
        raise QuantValueError(f"this combination is not allowed: {reason}")
    return get_convention(scheme.convention)
