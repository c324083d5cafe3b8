"""Tensors that are already in memory: numpy, torch, pandas, lists, anything with DLPack or ``__array__``."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import ml_dtypes
import numpy as np

from perchq_widget.core.errors import QuantError, QuantTypeError, QuantValueError
from perchq_widget.sources.axes import suggested_axis
from perchq_widget.sources.base import TensorRecord, TensorSource
from perchq_widget.sources.torch_tensors import is_torch, torch_array

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

_TRANSPOSED = frozenset({"ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d"})
_CPU_DEVICES = frozenset({1, 3})  # DLPack's kDLCPU and kDLCUDAHost (pinned host memory)


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


def _convert(obj: Any, argument: str) -> np.ndarray[Any, Any]:
    if isinstance(obj, np.ma.MaskedArray):
        raise QuantTypeError(
            f"{argument} is a masked array; choose what masked means: array.filled(0.0) or .compressed()"
        )
    if isinstance(obj, np.ndarray):
        return np.asarray(obj)
    if is_torch(obj):
        return torch_array(obj, argument)
    if _is_pandas(obj):
        return _from_pandas(obj)
    if isinstance(obj, (list, tuple)):
        return _from_list(obj, argument)
    if (hasattr(obj, "__dlpack__") or hasattr(obj, "__array__")) and not isinstance(obj, type):
        return _from_protocol(obj, argument)
    raise QuantTypeError(f"{argument} must be an array or a tensor, got {type(obj).__name__}{_advice(obj)}")


def _advice(obj: object) -> str:
    if isinstance(obj, str):
        return "; to read a file: open_source(path)[name].read()"
    if hasattr(obj, "toarray"):
        return "; call .toarray()"
    if isinstance(obj, dict) or is_torch(obj, "nn.Module"):
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
    try:
        array = np.asarray(rows)
    except (ValueError, TypeError, RuntimeError) as error:
        raise QuantValueError(f"{argument} is a list that makes no array ({error}); give rows of one length") from error
    return array.astype(np.float64) if array.dtype.kind in "iu" else array


def _from_protocol(obj: Any, argument: str) -> np.ndarray[Any, Any]:
    """DLPack first, since it never copies; ``__array__`` for what numpy's DLPack lacks, such as bfloat16."""
    device = obj.__dlpack_device__()[0] if hasattr(obj, "__dlpack_device__") else 1
    if int(device) not in _CPU_DEVICES:
        raise QuantValueError(
            f"{argument} is not in main memory (DLPack device {int(device)}); copy it to the CPU first"
        )
    if hasattr(obj, "__dlpack__"):
        try:
            return np.from_dlpack(obj)
        except (BufferError, RuntimeError, TypeError, ValueError) as error:
            if not hasattr(obj, "__array__"):
                raise QuantTypeError(f"{argument} ({type(obj).__name__}) gives no array: {error}") from error
    try:
        return np.asarray(obj)
    except (ValueError, TypeError, RuntimeError) as error:
        raise QuantTypeError(f"{argument} ({type(obj).__name__}) gives no array: {error}") from error


def array_source(obj: Any, *, name: str = "tensor") -> TensorSource:
    """A source of one tensor. Raises what :func:`as_array` raises."""
    as_array(obj, argument=name)
    return TensorSource([_record(name, obj, "")], name=type(obj).__name__, kind="one tensor in memory")


def mapping_source(mapping: Mapping[Any, Any]) -> TensorSource:
    """A source of a mapping's values, in order; values without floats are listed as not applicable."""
    for name in mapping:
        if not isinstance(name, str):
            raise QuantTypeError(f"source: tensor names must be text, got {name!r} ({type(name).__name__})")
    records = [_record(name, value, type(mapping).__name__) for name, value in mapping.items()]
    return TensorSource(records, name=type(mapping).__name__, kind="mapping in memory")


def module_source(module: Any) -> TensorSource:
    """A source of a torch module's parameters and buffers; layer types give the channel axis."""
    axes = _transposed_weights(module)
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    records = [_record(name, value, type(module).__name__, axes.get(name)) for name, value in tensors.items()]
    return TensorSource(records, name=type(module).__name__, kind="torch module")


def _transposed_weights(module: Any) -> dict[str, tuple[int, str]]:
    """The weights whose output channels are on axis 1: those of transposed convolutions."""
    found = {}
    for prefix, layer in module.named_modules():
        kind = next((base.__name__ for base in type(layer).__mro__ if base.__name__ in _TRANSPOSED), None)
        if kind is not None:
            name = f"{prefix}.weight" if prefix else "weight"
            found[name] = (1, f"{kind} stores (in, out / groups, ...): its output channels are axis 1")
    return found


def _record(name: str, value: Any, source: str, axis: tuple[int, str] | None = None) -> TensorRecord:
    try:
        array = as_array(value, argument="it")
    except QuantError as error:
        return _unusable(name, value, source, str(error))
    ch_axis, reason = axis or suggested_axis(array.shape)
    return TensorRecord(
        name,
        array.shape,
        array.dtype.name,
        array.nbytes,
        ch_axis,
        reason,
        source=source,
        loader=lambda: as_array(value, argument=name),
    )


def _unusable(name: str, value: Any, source: str, reason: str) -> TensorRecord:
    shape = getattr(value, "shape", ())
    sizes = tuple(shape) if isinstance(shape, tuple) else ()
    dtype = str(getattr(value, "dtype", type(value).__name__)).removeprefix("torch.")
    n_bytes = getattr(value, "nbytes", 0) if isinstance(value, np.ndarray) else 0
    return TensorRecord(name, sizes, dtype, n_bytes, *suggested_axis(sizes), reason, source)
