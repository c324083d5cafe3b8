"""QParams: the parameters of one tensor, and values through them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .affine import LARGEST_ZERO_POINT, Expanded, FloatArray
from .conventions import Convention, get_convention, require_allowed
from .errors import QuantTypeError, QuantValueError
from .exact import ExactParams
from .grids import IntGrid, canonical_dtype, check_quant_range, full_range, integer_grid
from .schemes import QuantScheme

#: Elements that go through the kernels at once: small enough to stay in cache.
CHUNK = 1 << 16


@dataclass(frozen=True, eq=False, kw_only=True)
class QParams:
    """Scale and zero point with all that is needed to apply them: real = (code - zero_point) * scale.

    ``scale`` and ``zero_point`` have shape () per tensor or (C,) per channel of ``ch_axis``; both are
    read-only arrays. ``quant_min`` and ``quant_max`` default to the whole format. Anyone can build one.
    """

    scale: FloatArray
    zero_point: npt.NDArray[np.int64]
    dtype: str
    convention: str
    ch_axis: int | None
    quant_min: int
    quant_max: int
    exact: tuple[ExactParams, ...] | None

    def __init__(
        self,
        scale: npt.ArrayLike,
        zero_point: npt.ArrayLike,
        *,
        dtype: str,
        convention: str,
        ch_axis: int | None = None,
        quant_min: int | None = None,
        quant_max: int | None = None,
        exact: tuple[ExactParams, ...] | None = None,
    ) -> None:
        rules = get_convention(convention)
        low, high = full_range(dtype)
        given = (low if quant_min is None else quant_min, high if quant_max is None else quant_max)
        ends = check_quant_range(dtype, given)
        values: dict[str, Any] = {
            "scale": _frozen(_checked_scale(scale, rules)),
            "zero_point": _frozen(_checked_zero_point(zero_point, rules, ends)),
            "dtype": canonical_dtype(dtype),
            "convention": convention,
            "ch_axis": ch_axis,
            "quant_min": ends[0],
            "quant_max": ends[1],
            "exact": exact,
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)
        self._check_shapes()

    def _check_shapes(self) -> None:
        if self.scale.shape != self.zero_point.shape:
            raise QuantValueError(
                f"scale and zero_point must have one shape, got {self.scale.shape} and {self.zero_point.shape}"
            )
        if self.scale.ndim > 1:
            raise QuantValueError(f"scale must be a number or one per channel, got shape {self.scale.shape}")
        if (self.scale.ndim == 1) != (self.ch_axis is not None):
            raise QuantValueError(
                f"ch_axis must be given exactly when there is one scale per channel, "
                f"got ch_axis={self.ch_axis!r} with scale of shape {self.scale.shape}"
            )
        if self.exact is not None and len(self.exact) != self.scale.size:
            raise QuantValueError(f"exact must hold {self.scale.size} entries, got {len(self.exact)}")

    @property
    def grid(self) -> IntGrid:
        """The codes in force."""
        return integer_grid(self.dtype, quant_range=(self.quant_min, self.quant_max))

    @property
    def rules(self) -> Convention:
        """The record of the convention."""
        return get_convention(self.convention)

    @property
    def granularity(self) -> str:
        """ "tensor" or "channel"."""
        return "tensor" if self.ch_axis is None else "channel"

    def represented(self) -> tuple[FloatArray, FloatArray]:
        """The real values of quant_min and quant_max, float64, of scale's shape."""
        scale = self.scale.astype(np.float64)
        return (self.quant_min - self.zero_point) * scale, (self.quant_max - self.zero_point) * scale

    def expand(self, channels: slice, axis: int, ndim: int = 2) -> Expanded:
        """Parameters of ``channels`` shaped for blocks of ``ndim`` axes whose channel axis is ``axis``."""
        part = slice(None) if self.ch_axis is None else channels
        shape = [1] * ndim
        shape[axis] = -1
        dtype = self.rules.dtype

        def shaped(values: FloatArray) -> FloatArray:
            return np.atleast_1d(values)[part].reshape(shape).astype(dtype)

        scale = shaped(self.scale)
        with np.errstate(over="ignore"):  # a subnormal scale has an infinite reciprocal, as in the runtime
            inverse = dtype.type(1) / scale
        low, high = shaped(self.quant_min - self.zero_point), shaped(self.quant_max - self.zero_point)
        exact = None if self.exact is None else self.exact[part]
        return Expanded(scale, inverse, low, high, exact, axis)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, QParams):
            return NotImplemented
        plain = ("dtype", "convention", "ch_axis", "quant_min", "quant_max")
        return (
            all(getattr(self, name) == getattr(other, name) for name in plain)
            and np.array_equal(self.scale, other.scale)
            and np.array_equal(self.zero_point, other.zero_point)
        )

    __hash__ = None  # type: ignore[assignment]  # holds arrays


