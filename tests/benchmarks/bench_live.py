"""What opening and moving cost without a browser, in copies of the layer: np.copyto into an existing array, in turns.

The panel lives in a running event loop, as in a kernel, and its messages are serialised but not sent.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import comm
import numpy as np
import pytest
from benchmarks.turns import layer
from comm.base_comm import BaseComm
from ipywidgets.widgets.widget import _instances

import perchq_widget as pq
from perchq_widget.panel.app import QuantPanel

pytestmark = pytest.mark.bench

ROUNDS = 9
REST_S = 0.6  # a panel at rest completes its report; a move comes after that
GOAL_OPEN, GOAL_MOVE, GOAL_BYTES, GOAL_MEMORY = 20, 4, 64 * 1024, 100e6
CONVENTIONS = ("onnxruntime", "calculator", "torchao", "compressed-tensors", "pytorch")
CHANGES: dict[str, list[dict[str, Any]]] = {
    "clip ratio": [{"clip_ratio": 0.95 - 0.01 * step} for step in range(ROUNDS + 1)],
    "bits": [{"dtype": dtype} for dtype in ("int4", "int6", "qint8", "int3", "int5")] * 2,
    "scheme": [{"scheme": scheme} for scheme in ("symmetric", "affine")] * 5,
    "convention": [{"convention": name} for name in CONVENTIONS] * 2,
}


class SerialisingComm(BaseComm):
    """Turns every message into what goes over the wire, and counts it."""

    n_bytes = 0
    n_messages = 0

    def publish_msg(self, msg_type: str, data: Any = None, buffers: Any = None, **_: Any) -> None:
        del msg_type
        cls = type(self)
        cls.n_bytes += len(json.dumps(data, default=str)) + sum(memoryview(each).nbytes for each in buffers or ())
        cls.n_messages += 1


@pytest.fixture(autouse=True)
def serialised(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[SerialisingComm]]:
    monkeypatch.setattr(comm, "create_comm", SerialisingComm)
    monkeypatch.setattr("ipywidgets.widgets.widget.comm.create_comm", SerialisingComm)
    before = set(_instances)
    yield SerialisingComm
    for name in set(_instances) - before:
        if name in _instances:
            _instances[name].close()


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


class Copies:
    """The time of a copy of the layer, measured beside whatever is told in copies."""

    def __init__(self, x: np.ndarray) -> None:
        self._x, self._into = x, np.empty_like(x)
        self.taken: list[float] = []

    def take(self) -> None:
        self.taken.append(seconds(lambda: np.copyto(self._into, self._x)))

    @property
    def median(self) -> float:
        return statistics.median(self.taken)


def test_opening() -> None:
    x = layer()
    copies, took = Copies(x), []

    async def main() -> None:
        pq.show(x[:64, :64]).close()
        for round_ in range(ROUNDS + 1):
            await asyncio.sleep(0.2)
            copies.take()
            start = time.perf_counter()
            panel = pq.show(x)
            if round_:
                took.append(time.perf_counter() - start)
            assert panel.report is not None
            assert len(panel.report.study.known) == 4096
            panel.close()

    asyncio.run(main())
    median, copy = statistics.median(took), copies.median
    print(
        f"\nopening: {median * 1e3:.0f} ms, {median / copy:.1f} copies (goal {GOAL_OPEN}); at best "
        f"{min(took) * 1e3:.0f} ms; a copy {copy * 1e3:.1f} ms"
    )


def sqnr_known(panel: QuantPanel) -> np.ndarray:
    """The live figures of all channels as they are now; fails if there are none or not all."""
    report = panel.report
    assert report is not None
    sqnr = report.study.known["sqnr_db"].to_numpy(np.float64)
    assert np.isfinite(sqnr).all()
    return sqnr


async def answer_s(panel: QuantPanel, change: dict[str, Any], n_channels: int) -> float:
    """From setting the traits to the live figures of all channels."""
    start = time.perf_counter()
    for name, value in change.items():
        setattr(panel.state, name, value)
    sqnr = sqnr_known(panel)
    took = time.perf_counter() - start
    assert sqnr.size == n_channels
    assert all(getattr(panel.report.scheme, name) == value for name, value in change.items())  # type: ignore[union-attr]
    return took


@pytest.mark.parametrize("what", CHANGES)
def test_a_change_answers(what: str, serialised: type[SerialisingComm]) -> None:
    x = layer()
    copies, took, drawn, sizes, messages = Copies(x), [], [], [], []

    async def main() -> None:
        panel = pq.show(x, clip_ratio=1.0 if what != "clip ratio" else 0.96)
        for round_, change in enumerate(CHANGES[what]):
            await asyncio.sleep(REST_S)
            copies.take()
            serialised.n_bytes = serialised.n_messages = 0
            answered = await answer_s(panel, change, 4096)
            start = time.perf_counter()
            panel._pace.settle()
            if round_:
                took.append(answered)
                drawn.append(time.perf_counter() - start)
                sizes.append(serialised.n_bytes)
                messages.append(serialised.n_messages)
        panel.close()

    asyncio.run(main())
    median, copy = statistics.median(took), copies.median
    print(
        f"\n{what}: panel.report has all live figures after {median * 1e3:.0f} ms, {median / copy:.1f} copies "
        f"(goal {GOAL_MOVE}), at most {max(took) / copy:.1f}; drawn {statistics.median(drawn) * 1e3:.0f} ms later, "
        f"{statistics.median(sizes) / 1024:.0f} KB (goal 64), {statistics.median(messages):.0f} messages; "
        f"a copy {copy * 1e3:.1f} ms"
    )


def move_times(panel: QuantPanel, n_channels: int) -> list[float]:
    async def main() -> list[float]:
        took = []
        for step in range(ROUNDS):
            panel.state.clip_ratio = 0.97 - 0.01 * step
            took.append(seconds(lambda: sqnr_known(panel)))
            await asyncio.sleep(0)
        assert panel.report is not None
        assert len(panel.report.study.known) == n_channels
        return took[1:]

    return asyncio.run(main())


def large(shape: tuple[int, int]) -> np.ndarray:
    rng = np.random.default_rng(1)
    x = rng.standard_normal(shape, dtype=np.float32)
    x *= np.float32(0.02)
    x[np.arange(shape[0]), rng.integers(0, shape[1], shape[0])] *= rng.uniform(4, 40, shape[0]).astype(np.float32)
    return x


@pytest.mark.parametrize("shape", [(4096, 24576), (10000, 10000)], ids=str)
def test_a_hundred_million_elements_beside_sixteen(shape: tuple[int, int]) -> None:
    small, x = layer(), large(shape)

    async def opened(array: np.ndarray) -> QuantPanel:
        return pq.show(array, clip_ratio=0.98)

    few, many = asyncio.run(opened(small)), asyncio.run(opened(x))
    for panel in (few, many):
        panel.settle()
    first = statistics.median(move_times(many, shape[0]))
    rested = seconds(many.settle)  # builds the histograms that answer from now on
    turns = [(move_times(few, 4096), move_times(many, shape[0])) for _ in range(3)]
    pairs = [(statistics.median(before), statistics.median(after)) for before, after in turns]
    ratio = statistics.median(after / before for before, after in pairs)
    live = many.report
    assert live is not None
    estimate = live.study.known["sqnr_db"].to_numpy(np.float64)
    rest = pq.analyze(x, clip_ratio=many.state.clip_ratio, convention=many.state.convention)
    exact = rest.table["sqnr_db"].to_numpy(np.float64)
    print(
        f"\n{shape}: a move {pairs[-1][1] * 1e3:.0f} ms, {ratio:.2f}x (goal 1.5) that of 16 M elements, "
        f"{pairs[-1][0] * 1e3:.0f} ms; before the first rest {first * 1e3:.0f} ms, "
        f"the rest {rested:.1f} s; exact: {live.exact}; "
        f"estimates off by at most {np.abs(estimate - exact).max():.4f} dB (goal 0.05)"
    )
    many.settle()
    assert many.report is not None
    assert many.report.exact
    at_rest = many.report.table
    worst = max(
        float(np.max(np.abs(at_rest[name] - rest.table[name]) / np.maximum(np.abs(rest.table[name]), 1e-300)))
        for name in ("sqnr_db", "mse", "max_abs_error", "scale", "cosine")
    )
    print(f"  at rest off by at most {worst:.1e} (goal 1e-6)")
    assert worst <= 1e-6
    few.close()
    many.close()


MEMORY = """
import sys, threading, time
sys.path.insert(0, {tests!r})
import comm
from comm.base_comm import BaseComm
class Silent(BaseComm):
    def publish_msg(self, *args, **kwargs): pass
comm.create_comm = Silent
import ipywidgets.widgets.widget as widget
widget.comm.create_comm = Silent
import perchq_widget as pq
from benchmarks.turns import layer
pq.show(layer()[:64, :64].copy()).close()
x = layer()

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096

most, stop = [0], threading.Event()
def watch():
    while not stop.is_set():
        most[0] = max(most[0], resident())
        time.sleep(0.001)

before = resident()
thread = threading.Thread(target=watch)
thread.start()
panel = pq.show(x)
stop.set()
thread.join()
assert panel.report.study.array is x or panel.report.study.array.base is x
print((most[0] - before) / 1e6, (resident() - before) / 1e6)
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads the resident memory from /proc")
def test_memory_of_opening() -> None:
    tests = str(Path(__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", MEMORY.format(tests=tests)], check=True, capture_output=True, text=True
    )
    most, kept = (float(number) for number in done.stdout.split())
    print(f"\nmemory beyond the tensor of 67 MB: at most {most:.0f} MB while opening (goal 100), {kept:.0f} MB kept")
    assert most * 1e6 < GOAL_MEMORY
