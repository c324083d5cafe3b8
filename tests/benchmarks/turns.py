"""What benchmarks share: the layer that they measure, and timing in turns."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np

ROUNDS = 7
REST_S = 0.3  # a library's idle threads may go on spinning for a while and take the core from what comes next
RNG = np.random.default_rng(0)


def layer() -> np.ndarray:
    """normal * 0.02 with one outlier of 4 to 40 times that per channel."""
    x = RNG.standard_normal((4096, 4096), dtype=np.float32) * np.float32(0.02)
    x[np.arange(4096), RNG.integers(0, 4096, 4096)] *= RNG.uniform(4, 40, 4096).astype(np.float32)
    return x


def in_turns(*functions: Callable[[], object]) -> list[float]:
    """Median seconds of each, called in turns after one warm-up."""
    times: list[list[float]] = [[] for _ in functions]
    for round_ in range(ROUNDS + 1):
        for place, function in enumerate(functions):
            time.sleep(REST_S)
            start = time.perf_counter()
            function()
            if round_:
                times[place].append(time.perf_counter() - start)
    return [statistics.median(each) for each in times]
