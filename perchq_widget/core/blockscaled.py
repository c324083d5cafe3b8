"""Formats whose blocks share a scale: MX, NVFP4, NF4 and GGUF's blocks. BlockParams holds the scales of one tensor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .block_format import BlockFormat
from .checks import as_numbers
from .conventions import conventions_with, get_convention, require_allowed
from .errors import QuantTypeError, QuantValueError
from .grids import BLOCK_DTYPES, FloatGrid, IntGrid, canonical_dtype
from .kernels import Decoder, Expanded, FloatArray, Kernel
from .keywords import known_keywords
from .layouts import Units, groups_of, pieces, unit_shape
from .given_params import frozen
from .record import Convention
from .reduce import small_buffers
from .schemes import GroupSize, QuantScheme
from .trace import silent


def get_format(dtype: str, convention: str) -> BlockFormat:
    """The format of that name as ``convention`` computes it."""
    dtype = canonical_dtype(dtype)
    found = next((each for each in get_convention(convention).block_formats if each.dtype == dtype), None)
    if found is None:
        names = ", ".join(map(repr, conventions_with(dtype)))
        raise QuantValueError(f"{convention} has no blocks of {dtype}; choose convention {names}")
    return found


def element_grid(dtype: str) -> IntGrid | FloatGrid:
    """The levels of a shared-scale format's elements, the same in every convention."""
    return get_format(dtype, conventions_with(dtype)[0]).grid


@dataclass(frozen=True, eq=False, kw_only=True)
class BlockParams:
    """The scales of a tensor in a shared-scale format.

    ``scale``, in the dtype that stores it, has shape (C, G) for G blocks of ``group_size`` elements in each channel of
    ``ch_axis``; of a format whose blocks run over the flattened tensor (nf4), shape (blocks,) with ``ch_axis=None``.
    ``minimum``, of scale's shape, is added to every value where the format has one. ``global_scale`` is the one float32
    number of the two-level formats. ``multiplier``, of scale's shape, is what values are multiplied by where codes come
    from a scale before it was rounded for storage; without it the stored scale serves.
    """

    scale: npt.NDArray[Any]
    dtype: str
    convention: str
    ch_axis: int | None
    group_size: int
    minimum: npt.NDArray[Any] | None
    global_scale: np.float32 | None
    multiplier: FloatArray | None

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
    ) -> None:
        form = get_format(dtype, convention)
        scales = as_numbers(scale, "scale").astype(form.scale_dtype)
        self._check_parts(form, scales, ch_axis, minimum, global_scale)
        values: dict[str, Any] = {
            "scale": frozen(scales),
            "dtype": form.dtype,
            "convention": convention,
            "ch_axis": ch_axis,
            "group_size": form.block_size if group_size is None else int(group_size),
            "minimum": None if minimum is None else self._like(scales, minimum, "minimum", form.scale_dtype),
            "global_scale": None if global_scale is None else np.float32(global_scale),
            "multiplier": None if multiplier is None else self._like(scales, multiplier, "multiplier", np.float32),
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)

    @staticmethod
    def _like(scale: npt.NDArray[Any], values: npt.ArrayLike, argument: str, dtype: Any) -> npt.NDArray[Any]:
        array = as_numbers(values, argument).astype(dtype)
        if array.shape != scale.shape:
            raise QuantValueError(f"{argument} must have scale's shape {scale.shape}, got {array.shape}")
        return frozen(array)

    @staticmethod
    def _check_parts(
        form: BlockFormat, scale: npt.NDArray[Any], ch_axis: int | None, minimum: object, global_scale: object
    ) -> None:
        if scale.ndim != (1 if form.flat else 2) or scale.size == 0 or (ch_axis is None) != form.flat:
            wants = "(blocks,) without ch_axis" if form.flat else "(C, G) with ch_axis"
            raise QuantValueError(f"scale of {form.dtype} must have shape {wants}, got {scale.shape}, ch_axis={ch_axis!r}")
        if (minimum is not None) != bool(form.minimum_bits):
            needs = "needs its minima" if form.minimum_bits else "has no minimum: leave it out"
            raise QuantTypeError(f"minimum: {form.dtype} {needs}")
        if (global_scale is not None) != (form.global_scale is not None):
            needs = "needs its global_scale" if form.global_scale else "has no global_scale: leave it out"
            raise QuantTypeError(f"global_scale: {form.dtype} {needs}")
        bad = ~np.isfinite(scale.astype(np.float32))
        if bad.any():
            raise QuantValueError(
                f"scale must be finite, got {float(scale.astype(np.float32)[bad][0])!r} in block "
                f"{np.argwhere(bad)[0].tolist()}; the block's values are beyond what {form.dtype} can scale"
            )

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
    def grid(self) -> IntGrid | FloatGrid:
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
        return "flat" if self.form.flat else "group", self.group_size

    @property
    def kernel(self) -> Kernel:
        """value -> level."""
        return self.form.kernel

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
        return float(BLOCK_DTYPES[self.dtype][0])

    @property
    def overhead_bits(self) -> int:
        """Bits of all scales, minima and the global scale."""
        per_block = 8 * self.scale.dtype.itemsize + self.form.minimum_bits
        return self.scale.size * per_block + 32 * (self.global_scale is not None)

    @property
    def code_dtype(self) -> np.dtype[Any]:
        """The numpy dtype of codes."""
        return self.form.code_dtype

    def effective(self) -> FloatArray:
        """The step of a level in real units, float64, of scale's shape."""
        return self.form.effective(self.scale, self.global_scale)[0].astype(np.float64)

    def represented(self) -> tuple[FloatArray, FloatArray]:
        """The real values of quant_min and quant_max, float64, of scale's shape."""
        step = self.effective()
        shift = 0.0 if self.minimum is None else self.minimum.astype(np.float64)
        return self.quant_min * step + shift, self.quant_max * step + shift

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
            scale, multiplier = form.effective(units.take(self.scale), self.global_scale)
            inverse = np.float32(1) / scale
        if self.multiplier is not None:
            multiplier = units.take(self.multiplier)
        minimum = None if self.minimum is None else units.take(self.minimum).astype(np.float32)
        one = (1,) * scale.ndim
        low, high = (np.full(one, end, np.float32) for end in (self.quant_min, self.quant_max))
        return Expanded(
            scale, inverse, np.zeros(one, np.float32), low, high, form.grid, across, multiplier, minimum, None
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, BlockParams):
            return NotImplemented
        plain = ("dtype", "convention", "ch_axis", "group_size", "global_scale")
        arrays = ("scale", "minimum", "multiplier")
        return all(getattr(self, name) == getattr(other, name) for name in plain) and all(
            np.array_equal(getattr(self, name), getattr(other, name))
            for name in arrays
            if getattr(self, name) is not None or getattr(other, name) is not None
        )

    __hash__ = None  # type: ignore[assignment]  # holds arrays


