"""``perchq analyze --compare-stored``: what the settings choose, against the parameters that the file has."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from perchq_widget.cli.output import OK, write_files
from perchq_widget.cli.terminal import Look, coloured, display_width, pad, table_lines
from perchq_widget.core.errors import QuantValueError
from perchq_widget.report.comparison import SUMMARY_HEADS, ReportComparison
from perchq_widget.report.text import clean_name
from perchq_widget.study.stored_scheme import settings_like

if TYPE_CHECKING:
    from perchq_widget.sources.base import TensorRecord

NAMES = ("as stored", "chosen")


def compare_stored(
    record: TensorRecord, axis: dict[str, Any], settings: dict[str, Any], options: argparse.Namespace
) -> int:
    """Print both side by side and write the files; without settings, those that the stored parameters stand for."""
    from perchq_widget import api

    if not record.quantized:
        raise QuantValueError(f"--compare-stored: {record.name!r} {record.no_codes}")
    if options.pdf is not None:
        raise QuantValueError("--pdf: a comparison is written as --csv, --json or --html; leave --pdf out")
    stored = api.analyze(record, **axis)
    own = api.analyze(record, **axis, **(settings if settings else settings_like(stored.scheme)))
    found = api.compare(stored, own, names=NAMES)
    write_files(found, options)
    for line in lines_of(found, options.rows):
        print(line)
    sys.stdout.flush()
    return OK


def lines_of(found: ReportComparison, most: int) -> list[str]:
    """Caption, the figures of both in columns, and the channels that differ most."""
    look = Look.of(sys.stdout)
    heads, rows = found.channel_cells(most)
    lines = [coloured(clean_name(found.caption), "bold", look), ""]
    lines += [*_columns([list(SUMMARY_HEADS), *found.summary_cells()]), ""]
    lines += table_lines(heads, rows, [[]] * len(rows), look)
    held, total = len(rows), len(found.table)
    return lines + ([f"   (the {held} of {total} channels that differ most; --csv holds all)"] if held < total else [])


def _columns(columns: list[list[str]]) -> list[str]:
    """Texts in columns, each as wide as its longest."""
    widths = [max(map(display_width, column)) for column in columns]
    rows = zip(*columns, strict=True)
    return ["  ".join(pad(*cell, right=False) for cell in zip(row, widths, strict=True)).rstrip() for row in rows]
