"""Threads that share the pieces of a large tensor."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from .reduce import small_buffers

#: Below this many elements one thread is as fast.
MANY, MOST_THREADS = 1 << 22, 4


def in_turns(n_elements: int, work: Callable[[int, int], None]) -> None:
    """Call ``work(turn, n)`` in each of n threads, which are to take every n-th piece from ``turn`` on."""
    n = min(os.cpu_count() or 1, MOST_THREADS) if n_elements >= MANY else 1

    @small_buffers()
    def share(turn: int) -> None:
        work(turn, n)

    if n == 1:
        share(0)
        return
    with ThreadPoolExecutor(n) as pool:
        list(pool.map(share, range(n)))
