"""Random blocks of GGUF's types whose scales are finite numbers, for the tests of what is unpacked from them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from perchq_widget.sources.gguf.stored import BLOCK_SIZES

#: Where the float16 numbers of a block begin; IQ1_M has its one in four parts, MXFP4 and NVFP4 have bytes.
_HALVES = {
    "Q4_1": (0, 2), "Q5_1": (0, 2), "Q2_K": (80, 82), "Q3_K": (108,), "Q4_K": (0, 2), "Q5_K": (0, 2), "Q6_K": (208,),
    "TQ1_0": (52,), "TQ2_0": (64,), "IQ1_M": (), "MXFP4": (), "NVFP4": (),
}  # fmt: skip
KINDS = ("usual", "any", "zero")

Bytes = npt.NDArray[np.uint8]


def half_places(type_name: str) -> tuple[int, ...]:
    """The offsets of a block's float16 numbers."""
    return _HALVES.get(type_name, (0,))


def random_blocks(type_name: str, n: int, kind: str = "usual", seed: int = 0) -> Bytes:
    """``n`` blocks of random bytes. The float16 numbers are small and of both signs, any finite bits, or zeros."""
    rng = np.random.default_rng(seed)
    raw = rng.integers(0, 256, (n, BLOCK_SIZES[type_name].n_bytes), dtype=np.uint8)
    for at in half_places(type_name):
        raw[:, at : at + 2] = _halves(rng, n, kind)[:, None].view(np.uint8)
    if type_name == "IQ1_M":
        set_spread_half(raw, _halves(rng, n, kind))
    return raw


def set_spread_half(raw: Bytes, halves: Any) -> None:
    """IQ1_M's scale: a quarter of its bits at the top of each of four numbers of 16 bits."""
    words = raw[:, 48:56].copy().view("<u2") & 0xFFF
    quarters = halves.view("<u2")[:, None] >> np.array([0, 4, 8, 12], np.uint16) & 15
    raw[:, 48:56] = (words | quarters << 12).astype("<u2").view(np.uint8)


def _halves(rng: np.random.Generator, n: int, kind: str) -> Any:
    if kind == "zero":
        return np.zeros(n, "<f2")
    if kind == "usual":
        return rng.normal(0, 0.01, n).astype("<f2")
    drawn = rng.integers(0, 1 << 16, n, dtype=np.uint16).astype("<u2").view("<f2")
    return np.where(np.isfinite(drawn), drawn, np.float16(0.5)).astype("<f2")
