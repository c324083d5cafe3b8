"""Where a model applies scales: nodes that quantize or dequantize a constant, and which inputs their parameters are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from perchq_widget.sources.onnx.axes import MAX_USES, View, passed_on, uses_of
from perchq_widget.sources.onnx.graph import Node, Scope, Use
from perchq_widget.sources.onnx.tensor import Tensor

Axis = int | None | Callable[[Node], int | None]


@dataclass(frozen=True, slots=True)
class Operand:
    """Inputs that belong together: quantized values, their scale and zero point; ``axis``: of the values, which a
    scale of more than one number runs along, None where there is none.
    """

    values: int
    scale: int
    zero: int
    axis: Axis = None


@dataclass(frozen=True, slots=True)
class Site:
    """A node that holds a constant's parameters: their names in its graph and the axis of the view that they run along.

    ``block_size``: elements of that axis that share a scale, 0 where that is all of them. ``floats``: the constant is
    what gets quantized, not the codes.
    """

    use: Use
    view: View
    scale: str
    zero: str
    axis: int | None
    block_size: int = 0
    floats: bool = False


def _attribute_axis(node: Node) -> int:
    return node.integer("axis", 1)


def _gemm_axis(node: Node) -> int:
    return 0 if node.integer("transB", 0) else 1


_BINARY = (Operand(0, 1, 2), Operand(3, 4, 5))
_DEQUANTIZE = (Operand(0, 1, 2, _attribute_axis),)
#: Operators of quantized values -> their operands
OPERANDS: dict[str, tuple[Operand, ...]] = {
    "DequantizeLinear": _DEQUANTIZE,
    "QLinearConv": (Operand(0, 1, 2), Operand(3, 4, 5, 0)),
    "QLinearMatMul": (Operand(0, 1, 2, -2), Operand(3, 4, 5, -1)),
    "QGemm": (Operand(0, 1, 2), Operand(3, 4, 5, _gemm_axis)),
    "MatMulIntegerToFloat": (Operand(0, 2, 4), Operand(1, 3, 5, -1)),
    "DynamicQuantizeMatMul": (Operand(1, 2, 3, -1),),
    "QLinearAdd": _BINARY,
    "QLinearMul": _BINARY,
    "QLinearWhere": (Operand(1, 2, 3), Operand(4, 5, 6)),
    "QAttention": (Operand(0, 3, 6), Operand(1, 4, 7, 1)),
    "QEmbedLayerNormalization": tuple(Operand(2 + index, 8 + index, 13 + index) for index in range(5)),
    "DynamicQuantizeLSTM": (Operand(1, 8, 9, 2), Operand(2, 10, 11, 2)),
}
#: Inputs that are scale and zero point of what the node gives
OF_OUTPUT: dict[str, tuple[int, int]] = {
    "QuantizeLinear": (1, 2), "QLinearConv": (6, 7), "QLinearMatMul": (6, 7), "QGemm": (7, 8), "QLinearAdd": (6, 7),
    "QLinearMul": (6, 7), "QLinearWhere": (7, 8), "QLinearConcat": (0, 1),
}  # fmt: skip
#: Inputs that belong to weights packed by an operator
OF_PACKED: dict[str, dict[int, str]] = {
    "MatMulNBits": {2: "scale", 3: "zero point", 4: "group index"},
    "GatherBlockQuantized": {2: "scale", 3: "zero point"},
    "MatMulBnb4": {2: "scale"},
}
#: Nodes that move what a Gather took, whose shape is not known, and leave every value as it is
_MOVING = frozenset({"Transpose", "Reshape", "Squeeze", "Unsqueeze", "Flatten"})
#: Inputs that are int32 biases, whose scale is that of the layer's input times that of its weight
BIASES = {("QLinearConv", 8), ("QGemm", 6)}
_INTEGER_PRODUCTS = {("MatMulInteger", 0): 2, ("MatMulInteger", 1): 3, ("ConvInteger", 0): 2, ("ConvInteger", 1): 3}
#: The column of a matrix's scale, for each integer product
_PRODUCT_AXES = {("MatMulInteger", 0): -2, ("MatMulInteger", 1): -1, ("ConvInteger", 1): 0}


def operands_at(node: Node, index: int) -> tuple[Operand, ...]:
    """The operands of a node that its input ``index`` may be of, none where it does not compute with codes."""
    if node.op == "QLinearConcat":  # as many as there are, after the two parameters of what it gives
        first = index - (index - 2) % 3
        return (Operand(first, first + 1, first + 2),) if index >= 2 else ()
    if node.op in OPERANDS:
        return OPERANDS[node.op]
    return (Operand(0, 1, 2),) if node.op.startswith("QLinear") else ()


def sites_of(scope: Scope, tensor: Tensor) -> Iterator[Site]:
    """The nodes that know a constant's parameters, in order, found through nodes that move codes about."""
    for view, use in uses_of(scope, tensor.name, View.of(tensor.shape), _moved_on):
        site = _site(view, use, tensor.name)
        if site is not None:
            yield site


