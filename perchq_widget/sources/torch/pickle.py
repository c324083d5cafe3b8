"""What a checkpoint's pickle would make, found out by walking over its instructions: nothing is made or called.

torch.load(weights_only=True) makes no classes but a few of its own. It does take the sizes of storages as they are
claimed, and Python's own containers can be nested so that hashing one takes for ever. So the instructions are walked
first with a stack of stand-ins: only plain numbers, texts and tuples are kept, which is enough to see every class that
is named and every storage that is claimed, and to count what a tuple would unfold to.
"""

from __future__ import annotations

import pickletools
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, Any

from perchq_widget.core.errors import QuantValueError
from perchq_widget.sources.decimals import clip_text

_MAX_PARTS = 10_000  # of one tuple, those of the tuples inside it counted each time
_ITEM_BYTES = {
    **dict.fromkeys(("Byte", "Char", "Bool", "QInt8", "QUInt8", "QUInt4x2", "QUInt2x4", "Untyped"), 1),
    **dict.fromkeys(("Half", "BFloat16", "Short"), 2),
    **dict.fromkeys(("Float", "Int", "QInt32"), 4),
    **dict.fromkeys(("Double", "Long", "ComplexFloat"), 8),
    "ComplexDouble": 16,
}
_ALLOWED = re.compile(
    r"collections\.(OrderedDict|Counter)|_codecs\.encode|(builtins|__builtin__)\.(set|complex)"
    r"|torch\.(Size|device|Tensor|serialization\._get_layout|nn\.parameter\.Parameter|_tensor\._rebuild_from_type_v2)"
    r"|torch\._utils\._rebuild_(parameter|parameter_with_state|qtensor|tensor|tensor_v2|tensor_v3|sparse_tensor"
    r"|meta_tensor_no_storage)"
    r"|torch\.(storage\.)?\w+Storage|torch\.[a-z][a-z0-9_]*|torch\.[A-Za-z0-9]+Tensor"
)
_SIZED = re.compile(r"torch\.\w*Tensor|torch\.(storage\.)?\w+Storage")  # called with a size, these allocate it
_STORAGE = re.compile(r"torch\.(?:storage\.)?(\w+)Storage")
_LATIN = ("latin1", "latin-1")
_STOP, _GLOBAL = b".", b"c"


@dataclass(frozen=True, slots=True)
class Claim:
    """A storage as the pickle claims it: the member of the archive that holds it, and its size in bytes."""

    key: str
    n_bytes: int


@dataclass(frozen=True, slots=True)
class Contents:
    """What a pickle names: classes and functions that are refused, storages, and its value where that is plain."""

    refused: tuple[str, ...]
    claims: tuple[Claim, ...]
    value: object


@dataclass(frozen=True, slots=True)
class _Global:
    name: str


class _Parts(tuple[Any, ...]):
    """A tuple that knows how many parts it unfolds to."""

    n_parts: int


class _Marker:
    """A stand-in: for the stack's mark, and for any value that need not be known."""


_MARK, _SOMETHING = _Marker(), _Marker()


def walk(file: IO[bytes], origin: str, allowed: frozenset[str] = frozenset()) -> Contents:
    """What the pickle at the position of ``file`` names; the position is then behind it.

    ``allowed``: names that the user has let torch make. QuantValueError, beginning with ``origin``, for instructions
    that no weights-only checkpoint has, and for ones that make no sense.
    """
    walker = _Walker(allowed)
    try:
        _follow(file, walker)
    except QuantValueError as error:
        raise QuantValueError(f"{origin}: {error}") from error
    except (ValueError, IndexError, KeyError, TypeError, OverflowError, MemoryError) as error:
        raise QuantValueError(
            f"{origin}: malformed: its pickle makes no sense ({clip_text(str(error), 200)})"
        ) from error
    return Contents(tuple(dict.fromkeys(walker.refused)), tuple(walker.claims), walker.value)


def _follow(file: IO[bytes], walker: _Walker) -> None:
    """Take every instruction up to the last; one that is not known is named before its argument is read.

    A checkpoint has some thirty instructions a tensor: one loop, and no call for what is merely pushed.
    """
    stack, code = walker.stack, b""
    while code != _STOP:
        code = file.read(1)
        found = _CODES.get(code)
        if found is None:
            raise _unknown(code)
        reader, step, pushed = found
        argument = pushed if reader is None else reader(file)
        if step is None:
            stack.append(argument)
        else:
            step(walker, argument)


def _unknown(code: bytes) -> ValueError:
    if not code:
        return ValueError("its end is missing")
    other = _OTHER_CODES.get(code, f"0x{code.hex()}")
    return QuantValueError(
        f"its pickle has the instruction {other}, which weights-only loading does not take; "
        "torch.save with its own pickle_protocol, 2, writes none"
    )


def _global_name(file: IO[bytes]) -> str:
    """The two lines of a GLOBAL, as torch reads them: the standard library's reader would look for escapes."""
    lines = file.readline(), file.readline()
    if not all(line.endswith(b"\n") for line in lines):
        raise ValueError("the name of a class is cut")
    return ".".join(line[:-1].decode("utf-8") for line in lines)


