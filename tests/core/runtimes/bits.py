"""Comparing arrays with a real library's, bit for bit, and carrying them there and back."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np

from perchq_widget.core.codec import Parameters
from perchq_widget.core.defaults import settled
from perchq_widget.core.fitting import fit
from perchq_widget.core.grids import FloatGrid
from perchq_widget.core.ranges import channel_ranges

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)


def n_different(ours: np.ndarray, theirs: np.ndarray) -> int:
    """How many elements of two arrays of one dtype and shape differ in any bit."""
    assert ours.dtype == theirs.dtype
    assert ours.shape == theirs.shape
    pattern = np.dtype(f"u{ours.dtype.itemsize}")
    return int((np.ascontiguousarray(ours).view(pattern) != np.ascontiguousarray(theirs).view(pattern)).sum())


def to_torch(torch: Any, array: np.ndarray) -> Any:
    """A torch tensor of the same bits; torch does not know ml_dtypes' types."""
    if array.dtype == BFLOAT16:
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    if array.dtype.itemsize == 1 and array.dtype.kind not in "iub":
        return torch.from_numpy(array.view(np.uint8)).view(getattr(torch, array.dtype.name))
    return torch.from_numpy(np.ascontiguousarray(array).copy())


def from_torch(torch: Any, tensor: Any) -> np.ndarray:
    """A numpy array of the same bits."""
    tensor = tensor.detach().contiguous()
    if tensor.dtype == torch.bfloat16:
        return np.asarray(tensor.view(torch.int16).numpy().view(BFLOAT16))
    if tensor.dtype.is_floating_point and tensor.dtype.itemsize == 1:
        name = str(tensor.dtype).removeprefix("torch.")
        return np.asarray(tensor.view(torch.uint8).numpy().view(getattr(ml_dtypes, name)))
    return np.asarray(tensor.numpy())


def fitted(x: np.ndarray, ch_axis: int = 0, **settings: Any) -> Parameters:
    """The parameters that a convention takes from a tensor."""
    scheme = settled(**settings)
    return fit(x, ch_axis, scheme, channel_ranges(x, ch_axis, np.dtype(np.float32)))


def float_values(grid: FloatGrid) -> np.ndarray:
    """All finite values of a format, in order, float64."""
    codes = np.arange(1 << 8 * grid.storage.itemsize, dtype=f"u{grid.storage.itemsize}")
    with np.errstate(invalid="ignore"):
        values = codes.view(grid.storage).astype(np.float64)
    return np.unique(values[np.isfinite(values)])


def float_elements(scale: np.ndarray, grid: FloatGrid, n: int = 1_000_000, seed: int = 1) -> np.ndarray:
    """float32 of shape (C, n // C) for scales (C,): a third on ties of the format or one ulp beside, rest anywhere.

    "Anywhere" is spread over the format's exponents and a little beyond both ends.
    """
    rng = np.random.default_rng(seed)
    scale = np.atleast_1d(scale).astype(np.float64)[:, None]
    shape = (len(scale), n // len(scale))
    values = float_values(grid)
    at = rng.integers(0, len(values) - 1, shape)
    ties = rng.random(shape) < 1 / 3
    level = np.where(ties, (values[at] + values[at + 1]) / 2, values[at] * rng.uniform(0.9, 1.1, shape))
    with np.errstate(over="ignore"):
        x = (level * scale).astype(np.float32)
    beside = ties & (rng.random(shape) < 2 / 3)
    toward = np.where(rng.random(shape) < 0.5, np.float32(np.inf), np.float32(-np.inf))
    return np.where(beside, np.nextafter(x, toward), x).astype(np.float32)


def with_exact_ties(scale: np.ndarray) -> np.ndarray:
    """Every fifth scale made a power of two, so that quotients on ties are exact."""
    scale = scale.copy()
    mantissa, exponent = np.frexp(scale[::5].astype(np.float64))
    del mantissa
    scale[::5] = np.ldexp(1.0, exponent).astype(scale.dtype)
    return scale
