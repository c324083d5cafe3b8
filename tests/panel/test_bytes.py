"""What one move of a control sends to the browser."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

import perchq_widget as pq

pytestmark = pytest.mark.usefixtures("alive")
MOST = 64 * 1024


def sizes(sent: list[dict[str, Any]]) -> dict[str, int]:
    """Bytes of all messages, JSON and binary, by the widget that they are for."""
    found: dict[str, int] = {}
    for message in sent:
        size = len(json.dumps(message["data"])) + sum(memoryview(each).nbytes for each in message["buffers"])
        found[message["comm"]] = found.get(message["comm"], 0) + size
    return found


@pytest.mark.parametrize("pinned", [False, True])
def test_a_move_with_4096_channels_sends_less_than_64_kb(sent: list[dict[str, Any]], pinned: bool) -> None:
    rng = np.random.default_rng(0)
    x = (rng.standard_normal((4096, 64)) * 0.02).astype("f4")
    x[np.arange(4096), rng.integers(0, 64, 4096)] *= rng.uniform(4, 40, 4096).astype("f4")
    panel = pq.show(x)
    if pinned:
        panel.pin("before")
    for ratio in (0.95, 0.9, 0.8, 0.5):
        sent.clear()
        panel.state.clip_ratio = ratio
        by_widget = sizes(sent)
        assert by_widget[panel.overview._bars.model_id] > 8_000  # all columns did change
        assert sum(by_widget.values()) < MOST, sorted(by_widget.items(), key=lambda each: -each[1])[:6]
