"""The files that a checkpoint was cut into: opened one by one, so that a bad one spoils only the tensors in it.

A shard may be a link that leads out of the folder, as in Hugging Face's download cache (snapshots/x/model.safetensors
-> ../../blobs/hash). That is safe where an outside path in an ONNX file is not: the folder is the user's own choice,
a name with a path in it is refused, and what the link leads to is only ever parsed as weights, by a reader that runs
nothing and shows nothing but tensors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from perchq_widget.core.errors import QuantTypeError, QuantValueError
from perchq_widget.sources.axes import ONE_AXIS
from perchq_widget.sources.base import TensorRecord
from perchq_widget.sources.decimals import clip_text
from perchq_widget.sources.safetensors import safetensors_records

SUFFIXES = (".safetensors", ".bin")
"""Kinds of shards: the second are torch checkpoints."""


@dataclass(frozen=True)
class Shard:
    """One opened file of a checkpoint: its plain tensors, or why there are none."""

    file: str
    records: Mapping[str, TensorRecord] = field(default_factory=dict)
    problem: str = ""


def open_shard(folder: Path, file: str, source: str, config: Mapping[str, Any] | None) -> Shard:
    """The tensors of ``folder / file`` as records of ``source``. Never raises but for a missing extra."""
    shown = repr(clip_text(file, 80))
    if not is_plain_name(file):
        return Shard(file, problem=f"its shard {shown} is no plain name of a file in the folder, so it is not opened")
    if not file.endswith(SUFFIXES):
        return Shard(file, problem=f"its shard {shown} is none of the kinds that are read ({', '.join(SUFFIXES)})")
    path = folder / file
    try:
        if not path.is_file():
            return Shard(file, problem=f"its shard {shown} is missing from the folder")
        return Shard(file, {record.name: record for record in file_records(path, source, config)})
    except (QuantValueError, QuantTypeError, OSError, ValueError) as error:
        return Shard(file, problem=f"its shard {shown} cannot be read: {error}")


def is_plain_name(file: str) -> bool:
    """Whether ``file`` is the name of something in a folder, on any system: no path, no drive, no ``..``."""
    if file in ("", ".", "..") or len(file) > 255 or not file.isprintable():
        return False
    return PurePosixPath(file).name == file and PureWindowsPath(file).name == file and ":" not in file


def file_records(path: Path, source: str, config: Mapping[str, Any] | None) -> list[TensorRecord]:
    """The plain tensors of a .safetensors file or torch checkpoint, as records of ``source``."""
    if path.name.endswith(".safetensors"):
        return safetensors_records(path, source, config)
    from perchq_widget.sources.torch.file import torch_records

    return torch_records(path, source, config)


def unreadable(name: str, problem: str, source: str) -> TensorRecord:
    """A record that stands for what could not be opened, so that a list shows what is missing."""
    return TensorRecord(name, (), "unknown", 0, 0, ONE_AXIS, problem, source)


def joined(shards: list[Shard], source: str) -> list[TensorRecord]:
    """All tensors of shards that no index describes. A bad shard is listed under its file's name.

    A name that two of them hold is listed as not applicable. QuantValueError if no shard could be read.
    """
    require_one(shards, source)
    found: dict[str, TensorRecord] = {}
    holder: dict[str, str] = {}
    for shard in shards:
        if shard.problem:
            found[shard.file] = unreadable(shard.file, shard.problem, source)
        for name, record in shard.records.items():
            if name in holder:
                both = f"malformed: {holder[name]!r} and {shard.file!r} both hold a tensor of this name"
                record = unreadable(name, both, source)
            found[name] = record
            holder[name] = shard.file
    return list(found.values())


def require_one(shards: list[Shard], source: str) -> None:
    """QuantValueError, with the first reason, if none of ``shards`` could be read."""
    if shards and all(shard.problem for shard in shards):
        count = "its only shard" if len(shards) == 1 else f"any of its {len(shards)} shards"
        raise QuantValueError(f"{source}: cannot read {count}: {shards[0].problem}")
