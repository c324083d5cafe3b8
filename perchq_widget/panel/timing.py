"""When work is done: many requests in a row, one evaluation of the newest state; long work step by step."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

QUIET_S = 0.003  # for the first move after a pause, which is answered at once
BURST_S, CALM_S = 0.02, 0.1  # for one that follows an answer so closely that more will come
CAP_S = 0.06
PATIENT_S = 0.3  # between two key strokes of someone who types


def running_loop() -> asyncio.AbstractEventLoop | None:
    """The event loop that this thread runs in, None outside of one."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


class LatestWins:
    """Run ``work`` after the last of a burst of requests.

    Inside an event loop a request arms a timer: messages that already wait in the queue are taken first, and only
    the state that they leave behind is evaluated. What follows an answer closely is taken for part of a burst and
    waits a little longer; a burst that does not end is evaluated every ``cap_s`` all the same. Without a loop ``work``
    runs at once, or at the next ``settle`` if it is not ``eager``. A request that ``work`` itself makes runs it once
    more, never nested. ``patient`` requests, for work that takes long, wait until nobody asks any more, however long
    that is.

    A failure of ``work`` is raised, and the request stays pending: ``settle`` tries again.
    """

    def __init__(
        self,
        work: Callable[[], None],
        *,
        quiet_s: float = QUIET_S,
        patient_s: float = PATIENT_S,
        cap_s: float = CAP_S,
        eager: bool = True,
        find_loop: Callable[[], asyncio.AbstractEventLoop | None] = running_loop,
    ) -> None:
        self._work = work
        self._quiet_s = quiet_s
        self._patient_s = patient_s
        self._cap_s = cap_s
        self._eager = eager
        self._find_loop = find_loop
        self._timer: asyncio.TimerHandle | None = None
        self._first = 0.0
        self._ended = -CALM_S
        self._more = False
        self._patient = False
        self._pending = False
        self._running = False

    @property
    def pending(self) -> bool:
        """Whether a request waits for its evaluation."""
        return self._pending

    def request(self, *, patient: bool = False) -> None:
        """Ask for an evaluation of the state as it will be when the burst ends."""
        self._pending = True
        self._patient = patient
        if self._running:
            return
        loop = self._find_loop()
        if loop is None:
            if self._eager:
                self.settle()
        elif self._timer is None:
            self._first = loop.time()
            self._arm(loop)
        else:
            self._more = True

    def settle(self) -> None:
        """Evaluate what is pending, here and now; nothing is awaited."""
        self._disarm()
        if self._running:
            return
        self._running = True
        try:
            while self._pending:
                self._pending = False
                self._work()
        except BaseException:
            self._pending = True
            raise
        finally:
            self._running = False

    def cancel(self) -> None:
        """Forget what is pending."""
        self._disarm()
        self._pending = False

    def _arm(self, loop: asyncio.AbstractEventLoop) -> None:
        self._more = False
        burst = loop.time() - self._ended < CALM_S
        quiet_s = max(self._quiet_s, BURST_S) if burst else self._quiet_s
        self._timer = loop.call_later(self._patient_s if self._patient else quiet_s, self._fire, loop)

    def _fire(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._more and (self._patient or loop.time() - self._first < self._cap_s):
            self._arm(loop)
            return
        try:
            self.settle()
        finally:
            self._ended = loop.time()

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class Gradual:
    """Long work in steps. Inside an event loop each step waits its turn, so that clicks in between are heard.

    ``start`` forgets what was left of former work: the latest wins. Without a loop all steps run at once.
    """

    def __init__(
        self, *, pause_s: float = QUIET_S, find_loop: Callable[[], asyncio.AbstractEventLoop | None] = running_loop
    ) -> None:
        self._pause_s = pause_s
        self._find_loop = find_loop
        self._steps: Iterator[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    @property
    def pending(self) -> bool:
        """Whether steps are left."""
        return self._steps is not None

    def start(self, steps: Iterator[None]) -> None:
        """Run ``steps`` up to their next ``yield`` each, in place of whatever was running."""
        self.cancel()
        self._steps = steps
        loop = self._find_loop()
        if loop is None:
            self.settle()
        else:
            self._arm(loop)

    def settle(self) -> None:
        """Run what is left, here and now."""
        self._disarm()
        while self._steps is not None:
            self._step()

    def cancel(self) -> None:
        """Forget what is left."""
        self._disarm()
        self._steps = None

    def _step(self) -> None:
        steps = self._steps
        assert steps is not None
        try:
            next(steps)
        except StopIteration:
            self._forget(steps)
        except BaseException:
            self._forget(steps)
            raise

    def _forget(self, steps: Iterator[None]) -> None:
        if self._steps is steps:  # a step may itself have started other work
            self._steps = None

    def _arm(self, loop: asyncio.AbstractEventLoop) -> None:
        self._disarm()
        self._timer = loop.call_later(self._pause_s, self._fire, loop)

    def _fire(self, loop: asyncio.AbstractEventLoop) -> None:
        self._step()
        if self.pending:
            self._arm(loop)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
