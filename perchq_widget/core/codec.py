"""The one protocol of parameters: everything above core talks to it, whether scales are affine or shared by blocks.

:class:`~perchq_widget.core.qparams.QParams` and :class:`~perchq_widget.core.blockscaled.BlockParams` implement it.
"""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from .grids import Grid
from .kernels import Decoder, Expanded, FloatArray, Kernel
from .layouts import Units
from .record import Convention
from .schemes import GroupSize


@runtime_checkable
class Parameters(Protocol):
    """What turns values into codes and back. ``scale`` is what is stored: one per unit of ``layout``."""

    @property
    def scale(self) -> FloatArray:
        """Scales as stored."""

    @property
    def dtype(self) -> str:
        """The format."""

    @property
    def convention(self) -> str:
        """The runtime's name."""

    @property
    def rules(self) -> Convention:
        """The runtime's record."""

    @property
    def grid(self) -> Grid:
        """The element's codes in force."""

    @property
    def quant_min(self) -> int | float:
        """Lowest code in force."""

    @property
    def quant_max(self) -> int | float:
        """Highest code in force."""

    @property
    def ch_axis(self) -> int | None:
        """The axis that the parameters belong to, if they belong to one."""

    @property
    def granularity(self) -> str:
        """What a scale is shared over."""

    @property
    def group_size(self) -> GroupSize | None:
        """Elements that share a scale, where granularity is "group"; rows and columns where it is "block"."""

    @property
    def layout(self) -> tuple[str, GroupSize | None]:
        """How :func:`~perchq_widget.core.layouts.pieces` cuts a tensor for these parameters."""

    @property
    def kernel(self) -> Kernel:
        """value -> level."""

    @property
    def decoder(self) -> Decoder:
        """level -> value."""

    @property
    def keeps_zero(self) -> bool:
        """Whether real zero always becomes real zero."""

    @property
    def working_dtype(self) -> np.dtype[Any]:
        """The dtype in which the kernels compute."""

    @property
    def bits_per_weight(self) -> float:
        """Bits of an element's code, scales not counted."""

    @property
    def overhead_bits(self) -> int:
        """Bits of all scales, zero points and minima."""

    @property
    def code_dtype(self) -> np.dtype[Any]:
        """The numpy dtype of codes."""

    def expand(self, units: Units, across: int) -> Expanded:
        """The parameters of one piece, shaped to broadcast."""

    def codes_of(self, levels: FloatArray, params: Expanded) -> npt.NDArray[Any]:
        """Clamped levels as codes."""

    def levels_of(self, codes: npt.NDArray[Any], params: Expanded) -> FloatArray:
        """Codes as levels in the working dtype."""

    def effective(self) -> FloatArray:
        """The step in real units of each unit, float64, of scale's shape."""

    def represented(self) -> tuple[FloatArray, FloatArray]:
        """The real values of quant_min and quant_max, float64, of scale's shape."""


def outline(params: Parameters) -> str:
    """One line for a repr: format, what shares a scale, convention, and the span of the scales."""
    size = params.group_size
    of = "" if size is None else f" of {size}" if isinstance(size, int) else f" of {size[0]}x{size[1]}"
    where = "" if params.ch_axis is None else f", ch_axis {params.ch_axis}"
    low, high = (float(end) for end in (params.scale.min(), params.scale.max()))
    span = f"scale {low:.6g}" if low == high else f"scales {low:.6g} to {high:.6g}"
    shape = "" if params.scale.ndim == 0 else f" of shape {params.scale.shape}"
    return f"{params.dtype}, per {params.granularity}{of}{where}, {params.convention}, {span}{shape}"
