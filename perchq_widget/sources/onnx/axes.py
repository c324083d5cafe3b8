"""Which axis of a model's tensor counts output channels: what the nodes that use it make of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from perchq_widget.core.errors import QuantError
from perchq_widget.sources.axes import ONE_AXIS, AxisHint, suggested_axis
from perchq_widget.sources.onnx.graph import Node, Scope, Use
from perchq_widget.sources.onnx.tensor import text

#: Uses of one tensor that are looked at.
MAX_USES = 64

#: (operator, input) -> the axis of that input that counts output channels.
FIXED: dict[tuple[str, int], int] = {
    **{(op, 1): 0 for op in ("Conv", "FusedConv", "NhwcFusedConv", "DeformConv", "ConvInteger")},
    ("QLinearConv", 3): 0,
    **{("BatchNormalization", index): 0 for index in (1, 2, 3, 4)},
    **{(op, index): 0 for op in ("InstanceNormalization", "GroupNormalization") for index in (1, 2)},
    **{(op, index): 1 for op in ("LSTM", "GRU", "RNN") for index in (1, 2, 3)},
    **{("DynamicQuantizeLSTM", index): 2 for index in (1, 2)},
    **{("EmbedLayerNormalization", index): 0 for index in (2, 3, 4)},
    **{("QEmbedLayerNormalization", index): 0 for index in (2, 3, 4)},
    **{(op, 1): 1 for op in ("Attention", "QAttention")},
    **{(op, 0): 0 for op in ("GatherElements", "GatherND")},
}
_ROWS = frozenset({"EmbedLayerNormalization", "QEmbedLayerNormalization", "GatherElements", "GatherND"})
#: Matrix products: (operator, input) -> whether that is the right-hand matrix.
PRODUCTS: dict[tuple[str, int], bool] = {
    **{(op, index): index == 1 for op in ("MatMul", "MatMulInteger", "FusedMatMul") for index in (0, 1)},
    **{(op, index): index == 1 for op in ("MatMulIntegerToFloat", "DynamicQuantizeMatMul") for index in (0, 1)},
    ("QLinearMatMul", 0): False,
    ("QLinearMatMul", 3): True,
}
GEMMS: dict[tuple[str, int], bool] = {
    ("Gemm", 0): False, ("Gemm", 1): True, ("FusedGemm", 0): False, ("FusedGemm", 1): True,
    ("QGemm", 0): False, ("QGemm", 3): True,
}  # fmt: skip
#: Nodes that hand their first input on as it is.
_PASSING = frozenset({"Identity", "Cast", "CastLike", "QuantizeLinear", "DequantizeLinear", "Dropout"})


@dataclass(frozen=True, slots=True)
class View:
    """A tensor as some node gets it: the length of each axis, and which of the tensor's own axes that is, if any."""

    shape: tuple[int, ...]
    axes: tuple[int | None, ...]

    @classmethod
    def of(cls, shape: tuple[int, ...]) -> View:
        """The tensor as it is."""
        return cls(shape, tuple(range(len(shape))))


@dataclass(frozen=True, slots=True)
class Hit:
    """What one node makes of a tensor: the tensor's axis, and the reason."""

    axis: int
    reason: str


def axis_hint(scope: Scope, name: str, shape: tuple[int, ...]) -> AxisHint:
    """The channel axis of the tensor ``name`` by the first layer that uses it; without one, by its shape alone."""
    if len(shape) <= 1:
        return AxisHint(0, ONE_AXIS)
    users = uses_of(scope, name, View.of(shape), passed_on)
    hits = [hit for view, use in users if (hit := _hit(view, use)) is not None]
    if not hits:
        axis, reason = suggested_axis(shape)
        return AxisHint(axis, f"no layer that says more uses it; {reason}")
    first = hits[0]
    other = next((hit for hit in hits if hit.axis != first.axis), None)
    also = "" if other is None else f"; but {other.reason}: the first user counts"
    return AxisHint(first.axis, first.reason + also)


def uses_of(
    scope: Scope, name: str, view: View, passing: Callable[[View, Use], View | None]
) -> Iterator[tuple[View, Use]]:
    """Who uses a value, in the order of the nodes, through those that are ``passing`` it on; at most MAX_USES."""
    waiting, seen, n = [(scope, name, view)], {(id(scope), name)}, 0
    while waiting:
        owner, value, seen_as = waiting.pop(0)
        for use in owner.uses.get(value, ()):
            n += 1
            if n > MAX_USES:
                return
            passed = passing(seen_as, use)
            if passed is None or not use.node.outputs:
                yield seen_as, use
            elif (key := (id(use.scope), use.node.outputs[0])) not in seen:
                seen.add(key)
                waiting.append((use.scope, use.node.outputs[0], passed))


def passed_on(view: View, use: Use) -> View | None:
    """How the output of a node shows the input again; None for a node that does something with it."""
    node = use.node
    if use.index != 0:
        return None
    if node.op in _PASSING:
        return view
    if node.op == "Transpose":
        return _transposed(view, node.integers("perm"))
    if node.op in ("Reshape", "Squeeze"):
        return _reshaped(view, use)
    return None


def _transposed(view: View, perm: tuple[int, ...] | None) -> View | None:
    order = tuple(reversed(range(len(view.shape)))) if perm is None else perm
    if sorted(order) != list(range(len(view.shape))):
        return None
    return View(tuple(view.shape[axis] for axis in order), tuple(view.axes[axis] for axis in order))


