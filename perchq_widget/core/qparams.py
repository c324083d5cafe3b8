"""QParams: the parameters of one tensor, and how a convention chooses them from a range."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from .checks import as_numbers, check_ranges
from .codec import outline
from .conventions import get_convention, require_allowed
from .defaults import settled
from .errors import QuantValueError
from .exact import ExactParams, fraction
from .given_params import checked_scale, checked_zero_point, code_ends, frozen, granularity_of
from .grids import FLOAT_DTYPES, FloatGrid, IntGrid, canonical_dtype, carrier, float_grid, integer_grid
from .kernels import Decoder, Expanded, FloatArray, Kernel
from .keywords import known_keywords
from .layouts import Units
from .record import Convention, Params
from .schemes import GroupSize, QuantScheme, check_group_size
from .trace import silent


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class QParams:
    """Scale and zero point with all that is needed to apply them: real = (code - zero_point) * scale.

    ``scale`` and ``zero_point`` are read-only arrays of one shape: () per tensor, (C,) per channel of ``ch_axis``,
    (C, G) per group of ``group_size`` elements of a channel, (rows / bh, columns / bw) per block of
    ``group_size=(bh, bw)``, and the tensor's shape without its last axis per token (``granularity="token"``).
    ``quant_min`` and ``quant_max`` default to the whole format; float formats take neither. ``multiplier``, of scale's
    shape, is what a runtime multiplies by where it does not use the scale. Anyone can build one.
    """

    scale: FloatArray
    zero_point: npt.NDArray[np.int64]
    dtype: str
    convention: str
    ch_axis: int | None
    group_size: GroupSize | None
    granularity: str
    quant_min: int | float
    quant_max: int | float
    multiplier: FloatArray | None
    exact: tuple[ExactParams, ...] | None
    _one_zero: npt.NDArray[np.int64] | None = field(repr=False)

    @known_keywords
    def __init__(
        self,
        scale: npt.ArrayLike,
        zero_point: npt.ArrayLike,
        *,
        dtype: str,
        convention: str,
        ch_axis: int | None = None,
        group_size: GroupSize | None = None,
        quant_min: int | None = None,
        quant_max: int | None = None,
        multiplier: npt.ArrayLike | None = None,
        granularity: str | None = None,
    ) -> None:
        rules = get_convention(convention)
        dtype = canonical_dtype(dtype)
        ends = code_ends(dtype, quant_min, quant_max, rules)
        scales = checked_scale(scale, rules, signed=rules.signed_groups and isinstance(group_size, (int, np.integer)))
        unit = granularity_of(granularity, scales, ch_axis, group_size)
        values: dict[str, Any] = {
            "scale": frozen(scales),
            "zero_point": frozen(checked_zero_point(zero_point, rules, ends, dtype)),
            "dtype": dtype,
            "convention": convention,
            "ch_axis": ch_axis,
            "group_size": check_group_size(unit, group_size),
            "granularity": unit,
            "quant_min": ends[0],
            "quant_max": ends[1],
            "multiplier": None if multiplier is None else frozen(checked_scale(multiplier, rules, "multiplier")),
            "exact": None,
            "_one_zero": None,
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)
        self._check_shapes()
        if (self.zero_point == self.zero_point.flat[0]).all():  # one number broadcasts faster than many equal ones
            object.__setattr__(self, "_one_zero", np.array(self.zero_point.flat[0]))
        if rules.exact:
            self._set_exact(_as_printed(self.scale, self.zero_point))

    def _set_exact(self, exact: tuple[ExactParams, ...]) -> None:
        """Scales before they were rounded to float64; by default they are what the floats print as."""
        assert len(exact) == self.scale.size
        object.__setattr__(self, "exact", exact)

    def _check_shapes(self) -> None:
        for name, other in (("zero_point", self.zero_point), ("multiplier", self.multiplier)):
            if other is not None and other.shape != self.scale.shape:
                raise QuantValueError(
                    f"scale and {name} must have one shape, got {self.scale.shape} and {other.shape}"
                )
        if self.scale.size == 0:
            raise QuantValueError("scale must hold at least one number, got none")

    @property
    def grid(self) -> IntGrid | FloatGrid:
        """The codes in force."""
        if self.dtype in FLOAT_DTYPES:
            return float_grid(self.dtype)
        return integer_grid(self.dtype, (int(self.quant_min), int(self.quant_max)))

    @property
    def rules(self) -> Convention:
        """The record of the convention."""
        return get_convention(self.convention)

    @property
    def kernel(self) -> Kernel:
        """The element kernel that the runtime uses for parameters like these."""
        rules = self.rules
        if self.dtype in FLOAT_DTYPES:
            special = None if self.multiplier is None else rules.float_multiplier_kernel
            return rules.float_kernel if special is None else special
        if self.multiplier is not None and rules.multiplier_kernel is not None:
            return rules.multiplier_kernel
        kernel = rules.tensor_kernel if self.granularity == "tensor" and rules.tensor_kernel else rules.kernel
        assert kernel is not None  # a convention without one has no affine formats
        return kernel

    @property
    def decoder(self) -> Decoder:
        """How the runtime goes from codes to values."""
        rules = self.rules
        plain = self.multiplier is None or self.dtype in FLOAT_DTYPES
        return rules.decoder if plain or rules.multiplier_decoder is None else rules.multiplier_decoder

    @property
    def keeps_zero(self) -> bool:
        """Whether real zero always becomes real zero."""
        return bool(((self.zero_point >= self.quant_min) & (self.zero_point <= self.quant_max)).all())

    @property
    def working_dtype(self) -> np.dtype[Any]:
        """The dtype in which the kernels compute: the scale's."""
        return self.scale.dtype

    @property
    def layout(self) -> tuple[str, GroupSize | None]:
        """(granularity, group_size), as :func:`~perchq_widget.core.layouts.pieces` takes them."""
        return self.granularity, self.group_size

    @property
    def bits_per_weight(self) -> float:
        """Bits of a code."""
        return float(self.grid.bits)

    @property
    def overhead_bits(self) -> int:
        """Bits of all scales and, under an affine scheme, zero points of a code's width; none for a plain cast."""
        if self.dtype in FLOAT_DTYPES and bool((self.scale == 1).all()):
            return 0
        moved = self.dtype not in FLOAT_DTYPES and bool(self.zero_point.any())
        return self.scale.size * (8 * self.scale.dtype.itemsize + self.grid.bits * moved)

    @property
    def code_dtype(self) -> np.dtype[Any]:
        """int8, uint8, int16 or uint16; of a float format its ml_dtypes dtype."""
        return self.grid.storage

    def codes_of(self, levels: FloatArray, params: Expanded) -> npt.NDArray[Any]:
        """Clamped levels as codes."""
        with np.errstate(over="ignore"):
            shifted = levels + params.zero if params.zero.any() else levels
            return np.asarray(shifted.astype(self.code_dtype))

    def levels_of(self, codes: npt.NDArray[Any], params: Expanded) -> FloatArray:
        """Codes as levels: the zero point is taken off in integers."""
        if isinstance(self.grid, FloatGrid):
            return np.asarray(codes.astype(carrier(self.working_dtype)))
        return np.asarray((codes.astype(np.int64) - params.zero.astype(np.int64)).astype(carrier(self.working_dtype)))

    def effective(self) -> FloatArray:
        """The scale without its sign, float64."""
        return np.abs(self.scale.astype(np.float64))

    def represented(self) -> tuple[FloatArray, FloatArray]:
        """The real values of quant_min and quant_max, float64, of scale's shape."""
        scale = self.scale.astype(np.float64)
        ends = [(end - self.zero_point) * scale for end in (self.quant_min, self.quant_max)]
        return np.minimum(*ends), np.maximum(*ends)

    def expand(self, units: Units, across: int) -> Expanded:
        """The parameters of ``units``, which vary along axis ``across`` of a piece's view."""
        dtype = self.working_dtype
        scale = units.take(self.scale)
        zero = units.take(self.zero_point if self._one_zero is None else self._one_zero)
        with np.errstate(over="ignore", divide="ignore"):  # of a subnormal scale it is infinite, as in the runtime
            inverse = dtype.type(1) / scale
        levels = (zero, self.quant_min - zero, self.quant_max - zero)
        multiplier = None if self.multiplier is None else units.take(self.multiplier)
        exact = None if self.exact is None else self._exact_of(units)
        wide = carrier(dtype)
        zero, low, high, scale, inverse = (each.astype(wide, copy=False) for each in (*levels, scale, inverse))
        narrow = None if wide == dtype else float_grid(dtype.name)
        return Expanded(scale, inverse, zero, low, high, self.grid, across, multiplier, None, exact, narrow=narrow)

    def _exact_of(self, units: Units) -> tuple[ExactParams, ...]:
        assert self.exact is not None
        if self.scale.ndim == 0:
            return self.exact
        where = units.take(np.arange(self.scale.size).reshape(self.scale.shape)).ravel()
        return tuple(self.exact[index] for index in where)

    def __repr__(self) -> str:
        return f"<QParams {outline(self)}, codes {self.quant_min:g}..{self.quant_max:g}>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, QParams):
            return NotImplemented
        plain = ("dtype", "convention", "ch_axis", "group_size", "granularity", "quant_min", "quant_max")
        return (
            all(getattr(self, name) == getattr(other, name) for name in plain)
            and np.array_equal(self.scale, other.scale)
            and np.array_equal(self.zero_point, other.zero_point)
            and _same(self.multiplier, other.multiplier)
        )

    __hash__ = None  # type: ignore[assignment]  # holds arrays


