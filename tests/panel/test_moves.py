"""Many moves in a short time, as the browser sends them: few are computed, and the last one is shown for good."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest
from panel.samples import weight

import perchq_widget as pq
from perchq_widget.panel.app import QuantPanel
from perchq_widget.panel.state import Intent
from perchq_widget.panel.timing import LatestWins

MOVES, SECONDS = 200, 2.0
RATIOS = np.linspace(0.99, 0.5, MOVES)


def evaluations(panel: QuantPanel) -> list[float]:
    """The clip ratios whose results the panel computes from now on, in order."""
    seen: list[float] = []
    report = panel._subject.report
    last: list[object] = [panel.report]

    def counted(intent: Intent) -> Any:
        made = report(intent)
        if made is not last[0]:
            last[0] = made
            seen.append(intent.clip_ratio)
        return made

    panel._subject.report = counted  # type: ignore[method-assign]
    return seen


def move(panel: QuantPanel, ratio: float) -> None:
    """The message of a moved slider."""
    panel.controls.fields["clip_ratio"].comm.handle_msg(
        {"content": {"data": {"method": "update", "state": {"value": ratio}, "buffer_paths": []}}, "buffers": []}
    )


async def rest(panel: QuantPanel) -> None:
    """Let the loop do what it has been given, until nothing waits: the last draw, and the full report at rest."""
    paces = [each for each in vars(panel).values() if isinstance(each, LatestWins)]
    while any(each.pending for each in paces):
        await asyncio.sleep(0.005)


def drag(panel: QuantPanel) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        start = loop.time()
        for place, ratio in enumerate(RATIOS):
            await asyncio.sleep(max(0.0, start + place * SECONDS / MOVES - loop.time()))
            move(panel, float(ratio))
        await rest(panel)

    asyncio.run(main())


def values(sent: list[dict[str, Any]], widget: Any, trait: str) -> list[Any]:
    """What a widget was told, in order."""
    states = [
        message["data"]["state"] for message in sent
        if message["comm"] == widget.model_id and message["data"].get("method") == "update"
    ]
    return [state[trait] for state in states if trait in state]


@pytest.fixture
def panel(alive: set[str]) -> QuantPanel:
    del alive
    x = weight(64, 256)
    x[np.arange(64), np.arange(64)] *= 8  # each step of the clip ratio means other figures
    return pq.show(x)


def test_of_200_moves_in_two_seconds_few_are_computed_and_the_last_is_shown(
    panel: QuantPanel, sent: list[dict[str, Any]]
) -> None:
    seen = evaluations(panel)
    sent.clear()
    drag(panel)
    assert 2 <= len(seen) <= 60
    assert seen == sorted(seen, reverse=True), "an older state was drawn after a newer one"
    assert seen[-1] == pytest.approx(RATIOS[-1])
    exact = pq.analyze(weight_of(panel), clip_ratio=float(RATIOS[-1]), convention=panel.state.convention)
    assert panel.report is not None
    np.testing.assert_allclose(panel.report.table["sqnr_db"], exact.table["sqnr_db"], rtol=1e-9)


def weight_of(panel: QuantPanel) -> np.ndarray:
    assert panel.report is not None
    array = panel.report.study.array
    assert array is not None
    return array


def test_messages_to_the_browser_never_go_back(panel: QuantPanel, sent: list[dict[str, Any]]) -> None:
    ratios = evaluations(panel)
    sent.clear()
    drag(panel)
    tiles = values(sent, panel.tiles.widget, "value")
    assert len(tiles) == len(set(tiles)), "figures of an earlier state came back"
    assert len(tiles) <= 2 * len(ratios)  # moving, and in full at rest
    assert tiles[-1] == panel.tiles.widget.value
    pages = values(sent, panel.table.html, "value")
    assert pages
    assert pages[-1] == panel.table.html.value
    assert len(pages) == len(set(pages)), "a page of an earlier state came back"


def test_the_slider_is_never_moved_under_the_finger(panel: QuantPanel, sent: list[dict[str, Any]]) -> None:
    """What the browser sent last is where its slider stands; an older value sent back would make it jump."""
    sent.clear()
    drag(panel)
    slider = panel.controls.fields["clip_ratio"]
    echoed = [
        message["data"]["state"] for message in sent
        if message["comm"] == slider.model_id and message["data"].get("method") == "update"
    ]
    assert all(not state.get("value") for state in echoed)
    assert slider.value == pytest.approx(RATIOS[-1])


def test_moves_while_an_evaluation_runs_are_one_more_evaluation(panel: QuantPanel) -> None:
    seen = evaluations(panel)

    async def main() -> None:
        for ratio in RATIOS[:50]:
            move(panel, float(ratio))
        await rest(panel)
        for ratio in RATIOS[50:]:
            move(panel, float(ratio))
        await rest(panel)

    asyncio.run(main())
    assert seen[-1] == pytest.approx(RATIOS[-1])
    assert len(seen) == 2


def test_asking_for_the_report_in_the_middle_of_a_drag_answers_for_the_newest_move(panel: QuantPanel) -> None:
    seen = evaluations(panel)

    async def main() -> None:
        for place, ratio in enumerate(RATIOS[:40]):
            move(panel, float(ratio))
            if place % 10 == 9:
                assert panel.report is not None
                assert panel.report.scheme.clip_ratio == pytest.approx(ratio)
        await rest(panel)

    asyncio.run(main())
    assert len(seen) == 4


def test_two_controls_moved_together_are_one_evaluation(panel: QuantPanel) -> None:
    seen = evaluations(panel)

    async def main() -> None:
        move(panel, 0.8)
        panel.state.dtype = "int4"
        panel.state.scheme = "symmetric"
        await rest(panel)

    asyncio.run(main())
    assert len(seen) == 1
    assert panel.report is not None
    assert (panel.report.scheme.dtype, panel.report.scheme.clip_ratio) == ("int4", 0.8)
