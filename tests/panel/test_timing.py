from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from itertools import pairwise

import pytest

from perchq_widget.panel.timing import Gradual, LatestWins


class Timer:
    def __init__(self) -> None:
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class Clock:
    """An event loop's clock and timers, moved by hand."""

    def __init__(self) -> None:
        self.now = 0.0
        self.timers: list[tuple[float, Timer, Callable[..., None], tuple[object, ...]]] = []

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, call: Callable[..., None], *args: object) -> Timer:
        timer = Timer()
        self.timers.append((self.now + delay, timer, call, args))
        return timer

    def advance(self, seconds: float) -> None:
        self.now += seconds
        due = [entry for entry in self.timers if entry[0] <= self.now + 1e-9]
        self.timers = [entry for entry in self.timers if entry not in due]
        for _, timer, call, args in due:
            if not timer.cancelled:
                call(*args)


def paced(clock: Clock | None, runs: list[float]) -> LatestWins:
    return LatestWins(lambda: runs.append(clock.now if clock else 0.0), find_loop=lambda: clock)  # type: ignore[arg-type,return-value]


def test_without_a_loop_every_request_runs_at_once() -> None:
    runs: list[float] = []
    pace = paced(None, runs)
    pace.request()
    pace.request()
    assert len(runs) == 2
    assert not pace.pending


def test_a_burst_runs_once_after_its_last_request() -> None:
    clock, runs = Clock(), []
    pace = paced(clock, runs)
    for _ in range(40):
        pace.request()
    assert runs == []
    assert pace.pending
    clock.advance(0.008)
    assert runs == []  # others came after the first: it waits once more
    clock.advance(0.008)
    assert len(runs) == 1
    clock.advance(1)
    assert len(runs) == 1


def test_a_single_request_waits_one_quiet_time() -> None:
    clock, runs = Clock(), []
    paced(clock, runs).request()
    clock.advance(0.008)
    assert len(runs) == 1


def test_an_endless_burst_is_answered_all_the_same() -> None:
    clock, runs = Clock(), []
    pace = paced(clock, runs)
    for _ in range(50):
        pace.request()
        pace.request()
        clock.advance(0.008)
    assert 5 <= len(runs) <= 8
    assert all(later - earlier <= 0.08 for earlier, later in pairwise(runs))


def test_patient_requests_wait_for_the_last_one_however_long_it_takes() -> None:
    clock, runs = Clock(), []
    pace = paced(clock, runs)
    for _ in range(20):
        pace.request(patient=True)
        pace.request(patient=True)
        clock.advance(0.3)
    assert runs == []
    clock.advance(0.3)
    assert len(runs) == 1


def test_settle_runs_what_is_pending_and_disarms_the_timer() -> None:
    clock, runs = Clock(), []
    pace = paced(clock, runs)
    pace.request()
    pace.settle()
    assert len(runs) == 1
    clock.advance(1)
    pace.settle()
    assert len(runs) == 1


def test_cancel_forgets() -> None:
    clock, runs = Clock(), []
    pace = paced(clock, runs)
    pace.request()
    pace.cancel()
    clock.advance(1)
    assert runs == []
    assert not pace.pending


def test_a_request_from_inside_runs_once_more_never_nested() -> None:
    depth, most, runs = 0, 0, 0

    def work() -> None:
        nonlocal depth, most, runs
        depth, runs = depth + 1, runs + 1
        most = max(most, depth)
        if runs < 3:
            pace.request()
        depth -= 1

    pace = LatestWins(work, find_loop=lambda: None)
    pace.request()
    assert (runs, most) == (3, 1)


def test_a_failure_leaves_it_usable() -> None:
    calls: list[int] = []

    def work() -> None:
        calls.append(1)
        if len(calls) == 1:
            raise ValueError("first")

    pace = LatestWins(work, find_loop=lambda: None)
    with pytest.raises(ValueError, match="first"):
        pace.request()
    assert pace.pending  # what failed has not been done
    pace.settle()
    assert not pace.pending
    assert len(calls) == 2


def test_in_a_real_loop_requests_of_one_step_are_one_evaluation() -> None:
    runs: list[int] = []

    async def main() -> None:
        done = asyncio.Event()
        pace = LatestWins(lambda: (runs.append(1), done.set()))  # type: ignore[arg-type,return-value]
        for _ in range(40):
            pace.request()
        assert runs == []
        await asyncio.wait_for(done.wait(), 10)

    asyncio.run(main())
    assert runs == [1]


def steps(done: list[str], name: str, count: int) -> Iterator[None]:
    for at in range(count):
        done.append(f"{name}{at}")
        yield


def test_long_work_waits_between_its_steps() -> None:
    clock, done = Clock(), []
    work = Gradual(pause_s=0.01, find_loop=lambda: clock)  # type: ignore[arg-type,return-value]
    work.start(steps(done, "a", 3))
    assert done == []
    for count in (1, 2, 3):
        clock.advance(0.01)
        assert len(done) == count
    assert work.pending
    clock.advance(0.01)
    assert not work.pending
    clock.advance(1)
    assert done == ["a0", "a1", "a2"]


def test_the_latest_long_work_wins() -> None:
    clock, done = Clock(), []
    work = Gradual(pause_s=0.01, find_loop=lambda: clock)  # type: ignore[arg-type,return-value]
    work.start(steps(done, "a", 3))
    clock.advance(0.01)
    work.start(steps(done, "b", 2))
    for _ in range(5):
        clock.advance(0.01)
    assert done == ["a0", "b0", "b1"]
    work.start(steps(done, "c", 2))
    work.cancel()
    clock.advance(1)
    assert not work.pending
    assert done == ["a0", "b0", "b1"]


def test_long_work_runs_at_once_without_a_loop_and_when_settled() -> None:
    done: list[str] = []
    work = Gradual(find_loop=lambda: None)
    work.start(steps(done, "a", 3))
    assert (done, work.pending) == (["a0", "a1", "a2"], False)
    clock = Clock()
    work = Gradual(find_loop=lambda: clock)  # type: ignore[arg-type,return-value]
    work.start(steps(done, "b", 2))
    work.settle()
    clock.advance(1)
    assert done[3:] == ["b0", "b1"]


def test_a_step_that_fails_ends_the_work() -> None:
    def failing() -> Iterator[None]:
        yield
        raise RuntimeError("boom")

    work = Gradual(find_loop=lambda: None)
    with pytest.raises(RuntimeError, match="boom"):
        work.start(failing())
    assert not work.pending
    work.settle()


def test_a_step_may_start_other_work() -> None:
    done: list[str] = []
    work = Gradual(find_loop=lambda: None)

    def restarting() -> Iterator[None]:
        work.start(steps(done, "b", 2))
        yield
        done.append("never")

    work.start(restarting())
    assert done == ["b0", "b1"]
    assert not work.pending
