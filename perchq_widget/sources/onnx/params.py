"""The parameters of a constant, collected from the node that knows them."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import ml_dtypes
import numpy as np

from perchq_widget.core.errors import QuantValueError
from perchq_widget.sources.axes import AxisHint
from perchq_widget.sources.onnx.graph import Scope, Use
from perchq_widget.sources.onnx.quantized import CODE_DTYPES, Coded, Layout, layout_of
from perchq_widget.sources.onnx.sites import Site, sites_of
from perchq_widget.sources.onnx.tensor import Tensor
from perchq_widget.sources.onnx.types import INT32, KINDS, Array, Kind

SCALE_DTYPES = frozenset({"float32", "float16", "bfloat16", "float8_e8m0fnu"})
#: Floats that QuantizeLinear takes
VALUE_DTYPES = frozenset({"float32", "float16", "bfloat16"})
AT_RUN_TIME = "its scale or zero point is computed while the model runs"
BIAS = "an int32 bias: its scale is that of the layer's input times that of its weight, which is no format of its own"

#: A constant and the graph it is in
Place = tuple[Scope, Tensor]


@dataclass(frozen=True, eq=False)
class Found:
    """A quantized constant, in words besides: ``scheme`` as TensorRecord.stored_as; ``taken``: its parameters."""

    coded: Coded
    scheme: str
    by: str
    taken: tuple[Place, ...]

    @property
    def n_bytes(self) -> int:
        """What the file spends on the parameters."""
        return sum(tensor.n_bytes for _, tensor in self.taken)


def found_in(scope: Scope, tensor: Tensor, hint: AxisHint) -> Found | None:
    """What the first node that quantizes or dequantizes a constant makes of it, None where there is no such node.

    QuantValueError says why its parameters cannot be had.
    """
    sites = [site for site in sites_of(scope, tensor) if site.floats == (tensor.dtype in VALUE_DTYPES)]
    if not sites:
        return None
    first = sites[0]
    found = of_site(first, tensor, hint)
    other = next((site for site in sites if (site.scale, site.zero) != (first.scale, first.zero)), None)
    if other is None or first.floats:
        return found
    note = f"{other.use.node} gives it other parameters; those of {first.use.node} are shown"
    return replace(found, coded=replace(found.coded, note=note))


def of_site(site: Site, tensor: Tensor, hint: AxisHint) -> Found:
    """The constant with the parameters that stand at ``site``."""
    if tensor.kind is INT32:
        raise QuantValueError(BIAS)
    scale = parameter(site.use.scope, site.scale)
    zero = parameter(site.use.scope, site.zero) if site.zero else None
    if scale[1].dtype not in SCALE_DTYPES:
        raise QuantValueError(f"malformed: its scale has the type {scale[1].dtype}")
    kind = _code_kind(site, tensor, zero)
    if kind.name not in CODE_DTYPES:
        raise QuantValueError(f"its codes are {kind.name}, which is no format of codes here")
    layout = _layout(site, tensor, scale[1].shape, hint)
    _check_zero(zero, layout)
    codes = None if site.floats else tensor.rows
    coded = Coded(
        CODE_DTYPES[kind.name],
        layout,
        codes,
        lambda: scale[1].read().reshape(layout.scale_shape),
        None if zero is None else lambda: zero[1].read().reshape(layout.scale_shape),
        tensor.kind.dtype if site.floats and tensor.kind is not None else _out(site.use, scale[1]),
        values=tensor.read if site.floats else None,
    )
    before = f"{tensor.dtype} ahead of quantization to " if site.floats else ""
    scheme = f"{before}{kind.name}, {layout.words()}, {site.use.node.op}"
    return Found(coded, scheme, str(site.use.node), tuple(filter(None, (scale, zero))))


def parameter(scope: Scope, name: str) -> Place:
    """The constant that is a parameter; QuantValueError if it is none, or cannot be read."""
    found = scope.constant(name)
    if found is None:
        raise QuantValueError(AT_RUN_TIME)
    if found[1].problem is not None:
        raise QuantValueError(f"its parameter {found[1].name[:80]!r} cannot be read: {found[1].problem}")
    return found


def _code_kind(site: Site, tensor: Tensor, zero: Place | None) -> Kind:
    """The type of the codes: the zero point's where floats are quantized, else what the node says, else uint8."""
    if not site.floats:
        assert tensor.kind is not None
        return tensor.kind
    if zero is not None and zero[1].kind is not None:
        return zero[1].kind
    number = site.use.node.integer("output_dtype", 0) or 2
    if number not in KINDS:
        raise QuantValueError(f"malformed: {site.use.node} gives an unknown type {number}")
    return KINDS[number]


def _layout(site: Site, tensor: Tensor, scales: tuple[int, ...], hint: AxisHint) -> Layout:
    shape, axis = tensor.shape, site.axis
    if site.use.node.op == "DynamicQuantizeLSTM":
        return _recurrent(shape, scales, hint)
    straight = site.view.axes == tuple(range(len(shape)))
    if math.prod(scales) != 1 and not straight:
        if len(scales) != 1 or axis is None or not -len(site.view.axes) <= axis < len(site.view.axes):
            raise QuantValueError(f"its codes are moved on their way to {site.use.node}, its blocks are not")
        axis = site.view.axes[axis]
    return layout_of(shape, scales, axis, site.block_size, hint.axis)


def _recurrent(shape: tuple[int, ...], scales: tuple[int, ...], hint: AxisHint) -> Layout:
    """(directions, input, gates): one scale per direction, or per gate's row of each direction."""
    if len(shape) != 3:
        raise QuantValueError(f"malformed: the weight of an LSTM has shape {shape}")
    if len(scales) == 2 and shape[0] > 1 and scales == (shape[0], shape[2]):
        return Layout(shape, 1, shape[1], 2)
    return layout_of(shape, scales[1:] if len(scales) == 2 else scales, 2 if len(scales) == 2 else 0, 0, hint.axis)


def _check_zero(zero: Place | None, layout: Layout) -> None:
    if zero is not None and zero[1].size != math.prod(layout.scale_shape):
        raise QuantValueError(f"malformed: its zero point has shape {zero[1].shape}, its scale {layout.scale_shape}")


def _out(use: Use, scale: Tensor) -> np.dtype[Any]:
    """The type that a dequantizing node gives: what it says, else the scale's."""
    said = KINDS.get(use.node.integer("output_dtype", 0))
    name = scale.dtype if said is None else said.name
    known = {"float16": np.dtype(np.float16), "bfloat16": np.dtype(ml_dtypes.bfloat16)}
    return known.get(name, np.dtype(np.float32)) if use.node.op == "DequantizeLinear" else np.dtype(np.float32)


def flat(tensor: Tensor) -> Array:
    """All values of a parameter in a row."""
    return tensor.read().reshape(-1)
