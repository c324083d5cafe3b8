"""Which axis of a weight counts its output channels, by the kind of layer that uses it, and why."""

from __future__ import annotations

from dataclasses import dataclass

FIRST_AXIS = "output channels come first in Linear and Conv weights as torch stores them; change it for other layouts"
ONE_AXIS = "the only axis"


@dataclass(frozen=True, slots=True)
class AxisHint:
    """A suggested channel axis, from 0, and the reason in one line."""

    axis: int
    reason: str


def suggested_axis(shape: tuple[int, ...]) -> tuple[int, str]:
    """The channel axis to begin with when only the shape is known, and why."""
    return (0, ONE_AXIS) if len(shape) <= 1 else (0, FIRST_AXIS)
