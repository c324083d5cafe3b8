"""Formats of small floats in blocks: NVFP4 of compressed-tensors and ModelOpt, MXFP4 of gpt-oss, MXFP8."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import ml_dtypes
import numpy as np

from perchq_widget.sources.checkpoints.bits import unpack_nibbles
from perchq_widget.sources.checkpoints.facts import Facts
from perchq_widget.sources.checkpoints.parts import Part, Parts, UnfitError
from perchq_widget.sources.checkpoints.weight import AT_ONCE, ROWS_FIRST, Array, Rows, Weight
from perchq_widget.sources.stored import Stored

E2M1 = np.dtype(ml_dtypes.float4_e2m1fn)
E8M0 = np.dtype(ml_dtypes.float8_e8m0fnu)
_EXPERTS = "axis 1 counts the outputs of each expert, and the experts come first"


@dataclass(frozen=True, eq=False)
class Blocks:
    """Elements in blocks of ``size`` along the last axis. ``codes`` and ``scale`` give rows of axis 0 of ``shape``.

    ``overall`` gives the global scale, one number or, for experts, one of each.
    """

    shape: tuple[int, ...]
    dtype: str
    convention: str
    size: int
    codes: Rows
    scale: Rows
    overall: Callable[[], Array] | None = None
    ch_axis: int = 0

    def values(self, first: int, last: int) -> Array:
        """Decoded rows of axis 0, float32."""
        from perchq_widget.core.blockscaled import get_format

        form = get_format(self.dtype, self.convention)
        out = np.empty((last - first, *self.shape[1:]), np.float32)
        step = max(1, AT_ONCE // math.prod(self.shape[1:]))
        overall = None if self.overall is None else self.overall()
        for row in range(first, last, step):
            end = min(row + step, last)
            level = self.codes(row, end).astype(np.float32)
            scale = self.scale(row, end)
            here = overall if overall is None or overall.size == 1 else overall[row:end].reshape(-1, 1, 1)
            with np.errstate(all="ignore"):
                # "effective" takes any array that broadcasts for the global scale, and is elementwise
                unit = form.effective(scale, here)[0]  # type: ignore[arg-type]
                level = level.reshape(*unit.shape, self.size) * unit[..., None]
                if self.convention == "modelopt":  # its products have no negative zero
                    level += np.float32(0)
            out[row - first : end - first] = level.reshape(end - row, *self.shape[1:])
        return out

    def stored(self) -> Stored:
        """All codes with their scales. QuantValueError for scales that are not finite."""
        from perchq_widget.core.blockscaled import BlockParams

        n = self.shape[0]
        scale = np.moveaxis(self.scale(0, n), self.ch_axis, 0)
        if (scale < 0).any():
            raise UnfitError("a block's scale is below 0, and a step between codes has a size")
        overall = None if self.overall is None else float(self.overall().reshape(-1)[0])
        params = BlockParams(
            scale.reshape(self.shape[self.ch_axis], -1), dtype=self.dtype, convention=self.convention,
            ch_axis=self.ch_axis, group_size=self.size, global_scale=overall,
        )  # fmt: skip
        return Stored(np.ascontiguousarray(self.codes(0, n)).reshape(self.shape), params)


def nv_words(packed: Part, scale: Part, overall: Part, layout: str, convention: str) -> Weight:
    """FP4 two a byte with a float8_e4m3fn scale for 16, and one float32 over them (or one for each expert)."""
    packed.of("uint8")
    shape = _unpacked(packed, 16)
    scale.of("float8_e4m3fn").shaped((*shape[:-1], shape[-1] // 16))
    experts = len(shape) == 3 and shape[0] != 1
    overall.of("float32")
    if overall.size != 1 and not (experts and overall.size == shape[0]):
        raise UnfitError(f"{overall.name!r} has the shape {overall.shape} and should be one number")
    spec = Blocks(
        shape, "nvfp4", convention, 16, lambda first, last: fp4_values(packed.array()[first:last]),
        lambda first, last: np.array(scale.array()[first:last]), lambda: overall.array().reshape(-1),
        ch_axis=len(shape) - 2,
    )  # fmt: skip
    note = "each expert has its own global scale, which no parameters here describe: only its values are read"
    single = overall.size == 1
    return _weight(spec, layout, (packed, scale, overall), "" if single else note, with_codes=single)


def mx_words(parts: Parts, codes: Part, scale: Part, layout: str) -> Weight:
    """Elements with an exponent byte for 32: FP4 two a byte, or float8_e4m3fn."""
    scale.of("uint8")
    narrow = codes.dtype == "uint8"
    shape = _unpacked(codes, 32) if narrow else codes.shape
    if shape[-1] % 32:
        raise UnfitError(f"{codes.name!r} has the shape {codes.shape}, whose rows are no groups of 32")
    scale.shaped((*shape[:-1], shape[-1] // 32))
    spec = Blocks(
        shape, "mxfp4" if narrow else "mxfp8_e4m3fn", "compressed-tensors", 32,
        lambda first, last: fp4_values(codes.array()[first:last]) if narrow else np.array(codes.array()[first:last]),
        lambda first, last: np.array(scale.array()[first:last]).view(E8M0), ch_axis=len(shape) - 2,
    )  # fmt: skip
    return _weight(spec, layout, (codes, scale))


def fold_modelopt(parts: Parts, facts: Facts) -> Weight:
    """ModelOpt's NVFP4: weight uint8, weight_scale float8_e4m3fn, weight_scale_2 float32."""
    scale, overall = (parts.need(parts.base + end) for end in ("_scale", "_scale_2"))
    return nv_words(parts.need(parts.base), scale, overall, "ModelOpt", "modelopt")


