"""What every source of tensors looks like: a read-only mapping from names to records that read on demand."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from itertools import islice
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from perchq_widget.core.errors import QuantValueError
from perchq_widget.sources.decimals import clip_text

if TYPE_CHECKING:
    from perchq_widget.sources.stored import Stored

_SHOWN = 20
_SHOWN_CHARACTERS = 200
_COMPARED = 2000  # names that an unknown one is compared with, which takes 0.1 s

Loader = Callable[[], np.ndarray[Any, Any]]
RowLoader = Callable[[int, int], np.ndarray[Any, Any]]


class UnknownTensorError(QuantValueError, KeyError):
    """A source holds no tensor of that name. Both a QuantValueError and a KeyError."""

    __str__ = Exception.__str__  # KeyError's would print the message in quotes


@dataclass(frozen=True, slots=True)  # slots: a file may list a hundred thousand
class TensorRecord:
    """One named tensor: what is known without reading it, and how to read it.

    ``dtype`` is a name such as ``'float32'``, ``'bfloat16'``, ``'float8_e4m3fn'``; ``n_bytes`` is the size of the
    data. ``ch_axis`` is the suggested channel axis and ``ch_axis_reason`` why. ``not_applicable`` is None for a
    tensor that can be analysed, else why it cannot. ``source`` names the file, folder or object that it comes from.

    ``stored_as`` is the scheme of a tensor that is already quantized, in one line ("int4, groups of 128, GPTQ"), and
    "" for the others; ``dtype`` is then the format of its codes, :meth:`read` decodes them and :meth:`stored` gives
    them with their parameters. ``note`` is what else one should know.

    The loaders read: ``loader`` all values as floats, ``row_loader`` those of the rows (start, stop) of axis 0,
    ``raw_loader`` what the file holds in the type that it has, integers included, ``stored_loader`` codes and
    parameters.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    n_bytes: int
    ch_axis: int
    ch_axis_reason: str
    not_applicable: str | None = None
    source: str = ""
    loader: Loader | None = field(default=None, repr=False, compare=False)
    stored_as: str = ""
    note: str = ""
    row_loader: RowLoader | None = field(default=None, repr=False, compare=False)
    raw_loader: Loader | None = field(default=None, repr=False, compare=False)
    stored_loader: Callable[[], Stored] | None = field(default=None, repr=False, compare=False)

    @property
    def quantized(self) -> bool:
        """Whether the source holds codes and parameters of this tensor, which :meth:`stored` gives."""
        return self.stored_loader is not None

    @property
    def no_codes(self) -> str:
        """Why :meth:`stored` has nothing to give: what the tensor "is" or "is stored as"."""
        if not self.stored_as:
            return "is not quantized in its file"
        return f"is stored as {self.stored_as}" + (f": {self.note}" if self.note else ", whose codes are not shown")

    def read(self) -> np.ndarray[Any, Any]:
        """The tensor, of :attr:`shape`, memory-mapped or shared where possible; do not write to it.

        QuantValueError if it is not applicable, or if its file has changed or cannot be read any more.
        """
        self._require(self.not_applicable, self.loader or self.stored_loader)
        if self.loader is not None:
            return self.loader()
        return self.stored().array()

    def rows(self, start: int, stop: int) -> np.ndarray[Any, Any]:
        """Rows ``start`` to ``stop`` of axis 0, as :meth:`read` has them; other rows are not read where that can be.

        The ends are cut to what there is, as in a slice. Raises what :meth:`read` raises.
        """
        self._require(self.not_applicable, self.loader or self.stored_loader)
        first, last, _ = slice(start, stop).indices(self.shape[0])
        if self.row_loader is None:
            return self.read()[first:last]
        if first < last:
            return self.row_loader(first, last)
        return self.row_loader(0, 1)[:0]  # no reader decodes nothing; one row has the type that read() has

    def stored(self) -> Stored:
        """Codes and parameters as the file has them; QuantValueError for a tensor that is not quantized."""
        if self.not_applicable is None and self.stored_loader is None:
            raise QuantValueError(f"{self._origin}tensor {self.name!r} {self.no_codes}; use read()")
        self._require(self.not_applicable, self.stored_loader)
        assert self.stored_loader is not None
        return self.stored_loader()

    def raw(self) -> np.ndarray[Any, Any]:
        """What the file holds, in the type that it has: also integers and packed codes, which cannot be analysed."""
        loader = self.raw_loader or self.loader
        self._require(self.not_applicable if loader is None else None, loader)
        assert loader is not None
        return loader()

    @property
    def _origin(self) -> str:
        return f"{self.source}: " if self.source else ""

    def _require(self, problem: str | None, loader: object) -> None:
        if problem is not None or loader is None:
            why = "it has no data" if problem is None else problem
            raise QuantValueError(f"{self._origin}tensor {self.name!r} cannot be analysed: {why}")


