"""Parse the command line, run one command, turn every ending into an exit code."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence

from perchq_widget.cli.output import complain, print_error
from perchq_widget.cli.parser import build_parser
from perchq_widget.core.errors import LinesError, QuantError

INTERRUPTED = 130
# What a shell shows for a program whose reader left: 128 + SIGPIPE.
READER_GONE = 141


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``perchq`` with ``argv`` (default: the process's own) and return the exit code.

    Bad input is a message on stderr and a code, never a traceback; only argparse's own --help and usage errors leave
    by SystemExit.
    """
    _replace_closed_streams()
    _write_anything()
    try:
        options = build_parser().parse_args(argv)
        code: int = options.command(options)
        sys.stdout.flush()
    except BrokenPipeError:
        _drop_unwritten()
        return READER_GONE
    except KeyboardInterrupt:
        print_error("interrupted")
        return INTERRUPTED
    except LinesError as error:
        for line in error.errors:
            print_error(str(line))
        return complain("no usable line in the input")
    except MemoryError:
        return complain("not enough memory")
    except QuantError as error:
        return complain(str(error))
    except OSError as error:  # a full disk behind stdout, for one
        _drop_unwritten()
        return complain(str(error))
    return code


def _drop_unwritten() -> None:
    """Let what stdout could not take go: the interpreter flushes once more at exit and would complain."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _replace_closed_streams() -> None:
    """``>&-`` leaves no stream at all; what would go there goes nowhere, and files do not get its number."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115,PTH123 - for the process's life


def _write_anything() -> None:
    """Let what a stream's encoding lacks come out as an escape: a pipe on Windows knows no ▲, and names are free."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
