"""Which codes are in force."""

import numpy as np
import pytest

from perchq_widget.core.errors import QuantTypeError, QuantValueError
from perchq_widget.core.grids import canonical_dtype, integer_grid


@pytest.mark.parametrize(
    ("options", "ends"),
    [
        ({"dtype": "qint8"}, (-128, 127)),
        ({"dtype": "int8"}, (-128, 127)),
        ({"dtype": "quint8"}, (0, 255)),
        ({"dtype": "qint8", "reduce_range": True}, (-64, 63)),
        ({"dtype": "quint8", "reduce_range": True}, (0, 127)),
        ({"dtype": "qint8", "narrow_range": True}, (-127, 127)),
        ({"dtype": "qint8", "narrow_range": True, "reduce_range": True}, (-63, 63)),
        ({"dtype": "qint8", "quant_range": (-127, 127), "reduce_range": True}, (-64, 63)),
        ({"dtype": "quint8", "quant_range": (0, 15)}, (0, 15)),
    ],
)
def test_ends(options, ends) -> None:
    grid = integer_grid(**options)
    assert (grid.quant_min, grid.quant_max) == ends
    assert grid.n_levels == ends[1] - ends[0] + 1


def test_storage() -> None:
    assert integer_grid("qint8").storage == np.int8
    assert integer_grid("quint8").storage == np.uint8


@pytest.mark.parametrize("bad", [(5, 10), (0, 256), (-1, 255), (3, 0), (0, 0), (0.5, 3), (1,), None.__class__])
def test_bad_quant_range_is_named(bad) -> None:
    with pytest.raises(QuantValueError, match="quant_range"):
        integer_grid("quint8", quant_range=bad)


def test_unknown_formats_name_the_nearest() -> None:
    with pytest.raises(QuantValueError, match="did you mean 'quint8'"):
        canonical_dtype("qunit8")
    with pytest.raises(QuantTypeError, match="dtype must be a name"):
        canonical_dtype(np.int8)  # type: ignore[arg-type]
