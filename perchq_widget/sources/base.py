"""What every source of tensors looks like: a read-only mapping from names to records that read on demand."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from perchq_widget.core.errors import QuantValueError
from perchq_widget.sources.files import existing_file

_SHOWN = 20

FIRST_AXIS = "output channels come first in Linear and Conv weights as torch stores them; change it for other layouts"
ONE_AXIS = "the only axis"


class UnknownTensorError(QuantValueError, KeyError):
    """A source holds no tensor of that name. Both a QuantValueError and a KeyError."""

    __str__ = Exception.__str__  # KeyError's would print the message in quotes


@dataclass(frozen=True)
class TensorRecord:
    """One named tensor: what is known without reading it, and how to read it.

    ``dtype`` is a name such as ``'float32'``, ``'bfloat16'``, ``'float8_e4m3fn'``; ``n_bytes`` is the size of the
    data. ``ch_axis`` is the suggested channel axis and ``ch_axis_reason`` why. ``not_applicable`` is None for a
    tensor that can be analysed, else why it cannot. ``source`` names the file or object that it comes from.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    n_bytes: int
    ch_axis: int
    ch_axis_reason: str
    not_applicable: str | None = None
    source: str = ""
    loader: Callable[[], np.ndarray[Any, Any]] | None = field(default=None, repr=False, compare=False)

    def read(self) -> np.ndarray[Any, Any]:
        """The tensor, of :attr:`shape`, memory-mapped or shared where possible; do not write to it.

        QuantValueError if it is not applicable, or if its file has changed or cannot be read any more.
        """
        if self.not_applicable is not None or self.loader is None:
            origin = f"{self.source}: " if self.source else ""
            reason = self.not_applicable or "it has no data"
            raise QuantValueError(f"{origin}tensor {self.name!r} cannot be analysed: {reason}")
        return self.loader()


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
        near = get_close_matches(str(key), records, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"it holds {len(records)} tensors, see list(source)"
        raise UnknownTensorError(f"no tensor {key!r} in {self.name}; {hint}")

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
        if self._records is None:
            return f"<TensorSource {self.name} (closed)>"
        lines = [_record_line(record) for record in list(self._records.values())[:_SHOWN]]
        if len(self._records) > _SHOWN:
            lines.append(f"  ... and {len(self._records) - _SHOWN} more")
        return "\n".join([f"<TensorSource {self.name} ({self.kind}, {len(self._records)} tensors)>", *lines])


def _record_line(record: TensorRecord) -> str:
    note = f"  [{record.not_applicable}]" if record.not_applicable else f"  ch_axis {record.ch_axis}"
    return f"  {record.name!r}  {record.dtype} {record.shape}{note}"


def suggested_axis(shape: tuple[int, ...]) -> tuple[int, str]:
    """The channel axis to begin with when only the shape is known, and why."""
    return (0, ONE_AXIS) if len(shape) <= 1 else (0, FIRST_AXIS)


def open_source(obj: object) -> TensorSource:
    """The tensors of a file (.npy, .npz, .safetensors), mapping, state dict, torch module, record or single array.

    A source is returned as it is. QuantValueError for a file that is missing, of another kind or malformed;
    QuantTypeError for an object that holds no tensors.
    """
    from perchq_widget.sources.memory import array_source, mapping_source, module_source
    from perchq_widget.sources.torch_tensors import is_torch

    if isinstance(obj, TensorSource):
        return obj
    if isinstance(obj, TensorRecord):
        return TensorSource([obj], name=obj.name, kind="one tensor")
    if isinstance(obj, (str, os.PathLike)):
        return _open_file(Path(obj))
    if is_torch(obj, "nn.Module"):
        return module_source(obj)
    if isinstance(obj, Mapping):
        return mapping_source(obj)
    return array_source(obj)


def _open_file(path: Path) -> TensorSource:
    from perchq_widget.sources.npy import open_npy, open_npz
    from perchq_widget.sources.safetensors import open_safetensors

    readers = {".npy": open_npy, ".npz": open_npz, ".safetensors": open_safetensors}
    found = existing_file(path, "source")
    reader = readers.get(found.suffix.lower())
    if reader is not None:
        return reader(found)
    hint = _FOREIGN.get(found.suffix.lower(), "save the tensors as .safetensors")
    raise QuantValueError(
        f"source: cannot read {found} ({found.suffix or 'no suffix'}); read are {', '.join(readers)}: {hint}"
    )


_CHECKPOINT = "load it yourself and give the state dict: torch.load(path, weights_only=True)"
_FOREIGN = {".pt": _CHECKPOINT, ".pth": _CHECKPOINT, ".bin": _CHECKPOINT, ".ckpt": _CHECKPOINT}
