"""Formats whose blocks share a scale: MX, NVFP4, NF4 and GGUF's blocks. BlockParams holds the scales of one tensor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .block_format import BlockFormat
from .codec import outline
from .conventions import CONVENTIONS, conventions_with, get_convention
from .errors import QuantValueError
from .given_blocks import checked_beside, checked_bits, checked_global, checked_scale, checked_size, require_finite
from .given_params import frozen
from .grids import Grid, block_shape, canonical_dtype
from .kernels import Decoder, Expanded, FloatArray, Kernel
from .keywords import known_keywords
from .layouts import Units
from .record import Convention
from .schemes import GroupSize


def get_format(dtype: str, convention: str) -> BlockFormat:
    """The format of that name as ``convention`` computes it."""
    dtype, rules = canonical_dtype(dtype), get_convention(convention)
    found = next((each for each in (*rules.block_formats, *rules.stored_formats) if each.dtype == dtype), None)
    if found is None:
        names = ", ".join(map(repr, _holders(dtype)))
        raise QuantValueError(f"{convention} has no blocks of {dtype}; choose convention {names}")
    return found


def element_grid(dtype: str) -> Grid:
    """The levels of a shared-scale format's elements, by the first convention that has it."""
    return get_format(dtype, _holders(dtype)[0]).grid