def _moved_on(view: View, use: Use) -> View | None:
    """Codes that a node only puts elsewhere; after a Gather nothing is left of the axes."""
    if use.node.op in ("QuantizeLinear", "DequantizeLinear", "Cast", "CastLike"):
        return None
    if use.node.op == "Gather" and use.index == 0:
        return View((), ())
    if not view.shape and use.index == 0 and use.node.op in _MOVING:
        return view
    return passed_on(view, use)


def _site(view: View, use: Use, constant: str) -> Site | None:
    node = use.node
    if node.op == "QuantizeLinear" and use.index == 0:
        found = Operand(0, 1, 2, _attribute_axis)
        return _of_operand(found, view, use, floats=True)
    for operand in operands_at(node, use.index):
        if operand.values == use.index:
            return _of_operand(operand, view, use)
    if (node.op, use.index) in _INTEGER_PRODUCTS:
        return _of_product(view, use, constant)
    return None


def _of_operand(operand: Operand, view: View, use: Use, *, floats: bool = False) -> Site:
    node = use.node
    axis = operand.axis(node) if callable(operand.axis) else operand.axis
    blocks = node.integer("block_size", 0) if node.op in ("QuantizeLinear", "DequantizeLinear") else 0
    return Site(use, view, node.input(operand.scale), node.input(operand.zero), axis, blocks, floats)


def _of_product(view: View, use: Use, constant: str) -> Site | None:
    """An integer product gets its scale afterwards: (Cast,) Mul by the scale, or by that of the other side times it.

    Where both scales are constants, the one that onnxruntime's quantizer names after the codes of ``constant``.
    """
    node, scope = use.node, use.scope
    named = f"{constant.removesuffix('_quantized')}_scale"
    factor = _factor(scope, node.outputs[0], named) if node.outputs else None
    if factor is None:
        return None
    zero = node.input(_INTEGER_PRODUCTS[node.op, use.index])
    return Site(use, view, factor, zero, _PRODUCT_AXES.get((node.op, use.index)))


def _factor(scope: Scope, value: str, named: str) -> str | None:
    """The name of the constant that a product is multiplied by."""
    for _ in range(4):
        uses = scope.uses.get(value, [])
        if len(uses) != 1 or uses[0].scope is not scope or not uses[0].node.outputs:
            return None
        node = uses[0].node
        if node.op == "Mul":
            other = node.input(1 - uses[0].index)
            return _constant_of(scope, other, named)
        if node.op != "Cast":
            return None
        value = node.outputs[0]
    return None


def _constant_of(scope: Scope, name: str, named: str) -> str | None:
    """``name`` if it is a constant, else the one constant of the Mul that makes it, or of two the one ``named``."""
    if scope.constant(name) is not None:
        return name
    maker = scope.producers.get(name)
    if maker is None or maker.op != "Mul":
        return None
    constants = [each for each in maker.inputs if scope.constant(each) is not None]
    return constants[0] if len(constants) == 1 else named if named in constants else None


def parameter_of(scope: Scope, name: str) -> str | None:
    """What ``name`` is a parameter of, in words, if it is nothing else: "the scale of 'x' in Conv 'c'"."""
    uses = scope.uses.get(name, [])[:MAX_USES]
    found = [_role(use) for use in uses]
    return found[0] if found and all(role is not None for role in found) else None


def _role(use: Use) -> str | None:
    node = use.node
    if use.index in OF_PACKED.get(node.op, {}):
        return f"the {OF_PACKED[node.op][use.index]} of the weight of {node}"
    for place, words in enumerate(("scale", "zero point")):
        if node.op in OF_OUTPUT and OF_OUTPUT[node.op][place] == use.index:
            return f"the {words} of what {node} gives"
    for operand in operands_at(node, use.index):
        if use.index == operand.scale:
            return f"the scale of an input of {node}"
        if use.index == operand.zero:
            return f"the zero point of an input of {node}"
    if node.op in ("MatMulInteger", "ConvInteger") and use.index in (2, 3):
        return f"the zero point of an input of {node}"
    return None
