"""QParams: the parameters of one tensor, and how a convention chooses them from a range."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .affine import LARGEST_ZERO_POINT, Expanded, FloatArray, Params
from .checks import as_numbers, check_ranges
from .conventions import Convention, get_convention, require_allowed
from .errors import QuantTypeError, QuantValueError
from .exact import ExactParams, fraction
from .grids import IntGrid, canonical_dtype, check_quant_range, full_range, integer_grid
from .keywords import known_keywords
from .schemes import QuantScheme


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

    @known_keywords
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
            "exact": None,
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)
        self._check_shapes()
        if convention == "calculator":
            self._set_exact(_as_printed(self.scale, self.zero_point))

    def _set_exact(self, exact: tuple[ExactParams, ...]) -> None:
        """Scales before they were rounded to float64; by default they are what the floats print as."""
        assert len(exact) == self.scale.size
        object.__setattr__(self, "exact", exact)

    def _check_shapes(self) -> None:
        if self.scale.shape != self.zero_point.shape:
            raise QuantValueError(
                f"scale and zero_point must have one shape, got {self.scale.shape} and {self.zero_point.shape}"
            )
        if self.scale.ndim > 1:
            raise QuantValueError(f"scale must be a number or one per channel, got shape {self.scale.shape}")
        whole = isinstance(self.ch_axis, (int, np.integer)) and not isinstance(self.ch_axis, bool)
        if self.ch_axis is not None and not whole:
            raise QuantTypeError(f"ch_axis must be an integer or None, got {self.ch_axis!r}")
        if (self.scale.ndim == 1) != (self.ch_axis is not None):
            raise QuantValueError(
                f"ch_axis must be given exactly when there is one scale per channel, "
                f"got ch_axis={self.ch_axis!r} with scale of shape {self.scale.shape}"
            )
        if self.scale.size == 0:
            raise QuantValueError("scale must hold at least one number, got none")

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


def _as_printed(scale: FloatArray, zero_point: npt.NDArray[np.int64]) -> tuple[ExactParams, ...]:
    pairs = zip(scale.ravel().tolist(), zero_point.ravel().tolist(), strict=True)
    return tuple(ExactParams(fraction(each), zero) for each, zero in pairs)


def _frozen(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    array = array.copy()
    array.flags.writeable = False
    return array


def _checked_scale(scale: npt.ArrayLike, rules: Convention) -> FloatArray:
    with np.errstate(over="ignore", under="ignore"):
        values = as_numbers(scale, "scale").astype(rules.dtype)
    bad = ~(np.isfinite(values) & (values > 0))
    if bad.any():
        where = f" (channel {int(np.argmax(bad))})" if values.ndim else ""
        raise QuantValueError(
            f"scale must be finite and above 0 in {rules.dtype.name}, got {float(values[bad][0])!r}{where}; "
            "clip the range or leave outliers out of it"
        )
    return values


def _checked_zero_point(zero_point: npt.ArrayLike, rules: Convention, ends: tuple[int, int]) -> npt.NDArray[np.int64]:
    given = as_numbers(zero_point, "zero_point")
    with np.errstate(invalid="ignore"):
        values = given.astype(np.int64)
    if not np.array_equal(values, given):
        raise QuantTypeError(f"zero_point must be integers, got {zero_point!r:.80}")
    low, high = ends if rules.zero_point_in_range else (-LARGEST_ZERO_POINT + 1, LARGEST_ZERO_POINT - 1)
    bad = (values < low) | (values > high)
    if bad.any():
        raise QuantValueError(f"zero_point must lie in {low}..{high} under {rules.name!r}, got {int(values[bad][0])}")
    return values


@known_keywords
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
    low = as_numbers(min_val, "min_val").astype(np.float64)
    high = as_numbers(max_val, "max_val").astype(np.float64)
    granularity = "channel" if low.ndim else "tensor"
    chosen = QuantScheme(dtype, scheme, granularity, reduce_range, narrow_range, quant_range, convention)
    if low.shape != high.shape or low.ndim > 1 or low.size == 0:
        raise QuantValueError(
            f"min_val and max_val must be two numbers or two arrays of one shape (C,), got {low.shape} and {high.shape}"
        )
    check_ranges(low, high, "min_val and max_val")
    return qparams_from_range(low, high, chosen, ch_axis if low.ndim == 0 or ch_axis is not None else 0)


def qparams_from_range(low: FloatArray, high: FloatArray, scheme: QuantScheme, ch_axis: int | None) -> QParams:
    """Apply the convention's range rule. ``low`` and ``high`` are finite, of shape () or (C,)."""
    rules = require_allowed(scheme)
    params = rules.range_rule(np.asarray(low), np.asarray(high), scheme)
    return qparams_of(params, scheme, ch_axis)


def qparams_of(params: Params, scheme: QuantScheme, ch_axis: int | None) -> QParams:
    """What a range rule returned, as QParams of ``scheme``."""
    qparams = QParams(
        params.scale,
        params.zero_point,
        dtype=scheme.dtype,
        convention=scheme.convention,
        ch_axis=ch_axis,
        quant_min=scheme.quant_min,
        quant_max=scheme.quant_max,
    )
    if params.exact is not None:
        qparams._set_exact(params.exact)
    return qparams