def _holders(dtype: str) -> tuple[str, ...]:
    """The conventions that have the format, if only to be given."""
    stored = (name for name, rules in CONVENTIONS.items() if any(dtype == each.dtype for each in rules.stored_formats))
    return (*conventions_with(dtype), *stored)


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class BlockParams:
    """The scales of a tensor in a shared-scale format.

    ``scale``, in the dtype that stores it, has shape (C, G) for G blocks of ``group_size`` elements in each channel of
    ``ch_axis``; of a format whose blocks run over the flattened tensor (nf4), shape (blocks,) with ``ch_axis=None``.
    GGUF's formats take either, the latter for tensors of one axis; those that its files hold and no rule of ours
    chooses (q4_k, iq2_xxs) have scales and minima in float32, as they are multiplied out.
    ``minimum``, of scale's shape, is added to every value where the format has one. ``global_scale`` is the one float32
    number of the two-level formats, as the runtime stores it: under compressed-tensors the inverse of the others'.
    ``multiplier`` and ``origin``, of scale's shape, are what values are multiplied by and what is taken off before,
    where codes come from a scale and a minimum that were not yet rounded for storage; without them the stored ones
    serve. ``scale_bits`` is what all scales take together where a file keeps them in less than their dtype, as
    bitsandbytes does when it quantizes them again; it changes the bits per weight alone.
    """

    scale: npt.NDArray[Any]
    dtype: str
    convention: str
    ch_axis: int | None
    group_size: int
    minimum: npt.NDArray[Any] | None
    global_scale: np.float32 | None
    multiplier: FloatArray | None
    origin: FloatArray | None
    scale_bits: int | None

    @known_keywords
    def __init__(
        self,
        scale: npt.ArrayLike,
        *,
        dtype: str,
        convention: str,
        ch_axis: int | None = None,
        group_size: int | None = None,
        minimum: npt.ArrayLike | None = None,
        global_scale: float | None = None,
        multiplier: npt.ArrayLike | None = None,
        origin: npt.ArrayLike | None = None,
        scale_bits: int | None = None,
    ) -> None:
        form = get_format(dtype, convention)
        scales = checked_scale(scale, form, ch_axis)
        overall = checked_global(global_scale, form)
        rows = [row.group_sizes for row in get_convention(convention).supports if form.dtype in row.dtypes]
        sizes = (form.block_size,) if form.only_stored else rows[0] if rows else ()
        with_minimum, unrounded = form.minimum_bits > 0, not form.only_stored
        values: dict[str, Any] = {
            "scale": scales,
            "dtype": form.dtype,
            "convention": convention,
            "scale_bits": checked_bits(scale_bits),
            "ch_axis": None if ch_axis is None else int(ch_axis),
            "group_size": checked_size(group_size, form, sizes),
            "minimum": checked_beside(scales, minimum, "minimum", form.scale_dtype, with_minimum, form.dtype),
            "global_scale": overall,
            "multiplier": checked_beside(
                scales, multiplier, "multiplier", np.float32, unrounded and multiplier is not None, form.dtype
            ),
            "origin": checked_beside(
                scales, origin, "origin", np.float32, unrounded and with_minimum and origin is not None, form.dtype
            ),
        }
        for name, value in values.items():
            object.__setattr__(self, name, frozen(value) if isinstance(value, np.ndarray) else value)
        require_finite(self._step(), "scale", form.dtype)
        if self.minimum is not None:
            require_finite(self.minimum.astype(np.float32), "minimum", form.dtype)

    @property
    def form(self) -> BlockFormat:
        """The format's record."""
        return get_format(self.dtype, self.convention)

    @property
    def rules(self) -> Convention:
        """The runtime's record."""
        return get_convention(self.convention)

    @property
    def zero_point(self) -> None:
        """Formats in blocks have none."""
        return

    @property
    def grid(self) -> Grid:
        """An element's levels."""
        return self.form.grid

    @property
    def quant_min(self) -> int | float:
        """Lowest level of an element."""
        return self.grid.quant_min

    @property
    def quant_max(self) -> int | float:
        """Highest level of an element."""
        return self.grid.quant_max

    @property
    def granularity(self) -> str:
        """Always "group"."""
        return "group"

    @property
    def layout(self) -> tuple[str, GroupSize | None]:
        """("group" or "flat", elements of a block)."""
        return "flat" if self.ch_axis is None else "group", self.group_size

    @property
    def kernel(self) -> Kernel:
        """value -> level."""
        form, as_stored = self.form, self.multiplier is None and self.origin is None
        return form.given_kernel if as_stored and form.given_kernel is not None else form.kernel

    @property
    def decoder(self) -> Decoder:
        """level -> value."""
        return self.form.decoder

    @property
    def keeps_zero(self) -> bool:
        """Whether real zero always becomes real zero."""
        return self.form.keeps_zero

    @property
    def working_dtype(self) -> np.dtype[Any]:
        """float32."""
        return np.dtype(np.float32)

    @property
    def bits_per_weight(self) -> float:
        """Bits of an element's code, scales not counted."""
        return float(block_shape(self.dtype)[0])

    @property
    def overhead_bits(self) -> int:
        """Bits of all scales, minima and the global scale."""
        form = self.form
        if self.scale_bits is not None:
            return self.scale_bits + 32 * (self.global_scale is not None)
        in_full = 8 * self.scale.dtype.itemsize + form.minimum_bits
        per_block = in_full if form.overhead_bits is None else form.overhead_bits
        return self.scale.size * per_block + 32 * (self.global_scale is not None)

    @property
    def code_dtype(self) -> np.dtype[Any]:
        """The numpy dtype of codes."""
        return self.form.code_dtype

    def _step(self) -> FloatArray:
        with np.errstate(all="ignore"):
            return self.form.effective(self.scale, self.global_scale)[0]

    def effective(self) -> FloatArray:
        """The step of a level in real units, without its sign, float64, of scale's shape."""
        return np.abs(self._step().astype(np.float64))

    def represented(self) -> tuple[FloatArray, FloatArray]:
        """The lowest and the highest real value of every block, float64, of scale's shape."""
        step = self._step().astype(np.float64)
        shift = 0.0 if self.minimum is None else self.minimum.astype(np.float64)
        ends = [(end - self.form.zero) * step + shift for end in (self.quant_min, self.quant_max)]
        return np.minimum(*ends), np.maximum(*ends)

    def codes_of(self, levels: FloatArray, params: Expanded) -> npt.NDArray[Any]:
        """Clamped levels as codes."""
        return self.form.codes_of(levels)

    def levels_of(self, codes: npt.NDArray[Any], params: Expanded) -> FloatArray:
        """Codes as levels, float32."""
        return self.form.levels_of(codes)

    def expand(self, units: Units, across: int) -> Expanded:
        """The parameters of ``units``, which vary along axis ``across`` of a piece's view."""
        form = self.form
        with np.errstate(over="ignore", under="ignore", divide="ignore", invalid="ignore"):
            scale, factor = form.effective(units.take(self.scale), self.global_scale)
            inverse = np.float32(1) / scale
        multiplier = factor if self.multiplier is None else units.take(self.multiplier)
        minimum = None if self.minimum is None else units.take(self.minimum).astype(np.float32)
        origin = minimum if self.origin is None else units.take(self.origin)
        one = (1,) * scale.ndim
        zero = np.full(one, form.zero, np.float32)
        low, high = (np.full(one, end - form.zero, np.float32) for end in (self.quant_min, self.quant_max))
        return Expanded(
            scale, inverse, zero, low, high, form.grid, across, multiplier=multiplier, minimum=minimum, origin=origin
        )

    def __repr__(self) -> str:
        overall = "" if self.global_scale is None else f", global_scale {float(self.global_scale):.6g}"
        return f"<BlockParams {outline(self)}{overall}>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, BlockParams):
            return NotImplemented
        plain = ("dtype", "convention", "ch_axis", "group_size", "global_scale", "scale_bits")
        arrays = ("scale", "minimum", "multiplier", "origin")
        return all(getattr(self, name) == getattr(other, name) for name in plain) and all(
            _same(getattr(self, name), getattr(other, name)) for name in arrays
        )

    __hash__ = None  # type: ignore[assignment]  # holds arrays


def _same(one: npt.NDArray[Any] | None, other: npt.NDArray[Any] | None) -> bool:
    """Whether two arrays hold the same bytes; scales may hold NaN's."""
    if one is None or other is None:
        return one is other
    return one.shape == other.shape and one.tobytes() == other.tobytes()