def _frozen(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    array = array.copy()
    array.flags.writeable = False
    return array


def _checked_scale(scale: npt.ArrayLike, rules: Convention) -> FloatArray:
    with np.errstate(over="ignore", under="ignore"):
        values = np.asarray(scale, dtype=rules.dtype)
    bad = ~(np.isfinite(values) & (values > 0))
    if bad.any():
        where = f" (channel {int(np.argmax(bad))})" if values.ndim else ""
        raise QuantValueError(
            f"scale must be finite and above 0 in {rules.dtype.name}, got {float(values[bad][0])!r}{where}; "
            "clip the range or leave outliers out of it"
        )
    return values


def _checked_zero_point(zero_point: npt.ArrayLike, rules: Convention, ends: tuple[int, int]) -> npt.NDArray[np.int64]:
    given = np.asarray(zero_point)
    values = given.astype(np.int64)
    if not np.array_equal(values, given):
        raise QuantTypeError(f"zero_point must be integers, got {zero_point!r}")
    low, high = ends if rules.zero_point_in_range else (-LARGEST_ZERO_POINT + 1, LARGEST_ZERO_POINT - 1)
    bad = (values < low) | (values > high)
    if bad.any():
        raise QuantValueError(f"zero_point must lie in {low}..{high} under {rules.name!r}, got {int(values[bad][0])}")
    return values


def choose_qparams(
    min_val: npt.ArrayLike,
    max_val: npt.ArrayLike,
    *,
    dtype: str = "qint8",
    scheme: str = "affine",
    convention: str = "pytorch",
    reduce_range: bool = False,
    narrow_range: bool = False,
    quant_range: tuple[int, int] | None = None,
    ch_axis: int | None = None,
) -> QParams:
    """Scale and zero point that ``convention`` takes from a calibration range.

    ``min_val`` and ``max_val``: two numbers, or two arrays of shape (C,) with ``ch_axis`` given.
    Raises :class:`QuantValueError` for NaN, infinities, min above max and combinations that are not allowed.
    """
    low, high = np.asarray(min_val, np.float64), np.asarray(max_val, np.float64)
    granularity = "channel" if low.ndim else "tensor"
    chosen = QuantScheme(dtype, scheme, granularity, reduce_range, narrow_range, quant_range, convention)
    if low.shape != high.shape:
        raise QuantValueError(f"min_val and max_val must have one shape, got {low.shape} and {high.shape}")
    if not (np.isfinite(low) & np.isfinite(high)).all() or (low > high).any():
        raise QuantValueError("min_val and max_val must be finite with min_val <= max_val")
    return qparams_from_range(low, high, chosen, ch_axis if low.ndim == 0 or ch_axis is not None else 0)


def qparams_from_range(low: FloatArray, high: FloatArray, scheme: QuantScheme, ch_axis: int | None) -> QParams:
    """Apply the convention's range rule. ``low`` and ``high`` are finite, of shape () or (C,)."""
    rules = require_allowed(scheme)
    params = rules.range_rule(np.asarray(low), np.asarray(high), scheme)
    return QParams(
        params.scale,
        params.zero_point,
        dtype=scheme.dtype,
        convention=scheme.convention,
        ch_axis=ch_axis,
        quant_min=scheme.quant_min,
        quant_max=scheme.quant_max,
        exact=params.exact,
    )


def raw_codes(x: FloatArray, qparams: QParams, params: Expanded) -> FloatArray:
    """Codes before the clamp, float, of the block's shape. NaN becomes the zero point (our policy)."""
    levels = np.empty(x.shape, qparams.rules.dtype)
    with np.errstate(invalid="ignore", over="ignore"):
        qparams.rules.levels(x.astype(levels.dtype), params, levels)
    levels[np.isnan(levels)] = 0
    return np.asarray(levels + (qparams.quant_min - params.low))


def quantize(x: npt.ArrayLike, qparams: QParams) -> npt.NDArray[Any]:
    """Codes of ``x``, in its shape: int8 for qint8, uint8 for quint8. inf saturates, NaN becomes the zero point."""
    values, axis = _prepared(x, qparams)
    codes = np.empty(values.shape, qparams.grid.storage)
    for part, channels in _chunks(values, axis):
        params = qparams.expand(channels, axis, values.ndim)
        raw = raw_codes(values[part], qparams, params)
        codes[part] = np.clip(raw, qparams.quant_min, qparams.quant_max)
    return codes.reshape(np.shape(x))


def dequantize(codes: npt.ArrayLike, qparams: QParams) -> npt.NDArray[Any]:
    """Real values of ``codes``: (code - zero_point) * scale in the convention's dtype (float32 or float64)."""
    values, axis = _prepared(codes, qparams)
    if values.dtype.kind not in "iu":
        raise QuantTypeError(f"codes must be integers, got {values.dtype}")
    dtype = qparams.rules.dtype
    out = np.empty(values.shape, dtype)
    for part, channels in _chunks(values, axis):
        params = qparams.expand(channels, axis, values.ndim)
        zero_point = qparams.quant_min - params.low.astype(np.int64)
        with np.errstate(over="ignore", under="ignore"):
            np.multiply((values[part].astype(np.int64) - zero_point).astype(dtype), params.scale, out=out[part])
    return out.reshape(np.shape(codes))


def fake_quantize(x: npt.ArrayLike, qparams: QParams) -> npt.NDArray[Any]:
    """``dequantize(quantize(x))`` with NaN kept as NaN."""
    out = dequantize(quantize(x, qparams), qparams)
    values = np.asarray(x)
    return np.where(np.isnan(values), out.dtype.type(np.nan), out) if values.dtype.kind not in "iu" else out


def _prepared(x: npt.ArrayLike, qparams: QParams) -> tuple[npt.NDArray[Any], int]:
    values = np.atleast_1d(np.asarray(x))
    if qparams.ch_axis is None:
        return values, 0
    axis = normal_axis(qparams.ch_axis, values.ndim)
    if values.shape[axis] != qparams.scale.size:
        raise QuantValueError(
            f"the tensor has {values.shape[axis]} channels on axis {axis} but scale has {qparams.scale.size}"
        )
    return values, axis


def normal_axis(ch_axis: int, ndim: int) -> int:
    """``ch_axis`` as a non-negative axis; raises with the valid range."""
    if isinstance(ch_axis, bool) or not isinstance(ch_axis, (int, np.integer)):
        raise QuantTypeError(f"ch_axis must be an integer, got {ch_axis!r}")
    if not -ndim <= ch_axis < ndim:
        raise QuantValueError(f"ch_axis must lie in {-ndim}..{ndim - 1} for a tensor of {ndim} axes, got {ch_axis}")
    return int(ch_axis) % ndim


def _chunks(values: npt.NDArray[Any], axis: int) -> Iterator[tuple[slice, slice]]:
    """Slices of the first axis with the channels that each of them holds."""
    step = max(1, CHUNK * values.shape[0] // max(1, values.size))
    for start in range(0, values.shape[0], step):
        part = slice(start, start + step)
        yield part, part if axis == 0 else slice(None)