def _as_printed(scale: FloatArray, zero_point: npt.NDArray[np.int64]) -> tuple[ExactParams, ...]:
    pairs = zip(scale.ravel().tolist(), zero_point.ravel().tolist(), strict=True)
    return tuple(ExactParams(fraction(each), zero) for each, zero in pairs)


def _same(a: FloatArray | None, b: FloatArray | None) -> bool:
    """Whether both are None or both hold the same numbers."""
    return a is b if a is None or b is None else np.array_equal(a, b)


@known_keywords
def choose_qparams(
    min_val: npt.ArrayLike,
    max_val: npt.ArrayLike,
    *,
    dtype: str = "qint8",
    scheme: str | None = None,
    convention: str | None = None,
    reduce_range: bool = False,
    narrow_range: bool = False,
    quant_range: tuple[int, int] | None = None,
    scale_rule: str | None = None,
    ch_axis: int | None = None,
) -> QParams:
    """Scale and zero point that ``convention`` takes from a calibration range.

    ``min_val`` and ``max_val``: two numbers, or two arrays of shape (C,) with ``ch_axis`` given.
    Raises :class:`QuantValueError` for NaN, infinities, min above max and combinations that are not allowed.
    """
    low, high = as_numbers(min_val, "min_val"), as_numbers(max_val, "max_val")
    granularity = "channel" if low.ndim else "tensor"
    chosen = settled(
        dtype, scheme, granularity, convention, None, scale_rule,
        reduce_range=reduce_range, narrow_range=narrow_range, quant_range=quant_range,
    )  # fmt: skip
    if low.shape != high.shape or low.ndim > 1 or low.size == 0:
        raise QuantValueError(
            f"min_val and max_val must be two numbers or two arrays of one shape (C,), got {low.shape} and {high.shape}"
        )
    check_ranges(low.astype(np.float64), high.astype(np.float64), "min_val and max_val")
    if chosen.scale_rule in get_convention(chosen.convention).statistics:
        raise QuantValueError(
            f"scale_rule {chosen.scale_rule!r} looks at all values of a tensor, and a range has only its ends: choose "
            "scale_rule 'amax', or give the tensor to pq.analyze"
        )
    return qparams_from_range(low, high, chosen, ch_axis if low.ndim == 0 or ch_axis is not None else 0)


