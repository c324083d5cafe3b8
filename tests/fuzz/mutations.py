"""Damage to files, drawn by a seeded generator, so that a number names the same file everywhere."""

from __future__ import annotations

import io
import json
import re
import struct
import warnings
import zipfile
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

#: What sizes, offsets and counts are overwritten with.
EDGES = (0, 1, -1, 2, 3, 7, 8, 63, 64, 65, 127, 128, 255, 256, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**32,
         2**53, 2**62, 2**63 - 1, 2**63, 2**64 - 1)  # fmt: skip
_WORDS = ("", "\0", "../secret", "/etc/passwd", "a/../../secret.safetensors", "x" * 3000, "\ud800", "F32", "I64", "nan",
          "-1", "1e400", "\u202e", "line\nbreak", "__proto__")  # fmt: skip
_VALUES: tuple[Any, ...] = (
    *EDGES, -(2**63), 10**400, 0.5, 1e308, float("nan"), True, False, None, [], {}, [[]], [0], [-1], [2**63, 2**63],
    *_WORDS,
)  # fmt: skip
_LARGEST = 1 << 20

Edit = Callable[[Random, bytes, Sequence[bytes]], bytes]


def damaged(rng: Random, data: bytes, donors: Sequence[bytes], special: Sequence[Edit] = ()) -> bytes:
    """``data`` after one to six edits, most often one or two; ``special`` are those that know its format."""
    for _ in range(min(6, 1 + int(rng.expovariate(0.9)))):
        edit = rng.choice(special) if special and rng.random() < 0.5 else rng.choice(EDITS)
        data = edit(rng, data, donors)[:_LARGEST]
    return data


def place(rng: Random, size: int) -> int:
    """Where to strike: anywhere, or near the start or the end, where headers and directories are."""
    if size == 0:
        return 0
    kind = rng.random()
    if kind < 0.4:
        return rng.randrange(size)
    near = min(size - 1, int(2 ** (rng.random() * 11)) - 1)
    return near if kind < 0.8 else size - 1 - near


def _span(rng: Random, size: int) -> tuple[int, int]:
    start = place(rng, size)
    return start, min(size, start + int(2 ** (rng.random() * 9)))


def flip_bit(rng: Random, data: bytes, donors: Sequence[bytes]) -> bytes:
    out = bytearray(data or b"\0")
    out[place(rng, len(out))] ^= 1 << rng.randrange(8)
    return bytes(out)


def set_bytes(rng: Random, data: bytes, donors: Sequence[bytes]) -> bytes:
    start, end = _span(rng, len(data))
    value = rng.choice((0, 0xFF, 0x80, 0x7F, rng.randrange(256)))
    return data[:start] + bytes([value]) * min(end - start, 1 << rng.randrange(5)) + data[min(end, len(data)) :]


def set_integer(rng: Random, data: bytes, donors: Sequence[bytes]) -> bytes:
    """One whole number of 1 to 8 bytes: an edge, the file's size, or a little more or less than it was."""
    width = rng.choice((1, 2, 4, 4, 8, 8))
    at = place(rng, len(data))
    at -= at % rng.choice((1, width))
    was = int.from_bytes(data[at : at + width], "little")
    value = rng.choice((rng.choice(EDGES), was + 1, was - 1, was * 2, len(data), len(data) - at, len(data) + 1))
    return data[:at] + (value % (1 << 8 * width)).to_bytes(width, "little") + data[at + width :]


def truncate(rng: Random, data: bytes, donors: Sequence[bytes]) -> bytes:
    return data[: place(rng, len(data))]


def insert(rng: Random, data: bytes, donors: Sequence[bytes]) -> bytes:
    at = place(rng, len(data))
    return data[:at] + rng.randbytes(1 << rng.randrange(8)) + data[at:]


def delete(rng: Random, data: bytes, donors: Sequence[bytes]) -> bytes:
    start, end = _span(rng, len(data))
    return data[:start] + data[end:]


def copy_block(rng: Random, data: bytes, donors: Sequence[bytes]) -> bytes:
    start, end = _span(rng, len(data))
    at = place(rng, len(data))
    over = rng.random() < 0.5
    return data[:at] + data[start:end] + data[at + (end - start if over else 0) :]


