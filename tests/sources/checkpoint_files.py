"""Writers of safetensors files and indexes for tests: by hand, so that they can also be written wrong."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

CODES = {
    "float32": "F32", "float16": "F16", "bfloat16": "BF16", "int64": "I64", "int32": "I32", "int8": "I8", "uint8": "U8",
    "float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2",
}  # fmt: skip


def write_safetensors(path: Path, tensors: Mapping[str, np.ndarray[Any, Any]]) -> Path:
    """``tensors`` one behind the other."""
    header: dict[str, Any] = {}
    at = 0
    for name, array in tensors.items():
        span = [at, at + array.nbytes]
        header[name] = {"dtype": CODES[array.dtype.name], "shape": list(array.shape), "data_offsets": span}
        at = span[1]
    raw = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(raw)) + raw)
        for array in tensors.values():
            file.write(array.tobytes())
    return path


def write_index(path: Path, weight_map: object, **others: object) -> Path:
    """An index with this weight_map."""
    path.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": weight_map, **others}))
    return path
