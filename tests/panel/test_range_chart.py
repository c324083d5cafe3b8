"""Ranges of all channels and what their codes represent."""

from __future__ import annotations

import numpy as np
import pytest
from panel.samples import weight

import perchq_widget as pq
from perchq_widget.panel.app import QuantPanel
from perchq_widget.panel.range_chart import code_ends, limit_of

pytestmark = pytest.mark.usefixtures("alive")
NAN = float("nan")


def outlined(panel: QuantPanel, mark: str) -> tuple[np.ndarray, np.ndarray]:
    """What is drawn of each column: the first row of a mark and its second."""
    y = getattr(panel.ranges, f"_{mark}").y
    per = 3 if panel.ranges._ranges.columns.apart else 2
    return y[0][::per], y[1][::per]


@pytest.mark.parametrize("n", [1, 2, 64, 300])
def test_the_band_is_min_and_max_and_the_lines_are_the_ends_of_the_codes(n: int) -> None:
    x = np.random.default_rng(n).uniform(-1, 2, (n, 64)).astype("f4")
    panel = pq.show(x, clip_ratio=0.5)
    high, low = outlined(panel, "band")
    np.testing.assert_allclose(high, x.max(axis=1), rtol=1e-6)
    np.testing.assert_allclose(low, x.min(axis=1), rtol=1e-6)
    ends = panel.report.qparams.represented()
    for drawn, end in zip(outlined(panel, "codes"), ends, strict=True):
        np.testing.assert_allclose(drawn, end, rtol=1e-6)
    assert panel.ranges._ends[0] <= x.min()
    assert panel.ranges._ends[1] >= x.max()
    assert np.isfinite(panel.ranges._band.y[:, -1]).all()


def test_many_channels_share_columns_that_show_the_widest() -> None:
    x = np.random.default_rng(0).uniform(-1, 1, (4096, 16)).astype("f4")
    panel = pq.show(x)
    high, low = outlined(panel, "band")
    np.testing.assert_allclose(high, x.reshape(512, -1).max(axis=1), rtol=1e-6)
    np.testing.assert_allclose(low, x.reshape(512, -1).min(axis=1), rtol=1e-6)
    assert "each column: 8 channels, the widest" in panel.ranges._legend.value
    row = panel.ranges.nearest(1003.0)
    assert row == 1000 + int(np.abs(x[1000:1008]).max(axis=1).argmax())


def test_a_move_of_the_clip_sends_the_lines_and_not_the_band(sent: list[dict[str, object]]) -> None:
    panel = pq.show(weight(600, 64))
    sent.clear()
    panel.state.clip_ratio = 0.8
    touched = {each["comm"] for each in sent}
    assert panel.ranges._codes.model_id in touched
    assert panel.ranges._band.model_id not in touched


def test_a_click_selects() -> None:
    panel = pq.show(weight(16, 64))
    hit = panel.ranges.picking.hit
    hit._handle_custom_msgs(hit, {"event": "element_click", "data": {"click_x": 6.8, "click_y": 0.0}})
    assert panel.view.row == 7
    assert panel.ranges.picking.line.x.tolist() == [7.0, 7.0]


def test_a_few_channels_that_dwarf_the_rest_are_cut_and_said() -> None:
    x = weight(64, 64) / 10
    x /= np.abs(x).max(axis=1, keepdims=True)
    x[9] *= 1000
    panel = pq.show(x)
    low, high = panel.ranges._ends
    assert -3 < low < 0 < high < 3
    assert panel.ranges._beyond.visible
    assert "1 channel beyond the plot, up to ±1,000 (9)" in panel.ranges._legend.value
    assert np.nanmax(np.abs(panel.ranges._band.y)) < 3
    assert limit_of(np.array([1.0, 1.0, 100.0, 100.0])) == np.inf  # not few
    assert limit_of(np.array([1.0, 2.0, 3.0])) == np.inf
    assert limit_of(np.full(5, NAN)) == np.inf


def test_codes_that_reach_far_beyond_the_values_are_said_and_not_drawn() -> None:
    panel = pq.show(weight(8, 64) * 1e-4, dtype="bfloat16")
    assert not panel.ranges._codes.visible
    assert "far beyond the plot" in panel.ranges._legend.value
    assert panel.ranges._ends[1] < 0.1


@pytest.mark.parametrize(
    ("options", "shape"),
    [
        ({"dtype": "int4", "granularity": "group", "group_size": 16, "convention": "torchao"}, (8, 64)),
        ({"dtype": "mxfp4"}, (8, 64)),
        ({"dtype": "q4_0"}, (8, 64)),
        ({"dtype": "nf4"}, (8, 128)),
        ({"granularity": "tensor"}, (8, 64)),
    ],
)
def test_shared_scales_show_the_widest_of_each_channel(options: dict[str, object], shape: tuple[int, int]) -> None:
    report = pq.analyze(weight(*shape), **options)
    codes, shared_by = code_ends(report.study, shape[0])
    assert codes is not None
    for row in range(shape[0]):
        hist = report.histogram(row)
        assert codes[0][row] <= hist.quant_lo + 1e-12
        assert codes[1][row] >= hist.quant_hi - 1e-12
        assert hist.quant_lo in np.ravel(report.qparams.represented()[0])
    assert (shared_by == "") == (options.get("granularity") == "tensor")


def test_scales_that_do_not_lie_along_the_channels_are_not_drawn_and_the_reason_said() -> None:
    panel = pq.show(weight(6, 64), dtype="nf4", ch_axis=1)
    assert panel.ranges._ranges.codes is None
    assert not panel.ranges._codes.visible
    assert "is not drawn" in panel.ranges._legend.value


@pytest.mark.parametrize("n", [8, 300])
def test_odd_channels_are_drawn_and_explained(n: int) -> None:
    x = weight(n, 16)
    x[0], x[1], x[2], x[3, 4], x[-1] = NAN, 0.0, 3.0, np.inf, NAN
    panel = pq.show(x)
    assert np.isnan(outlined(panel, "band")[0][0])
    assert np.isfinite(panel.ranges._band.y[:, -1]).all()
    assert "2 channels without a finite value, not drawn" in panel.ranges._legend.value
    assert "nan" not in panel.ranges._legend.value + panel.ranges._title.value


@pytest.mark.parametrize("value", [NAN, 0.0, 5.0, -3e38, 1e-45])
def test_tensors_of_one_value(value: float) -> None:
    panel = pq.show(np.full((3, 4), value, "f4"))
    low, high = panel.ranges._ends
    assert np.isfinite([low, high]).all()
    assert low < high
    assert ("no channel has a finite value" in panel.ranges._title.value) == np.isnan(value)


def test_names_come_out_as_text() -> None:
    panel = pq.show(weight(3, 8), channel_names=["<img src=x>", "b", "c"])
    assert "<img" not in panel.ranges._title.value + panel.ranges._legend.value
