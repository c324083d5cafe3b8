"""Sharded checkpoints through their index: a JSON file that says which file holds which tensor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from perchq_widget.core.errors import QuantValueError
from perchq_widget.sources.base import TensorRecord, TensorSource
from perchq_widget.sources.decimals import clip_text
from perchq_widget.sources.json_walk import JsonError, JsonWalk
from perchq_widget.sources.model_config import config_of
from perchq_widget.sources.safetensors import MAX_MALFORMED, printable
from perchq_widget.sources.shards import Shard, open_shard, require_one, unreadable

MAX_INDEX_BYTES = 100_000_000
"""Larger indexes are refused; one of 280,000 tensors has about 30 million bytes."""

MAX_TENSORS = 1_000_000
"""Entries of an index."""

_MAX_METADATA = 100_000


@dataclass(frozen=True)
class _Places:
    """Which shard an index places each tensor in; ``problems`` are of the entries that say nothing usable."""

    files: Mapping[str, str]
    problems: Mapping[str, str]


def open_index(path: Path) -> TensorSource:
    """The tensors of a sharded checkpoint (``model.safetensors.index.json``, ``pytorch_model.bin.index.json``).

    In the index's order, then what the shards hold beside it. A tensor whose shard is missing or damaged, or lacks
    it, is listed as not applicable with the reason. QuantValueError if the index or all shards cannot be read.
    """
    from perchq_widget.sources.checkpoints.recognize import fold_quantized

    config = config_of(path.parent)
    records = {record.name: record for record in index_records(path, str(path), config.values)}
    folded = fold_quantized(records, config.values, str(path))
    return TensorSource(folded, name=str(path), kind=config.described("sharded checkpoint"))


def index_records(path: Path, source: str, config: Mapping[str, Any] | None) -> list[TensorRecord]:
    """The plain tensors that an index and its shards hold, as records of ``source``."""
    try:
        places = _read_index(path)
    except JsonError as error:
        raise QuantValueError(f"{path}: malformed: the index {error}") from error
    except OSError as error:
        raise QuantValueError(f"{path}: cannot be read ({error.strerror})") from error
    shards = {file: open_shard(path.parent, file, source, config) for file in dict.fromkeys(places.files.values())}
    require_one(list(shards.values()), source)
    records = [_placed(name, shards[file], source) for name, file in places.files.items()]
    records += [unreadable(name, problem, source) for name, problem in places.problems.items()]
    return records + _beside(places, shards)


def _read_index(path: Path) -> _Places:
    size = path.stat().st_size
    if size > MAX_INDEX_BYTES:
        raise QuantValueError(f"{path}: the index has {size} bytes; up to {MAX_INDEX_BYTES} are read")
    with path.open("rb") as file:
        raw = file.read(size)  # all the memory that read() is allowed is taken first
    try:
        walk = JsonWalk(raw.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise JsonError(f"is not JSON ({error})") from error
    places = None
    for key in walk.names():
        if key == "weight_map" and places is not None:
            raise JsonError("has two weight_maps")
        if key == "weight_map":
            places = _weight_map(walk)
        else:
            walk.skip_texts(_MAX_METADATA)
    walk.finish()
    if places is None:
        raise JsonError("has no weight_map, which says which file holds which tensor")
    return places


def _weight_map(walk: JsonWalk) -> _Places:
    files: dict[str, str] = {}
    problems: dict[str, str] = {}
    known: dict[str, str] = {}  # one text for all tensors of a shard
    for key in walk.names(MAX_TENSORS):
        name, file = printable(key), walk.value()
        if not isinstance(file, str):
            problems[name] = "malformed: the index names no file for it"
        elif files.get(name, file) != file:
            first = clip_text(files[name], 80)
            problems[name] = f"malformed: the index places it in {first!r} and in {clip_text(file, 80)!r}"
        else:
            files[name] = known.setdefault(file, file)
        if len(problems) > MAX_MALFORMED:
            raise JsonError(f"has more than {MAX_MALFORMED} malformed entries")
    return _Places({name: file for name, file in files.items() if name not in problems}, problems)


def _placed(name: str, shard: Shard, source: str) -> TensorRecord:
    if shard.problem:
        return unreadable(name, shard.problem, source)
    found = shard.records.get(name)
    return unreadable(name, f"its shard {shard.file!r} does not hold it", source) if found is None else found


def _beside(places: _Places, shards: Mapping[str, Shard]) -> list[TensorRecord]:
    """What the shards hold and the index does not name; the first one where two hold the same."""
    found: dict[str, TensorRecord] = {}
    for shard in shards.values():
        for name, record in shard.records.items():
            if name not in places.files and name not in places.problems:
                found.setdefault(name, replace(record, note=f"in {shard.file!r}; the index does not name it"))
    return list(found.values())
