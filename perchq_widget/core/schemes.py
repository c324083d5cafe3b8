"""What the user asks for, as one frozen value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .errors import QuantTypeError, QuantValueError, choose_from
from .grids import IntGrid, QuantRange, canonical_dtype, check_quant_range, integer_grid

SCHEMES = ("affine", "symmetric")
GRANULARITIES = ("channel", "tensor")


@dataclass(frozen=True, slots=True)
class QuantScheme:
    """Grid, mapping, granularity and the runtime whose arithmetic is followed.

    ``scheme`` is "affine" or "symmetric"; ``granularity`` "channel" or "tensor"; ``clip_ratio`` in (0, 1]
    shrinks the observed range before the scale is taken from it.
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

    def __post_init__(self) -> None:
        object.__setattr__(self, "dtype", canonical_dtype(self.dtype))
        choose_from("scheme", self.scheme, SCHEMES)
        choose_from("granularity", self.granularity, GRANULARITIES)
        for name in ("reduce_range", "narrow_range"):
            if not isinstance(getattr(self, name), (bool, np.bool_)):
                raise QuantTypeError(f"{name} must be True or False, got {getattr(self, name)!r}")
            object.__setattr__(self, name, bool(getattr(self, name)))
        check_clip_ratio(self.clip_ratio)
        object.__setattr__(self, "clip_ratio", float(self.clip_ratio))
        if self.quant_range is not None:
            object.__setattr__(self, "quant_range", check_quant_range(self.dtype, self.quant_range))

    @property
    def grid(self) -> IntGrid:
        """The codes in force."""
        return integer_grid(
            self.dtype,
            reduce_range=self.reduce_range,
            narrow_range=self.narrow_range,
            quant_range=self.quant_range,
        )

    @property
    def quant_min(self) -> int:
        """Lowest code in force."""
        return self.grid.quant_min

    @property
    def quant_max(self) -> int:
        """Highest code in force."""
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
            "reduce_range": self.reduce_range,
            "narrow_range": self.narrow_range,
            "quant_min": self.quant_min,
            "quant_max": self.quant_max,
            "convention": self.convention,
            "observer": self.observer,
            "clip_ratio": self.clip_ratio,
        }


def check_clip_ratio(clip_ratio: float) -> None:
    """Raise unless 0 < clip_ratio <= 1."""
    if isinstance(clip_ratio, bool) or not isinstance(clip_ratio, (int, float, np.number)):
        raise QuantTypeError(f"clip_ratio must be a number, got {clip_ratio!r}")
    if not 0.0 < clip_ratio <= 1.0:
        raise QuantValueError(f"clip_ratio must be above 0 and at most 1, got {clip_ratio!r}; 1 keeps the range")
