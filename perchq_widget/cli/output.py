"""What a command leaves: a report on the terminal, files, complaints on stderr."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perchq_widget.cli.terminal import Look, coloured, table_lines
from perchq_widget.core.errors import LineError, QuantValueError
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
    """Refuse existing files before the work, not after it; raises QuantValueError."""
    for path in targets(options).values():
        if path.exists() and not options.overwrite:
            raise QuantValueError(f"{path} exists; choose another name or add --overwrite")
        if not path.parent.is_dir():
            raise QuantValueError(f"{path}: there is no folder {path.parent}; make it first")


def targets(options: argparse.Namespace) -> dict[str, Path]:
    """The files asked for, by format."""
    return {name: path for name in FORMATS if (path := getattr(options, name)) is not None}


def finish(report: ChannelReport, options: argparse.Namespace) -> int:
    """Print the report, list its bad lines, write the files; returns the exit code."""
    print_report(report.document(), options.rows)
    sys.stdout.flush()
    print_bad_lines(report.errors)
    for name, path in targets(options).items():
        written = getattr(report, f"to_{name}")(path, overwrite=options.overwrite)
        print_error(f"wrote {written}")
    return SOME_BAD if report.errors else OK


def print_bad_lines(errors: Sequence[LineError]) -> None:
    """Each bad line's number, text and reason on stderr."""
    for error in errors:
        print_error(str(error))
    if errors:
        count = f"{len(errors)} line was" if len(errors) == 1 else f"{len(errors)} lines were"
        print_error(f"{count} left out; the others were computed")


def print_report(document: dict[str, Any], max_rows: int) -> None:
    """Caption, table, summary and findings of a report document on stdout."""
    look = Look.of(sys.stdout)
    lines = [coloured(clean_name(document["caption"]), "bold", look), ""]
    rows, note = choose_rows(document, max_rows)
    shown = [document["display_rows"][i] for i in rows]
    lines += table_lines(document["columns"], shown, [document["row_flags"][i] for i in rows], look)
    lines += [f"   ({note})"] if note else []
    lines += ["", *summary_lines(document), *finding_lines(document, look)]
    for line in lines:
        print(line)


def choose_rows(document: dict[str, Any], max_rows: int) -> tuple[list[int], str]:
    """Positions of the rows to show, in the document's order, and a note where some are not shown.

    The rows with the lowest SQNR stay; 0 for ``max_rows`` keeps all that the document holds.
    """
    held, total = len(document["rows"]), document["rows_total"]
    keep = held if max_rows == 0 else min(held, max_rows)
    if keep == total:
        return list(range(held)), ""
    place = document["columns"].index("sqnr_db")
    sqnr = [float(row[place]) for row in document["rows"]]
    # A channel that is nan has no signal and no error: nothing to look at.
    worst = sorted(range(held), key=lambda i: float("inf") if sqnr[i] != sqnr[i] else sqnr[i])[:keep]
    return sorted(worst), f"the worst {keep} of {total} channels; --csv holds all"


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