def swap_blocks(rng: Random, data: bytes, donors: Sequence[bytes]) -> bytes:
    (a, b), (c, d) = sorted((_span(rng, len(data)), _span(rng, len(data))))
    b = min(b, c)
    return data[:a] + data[c:d] + data[b:c] + data[a:b] + data[d:]


def splice(rng: Random, data: bytes, donors: Sequence[bytes]) -> bytes:
    """The start of one file and the end of another."""
    other = rng.choice(donors) if donors else data
    return data[: place(rng, len(data))] + other[place(rng, len(other)) :]


EDITS: tuple[Edit, ...] = (
    flip_bit, flip_bit, set_bytes, set_bytes, set_integer, set_integer, set_integer, truncate, insert, delete,
    copy_block, swap_blocks, splice,
)  # fmt: skip


def edit_tree(rng: Random, tree: Any) -> Any:
    """JSON with one value replaced, removed, doubled or moved."""
    if not isinstance(tree, (dict, list)) or not tree or rng.random() < 0.08:
        return rng.choice((*_VALUES, [tree], {"a": tree}, [tree] * 3))
    keys = list(tree) if isinstance(tree, dict) else list(range(len(tree)))
    key, other = rng.choice(keys), rng.choice(keys)
    made = dict(tree) if isinstance(tree, dict) else list(tree)
    kind = rng.random()
    if kind < 0.1:
        del made[key]
    elif kind < 0.2:
        made[key] = tree[other]
    elif kind < 0.3 and isinstance(made, dict):
        made[rng.choice((*_WORDS, str(other)))] = made.pop(key)
    elif kind < 0.35 and isinstance(made, list):
        made.append(tree[other])
    else:
        made[key] = edit_tree(rng, tree[key])
    return made


def edit_json(rng: Random, data: bytes, donors: Sequence[bytes]) -> bytes:
    """A JSON text with an edit of its tree, or with one of its numbers spelled anew; as it was if it is none."""
    if rng.random() < 0.25:
        return edit_digits(rng, data, donors)
    try:
        text = json.dumps(edit_tree(rng, json.loads(data)))
    except (ValueError, RecursionError):
        return data
    if rng.random() < 0.05:
        text = rng.choice(("[" * 5000, text + text, '{"a":' * 3000, text[:-1]))
    return text.encode()


def edit_digits(rng: Random, data: bytes, donors: Sequence[bytes]) -> bytes:
    """One number in a text's first four kilobytes."""
    found = list(re.finditer(rb"-?\d+", data[:4096]))
    if not found:
        return data
    chosen = rng.choice(found)
    value = rng.choice((*EDGES, int(chosen[0][:18]) + 1, int(chosen[0][:18]) - 1))
    return data[: chosen.start()] + str(value).encode() + data[chosen.end() :]


def edit_safetensors(rng: Random, data: bytes, donors: Sequence[bytes]) -> bytes:
    """The JSON header edited, and its length set to what it then is."""
    length = int.from_bytes(data[:8], "little")
    header = edit_json(rng, data[8 : 8 + length], donors)
    return struct.pack("<Q", len(header)) + header + data[8 + length :]


def edit_zip(rng: Random, data: bytes, donors: Sequence[bytes]) -> bytes:
    """An archive packed anew with one member damaged, doubled, renamed, emptied or blown up; its checksums fit."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = [(each.filename, archive.read(each)) for each in archive.infolist()]
    except Exception:  # what was damaged before need not be an archive any more
        return data
    if not members:
        return data
    index = rng.randrange(len(members))
    name, content = members[index]
    kind = rng.random()
    if kind < 0.6:
        content = damaged(rng, content, [each for _, each in members], (edit_digits,))
    elif kind < 0.7:
        members.append((name, content))
    elif kind < 0.8:
        name = rng.choice((*_WORDS[:6], "a.npy", name + "/", name.upper()))
    elif kind < 0.9:
        content += bytes(200_000)
    else:
        content = b""
    members[index] = (name or "x", content)
    return _zipped(rng, members)


def _zipped(rng: Random, members: list[tuple[str, bytes]]) -> bytes:
    out = io.BytesIO()
    method = rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2))
    with warnings.catch_warnings(), zipfile.ZipFile(out, "w", method) as archive:
        warnings.simplefilter("ignore")  # that a name is there twice is meant
        for name, content in members:
            info = zipfile.ZipInfo(name.replace("\0", "_").encode("utf-8", "replace").decode())
            info.compress_type = method
            archive.writestr(info, content)
    return out.getvalue()
