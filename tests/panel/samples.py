"""Tensors for the panel's tests."""

from __future__ import annotations

import numpy as np


def weight(*shape: int) -> np.ndarray:
    """Channels of different spread."""
    rng = np.random.default_rng(3)
    return (rng.standard_normal(shape) * np.exp(rng.normal(0, 1, (shape[0], *[1] * (len(shape) - 1))))).astype("f4")
