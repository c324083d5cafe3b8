"""torch checkpoints for tests: as torch writes them, and spelled out instruction by instruction."""

from __future__ import annotations

import struct
import warnings
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any


def contents() -> dict[str, Any]:
    """Everything that a checkpoint may hold and weights_only makes."""
    import torch

    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(4, 8, generator=generator)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # quantized and sparse tensors are about to change
        kinds = {
            "tensor_codes": torch.quantize_per_tensor(weight, 0.1, 3, torch.quint8),
            "channel_codes": torch.quantize_per_channel(
                weight, torch.linspace(0.01, 0.1, 4), torch.zeros(4, dtype=torch.long), 0, torch.qint8
            ),
            "sparse": weight.to_sparse(),
        }
    state = {
        "weight": weight, "tied": weight, "view": weight[1:, ::2], "half": weight.half(), "brain": weight.bfloat16(),
        "parameter": torch.nn.Parameter(weight[0]), "steps": torch.arange(5), "mask": weight > 0,
        "meta": weight.to("meta"), "scalar": torch.tensor(3.0), "empty": torch.zeros(0, 3), **kinds,
    }  # fmt: skip
    return {
        "state_dict": state,
        "optimizer": {"state": {0: {"exp_avg": weight[:2]}}, "param_groups": [{"lr": 0.1, "params": [0, 1]}]},
        "parts": [weight[0], {"inner": OrderedDict(x=weight[1])}],
        "epoch": 3,
        "note": "text",
    }


def seeds(folder: Path) -> list[Path]:
    """Files that torch reads, to be mutated: an archive, one with 8-bit floats, and the old format."""
    import torch

    whole, floats = contents(), {"w": torch.ones(3, 4).to(torch.float8_e4m3fn)}
    made = {"archive.pt": (whole, True), "floats.pt": (floats, True), "old.pth": (whole, False)}
    for name, (obj, archived) in made.items():
        torch.save(obj, folder / name, _use_new_zipfile_serialization=archived)
    return [folder / name for name in made]


# A pickle spelled out. Each function gives the instructions that make one value.


def text(value: str) -> bytes:
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def number(value: int) -> bytes:
    data = value.to_bytes(9, "little", signed=True)
    return b"\x8a" + bytes([len(data)]) + data


def row(*parts: bytes) -> bytes:
    """A tuple."""
    return b"(" + b"".join(parts) + b"t"


def mapping(**values: bytes) -> bytes:
    return b"}(" + b"".join(text(key) + value for key, value in values.items()) + b"u"


def made_by(function: str, *arguments: bytes) -> bytes:
    module, _, name = function.rpartition(".")
    return f"c{module}\n{name}\n".encode() + row(*arguments) + b"R"


def storage(key: str = "0", n: int = 6, kind: str = "torch.FloatStorage") -> bytes:
    module, _, name = kind.rpartition(".")
    return row(text("storage"), f"c{module}\n{name}\n".encode(), text(key), text("cpu"), number(n)) + b"Q"


def tensor(
    size: tuple[int, ...] = (2, 3), stride: tuple[int, ...] = (3, 1), offset: int = 0, data: bytes | None = None
) -> bytes:
    return made_by(
        "torch._utils._rebuild_tensor_v2", storage() if data is None else data, number(offset),
        row(*map(number, size)), row(*map(number, stride)), b"\x89", made_by("collections.OrderedDict"),
    )  # fmt: skip


def archive(path: Path, value: bytes, data: bytes = bytes(24), **options: Any) -> Path:
    """A checkpoint of that pickled value, with one storage of ``data``."""
    with zipfile.ZipFile(path, "w", **options) as file:
        file.writestr("m/data.pkl", b"\x80\x02" + value + b".")
        file.writestr("m/byteorder", "little")
        file.writestr("m/data/0", data)
        file.writestr("m/version", "3\n")
    return path
