"""Arrays from whatever holds them, without a copy where that is possible, or a word on what to call first."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pandas as pd
import pytest

from perchq_widget.core.errors import QuantTypeError, QuantValueError
from perchq_widget.sources.base import TensorSource
from perchq_widget.sources.memory import FLOAT_DTYPES, as_array


class OnlyArray:
    def __init__(self, data: np.ndarray[Any, Any]) -> None:
        self.data = data

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        return self.data


class OnlyDLPack:
    def __init__(self, data: np.ndarray[Any, Any], device: int = 1) -> None:
        self.data, self.device = data, device

    def __dlpack__(self, **options: Any) -> Any:
        return self.data.__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.device, 0


class BrokenDLPack(OnlyDLPack, OnlyArray):
    def __init__(self, data: np.ndarray[Any, Any]) -> None:
        OnlyDLPack.__init__(self, data)

    def __dlpack__(self, **options: Any) -> Any:
        raise BufferError("this type has no DLPack code")


@pytest.mark.parametrize("dtype", sorted(FLOAT_DTYPES, key=str), ids=str)
def test_every_float_type_is_taken_without_a_copy(dtype: np.dtype[Any]) -> None:
    data = np.ones((4, 6), dtype)
    for array in (data, data.T, data[::2, ::-3], data[1:, None]):
        result = as_array(array)
        assert type(result) is np.ndarray
        assert result.dtype == dtype
        assert result.strides == array.strides
        assert np.shares_memory(result, data)


@pytest.mark.parametrize("wrap", [OnlyArray, OnlyDLPack, BrokenDLPack])
def test_protocols_share_memory(wrap: Any) -> None:
    data = np.arange(6, dtype=np.float32).reshape(2, 3)
    result = as_array(wrap(data))
    assert np.array_equal(result, data)
    assert np.shares_memory(result, data)


def test_foreign_byte_order_becomes_native() -> None:
    result = as_array(np.array([1.5, -2.0], ">f4"))
    assert result.dtype == np.dtype(np.float32)
    assert result.dtype.isnative
    assert result.tolist() == [1.5, -2.0]


@pytest.mark.parametrize(
    ("obj", "shape"),
    [
        ([1, 2, 3], (3,)),
        ([[1.5, 2.0], [3, 4]], (2, 2)),
        ((np.ones(2), np.zeros(2)), (2, 2)),
        (pd.DataFrame({"a": [1, 2], "b": [0.5, 1.5]}), (2, 2)),
        (pd.DataFrame({"a": [1, 2]}), (2, 1)),
        (pd.DataFrame({"a": [1, 2], "b": pd.array([1, None], dtype="Int64")}), (2, 2)),
        (pd.Series([1.0, 2.0]), (2,)),
    ],
)
def test_numbers_in_lists_and_data_frames_become_float64(obj: object, shape: tuple[int, ...]) -> None:
    result = as_array(obj)
    assert result.dtype == np.float64
    assert result.shape == shape


@pytest.mark.parametrize(
    ("obj", "error", "words"),
    [
        (np.ones(3, np.int8), QuantTypeError, r"weight has integers \(int8\).*astype"),
        (np.ones(3, ml_dtypes.int4), QuantTypeError, r"integers \(int4\)"),
        (np.ones(3, bool), QuantTypeError, "booleans.*astype"),
        (np.ones(3, complex), QuantTypeError, r"complex.*array\.real"),
        (np.array(["a"]), QuantTypeError, "no floats"),
        (np.array([None]), QuantTypeError, "no floats"),
        (np.zeros(2, "f4,f4"), QuantTypeError, "no floats"),
        (np.ma.ones(3), QuantTypeError, r"masked.*filled"),
        (np.array(1.0), QuantValueError, r"rank 0 \(shape \(\)\).*reshape"),
        (np.float32(1), QuantValueError, "rank 0"),
        (np.ones((2, 0, 3)), QuantValueError, r"no elements \(shape \(2, 0, 3\)\)"),
        ([], QuantValueError, "no elements"),
        ([[1], [1, 2]], QuantValueError, "rows of one length"),
        ([True, False], QuantTypeError, "booleans"),
        (["1", "2"], QuantTypeError, "no floats"),
        ([10**400], QuantTypeError, "no floats"),
        (1.0, QuantTypeError, "must be an array.*got float"),
        (None, QuantTypeError, "got NoneType"),
        ("w.npy", QuantTypeError, r"its record: open_source\(path\)\[name\]$"),
        ({"w": 1}, QuantTypeError, "one of its tensors"),
        (TensorSource([], name="s", kind="k"), QuantTypeError, "one of its tensors"),
        (np.ndarray, QuantTypeError, "got type"),
        (pd.DataFrame({"a": ["x"]}), QuantTypeError, "no floats"),
        (OnlyDLPack(np.ones(2), device=2), QuantValueError, "DLPack device 2.*copy it to the CPU"),
    ],
)
def test_the_rest_is_refused_with_what_to_do(obj: object, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words) as caught:
        as_array(obj, argument="weight")
    assert str(caught.value).startswith("weight ")


@pytest.mark.skipif(np.dtype(np.longdouble).itemsize == 8, reason="longdouble is float64 here")
def test_longdouble_is_refused() -> None:
    with pytest.raises(QuantTypeError, match=r"wider than float64.*astype"):
        as_array(np.ones(2, np.longdouble))
