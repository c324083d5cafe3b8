"""Errors added up along rows are those added up across groups, whatever the layout; threads change nothing."""

from __future__ import annotations

import numpy as np
import pytest
from core.runtimes.bits import fitted

from perchq_widget.core import metrics, row_metrics, sharing
from perchq_widget.core.codec import Parameters
from perchq_widget.core.conventions import CONVENTIONS
from perchq_widget.core.metrics import ChannelErrors, channel_errors
from perchq_widget.core.ranges import channel_ranges
from perchq_widget.core.row_metrics import in_rows, row_errors

FORMATS = [(rules.name, form.dtype) for rules in CONVENTIONS.values() for form in rules.block_formats]
SETTINGS = [
    *({"dtype": dtype, "convention": convention} for convention, dtype in FORMATS),
    {"dtype": "int4", "scheme": "symmetric", "convention": "torchao", "group_size": 32},
    {"dtype": "qint8", "scheme": "symmetric", "convention": "torchao", "group_size": 64},
]
ORDERS = {
    "rows": lambda x: (x, 0),
    "columns": lambda x: (np.asfortranarray(x), 0),
    "last axis": lambda x: (np.moveaxis(x, 0, -1), x.ndim - 1),
    "backwards": lambda x: (x[::-1, ..., ::-1], 0),
    "every other": lambda x: (np.repeat(x, 2, axis=-1)[..., ::2], 0),
    "three axes": lambda x: (x.reshape(len(x), 3, -1), 0),
    "float64": lambda x: (x.astype(np.float64), 0),
}


def tensor(n: int = 192) -> np.ndarray:
    x = np.random.default_rng(7).standard_t(4, (5, n)).astype(np.float32)
    x[1, 10:20] = 0
    return x


def both(x: np.ndarray, axis: int, params: Parameters, monkeypatch: pytest.MonkeyPatch) -> tuple[ChannelErrors, ...]:
    """Errors along rows, and across."""
    ranges = channel_ranges(x, axis, np.dtype(np.float32))
    along = row_errors(x, axis, params, ranges)
    monkeypatch.setattr(row_metrics, "in_rows", lambda *_: False)
    return along, channel_errors(x, axis, params, ranges)


def assert_same(found: ChannelErrors, expected: ChannelErrors) -> None:
    for name in ("n", "nonzero", "clipped", "zeroed"):
        assert np.array_equal(getattr(found, name), getattr(expected, name)), name
    assert np.array_equal(found.max_noise, expected.max_noise)
    np.testing.assert_allclose(found.overflow, expected.overflow, rtol=1e-6)
    for name in ("signal", "noise", "abs_signal", "abs_noise", "sqnr_db", "cosine"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=2e-6)
    scale = np.sqrt(expected.signal * expected.noise)
    np.testing.assert_allclose(found.cross / scale, expected.cross / scale, atol=2e-6)
    assert found.groups is not None
    assert expected.groups is not None
    for name in ("signal", "noise"):
        np.testing.assert_allclose(getattr(found.groups, name), getattr(expected.groups, name), rtol=2e-6)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("settings", SETTINGS, ids=lambda each: f"{each['convention']}-{each['dtype']}")
def test_along_rows_as_across(settings: dict[str, object], order: str, monkeypatch: pytest.MonkeyPatch) -> None:
    x, axis = ORDERS[order](tensor())
    params = fitted(x, axis, **settings)
    if params.ch_axis is None and order == "last axis":
        assert not in_rows(x, axis, params, channel_ranges(x, axis, np.dtype(np.float32)))
        return
    assert_same(*both(x, axis, params, monkeypatch))


@pytest.mark.parametrize("n", [32, 40, 31, 4096, 4128, 131_072 + 64, 97 * 64])
@pytest.mark.parametrize("dtype", ["mxfp4", "nf4"])
def test_rows_of_every_length(dtype: str, n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Short last groups, rows longer than a block, a prime number of groups."""
    x = tensor(n)
    params = fitted(x, 0, dtype=dtype)
    if dtype == "nf4" and n % 64:
        assert not in_rows(x, 0, params, channel_ranges(x, 0, np.dtype(np.float32)))
        return
    assert_same(*both(x, 0, params, monkeypatch))


@pytest.mark.parametrize("dtype", ["mxfp4", "nf4", "nvfp4"])
def test_threads_change_nothing(dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.concatenate([tensor(131_072 + 64)] * 4)
    monkeypatch.setattr(sharing, "MANY", 1 << 40)
    alone = fitted(x, 0, dtype=dtype)
    ranges = channel_ranges(x, 0, np.dtype(np.float32))
    first = row_errors(x, 0, alone, ranges)
    monkeypatch.setattr(sharing, "MANY", 1)
    monkeypatch.setattr(sharing.os, "cpu_count", lambda: 3)
    assert fitted(x, 0, dtype=dtype) == alone
    assert_same(row_errors(x, 0, alone, ranges), first)


def test_what_does_not_go_along_rows() -> None:
    """Values that are not finite or extreme, and zero points that differ."""
    x = tensor()
    ranges = channel_ranges(x, 0, np.dtype(np.float32))
    assert in_rows(x, 0, fitted(x, 0, dtype="mxfp4"), ranges)
    assert not in_rows(x, 0, fitted(x, 0, dtype="int4", group_size=32), ranges)
    assert not in_rows(x, 0, fitted(x, 0, dtype="qint8"), ranges)
    for value in (np.nan, 1e20):
        odd = x.copy()
        odd[0, 0] = value
        assert not in_rows(odd, 0, fitted(odd, 0, dtype="mxfp4"), channel_ranges(odd, 0, np.dtype(np.float32)))


def test_channel_errors_takes_this_way() -> None:
    x = tensor()
    params, ranges = fitted(x, 0, dtype="mxfp4"), channel_ranges(x, 0, np.dtype(np.float32))
    found, expected = metrics.channel_errors(x, 0, params, ranges), row_errors(x, 0, params, ranges)
    assert np.array_equal(found.noise, expected.noise)
