"""Tensors that nobody wants: drawn and explained, or refused with a reason; and failures that a panel survives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from ipywidgets.widgets.widget import _instances

import perchq_widget as pq
from perchq_widget.panel.app import QuantPanel

F4 = np.float32
NAN, INF = float("nan"), float("inf")


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(5).standard_normal(shape).astype("f4")


def with_values(*values: float) -> np.ndarray:
    array = normal(4, 32)
    array[1, : len(values)] = values
    return array


TENSORS: dict[str, Callable[[], np.ndarray]] = {
    "all zero": lambda: np.zeros((4, 32), F4),
    "constant": lambda: np.full((4, 32), 0.7, F4),
    "negative constant": lambda: np.full((4, 32), -3.0, F4),
    "one element": lambda: np.array([1.5], F4),
    "one element of zero": lambda: np.zeros((1, 1), F4),
    "one channel": lambda: normal(1, 64),
    "one element a channel": lambda: normal(9, 1),
    "a channel of zeros": lambda: np.vstack([normal(3, 32), np.zeros((1, 32), F4)]),
    "a nan": lambda: with_values(NAN),
    "infinities": lambda: with_values(INF, -INF),
    "a channel of nan": lambda: with_values(*[NAN] * 32),
    "all nan": lambda: np.full((3, 8), NAN, F4),
    "denormals": lambda: (normal(4, 32) * F4(1e-40)).astype(F4),
    "the least denormal": lambda: np.array([[1.4e-45, 0.0, -1.4e-45]], F4),
    "two adjacent floats": lambda: np.array([[1.0, np.nextafter(F4(1), F4(2))]] * 2, F4),
    "the largest floats": lambda: np.array([[3.4e38, -3.4e38, 1.0], [3.4e38, 3.4e38, 0.0]], F4),
    "float64 ends": lambda: np.array([[1e100, -1e100], [1e-100, -1e-100]]),
    "half": lambda: normal(4, 32).astype(np.float16),
    "integers": lambda: np.arange(-60, 60).reshape(4, 30),
    "unsigned bytes": lambda: np.arange(120, dtype=np.uint8).reshape(4, 30),
    "booleans": lambda: normal(4, 8) > 0,
    "complex": lambda: normal(4, 8).astype(np.complex64),
    "texts": lambda: np.array([["a", "b"]]),
    "objects": lambda: np.array([[1, None]], dtype=object),
    "no element": lambda: np.zeros((3, 0), F4),
    "no channel": lambda: np.zeros((0, 3), F4),
    "no axis": lambda: np.array(1.0, F4),
}
MOVES = (
    {"clip_ratio": 0.5}, {"clip_ratio": 0.005}, {"dtype": "int4"}, {"scheme": "symmetric"}, {"granularity": "tensor"},
    {"dtype": "quint8", "scheme": "affine"}, {"clip_ratio": 1.0}, {"dtype": "float8_e4m3fn"}, {"dtype": "qint8"},
)  # fmt: skip


def check_drawn(panel: QuantPanel) -> None:
    """Every part says something about every channel; where there is no result, the reason is in the panel."""
    view = panel.view
    if view.problem is not None:
        notes = [*(note.value for note in panel.controls.notes.values()), panel.banner.widget.value]
        assert "perchq-error" in "".join(notes)
        return
    assert panel.banner.widget.value == ""
    assert view.table is not None
    for row in {0, len(view.names) - 1, view.row or 0}:
        panel.state.channel = row
        panel.settle()
        assert view.names[row] in panel.explain.widget.value
        assert "<li>" in panel.explain.widget.value
    assert panel.table.html.value.count("<tr>") == 1 + min(16, len(view.names))
    assert "perchq-tile" in panel.tiles.widget.value


REFUSED = {
    "the largest floats": "clip the range", "integers": "astype", "unsigned bytes": "astype", "booleans": "astype",
    "complex": "array.real", "texts": "give an array", "objects": "give an array", "no element": "nothing to quantize",
    "no channel": "nothing to quantize", "no axis": "reshape",
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_analysed_is_refused_with_the_way_out(alive: set[str], name: str) -> None:
    before = len(alive)
    with pytest.raises(pq.QuantError, match=REFUSED[name]):
        pq.show(TENSORS[name]())
    assert len(_instances) == before


@pytest.mark.parametrize("name", [name for name in TENSORS if name not in REFUSED])
def test_a_bad_tensor_is_drawn_and_explained_whatever_moves(alive: set[str], name: str) -> None:
    del alive
    panel = pq.show(TENSORS[name]())
    check_drawn(panel)
    for move in MOVES:
        for setting, value in move.items():
            setattr(panel.state, setting, value)
        check_drawn(panel)
    panel.close()


def test_a_hundred_thousand_channels(alive: set[str]) -> None:
    del alive
    panel = pq.show(normal(100_000, 2))
    check_drawn(panel)
    panel.state.clip_ratio = 0.6
    panel.state.find = "777"
    assert len(panel.view.order) == sum("777" in str(row) for row in range(100_000))
    panel.state.find, panel.state.page = "", 10**6
    assert panel.view.page == 100_000 // 16 - 1
    panel.table.copy.buttons[0].click()
    assert "2,000 rows as CSV, the first of 100,000" in panel.table.copy.text.value


PARTS = (
    "tiles", "findings", "table", "explain", "chart", "overview", "controls", "selector", "board", "curve", "ranges",
)  # fmt: skip


def broken(*_: Any, **__: Any) -> None:
    raise RuntimeError("something unforeseen")


@pytest.mark.parametrize("part", PARTS)
def test_a_part_that_fails_is_said_and_the_panel_goes_on(
    alive: set[str], monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    del alive
    panel = pq.show(normal(8, 32))
    panel.settle()
    with monkeypatch.context() as patch:
        patch.setattr(getattr(panel, part), "apply", broken)
        with pytest.raises(RuntimeError, match="unforeseen"):
            panel.state.clip_ratio = 0.5
        said = panel.banner.widget.value
        assert "something unforeseen" in said
        assert "Change a setting to try again" in said
        assert 'role="alert"' in said
    panel.state.clip_ratio = 0.75
    check_drawn(panel)
    assert "clip_ratio 0.75" in panel.explain.widget.value
    panel.table.rows[2].click()
    assert panel.view.place == 2
