"""torch tensors as numpy arrays that share their memory. torch is recognised in ``sys.modules``, never imported."""

from __future__ import annotations

import sys
from typing import Any

import ml_dtypes
import numpy as np

from perchq_widget.core.errors import QuantTypeError, QuantValueError
from perchq_widget.sources.nested import what_it_said

_SHARED = frozenset({"float16", "float32", "float64"})

# numpy lacks these types, and torch does not know ml_dtypes: the bits travel as integers of the same size.
_THROUGH_BITS: dict[str, tuple[str, np.dtype[Any]]] = {
    "bfloat16": ("int16", np.dtype(ml_dtypes.bfloat16)),
    "float8_e4m3fn": ("uint8", np.dtype(ml_dtypes.float8_e4m3fn)),
    "float8_e5m2": ("uint8", np.dtype(ml_dtypes.float8_e5m2)),
    "float8_e4m3fnuz": ("uint8", np.dtype(ml_dtypes.float8_e4m3fnuz)),
    "float8_e5m2fnuz": ("uint8", np.dtype(ml_dtypes.float8_e5m2fnuz)),
    "float8_e8m0fnu": ("uint8", np.dtype(ml_dtypes.float8_e8m0fnu)),
}


def is_torch(obj: object, kind: str = "Tensor") -> bool:
    """True for a ``torch.Tensor`` (or ``kind="nn.Module"``); False whenever torch has not been imported."""
    found: Any = sys.modules.get("torch")
    for part in kind.split("."):
        found = getattr(found, part, None)
    return found is not None and isinstance(obj, found)


def torch_dtype_name(tensor: Any) -> str:
    """``'bfloat16'`` for ``torch.bfloat16``."""
    return str(tensor.dtype).removeprefix("torch.")


def torch_array(tensor: Any, argument: str, *, any_dtype: bool = False) -> np.ndarray[Any, Any]:
    """The floating-point CPU ``tensor`` as an array that shares its memory (a view with its sign bit set is copied).

    Parameters and tensors that require gradients are taken as their values. QuantValueError names what to call
    first for other devices and layouts, quantized, lazy and meta tensors; QuantTypeError for types that are not
    floats, unless ``any_dtype``.
    """
    refusal = refusal_of(tensor)
    if refusal:
        raise QuantValueError(f"{argument} {refusal}")
    name = torch_dtype_name(tensor)
    if not any_dtype and name not in _SHARED and name not in _THROUGH_BITS:
        raise QuantTypeError(f"{argument} {_dtype_refusal(name)}")
    try:
        return _view(tensor.detach().resolve_neg(), name)
    except (RuntimeError, TypeError, NotImplementedError, AttributeError, AssertionError) as error:
        raise QuantTypeError(
            f"{argument} is a {type(tensor).__name__}, which torch does not hand out as an array "
            f"({what_it_said(error)}); give a plain tensor, for a quantized one: tensor.dequantize()"
        ) from error


def _view(tensor: Any, name: str) -> np.ndarray[Any, Any]:
    if name not in _THROUGH_BITS:
        shared: np.ndarray[Any, Any] = tensor.resolve_conj().numpy()
        return shared
    bits, dtype = _THROUGH_BITS[name]
    array: np.ndarray[Any, Any] = tensor.view(getattr(sys.modules["torch"], bits)).numpy()
    return array.view(dtype)


def refusal_of(tensor: Any) -> str | None:
    """What must be called first, or None if the tensor's memory can be viewed."""
    if is_torch(tensor, "nn.parameter.UninitializedTensorMixin"):
        return "is a lazy parameter, which has no shape yet; run the module once on an input"
    if tensor.is_quantized:
        return (
            "is a quantized torch tensor; call tensor.dequantize(), or measure its own codes: "
            "analyze(open_source({'w': tensor})['w'])"
        )
    return elsewhere(tensor)


def elsewhere(tensor: Any) -> str | None:
    """Why the data, codes included, are not at hand, and what to call; None if they are."""
    if tensor.is_nested:
        return "is a nested torch tensor; give its parts one by one: tensor.unbind()"
    if str(tensor.layout) != "torch.strided":
        return f"is a torch tensor of layout {str(tensor.layout).removeprefix('torch.')}; call tensor.to_dense()"
    if tensor.is_meta:
        return "is a meta tensor, which has a shape but no data; load the weights first"
    if tensor.device.type != "cpu":
        return f"is on the device {tensor.device}; call tensor.cpu()"
    return None


def _dtype_refusal(name: str) -> str:
    if name.startswith("complex"):
        return f"is complex ({name}); give tensor.real or tensor.abs()"
    if name == "bool":
        return "is a bool tensor; floats are quantized here: call tensor.float() if 0 and 1 are meant as numbers"
    if "_x2" in name or name.startswith(("bits", "q")):
        return f"has the packed type {name}; unpack or dequantize it to float32 first"
    return f"has integers ({name}); dequantize them if they are codes, else call tensor.float()"
