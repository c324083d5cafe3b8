"""Python that gives a report again: the calculator's lines as typed, or the tensor named and the settings in full."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perchq_widget.core.defaults import settled
from perchq_widget.core.errors import QuantError
from perchq_widget.core.schemes import QuantScheme
from perchq_widget.report.code import call, comment, lines_literal
from perchq_widget.report.packed import MOST_BYTES, UNPACK, packed
from perchq_widget.report.params_code import ParamsCode, params_code
from perchq_widget.sources.opening import READERS
from perchq_widget.study.channels import STORED_QPARAMS, ChannelTable

_LONGEST_LIST = 64
_ARGUMENTS = (
    "dtype", "scheme", "granularity", "group_size", "scale_rule", "reduce_range", "narrow_range", "quant_range",
    "convention", "observer", "clip_ratio",
)  # fmt: skip
_FROM_LEAST_TELLING = (
    "granularity", "scale_rule", "group_size", "scheme", "convention", "reduce_range", "narrow_range", "quant_range",
    "observer", "clip_ratio", "dtype",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Code:
    """``shown`` is what a person reads and edits; ``folded`` holds values that it needs, "" where there are none.

    ``to_assign``: whether ``shown`` has placeholders, and raises until they are filled.
    """

    shown: str
    folded: str = ""
    to_assign: bool = False


@dataclass(frozen=True, slots=True)
class _Value:
    """How one value gets into the code: lines to read, a statement to fold away, and the argument that uses it."""

    shown: Sequence[str] = ()
    folded: str = ""
    argument: str = ""


def reproduce(study: ChannelTable, *, lines: str | None, source: str | None) -> str:
    """Statements that end with ``report = ...``, short enough to print.

    ``lines`` is the calculator's input as text. ``source`` is the file that a tensor was read from. What has no file
    and is too long to read is a placeholder that says what to assign; run as it is, it raises that.
    """
    return _code(study, lines, readable_file(source), pack=False).shown


def notebook_code(study: ChannelTable, *, lines: str | None, source: str | None, folder: Path | None) -> Code:
    """The same for a notebook, which holds values of up to 1 MiB itself, folded away.

    ``folder`` is where the notebook will be, and where Jupyter runs it: the file is named from there if both lie in a
    common folder below the root, so that they can move together, else in full. None: the file as it was given.
    """
    file = readable_file(source)
    named = file if file is None or folder is None else path_from(folder, file)
    return _code(study, lines, named, pack=True)


def path_from(folder: Path, file: str) -> str:
    """``file`` relative to ``folder``, with forward slashes, or in full if they have nothing but the root in common."""
    # The file's own link is kept: what it points to may have another suffix.
    target = Path(os.path.realpath(Path(file).parent)) / Path(file).name
    start = Path(os.path.realpath(folder))
    try:
        common = Path(os.path.commonpath([target, start]))
    except ValueError:  # another drive
        return str(target)
    return str(target) if common == Path(common.anchor) else Path(os.path.relpath(target, start)).as_posix()


def readable_file(source: str | None) -> str | None:
    """``source`` if it is a model file or folder that can be opened again, and not the name of an object."""
    if not source:  # "" is what a tensor in memory has, and not the working folder
        return None
    try:
        return source if _holds_tensors(Path(source)) else None
    except (OSError, ValueError):  # too long for a name, not to be listed, or it holds a NUL
        return None


def _holds_tensors(path: Path) -> bool:
    """Whether a file is of a kind that is read, or a folder has such a file."""
    files = path.iterdir() if path.is_dir() else [path] if path.is_file() else []
    return any(file.name.lower().endswith(tuple(READERS)) for file in files)


def _code(study: ChannelTable, lines: str | None, file: str | None, *, pack: bool) -> Code:
    if study.kind != "tensor":
        return Code(_calculator(study, lines if lines is not None else ""))
    label = {"ch_axis": study.ch_axis, "name": study.name}
    values = [_tensor(study, file, pack)]
    if study.range_from == STORED_QPARAMS and file is not None:
        settings = label  # the file brings them
    elif study.qparams_given:
        values.append(_qparams(study, pack))
        settings = label
    else:
        values += [] if study.calibration is None else [_ranges(study, pack)]
        settings = _settings(study) | label
    values.append(_channel_names(study, pack))
    arguments = ", ".join(value.argument for value in values if value.argument)
    blocks = ["import perchq_widget as pq", *("\n".join(value.shown) for value in values if value.shown)]
    shown = "\n\n".join([*blocks, f"report = {call('pq.analyze', arguments, settings)}"])
    folded = "\n".join(value.folded for value in values if value.folded)
    to_assign = any(line.endswith(" = None") for value in values for line in value.shown)
    return Code(shown, UNPACK + folded if folded else "", to_assign)


def _calculator(study: ChannelTable, lines: str) -> str:
    scheme = study.scheme
    arguments = {
        "mode": study.kind,
        "dtype": scheme.dtype,
        "scheme": scheme.scheme,
        "reduce_range": scheme.reduce_range,
        "convention": scheme.convention,
        "tensor_name": study.name,
        "ch_axis": study.ch_axis,
    }
    head = f"import perchq_widget as pq\n\nlines = {lines_literal(lines)}\n"
    return f"{head}report = {call('pq.calculate', 'lines', arguments)}"


def _settings(study: ChannelTable) -> dict[str, Any]:
    """The arguments of ``analyze`` that choose parameters; those at their default are left out if they are rare."""
    scheme = study.scheme
    rare = {
        "group_size": None, "scale_rule": None, "narrow_range": False, "quant_range": None, "observer": "minmax",
        "clip_ratio": 1.0,
    }  # fmt: skip
    given = {name: getattr(scheme, name) for name, default in rare.items() if getattr(scheme, name) != default}
    usual = ("dtype", "scheme", "granularity", "reduce_range", "convention")
    return {name: getattr(scheme, name) for name in usual} | given


def brief_settings(scheme: QuantScheme) -> dict[str, Any]:
    """The arguments of ``analyze`` that give ``scheme`` again, without those that follow from the others."""
    given = {name: getattr(scheme, name) for name in _ARGUMENTS}
    for name in _FROM_LEAST_TELLING:
        fewer = {each: value for each, value in given.items() if each != name}
        given = fewer if _gives(fewer, scheme) else given
    return given


def _gives(arguments: dict[str, Any], scheme: QuantScheme) -> bool:
    try:
        return settled(**{"dtype": "qint8", **arguments}) == scheme
    except QuantError:
        return False


def _tensor(study: ChannelTable, file: str | None, pack: bool) -> _Value:
    if file is not None:
        return _Value([f"tensor = pq.open_source({file!a})[{study.name!a}]"], "", "tensor")
    about = f"the tensor here: {study.name}, {study.tensor_dtype}, shape {study.shape}"
    if pack and study.array is not None and study.array.nbytes <= MOST_BYTES:
        return _folded("tensor", packed(study.array), about)
    return _Value(_placeholder("tensor", about), "", "tensor")


def _ranges(study: ChannelTable, pack: bool) -> _Value:
    """Given ranges as a literal while that is readable."""
    assert study.calibration is not None
    low, high = study.calibration
    if len(low) <= _LONGEST_LIST:
        return _Value([f"ranges = ({low.tolist()!r}, {high.tolist()!r})"], "", "ranges=ranges")
    about = f"(min_val, max_val), {len(low)} of each, as the analysis was given"
    both: NDArray[Any] = np.stack([low, high])
    if pack and both.nbytes <= MOST_BYTES:
        return _folded("ranges", f"tuple({packed(both)})", about, "ranges=ranges")
    return _Value(_placeholder("ranges", about), "", "ranges=ranges")


def _qparams(study: ChannelTable, pack: bool) -> _Value:
    """Given parameters as a literal while that is readable."""
    made, argument = params_code(study.qparams), "qparams=qparams"
    readable = made.literals()
    if readable is not None:
        return _Value([f"qparams = {_built(made, readable)}"], "", argument)
    if pack and made.n_bytes <= MOST_BYTES:
        folded = "\n".join(f"{name} = {packed(array)}" for name, array in made.arrays.items())
        return _Value([f"qparams = {_built(made, {name: name for name in made.arrays})}"], folded, argument)
    about = f"the pq.{made.class_name} of this tensor, {made.arrays['scale'].size} scales: see the exported table"
    return _Value(_placeholder("qparams", about), "", argument)


def _built(made: ParamsCode, values: dict[str, str]) -> str:
    return call(f"pq.{made.class_name}", made.arguments(values), made.options)


def _channel_names(study: ChannelTable, pack: bool) -> _Value:
    """Names that were given. They change no number, so where they are too many they are left out, and that is said."""
    if study.channels == [str(index) for index in range(study.n_channels)]:
        return _Value()
    argument = "channel_names=channel_names"
    if study.n_channels <= _LONGEST_LIST:
        return _Value([f"channel_names = {study.channels!a}"], "", argument)
    literal = "".join(f"    {name!a},\n" for name in study.channels)
    if pack and len(literal) <= MOST_BYTES:
        return _folded("channel_names", f"[\n{literal}]", f"{study.n_channels} names", argument)
    return _Value([comment(f"The {study.n_channels} names of the channels are left out; the exported table has them.")])


def _folded(variable: str, expression: str, about: str, argument: str = "") -> _Value:
    note = comment(f"{variable} is in the folded cell above. To take another one, ASSIGN {about}")
    return _Value([note], f"{variable} = {expression}", argument if argument else variable)


def _placeholder(variable: str, about: str) -> list[str]:
    """What to assign, as a comment and as the error that a run raises until it is done."""
    error = f"`{variable}` is not assigned yet: in this cell, assign {about}"
    return [
        comment(f"ASSIGN {about}"),
        f"{variable} = None",
        f"if {variable} is None:",
        f"    raise pq.QuantValueError({error!a})",
    ]
