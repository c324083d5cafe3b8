"""torch checkpoints: ``.pt``, ``.pth``, ``.ckpt``, ``.bin``, read by torch with ``weights_only=True`` and mapped.

What torch gets to see was checked before: the archive's members and the storages that the pickle claims lie in the
file, and no class is named that weights alone do not need. Nothing of a file is ever executed.
"""

from __future__ import annotations

import io
import mmap
import re
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO, Any, TypeVar

from perchq_widget.core.errors import MissingExtra, QuantValueError
from perchq_widget.sources.axes import suggested_axis
from perchq_widget.sources.base import TensorRecord, TensorSource
from perchq_widget.sources.decimals import clip_text
from perchq_widget.sources.file_bytes import FileStamp
from perchq_widget.sources.model_config import config_of
from perchq_widget.sources.name_axes import axis_by_name
from perchq_widget.sources.nested import flattened, what_it_said
from perchq_widget.sources.objects import holds_arrays, record_of
from perchq_widget.sources.torch.archive import ZIP_MAGIC, Member, torch_members
from perchq_widget.sources.torch.pickle import Claim, Contents, walk
from perchq_widget.sources.torch.tensors import elsewhere, is_torch, torch_dtype_name

_T = TypeVar("_T")

_LEGACY_MAGIC = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # a pickled number, behind the two bytes of its protocol
_LEGACY_VERSION = 1001
_REFUSED = re.compile(r"Unsupported global: GLOBAL (\S+)")
_UNPICKLER = re.compile(r"WeightsUnpickler error: (.*)")
_RENAMED = "; rename it to end in {0}"
_LOAD_YOURSELF = (
    "where you trust the file, torch.load(path, weights_only=False) makes them, which runs their code: then pass its "
    "tensors, or model.state_dict(), to open_source"
)


def open_torch(path: Path) -> TensorSource:
    """The tensors of a torch checkpoint, those of dicts and lists inside it by dotted names; other values are left out.

    An archive is memory-mapped; a file in the format from before torch 1.6 is read whole. QuantValueError for a file
    that is something else or malformed and for one that holds objects of other classes; MissingExtra without torch.
    """
    from perchq_widget.sources.checkpoints.recognize import fold_quantized

    config = config_of(path.parent)
    records = {record.name: record for record in torch_records(path, str(path), config.values)}
    folded = fold_quantized(records, config.values, str(path))
    return TensorSource(folded, name=str(path), kind=config.described(_kind(path)))


def _kind(path: Path) -> str:
    with path.open("rb") as file:
        archived = file.read(len(ZIP_MAGIC)) == ZIP_MAGIC
    return "torch checkpoint" if archived else "torch checkpoint in the old format, read whole"


def torch_records(path: Path, source: str, config: Mapping[str, Any] | None) -> list[TensorRecord]:
    """The plain tensors of a torch checkpoint, for records of ``source``. Raises as :func:`open_torch`."""
    stamp = FileStamp.of(path)
    with path.open("rb") as file:
        head = file.read(512)
        archived = head.startswith(ZIP_MAGIC)
        if not archived:
            _check_kind(head, path, stamp.size)
        _check_contents(file, path, stamp.size, archived)
    loaded = _loaded(path, archived)
    return [_record(name, tensor, stamp, source, config) for name, tensor in _tensors(loaded, path)]


def _check_kind(head: bytes, path: Path, size: int) -> None:
    """Raise for everything that does not begin as torch's old format, naming what it is where one can see that."""
    if head[2:].startswith(_LEGACY_MAGIC):
        return
    length = int.from_bytes(head[:8], "little")
    known = {
        "is empty": size == 0,
        "is a .safetensors file" + _RENAMED.format(".safetensors"): head[8:9] == b"{" and length <= size - 8,
        "is a GGUF file" + _RENAMED.format(".gguf"): head.startswith(b"GGUF"),
        "is an .npy file" + _RENAMED.format(".npy"): head.startswith(b"\x93NUMPY"),
        "is compressed; unpack it first": head.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")),
        "is a pickle that torch.save did not write. Pickles can run anything, so it is not read; where you trust it, "
        "load it yourself and pass its arrays": head.startswith(b"\x80"),
        "is a tar archive, as torch wrote before 0.1.10; load it with that and save it again": head[257:262]
        == b"ustar",
    }
    what = next((words for words, is_so in known.items() if is_so), None)
    raise QuantValueError(
        f"{path}: " + (what or "is no torch checkpoint: neither an archive nor a pickle, as torch.save writes them")
    )


def _check_contents(file: IO[bytes], path: Path, size: int, archived: bool) -> None:
    """Raise unless every class is one of torch's own and every storage lies in the file."""
    members = torch_members(path, size) if archived else {}
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        if archived:
            where = members["data.pkl"]
            pickled = io.BytesIO(mapped[where.offset : where.offset + where.size])  # which ends where torch's does
            _check_storages(_walked(pickled, path), members, path)
        else:
            _check_legacy(mapped, path, size)


def _walked(mapped: Any, path: Path) -> Contents:
    contents = walk(mapped, str(path), _let_in())
    if contents.refused:
        raise _of_other_classes(contents.refused, path)
    return contents


def _of_other_classes(classes: Sequence[str], path: Path) -> QuantValueError:
    names = ", ".join(clip_text(ascii(name)[1:-1], 80) for name in classes[:5])
    more = f" and {len(classes) - 5} more" if len(classes) > 5 else ""
    return QuantValueError(f"{path}: holds objects of {names}{more}, and only weights are read; {_LOAD_YOURSELF}")


