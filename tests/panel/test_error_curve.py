"""The error curve in the panel: a click and the button set the ratio; a move only moves the current point."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from ipywidgets.widgets.widget import _instances
from panel.samples import weight

import perchq_widget as pq
from perchq_widget.panel import error_curve as module
from perchq_widget.panel.app import QuantPanel
from perchq_widget.study.clip_ratio import LEAST_RATIO


@pytest.fixture
def shown(alive: set[str]) -> QuantPanel:
    del alive
    x = weight(8, 800)
    x[:, 5] *= 6
    return pq.show(x, dtype="int4", convention="torchao", scheme="symmetric", channel=2)


def test_three_lines_and_both_points(shown: QuantPanel) -> None:
    curve, chart = shown.report.error_curve(2), shown.curve
    low, high = chart._y.scale.min, chart._y.scale.max
    np.testing.assert_allclose(chart._total.x, curve.ratios, rtol=1e-6)
    np.testing.assert_allclose(chart._total.y, curve.sqnr_db, rtol=1e-5, atol=1e-5)
    assert low <= chart._total.y.min() <= chart._total.y.max() <= high
    for part in (chart._rounding, chart._clipping):
        assert (part.y >= np.minimum(chart._total.y, part.y.max()) - 1e-3).all()  # one cause alone is no worse
        assert np.isfinite(part.y).all()
    assert len({chart._total.line_style, chart._rounding.line_style, chart._clipping.line_style}) == 3
    assert chart._pick.head.x[0] == 1.0
    assert chart._pick.head.y[0] == pytest.approx(shown.report.table["sqnr_db"][2], rel=1e-5)
    assert chart._best.x[0] == pytest.approx(curve.optimum, rel=1e-5)
    assert f"optimum {curve.optimum:.3g}: {curve.sqnr_db[curve.best]:.1f} dB" in chart._legend.value
    assert f"now 1: {shown.report.table['sqnr_db'][2]:.1f} dB" in chart._legend.value


def test_the_button_uses_the_optimum(shown: QuantPanel) -> None:
    before = shown.report.table["sqnr_db"][2]
    shown.curve._use.click()
    assert shown.state.clip_ratio == shown.curve._known[2].optimum < 0.95
    assert shown.report.table["sqnr_db"][2] > before + 1
    shown.settle()
    assert shown.curve._pick.head.x[0] == pytest.approx(shown.state.clip_ratio)


@pytest.mark.parametrize(("x", "ratio"), [(0.4213, 0.42), (-0.2, LEAST_RATIO), (1.3, 1.0)])
def test_a_click_sets_the_ratio(shown: QuantPanel, x: float, ratio: float) -> None:
    shown.curve._pick._clicked(None, {"data": {"click_x": x, "click_y": 3.0}})
    assert shown.state.clip_ratio == ratio


def test_a_move_only_moves_the_point(
    shown: QuantPanel, sent: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []
    real = module.error_curve
    monkeypatch.setattr(module, "error_curve", lambda table, row: (made.append(row), real(table, row))[1])
    sent.clear()
    shown.state.clip_ratio = 0.7
    shown.settle()
    assert made == []
    to = {message["comm"] for message in sent}
    assert shown.curve._pick.head.model_id in to
    assert shown.curve._total.model_id not in to
    shown.state.channel = 4
    shown.settle()
    shown.state.dtype = "int5"
    shown.settle()
    assert made == [4, 4]


def test_mse_in_place_of_sqnr(shown: QuantPanel) -> None:
    chart, curve = shown.curve, shown.report.error_curve(2)
    decibels = chart._total.y.copy()
    chart._toggle.click()
    assert chart._toggle.description == "SQNR"
    np.testing.assert_allclose(chart._total.y, np.log10(curve.mse), rtol=1e-5)
    assert chart._y.label == "mean squared error"
    assert all(text.startswith("1e") for text in chart._y.tick_labels.values())
    assert f"MSE {curve.mse[curve.best]:.3g}" in chart._legend.value
    chart._toggle.click()
    np.testing.assert_array_equal(chart._total.y, decibels)
    assert not chart._y.tick_labels


def test_without_ratios_the_reason_stands_in_place_of_the_chart(alive: set[str]) -> None:
    panel = pq.show(weight(4, 64), dtype="nf4")
    chart = panel.curve
    assert "blocks of values" in chart._legend.value
    assert chart._figure not in chart.widget.children
    chart._clicked(0.5, 0.0)
    assert panel.state.clip_ratio == 1.0
    panel.state.dtype = "qint8"
    panel.settle()
    assert chart._figure in chart.widget.children
    panel.state.dtype = "nf4"
    panel.settle()
    panel.close()
    assert set(_instances) <= alive  # what is not shown is closed too


def test_names_are_escaped_and_errors_of_zero_are_words(alive: set[str]) -> None:
    del alive
    panel = pq.show(np.zeros((2, 8), np.float32), channel_names=["<b>", "b"])
    assert "<b>&lt;b&gt;</b>" in panel.curve._title.value
    assert "no error" in panel.curve._legend.value
    panel.curve._toggle.click()
    assert np.isfinite(panel.curve._total.y).all()
