"""bitsandbytes' NF4: sixteen values spaced as a bell curve's quantiles, per block of the flattened tensor.

LLM.int8 as well, for parameters that a file gives: the largest magnitude of a row stands for 127.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..block_format import BlockFit, BlockFormat, largest_of
from ..block_kernels import STEPS
from ..codebooks import codebook, nearest
from ..grids import CodebookGrid
from ..kernels import K1, Decoder, Expanded, FloatArray, Kernel
from ..record import SYMMETRIC, Convention, Support
from ..trace import Formula, Note

NF4 = np.array(
    [
        -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635,
        -0.18477343022823334, -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725,
        0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
    ],
    np.float32,
)  # fmt: skip
#: Sums and halves in float32, as the library has them.
BOOK = codebook(NF4, (NF4[:-1] + NF4[1:]) / np.float32(2))
#: An absmax below this is taken for it on the way to codes.
LEAST = np.float32(1e-38)


def nf4_fit(x: FloatArray, scale_rule: str | None, global_scale: np.float32 | None, note: Note) -> BlockFit:
    """The largest magnitude; values are multiplied by its reciprocal."""
    absmax = note("scale", "largest", largest_of(x, note), "the block's absmax")
    inverse = note("multiplier", "1 / max(scale, 1e-38)", np.float32(1) / np.maximum(absmax, LEAST))
    return BlockFit(absmax, multiplier=inverse)


def short_fit(x: FloatArray, scale_rule: str | None, global_scale: np.float32 | None, note: Note) -> BlockFit:
    """A last short block is divided by its absmax, which is at least 1e-38 there as stored, too."""
    absmax = note("scale", "max(largest, 1e-38)", np.maximum(largest_of(x, note), LEAST), "a short block's absmax")
    return BlockFit(absmax, multiplier=np.full_like(absmax, np.nan))


def _effective(scale: FloatArray, global_scale: np.float32 | None) -> tuple[FloatArray, FloatArray]:
    return scale, np.float32(1) / np.maximum(scale, LEAST)


def _scaled(x: FloatArray, multiplier: FloatArray, scale: FloatArray, out: FloatArray) -> None:
    np.multiply(x, multiplier, out=out)
    short = np.isnan(multiplier)  # the mark of a short block
    if short.any():
        np.divide(x, scale, out=out, where=np.broadcast_to(short, x.shape))


def _quotient(known: Mapping[str, Any]) -> Any:
    return known["x"] / known["scale"] if np.isnan(known["multiplier"]) else known["x"] * known["multiplier"]


KERNEL = nearest(
    BOOK,
    _scaled,
    Formula("quotient", "x * multiplier", _quotient, "a short last block would be divided by its scale"),
)


#: LLM.int8 multiplies by this, and not by 1 / 127.
SHARE = np.float32(7.874015718698502e-3)


def _by_largest(x: FloatArray, p: Expanded, out: FloatArray) -> None:
    assert p.multiplier is not None
    np.multiply(x, np.float32(127) / p.multiplier, out=out)
    np.rint(out, out=out)


def _of_largest(levels: FloatArray, p: Expanded, out: FloatArray) -> None:
    assert p.multiplier is not None
    np.multiply(levels, p.multiplier, out=out)
    np.multiply(out, SHARE, out=out)


ROWS = Kernel(
    "LLM.int8",
    _by_largest,
    (
        Formula("inverse", "127 / multiplier", lambda k: np.float32(127) / k["multiplier"], "multiplier: SCB"),
        Formula("quotient", "x * inverse", lambda k: k["x"] * k["inverse"]),
        Formula("level", "round(quotient)", lambda k: np.rint(k["quotient"]), "half to even"),
    ),
    "half to even",
)
FROM_ROWS = Decoder("LLM.int8", _of_largest, Formula(
    "dequantized", "code * multiplier * 0.0078740157", lambda k: k["clamped"] * k["multiplier"] * SHARE))  # fmt: skip

BITSANDBYTES = Convention(
    name="bitsandbytes",
    title="bitsandbytes NF4 and LLM.int8",
    used_by="QLoRA and load_in_4bit in Hugging Face transformers",
    supports=(
        Support(("nf4",), SYMMETRIC, ("group",), group_sizes=(64, 32, 128, 256, 512, 1024, 2048, 4096)),
    ),
    block_formats=(
        BlockFormat(
            dtype="nf4", grid=CodebookGrid("nf4", 4, tuple(NF4.tolist()), np.dtype(np.uint8)),
            code_dtype=np.dtype(np.uint8), scale_dtype=np.dtype(np.float32), fit=nf4_fit, short_fit=short_fit,
            effective=_effective, kernel=KERNEL, decoder=STEPS, codes_of=BOOK.index_of,
            levels_of=lambda codes: np.take(NF4, codes, mode="clip"), flat=True,
        ),
    ),
    # LLM.int8, whose weights checkpoints hold: its parameters are given, with SCB as the multiplier, and not chosen
    kernel=K1,
    multiplier_kernel=ROWS,
    multiplier_decoder=FROM_ROWS,
    short_group=True,
    checked="bitsandbytes 0.50.2, CPU, x86-64",
    source="bitsandbytes.functional.quantize_4bit and dequantize_4bit with quant_type='nf4', without double "
    "quantization of the scales",
)  # fmt: skip
