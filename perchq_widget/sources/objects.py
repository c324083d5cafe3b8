"""Sources of what is in memory: one array, a mapping of arrays however nested, and records of single values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from perchq_widget.core.errors import QuantError, QuantValueError
from perchq_widget.sources.axes import AxisHint, suggested_axis
from perchq_widget.sources.base import TensorRecord, TensorSource
from perchq_widget.sources.memory import as_array, raw_array
from perchq_widget.sources.name_axes import axis_by_name
from perchq_widget.sources.nested import Unreadable, flattened, what_it_said
from perchq_widget.sources.torch.quantized import quantized_record
from perchq_widget.sources.torch.tensors import is_torch


def array_source(obj: Any, *, name: str = "tensor") -> TensorSource:
    """A source of one tensor. Raises what :func:`~perchq_widget.sources.memory.as_array` raises."""
    record = record_of(name, obj, in_memory(obj))
    if record.not_applicable is not None:
        as_array(obj, argument=name)
        raise QuantValueError(f"{name} cannot be analysed: {record.not_applicable}")
    return TensorSource([record], name=type(obj).__name__, kind="one tensor in memory")


def mapping_source(mapping: Mapping[Any, Any]) -> TensorSource:
    """A source of a mapping's values, those of mappings and lists inside it included, in order.

    Values without floats are listed as not applicable. QuantError for a mapping that holds itself or has keys that are
    no names.
    """
    origin = in_memory(mapping)
    pairs = flattened(mapping, "source", holds_arrays)
    records = [record_of(name, value, origin) for name, value in pairs]
    return TensorSource(records, name=type(mapping).__name__, kind="mapping in memory")


def in_memory(obj: object) -> str:
    """What a record says it comes from: words, because the bare name of a type may be that of a folder."""
    return f"{type(obj).__name__} in memory"


def holds_arrays(value: Any) -> bool:
    """Whether ``value`` is a list of tensors, or of mappings, and not of numbers, which are a tensor themselves."""
    return isinstance(value, (list, tuple)) and _any_array(value, set())


def _any_array(values: Any, seen: set[int]) -> bool:
    seen.add(id(values))
    for value in values:
        if isinstance(value, (list, tuple)):
            if id(value) not in seen and len(seen) < 10_000 and _any_array(value, seen):
                return True
        elif isinstance(value, Mapping) or _is_array(value):
            return True
    return False


def _is_array(value: Any) -> bool:
    if isinstance(value, (int, float, complex, str, bytes, np.generic, type(None))):
        return False
    return isinstance(value, np.ndarray) or any(hasattr(type(value), each) for each in ("__array__", "__dlpack__"))


def record_of(name: str, value: Any, origin: str, axis: AxisHint | None = None) -> TensorRecord:
    """The record of one value in memory, whatever it is; ``origin`` says where it comes from.

    ``axis`` is the channel axis where its layer is known. What cannot be analysed is not applicable, with the reason.
    """
    if isinstance(value, Unreadable):
        return _unusable(name, value, origin, value.reason)
    try:
        record = quantized_record(name, value, origin, axis) if is_torch(value) else None
        return _plain(name, value, origin, axis) if record is None else record
    except QuantError as error:
        return _unusable(name, value, origin, str(error))
    except Exception as error:  # subclasses of torch's tensors override what we ask them
        return _unusable(name, value, origin, f"it ({type(value).__name__}) does not answer: {what_it_said(error)}")


def _plain(name: str, value: Any, origin: str, axis: AxisHint | None) -> TensorRecord:
    array = as_array(value, argument="it")
    hint = axis_by_name(name, array.shape) if axis is None else axis
    facts = array.shape, array.dtype

    def load() -> np.ndarray[Any, Any]:
        now = as_array(value, argument=name)
        if (now.shape, now.dtype) != facts:
            raise QuantValueError(
                f"{name} is no longer what it was: {now.dtype} of {now.shape}, after {facts[1]} of {facts[0]}"
            )
        return now

    return TensorRecord(
        name, array.shape, array.dtype.name, array.nbytes, hint.axis, hint.reason, source=origin, loader=load,
        raw_loader=lambda: raw_array(value, argument=name),
    )  # fmt: skip


def _unusable(name: str, value: Any, origin: str, reason: str) -> TensorRecord:
    shape, dtype, n_bytes = _facts(value)
    return TensorRecord(
        name, shape, dtype, n_bytes, *suggested_axis(shape), reason, origin,
        raw_loader=None if isinstance(value, Unreadable) else lambda: raw_array(value, argument=name),
    )  # fmt: skip


def _facts(value: Any) -> tuple[tuple[int, ...], str, int]:
    """Shape, type and bytes of something that may have none of them, or refuse to say."""
    shape = _asked(value, "shape")
    sizes = tuple(map(int, shape)) if isinstance(shape, tuple) and all(isinstance(n, int) for n in shape) else ()
    dtype = _asked(value, "dtype")
    named = type(value).__name__ if dtype is None else what_it_says(dtype).removeprefix("torch.")
    n_bytes = _asked(value, "nbytes")
    return sizes, named, n_bytes if isinstance(n_bytes, int) and n_bytes >= 0 else 0


def _asked(value: Any, attribute: str) -> Any:
    try:
        return getattr(value, attribute, None)
    except Exception:  # properties of lazy tensors raise, and those of other people's classes may
        return None


def what_it_says(obj: object) -> str:
    """``str(obj)``, or what it raised."""
    try:
        return str(obj)
    except Exception as error:
        return what_it_said(error)
