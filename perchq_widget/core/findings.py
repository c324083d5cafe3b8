"""Findings: what a reader should know about a number, why, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Severity = Literal["info", "warning", "error"]


@dataclass(frozen=True, slots=True)
class Finding:
    """``rule`` names the rule, ``value`` is the number that met it; ``channel`` is None for the whole tensor."""

    rule: str
    severity: Severity
    channel: str | None
    value: float | None
    message: str
    next_step: str

    def __str__(self) -> str:
        where = f"{self.channel}: " if self.channel is not None else ""
        return f"{where}{self.message} {self.next_step}"
