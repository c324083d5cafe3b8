"""Going to the nearest of a list of values by table agrees with comparing with every bound."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perchq_widget.core.codebooks import CHUNK, Codebook, Desk, codebook
from perchq_widget.core.runtimes import bitsandbytes, gguf
from perchq_widget.core.runtimes.nvfp4 import _SIGNED_BOUNDS, _SIGNED_HALVES

BOOKS = {
    "nf4": bitsandbytes.BOOK,
    "gguf_mxfp4": gguf.BOOK,
    "modelopt mxfp4": codebook(_SIGNED_HALVES, _SIGNED_BOUNDS),
    "two values": codebook([-1.0, 1.0], [0.25]),
}


def rounded(book: Codebook, x: np.ndarray) -> np.ndarray:
    out = np.empty_like(x)
    book.round(x, out, Desk.of(x.size))
    return out


def by_comparing(book: Codebook, x: np.ndarray) -> np.ndarray:
    """The definition: as many bounds as lie below the number; out of reach, unit times the number."""
    place = (x[:, None] > book.bounds).sum(1)
    inside = (x >= book.first) & (x <= book.last)
    with np.errstate(over="ignore", invalid="ignore"):
        return np.where(inside, book.values[place], x * book.unit)


def hard_numbers(book: Codebook) -> np.ndarray:
    """Bounds, values and ends, and the numbers next to them; zeros; what is no number."""
    points = np.concatenate([book.bounds, book.values / book.unit, [book.first, book.last, 0.0]]).astype(np.float32)
    near = [points]
    for _ in range(3):
        near += [np.nextafter(near[-1], np.float32(np.inf)), np.nextafter(near[-1], np.float32(-np.inf))]
    beyond = np.float32([1e-40, -1e-40, -0.0, 1e10, -1e10, 3e38, -3e38, np.inf, -np.inf, np.nan])
    return np.concatenate([*near, beyond])


@pytest.mark.parametrize("name", BOOKS)
def test_numbers_go_where_the_bounds_say(name: str) -> None:
    book = BOOKS[name]
    ends = 1.3 * float(book.first), 1.3 * float(book.last)
    x = np.random.default_rng(0).uniform(*ends, 300_000).astype(np.float32)
    x = np.concatenate([x, hard_numbers(book)])
    found, expected = rounded(book, x), by_comparing(book, x)
    assert np.array_equal(found, expected, equal_nan=True)
    assert np.array_equal(np.signbit(found), np.signbit(expected))


@given(
    st.lists(st.floats(-100, 100, width=32), min_size=3, max_size=20, unique=True),
    st.lists(st.floats(-200, 200, width=32), min_size=1, max_size=50),
)
@settings(max_examples=200, deadline=None)
def test_any_list_of_values(values: list[float], numbers: list[float]) -> None:
    listed = np.unique(np.float32(values))
    middles = (listed[1:] + listed[:-1]) / np.float32(2)
    if len(np.unique(middles)) < len(middles) or (np.diff(listed) < 1e-3).any():
        return  # values nearer to each other than a cell are no format's
    book = codebook(listed, middles)
    x = np.concatenate([np.float32(numbers), hard_numbers(book)])
    assert np.array_equal(rounded(book, x), by_comparing(book, x), equal_nan=True)


@pytest.mark.parametrize("name", BOOKS)
def test_places_of_listed_values(name: str) -> None:
    book = BOOKS[name]
    places = np.resize(np.arange(len(book.values)), 2 * CHUNK + 5).astype(np.uint8).reshape(1, -1)
    found = book.index_of(book.values[places])
    assert found.dtype == np.uint8
    assert np.array_equal(book.values[found], book.values[places])
    if name != "modelopt mxfp4":  # which has two zeros
        assert np.array_equal(found, places)
