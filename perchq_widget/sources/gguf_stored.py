"""Codes and scales of GGUF's block types, as the file has them, without the gguf package but for the IQ tables."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from perchq_widget.core.errors import QuantValueError

from .gguf_blocks import BlockType
from .stored import Stored

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
#: type -> our name of the format; of these :func:`stored_blocks` gives codes and scales.
FORMATS: dict[str, str] = {
    name: {"MXFP4": "gguf_mxfp4", "NVFP4": "gguf_nvfp4"}.get(name, name.lower())
    for name, kind in BLOCK_SIZES.items()
    if kind.n_elements > 1 and name not in ("Q8_1", "Q8_K", "Q1_0")
}


def stored_blocks(raw: npt.NDArray[np.uint8], type_name: str, shape: tuple[int, ...], *, ch_axis: int = 0) -> Stored:
    """Codes and scales of a tensor in one of :data:`FORMATS`.

    ``raw``: uint8, of shape (*rows, bytes of a row) or flat. ``type_name``: ggml's name, such as "Q4_K". ``shape``: the
    tensor's, rows last, as numpy has it. ``ch_axis``: which axis counts channels, any but the last; a tensor of one
    axis has no channels, and its blocks are numbered over it.

    QuantValueError for a type without stored codes, a size that does not fit, and scales that are no finite numbers;
    MissingExtra for IQ1, IQ2 and IQ3 without the package gguf, which has their tables.
    """
    raise QuantValueError(f"{type_name} cannot be unpacked yet")