class TensorSource(Mapping[str, TensorRecord]):
    """Tensors by name, in the order of the model or file. Closing drops every reference it holds.

    Arrays already read stay valid after :meth:`close`; no file is kept open between reads.
    """

    def __init__(self, records: Iterable[TensorRecord], *, name: str, kind: str) -> None:
        self.name = name
        self.kind = kind
        self._records: dict[str, TensorRecord] | None = {record.name: record for record in records}

    def __getitem__(self, key: str) -> TensorRecord:
        records = self._open()
        if key in records:
            return records[key]
        near = near_names(str(key), records, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"it holds {len(records)} tensors, see list(source)"
        raise UnknownTensorError(f"no tensor {clip_text(repr(key), _SHOWN_CHARACTERS)} in {self.name}; {hint}")

    def __contains__(self, key: object) -> bool:
        return key in self._open()

    def __iter__(self) -> Iterator[str]:
        return iter(self._open())

    def __len__(self) -> int:
        return len(self._open())

    def __enter__(self) -> TensorSource:
        self._open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the tensors; a second call does nothing."""
        self._records = None

    def applicable(self) -> list[TensorRecord]:
        """The records that can be analysed, in order."""
        return [record for record in self._open().values() if record.not_applicable is None]

    def _open(self) -> dict[str, TensorRecord]:
        if self._records is None:
            raise QuantValueError(f"the source {self.name} is closed; open it again with open_source()")
        return self._records

    def __repr__(self) -> str:
        name = _one_line(self.name)
        if self._records is None:
            return f"<TensorSource {name} (closed)>"
        lines = [_record_line(record) for record in list(self._records.values())[:_SHOWN]]
        if len(self._records) > _SHOWN:
            lines.append(f"  ... and {len(self._records) - _SHOWN} more")
        head = f"<TensorSource {name} ({_one_line(self.kind)}, {len(self._records)} tensors)>"
        return "\n".join([head, *lines])


def _record_line(record: TensorRecord) -> str:
    note = f"  [{_one_line(record.not_applicable)}]" if record.not_applicable else f"  ch_axis {record.ch_axis}"
    stored = f"  stored as {record.stored_as}" if record.stored_as else ""
    name = clip_text(repr(record.name), _SHOWN_CHARACTERS)
    return f"  {name}  {_one_line(record.dtype)} {record.shape}{note}{stored}"


def _one_line(text: str) -> str:
    """Text that may be a file's, for a terminal: control characters as their escapes."""
    return text if text.isprintable() else repr(text)[1:-1]


def near_names(name: str, known: Iterable[str], n: int) -> list[str]:
    """Up to ``n`` names that ``name`` may be a slip of, the nearest first, from among the first of many."""
    if len(name) > _SHOWN_CHARACTERS:
        return []
    candidates = islice((each for each in known if len(each) <= _SHOWN_CHARACTERS), _COMPARED)
    return get_close_matches(name, candidates, n=n)
