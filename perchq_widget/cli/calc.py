"""``perchq calc``: the calculator over a file or standard input."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from perchq_widget.cli.output import check_targets, finish, print_error
from perchq_widget.core.errors import QuantValueError

# The reader refuses 16 MB; one byte more than that is enough for it to see.
READ_LIMIT = 16_000_001


def calc(options: argparse.Namespace) -> int:
    """Run the calculator; the exit code says whether all lines were good."""
    from perchq_widget.api import calculate

    check_targets(options)
    report = calculate(
        read_lines(options.file),
        mode=options.mode,
        dtype=options.dtype,
        scheme=options.scheme,
        reduce_range=options.reduce_range,
        convention=options.convention,
        tensor_name=options.tensor_name,
        ch_axis=options.ch_axis,
    )
    return finish(report, options)


def read_lines(file: str) -> Path | bytes:
    """The path to read, or the bytes of standard input for ``-``."""
    if file != "-":
        return Path(file)
    if sys.stdin is None:
        raise QuantValueError("standard input is closed; name a file or give it lines: perchq calc < lines.csv")
    if sys.stdin.isatty():
        print_error("reading lines from the keyboard; end with Ctrl-D (Windows: Ctrl-Z, Enter)")
    return sys.stdin.buffer.read(READ_LIMIT)
