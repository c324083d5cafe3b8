"""Many channels as few columns."""

from __future__ import annotations

import time

import numpy as np
import pytest

from perchq_widget.panel.columns import MOST_COLUMNS, columns_of

COUNTS = [1, 2, 12, 128, 129, 512, 513, 600, 4096, 4097, 100_000]


@pytest.mark.parametrize("n", COUNTS)
def test_every_channel_is_in_one_column_and_its_worst_is_kept(n: int) -> None:
    values = np.random.default_rng(n).normal(size=n)
    columns = columns_of(n)
    assert columns.size <= MOST_COLUMNS
    assert n <= MOST_COLUMNS or columns.size > MOST_COLUMNS / 2
    rows = [columns.rows(column) for column in range(columns.size)]
    assert [row for each in rows for row in each] == list(range(n))
    assert columns.lowest(values).tolist() == [values[each.start : each.stop].min() for each in rows]
    assert columns.highest(values).tolist() == [values[each.start : each.stop].max() for each in rows]
    marked = values > 1
    assert columns.any(marked).tolist() == [marked[each.start : each.stop].any() for each in rows]


def test_up_to_the_limit_each_channel_has_a_column_of_its_own() -> None:
    assert columns_of(512).per == 1
    assert columns_of(513).per == 2
    assert columns_of(4096).per == 8


def test_missing_values_are_left_out_and_a_column_of_nothing_else_has_none() -> None:
    columns = columns_of(8, most=2)
    values = np.array([np.nan, 3.0, 2.0, np.nan, np.nan, np.nan, np.nan, np.nan])
    np.testing.assert_array_equal(columns.lowest(values), [2.0, np.nan])
    np.testing.assert_array_equal(columns.highest(values), [3.0, np.nan])


@pytest.mark.parametrize("n", COUNTS)
def test_outlines_have_as_many_x_as_y_and_stay_within_the_channels(n: int) -> None:
    columns = columns_of(n)
    tops = np.arange(1.0, columns.size + 1)
    bars, steps = (columns.bars_x(), columns.bars_y(tops, 0.0)), (columns.steps_x(), columns.steps_y(tops, 0.0))
    for x, y in (bars, steps, (columns.lines_x(), columns.lines_y(tops, 0.0))):
        assert x.shape == y.shape
        assert x.size <= 2 * MOST_COLUMNS + 2
        assert x.min() >= -0.5
        assert x.max() <= n - 0.5
        assert (np.diff(x) >= 0).all()
        assert np.nanmax(y) == columns.size
        assert np.isfinite(y[-1])
    for y in (bars[1], steps[1]):
        assert y[[0, -1]].tolist() == [0.0, 0.0]  # so that filling closes along the foot


@pytest.mark.parametrize("n", COUNTS)
def test_a_place_leads_to_the_column_drawn_there(n: int) -> None:
    columns = columns_of(n)
    for column in {0, columns.size // 2, columns.size - 1}:
        rows = columns.rows(column)
        assert columns.at((rows.start + rows.stop - 1) / 2) == column
    assert columns.at(-9.0) == 0
    assert columns.at(n + 9.0) == columns.size - 1


def test_the_last_point_of_a_line_is_finite_even_where_there_is_none() -> None:
    for n in (3, 200):
        values = np.full(n, np.nan)
        values[0] = 5.0
        y = columns_of(n).lines_y(values, 1.0)
        assert y[-1] == 1.0
        assert np.isnan(y[-2])


def test_a_hundred_thousand_channels_take_no_time() -> None:
    values = np.random.default_rng(0).normal(size=100_000)
    columns = columns_of(values.size)
    took = []
    for _ in range(5):
        start = time.perf_counter()
        columns.bars_y(columns.lowest(values), 0.0)
        columns.highest(values)
        took.append(time.perf_counter() - start)
    assert min(took) < 0.005
