"""The selected channel's chart: what is drawn, what a dragged line does, and what is not sent again."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from panel.samples import weight

import perchq_widget as pq
from perchq_widget.panel.app import QuantPanel
from perchq_widget.panel.clip_lines import ratio_at
from perchq_widget.panel.histogram_chart import MOST_TICKS, code_ticks
from perchq_widget.study.clip_ratio import LEAST_RATIO


@pytest.fixture
def shown(alive: set[str]) -> QuantPanel:
    del alive
    return pq.show(weight(16, 400), channel=3)


def told(panel: QuantPanel, **state: Any) -> None:
    """A message of the selector in the browser: positions and whether the button is down."""
    selector = panel.chart._lines.selector
    with selector.hold_trait_notifications():
        for name, value in state.items():
            setattr(selector, name, value.copy() if isinstance(value, np.ndarray) else value)


def in_force(panel: QuantPanel) -> np.ndarray:
    return np.array([float(end[3]) for end in panel.report.qparams.represented()])


def test_the_handles_are_where_the_lines_are(shown: QuantPanel) -> None:
    chart = shown.chart
    np.testing.assert_allclose(chart._lines.selector.selected, in_force(shown))
    np.testing.assert_allclose(chart._clips.x[:, 0], in_force(shown), rtol=1e-6)
    shown.state.clip_ratio = 0.4
    shown.settle()
    np.testing.assert_allclose(chart._lines.selector.selected, in_force(shown))
    assert shown.state.clip_ratio == 0.4  # what Python sets is not a drag


@pytest.mark.parametrize("end", [0, 1])
def test_dragging_a_line_sets_the_ratio_of_all_channels(shown: QuantPanel, end: int) -> None:
    before = shown.report.table
    at = in_force(shown)
    full = at.copy()
    at[end] *= 0.6
    told(shown, brushing=True, selected=at)
    assert shown.state.clip_ratio == 0.6
    np.testing.assert_array_equal(shown.chart._lines.selector.selected, at)  # the drag goes on and is left alone
    np.testing.assert_allclose(shown.chart._clips.x[:, 0], full * 0.6, rtol=1e-2)
    at[end] = full[end] * 0.3
    told(shown, selected=at)
    assert shown.state.clip_ratio == 0.3
    told(shown, brushing=False, selected=at)
    assert shown.state.clip_ratio == 0.3
    np.testing.assert_allclose(shown.chart._lines.selector.selected, in_force(shown))
    assert (shown.report.table["scale"] < 0.35 * before["scale"]).all()
    again = shown.chart._lines.selector.selected.copy()
    again[end] = full[end] * 0.9  # outwards, from where the lines are now
    told(shown, brushing=True, selected=again)
    assert shown.state.clip_ratio == 0.9


def test_the_slider_s_rounding_of_a_ratio_is_nobody_s_wish(shown: QuantPanel) -> None:
    slider = shown.controls.fields["clip_ratio"]
    shown.state.clip_ratio = 0.7118
    shown.settle()
    slider.value = 0.71  # what the browser answers
    assert shown.state.clip_ratio == 0.7118
    slider.value = 0.705
    assert shown.state.clip_ratio == 0.705


def test_a_drag_that_leads_nowhere_goes_back(shown: QuantPanel) -> None:
    at = in_force(shown)
    told(shown, brushing=True, selected=at * [1, 5])
    told(shown, brushing=False)
    assert shown.state.clip_ratio == 1.0
    np.testing.assert_allclose(shown.chart._lines.selector.selected, at)
    told(shown, brushing=True, selected=np.array([at[1], at[1] * 2]))  # the low line past the high one
    told(shown, brushing=False)
    assert shown.state.clip_ratio == LEAST_RATIO
    told(shown, selected=None)  # a handle let go on top of the other
    told(shown, brushing=True)
    told(shown, brushing=False)
    np.testing.assert_allclose(shown.chart._lines.selector.selected, in_force(shown))


def test_the_channel_stays_while_its_line_is_dragged(alive: set[str]) -> None:
    del alive
    panel = pq.show(weight(16, 400))
    row = panel.view.row
    at = np.array([float(end[row]) for end in panel.report.qparams.represented()])
    told(panel, brushing=True, selected=at * [0.2, 1])
    panel.settle()
    assert panel.view.row == row


def test_the_ratio_of_a_place() -> None:
    assert ratio_at(0.5, 1.0) == 0.5
    assert ratio_at(-0.5, -0.7) == 0.715
    assert ratio_at(2.0, 1.0) == 1.0
    assert ratio_at(-1.0, 1.0) == LEAST_RATIO
    assert ratio_at(1.0, 0.0) is None
    assert ratio_at(np.nan, 1.0) is None


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"dtype": "nf4"}, "blocks of values"),
        ({"dtype": "int4", "group_size": 50, "convention": "torchao"}, "each group has a range of its own"),
        ({"dtype": "float8_e4m3fn", "scale_rule": "one"}, "whatever the range is"),
    ],
)
def test_where_lines_cannot_be_dragged_the_legend_says_why(alive: set[str], options: Any, reason: str) -> None:
    del alive
    panel = pq.show(weight(8, 400), **options)
    assert panel.chart._lines.selector is None
    assert reason in panel.chart._legend.value
    assert "drag" not in panel.chart._title.value
    for name, value in (("dtype", "qint8"), ("convention", "pytorch"), ("granularity", "channel")):
        setattr(panel.state, name, value)
    panel.settle()
    assert panel.chart._lines.selector is not None
    assert "cannot" not in panel.chart._legend.value
    panel.close()


def test_a_move_sends_no_bins_and_keeps_the_axis(shown: QuantPanel, sent: list[dict[str, Any]]) -> None:
    chart = shown.chart
    bins, axis = chart._known[2], (chart._x.scale.min, chart._x.scale.max)
    sent.clear()
    shown.state.clip_ratio = 0.5
    shown.settle()
    assert chart._known[2] is bins
    assert (chart._x.scale.min, chart._x.scale.max) == axis
    to = {message["comm"] for message in sent}
    assert chart._values.model_id not in to
    assert chart._clips.model_id in to
    shown.state.channel = 5
    shown.settle()
    assert chart._known[2] is not bins


def test_log_counts_put_empty_bins_at_the_foot(shown: QuantPanel) -> None:
    chart = shown.chart
    linear = chart._values.y.copy()
    chart._toggle.click()
    assert chart._toggle.description == "Linear counts"
    counts = shown.report.histogram(3).counts
    drawn = chart._values.y[1:-1:2]
    np.testing.assert_allclose(drawn[counts > 0], np.log10(counts[counts > 0]), atol=1e-6)
    assert (drawn[counts == 0] == drawn.min()).all()
    assert chart._y.scale.min < drawn.min()
    assert chart._y.tick_labels["1"] == "10"
    chart._toggle.click()
    np.testing.assert_array_equal(chart._values.y, linear)
    assert not chart._y.tick_labels


def test_shares_are_written_at_the_lines(shown: QuantPanel) -> None:
    shown.state.clip_ratio = 0.3
    shown.settle()
    hist, labels = shown.report.histogram(3), shown.chart._shares
    below, above = hist.clipped_pct
    assert labels.text[0] == f"◂ {below:.0f} %"
    assert labels.text[1] == f"{above:.0f} ▸".replace(" ▸", " % ▸")
    assert labels.x[0] < hist.quant_lo < hist.quant_hi < labels.x[1]
    assert labels.y[0] != labels.y[1]
    shown.state.clip_ratio = 1.0
    shown.settle()
    assert labels.text[0] == "◂ 0 %"
    low, high = shown.chart._x.scale.min, shown.chart._x.scale.max
    assert low + 0.05 * (high - low) < labels.x[0] < labels.x[1] < high - 0.05 * (high - low)


@pytest.mark.parametrize("dtype", ["qint8", "int16", "float8_e4m3fn", "float16", "int4", "float4_e2m1fn"])
def test_ticks_thin_out(dtype: str) -> None:
    convention = "torchao" if dtype == "int4" else None
    report = pq.analyze(weight(4, 500), dtype=dtype, convention=convention, scheme="symmetric", scale_rule=None)
    hist = report.histogram(1)
    low, high = hist.quant_lo, hist.quant_hi
    ticks = code_ticks(hist, low, high)
    assert 1 < ticks.size <= MOST_TICKS + 1
    assert np.isin(ticks, hist.overlay.values).all()
    assert (np.diff(ticks) > 0).all()
    if dtype in ("qint8", "int16"):
        assert 0.0 in ticks
        np.testing.assert_allclose(np.diff(ticks), np.diff(ticks)[0], rtol=1e-4)
        assert ticks.size > MOST_TICKS // 4
    if dtype.startswith("float8"):
        assert np.diff(ticks).min() > 0.3 * (high - low) / MOST_TICKS


@pytest.mark.parametrize(
    "values",
    [[0.0] * 5, [2.5] * 5, [-3.0], [1.0, 1.0000001], [np.nan, np.inf, 1.0, -2.0], [np.nan], [1e-42, -3e-42],
     [1e38, -1e38]],
    ids=str,
)
@pytest.mark.parametrize(
    "options", [{}, {"scheme": "symmetric"}, {"dtype": "float8_e4m3fn"}, {"dtype": "nf4"}], ids=str
)
def test_odd_channels_are_drawn(alive: set[str], values: list[float], options: dict[str, Any]) -> None:
    del alive
    panel = pq.show(np.array([values, [1.0] * len(values)], np.float32), channel=0, **options)
    chart = panel.chart
    for log in range(2):
        for mark in chart._figure.marks:
            if mark.visible and mark is not chart._codes:
                assert np.isfinite(np.asarray(mark.x, float)).all(), log
                assert np.isfinite(np.asarray(mark.y, float)).all(), log
        assert chart._y.scale.min < chart._y.scale.max
        assert "nan" not in chart._legend.value.replace("NaN", "")
        chart._toggle.click()
    assert panel.curve._legend.value
    panel.close()


def test_double_precision_to_the_end(alive: set[str]) -> None:
    del alive
    panel = pq.show(np.array([[1e149, -1e140, 3.0, 0.0]]))
    assert np.isfinite([panel.chart._x.scale.min, panel.chart._x.scale.max]).all()
    assert panel.chart._lines.selector is not None
