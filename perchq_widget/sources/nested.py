"""Mappings and lists inside one another, as one list of names and values: checkpoints, state dicts, JAX pytrees.

The keys on the way to a value are joined by ".", as torch joins the names of modules, whatever the nesting came from:
so a checkpoint has the same names in memory and in its file. Keys may hold dots themselves. Where two paths would get
one name, the dots inside keys are escaped ("\\."), which tells them apart; nowhere else, because most keys with dots
are torch's own names, which everybody knows as they are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from perchq_widget.core.errors import QuantTypeError, QuantValueError
from perchq_widget.sources.decimals import clip_text

MAX_DEPTH = 100
MAX_VALUES = 1_000_000
_MAX_CHARACTERS = 200_000_000  # of all names: deep paths of long keys multiply

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Stands for a value that its mapping did not give out; ``reason`` says why."""

    reason: str


def what_it_said(error: BaseException) -> str:
    """The first line of an error of somebody else's, cut to what one reads, with its type where it says nothing."""
    try:
        lines = str(error).strip().splitlines()
    except Exception:  # its text is made by code that we do not know
        lines = []
    return f"{type(error).__name__}: {clip_text(lines[0], 300)}" if lines else type(error).__name__


def printable(name: str) -> str:
    """``name`` as a plain str, without the lone surrogates that no UTF-8 export could hold."""
    return str.__str__(name).encode("utf-8", "backslashreplace").decode("utf-8")


def flattened(
    root: Mapping[Any, Any], origin: str, is_list: Callable[[Any], bool], *, any_key: bool = False
) -> list[tuple[str, Any]]:
    """Every value of ``root`` that is no mapping and, by ``is_list``, no list to go into: names and values, in order.

    ``origin`` begins the text of errors. QuantTypeError for keys that are neither text nor whole numbers, unless
    ``any_key`` names them as they print, and for a mapping that does not give out its keys; QuantValueError for one
    inside itself, for more than 100 levels and for more values than one can list.
    """
    walk = _Walk(origin, is_list, any_key)
    pairs = list(walk.values(root, ()))
    return list(zip(_names([path for path, _ in pairs]), (value for _, value in pairs), strict=True))


class _Walk:
    def __init__(self, origin: str, is_list: Callable[[Any], bool], any_key: bool) -> None:
        self._origin = origin
        self._any_key = any_key
        self._is_list = is_list
        self._inside: set[int] = set()
        self._n_values = self._n_characters = 0

    def values(self, node: Any, path: Path) -> Iterator[tuple[Path, Any]]:
        self._count(path)
        items = self._items(node, path)
        if items is None:
            yield path, node
            return
        self._enter(node, path)
        for key, value in items:
            yield from self.values(value, (*path, key))
        self._inside.discard(id(node))

    def _items(self, node: Any, path: Path) -> Iterator[tuple[str | int, Any]] | None:
        if isinstance(node, Mapping):
            return self._of_mapping(node, path)
        return iter(enumerate(node)) if self._is_list(node) else None

    def _of_mapping(self, node: Mapping[Any, Any], path: Path) -> Iterator[tuple[str | int, Any]]:
        try:
            keys = list(islice(node, MAX_VALUES + 1))
        except Exception as error:  # a mapping of somebody else's
            raise QuantTypeError(f"{self._origin}: {_at(path)} gives no keys ({what_it_said(error)})") from error
        for key in keys:
            yield self._checked(key, path), _value(node, key)

    def _checked(self, key: Any, path: Path) -> str | int:
        if isinstance(key, str):
            return printable(key)
        if isinstance(key, int) and not isinstance(key, bool) and abs(key) < 2**63:
            return int(key)
        if self._any_key:
            return clip_text(printable(repr(key)), 200)
        raise QuantTypeError(
            f"{self._origin}: tensor names must be text, or whole numbers as in lists; {_at(path)} has a key of type "
            f"{type(key).__name__}"
        )

    def _enter(self, node: Any, path: Path) -> None:
        if id(node) in self._inside:
            raise QuantValueError(f"{self._origin}: {_at(path)} holds itself; give one without the circle")
        if len(path) >= MAX_DEPTH:
            raise QuantValueError(f"{self._origin}: nested more than {MAX_DEPTH} levels deep; give the part you want")
        self._inside.add(id(node))

    def _count(self, path: Path) -> None:
        self._n_values += 1
        self._n_characters += sum(len(key) if isinstance(key, str) else 8 for key in path)
        if self._n_values > MAX_VALUES or self._n_characters > _MAX_CHARACTERS:
            raise QuantValueError(f"{self._origin}: holds more than {MAX_VALUES} values; give the part you want")


def _value(node: Mapping[Any, Any], key: Any) -> Any:
    try:
        return node[key]
    except Exception as error:
        return Unreadable(f"it cannot be taken out of its {type(node).__name__} ({what_it_said(error)})")


def _at(path: Path) -> str:
    return repr(clip_text(_plain(path), 80)) if path else "it"


def _plain(path: Path) -> str:
    return ".".join(map(str, path))


def _escaped(path: Path) -> str:
    """A name that no other path has: dots, brackets and backslashes inside keys escaped, numbers in brackets."""
    return ".".join(f"[{key}]" if isinstance(key, int) else _escaped_key(key) for key in path)


def _escaped_key(key: str) -> str:
    for special in ("\\", ".", "["):
        key = key.replace(special, f"\\{special}")
    return key


def _names(paths: list[Path]) -> list[str]:
    names = [_plain(path) for path in paths]
    times = Counter(names)
    if len(times) == len(names):
        return names
    told_apart = [_escaped(path) if times[name] > 1 else name for path, name in zip(paths, names, strict=True)]
    if len(set(told_apart)) < len(paths):
        told_apart = [_escaped(path) for path in paths]
    return _numbered(told_apart)


def _numbered(names: list[str]) -> list[str]:
    """Names with "#2" and so on where keys differ only in what cannot be printed."""
    seen: Counter[str] = Counter()
    unique: dict[str, None] = {}
    for name in names:
        seen[name] += 1
        each = name if seen[name] == 1 else f"{name}#{seen[name]}"
        while each in unique:
            each += "'"
        unique[each] = None
    return list(unique)
