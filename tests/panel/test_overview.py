"""SQNR of all channels: what is drawn, labelled, kept in place and said."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from panel.samples import weight

import perchq_widget as pq
from perchq_widget.panel.app import QuantPanel
from perchq_widget.panel.charts import median, round_ends, steady_ends, valueless
from perchq_widget.panel.columns import columns_of
from perchq_widget.panel.overview import Drawn, drawn_of, heights_of, placed_names, worst_rows
from perchq_widget.report.rows import clipped_rows, row_flags
from perchq_widget.report.svg import text_width

pytestmark = pytest.mark.usefixtures("alive")
INF, NAN = float("inf"), float("nan")


def rows_of(panel: QuantPanel) -> dict[str, np.ndarray]:
    """The paths of the bars by what they show."""
    return dict(zip(("highest", "good", "clipped", "marks"), panel.overview._bars.y, strict=True))


@pytest.mark.parametrize("n", [1, 2, 12, 129, 512])
def test_each_bar_ends_at_its_channels_sqnr(n: int) -> None:
    panel = pq.show(weight(n, 64))
    sqnr = panel.report.table["sqnr_db"].to_numpy()
    good = rows_of(panel)["good"]
    tops = good.reshape(-1, 4)[:, 1] if n <= 128 else good[1:-2]
    np.testing.assert_allclose(tops, sqnr, rtol=1e-6)
    low, high = panel.overview._ends
    assert low <= sqnr.min()
    assert sqnr.max() < high


def test_above_512_channels_the_worst_and_the_best_of_each_column_are_drawn() -> None:
    panel = pq.show(weight(4096, 16), dtype="int4")
    sqnr = panel.report.table["sqnr_db"].to_numpy().reshape(-1, 8)
    rows = rows_of(panel)
    assert rows["good"].size == 512 + 3
    np.testing.assert_allclose(rows["good"][1:-2], sqnr.min(axis=1), rtol=1e-6)
    np.testing.assert_allclose(rows["highest"][1:-2], sqnr.max(axis=1), rtol=1e-6)
    assert "each column: 8 channels, lowest" in panel.overview._legend.value
    worst = int(sqnr[100].argmin()) + 800
    assert panel.overview.nearest(803.5, float(sqnr[100].min())) in range(776, 832)  # a finger is wider than a column
    assert panel.overview.nearest(worst, float(sqnr[100].min())) in sqnr.argmin(axis=1) + np.arange(512) * 8


def test_clipped_channels_are_told_by_place_and_not_by_colour_alone() -> None:
    x = weight(8, 64)
    panel = pq.show(x, clip_ratio=0.5)
    clipped = clipped_rows(panel.report.table)
    assert clipped.any()
    low, high = panel.overview._ends
    marks = rows_of(panel)["marks"].reshape(-1, 4)[:, 1]
    assert ((marks > low - 0.02 * (high - low)) == clipped).all()
    assert (marks < low).all()
    assert f"clipped by more than a code: {clipped.sum()} channels, underlined" in panel.overview._legend.value


@pytest.mark.parametrize("lines", ["a,-1,1,5\nb,-1,1,0.3\n", None])
def test_the_mask_of_clipped_rows_is_that_of_the_flags(lines: str | None) -> None:
    report = pq.calculate(lines) if lines else pq.analyze(weight(40, 9), clip_ratio=0.7)
    expected = ["clipped" in flags for flags in row_flags(report.table)]
    assert clipped_rows(report.table).tolist() == expected
    assert any(expected)


def test_the_worst_three_are_named() -> None:
    panel = pq.show(weight(64, 64), channel_names=[f"layer.{i}" for i in range(64)])
    order = np.argsort(panel.report.table["sqnr_db"].to_numpy(), kind="stable")[:3]
    assert [str(text) for text in panel.overview._labels.text] == [f"layer.{i}" for i in order]
    assert panel.overview._worst.x.tolist() == order.tolist()
    assert panel.overview._leaders.x[:, 1].tolist() == order.tolist()
    assert f"worst: layer.{order[0]}, layer.{order[1]}" in panel.overview._legend.value


def test_worst_rows_skip_what_is_exact_or_has_no_value() -> None:
    assert worst_rows(np.array([INF, 5.0, NAN, -INF, 7.0, 6.0])) == (3, 1, 5)
    assert worst_rows(np.array([3.0, 1.0, 1.0, 1.0, 1.0, 0.5])) == (5, 1, 2)
    assert worst_rows(np.full(4, INF)) == worst_rows(np.full(1, NAN)) == ()
    assert worst_rows(np.array([4.0])) == (0,)


@pytest.mark.parametrize("worst", [(0, 1, 2), (61, 63, 62), (0, 63, 1), (30, 31, 29), (5,)])
def test_names_neither_overlap_nor_leave_the_plot(worst: tuple[int, ...]) -> None:
    names = tuple(f"model.layers.{i}.self_attn.q_proj.weight" for i in range(64))
    drawn = Drawn(np.zeros(64), np.zeros(64, bool), columns_of(64), names, worst)
    texts, centres = placed_names(drawn)
    pixels = sorted(((at + 0.6) * 350 / 64.2, text_width(text, 11)) for at, text in zip(centres, texts, strict=True))
    assert all(at - wide / 2 >= -0.01 and at + wide / 2 <= 350.01 for at, wide in pixels)
    for (left, wide), (right, next_wide) in pairwise(pixels):
        assert right - left >= (wide + next_wide) / 2


def test_the_axis_begins_at_zero_unless_that_wastes_too_much() -> None:
    assert round_ends(10.0, 40.0, zero=True) == (0.0, 40.0)
    assert round_ends(25.0, 40.0, zero=True)[0] > 0
    assert round_ends(-3.0, 40.0, zero=True)[0] < -3
    assert round_ends(23.9, 24.1, zero=True)[0] > 20


def test_the_axis_stays_while_values_move_a_little() -> None:
    assert steady_ends((0.0, 50.0), (0.0, 40.0)) == (0.0, 50.0)
    assert steady_ends((0.0, 50.0), (0.0, 60.0)) == (0.0, 90.0)  # and half as much, for what moves goes on
    assert steady_ends((0.0, 50.0), (-10.0, 40.0)) == (-40.0, 40.0)
    assert steady_ends((10.0, 50.0), (2.0, 50.0)) == (0.0, 50.0)
    assert steady_ends((40.0, 50.0), (2.0, 50.0)) == (2.0, 50.0)
    assert steady_ends((0.0, 50.0), (0.0, 20.0)) == (0.0, 20.0)
    panel = pq.show(weight(64, 256))
    seen = set()
    for ratio in np.linspace(1.0, 0.8, 21):
        panel.state.clip_ratio = float(ratio)
        seen.add(panel.overview._ends)
        sqnr = panel.report.table["sqnr_db"]
        assert panel.overview._ends[0] <= sqnr.min()
        assert panel.overview._ends[1] > sqnr.max()
    assert len(seen) <= 9


@pytest.mark.parametrize(
    ("low", "high"),
    [(0.0, 0.0), (5.0, 5.0), (-7.0, -7.0), (1e-310, 2e-310), (-8e307, 8e307), (1e300, 1e300), (0, 5e-324)],
)
def test_any_values_have_ends(low: float, high: float) -> None:
    ends = round_ends(low, high)
    assert np.isfinite(ends).all()
    assert ends[0] <= low
    assert ends[1] > ends[0]


def test_the_baseline_is_drawn_behind_and_named() -> None:
    panel = pq.show(weight(64, 64))
    assert not panel.overview._base.visible
    before = panel.report.table["sqnr_db"].to_numpy()
    panel.pin("first <b>")
    panel.state.dtype = "int4"
    assert panel.overview._base.visible
    np.testing.assert_allclose(panel.overview._base.y[::3], before, rtol=1e-6)
    assert "baseline first &lt;b&gt;; now 0 better, 64 worse" in panel.overview._legend.value
    panel.unpin("first <b>")
    assert not panel.overview._base.visible
    assert "baseline" not in panel.overview._legend.value


def test_a_baseline_about_something_else_is_not_drawn_and_the_reason_said() -> None:
    panel = pq.show({"a": weight(8, 8), "b": weight(12, 8)})
    panel.pin("of a")
    panel.state.tensor = "b"
    assert not panel.overview._base.visible
    assert "baseline not drawn" in panel.overview._legend.value
    panel.state.tensor = "a"
    assert panel.overview._base.visible
    panel.state.ch_axis = 1
    assert not panel.overview._base.visible


def test_baselines_of_many_channels_are_brought_into_the_same_columns() -> None:
    panel = pq.show(weight(2048, 16))
    lowest = panel.report.table["sqnr_db"].to_numpy().reshape(-1, 4).min(axis=1)
    panel.pin("p")
    np.testing.assert_allclose(panel.overview._base.y[::2], lowest, rtol=1e-6)
    assert "lowest of each column" in panel.overview._legend.value


def odd_channels(n: int = 8) -> np.ndarray:
    """A channel each of NaN, zeros, a constant and one infinite value, among others."""
    x = weight(n, 16)
    x[0], x[1], x[2], x[3, 4] = NAN, 0.0, 3.0, INF
    return x


@pytest.mark.parametrize("n", [8, 200, 1600])
def test_odd_channels_are_drawn_and_explained(n: int) -> None:
    panel = pq.show(odd_channels(n))
    assert np.isfinite(panel.overview._bars.y).all()
    legend = panel.overview._legend.value
    assert "1 channel without a finite value, not drawn" in legend
    assert "2 channels without error, drawn at the top" in legend
    assert "lowest" in panel.overview._title.value
    assert "nan" not in panel.overview._title.value + legend


def test_heights_of_what_has_none() -> None:
    low, middle, high = heights_of(np.array([-INF, 20.0, INF]), (0.0, 50.0))
    assert 0 < low < 1
    assert middle == 20
    assert 40 < high < 42


def test_zeros_with_errors_stand_at_the_foot() -> None:
    panel = pq.show("a,-1,1,0.5\nz,1,2,0\n", convention="pytorch", scheme="affine")
    sqnr = np.array([30.0, -INF])
    drawn = drawn_of(panel.view)
    legend = panel.overview._legend.value
    assert drawn.sqnr.size == sqnr.size
    assert ("of zeros with errors" in legend) == bool(np.isneginf(drawn.sqnr).any())


def test_channels_without_any_value() -> None:
    panel = pq.show(np.full((4, 4), NAN))
    assert valueless(panel.report.table).all()
    assert "no channel has a finite value" in panel.overview._title.value
    assert not panel.overview._worst.visible
    assert panel.overview.nearest(2.0, 0.5) == 2


def test_the_middle_of_values_some_of_which_are_infinite() -> None:
    assert median(np.array([1.0, 3.0])) == 2.0
    assert median(np.array([1.0, INF])) == 1.0
    assert median(np.array([-INF, INF, 5.0])) == 5.0


def test_a_move_sends_no_x_and_y_as_float32(sent: list[dict[str, Any]]) -> None:
    panel = pq.show(weight(4096, 16))
    sent.clear()
    panel.state.clip_ratio = 0.9
    bars = [each["data"]["state"] for each in sent if each["comm"] == panel.overview._bars.model_id]
    assert [set(state) for state in bars] == [{"y"}]
    assert bars[0]["y"]["dtype"] == "float32"
    sent.clear()
    panel.state.channel = 77
    touched = {each["comm"] for each in sent}
    assert panel.overview._bars.model_id not in touched
    assert panel.ranges._band.model_id not in touched


def test_a_click_selects_the_worst_channel_of_a_column() -> None:
    panel = pq.show(weight(4096, 16))
    hit = panel.overview.picking.hit
    low = float(panel.overview._tops[100:127].min())
    hit._handle_custom_msgs(hit, {"event": "element_click", "data": {"click_x": 908.0, "click_y": low}})
    sqnr = panel.report.table["sqnr_db"].to_numpy()
    row = panel.view.row
    assert sqnr[row] == sqnr[row // 8 * 8 : row // 8 * 8 + 8].min()
    assert abs(row - 908) < 8 * 5
