"""Which axis of a TFLite constant counts output channels, by the operator that uses it.

The layouts are those of the operators' kernels; TFLite's convolutions have channels last, and so differ from torch's.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from perchq_widget.core.errors import QuantValueError
from perchq_widget.sources.axes import ONE_AXIS, AxisHint
from perchq_widget.sources.tflite.flatbuffer import OverlapError, Table

_UNKNOWN = "no operator with weights uses it; axis 0 counts output channels in TFLite's Conv and FullyConnected weights"
_BATCH_MATMUL = 126
#: Operators that hand on the same tensor in another form.
_PASSING = {6: "DEQUANTIZE", 124: "DENSIFY"}
_MOST_PASSES = 4
_OPERATOR_CODE, _OPERATOR_INPUTS, _OPERATOR_OUTPUTS, _OPERATOR_OPTIONS = 0, 1, 2, 4
_SUBGRAPH_OPERATORS = 3


@dataclass(frozen=True, slots=True)
class _Rule:
    """An operator, the inputs of it that are weights, their rank if it is fixed, the axis, and what they look like."""

    operator: str
    inputs: Collection[int]
    axis: int
    layout: str
    rank: int | None = None

    def hint(self, shape: tuple[int, ...]) -> AxisHint | None:
        if self.rank not in (None, len(shape)) or len(shape) < 2:
            return None
        return AxisHint(self.axis % len(shape), f"{self.operator} {self.layout}")


_GATES = (*range(1, 9), 16)  # inputs to four gates, recurrent weights of four gates, projection
_ROWS = "takes (out, in) matrices: a row per output"
_TABLE = "looks rows up: an entry of the table is one row"
_LAST = "works on channels, which come last in TFLite"
_RULES = {
    3: _Rule("CONV_2D", (1,), 0, "stores (out, height, width, in)", 4),
    4: _Rule("DEPTHWISE_CONV_2D", (1,), 3, "stores (1, height, width, out): its output channels come last", 4),
    67: _Rule(
        "TRANSPOSE_CONV", (1,), 0, "stores (out, height, width, in): output channels first, unlike torch's", 4
    ),
    132: _Rule("CONV_3D", (1,), 4, "stores (depth, height, width, in, out)", 5),
    141: _Rule("CONV_3D_TRANSPOSE", (1,), 3, "stores (depth, height, width, out, in)", 5),
    9: _Rule("FULLY_CONNECTED", (1,), 0, "stores (out, in)"),
    7: _Rule("EMBEDDING_LOOKUP", (1,), 0, _TABLE),
    33: _Rule("EMBEDDING_LOOKUP_SPARSE", (4,), 0, _TABLE),
    36: _Rule("GATHER", (0,), 0, _TABLE),
    16: _Rule("LSTM", _GATES, 0, _ROWS, 2),
    44: _Rule("UNIDIRECTIONAL_SEQUENCE_LSTM", _GATES, 0, _ROWS, 2),
    52: _Rule("BIDIRECTIONAL_SEQUENCE_LSTM", (*_GATES, *range(18, 26), 33), 0, _ROWS, 2),
    24: _Rule("RNN", (1, 2), 0, _ROWS, 2),
    35: _Rule("UNIDIRECTIONAL_SEQUENCE_RNN", (1, 2), 0, _ROWS, 2),
    46: _Rule("BIDIRECTIONAL_SEQUENCE_RNN", (1, 2, 5, 6), 0, _ROWS, 2),
    27: _Rule("SVDF", (1, 2), 0, "stores (filters, inputs or time)", 2),
    0: _Rule("ADD", (0, 1), -1, _LAST),
    18: _Rule("MUL", (0, 1), -1, _LAST),
    41: _Rule("SUB", (0, 1), -1, _LAST),
    42: _Rule("DIV", (0, 1), -1, _LAST),
    54: _Rule("PRELU", (1,), -1, _LAST),
}
_ELEMENTWISE = frozenset({0, 18, 41, 42, 54})


class Uses:
    """The operators of one subgraph, asked about its tensors by number. An operator that is malformed says nothing."""

    def __init__(self, subgraph: Table, codes: list[int]) -> None:
        self._rules: dict[int, _Rule] = {}
        self._elementwise: dict[int, _Rule] = {}
        self._passed: dict[int, int] = {}
        for at in subgraph.items(_SUBGRAPH_OPERATORS):
            try:
                self._add(subgraph.buffer.follow(at), codes)
            except OverlapError:
                raise
            except QuantValueError:
                continue

    def _add(self, operator: Table, codes: list[int]) -> None:
        index = operator.number(_OPERATOR_CODE, "I")
        code = codes[index] if index < len(codes) else -1
        inputs = operator.array(_OPERATOR_INPUTS, "<i4").tolist()
        if code in _PASSING:
            outputs = operator.array(_OPERATOR_OUTPUTS, "<i4").tolist()
            self._passed.update(zip(inputs[:1], outputs[:1], strict=False))
        elif code == _BATCH_MATMUL:
            for tensor, rule in zip(inputs[:2], _matmul_rules(operator.table(_OPERATOR_OPTIONS)), strict=False):
                self._rules.setdefault(tensor, rule)
        elif code in _RULES:
            into = self._elementwise if code in _ELEMENTWISE else self._rules
            for position in _RULES[code].inputs:
                if position < len(inputs):
                    into.setdefault(inputs[position], _RULES[code])

    def hint(self, tensor: int, shape: tuple[int, ...]) -> AxisHint:
        """The axis of tensor number ``tensor``, by the first operator with weights that uses it."""
        if len(shape) < 2:
            return AxisHint(0, ONE_AXIS)
        names = [tensor]
        while names[-1] in self._passed and len(names) <= _MOST_PASSES:
            names.append(self._passed[names[-1]])
        for rules in (self._rules, self._elementwise):
            for name in names:
                found = rules[name].hint(shape) if name in rules else None
                if found is not None:
                    return found
        return AxisHint(0, _UNKNOWN)


def _matmul_rules(options: Table | None) -> tuple[_Rule, _Rule]:
    """What BATCH_MATMUL makes of its two inputs, (..., rows, inner) and (..., inner, columns) unless turned."""
    turned = [options is not None and bool(options.number(field, "b")) for field in (0, 1)]
    left = _Rule("BATCH_MATMUL", (0,), -1 if turned[0] else -2, "keeps this axis of its left side")
    right = _Rule("BATCH_MATMUL", (1,), -2 if turned[1] else -1, "keeps this axis of its right side")
    return left, right
