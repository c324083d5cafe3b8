"""From the slider's key press to the repainted overview, histogram and table, in JupyterLab in headless Chromium.

Every move is timed inside the page: from the keydown event to the second frame after the last of the three changed.
`make bench`, or this file alone with pytest -s.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from benchmarks.turns import in_turns, layer
from browser.conftest import chromium, lab, opened  # noqa: F401 -- fixtures
from browser.lab import Page

pytestmark = [pytest.mark.bench, pytest.mark.browser]

MOVES = 44
GOAL_MS = {"median": 150, "p95": 300}
CELL = """import perchq_widget as pq
from benchmarks.turns import layer
panel = pq.show(layer(), clip_ratio=0.95)
panel"""
PATH = "import sys; sys.path.insert(0, {tests!r})\n"

# Watches the panel. `perchqMove` holds the move under way: what it has to repaint, and when each part was.
WATCH = """() => {
  const panel = document.querySelector('.perchq-panel');
  const parts = {
    overview: () => [...panel.querySelectorAll('.perchq-overview path.line')].map(each => each.getAttribute('d')),
    histogram: () => [...panel.querySelectorAll('.perchq-histogram path.line')].map(each => each.getAttribute('d')),
    // The columns that follow a move: the rest of them come when nothing moves, maybe during the next one.
    table: () => [...panel.querySelectorAll('.perchq-table tbody tr')].map(
      row => [...row.cells].slice(1, 7).map(cell => cell.textContent).join(' ')),
  };
  const where = { overview: '.perchq-overview', histogram: '.perchq-histogram', table: '.perchq-table-box' };
  const read = name => parts[name]().join('|');
  const same = (a, b) => a.length === b.length && a === b;
  window.perchqDone = [];
  window.perchqMove = null;
  window.perchqLast = performance.now();
  const frames = done => requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now())));
  const changed = records => {
    window.perchqLast = performance.now();
    const move = window.perchqMove;
    if (!move) return;
    for (const name of Object.keys(parts)) {
      if (name in move.at || !records.some(each => (each.target.closest ?? (() => panel)).call(
          each.target, where[name]))) continue;
      const now = read(name);
      if (now.length < 20 || same(now, move.before[name])) continue;
      move.at[name] = performance.now();
      move.after[name] = now;
    }
    if (Object.keys(move.at).length < 3) return;
    window.perchqMove = null;
    frames(end => window.perchqDone.push({
      total: end - move.start,
      ...Object.fromEntries(Object.entries(move.at).map(([name, at]) => [name, at - move.start])),
      length: move.after.overview.length, mark: move.after.histogram,
    }));
  };
  new MutationObserver(changed).observe(panel, {
    subtree: true, childList: true, characterData: true, attributes: true, attributeFilter: ['d'],
  });
  document.addEventListener('keydown', event => {
    if (event.key !== 'ArrowLeft') return;
    const before = Object.fromEntries(Object.keys(parts).map(name => [name, read(name)]));
    window.perchqMove = { start: event.timeStamp, before, at: {}, after: {} };
  }, { capture: true });
}"""


def frames_of(page: Page) -> list[int]:
    """Sizes of what the server sends from now on."""
    sizes: list[int] = []

    def listen(socket: Any) -> None:
        socket.on("framereceived", lambda data: sizes.append(len(data)))

    page.page.on("websocket", listen)
    return sizes


def still(page: Page, quiet_ms: int) -> None:
    """Wait until the panel has not changed for so long."""
    page.page.wait_for_function(f"() => performance.now() - window.perchqLast > {quiet_ms}", polling=20)


def moves(page: Page, count: int, rest_ms: int) -> list[dict[str, Any]]:
    """Press the key ``count`` times, each after the panel was still for ``rest_ms``; what each one took."""
    page.page.evaluate("() => { window.perchqDone = [] }")
    for done in range(1, count + 1):
        still(page, rest_ms)
        page.page.keyboard.press("ArrowLeft")
        page.page.wait_for_function(f"() => window.perchqDone.length >= {done}", timeout=10_000, polling=20)
    found: list[dict[str, Any]] = page.page.evaluate("() => window.perchqDone")
    assert len(found) == count
    assert len({each["mark"] for each in found}) == count, "a move was timed on what an earlier one had drawn"
    assert min(each["length"] for each in found) > 10_000, "the overview does not hold all channels"
    return found


def spread(values: list[float]) -> str:
    return f"median {statistics.median(values):.0f}, p95 {np.percentile(values, 95):.0f}"


def tell(what: str, found: list[dict[str, Any]]) -> None:
    took = [each["total"] for each in found]
    slowest = max(took)
    parts = "; ".join(f"{name} {spread([each[name] for each in found])}" for name in ("overview", "histogram", "table"))
    print(f"  {what}: {spread(took)} ms, at most {slowest:.0f} (goal median {GOAL_MS['median']}, p95 {GOAL_MS['p95']})")
    print(f"    changed after: {parts}")


def test_key_press_to_repaint(opened: Callable[..., Page]) -> None:  # noqa: F811
    from browser.lab import ROOT

    page = opened([PATH.format(tests=str(ROOT / "tests")) + CELL, "print(f'ratio {panel.state.clip_ratio:.3f}')"])
    page.run_cell(0)
    page.panel_drawn()
    page.page.wait_for_function("() => document.querySelector('.perchq-overview path.line[d]')")
    page.page.evaluate(WATCH)
    handle = page.page.locator(".perchq-clip-ratio .noUi-handle").first
    handle.scroll_into_view_if_needed()
    handle.focus()
    moves(page, 3, 400)  # the first ones warm the browser up
    calm = moves(page, MOVES, 250)
    hasty = moves(page, MOVES, 0)
    x = layer()
    target = np.empty_like(x)
    (copy,) = in_turns(lambda: np.copyto(target, x))
    print(f"\n{MOVES} moves each; a copy of the layer takes {copy * 1e3:.1f} ms here")
    tell("after a rest", calm)
    tell("one right after the other", hasty)
    page.run_cell(1)
    ratio = 0.95 - 0.005 * (3 + 2 * MOVES)
    page.page.locator(".jp-OutputArea-output", has_text=f"ratio {ratio:.3f}").first.wait_for()
    assert page.errors == []