class _Walker:
    def __init__(self, allowed: frozenset[str]) -> None:
        self.refused: list[str] = []
        self.claims: list[Claim] = []
        self.value: object = None
        self._allowed = allowed
        self.stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def global_(self, full: str) -> None:
        if not _ALLOWED.fullmatch(full) and full not in self._allowed:
            self.refused.append(full)
        self.stack.append(_Global(full))

    def put(self, place: int) -> None:
        self._memo[int(place)] = self.stack[-1]

    def get(self, place: int) -> None:
        self.stack.append(self._memo[int(place)])

    def call(self, _: Any) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        if isinstance(function, _Global):
            self._check_call(function.name, arguments)
        self.stack.append(_SOMETHING)

    def _check_call(self, name: str, arguments: Any) -> None:
        given = arguments if isinstance(arguments, tuple) else (_SOMETHING,)
        if _SIZED.fullmatch(name) and given:
            raise QuantValueError(f"its pickle calls {name} with a size; torch writes tensors in another way")
        if name == "_codecs.encode" and not (len(given) == 2 and _is_one_of(given[1], _LATIN)):
            raise QuantValueError("its pickle encodes text in another way than bytes are written")

    def persistent(self, _: Any) -> None:
        what = self.stack.pop()
        if not isinstance(what, tuple) or len(what) < 5 or not _is_one_of(what[0], ("storage",)):
            raise QuantValueError("malformed: its pickle refers to something outside it that is no storage")
        kind, key, n = what[1], what[2], what[4]
        matched = _STORAGE.fullmatch(kind.name) if isinstance(kind, _Global) else None
        size = _ITEM_BYTES.get(matched[1]) if matched else None
        if size is None or not isinstance(key, str) or type(n) is not int or n < 0:
            raise QuantValueError("malformed: its pickle claims a storage of no known type or size")
        self.claims.append(Claim(key, n * size))
        self.stack.append(_SOMETHING)

    def drop(self, n: int) -> None:
        for _ in range(n):
            self.stack.pop()
        if not self.stack or self.stack[-1] is _MARK:
            raise ValueError("an instruction lacks its operand")

    def drop_marked(self, _: Any) -> None:
        self._marked()
        self.drop(0)

    def tuple_of(self, n: int | None) -> None:
        if n is None:
            parts = self._marked()
        else:
            self.stack[-n]  # raises where there are fewer
            parts = self.stack[len(self.stack) - n :]
            del self.stack[len(self.stack) - n :]
        made = _Parts(parts)
        made.n_parts = 1 + sum(each.n_parts if isinstance(each, _Parts) else 1 for each in made)
        if made.n_parts > _MAX_PARTS:
            raise QuantValueError(f"its pickle nests tuples that unfold to more than {_MAX_PARTS} parts")
        self.stack.append(made)

    def _marked(self) -> list[Any]:
        for place in range(len(self.stack) - 1, -1, -1):
            if self.stack[place] is _MARK:
                parts = self.stack[place + 1 :]
                del self.stack[place:]
                return parts
        raise ValueError("a mark is missing")

    def stop(self, _: Any) -> None:
        self.value = self.stack.pop()
        if self.stack or self.value is _MARK:
            raise ValueError("it ends before its values are complete")


def _is_one_of(value: Any, texts: tuple[str, ...]) -> bool:
    return isinstance(value, str) and value in texts


def _dropping(n: int) -> Callable[[_Walker, Any], None]:
    return lambda walker, _: walker.drop(n)


def _tuple_of(n: int | None) -> Callable[[_Walker, Any], None]:
    return lambda walker, _: walker.tuple_of(n)


_PUSHED = frozenset({"BININT", "BININT1", "BININT2", "BINUNICODE", "SHORT_BINSTRING", "LONG1", "BINFLOAT"})
_EMPTY = _Parts()
_EMPTY.n_parts = 1
_MADE: dict[str, Any] = {
    "NONE": None,
    "NEWTRUE": True,
    "NEWFALSE": False,
    "EMPTY_TUPLE": _EMPTY,
    **dict.fromkeys(("EMPTY_LIST", "EMPTY_DICT", "EMPTY_SET"), _SOMETHING),
    "MARK": _MARK,
}
_STEPS: dict[str, Callable[[_Walker, Any], None]] = {
    "PROTO": lambda walker, _: None,
    "GLOBAL": _Walker.global_,
    **dict.fromkeys(("BINPUT", "LONG_BINPUT"), _Walker.put),
    **dict.fromkeys(("BINGET", "LONG_BINGET"), _Walker.get),
    **dict.fromkeys(("REDUCE", "NEWOBJ"), _Walker.call),
    "BINPERSID": _Walker.persistent,
    **dict.fromkeys(("BUILD", "APPEND"), _dropping(1)),
    "SETITEM": _dropping(2),
    **dict.fromkeys(("APPENDS", "SETITEMS"), _Walker.drop_marked),
    "TUPLE": _tuple_of(None),
    "TUPLE1": _tuple_of(1),
    "TUPLE2": _tuple_of(2),
    "TUPLE3": _tuple_of(3),
    "STOP": _Walker.stop,
}
#: code -> (what reads the argument, the step that takes it, else what is pushed)
_CODES: dict[bytes, tuple[Callable[[IO[bytes]], Any] | None, Callable[[_Walker, Any], None] | None, Any]] = {
    each.code.encode("latin-1"): (
        None if each.arg is None else each.arg.reader, _STEPS.get(each.name), _MADE.get(each.name)
    )
    for each in pickletools.opcodes
    if each.name in {*_PUSHED, *_MADE, *_STEPS}
} | {_GLOBAL: (_global_name, _Walker.global_, None)}
_OTHER_CODES = {each.code.encode("latin-1"): each.name for each in pickletools.opcodes}
