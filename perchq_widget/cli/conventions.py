"""``perchq conventions`` lists the runtimes; ``perchq diff`` compares two of them on a tensor."""

from __future__ import annotations

import argparse
import sys
import textwrap
from typing import TYPE_CHECKING

from perchq_widget.cli.output import OK, check_targets, complain, print_error, summary_lines
from perchq_widget.cli.tensors import NOT_CHOSEN, axis_given, chosen, settings_given
from perchq_widget.cli.terminal import Look, coloured, table_lines
from perchq_widget.report.text import clean_name

if TYPE_CHECKING:
    from perchq_widget.core.record import Convention
    from perchq_widget.report.difference import ConventionDiff

_INDENT = "    "
_WIDTH = 100


def conventions(options: argparse.Namespace) -> int:
    """Each convention with who uses it, its formats and what it was checked against."""
    from perchq_widget.core.conventions import CONVENTIONS, allowed, conventions_with
    from perchq_widget.core.defaults import settled
    from perchq_widget.core.grids import STORED_DTYPES, canonical_dtype

    dtype = None if options.dtype is None else canonical_dtype(options.dtype)
    names = CONVENTIONS if dtype is None else conventions_with(dtype)
    if not names:
        refusal = allowed(settled(dtype)) if dtype in STORED_DTYPES else None
        return complain(f"no convention has {dtype}" + (f": {refusal}" if refusal else ""))
    look = Look.of(sys.stdout)
    for at, name in enumerate(names):
        for line in ([""] if at else []) + describe(CONVENTIONS[name], look):
            print(line)
    return OK


def describe(convention: Convention, look: Look) -> list[str]:
    """A convention in a few lines."""
    facts = {
        "used by": convention.used_by,
        "formats": " ".join(convention.formats),
        "checked": convention.checked,
        "source": convention.source,
    }
    lines = [coloured(f"{convention.name}: {convention.title}", "bold", look)]
    for label, text in facts.items():
        lines += wrapped(f"{_INDENT}{label:<9}", text, look)
    return lines


def wrapped(label: str, text: str, look: Look) -> list[str]:
    """``text`` after its label, in as many lines as it takes."""
    width = max(40, (_WIDTH if look.width is None else look.width) - 1)
    return textwrap.wrap(clean_name(text), width, initial_indent=label, subsequent_indent=" " * len(label))


def diff(options: argparse.Namespace) -> int:
    """Compare two conventions on the tensor, or list the tensors where the choice is open."""
    from perchq_widget import api

    check_targets(options)
    record = chosen(options)
    if record is None:
        return NOT_CHOSEN
    found = api.convention_diff(record, options.a, options.b, **axis_given(options), **settings_given(options))
    if options.csv is not None:
        print_error(f"wrote {found.to_csv(options.csv, overwrite=options.overwrite)}")
    print_diff(found, options.rows)
    sys.stdout.flush()
    return OK


def print_diff(found: ConventionDiff, most: int) -> None:
    """Caption, the channels that differ most, the summary, and what differs in the rules."""
    look = Look.of(sys.stdout)
    rows = found.rows(most)
    lines = [coloured(clean_name(found.caption), "bold", look), f"a is {found.a}, b is {found.b}", ""]
    lines += table_lines([str(name) for name in found.study.frame.columns], rows, [[]] * len(rows), look)
    total = len(found.study.frame)
    if len(rows) < total:
        lines.append(f"   (the {len(rows)} of {total} channels that differ most; --csv holds all)")
    lines += ["", *summary_lines({"summary_rows": found.summary_rows()}), ""]
    for each in found.study.contrasts:
        lines += [each.what, *wrapped(f"  {found.a}: ", each.a, look), *wrapped(f"  {found.b}: ", each.b, look)]
    if not found.study.contrasts:
        lines.append("Both follow the same rules here.")
    for line in lines:
        print(line)
