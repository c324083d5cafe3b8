"""Objects of other libraries: whatever their protocols do, a QuantError or an array comes out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from perchq_widget.core.errors import QuantError, QuantTypeError, QuantValueError
from perchq_widget.sources.memory import as_array, raw_array
from perchq_widget.sources.opening import open_source


class Raising:
    """Every attribute raises; ``__array__`` and ``__dlpack__`` are there."""

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise ZeroDivisionError("on access")

    def __dlpack__(self, **_: Any) -> Any:
        raise KeyError("no capsule")

    @property
    def shape(self) -> Any:
        raise LookupError("no shape")

    @property
    def dtype(self) -> Any:
        raise MemoryError


class DeviceRaises(Raising):
    def __dlpack_device__(self) -> Any:
        raise OSError("no device")


class OddDevice(Raising):
    def __dlpack_device__(self) -> Any:
        return "cpu"


class Lying:
    """Another array each time."""

    shape, dtype = (9, 9), "float99"

    def __init__(self) -> None:
        self.times = 0

    def __array__(self, *_: Any, **__: Any) -> Any:
        self.times += 1
        return np.ones(self.times + 1, np.float32)


class NoArray:
    def __array__(self, *_: Any, **__: Any) -> Any:
        return "not an array"


class Unprintable:
    def __array__(self, *_: Any, **__: Any) -> Any:
        class SilentError(Exception):
            def __str__(self) -> str:
                raise ValueError

        raise SilentError


class Guarded:
    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(f"{name} is guarded")


HOSTILE = [Raising, DeviceRaises, OddDevice, NoArray, Unprintable, Guarded]


@pytest.mark.parametrize("make", HOSTILE)
def test_only_quant_errors_come_out(make: Any) -> None:
    for use in (as_array, raw_array, open_source):
        with pytest.raises(QuantTypeError):
            use(make())
    source = open_source({"bad": make(), "good": np.ones(2)})
    assert source["bad"].not_applicable
    assert "'good'" in repr(source)
    for read in (source["bad"].read, source["bad"].raw):
        with pytest.raises(QuantError):
            read()


def test_an_array_that_changes_is_noticed() -> None:
    record = open_source({"w": Lying()})["w"]
    assert record.shape == (2,)  # what it gave, not what it says
    with pytest.raises(QuantValueError, match="no longer what it was"):
        record.read()


def test_integers_and_scalars_can_be_had_raw() -> None:
    source = open_source({"codes": np.arange(3, dtype=np.int8), "one": np.float32(2), "note": "text"})
    assert source["codes"].raw().dtype == np.int8
    assert source["one"].raw() == 2
    assert source["codes"].n_bytes == 3
    with pytest.raises(QuantTypeError, match="must be an array"):
        source["note"].raw()
