"""Arrays inside code: an ``.npy`` file, compressed, in base64. Never a pickle, in either direction."""

from __future__ import annotations

import base64
import io
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: The largest array that is packed, in bytes; as text in a notebook it takes up to a third more.
MOST_BYTES = 1 << 20
_WIDTH = 100

UNPACK = """\
# Values that the next cell needs: .npy files, compressed, in base64. Run this cell; there is nothing to edit in it.
import base64
import io
import zlib

import ml_dtypes
import numpy as np


def unpacked(text):
    return np.load(io.BytesIO(zlib.decompress(base64.b64decode(text))), allow_pickle=False)


"""
"""What code that uses :func:`packed` begins with."""


def packed(array: NDArray[Any]) -> str:
    """``array`` as a Python expression over :data:`UNPACK`; it evaluates to the same type, shape and bits."""
    plain, view = array, ""
    if array.dtype.type.__module__ == "ml_dtypes":
        # .npy has no name for these types, so their bits go as integers.
        plain, view = array.view(f"u{array.dtype.itemsize}"), f".view(ml_dtypes.{array.dtype.name})"
    file = io.BytesIO()
    np.save(file, plain, allow_pickle=False)
    data = base64.b64encode(zlib.compress(file.getvalue(), 9)).decode("ascii")
    lines = "".join(f"{data[start : start + _WIDTH]}\n" for start in range(0, len(data), _WIDTH))
    return f'unpacked("""\n{lines}"""){view}'