def _reshaped(view: View, use: Use) -> View | None:
    """Only where axes of length 1 come or go, so that the others stay what they are."""
    own = [(length, axis) for length, axis in zip(view.shape, view.axes, strict=True) if length != 1]
    if use.node.op == "Squeeze" and len(use.node.inputs) == 1 and "axes" not in use.node.attributes:
        return View(tuple(length for length, _ in own), tuple(axis for _, axis in own))
    target = _target(use)
    if target is None or [length for length in target if length != 1] != [length for length, _ in own]:
        return None
    left = iter(own)
    return View(target, tuple(None if length == 1 else next(left)[1] for length in target))


def _target(use: Use) -> tuple[int, ...] | None:
    """The shape that a Reshape gives, where it is a constant of plain lengths."""
    found = use.scope.constant(use.node.input(1))
    if found is None or found[1].size > 16 or found[1].dtype != "int64" or len(found[1].shape) != 1:
        return None
    try:
        target = tuple(int(length) for length in found[1].read())
    except QuantError:
        return None
    return target if all(length > 0 for length in target) else None


def _hit(view: View, use: Use) -> Hit | None:
    """The tensor's axis that the user of a view of it would choose."""
    found = _layer(view.shape, use.node, use.index)
    if found is None:
        return None
    axis, words = found
    if not -len(view.shape) <= axis < len(view.shape):
        return None
    own = view.axes[axis]
    if own is None:
        return None
    moved = "" if own == axis % len(view.shape) else f", axis {own} of the tensor as it is stored"
    return Hit(own, f"{use.node} {words}{moved}")


def _layer(shape: tuple[int, ...], node: Node, index: int) -> tuple[int, str] | None:
    """(axis, what the layer does with it)."""
    rank = len(shape)
    if (node.op, index) in FIXED:
        axis = FIXED[node.op, index]
        return axis, _words("rows" if node.op in _ROWS else "channels", axis)
    if (node.op, index) in PRODUCTS:
        return _product(rank, node, PRODUCTS[node.op, index])
    if (node.op, index) in GEMMS:
        return _gemm(node, GEMMS[node.op, index])
    rule = _RULES.get(node.op)
    return None if rule is None else rule(shape, node, index)


def _words(what: str, axis: int) -> str:
    if what == "rows":
        return f"looks up rows: axis {axis} counts them"
    return f"has its output channels on axis {axis}"


def _product(rank: int, node: Node, right: bool) -> tuple[int, str]:
    moved = node.op == "FusedMatMul" and bool(node.integer("transB" if right else "transA", 0))
    axis = 0 if rank == 1 else rank - 2 if right == moved else rank - 1
    return (
        axis,
        f"multiplies {'by it' if right else 'it'}: axis {axis} becomes the output's {'columns' if right else 'rows'}",
    )


def _gemm(node: Node, right: bool) -> tuple[int, str]:
    flag = "transB" if right else "transA"
    moved = bool(node.integer(flag, 0))
    axis = int(right != moved)
    return axis, f"with {flag}={int(moved)} has its output {'channels' if right else 'rows'} on axis {axis}"


def _transposed_conv(shape: tuple[int, ...], node: Node, index: int) -> tuple[int, str] | None:
    if index != 1:
        return None
    groups = node.integer("group", 1)
    if groups > 1:
        return 1, f"stores (in, out / groups, ...): axis 1 counts the output channels of each of its {groups} groups"
    return 1, "stores (in, out, ...): its output channels are axis 1"


def _gather(shape: tuple[int, ...], node: Node, index: int) -> tuple[int, str] | None:
    if index != 0:
        return None
    axis = node.integer("gather_axis" if node.op == "GatherBlockQuantized" else "axis", 0)
    return axis, _words("rows", axis)


def _slope(shape: tuple[int, ...], node: Node, index: int) -> tuple[int, str] | None:
    """Operands that are broadcast: the one axis that is longer than 1."""
    wide = [axis for axis, length in enumerate(shape) if length > 1]
    if len(wide) != 1:
        return None
    return wide[0], f"spreads it over the other axes: axis {wide[0]} is the only one longer than 1"


def _einsum(shape: tuple[int, ...], node: Node, index: int) -> tuple[int, str] | None:
    """The last letter of this operand that is in the output and in no other operand."""
    found = node.attributes.get("equation")
    equation = "" if found is None else text(found.s).replace(" ", "")
    operands, arrow, output = equation.partition("->")
    terms = operands.split(",")
    if not arrow or "." in equation or index >= len(terms) or len(terms[index]) != len(shape):
        return None
    others = "".join(terms[:index] + terms[index + 1 :])
    own = [axis for axis, letter in enumerate(terms[index]) if letter in output and letter not in others]
    return (own[-1], f"({equation[:60]}) keeps axis {own[-1]} in its output") if own else None


_RULES: dict[str, Callable[[tuple[int, ...], Node, int], tuple[int, str] | None]] = {
    "ConvTranspose": _transposed_conv,
    "Gather": _gather,
    "GatherBlockQuantized": _gather,
    "PRelu": _slope,
    **dict.fromkeys(("Add", "Sub", "Mul", "Div"), _slope),
    "Einsum": _einsum,
}
