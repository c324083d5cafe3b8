"""A worker whose reader does everything that it must not, to see that each is noticed."""

from __future__ import annotations

import os
import pickle
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from fuzz import worker

import perchq_widget as pq
from perchq_widget.sources.base import TensorSource


class _Payload:
    def __reduce__(self) -> tuple[Any, ...]:
        return (len, ([],))


def _changed(path: Path, **changes: Any) -> TensorSource:
    good = next(iter(pq.open_source({"w": _ones()}).values()))
    return TensorSource([replace(good, **changes)], name=str(path), kind="evil")


def _ones() -> Any:
    import numpy as np

    return np.ones((2, 3), np.float32)


def _forever(path: Path) -> Any:
    while True:
        path.exists()


def _write(path: Path) -> Any:
    path.with_suffix(".new").write_bytes(b"")
    return _changed(path)


def _look(path: Path) -> Any:
    (path.parent.parent / worker.SECRET).read_bytes()
    return _changed(path)


#: By the number of the file: what is done, and the words in which it must be reported.
DEEDS: list[tuple[Callable[[Path], Any], str]] = [
    (lambda path: {}["key"], "KeyError"),
    (_write, "writing"),
    (_look, "reading"),
    (lambda path: pickle.loads(pickle.dumps(_Payload())), "pickle.find_class"),
    (lambda path: exec("1"), "exec of"),
    (lambda path: os.system("true"), "os.system"),
    (_forever, "processor time"),
    (lambda path: bytearray(3 << 30), "MemoryError"),
    (lambda path: os.abort(), "SIGABRT"),
    (lambda path: _changed(path, shape=(3, 3)), "the shape it claims"),
    (lambda path: (bytearray(100 << 20), _changed(path))[1], "bytes of memory"),
    (lambda path: _changed(path, row_loader=lambda start, stop: _ones() * 2), "rows that are those of read"),
    (lambda path: _changed(path, ch_axis=2), "channel axis"),
    (lambda path: _changed(path, name="\ud800"), "UnicodeEncodeError"),
]


def main() -> None:
    """As the worker does, with files read by DEEDS and only the good ones as they should be."""
    now = [-1]
    note, read = worker.Bench._note, pq.open_source

    def noted(bench: worker.Bench, reader: str, number: int) -> None:
        now[0] = number
        note(bench, reader, number)

    worker.Bench._note = noted  # type: ignore[method-assign]
    pq.open_source = lambda path: read(path) if now[0] < 0 or not isinstance(path, Path) else DEEDS[now[0]][0](path)
    worker.LIMIT_S = 0.3
    worker.main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]), sys.argv[4:])


if __name__ == "__main__":
    main()
