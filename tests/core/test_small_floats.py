"""Tables of small floats' codes are the casts that they stand for."""

from __future__ import annotations

import numpy as np
import pytest
from core.runtimes.bits import n_different

from perchq_widget.core.grids import FLOAT_DTYPES, float_grid
from perchq_widget.core.small_floats import codes_in, values_of

SMALL = [dtype for dtype, bits in FLOAT_DTYPES.items() if bits <= 8]


@pytest.mark.parametrize("dtype", SMALL)
def test_every_code_there_and_back(dtype: str) -> None:
    storage = float_grid(dtype).storage
    codes = np.arange(1 << FLOAT_DTYPES[dtype], dtype=np.uint8).view(storage)
    with np.errstate(invalid="ignore"):
        values = codes.astype(np.float32)
    assert np.array_equal(values_of(codes), values, equal_nan=True)
    finite = np.isfinite(values)
    assert n_different(values_of(codes)[finite], values[finite]) == 0
    assert n_different(codes_in(storage)(values[finite]), codes[finite]) == 0


@pytest.mark.parametrize("dtype", SMALL)
def test_any_shape_and_strides(dtype: str) -> None:
    grid = float_grid(dtype)
    codes = np.random.default_rng(0).integers(0, 1 << FLOAT_DTYPES[dtype], (6, 8), dtype=np.uint8)
    values = np.nan_to_num(values_of(codes.view(grid.storage)), nan=0.0, posinf=0.0, neginf=0.0)
    for each in (values, values.T, values[::2, ::-1]):
        assert n_different(codes_in(grid.storage)(each), np.ascontiguousarray(each.astype(grid.storage))) == 0