@small_buffers()
def fit_blocks(array: npt.NDArray[Any], ch_axis: int, scheme: QuantScheme) -> BlockParams:
    """The scales of ``array`` in the format of ``scheme``. NaN and infinities are left out, as zeros."""
    require_allowed(scheme)
    form = get_format(scheme.dtype, scheme.convention)
    size = scheme.group_size
    assert isinstance(size, int)
    layout = "flat" if form.flat else "group"
    whole = array.reshape(1, -1) if form.flat else array  # a flat block may straddle channels
    axis = 0 if form.flat else ch_axis
    shape = unit_shape(whole.shape, axis, "group", size)
    overall = None if form.global_scale is None else form.global_scale(_largest(whole, axis, size), silent)
    parts: dict[str, npt.NDArray[Any]] = {}
    for piece in pieces(whole, axis, "group", size, np.dtype(np.float32)):
        x = piece.x if piece.axis == 1 else piece.x.T
        x = np.where(np.isfinite(x), x, np.float32(0)) if not np.isfinite(x).all() else x
        with np.errstate(over="ignore", under="ignore", divide="ignore", invalid="ignore"):
            found = form.fit(x, scheme.scale_rule, overall, silent)
        for name in ("scale", "multiplier", "minimum"):
            values = getattr(found, name)
            if values is not None:
                whole_array = parts.setdefault(name, np.empty(shape, values.dtype))
                part = whole_array[piece.units.index]
                whole_array[piece.units.index] = values.reshape(part.shape)
    final = (groups_of(array.size, size),) if form.flat else shape
    return BlockParams(
        parts["scale"].reshape(final),
        dtype=scheme.dtype,
        convention=scheme.convention,
        ch_axis=None if layout == "flat" else ch_axis,
        group_size=size,
        minimum=parts["minimum"].reshape(final) if "minimum" in parts else None,
        global_scale=None if overall is None else float(overall),
        multiplier=parts["multiplier"].reshape(final) if "multiplier" in parts else None,
    )


def _largest(array: npt.NDArray[Any], axis: int, size: int) -> np.float32:
    """The largest finite magnitude."""
    top = np.float32(0)
    for piece in pieces(array, axis, "group", size, np.dtype(np.float32)):
        found = max(piece.x.max(), -piece.x.min())
        if not np.isfinite(found):
            found = np.abs(np.where(np.isfinite(piece.x), piece.x, 0)).max()
        top = max(top, np.float32(found))
    return top
