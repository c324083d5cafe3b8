"""What a runtime is to us: one frozen record of its arithmetic and of what it allows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from .block_format import BlockFormat
from .exact import ExactParams
from .grids import BLOCK_DTYPES, FLOAT_DTYPES, INTEGER_DTYPES
from .kernels import CAST_QUOTIENT, PRODUCT, Decoder, FloatArray, Kernel
from .schemes import QuantScheme
from .trace import Note

BOTH = ("affine", "symmetric")
SYMMETRIC = ("symmetric",)
AFFINE = ("affine",)
CHANNEL_TENSOR = ("channel", "tensor")


@dataclass(frozen=True, eq=False, slots=True)
class Params:
    """What a range rule returns: arrays of the ranges' shape. ``exact`` holds the fractions, if the rule has any.

    ``multiplier`` is what the runtime multiplies values by, where it takes that from the range and not from the scale.
    """

    scale: FloatArray
    zero_point: npt.NDArray[np.int64]
    exact: tuple[ExactParams, ...] | None = None
    multiplier: FloatArray | None = None


#: All values of each unit, (units, elements) -> one number per unit.
Statistic = Callable[[FloatArray], FloatArray]


class RangeRule(Protocol):
    """(min_val, max_val), arrays of one shape in the convention's dtype -> Params of that shape."""

    def __call__(self, min_val: FloatArray, max_val: FloatArray, scheme: QuantScheme, note: Note, /) -> Params:
        """Choose scale and zero point; pass the intermediate values through ``note``."""


@dataclass(frozen=True, slots=True)
class Support:
    """Settings that a runtime has: every combination of these. ``scale_rules``: empty where there is no choice.

    ``flags`` are those of reduce_range, narrow_range, quant_range that may be set.
    """

    dtypes: tuple[str, ...]
    schemes: tuple[str, ...] = BOTH
    granularities: tuple[str, ...] = CHANNEL_TENSOR
    flags: tuple[str, ...] = ()
    scale_rules: tuple[str, ...] = ()
    group_sizes: tuple[int, ...] = ()  # empty: any


@dataclass(frozen=True, slots=True)
class Refusal:
    """Settings that, together, are not allowed; why; and what to choose instead."""

    when: tuple[tuple[str, object], ...]
    reason: str
    instead: str

    def matches(self, scheme: QuantScheme) -> bool:
        """Whether every setting of the row holds."""
        return all(setting(scheme, name) == value for name, value in self.when)

    def __str__(self) -> str:
        return f"{self.reason}; {self.instead}"


def setting(scheme: QuantScheme, name: str) -> object:
    """A setting's value; of quant_range, whether there is one."""
    return scheme.quant_range is not None if name == "quant_range" else getattr(scheme, name)


def _zero(scheme: QuantScheme) -> int:
    return 0


@dataclass(frozen=True, eq=False, slots=True)
class Convention:
    """One runtime's arithmetic: a range rule, an element kernel, and what it allows.

    ``used_by`` is one line on who computes like this. ``refusals`` are combinations inside ``supports`` that the
    runtime refuses, in its own words. ``dtypes``: the dtypes it computes in; the first is what other inputs are cast
    to, a tensor of one of the others keeps its own. ``short_group``, ``short_block``: whether the last may be
    smaller. ``whole_dtype_saturates``: reduce_range and quant_range say what the range is spread over, but codes
    saturate at the ends of the dtype all the same. ``statistics``: scale rules that look at all values of a unit, not
    at the ends of its range; minus to plus what they give stands in for the range. ``signed_groups``: files have
    groups whose scale is negative, or 0 where all values are.
    """

    name: str
    title: str
    used_by: str
    supports: tuple[Support, ...]
    checked: str
    source: str
    range_rule: RangeRule | None = None  # None: shared-scale formats only
    kernel: Kernel | None = None
    tensor_kernel: Kernel | None = None  # where one scale for the whole tensor takes another path
    multiplier_kernel: Kernel | None = None  # for parameters that carry a multiplier
    float_rule: RangeRule | None = None
    float_kernel: Kernel = CAST_QUOTIENT
    float_multiplier_kernel: Kernel | None = None
    decoder: Decoder = PRODUCT
    multiplier_decoder: Decoder | None = None  # of integer codes
    block_formats: tuple[BlockFormat, ...] = ()
    stored_formats: tuple[BlockFormat, ...] = ()  # given and never chosen; no row of ``supports`` has them
    dtypes: tuple[np.dtype[Any], ...] = (np.dtype(np.float32),)
    zero_point_in_range: bool = True
    whole_dtype_saturates: bool = False
    symmetric_zero_point: Callable[[QuantScheme], int] = _zero
    short_group: bool = False
    short_block: bool = True
    signed_groups: bool = False
    exact: bool = False  # computes on the decimals that floats print as
    zero_in_range: bool = True  # the rule takes zero into every range
    scale_floor: float | None = None  # the least scale, a finding where it is reached
    scale_floors: tuple[tuple[str, float], ...] = ()  # in working dtypes that have others
    refusals: tuple[Refusal, ...] = field(default=())
    statistics: Mapping[str, Statistic] = field(default_factory=dict)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype that it computes in, unless the tensor has another one of ``dtypes``."""
        return self.dtypes[0]

    def working_dtype(self, tensor_dtype: np.dtype[Any]) -> np.dtype[Any]:
        """The dtype in which a tensor of ``tensor_dtype`` is quantized."""
        return tensor_dtype if tensor_dtype in self.dtypes else self.dtype

    def floor_in(self, dtype: np.dtype[Any]) -> float | None:
        """The least scale where it computes in ``dtype``; None where there is none."""
        return dict(self.scale_floors).get(dtype.name, self.scale_floor)

    @property
    def formats(self) -> tuple[str, ...]:
        """The dtypes that it has, in the order of the lists of formats."""
        own = {dtype for row in self.supports for dtype in row.dtypes}
        return tuple(dtype for dtype in (*INTEGER_DTYPES, *FLOAT_DTYPES, *BLOCK_DTYPES) if dtype in own)
