"""torch modules as sources: parameters, buffers, and the weights that quantized layers keep packed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from perchq_widget.core.errors import QuantTypeError
from perchq_widget.sources.axes import LAYER_KINDS, AxisHint, axis_of_layer
from perchq_widget.sources.base import TensorSource
from perchq_widget.sources.nested import printable, what_it_said
from perchq_widget.sources.objects import in_memory, record_of

_WEIGHTS = frozenset(
    {"weight", "in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight", "bias_k", "bias_v"}
)
_REWRITTEN = ("_orig", "_g", "_v")  # what spectral_norm and weight_norm make of "weight"
_PACKED = ("torch.ao.nn.", "torch.nn.quantized.")


def module_source(module: Any) -> TensorSource:
    """A source of a torch module's parameters and buffers; layer classes give the channel axis.

    Layers of torch.ao.nn.quantized keep their weights packed: those are listed as the layer gives them out, with their
    codes. QuantTypeError for a module that does not name its parameters.
    """
    try:
        layers = dict(module.named_modules())
        tensors = {**dict(module.named_parameters()), **dict(module.named_buffers()), **dict(_packed(layers))}
    except Exception as error:  # modules override these
        raise QuantTypeError(f"source: {type(module).__name__} gives no parameters ({what_it_said(error)})") from error
    origin = in_memory(module)
    records = [record_of(printable(name), value, origin, _hint(layers, name, value)) for name, value in tensors.items()]
    return TensorSource(records, name=type(module).__name__, kind="torch module")


def _packed(layers: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Weights and biases that a quantized layer hands out by methods."""
    for prefix, layer in layers.items():
        if not any(base.__module__.startswith(_PACKED) for base in type(layer).__mro__):
            continue
        for leaf in ("weight", "bias"):
            method = getattr(layer, leaf, None)
            value = method() if callable(method) and not hasattr(method, "shape") else None
            if value is not None:
                yield f"{prefix}.{leaf}" if prefix else leaf, value


def _hint(layers: dict[str, Any], name: str, value: Any) -> AxisHint | None:
    """The axis that the class of the layer suggests, None where it says nothing about such a tensor."""
    prefix, leaf = _owner(name)
    layer = layers.get(prefix)
    if layer is None or not (leaf in _WEIGHTS or leaf.startswith(("weight_ih", "weight_hh", "weight_hr"))):
        return None
    kind = next((base.__name__ for base in type(layer).__mro__ if base.__name__ in LAYER_KINDS), None)
    try:
        shape = tuple(map(int, value.shape))
        groups = int(getattr(layer, "groups", 1))
    except (RuntimeError, TypeError, ValueError):  # a lazy parameter has no shape
        return None
    if kind is None:
        return None
    return axis_of_layer(kind, shape, tensor=leaf, groups=groups, name=type(layer).__name__)


def _owner(name: str) -> tuple[str, str]:
    """The layer that a parameter belongs to, and what the layer calls it before parametrizations rewrote it."""
    parts = name.split(".")
    if "parametrizations" in parts[:-2]:
        place = len(parts) - 1 - parts[::-1].index("parametrizations")
        plain = parts[-1].startswith("original") and place == len(parts) - 3
        return ".".join(parts[:place]), parts[place + 1] if plain else parts[-1]
    prefix, _, leaf = name.rpartition(".")
    for suffix in _REWRITTEN:
        if leaf == f"weight{suffix}":
            leaf = "weight"
    return prefix, leaf
