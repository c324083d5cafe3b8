"""Records of raw tensors in memory, as a file's reader makes them, and what every folded weight must keep."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

import perchq_widget as pq
from perchq_widget.sources.axes import suggested_axis
from perchq_widget.sources.base import TensorRecord
from perchq_widget.sources.checkpoints.recognize import fold_quantized
from perchq_widget.sources.memory import as_array, dtype_problem, shape_problem

Array = np.ndarray[Any, Any]


def plain(name: str, array: Array) -> TensorRecord:
    """The record of one raw tensor."""
    problem = dtype_problem(array.dtype) or shape_problem(array.shape)
    return TensorRecord(
        name, array.shape, array.dtype.name, array.nbytes, *suggested_axis(array.shape), source="model.safetensors",
        not_applicable=problem and f"it {problem}", loader=None if problem else lambda: as_array(array),
        raw_loader=lambda: array,
    )  # fmt: skip


def fold(tensors: Mapping[str, Array], config: Mapping[str, Any] | None = None) -> dict[str, TensorRecord]:
    """What is listed for a file of these tensors, by name, in order."""
    records = {name: plain(name, array) for name, array in tensors.items()}
    return {record.name: record for record in fold_quantized(records, config, "model.safetensors")}


def same_bits(one: Array, other: Array) -> bool:
    """Whether two arrays have one dtype, one shape and the same bytes."""
    return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()


def check_weight(record: TensorRecord, expected: Array, *, in_order: bool = True) -> None:
    """The weight decodes to ``expected``, whole and by rows, and its own parameters give its codes again."""
    assert record.shape == expected.shape
    assert record.not_applicable is None
    assert record.stored_as
    values = record.read()
    assert same_bits(values, expected)
    n = expected.shape[0]
    for start, stop in ((0, 1), (n // 2, n), (1, n - 1), (n, n + 5), (3, 3)):
        assert same_bits(record.rows(start, stop), expected[start:stop])
    stored = record.stored()
    assert stored.codes.dtype == stored.qparams.code_dtype
    assert stored.codes.shape == expected.shape
    if in_order:
        assert same_bits(stored.decoded().astype(expected.dtype), expected)
    report = pq.analyze(record)
    assert np.array_equal(report.codes(), stored.codes)
    assert report.summary["max_abs_error"] == 0
    assert record.dtype == stored.qparams.dtype


def refused(tensors: Mapping[str, Array], config: Mapping[str, Any] | None = None) -> set[str]:
    """The notes of parts that stayed raw; all tensors must be listed still, none as a quantized one."""
    found = fold(tensors, config)
    assert set(found) == set(tensors)
    assert not any(record.quantized or record.stored_as for record in found.values())
    for name, array in tensors.items():
        assert found[name].raw() is array
    return {record.note for record in found.values() if record.note}