def _let_in() -> frozenset[str]:
    """Classes that the user, or a library of theirs, has told torch to trust."""
    serialization = getattr(sys.modules.get("torch"), "serialization", None)
    if serialization is None:
        return frozenset()
    pairs = (each if isinstance(each, tuple) else (each, "") for each in serialization.get_safe_globals())
    return frozenset(name or f"{each.__module__}.{each.__qualname__}" for each, name in pairs)


def _check_storages(contents: Contents, members: dict[str, Member], path: Path) -> None:
    for claim in contents.claims:
        member = members.get(f"data/{claim.key}")
        if member is None or claim.n_bytes > member.size:
            there = "is not in the archive" if member is None else f"has {member.size} bytes there"
            shown = repr(clip_text(claim.key, 80))
            raise QuantValueError(
                f"{path}: malformed: it claims {claim.n_bytes} bytes of storage {shown}, which {there}"
            )


def _check_legacy(mapped: Any, path: Path, size: int) -> None:
    """Five pickles: a magic number, a version, facts about the writer, the object, the keys; then the storages."""
    walk(mapped, str(path))
    if walk(mapped, str(path)).value != _LEGACY_VERSION:
        raise QuantValueError(f"{path}: malformed: it has no version that torch wrote")
    walk(mapped, str(path))
    claims = _walked(mapped, path).claims
    walk(mapped, str(path))
    needed = sum(each.n_bytes for each in _different(claims))
    if needed > size - mapped.tell():
        raise QuantValueError(
            f"{path}: malformed: its storages would take {needed} bytes, and {size - mapped.tell()} are left; a "
            "download that stopped leaves such a file: get it again"
        )


def _different(claims: tuple[Claim, ...]) -> list[Claim]:
    """One claim for each key: the largest."""
    largest: dict[str, Claim] = {}
    for claim in claims:
        if claim.key not in largest or claim.n_bytes > largest[claim.key].n_bytes:
            largest[claim.key] = claim
    return list(largest.values())


def _loaded(path: Path, archived: bool) -> Any:
    try:
        import torch
    except (ImportError, OSError) as error:
        raise MissingExtra("torch", "torch") from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(str(path), weights_only=True, map_location="cpu", mmap=archived)
    except Exception as error:  # whatever torch makes of a file that was tampered with
        refused = _REFUSED.search(str(error))
        if refused:
            raise _of_other_classes([refused[1]], path) from error
        reason = _UNPICKLER.search(str(error))
        said = clip_text(reason[1], 300) if reason else what_it_said(error)
        raise QuantValueError(f"{path}: torch cannot read it ({said})") from error


def _tensors(loaded: Any, path: Path) -> list[tuple[str, Any]]:
    if is_torch(loaded):
        return [(path.stem, loaded)]
    root = dict(enumerate(loaded)) if isinstance(loaded, (list, tuple)) else loaded
    pairs = flattened(root, str(path), holds_arrays, any_key=True) if isinstance(root, Mapping) else []
    found = [(name, value) for name, value in pairs if is_torch(value)]
    if not found:
        raise QuantValueError(f"{path}: holds no tensors, but a {type(loaded).__name__} of something else")
    return found


def _record(name: str, tensor: Any, stamp: FileStamp, source: str, config: Mapping[str, Any] | None) -> TensorRecord:
    problem = _problem(tensor, stamp.size)
    if problem:
        shape = tuple(map(int, tensor.shape))
        axis = suggested_axis(shape)
        return TensorRecord(name, shape, torch_dtype_name(tensor), 0, *axis, problem, source)
    record = record_of(name, tensor, source, axis_by_name(name, tuple(tensor.shape), config))
    return replace(
        record,
        loader=_checked(stamp, record.loader),
        raw_loader=_checked(stamp, record.raw_loader),
        stored_loader=_checked(stamp, record.stored_loader),
    )


def _checked(stamp: FileStamp, loader: Callable[[], _T] | None) -> Callable[[], _T] | None:
    """``loader`` that first looks whether the file is still the one that is mapped."""
    if loader is None:
        return None

    def load() -> _T:
        stamp.check()
        return loader()

    return load


def _problem(tensor: Any, file_size: int) -> str | None:
    """Why a tensor's strides cannot be believed, or unfold to more than one would read."""
    if elsewhere(tensor) or 0 in tensor.shape:
        return None
    inner = [each for each in vars(tensor).values() if is_torch(each)]
    if inner:  # a subclass that wraps others has no storage of its own
        return next(filter(None, (_problem(each, file_size) for each in inner)), None)
    item, storage = tensor.element_size(), tensor.untyped_storage().nbytes()
    strides = [(int(size), int(stride)) for size, stride in zip(tensor.shape, tensor.stride(), strict=True)]
    last = int(tensor.storage_offset()) + sum((size - 1) * stride for size, stride in strides)
    if any(stride < 0 for _, stride in strides) or (last + 1) * item > storage:
        return f"malformed: its strides lead out of its storage of {storage} bytes"
    n_bytes = item
    for size, _ in strides:
        n_bytes *= size
    if n_bytes > max(file_size, storage):
        return f"it repeats a few values to {n_bytes} bytes, more than the whole file; save what it was expanded from"
    return None
