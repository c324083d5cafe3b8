"""``perchq analyze``: one tensor of a file."""

from __future__ import annotations

import argparse
import sys
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from perchq_widget.cli.output import ERROR, check_targets, complain, finish
from perchq_widget.core.errors import QuantValueError
from perchq_widget.report.text import clean_name

if TYPE_CHECKING:
    from perchq_widget.sources.base import TensorRecord, TensorSource


NOT_CHOSEN = ERROR


def analyze(options: argparse.Namespace) -> int:
    """Analyze the tensor, or list the tensors where the choice is open."""
    from perchq_widget import api

    check_targets(options)
    record = chosen(options)
    if record is None:
        return NOT_CHOSEN
    report = api.analyze(record, convention=options.convention, **scheme_options(record, options))
    return finish(report, options)


def chosen(options: argparse.Namespace) -> TensorRecord | None:
    """The tensor that the options name; None, with a listing printed, where the choice is open."""
    from perchq_widget.sources.opening import open_source

    source = open_source(options.file)
    name = options.tensor if options.tensor is not None else only_name(source)
    if name is None:
        list_tensors(source, options)
        return None
    return pick(source, name)


def scheme_options(record: TensorRecord, options: argparse.Namespace) -> dict[str, Any]:
    """The settings that every command on a tensor has; what was left out follows from the format and the tensor."""
    names = (
        "dtype", "scheme", "granularity", "group_size", "scale_rule", "reduce_range", "narrow_range", "observer",
        "clip_ratio",
    )  # fmt: skip
    axis = record.ch_axis if options.ch_axis is None else options.ch_axis
    ends = None if options.quant_range is None else tuple(options.quant_range)
    return {"ch_axis": axis, "quant_range": ends, **{name: getattr(options, name) for name in names}}


def pick(source: TensorSource, name: str) -> TensorRecord:
    """The tensor of that name; for an unknown one QuantValueError with near names, or how to see them all."""
    if name in source:
        return source[name]
    near = get_close_matches(name, source, n=3) or [known for known in source if name.lower() in known.lower()][:3]
    hint = f"did you mean {' or '.join(map(repr, near))}? " if near else ""
    raise QuantValueError(f"no tensor {name!r} in {source.name}; {hint}without --tensor its {len(source)} are listed")


def only_name(source: TensorSource) -> str | None:
    """The name of the one tensor that can be analyzed; None where there are several, or none."""
    usable = source.applicable()
    return usable[0].name if len(usable) == 1 else None


def list_tensors(source: TensorSource, options: argparse.Namespace) -> int:
    """Name, type and shape of each tensor on stdout, and what to do on stderr."""
    rows = [describe(source[name]) for name in source]
    widths = [max((len(row[i]) for row in rows), default=0) for i in range(3)]
    for row in rows:
        print("  ".join(text.ljust(width) for text, width in zip(row, (*widths, 0), strict=True)).rstrip())
    sys.stdout.flush()
    if not source.applicable():
        return complain(f"{options.file} holds no tensor that can be analyzed")
    return complain(f"{options.file} holds {len(rows)} tensors; choose one with --tensor NAME")


def describe(record: TensorRecord) -> tuple[str, str, str, str]:
    """Name, type, shape and, for a tensor that cannot be analyzed, why."""
    return clean_name(record.name), record.dtype, str(record.shape), clean_name(record.not_applicable or "")
