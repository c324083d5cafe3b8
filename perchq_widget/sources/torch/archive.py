"""The zip archives that torch writes, checked byte for byte before torch's own reader sees them.

That reader is C++ and believes what it finds. So here: members are stored, not compressed; each lies in the file, at
the place that the directory says, without touching another; and there is one of each name.
"""

from __future__ import annotations

import struct
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from perchq_widget.core.errors import QuantValueError
from perchq_widget.sources.decimals import clip_text

ZIP_MAGIC = b"PK\x03\x04"
_LOCAL = struct.Struct("<4s5H3I2H")  # a member's own header, without its name and extra field
_END_BYTES = 22  # the end of the directory, without a comment
_ENCRYPTED, _IN_UTF8 = 0x1, 0x800
_SCRIPT = "; it holds code: where you trust it, torch.jit.load(path).state_dict() gives the tensors; pass those"
_OTHERS = {
    "constants.pkl": "is a TorchScript archive" + _SCRIPT,
    "model.json": "is a program of torch.export; torch.export.load(path).state_dict gives the tensors; pass those",
    "archive_format": "is a program of torch.export; torch.export.load(path).state_dict gives the tensors; pass those",
}


@dataclass(frozen=True, slots=True)
class Member:
    """Where the bytes of a member are in the file."""

    offset: int
    size: int


def torch_members(path: Path, size: int) -> dict[str, Member]:
    """The members of torch's archive at ``path``, of ``size`` bytes, without the folder that all are in.

    QuantValueError for an archive that torch did not write, or that somebody changed since.
    """
    with path.open("rb") as file:
        infos = _infos(file, path, size)
        _check_kind([info.filename for info in infos], path)
        members = {info.filename: _member(file, info, path, size) for info in infos}
    if len(members) != len(infos):
        raise QuantValueError(f"{path}: malformed: its archive has two members of one name")
    _check_apart(infos, members, path)
    return {name.partition("/")[2]: member for name, member in members.items()}


def _infos(file: IO[bytes], path: Path, size: int) -> list[zipfile.ZipInfo]:
    file.seek(max(0, size - _END_BYTES))
    end = file.read(_END_BYTES)
    if not end.startswith(b"PK\x05\x06") or end[-2:] != b"\0\0":
        raise QuantValueError(
            f"{path}: malformed: it begins as a zip archive and does not end as one; a download that stopped leaves "
            "such a file: get it again"
        )
    try:
        with zipfile.ZipFile(file) as archive:
            infos = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, OSError, ValueError, OverflowError, struct.error) as error:
        raise QuantValueError(f"{path}: malformed: its archive's directory cannot be read ({error})") from error
    if not infos or min(info.header_offset for info in infos) != 0:
        raise QuantValueError(f"{path}: malformed: its archive does not begin with its first member")
    return infos


def _member(file: IO[bytes], info: zipfile.ZipInfo, path: Path, size: int) -> Member:
    shown = repr(clip_text(info.filename, 80))
    if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & _ENCRYPTED or info.file_size != info.compress_size:
        raise QuantValueError(
            f"{path}: {shown} in it is compressed or encrypted, and torch stores members as they are; unpack it and "
            "save the tensors again"
        )
    file.seek(info.header_offset)
    raw = file.read(_LOCAL.size)
    if len(raw) < _LOCAL.size:
        raise QuantValueError(f"{path}: malformed: {shown} in it begins outside the file")
    magic, *_, method, _time, _date, _crc, _packed, _size, n_name, n_extra = _LOCAL.unpack(raw)
    name = file.read(n_name)
    expected = info.orig_filename.encode("utf-8" if info.flag_bits & _IN_UTF8 else "cp437", "replace")
    start = info.header_offset + _LOCAL.size + n_name + n_extra
    if magic != ZIP_MAGIC or method != zipfile.ZIP_STORED or name != expected:
        raise QuantValueError(f"{path}: malformed: {shown} in it is not where its archive's directory says")
    if start + info.file_size > size:
        raise QuantValueError(
            f"{path}: malformed: {shown} in it would take {info.file_size} bytes from {start}; the file has {size}"
        )
    return Member(start, info.file_size)


def _check_apart(infos: list[zipfile.ZipInfo], members: dict[str, Member], path: Path) -> None:
    behind = 0
    for info in sorted(infos, key=lambda each: each.header_offset):
        if info.header_offset < behind:
            raise QuantValueError(f"{path}: malformed: two members of its archive share bytes")
        member = members[info.filename]
        behind = member.offset + member.size


def _check_kind(names: list[str], path: Path) -> None:
    """Raise unless the members' names are those of a checkpoint, in one folder."""
    inside = {name.partition("/")[2] for name in names}
    for name, what in _OTHERS.items():
        if any(each == name or each.endswith(f"/{name}") for each in inside):
            raise QuantValueError(f"{path}: {what}")
    if "data.pkl" in inside and len({name.partition("/")[0] for name in names}) == 1:
        return
    if all(name.endswith(".npy") for name in names):
        raise QuantValueError(f"{path}: is an .npz archive of numpy arrays; rename it to end in .npz")
    raise QuantValueError(f"{path}: is a zip archive, and not one that torch.save wrote (no data.pkl in it)")
