"""The options of ``perchq``, their help and the description of the exit codes."""

from __future__ import annotations

import argparse
import textwrap
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from perchq_widget.cli import calc, conventions, demo, tensors
from perchq_widget.cli.output import FORMATS
from perchq_widget.core.errors import QuantError
from perchq_widget.core.group_sizes import group_size_of
from perchq_widget.core.schemes import GroupSize
from perchq_widget.sources.opening import READERS

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

DEFAULTS = """What is left out follows from --dtype: integers are affine, per channel, as pytorch does it; with
--group-size they are per group, as torchao does it; mxfp4 and its like as ocp, nvfp4 as modelopt, nf4 as
bitsandbytes, q4_0 and its like as gguf."""

DIFF_HELP = """Quantize a stored tensor as conventions A and B do, and compare: the share of codes that differ,
by how many codes at most, scales, zero points, and the SQNR under each and of codes that one writes and
the other reads."""

STORED = """A tensor that its file holds quantized (ONNX, GGUF, GPTQ, AWQ and others) is measured with the scales in the
file as long as no setting is given; with settings, what they choose is measured on the values that the
codes decode to. --compare-stored shows both."""

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
    _add_conventions(commands)
    _add_diff(commands)
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
    _add_scheme(parser, convention="calculator", scheme="affine")
    parser.add_argument("--tensor-name", default="tensor", metavar="NAME", help="name in the caption and the exports")
    parser.add_argument("--ch-axis", type=int, default=0, metavar="N", help="axis in the caption and the exports")
    _add_outputs(parser)


def _add_analyze(commands: Any) -> None:
    purpose = "Quantize a tensor of a model file and measure the error of each channel."
    text = f"{purpose}\n\n{_kinds()}\n\n{STORED}\n\n{DEFAULTS}\n\n{MARKS}"
    parser = _add(commands, "analyze", tensors.analyze, "analyze a tensor of a model file", text)
    _add_tensor(parser)
    _add_format(parser, given=False)
    _add_convention(parser, None)
    _add_tensor_scheme(parser)
    parser.add_argument(
        "--compare-stored", action="store_true",
        help="of a quantized tensor: what the settings choose against what its file has, side by side",
    )
    _add_outputs(parser)


def _kinds() -> str:
    """The files that are read, by their suffixes."""
    text = f"FILE is of one of the kinds {' '.join(READERS)}, or a folder that holds such files."
    return "\n".join(textwrap.wrap(text, 100))


def _add_conventions(commands: Any) -> None:
    text = "List the runtimes whose arithmetic is followed: who uses it, its formats, what it was checked against."
    parser = _add(commands, "conventions", conventions.conventions, "list the conventions and their formats", text)
    parser.add_argument("--dtype", metavar="D", help="only those that have this format")


def _add_diff(commands: Any) -> None:
    text = f"{DIFF_HELP}\n\n{DEFAULTS}"
    parser = _add(commands, "diff", conventions.diff, "compare two conventions on a tensor, code by code", text)
    _add_tensor(parser)
    parser.add_argument("a", metavar="A", help="a convention; perchq conventions lists them")
    parser.add_argument("b", metavar="B", help="another convention")
    _add_format(parser, given=False)
    _add_tensor_scheme(parser)
    parser.add_argument("--csv", type=_path, metavar="PATH", help="write the table, every channel, as CSV")
    _add_printing(parser)


def _add_tensor(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=_path, metavar="FILE", help="a model file, or a folder that holds one")
    parser.add_argument("--tensor", metavar="NAME", help="which tensor, where the file holds several")
    parser.add_argument("--ch-axis", type=int, metavar="N", help="the axis kept (default: as suits the tensor)")


def _add_tensor_scheme(parser: argparse.ArgumentParser) -> None:
    units = "channel, tensor, group, block or token"
    parser.add_argument("--granularity", metavar="G", help=f"what shares a scale: {units}")
    parser.add_argument(
        "--group-size", type=_group_size, metavar="SIZE",
        help="elements of a channel that share a scale, such as 128; 128x128 for blocks of rows x columns",
    )
    parser.add_argument(
        "--scale-rule", metavar="RULE", help="how the scale follows from the largest magnitude: floor, even, ceil, ..."
    )
    parser.add_argument("--narrow-range", action="store_true", help="leave out the lowest signed code")
    parser.add_argument(
        "--quant-range", type=int, nargs=2, metavar=("LOW", "HIGH"), help="the codes in force, such as -127 127"
    )
    parser.add_argument(
        "--observer", metavar="O",
        help="how the range is taken: mse, entropy, 'percentile(99.9)', lp, moving_average, mean_std (default: minmax)",
    )
    parser.add_argument("--clip-ratio", type=float, metavar="R", help="shrink the range first; 1 keeps it (default)")


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


def _add_format(parser: argparse.ArgumentParser, scheme: str | None = None, *, given: bool = True) -> None:
    """``given``: the default counts as a setting, as where nothing is stored."""
    default, formats = "qint8" if given else None, "qint8, int4, float8_e4m3fn, mxfp4, ..."
    parser.add_argument("--dtype", default=default, help=f"the format: {formats} (default: qint8)")
    follows = "(default: %(default)s)" if scheme is not None else "(default: follows from the format)"
    parser.add_argument("--scheme", default=scheme, help=f"affine or symmetric {follows}")
    parser.add_argument("--reduce-range", action="store_true", help="one bit less: qint8 -64..63, quint8 0..127")


def _add_scheme(parser: argparse.ArgumentParser, convention: str, scheme: str) -> None:
    _add_format(parser, scheme)
    _add_convention(parser, convention)


def _add_convention(parser: argparse.ArgumentParser, convention: str | None) -> None:
    follows = "(default: %(default)s)" if convention is not None else "(default: follows from the format)"
    parser.add_argument(
        "--convention", default=convention, help=f"whose arithmetic; perchq conventions lists them {follows}"
    )


def _add_outputs(parser: argparse.ArgumentParser) -> None:
    for name in FORMATS:
        parser.add_argument(f"--{name}", type=_path, metavar="PATH", help=f"write the report as {name.upper()}")
    _add_printing(parser)


def _add_printing(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--overwrite", action="store_true", help="replace files that exist")
    parser.add_argument(
        "--rows", type=_row_count, default=40, metavar="N", help="most rows to print, worst kept; 0: all (%(default)s)"
    )


def _group_size(text: str) -> GroupSize | None:
    try:
        return group_size_of(_name(text))
    except QuantError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


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