def fold_gpt_oss(parts: Parts, facts: Facts) -> Weight:
    """MXFP4 as gpt-oss has it: bytes (experts, outputs, groups, 16) and scales (experts, outputs, groups)."""
    blocks = parts.need(parts.base + "_blocks").of("uint8")
    scale = parts.need(parts.base + "_scales").of("uint8").shaped(blocks.shape[:-1])
    if len(blocks.shape) not in (3, 4) or blocks.shape[-1] != 16:
        raise UnfitError(f"{blocks.name!r} has the shape {blocks.shape} and should end in groups of 16 bytes")
    shape = (*blocks.shape[:-2], 32 * blocks.shape[-2])

    def codes(first: int, last: int) -> Array:
        return fp4_values(blocks.array()[first:last]).reshape(last - first, *shape[1:])

    spec = Blocks(
        shape, "mxfp4", "ocp", 32, codes, lambda first, last: np.array(scale.array()[first:last]).view(E8M0),
        ch_axis=len(shape) - 2,
    )  # fmt: skip
    return _weight(spec, "gpt-oss", (blocks, scale))


def fp4_values(packed: Array) -> Array:
    """FP4 numbers from bytes of two, the low half first."""
    return unpack_nibbles(np.ascontiguousarray(packed)).view(E2M1)


def _unpacked(packed: Part, size: int) -> tuple[int, ...]:
    if len(packed.shape) not in (2, 3) or packed.shape[-1] * 2 % size:
        raise UnfitError(f"{packed.name!r} has the shape {packed.shape}, whose rows are no groups of {size} codes")
    return (*packed.shape[:-1], 2 * packed.shape[-1])


def _weight(spec: Blocks, layout: str, used: tuple[Part, ...], note: str = "", *, with_codes: bool = True) -> Weight:
    return Weight(
        layout, spec.shape, spec.dtype, f"{spec.dtype}, groups of {spec.size}, {layout}",
        tuple(part.name for part in used), spec.values, spec.stored if with_codes else None, note, spec.ch_axis,
        _EXPERTS if spec.ch_axis else ROWS_FIRST,
    )  # fmt: skip
