"""A folder that holds a model: its checkpoint, whole or in shards, and the configuration beside it.

Within a folder the first of these that is there is taken: an index of .safetensors shards, a .safetensors file with
the name that Hugging Face's libraries give it, the only one, a set of shards, all of them together; then the same of
pytorch_model.bin; then the only file of another kind. The kind of the source says what was taken.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from perchq_widget.core.errors import QuantValueError
from perchq_widget.sources.base import TensorRecord, TensorSource
from perchq_widget.sources.decimals import clip_text
from perchq_widget.sources.model_config import config_of, read_json
from perchq_widget.sources.sharded import index_records
from perchq_widget.sources.shards import Shard, file_records, is_plain_name, joined, open_shard, unreadable

_STEMS = ("model", "diffusion_pytorch_model", "adapter_model")
_TORCH_STEMS = ("pytorch_model", "diffusion_pytorch_model", "adapter_model")
_SHARD = re.compile(r"(?P<stem>.+)[-_](?P<number>\d{1,6})-of-(?P<count>\d{1,6})(?P<suffix>\.safetensors|\.bin)")
_MAX_PARTS = 1000  # shards of a set, components of a pipeline
_SHOWN = 12

Config = Mapping[str, Any] | None


@dataclass(frozen=True)
class _Taken:
    """What was taken from a folder: its plain tensors, and which file or files they are from."""

    records: list[TensorRecord]
    what: str


def open_folder(path: Path) -> TensorSource:
    """The tensors of the model in a folder: a checkpoint with its shards, a pipeline's parts, or the only model file.

    The parts of a diffusers pipeline or of a sentence-transformers model are named "unet/...", after their folders.
    QuantValueError where nothing is there that is read, or where it is not clear which file is meant: the message
    lists them.
    """
    found = _checkpoint(path)
    if found is None and (snapshot := _only_snapshot(path)) is not None:
        found = _checkpoint(snapshot)
    return _only_file(path) if found is None else found


def _checkpoint(path: Path) -> TensorSource | None:
    """The weights in a folder and in the folders of its parts; None if there are neither."""
    config = config_of(path)
    taken = _weights(path, _listing(path), str(path), config.values)
    parts = [each for part in _part_folders(path) for each in _part(path, part)]
    if taken is None and not parts:
        return None
    records = [] if taken is None else _folded(taken, config.values, str(path))
    what = [*([] if taken is None else [taken.what]), *(["folders of its parts"] if parts else [])]
    kind = config.described(f"folder with {' and '.join(what)}")
    return TensorSource([*records, *parts], name=str(path), kind=kind)


def _only_snapshot(path: Path) -> Path | None:
    """The folder with the files where ``path`` is a model in Hugging Face's download cache, at one revision only."""
    try:
        found = [each for each in (path / "snapshots").iterdir() if each.is_dir()]
    except OSError:
        return None
    return found[0] if len(found) == 1 else None


def _listing(path: Path) -> list[str]:
    """The names of the regular files in a folder, links to files among them, sorted."""
    try:
        with os.scandir(path) as entries:
            return sorted(entry.name for entry in entries if entry.is_file())
    except OSError as error:
        raise QuantValueError(f"source: the folder {path} cannot be listed ({error.strerror})") from error


def _folded(taken: _Taken, config: Config, source: str) -> list[TensorRecord]:
    from perchq_widget.sources.checkpoints.recognize import fold_quantized

    return fold_quantized({record.name: record for record in taken.records}, config, source)


def _weights(folder: Path, names: list[str], source: str, config: Config) -> _Taken | None:
    """The .safetensors of a folder, else its torch shards under Hugging Face's names; None if it has neither."""
    for suffix, stems in ((".safetensors", _STEMS), (".bin", _TORCH_STEMS)):
        index = _one_index(folder, [name for name in names if name.endswith(f"{suffix}.index.json")], stems, suffix)
        if index is not None:
            return _Taken(index_records(folder / index, source, config), repr(index))
        files = [name for name in names if name.endswith(suffix)]
        if suffix == ".bin":
            files = [name for name in files if name.startswith(_TORCH_STEMS)]
        usual = [f"{stem}{suffix}" for stem in stems if f"{stem}{suffix}" in files]
        if usual or (len(files) == 1 and _SHARD.fullmatch(files[0]) is None):
            file = (usual or files)[0]
            return _Taken(file_records(folder / file, source, config), repr(file))
        if files:
            return _several(folder, files, source, config)
    return None


