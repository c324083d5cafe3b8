"""One tensor gives one table, byte for byte, whatever it comes in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import needs
import numpy as np
import pytest
from core.runtimes.bits import from_torch

import perchq_widget as pq
from perchq_widget.sources.opening import open_source

pytestmark = pytest.mark.oracle
torch, jax = needs.oracle("torch"), needs.oracle("jax")
KINDS = ("float32", "bfloat16", "float16", "float8_e4m3fn", "float8_e5m2")
CODES = np.random.default_rng(7).standard_normal((6, 40)) * 3


class Wrapped:
    def __init__(self, array: Any) -> None:
        self.array = array


class WithArray(Wrapped):
    def __array__(self, *_: Any, **__: Any) -> Any:
        return self.array


class WithDLPack(Wrapped):
    def __dlpack__(self, **options: Any) -> Any:
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        return self.array.__dlpack_device__()


def table(obj: Any) -> str:
    return str(pq.analyze(obj, dtype="qint8", ch_axis=0, name="w").table.to_csv())


@pytest.mark.parametrize("kind", KINDS)
def test_one_tensor_one_table(kind: str, tmp_path: Path) -> None:
    tensor = torch.from_numpy(CODES.astype(np.float32)).to(getattr(torch, kind))
    array = from_torch(torch, tensor)
    assert array.dtype == np.dtype(getattr(ml_dtypes, kind, kind))
    expected = table(array)
    containers: dict[str, Callable[[], Any]] = {
        "torch": lambda: tensor,
        "jax": lambda: jax.numpy.asarray(array),
        "__array__": lambda: WithArray(array),
        "strided": lambda: np.asfortranarray(array),
        "nested": lambda: open_source({"a": [{"b": array}]})["a.0.b"],
        "nested torch": lambda: open_source({"a": [{"b": tensor}]})["a.0.b"],
        "nested jax": lambda: open_source({"a": {"b": jax.numpy.asarray(array)}})["a.b"],
        "lone": lambda: open_source(array)["tensor"],
        "archive": lambda: _saved(tmp_path / "w.pt", {"a": {"b": tensor}})["a.b"],
    }
    if kind in ("float32", "float16"):  # what DLPack and numpy both have
        containers["DLPack"] = lambda: WithDLPack(array)
    if not kind.startswith("float8"):  # torch itself cannot read those back from its old format
        containers["old format"] = lambda: _saved(tmp_path / "w.pth", {"w": tensor}, archived=False)["w"]
    for name, make in containers.items():
        assert table(make()) == expected, name


def _saved(path: Path, obj: Any, *, archived: bool = True) -> Any:
    torch.save(obj, path, _use_new_zipfile_serialization=archived)
    return open_source(path)
