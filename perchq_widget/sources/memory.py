"""Tensors that are already in memory: numpy, torch, pandas, lists, anything with DLPack or ``__array__``."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from typing import Any

import ml_dtypes
import numpy as np

from perchq_widget.core.errors import QuantError, QuantTypeError, QuantValueError
from perchq_widget.sources.nested import what_it_said
from perchq_widget.sources.torch.tensors import is_torch, torch_array

FLOAT_DTYPES: frozenset[np.dtype[Any]] = frozenset(
    np.dtype(kind)
    for kind in (
        np.float16,
        np.float32,
        np.float64,
        ml_dtypes.bfloat16,
        ml_dtypes.float8_e3m4,
        ml_dtypes.float8_e4m3,
        ml_dtypes.float8_e4m3b11fnuz,
        ml_dtypes.float8_e4m3fn,
        ml_dtypes.float8_e4m3fnuz,
        ml_dtypes.float8_e5m2,
        ml_dtypes.float8_e5m2fnuz,
        ml_dtypes.float8_e8m0fnu,
        ml_dtypes.float6_e2m3fn,
        ml_dtypes.float6_e3m2fn,
        ml_dtypes.float4_e2m1fn,
    )
)
"""What counts as a float tensor, in native byte order."""

_CPU_DEVICES = frozenset({1, 3})  # DLPack's kDLCPU and kDLCUDAHost (pinned host memory)
_MAX_LIST_DEPTH = 64  # numpy's
_MAX_LIST_SIZE = 2**31  # numbers; a list of as many takes more than 16 GiB as it is


def as_array(obj: Any, *, argument: str = "tensor") -> np.ndarray[Any, Any]:
    """``obj`` as a float array of rank 1 or more with at least one element; no copy where that is possible.

    Taken: numpy arrays, torch CPU tensors (bfloat16 and float8 as ml_dtypes), pandas objects, objects with
    ``__dlpack__`` or ``__array__``, and lists of numbers (as float64; so are integers in lists and data frames).
    Any strides. Shares memory except for lists, mixed data frames and foreign byte order; do not write to it.

    Raises QuantTypeError for what holds no floats and QuantValueError for no elements, rank 0 or data that is
    elsewhere; the text begins with ``argument`` and ends with what to do.
    """
    array = _native(_convert(obj, argument))
    problem = dtype_problem(array.dtype)
    if problem:
        raise QuantTypeError(f"{argument} {problem}")
    problem = shape_problem(array.shape)
    if problem:
        raise QuantValueError(f"{argument} {problem}")
    return array


def raw_array(obj: Any, *, argument: str = "tensor") -> np.ndarray[Any, Any]:
    """``obj`` as :func:`as_array` takes it, but of any type, rank and size; raises QuantError as it does."""
    return _native(_convert(obj, argument, any_dtype=True))


def dtype_problem(dtype: np.dtype[Any]) -> str | None:
    """Why an array of ``dtype`` is not taken, and what to do; None if it is."""
    if dtype.newbyteorder("=") in FLOAT_DTYPES:
        return None
    if dtype.kind == "c":
        return f"is complex ({dtype}); give array.real or abs(array)"
    if dtype.kind == "b":
        return "has booleans; floats are quantized here: array.astype('float32') if 0 and 1 are meant as numbers"
    if dtype.kind in "iu" or dtype.name.startswith(("int", "uint")):
        return f"has integers ({dtype}); dequantize them if they are codes, else array.astype('float32')"
    if dtype.kind == "f":
        return f"has the type {dtype}, wider than float64; call array.astype('float64')"
    return f"holds no floats (numpy type {dtype}); give an array of float16, bfloat16, float32 or float64"


def shape_problem(shape: tuple[int, ...]) -> str | None:
    """Why an array of ``shape`` cannot be analysed, and what to do; None if it can."""
    if shape == ():
        return "has rank 0 (shape ()); give at least one dimension: array.reshape(1)"
    if 0 in shape:
        return f"has no elements (shape {shape}); there is nothing to quantize"
    return None


def _native(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def _convert(obj: Any, argument: str, *, any_dtype: bool = False) -> np.ndarray[Any, Any]:
    try:
        return torch_array(obj, argument, any_dtype=any_dtype) if is_torch(obj) else _converted(obj, argument)
    except QuantError:
        raise
    except Exception as error:  # code of the object's own: attributes and protocols may raise anything
        raise QuantTypeError(f"{argument} ({type(obj).__name__}) gives no array: {what_it_said(error)}") from error


def _converted(obj: Any, argument: str) -> np.ndarray[Any, Any]:
    if isinstance(obj, np.ma.MaskedArray):
        raise QuantTypeError(
            f"{argument} is a masked array; choose what masked means: array.filled(0.0) or .compressed()"
        )
    if isinstance(obj, np.ndarray):
        return np.asarray(obj)
    if _is_pandas(obj):
        return _from_pandas(obj)
    if isinstance(obj, (list, tuple)):
        return _from_list(obj, argument)
    if (hasattr(obj, "__dlpack__") or hasattr(obj, "__array__")) and not isinstance(obj, type):
        return _from_protocol(obj, argument)
    raise QuantTypeError(f"{argument} must be an array or a tensor, got {type(obj).__name__}{_advice(obj)}")


def _advice(obj: object) -> str:
    if isinstance(obj, str):
        return "; for a tensor of a file give its record: open_source(path)[name]"
    if hasattr(obj, "toarray"):
        return "; call .toarray()"
    if isinstance(obj, Mapping) or is_torch(obj, "nn.Module"):
        return "; give one of its tensors"
    return ""


def _is_pandas(obj: object) -> bool:
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(obj, (pandas.DataFrame, pandas.Series))


def _from_pandas(obj: Any) -> np.ndarray[Any, Any]:
    array: np.ndarray[Any, Any] = obj.to_numpy()
    if array.dtype.kind == "O" and _is_numeric(obj):
        array = obj.to_numpy(dtype="float64", na_value=np.nan)
    return array.astype(np.float64) if array.dtype.kind in "iu" else array


def _is_numeric(obj: Any) -> bool:
    """True if every column of a pandas object has a number type (nullable and Arrow types are objects in numpy)."""
    types = sys.modules["pandas"].api.types
    dtypes = obj.dtypes if obj.ndim == 2 else [obj.dtype]
    return all(types.is_numeric_dtype(dtype) and not types.is_bool_dtype(dtype) for dtype in dtypes)


def _from_list(rows: Any, argument: str) -> np.ndarray[Any, Any]:
    _check_nesting(rows, argument)
    try:
        array = np.asarray(rows)
    except (ValueError, TypeError, RuntimeError) as error:
        raise QuantValueError(f"{argument} is a list that makes no array ({error}); give rows of one length") from error
    return array.astype(np.float64) if array.dtype.kind in "iu" else array


def _check_nesting(rows: Any, argument: str) -> None:
    """Refuse lists inside themselves, which numpy would unroll: the first of each level tells the shape."""
    sizes: list[int] = []
    while isinstance(rows, (list, tuple)) and rows:
        sizes.append(len(rows))
        rows = rows[0]
        if len(sizes) > _MAX_LIST_DEPTH or math.prod(sizes) > _MAX_LIST_SIZE:
            raise QuantValueError(
                f"{argument} is a list of lists inside one another, {len(sizes)} levels of at least "
                f"{math.prod(sizes)} numbers; give an array"
            )


def _from_protocol(obj: Any, argument: str) -> np.ndarray[Any, Any]:
    """DLPack first, since it never copies; ``__array__`` for what numpy's DLPack lacks, such as bfloat16."""
    if callable(getattr(obj, "is_deleted", None)) and obj.is_deleted():  # JAX takes donated arrays away
        raise QuantValueError(f"{argument} has been deleted, as arrays are that were donated; give one that still is")
    device = obj.__dlpack_device__()[0] if hasattr(obj, "__dlpack_device__") else 1
    if int(device) not in _CPU_DEVICES:
        raise QuantValueError(
            f"{argument} is not in main memory (DLPack device {int(device)}); copy it to the CPU first"
        )
    if hasattr(obj, "__dlpack__"):
        try:
            return np.from_dlpack(obj)
        except Exception:  # each library has its own errors for types that DLPack or numpy lacks
            if not hasattr(obj, "__array__"):
                raise
    array: np.ndarray[Any, Any] = np.asarray(obj)
    return array
