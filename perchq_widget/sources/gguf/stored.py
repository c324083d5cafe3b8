"""Codes and scales of GGUF's block types, as the file has them, without the gguf package but for the IQ tables."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from perchq_widget.core.blockscaled import BlockParams, get_format
from perchq_widget.core.checks import normal_axis
from perchq_widget.core.errors import QuantTypeError, QuantValueError, choose_from

from ..stored import Stored
from .blocks import BlockType, as_bytes, checked_shape
from .layouts import UNPACK

Array = npt.NDArray[Any]
Bytes = npt.NDArray[np.uint8]

#: Every tensor type of ggml, by name: elements and bytes of a block. Plain numbers are blocks of one.
BLOCK_SIZES: dict[str, BlockType] = {
    name: BlockType(name, n_elements, n_bytes)
    for name, n_elements, n_bytes in (
        ("F32", 1, 4), ("F16", 1, 2), ("BF16", 1, 2), ("F64", 1, 8),
        ("I8", 1, 1), ("I16", 1, 2), ("I32", 1, 4), ("I64", 1, 8),
        ("Q4_0", 32, 18), ("Q4_1", 32, 20), ("Q5_0", 32, 22), ("Q5_1", 32, 24), ("Q8_0", 32, 34), ("Q8_1", 32, 40),
        ("Q2_K", 256, 84), ("Q3_K", 256, 110), ("Q4_K", 256, 144), ("Q5_K", 256, 176), ("Q6_K", 256, 210),
        ("Q8_K", 256, 292), ("Q1_0", 128, 18), ("TQ1_0", 256, 54), ("TQ2_0", 256, 66),
        ("MXFP4", 32, 17), ("NVFP4", 64, 36), ("IQ4_NL", 32, 18), ("IQ4_XS", 256, 136),
        ("IQ1_S", 256, 50), ("IQ1_M", 256, 56), ("IQ2_XXS", 256, 66), ("IQ2_XS", 256, 74), ("IQ2_S", 256, 82),
        ("IQ3_XXS", 256, 98), ("IQ3_S", 256, 110),
    )
}  # fmt: skip
#: Elements that are unpacked at a time, so that what that takes stays small beside the codes.
TOGETHER = 1 << 20
#: type -> our name of the format; of these :func:`stored_blocks` gives codes and scales.
FORMATS: dict[str, str] = {
    name: {"MXFP4": "gguf_mxfp4", "NVFP4": "gguf_nvfp4"}.get(name, name.lower())
    for name, kind in BLOCK_SIZES.items()
    if kind.n_elements > 1 and name not in ("Q8_1", "Q8_K", "Q1_0")
}


def stored_blocks(raw: Bytes | bytes, type_name: str, shape: tuple[int, ...], *, ch_axis: int = 0) -> Stored:
    """Codes and scales of a tensor in one of :data:`FORMATS`.

    ``raw``: bytes, or uint8 of shape (*rows, bytes of a row) or flat. ``type_name``: ggml's name, such as "Q4_K".
    ``shape``: the tensor's, rows last, as numpy has it. ``ch_axis``: which axis counts channels, any but the last; a
    tensor of one axis has no channels, and its blocks are numbered over it.

    QuantValueError for a type without stored codes, a size that does not fit, and scales that are no finite numbers;
    MissingExtra for IQ1, IQ2 and IQ3 without the package gguf, which has their tables.
    """
    if not isinstance(type_name, str):
        raise QuantTypeError(f"type_name must be a text such as 'Q4_K', got {type_name!r:.60}")
    kind = BLOCK_SIZES[choose_from("type_name", type_name.upper(), FORMATS)]
    data = as_bytes(raw)
    sizes = checked_shape(data, kind, shape)
    axis = None if len(sizes) == 1 else _channel_axis(ch_axis, len(sizes))
    codes, scale, minimum = _unpacked(data.reshape(-1, kind.n_bytes), kind)
    for what, values in (("scale", scale), ("minimum", minimum)):
        _require_finite(what, values, kind, sizes)
    form = get_format(FORMATS[kind.name], "gguf")
    scale = scale.view(form.scale_dtype) if scale.dtype == np.uint8 else scale
    qparams = BlockParams(
        _by_channel(scale, sizes, axis), minimum=None if minimum is None else _by_channel(minimum, sizes, axis),
        dtype=form.dtype, convention="gguf", ch_axis=axis,
    )  # fmt: skip
    return Stored(codes.view(form.code_dtype).reshape(sizes), qparams)


def _unpacked(blocks: Bytes, kind: BlockType) -> tuple[Array, Array, Array | None]:
    """Codes, scales and minima of all blocks, one after the other; some thousand blocks at a time."""
    unpack, step = UNPACK[kind.name], max(1, TOGETHER // kind.n_elements)
    codes = np.empty((len(blocks), kind.n_elements), np.uint8)
    scales, minima = [], []
    for start in range(0, len(blocks), step):
        with np.errstate(invalid="ignore", over="ignore"):  # scales of damaged blocks may be no finite numbers
            parts = unpack(blocks[start : start + step])
        codes[start : start + step] = parts.codes.view(np.uint8)
        scales.append(parts.scale)
        minima += [] if parts.minimum is None else [parts.minimum]
    return codes, np.concatenate(scales), np.concatenate(minima) if minima else None


def _channel_axis(ch_axis: int, ndim: int) -> int:
    axis = normal_axis(ch_axis, ndim)
    if axis == ndim - 1:
        raise QuantValueError(f"ch_axis must not be the last, along which GGUF's blocks lie, got {ch_axis}")
    return axis


def _by_channel(values: Array, sizes: tuple[int, ...], axis: int | None) -> Array:
    """Numbers of the blocks in the order of the file, as (channels, blocks), or flat without an axis."""
    if axis is None:
        return values.reshape(-1)
    rows = np.moveaxis(values.reshape(*sizes[:-1], -1), axis, 0)
    return rows.reshape(sizes[axis], -1)


def _require_finite(what: str, values: Array | None, kind: BlockType, sizes: tuple[int, ...]) -> None:
    """Raise unless all are; bytes are powers of two, which are finite."""
    if values is None or values.dtype.kind != "f" or np.isfinite(values).all():
        return
    at = int(np.flatnonzero(~np.isfinite(values.ravel()))[0])
    first = at // values.shape[1] * kind.n_elements
    place = tuple(int(each) for each in np.unravel_index(first, sizes))
    raise QuantValueError(
        f"the {kind.name} block that starts at element {place} has the {what} {float(values.ravel()[at])!r}, which is "
        "no finite number: its bytes are damaged, or hold another type"
    )
