"""What a command leaves: a report on the terminal, files, complaints on stderr."""

from __future__ import annotations

import argparse
import importlib.util
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perchq_widget.cli.terminal import Look, coloured, table_lines
from perchq_widget.core.errors import LineError, MissingExtra, QuantValueError
from perchq_widget.report.export import TargetExistsError, check_target
from perchq_widget.report.text import clean_name

if TYPE_CHECKING:
    from perchq_widget.report.documents import ChannelReport

OK, SOME_BAD, ERROR = 0, 1, 2
FORMATS = ("csv", "json", "pdf", "html")
SEVERITY_COLOURS = {"error": "clipped", "warning": "low_sqnr"}


def complain(message: str) -> int:
    """One line on stderr and the exit code of an error."""
    print_error(f"error: {message}")
    return ERROR


def print_error(message: str) -> None:
    """``perchq: message`` in one line on stderr, whatever the message holds."""
    one_line = re.sub(r"\s*\n\s*", " ", message.strip())
    print(f"perchq: {clean_name(one_line)}", file=sys.stderr)


def check_targets(options: argparse.Namespace) -> None:
    """Refuse files that cannot be written before the work, not after it; raises QuantError."""
    taken: dict[str, str] = {}
    for name, path in targets(options).items():
        try:
            check_target(path, options.overwrite)
        except TargetExistsError:
            raise QuantValueError(f"{path} exists; choose another name or add --overwrite") from None
        other = taken.setdefault(os.path.normcase(os.path.realpath(path.expanduser())), name)
        if other != name:
            raise QuantValueError(f"--{other} and --{name} both name {path}; give each a file of its own")
    if "pdf" in targets(options):
        need("typst", "pdf")


def need(package: str, extra: str) -> None:
    """Raise MissingExtra with the pip line unless ``package`` can be imported."""
    if importlib.util.find_spec(package) is None:
        raise MissingExtra(package, extra)


def targets(options: argparse.Namespace) -> dict[str, Path]:
    """The files asked for, by format."""
    return {name: path for name in FORMATS if (path := getattr(options, name, None)) is not None}


def finish(report: ChannelReport, options: argparse.Namespace, note: str = "") -> int:
    """Write the files, print the report, list its bad lines; returns the exit code. ``note`` goes below the caption.

    In this order because a reader such as ``head`` may end the printing, and files and bad lines are not its business.
    """
    write_files(report, options)
    try:
        print_report(report.document(rows=options.rows), note)
        sys.stdout.flush()
    finally:
        print_bad_lines(report.errors)
    return SOME_BAD if report.errors else OK


def write_files(result: Any, options: argparse.Namespace) -> None:
    """Write each file asked for, and say so."""
    for name, path in targets(options).items():
        written = getattr(result, f"to_{name}")(path, overwrite=options.overwrite)
        print_error(f"wrote {written}")


def print_bad_lines(errors: Sequence[LineError]) -> None:
    """Each bad line's number, text and reason on stderr."""
    for error in errors:
        print_error(str(error))
    if errors:
        count = f"{len(errors)} line was" if len(errors) == 1 else f"{len(errors)} lines were"
        print_error(f"{count} left out; the others were computed")


def print_report(document: dict[str, Any], note: str = "") -> None:
    """Caption, note, the rows that the document holds, summary and findings on stdout."""
    look = Look.of(sys.stdout)
    lines = [coloured(clean_name(document["caption"]), "bold", look), *([clean_name(note)] if note else []), ""]
    lines += table_lines(document["columns"], document["display_rows"], document["row_flags"], look)
    held, total = len(document["rows"]), document["rows_total"]
    lines += [f"   (the worst {held} of {total} channels, worst first; --csv holds all)"] if held < total else []
    lines += ["", *summary_lines(document), *finding_lines(document, look)]
    for line in lines:
        print(line)


def summary_lines(document: dict[str, Any]) -> list[str]:
    """One line per figure of the summary, labels aligned."""
    pairs = [(clean_name(str(label)), clean_name(str(text))) for label, text in document["summary_rows"]]
    width = max((len(label) for label, _ in pairs), default=0)
    return [f"{label.ljust(width)}  {text}" for label, text in pairs]


def finding_lines(document: dict[str, Any], look: Look) -> list[str]:
    """Each finding with what to do next; nothing where there is none."""
    lines = [""] if document["findings"] else []
    for finding in document["findings"]:
        severity = str(finding["severity"])
        where = f"{finding['channel']}: " if finding["channel"] is not None else ""
        text = clean_name(f"{severity}: {where}{finding['message']}")
        lines.append(coloured(text, SEVERITY_COLOURS.get(severity, ""), look))
        lines += [f"  next: {clean_name(str(finding['next_step']))}"] if finding["next_step"] else []
    return lines
