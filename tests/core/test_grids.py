"""Which codes a format has, and which are in force."""

import ml_dtypes
import numpy as np
import pytest

from perchq_widget.core.errors import QuantTypeError, QuantValueError
from perchq_widget.core.grids import (
    INTEGER_DTYPES,
    canonical_dtype,
    carried,
    carrier,
    check_quant_range,
    full_range,
    integer_grid,
)
from perchq_widget.core.schemes import QuantScheme


@pytest.mark.parametrize(
    ("options", "ends"),
    [
        ({"dtype": "qint8"}, (-128, 127)),
        ({"dtype": "int8"}, (-128, 127)),
        ({"dtype": "quint8"}, (0, 255)),
        ({"dtype": "int4"}, (-8, 7)),
        ({"dtype": "uint2"}, (0, 3)),
        ({"dtype": "uint16"}, (0, 65535)),
        ({"dtype": "qint8", "reduce_range": True}, (-64, 63)),
        ({"dtype": "quint8", "reduce_range": True}, (0, 127)),
        ({"dtype": "qint8", "narrow_range": True}, (-127, 127)),
        ({"dtype": "qint8", "narrow_range": True, "reduce_range": True}, (-63, 63)),
        ({"dtype": "qint8", "quant_range": (-127, 127), "reduce_range": True}, (-64, 63)),
        ({"dtype": "quint8", "quant_range": (0, 15)}, (0, 15)),
    ],
)
def test_ends(options, ends) -> None:
    scheme = QuantScheme(**options)
    grid = scheme.grid
    assert (grid.quant_min, grid.quant_max) == ends
    assert grid == integer_grid(scheme.dtype, ends)
    assert grid.n_levels == ends[1] - ends[0] + 1


@pytest.mark.parametrize("dtype", INTEGER_DTYPES)
def test_storage_holds_every_code(dtype: str) -> None:
    grid = integer_grid(dtype, full_range(dtype))
    info = np.iinfo(grid.storage)
    assert info.min <= grid.quant_min <= grid.quant_max <= info.max
    assert info.bits == (16 if grid.bits > 8 else 8)
    assert grid.storage.kind == ("i" if grid.signed else "u")


@pytest.mark.parametrize("bad", [(5, 10), (0, 256), (-1, 255), (3, 0), (0, 0), (0.5, 3), (1,), None.__class__])
def test_bad_quant_range_is_named(bad) -> None:
    with pytest.raises(QuantValueError, match="quant_range"):
        check_quant_range("quint8", bad)
    with pytest.raises(QuantValueError, match="quant_range"):
        QuantScheme("quint8", quant_range=bad)


def test_unknown_formats_name_the_nearest() -> None:
    with pytest.raises(QuantValueError, match="did you mean 'quint8'"):
        canonical_dtype("qunit8")
    with pytest.raises(QuantTypeError, match="dtype must be a name"):
        canonical_dtype(np.int8)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["float16", "bfloat16"])
def test_half_width_numbers_are_carried_in_float32(name: str) -> None:
    dtype = np.dtype(getattr(ml_dtypes, name, name))
    every = np.arange(1 << 16, dtype=np.uint16).view(dtype)
    with np.errstate(invalid="ignore"):  # signalling NaNs
        every = every[np.isfinite(every)]
    assert carrier(dtype) == np.float32
    assert carrier(np.dtype(np.float64)) == np.float64
    rng = np.random.default_rng(0)
    singles = (rng.standard_normal(100_000) * 10.0 ** rng.uniform(-9, 4, 100_000)).astype(np.float32)
    for values in (every, singles, singles.astype(np.float64)):
        got = carried(values, dtype)
        assert got.dtype == np.float32
        assert np.array_equal(got, values.astype(dtype).astype(np.float32))
