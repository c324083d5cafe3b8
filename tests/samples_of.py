"""The sample cases in tests/golden, made once by the real libraries."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

FOLDER = Path(__file__).parent / "golden"


@dataclass(frozen=True)
class Sample:
    """One case; its arrays are items: sample["x"]."""

    id: int
    family: str
    spec: dict[str, Any]
    tags: tuple[str, ...]
    raises: str | None

    def __getitem__(self, name: str) -> np.ndarray:
        return _arrays()[f"{self.id:04d}.{name}"]

    def __str__(self) -> str:
        return f"{self.family}-{self.id}"


@cache
def _arrays() -> Any:
    return np.load(FOLDER / "samples.npz", allow_pickle=False)


def samples(family: str) -> list[Sample]:
    """All cases of a family, for pytest.mark.parametrize(..., ids=str)."""
    cases = json.loads((FOLDER / "samples.json").read_text())["cases"]
    return [
        Sample(case["id"], case["family"], case["spec"], tuple(case["tags"]), case["raises"])
        for case in cases
        if case["family"] == family
    ]
