"""``perchq analyze``: one tensor of a file."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from perchq_widget.cli.output import ERROR, check_targets, complain, finish
from perchq_widget.report.text import clean_name

if TYPE_CHECKING:
    from collections.abc import Mapping


def analyze(options: argparse.Namespace) -> int:
    """Analyze the tensor, or list the tensors where the choice is open."""
    from perchq_widget import api

    check_targets(options)
    source = api.open_source(options.file)
    name = options.tensor if options.tensor is not None else only_name(source)
    if name is None:
        return list_tensors(source, options)
    report = api.analyze(
        source[name],
        dtype=options.dtype,
        scheme=options.scheme,
        granularity=options.granularity,
        ch_axis=options.ch_axis,
        reduce_range=options.reduce_range,
        narrow_range=options.narrow_range,
        convention=options.convention,
        name=name,
    )
    return finish(report, options)


def only_name(source: Mapping[str, Any]) -> str | None:
    """The name of the one tensor in the source; None where there are several, or none."""
    names = list(source)
    return names[0] if len(names) == 1 else None


def list_tensors(source: Mapping[str, Any], options: argparse.Namespace) -> int:
    """Name, dtype and shape of each tensor on stdout, and what to do on stderr."""
    if not source:
        return complain(f"{options.file} holds no tensor")
    rows = [(clean_name(name), str(source[name].dtype), str(tuple(source[name].shape))) for name in source]
    widths = [max(len(row[i]) for row in rows) for i in (0, 1)]
    for name, dtype, shape in rows:
        print(f"{name.ljust(widths[0])}  {dtype.ljust(widths[1])}  {shape}")
    sys.stdout.flush()
    complain(f"{options.file} holds {len(rows)} tensors; choose one with --tensor NAME")
    return ERROR