def qparams_from_range(low: FloatArray, high: FloatArray, scheme: QuantScheme, ch_axis: int | None) -> QParams:
    """Apply the convention's range rule to finite ``low`` and ``high``, whose shape the parameters take."""
    rules = require_allowed(scheme)
    rule = rules.range_rule if scheme.family == "integer" else rules.float_rule
    assert rule is not None  # the table allows no format without a rule
    dtype = rules.working_dtype(low.dtype)
    with np.errstate(all="ignore"):  # a scale that is not finite is refused below, with the way out
        params = rule(np.asarray(low).astype(dtype), np.asarray(high).astype(dtype), scheme, silent)
    return qparams_of(params, scheme, ch_axis)


def qparams_of(params: Params, scheme: QuantScheme, ch_axis: int | None) -> QParams:
    """What a range rule returned, as QParams of ``scheme``."""
    ends = scheme.family == "integer" and not get_convention(scheme.convention).whole_dtype_saturates
    qparams = QParams(
        params.scale,
        params.zero_point,
        dtype=scheme.dtype,
        convention=scheme.convention,
        ch_axis=ch_axis if scheme.granularity in ("channel", "group") else None,
        group_size=scheme.group_size,
        quant_min=int(scheme.quant_min) if ends else None,
        quant_max=int(scheme.quant_max) if ends else None,
        multiplier=params.multiplier,
        granularity=scheme.granularity,
    )
    if params.exact is not None:
        qparams._set_exact(params.exact)
    return qparams
