"""Hard inputs for comparisons with real libraries: ranges that meet every special rule, elements on ties."""

from __future__ import annotations

import numpy as np

N_RANGES = 10_000
N_ELEMENTS = 1_000_000


def ranges(n: int = N_RANGES, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(min_val, max_val), float32 of shape (n,): ordinary ones of all sizes, and a tenth each of the special kinds."""
    rng = np.random.default_rng(seed)
    size = (10.0 ** rng.uniform(-4, 4, n)).astype(np.float32)
    ends = np.sort(rng.standard_normal((2, n)).astype(np.float32) * size, axis=0)
    low, high = ends[0].copy(), ends[1].copy()
    kind = rng.integers(0, 10, n)
    low[kind == 0] = np.abs(low[kind == 0])  # all positive
    high[kind == 1] = -np.abs(high[kind == 1])  # all negative
    low[kind == 2] = high[kind == 2]  # no width
    low[kind == 3] = high[kind == 3] = 0
    tiny = kind == 4
    low[tiny], high[tiny] = -1e-9 * rng.random(tiny.sum()), 1e-9 * rng.random(tiny.sum())
    huge = kind == 5
    low[huge], high[huge] = -1e30 * rng.random(huge.sum()), 1e30 * rng.random(huge.sum())
    tie = kind == 6  # the zero point's quotient near a tie
    high[tie] = np.abs(high[tie]) + np.float32(1e-3)
    step = high[tie] / np.float32(200)
    low[tie] = -(rng.integers(0, 100, tie.sum()).astype(np.float32) + np.float32(0.5)) * step
    return np.minimum(low, high), np.maximum(low, high)


def elements(
    scale: np.ndarray, low: np.ndarray | int, high: np.ndarray | int, n: int = N_ELEMENTS, seed: int = 1
) -> np.ndarray:
    """float32 of shape (C, n // C) for scales (C,): a third on ties of level + 1/2 or one ulp beside, rest anywhere.

    ``low`` and ``high``: the lowest and highest level (code minus zero point); a few values lie beyond.
    """
    rng = np.random.default_rng(seed)
    scale = np.atleast_1d(scale).astype(np.float32)
    shape = (len(scale), n // len(scale))
    bottom, top = (np.broadcast_to(end, scale.shape).astype(np.float64)[:, None] for end in (low, high))
    level = bottom - 3 + rng.random(shape) * (top - bottom + 6)
    ties = rng.random(shape) < 1 / 3
    level[ties] = np.floor(level[ties]) + 0.5
    with np.errstate(over="ignore"):
        x = (level * scale[:, None].astype(np.float64)).astype(np.float32)
    beside = ties & (rng.random(shape) < 2 / 3)
    toward = np.where(rng.random(shape) < 0.5, np.float32(np.inf), np.float32(-np.inf))
    return np.where(beside, np.nextafter(x, toward), x).astype(np.float32)
