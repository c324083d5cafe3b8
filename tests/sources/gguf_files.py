"""GGUF files put together by hand, without the gguf package, so that they may lie."""

from __future__ import annotations

import struct

import numpy as np

from perchq_widget.sources.gguf.file import TYPES
from perchq_widget.sources.gguf.stored import BLOCK_SIZES

IDS = {name: number for number, name in TYPES.items()}
STRING, ARRAY = 8, 9


def text(value: str | bytes) -> bytes:
    raw = value if isinstance(value, bytes) else value.encode()
    return struct.pack("<Q", len(raw)) + raw


def pair(key: str, kind: int, value: bytes) -> bytes:
    return text(key) + struct.pack("<I", kind) + value


def info(name: str | bytes, dims: tuple[int, ...], kind: int, offset: int) -> bytes:
    return text(name) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, kind, offset)


def build(
    infos: list[bytes], pairs: list[bytes] | None = None, data: bytes = bytes(256), *, version: int = 3,
    n_tensors: int | None = None, n_pairs: int | None = None, alignment: int = 32,
) -> bytes:  # fmt: skip
    pairs = pairs or []
    counts = (len(infos) if n_tensors is None else n_tensors, len(pairs) if n_pairs is None else n_pairs)
    head = b"GGUF" + struct.pack("<IQQ", version, *counts) + b"".join(pairs) + b"".join(infos)
    return head + bytes(-len(head) % alignment) + data


def every_type() -> bytes:
    """A small file with metadata of several kinds, a tensor (3, two blocks) of every type, and experts: 15 kB."""
    strings = struct.pack("<IQ", STRING, 4) + b"".join(map(text, ("a", "bb", "", "ccc")))
    nested = struct.pack("<IQ", ARRAY, 2) + 2 * struct.pack("<IQHH", 2, 2, 1, 2)
    pairs = [
        pair("general.architecture", STRING, text("llama")),
        pair("general.alignment", 4, struct.pack("<I", 32)),
        pair("general.file_type", 4, struct.pack("<I", 15)),
        pair("split.count", 2, struct.pack("<H", 1)),
        pair("tokenizer.ggml.tokens", ARRAY, strings),
        pair("nested", ARRAY, nested),
    ]
    infos, data, rng = [], b"", np.random.default_rng(0)
    for name, kind in BLOCK_SIZES.items():
        infos.append(info(f"blk.0.{name}.weight", (2 * kind.n_elements, 3), IDS[name], len(data)))
        data += rng.integers(0, 60, 6 * kind.n_bytes, dtype=np.uint8).tobytes()
        data += bytes(-len(data) % 32)
    infos.append(info("blk.0.ffn_up_exps.weight", (32, 2, 2), IDS["Q4_0"], len(data)))
    return build(infos, pairs, data + bytes(4 * BLOCK_SIZES["Q4_0"].n_bytes))
