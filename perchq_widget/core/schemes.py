"""What the user asks for, as one frozen value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .code_ranges import codes_in_force
from .errors import QuantTypeError, QuantValueError, choose_from
from .grids import (
    FLOAT_DTYPES,
    INTEGER_DTYPES,
    Grid,
    QuantRange,
    canonical_dtype,
    check_quant_range,
    float_grid,
    integer_grid,
)
from .observers import observer_of

SCHEMES = ("affine", "symmetric")
GRANULARITIES = ("channel", "tensor", "group", "block", "token")
#: Elements of a group or, for "block", rows and columns.
GroupSize = int | tuple[int, int]


@dataclass(frozen=True, slots=True)
class QuantScheme:
    """Format, mapping, granularity and the runtime whose arithmetic is followed.

    ``scheme`` is "affine" or "symmetric". ``granularity`` is "channel", "tensor", "group" (``group_size`` consecutive
    elements of a channel), "block" (``group_size`` = (rows, columns) of a matrix) or "token" (one scale per row of the
    last axis). ``scale_rule`` names how a float or shared-scale format takes its scale from the largest magnitude.
    ``observer`` is how the range is taken from the data: a policy or its text, kept as text ("percentile(99.5)").
    ``clip_ratio`` in (0, 1] shrinks that range before the scale is taken from it.
    """

    dtype: str = "qint8"
    scheme: str = "affine"
    granularity: str = "channel"
    reduce_range: bool = False
    narrow_range: bool = False
    quant_range: QuantRange | None = None
    convention: str = "pytorch"
    observer: str = "minmax"
    clip_ratio: float = 1.0
    group_size: GroupSize | None = None
    scale_rule: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "dtype", canonical_dtype(self.dtype))
        if self.scheme == "asymmetric":
            raise QuantValueError("scheme must be one of 'affine', 'symmetric', got 'asymmetric': that is 'affine'")
        choose_from("scheme", self.scheme, SCHEMES)
        choose_from("granularity", self.granularity, GRANULARITIES)
        for name in ("reduce_range", "narrow_range"):
            if not isinstance(getattr(self, name), (bool, np.bool_)):
                raise QuantTypeError(f"{name} must be True or False, got {getattr(self, name)!r}")
            object.__setattr__(self, name, bool(getattr(self, name)))
        object.__setattr__(self, "observer", str(observer_of(self.observer)))
        check_clip_ratio(self.clip_ratio)
        object.__setattr__(self, "clip_ratio", float(self.clip_ratio))
        object.__setattr__(self, "group_size", check_group_size(self.granularity, self.group_size))
        if self.quant_range is not None:
            object.__setattr__(self, "quant_range", check_quant_range(self.dtype, self.quant_range))

    @property
    def family(self) -> str:
        """ "integer", "float" or "block" (a shared scale per block)."""
        return family_of(self.dtype)

    @property
    def grid(self) -> Grid:
        """The codes in force; of a shared-scale format, those of its elements."""
        if self.family == "integer":
            ends = codes_in_force(
                self.convention, self.dtype, self.symmetric, self.reduce_range, self.narrow_range, self.quant_range
            )
            return integer_grid(self.dtype, ends)
        if self.family == "float":
            return float_grid(self.dtype)
        from .blockscaled import element_grid

        return element_grid(self.dtype)

    @property
    def quant_min(self) -> int | float:
        """Lowest code in force; of a float format its lowest finite value."""
        return self.grid.quant_min

    @property
    def quant_max(self) -> int | float:
        """Highest code in force; of a float format its highest finite value."""
        return self.grid.quant_max

    @property
    def symmetric(self) -> bool:
        """Whether the scheme is symmetric."""
        return self.scheme == "symmetric"

    def as_dict(self) -> dict[str, Any]:
        """The settings, with the codes in force, as plain values."""
        return {
            "dtype": self.dtype,
            "scheme": self.scheme,
            "granularity": self.granularity,
            "group_size": list(self.group_size) if isinstance(self.group_size, tuple) else self.group_size,
            "reduce_range": self.reduce_range,
            "narrow_range": self.narrow_range,
            "quant_min": self.quant_min,
            "quant_max": self.quant_max,
            "scale_rule": self.scale_rule,
            "convention": self.convention,
            "observer": self.observer,
            "clip_ratio": self.clip_ratio,
        }


def family_of(dtype: str) -> str:
    """ "integer", "float" or "block": how a format's codes come about."""
    if dtype in INTEGER_DTYPES:
        return "integer"
    return "float" if dtype in FLOAT_DTYPES else "block"


def check_group_size(granularity: str, group_size: object) -> GroupSize | None:
    """``group_size`` as granularity needs it: an integer for "group", two for "block", None for the others."""
    if granularity not in ("group", "block"):
        if group_size is not None:
            raise QuantValueError(
                f"group_size needs granularity 'group' (or 'block' for two numbers), got {group_size!r} "
                f"with {granularity!r}"
            )
        return None
    n_sizes = 2 if granularity == "block" else 1
    wanted = "(rows, columns), such as (128, 128)" if granularity == "block" else "an integer, such as 128"
    sizes: list[Any] = list(group_size) if isinstance(group_size, (tuple, list)) else [group_size]
    if len(sizes) != n_sizes or isinstance(group_size, (tuple, list)) != (n_sizes == 2) or not all(map(_whole, sizes)):
        raise QuantTypeError(f"group_size must be {wanted} for granularity {granularity!r}, got {group_size!r}")
    if min(sizes) < 1:
        raise QuantValueError(f"group_size must be {wanted}, each at least 1, got {group_size!r}")
    return (int(sizes[0]), int(sizes[1])) if granularity == "block" else int(sizes[0])


def _whole(value: object) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def check_clip_ratio(clip_ratio: float) -> None:
    """Raise unless 0 < clip_ratio <= 1."""
    if isinstance(clip_ratio, bool) or not isinstance(clip_ratio, (int, float, np.number)):
        raise QuantTypeError(f"clip_ratio must be a number, got {clip_ratio!r}")
    if not 0.0 < clip_ratio <= 1.0:
        raise QuantValueError(f"clip_ratio must be above 0 and at most 1, got {clip_ratio!r}; 1 keeps the range")
