"""JSON that nobody vouches for, taken entry by entry: no more than one entry of it becomes Python objects at a time.

json.loads would build the whole document first, at up to thirty bytes of memory a byte of text, before anything in
it could be refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from json import JSONDecodeError, JSONDecoder
from json.decoder import scanstring  # type: ignore[attr-defined]  # as old as the module, but in no stub
from typing import Any

from perchq_widget.core.errors import QuantValueError

LONGEST_VALUE = 1 << 16
"""Characters of one value that is taken whole."""

_WINDOWS = (256, 4096, LONGEST_VALUE)
_SPACE = "[ \t\n\r]*"
_SIGNS = {sign: re.compile(f"{_SPACE}[{sign}]{_SPACE}").match for sign in "{}:,"}
_END = re.compile(f"{_SPACE}\\Z").match


class JsonError(QuantValueError):
    """A text that is not JSON, or not the kind that is read here: why, as the end of a sentence."""


class Pairs(list[tuple[str, Any]]):
    """A JSON object as its pairs: a dict would hide repeated names."""


_decode = JSONDecoder(object_pairs_hook=Pairs).raw_decode


class JsonWalk:
    """A place in a JSON text, from its first value on. Each value is taken, skipped or walked into."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def names(self, limit: int | None = None) -> Iterator[str]:
        """The names of the object that begins here; the caller takes the value of each before the next.

        JsonError if no object begins here, if it is malformed, or after ``limit`` names.
        """
        self._pass("{", "is not a JSON object")
        if self._passed("}"):
            return
        taken = 0
        while True:
            if taken == limit:
                raise JsonError(f"has an object of more than {limit} entries")
            taken += 1
            yield self._name()
            if self._passed("}"):
                return
            self._pass(",", "is not JSON")

    def value(self) -> Any:
        """The value that begins here, objects as :class:`Pairs`; JsonError if it is malformed or very long."""
        for window in _WINDOWS:
            rest = self._text[self._at : self._at + window]
            try:
                found, end = _decode(rest)
            except ValueError:
                end = window
            except RecursionError:
                raise JsonError(f"is not JSON that is read here: nested too deeply at character {self._at}") from None
            # What ends with the window may go on behind it, as a number does.
            if end < len(rest) or (end == len(rest) < window):
                self._at += end
                return found
            if len(rest) < window:
                raise JsonError(f"is not JSON (at character {self._at})")
        raise JsonError(f"is not JSON, or has a value of more than {LONGEST_VALUE} characters (at {self._at})")

    def skip_texts(self, limit: int) -> None:
        """Pass the value that begins here: an object of up to ``limit`` texts of any length, or a small value."""
        start = self._at
        try:
            for _ in self.names(limit):
                if not self._text.startswith('"', self._at):
                    break
                self._string()
            else:
                return
        except JsonError:
            if self._at - start > LONGEST_VALUE:
                raise
        self._at = start
        self.value()

    def finish(self) -> None:
        """JsonError if anything but white space follows."""
        if _END(self._text, self._at) is None:
            raise JsonError(f"is not JSON: more follows its end at character {self._at}")

    def _name(self) -> str:
        if not self._text.startswith('"', self._at):
            raise JsonError(f"is not JSON (a name is missing at character {self._at})")
        name = self._string()
        self._pass(":", "is not JSON")
        return name

    def _string(self) -> str:
        found: str
        try:
            found, self._at = scanstring(self._text, self._at + 1, True)
        except JSONDecodeError as error:
            raise JsonError(f"is not JSON ({error})") from None
        return found

    def _passed(self, sign: str) -> bool:
        match = _SIGNS[sign](self._text, self._at)
        if match is not None:
            self._at = match.end()
        return match is not None

    def _pass(self, sign: str, otherwise: str) -> None:
        if not self._passed(sign):
            raise JsonError(f"{otherwise} ({sign!r} is missing at character {self._at})")