def _one_index(folder: Path, found: list[str], stems: Iterable[str], suffix: str) -> str | None:
    usual = [name for stem in stems if (name := f"{stem}{suffix}.index.json") in found]
    if usual or len(found) == 1:
        return (usual or found)[0]
    if not found:
        return None
    raise QuantValueError(f"source: {folder} holds several indexes: {_shown(found)}; give the path of one of them")


def _several(folder: Path, files: list[str], source: str, config: Config) -> _Taken:
    """Several files and no index: one set of numbered shards, or files that share no name of a tensor."""
    numbered = [match for file in files if (match := _SHARD.fullmatch(file)) is not None]
    sets = {(match["stem"], match["count"], match["suffix"]) for match in numbered}
    if len(numbered) == len(files) and len(sets) == 1:
        shards = [open_shard(folder, file, source, config) for file in _complete(numbered)]
        missing = sum(shard.file not in files for shard in shards)
        lacking = f", {missing} of them missing" if missing else ""
        return _Taken(joined(shards, source), f"{len(shards)} shards{lacking}")
    opened = [open_shard(folder, file, source, config) for file in files[:_MAX_PARTS]]
    clash = _clash(opened)
    if clash is not None or len(files) > _MAX_PARTS:
        reason = clash or f"there are more than {_MAX_PARTS}"
        raise QuantValueError(
            f"source: {folder} holds several checkpoints ({reason}): {_shown(files)}; give the path of one of them"
        )
    return _Taken(joined(opened, source), f"{len(opened)} files")


def _complete(numbered: list[re.Match[str]]) -> list[str]:
    """The files of a set of shards in order, those that are missing among them."""
    files = {int(match["number"]): match[0] for match in numbered}
    count, example = int(numbered[0]["count"]), numbered[0]
    if count > _MAX_PARTS:
        return list(files.values())
    for number in range(1, count + 1):
        digits = str(number).zfill(len(example["number"]))
        start, end = example.start("number"), example.end("number")
        files.setdefault(number, f"{example[0][:start]}{digits}{example[0][end:]}")
    return [files[number] for number in sorted(files)]


def _clash(shards: list[Shard]) -> str | None:
    holder: dict[str, str] = {}
    for shard in shards:
        for name in shard.records:
            if name in holder:
                return f"{holder[name]!r} and {shard.file!r} both hold {clip_text(name, 80)!r}"
            holder[name] = shard.file
    return None


def _part_folders(path: Path) -> list[str]:
    """The folders that a diffusers pipeline (model_index.json) or sentence-transformers (modules.json) names."""
    pipeline, _ = read_json(path / "model_index.json", dict)
    modules, _ = read_json(path / "modules.json", list)
    named = [name for name, about in (pipeline or {}).items() if isinstance(about, list)]
    named += [each["path"] for each in modules or [] if isinstance(each, dict) and isinstance(each.get("path"), str)]
    return [name for name in dict.fromkeys(named) if is_plain_name(name) and (path / name).is_dir()][:_MAX_PARTS]


def _part(path: Path, part: str) -> list[TensorRecord]:
    """The tensors of one folder inside, with its name before theirs; none for a tokenizer, a pooling, a scheduler."""
    folder, config = path / part, config_of(path / part)
    try:
        taken = _weights(folder, _listing(folder), str(path), config.values)
        records = [] if taken is None else _folded(taken, config.values, str(path))
    except QuantValueError as error:
        return [unreadable(part, f"its weights cannot be read: {error}", str(path))]
    return [replace(record, name=f"{part}/{record.name}") for record in records]


def _only_file(path: Path) -> TensorSource:
    """The only file in the folder that a reader is there for; QuantValueError with a list where there is no such."""
    from perchq_widget.sources.opening import READERS, reader_of

    models = [name for name in _listing(path) if name.lower().endswith(tuple(READERS))]
    if len(models) == 1:
        opened = reader_of(path / models[0])(path / models[0])
        records = [replace(record, source=str(path)) for record in opened.values()]
        return TensorSource(records, name=str(path), kind=f"folder with {models[0]!r}, {opened.kind}")
    if models:
        raise QuantValueError(
            f"source: the folder {path} holds {len(models)} files that are read: {_shown(models)}; give the path of "
            "one of them"
        )
    raise QuantValueError(f"source: the folder {path} holds no file that is read ({', '.join(READERS)}){_inside(path)}")


def _inside(path: Path) -> str:
    with os.scandir(path) as entries:
        names = sorted(f"{entry.name}/" if entry.is_dir() else entry.name for entry in entries)
    return f"; it holds {_shown(names)}" if names else "; it is empty"


def _shown(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(repr(clip_text(name, 80)) for name in names[:_SHOWN]) + more
