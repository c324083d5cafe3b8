"""Fifty panels come and go: no widget, handler, timer or thread stays, and no panel is kept in memory."""

from __future__ import annotations

import asyncio
import gc
import threading
import tracemalloc
import weakref
from collections.abc import Callable
from typing import Any

import ipywidgets as w
import pytest
from ipywidgets.widgets.widget import _instances
from panel.samples import weight

import perchq_widget as pq
from perchq_widget.panel.app import QuantPanel

PANELS = {"tensor": 50, "layers": 5, "calculator": 50}


def used_tensor_panel() -> QuantPanel:
    """A panel whose sections are open, with pins and a comparison under way: all that is built when first needed."""
    panel = pq.show(weight(12, 64))
    open_all(panel)
    panel.pin("first")
    panel.state.dtype = "int4"
    panel.pin("second")
    panel.state.clip_ratio = 0.9
    panel.comparison.start(panel.view)
    start_bakeoff(panel)
    panel.state.channel = 3
    panel.unpin("first")
    return panel


def used_layers_panel() -> QuantPanel:
    panel = pq.show({"a": weight(4, 8), "b": weight(6, 8)})
    open_all(panel)
    panel.state.tensor = "b"
    return panel


def used_calculator_panel() -> QuantPanel:
    panel = pq.show()
    open_all(panel)
    panel.pin("first")
    panel.state.mode = "params"
    panel.compare_conventions()
    panel.state.lines = "not a line\n"
    return panel


KINDS = {"tensor": used_tensor_panel, "layers": used_layers_panel, "calculator": used_calculator_panel}


def widgets_of(root: Any) -> list[Any]:
    """Every widget below ``root`` that is a child of a box, ``root`` included."""
    found = [root]
    for each in getattr(root, "children", ()):
        found += widgets_of(each)
    return found


def open_all(panel: QuantPanel) -> None:
    """Open every folded section, again as long as opening one shows another."""
    for _ in range(3):
        for each in widgets_of(panel):
            if isinstance(each, (w.Accordion, w.Tab)) and each.children:
                each.selected_index = 0
            elif isinstance(each, w.ToggleButton):
                each.value = True


def handlers(state: Any) -> dict[str, int]:
    """How many observers each trait of a state has, those without any left out."""
    counts = {name: sum(map(len, kinds.values())) for name, kinds in state._trait_notifiers.items()}
    return {name: count for name, count in counts.items() if count}


def start_bakeoff(panel: QuantPanel) -> None:
    """Begin the comparison of observers as its button does; it goes on while the panel is closed."""
    bakeoff = panel.bakeoff
    assert bakeoff is not None
    start = getattr(bakeoff, "start", None)
    if start is not None:
        start(panel.view)


def open_and_close(make: Callable[[], QuantPanel], times: int) -> list[weakref.ref[QuantPanel]]:
    """Panels that came and went in a running loop, with what they had begun still under way."""
    gone: list[weakref.ref[QuantPanel]] = []

    async def main() -> None:
        for _ in range(times):
            panel = make()
            gone.append(weakref.ref(panel))
            panel.close()
            del panel
            await asyncio.sleep(0)

    asyncio.run(main())
    return gone


@pytest.mark.parametrize("kind", KINDS)
def test_many_panels_leave_nothing_behind(kind: str, alive: set[str]) -> None:
    open_and_close(KINDS[kind], 1)
    gc.collect()
    threads = set(threading.enumerate())
    gone = open_and_close(KINDS[kind], PANELS[kind])
    gc.collect()
    left = [type(_instances[name]).__name__ for name in set(_instances) - alive]
    assert left == []
    assert [each for each in gone if each() is not None] == []
    assert set(threading.enumerate()) <= threads, "a thread was left behind"


@pytest.mark.parametrize("kind", KINDS)
def test_a_closed_panel_has_no_timer_in_the_loop(kind: str, alive: set[str]) -> None:
    del alive

    async def main() -> None:
        loop = asyncio.get_running_loop()
        panel = KINDS[kind]()
        panel.state.channel = 1
        panel.close()
        waiting = [each for each in loop._scheduled if not each.cancelled()]  # type: ignore[attr-defined]
        assert waiting == []

    asyncio.run(main())


@pytest.mark.parametrize("kind", KINDS)
def test_a_closed_panel_leaves_the_state_to_its_owner(kind: str, alive: set[str]) -> None:
    """A state that somebody keeps must not keep the panel, nor write to widgets that are closed."""
    del alive
    panel = KINDS[kind]()
    state, gone = panel.state, weakref.ref(panel)
    panel.close()
    del panel
    gc.collect()
    assert gone() is None
    state.channel = "0"
    assert handlers(state) == handlers(type(state)())


@pytest.mark.parametrize("kind", ["tensor", "calculator"])
def test_memory_returns(kind: str, alive: set[str], sent: list[dict[str, Any]]) -> None:
    del alive
    open_and_close(KINDS[kind], 2)  # caches of the libraries fill up
    gc.collect()
    tracemalloc.start()
    try:
        open_and_close(KINDS[kind], 2)
        sent.clear()
        gc.collect()
        before, _ = tracemalloc.get_traced_memory()
        kept = KINDS[kind]()
        one = tracemalloc.get_traced_memory()[0] - before
        kept.close()
        del kept
        open_and_close(KINDS[kind], 8)
        sent.clear()  # the recorded messages are the test's own
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # Of nine panels less than a tenth of a single one is left.
    assert after - before < 0.1 * one


def test_closing_twice_and_before_the_first_result(alive: set[str]) -> None:
    panel = pq.show("no line at all\n")
    panel.close()
    panel.close()
    with pytest.raises(pq.QuantError):
        pq.show(weight(4, 8), dtype="int4", scheme="affine", convention="tensorrt")
    gc.collect()
    assert set(_instances) <= alive
