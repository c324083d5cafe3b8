"""A model's graphs: which constants they have, which nodes use them, and what a name means inside a subgraph."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from perchq_widget.sources.decimals import clip_text
from perchq_widget.sources.onnx.tensor import Tensor, TensorReader, text
from perchq_widget.sources.onnx.types import FLOAT32, INT64, STRING, Array
from perchq_widget.sources.onnx.wire import FIXED32, VARINT

_GRAPH, _GRAPHS = 5, 10  # AttributeProto.AttributeType
SPARSE = "it is sparse: only the values that are not zero are in the file, and dense tensors are measured here"


@dataclass(frozen=True, eq=False)
class Node:
    """One operation. Inputs left out are ""."""

    proto: Any
    op: str
    domain: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    @classmethod
    def of(cls, proto: Any) -> Node:
        """The node of a NodeProto."""
        inputs, outputs = (tuple(text(name) for name in names) for names in (proto.input, proto.output))
        return cls(proto, text(proto.op_type), text(proto.domain), text(proto.name), inputs, outputs)

    @cached_property
    def attributes(self) -> dict[str, Any]:
        """Name -> AttributeProto; of two of one name the last."""
        return {text(each.name): each for each in self.proto.attribute}

    def integer(self, name: str, default: int) -> int:
        """An integer attribute."""
        found = self.attributes.get(name)
        return default if found is None else int(found.i)

    def integers(self, name: str) -> tuple[int, ...] | None:
        """A list of integers, None where there is none."""
        found = self.attributes.get(name)
        return None if found is None else tuple(found.ints)

    def input(self, index: int) -> str:
        """The name of an input, "" where it is left out."""
        return self.inputs[index] if index < len(self.inputs) else ""

    def __str__(self) -> str:
        name = self.name or (self.outputs[0] if self.outputs else "")
        return f"{clip_text(self.op, 40)} {clip_text(name, 80)!r}"


@dataclass(frozen=True, eq=False, slots=True)
class Use:
    """A node, in a graph, that takes a value as its input ``index``."""

    scope: Scope
    node: Node
    index: int


@dataclass(frozen=True, eq=False)
class Scope:
    """A graph or the body of one. ``prefix`` is put before the names of what it holds; ``outer``: the one around it.

    ``tensors``: its constants in order, with those named twice; ``uses``: of every value that it defines, in this and
    in inner graphs.
    """

    prefix: str
    outer: Scope | None
    nodes: list[Node] = field(default_factory=list)
    tensors: list[Tensor] = field(default_factory=list)
    constants: dict[str, Tensor] = field(default_factory=dict)
    producers: dict[str, Node] = field(default_factory=dict)
    inputs: frozenset[str] = frozenset()
    uses: dict[str, list[Use]] = field(default_factory=dict)

    def owner(self, name: str) -> Scope | None:
        """The nearest graph around here that defines ``name``."""
        scope: Scope | None = self
        while scope is not None:
            if name in scope.constants or name in scope.producers or name in scope.inputs:
                return scope
            scope = scope.outer
        return None

    def constant(self, name: str) -> tuple[Scope, Tensor] | None:
        """The constant that ``name`` means here, and where it is, through Identity nodes."""
        scope = self.owner(name) if name else None
        for _ in range(16):
            if scope is None:
                return None
            if name in scope.constants:
                return scope, scope.constants[name]
            node = scope.producers.get(name)
            if node is None or node.op != "Identity" or not node.input(0):
                return None
            name = node.inputs[0]
            scope = scope.owner(name)
        return None

    def add(self, tensor: Tensor) -> None:
        """One more constant."""
        self.tensors.append(tensor)
        self.constants.setdefault(tensor.name, tensor)


def scopes_of(model: Any, reader: TensorReader) -> list[Scope]:
    """All graphs of a skeleton, outer ones first: the model's, then the bodies of its functions."""
    found: list[Scope] = []
    _graph(model.graph, "", None, reader, found)
    for function in model.functions:
        prefix = f"{text(function.domain)}::{text(function.name)}/"
        _nodes(Scope(prefix, None), function.node, reader, found)
    for scope in found:
        _link(scope)
    return found


def _graph(graph: Any, prefix: str, outer: Scope | None, reader: TensorReader, found: list[Scope]) -> None:
    scope = Scope(prefix, outer, inputs=frozenset(text(each.name) for each in graph.input))
    for proto in graph.initializer:
        scope.add(reader.tensor(proto, text(proto.name)))
    for proto in graph.sparse_initializer:
        scope.add(_sparse(proto, text(proto.values.name), reader))
    _nodes(scope, graph.node, reader, found)


def _nodes(scope: Scope, protos: Any, reader: TensorReader, found: list[Scope]) -> None:
    found.append(scope)
    for index, proto in enumerate(protos):
        node = Node.of(proto)
        scope.nodes.append(node)
        if node.op == "Constant" and node.outputs:
            tensor = _constant(node, reader)
            if tensor is not None:
                scope.add(tensor)
                continue
        scope.producers.update(dict.fromkeys(node.outputs, node))
        for name, graph in _bodies(node):
            label = node.name or f"{node.op}_{index}"
            _graph(graph, f"{scope.prefix}{label}/{name}/", scope, reader, found)


def _bodies(node: Node) -> Iterator[tuple[str, Any]]:
    """The subgraphs of a node and the names of their attributes."""
    for name, attribute in node.attributes.items():
        if attribute.type == _GRAPH or attribute.HasField("g"):
            yield name, attribute.g
        for index, graph in enumerate(attribute.graphs):
            yield f"{name}_{index}", graph


def _link(scope: Scope) -> None:
    for node in scope.nodes:
        for index, name in enumerate(node.inputs):
            owner = scope.owner(name) if name else None
            if owner is not None:
                owner.uses.setdefault(name, []).append(Use(scope, node, index))


def _sparse(proto: Any, name: str, reader: TensorReader) -> Tensor:
    values = reader.tensor(proto.values, name)
    shape = tuple(proto.dims) if len(proto.dims) <= 64 and all(length >= 0 for length in proto.dims) else ()
    return Tensor(name, shape, None, None, values.dtype, SPARSE)


#: Attributes of Constant that hold numbers -> TensorProto-like field of the attribute, its wire type, element type
_LISTS = {"value_floats": (7, FIXED32, FLOAT32), "value_ints": (8, VARINT, INT64)}


def _constant(node: Node, reader: TensorReader) -> Tensor | None:
    """The tensor of a Constant node, whichever attribute holds it."""
    for key, attribute in node.attributes.items():
        if key == "value":
            return reader.tensor(attribute.t, node.outputs[0])
        if key == "sparse_value":
            return _sparse(attribute.sparse_tensor, node.outputs[0], reader)
        if key in _LISTS and attribute.doc_string:
            return reader.numbers(int(attribute.doc_string), *_LISTS[key], node.outputs[0])
        if key in _VALUES:
            return reader.values(_VALUES[key](attribute), node.outputs[0])
    return None


def _texts(values: Any) -> Array:
    out = np.empty(len(values), object)
    out[:] = [text(value) for value in values]
    return out


_VALUES: dict[str, Any] = {
    "value_float": lambda each: np.array(each.f, FLOAT32.dtype),
    "value_int": lambda each: np.array(each.i, INT64.dtype),
    "value_floats": lambda each: np.array(each.floats, FLOAT32.dtype),
    "value_ints": lambda each: np.array(each.ints, INT64.dtype),
    "value_string": lambda each: _texts([each.s]).reshape(()),
    "value_strings": lambda each: _texts(each.strings) if not each.doc_string else np.empty(0, STRING.dtype),
}
