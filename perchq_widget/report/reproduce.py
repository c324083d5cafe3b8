"""Python that gives a report again: the calculator's lines as typed, or the tensor named and the settings in full."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from perchq_widget.report.code import call, comment, lines_literal
from perchq_widget.study.channels import ChannelTable

_LONGEST_LIST = 64


def reproduce(study: ChannelTable, *, lines: str | None, source: str | None) -> str:
    """Statements that end with ``report = ...``.

    ``lines`` is the calculator's input as text. ``source`` is the file that a tensor was read from; without one, the
    tensor is a placeholder that says what to assign.
    """
    if study.kind != "tensor":
        return _calculator(study, lines if lines is not None else "")
    label = {"ch_axis": study.ch_axis, "name": study.name} | _channel_names(study)
    steps = ["import perchq_widget as pq", "", *_tensor(study, source), ""]
    if study.range_from == "given qparams":
        steps += [*_qparams(study), "", f"report = {call('pq.analyze', 'tensor, qparams=qparams', label)}"]
        return "\n".join(steps)
    first = "tensor"
    if study.calibration is not None:
        steps += [*_ranges(study), ""]
        first = "tensor, ranges=ranges"
    return "\n".join([*steps, f"report = {call('pq.analyze', first, _settings(study) | label)}"])


def _calculator(study: ChannelTable, lines: str) -> str:
    scheme = study.scheme
    arguments = {
        "mode": study.kind,
        "dtype": scheme.dtype,
        "scheme": scheme.scheme,
        "reduce_range": scheme.reduce_range,
        "convention": scheme.convention,
        "tensor_name": study.name,
        "ch_axis": study.ch_axis,
    }
    head = f"import perchq_widget as pq\n\nlines = {lines_literal(lines)}\n"
    return f"{head}report = {call('pq.calculate', 'lines', arguments)}"


def _tensor(study: ChannelTable, source: str | None) -> list[str]:
    if source is not None and Path(source).is_file():
        return [f"tensor = pq.open_source({source!a})[{study.name!a}]"]
    about = f"{study.name}, {study.tensor_dtype}, shape {study.shape}"
    return [comment(f"ASSIGN the tensor here: {about}"), "tensor = None"]


def _settings(study: ChannelTable) -> dict[str, Any]:
    """The arguments of ``analyze`` that choose parameters; those at their default are left out if they are rare."""
    scheme = study.scheme
    rare = {"narrow_range": False, "quant_range": None, "observer": "minmax", "clip_ratio": 1.0}
    given = {name: getattr(scheme, name) for name, default in rare.items() if getattr(scheme, name) != default}
    usual = ("dtype", "scheme", "granularity", "reduce_range", "convention")
    return {name: getattr(scheme, name) for name in usual} | given


def _ranges(study: ChannelTable) -> list[str]:
    """Given ranges as a literal while that is readable."""
    assert study.calibration is not None
    low, high = (end.tolist() for end in study.calibration)
    if len(low) > _LONGEST_LIST:
        return [comment(f"ASSIGN (min_val, max_val), {len(low)} of each, as the analysis was given"), "ranges = None"]
    return [f"ranges = ({low!r}, {high!r})"]


def _qparams(study: ChannelTable) -> list[str]:
    """Given parameters as a literal while that is readable."""
    q = study.qparams
    if q.scale.size > _LONGEST_LIST:
        about = f"the pq.QParams of this tensor, {q.scale.size} scales and zero points: see the exported table"
        return [comment(f"ASSIGN {about}"), "qparams = None"]
    arguments = {
        "zero_point": q.zero_point.tolist(),
        "dtype": q.dtype,
        "convention": q.convention,
        "ch_axis": q.ch_axis,
        "quant_min": q.quant_min,
        "quant_max": q.quant_max,
    }
    return [f"qparams = {call('pq.QParams', repr(q.scale.tolist()), arguments)}"]


def _channel_names(study: ChannelTable) -> dict[str, list[str]]:
    named = study.channels != [str(index) for index in range(study.n_channels)]
    return {"channel_names": study.channels} if named and study.n_channels <= _LONGEST_LIST else {}
