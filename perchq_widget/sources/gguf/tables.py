"""The tables of GGUF's IQ types: eight or four levels at a time, as rows. The gguf package has them."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from perchq_widget.core.errors import MissingExtra
from perchq_widget.core.runtimes.gguf_stored import MAGNITUDES

Bytes = npt.NDArray[np.uint8]


@cache
def magnitude_places(dtype: str) -> tuple[Bytes, int]:
    """The table of an IQ2 or IQ3 type as places among its magnitudes, uint8 (rows, levels); and how many there are."""
    known = MAGNITUDES[dtype]
    return _places(dtype.upper(), known), len(known)


@cache
def ternary_grid() -> Bytes:
    """The table of IQ1_S and IQ1_M, (2048, 8): 0, 1 and 2 for the levels -1, 0 and 1."""
    return _places("IQ1_S", (-1, 0, 1))


@cache
def parity_signs() -> Bytes:
    """Of every 7 signs the 8 that they stand for, as bits: the last makes the number of minus signs even."""
    seven = np.arange(128, dtype=np.uint8)
    odd = np.unpackbits(seven[:, None], axis=1).sum(1) & 1
    return np.asarray(seven | odd.astype(np.uint8) << np.uint8(7))


def _places(type_name: str, levels: tuple[int, ...]) -> Bytes:
    table = _table(type_name)
    places = np.searchsorted(np.array(levels, np.float32), table).astype(np.uint8)
    places.flags.writeable = False
    return places


def _table(type_name: str) -> npt.NDArray[Any]:
    """The package's own, of shape (rows, levels)."""
    try:
        from gguf import quants

        kind = getattr(quants, type_name)
    except (ImportError, AttributeError) as error:  # or one from before it had the type
        raise MissingExtra("gguf", "gguf") from error
    kind.init_grid()
    return np.asarray(kind.grid, np.float32).reshape(kind.grid_shape)
