"""The document: one JSON-safe dict that HTML, PDF, notebooks and the terminal render, none of them recomputing."""

from __future__ import annotations

import platform
from dataclasses import asdict
from typing import Any

import numpy as np

from perchq_widget.core.conventions import get_convention
from perchq_widget.core.group_sizes import group_size_text
from perchq_widget.core.rules import LOW_SQNR_DB
from perchq_widget.report.export import json_safe
from perchq_widget.report.figures import histogram_name, histogram_svg, overview_name, overview_svg
from perchq_widget.report.rows import Rows, take_rows
from perchq_widget.report.summary import summary_rows
from perchq_widget.report.text import clean_name, plural, unit_text
from perchq_widget.study.channels import ChannelTable
from perchq_widget.study.explain import explain, rule_lines
from perchq_widget.study.histogram import channel_histogram

SCHEMA = "perchq.report/1"
MIMETYPE = "application/vnd.perchq.report+json"
_MOST_ERRORS = 200


def caption(study: ChannelTable) -> str:
    """One line: tensor, what it is, axis, format, scheme, granularity, convention."""
    scheme = study.scheme
    unit = unit_text(scheme.granularity, scheme.group_size)
    parts = [
        clean_name(study.name),
        _kind(study),
        f"ch_axis {study.ch_axis}",
        ", ".join(filter(None, (_format(study), f"per {unit}", _scale_rule(study), scheme.convention))),
    ]
    return " · ".join(parts)


def _format(study: ChannelTable) -> str:
    scheme = study.scheme
    plain = not (scheme.reduce_range or scheme.narrow_range or scheme.quant_range is not None)
    return f"{scheme.dtype} {scheme.scheme}" + ("" if plain else f" {scheme.quant_min}..{scheme.quant_max}")


def _kind(study: ChannelTable) -> str:
    if study.kind == "tensor":
        return f"{study.tensor_dtype} {study.shape}"
    if study.kind == "params":
        return f"{plural(study.n_channels, 'line')} of parameters"
    return plural(study.n_channels, "calibration range")


def _scale_rule(study: ChannelTable) -> str:
    """The rule that scales came from, where the runtime has a choice of them."""
    rule = study.scheme.scale_rule
    return "" if rule is None or study.qparams_given else f"scale rule {rule}"


def settings(study: ChannelTable) -> dict[str, Any]:
    """The scheme in plain values, the input mode, and where the range came from.

    ``observer`` is None where none ran: the calculator's lines, given ranges and given parameters name the range.
    """
    observed = study.kind == "tensor" and study.calibration is None and not study.qparams_given
    observer = study.scheme.observer if observed else None
    return {**study.scheme.as_dict(), "observer": observer, "mode": study.kind, "range_from": study.range_from}


def csv_settings(study: ChannelTable) -> dict[str, Any]:
    """The columns that the CSV carries beside the table's own, so that it explains itself."""
    from perchq_widget import __version__

    own = {"tensor": study.name, "ch_axis": study.ch_axis, **settings(study)}
    own["group_size"] = group_size_text(study.scheme.group_size) or None
    return {**own, "perchq_widget_version": __version__}


def build_document(
    study: ChannelTable, channel: int | str | None, created: str, lines: str | None, code: str, rows: int | None = None
) -> dict[str, Any]:
    """The document of one result; see :meth:`~perchq_widget.report.documents.ChannelReport.document`."""
    shown = study.worst if channel is None else study.index_of(channel)
    taken = take_rows(study.frame, rows)
    parts = {
        "schema": SCHEMA,
        "kind": study.kind,
        "title": clean_name(study.name),
        "caption": caption(study),
        "created": created,
        "tensor": _tensor(study),
        "settings": settings(study),
        "versions": _versions(),
        "summary": dict(study.summary),
        "summary_rows": summary_rows(study.summary, study.kind),
        **_rows(taken),
        "findings": [asdict(finding) for finding in study.findings],
        "errors": [asdict(error) for error in study.errors[: None if rows == 0 else _MOST_ERRORS]],
        "errors_total": len(study.errors),
        "explanation": asdict(explain(study, shown)),
        "convention": _convention(study),
        "figures": _figures(study, shown),
        "lines": lines,
        "csv_columns": [*taken.columns, *csv_settings(study)],
        "reproduce": code,
    }
    safe: dict[str, Any] = json_safe(parts)
    return safe


def _tensor(study: ChannelTable) -> dict[str, Any]:
    return {
        "name": study.name,
        "shape": None if study.shape is None else list(study.shape),
        "dtype": study.tensor_dtype,
        "ch_axis": study.ch_axis,
        "n_channels": study.n_channels,
        "n": study.summary.get("n", study.n_channels),
    }


def _versions() -> dict[str, str]:
    from perchq_widget import __version__

    return {"perchq_widget": __version__, "numpy": np.__version__, "python": platform.python_version()}


def _rows(rows: Rows) -> dict[str, Any]:
    return {
        "columns": rows.columns,
        "rows": rows.cells,
        "rows_total": rows.total,
        "rows_note": rows.note,
        "display_rows": rows.texts,
        "row_flags": rows.flags,
    }


def _convention(study: ChannelTable) -> dict[str, Any]:
    convention = get_convention(study.scheme.convention)
    return {
        "name": convention.name,
        "title": convention.title,
        "rule": rule_lines(study),
        "checked": f"Checked against {convention.checked}.",
        "source": f"Source: {convention.source}.",
    }


def _figures(study: ChannelTable, shown: int) -> dict[str, Any]:
    histogram = channel_histogram(study, shown)
    sqnr = study.frame["sqnr_db"].to_numpy(dtype=np.float64)
    return {
        "histogram": histogram_svg(histogram),
        "overview": overview_svg(study.channels, sqnr, shown, study.worst, LOW_SQNR_DB),
        "titles": {"histogram": histogram_name(histogram), "overview": overview_name(sqnr)},
    }
