"""Tensors of GGUF files: blocks of every type that the gguf package can dequantize, as float32."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from perchq_widget.core.errors import MissingExtra, QuantTypeError, QuantValueError, choose_from


@dataclass(frozen=True, slots=True)
class BlockType:
    """One of ggml's tensor types: elements and bytes of a block."""

    name: str
    n_elements: int
    n_bytes: int

    @property
    def bits_per_weight(self) -> float:
        """All bits of a block, scales and minima counted, per element."""
        return 8 * self.n_bytes / self.n_elements


def gguf_types() -> dict[str, BlockType]:
    """Every type that the installed gguf package can dequantize, by name. MissingExtra without the package."""
    return dict(_types_of(_gguf()))


@cache
def _types_of(gguf: Any) -> dict[str, BlockType]:
    """Found once for the module, since a tensor is decoded in many pieces."""
    sizes = {kind: BlockType(kind.name, *size) for kind, size in gguf.constants.GGML_QUANT_SIZES.items()}
    return {each.name: each for kind, each in sizes.items() if _can_dequantize(gguf, kind, each.n_bytes)}


def dequantize_gguf(raw: Any, type_name: str, shape: tuple[int, ...] | None = None) -> npt.NDArray[np.float32]:
    """The values of a GGUF tensor's bytes, float32.

    ``raw``: bytes, or a uint8 array whose last axis counts a row's bytes. ``type_name``: ggml's name, such as "Q4_K" or
    "IQ2_XXS". ``shape``: the tensor's, rows last, as numpy has it (GGUF files list it the other way round); without it
    leading axes are kept and the last becomes elements. Needs the package gguf (``MissingExtra`` otherwise). A size
    that does not fit the type or the shape raises QuantValueError before anything is decoded.
    """
    data = as_bytes(raw)
    known = gguf_types()
    if not isinstance(type_name, str):
        raise QuantTypeError(f"type_name must be a text such as 'Q4_K', got {type_name!r:.60}")
    kind = known[choose_from("type_name", type_name.upper(), known)]
    if shape is None:
        _check_rows(data, kind)
        rows = data
    else:
        sizes = checked_shape(data, kind, shape)
        rows = data.reshape(*sizes[:-1], sizes[-1] // kind.n_elements * kind.n_bytes)
    gguf = _gguf()
    with np.errstate(all="ignore"):  # scales of damaged blocks may be infinite or no number
        values = gguf.quants.dequantize(np.ascontiguousarray(rows), gguf.GGMLQuantizationType[kind.name])
    return values.copy() if np.may_share_memory(values, data) else np.asarray(values)


def _gguf() -> Any:
    try:
        import gguf
        import gguf.quants
    except ImportError as error:
        raise MissingExtra("gguf", "gguf") from error
    return gguf


def _can_dequantize(gguf: Any, kind: Any, n_bytes: int) -> bool:
    """Whether one block of zeros can be decoded; the package keeps no public list."""
    try:
        with np.errstate(all="ignore"):
            gguf.quants.dequantize(np.zeros((1, n_bytes), np.uint8), kind)
    except NotImplementedError:
        return False
    return True


def as_bytes(raw: Any) -> npt.NDArray[np.uint8]:
    """``raw`` as a uint8 array; QuantTypeError for anything but bytes."""
    if isinstance(raw, (bytes, bytearray, memoryview)):
        return np.frombuffer(raw, np.uint8)
    data = np.asarray(raw)
    if data.dtype != np.uint8 or data.ndim == 0:
        raise QuantTypeError(
            f"raw must be bytes or a uint8 array whose last axis counts bytes, got {data.dtype} of shape {data.shape}; "
            "an array of another type is read by .view(numpy.uint8)"
        )
    return data


def _check_rows(data: npt.NDArray[np.uint8], kind: BlockType) -> None:
    if data.size == 0 or data.shape[-1] % kind.n_bytes:
        raise QuantValueError(
            f"rows of {kind.name} must be a multiple of {kind.n_bytes} bytes ({kind.n_elements} elements a block), "
            f"got raw of shape {data.shape}"
        )


def checked_shape(data: npt.NDArray[np.uint8], kind: BlockType, shape: object) -> tuple[int, ...]:
    """``shape`` as integers, if the bytes are exactly as many as it needs."""
    try:
        sizes = tuple(int(n) for n in shape)  # type: ignore[attr-defined]
        whole = sizes == tuple(shape) and min(sizes) >= 1  # type: ignore[arg-type]
    except (TypeError, ValueError):
        whole = False
    if not whole:
        raise QuantTypeError(f"shape must be the tensor's, of integers from 1, got {shape!r:.80}")
    if sizes[-1] % kind.n_elements:
        raise QuantValueError(
            f"rows of {kind.name} must be a multiple of {kind.n_elements} elements, got shape {sizes}; GGUF files list "
            "the axes the other way round"
        )
    elements = 1
    for n in sizes:  # of Python's integers, which do not overflow
        elements *= n
    needed = elements // kind.n_elements * kind.n_bytes
    if data.size != needed:
        raise QuantValueError(f"a tensor of shape {sizes} in {kind.name} has {needed} bytes, got {data.size}")
    return sizes
