"""The options of ``perchq``, their help and the description of the exit codes."""

from __future__ import annotations

import argparse
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from perchq_widget.cli import calc, demo, tensors
from perchq_widget.cli.output import FORMATS

EXIT_CODES = """exit codes:
  0    done
  1    done, but some lines of the input were bad; they are listed on stderr
  2    nothing computed, or a file could not be written; the reason is on stderr
  130  interrupted
  141  the reader of the output left early, as in `perchq ... | head`; files were written before"""

LINES_HELP = """One line per channel, split at semicolons, else tabs, else commas, else blanks:
  --mode ranges   channel,min,max,sample
  --mode params   channel,scale,zero_point,sample
Blank lines, # comments and a header line are fine. Bad lines are listed on stderr,
the others are computed."""

MARKS = "In the table ▲ marks a channel with clipped values, ▼ one with a low SQNR."


def build_parser() -> argparse.ArgumentParser:
    """The parser; every subcommand leaves the function to run in ``command``."""
    parser = argparse.ArgumentParser(
        prog="perchq",
        description="See how tensors quantize, channel by channel.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"perchq {_version()}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_calc(commands)
    _add_analyze(commands)
    _add_demo(commands)
    return parser


def _version() -> str:
    try:
        return version("perchq_widget")
    except PackageNotFoundError:  # run from a source tree that was never installed
        return "(not installed)"


def _add(commands: Any, name: str, command: Any, help_text: str, description: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=help_text,
        description=description,
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(command=command)
    return parser


def _add_calc(commands: Any) -> None:
    purpose = "Quantize one sample per channel from calibration ranges or from given parameters."
    text = f"{purpose}\n\n{LINES_HELP}\n\n{MARKS}"
    parser = _add(commands, "calc", calc.calc, "calculate from lines of text", text)
    parser.add_argument(
        "file", nargs="?", type=_name, default="-", metavar="FILE", help="a text or CSV file; - or nothing: stdin"
    )
    parser.add_argument("--mode", default="ranges", help="what the lines hold: ranges or params (default: %(default)s)")
    _add_scheme(parser, convention="calculator")
    parser.add_argument("--tensor-name", default="tensor", metavar="NAME", help="name in the caption and the exports")
    parser.add_argument("--ch-axis", type=int, default=0, metavar="N", help="axis in the caption and the exports")
    _add_outputs(parser)


def _add_analyze(commands: Any) -> None:
    text = f"Quantize a stored tensor and measure the error of each channel.\n\n{MARKS}"
    parser = _add(commands, "analyze", tensors.analyze, "analyze a tensor in a .npy, .npz or .safetensors file", text)
    parser.add_argument("file", type=_path, metavar="FILE", help="a .npy, .npz or .safetensors file")
    parser.add_argument("--tensor", metavar="NAME", help="which tensor, where the file holds several")
    _add_scheme(parser, convention="pytorch")
    parser.add_argument("--granularity", default="channel", help="channel or tensor (default: %(default)s)")
    parser.add_argument("--narrow-range", action="store_true", help="leave out the lowest signed code")
    parser.add_argument("--ch-axis", type=int, metavar="N", help="the axis kept (default: as suits the tensor)")
    _add_outputs(parser)


def _add_demo(commands: Any) -> None:
    text = "Analyze the bundled model, write CSV, PDF and the executed quickstart notebook, then open JupyterLab on it."
    parser = _add(commands, "demo", demo.demo, "analyze the bundled model and open it in JupyterLab", text)
    parser.add_argument("--no-lab", action="store_true", help="do not open JupyterLab; it opens only from a terminal")
    _add_out(parser)
    parser = _add(
        commands, "lab", demo.lab, "open the quickstart in JupyterLab", "Open the quickstart notebook in JupyterLab."
    )
    _add_out(parser)


def _add_out(parser: argparse.ArgumentParser) -> None:
    default = Path("build") / "demo"
    parser.add_argument(
        "--out", type=_path, default=default, metavar="DIR", help="where the notebook and the results go (%(default)s)"
    )


def _add_scheme(parser: argparse.ArgumentParser, convention: str) -> None:
    parser.add_argument("--dtype", default="qint8", help="qint8, quint8, ... (default: %(default)s)")
    parser.add_argument("--scheme", default="affine", help="affine or symmetric (default: %(default)s)")
    parser.add_argument("--reduce-range", action="store_true", help="one bit less: qint8 -64..63, quint8 0..127")
    parser.add_argument("--convention", default=convention, help="calculator or pytorch (default: %(default)s)")


def _add_outputs(parser: argparse.ArgumentParser) -> None:
    for name in FORMATS:
        parser.add_argument(f"--{name}", type=_path, metavar="PATH", help=f"write the report as {name.upper()}")
    parser.add_argument("--overwrite", action="store_true", help="replace files that exist")
    parser.add_argument(
        "--rows", type=_row_count, default=40, metavar="N", help="most rows to print, worst kept; 0: all (%(default)s)"
    )


def _name(text: str) -> str:
    if not text.strip():
        raise argparse.ArgumentTypeError(f"must be the name of a file or folder, got {text!r}")
    return text


def _path(text: str) -> Path:
    return Path(_name(text))


def _row_count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"must be a whole number, 0 or more, got {text!r}")
    return int(text)
