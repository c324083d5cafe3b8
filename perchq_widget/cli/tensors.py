"""``perchq analyze``: one tensor of a model file, or a listing of all."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from perchq_widget.cli.output import ERROR, check_targets, complain, finish
from perchq_widget.core.errors import MissingExtra, QuantValueError
from perchq_widget.report.text import clean_name
from perchq_widget.sources.decimals import clip_text

if TYPE_CHECKING:
    from perchq_widget.sources.base import TensorRecord, TensorSource


NOT_CHOSEN = ERROR
HEADS = ("name", "dtype", "shape", "stored as")
_SETTINGS = (
    "dtype", "convention", "scheme", "granularity", "group_size", "scale_rule", "quant_range", "observer", "clip_ratio",
)  # fmt: skip
_WIDEST = 80  # of a column; one endless name would fill every line with spaces
_FLAGS = ("reduce_range", "narrow_range")


def analyze(options: argparse.Namespace) -> int:
    """Analyze the tensor, or list the tensors where the choice is open."""
    try:
        return _analyze(options)
    except MissingExtra as error:
        return complain(f"{options.file}: {error}")


def _analyze(options: argparse.Namespace) -> int:
    from perchq_widget import api

    check_targets(options)
    record = chosen(options)
    if record is None:
        return NOT_CHOSEN
    settings, axis = settings_given(options), axis_given(options)
    if options.compare_stored:
        from perchq_widget.cli.stored import compare_stored

        return compare_stored(record, axis, settings, options)
    report = api.analyze(record, **axis, **settings)
    return finish(report, options, _how(record, bool(settings)))


def _how(record: TensorRecord, chosen_here: bool) -> str:
    """For a tensor that is quantized in its file: with whose parameters it was measured."""
    if not record.quantized:
        return f"quantized anew: it {record.no_codes}" if record.stored_as else ""
    held = record.stored_as if record.stored_as else record.dtype
    if chosen_here:
        return f"quantized anew from what its file holds ({held}); --compare-stored shows both"
    return f"as stored in the file: {held}; with --dtype and other settings it is quantized anew"


def chosen(options: argparse.Namespace) -> TensorRecord | None:
    """The tensor that the options name; None, with a listing printed, where the choice is open."""
    from perchq_widget.sources.opening import open_source

    source = open_source(options.file)
    name = options.tensor if options.tensor is not None else only_name(source)
    if name is None:
        list_tensors(source, options)
        return None
    return pick(source, name)


def settings_given(options: argparse.Namespace) -> dict[str, Any]:
    """The settings that were given, dtype among them as soon as any was: a default that is asked for is a choice."""
    named = {name: getattr(options, name, None) for name in _SETTINGS}
    given: dict[str, Any] = {name: value for name, value in named.items() if value is not None}
    given |= {name: True for name in _FLAGS if getattr(options, name)}
    if "quant_range" in given:
        given["quant_range"] = tuple(given["quant_range"])
    return {"dtype": "qint8", **given} if given else {}


def axis_given(options: argparse.Namespace) -> dict[str, Any]:
    """The axis if one was given; else the tensor brings its own."""
    return {} if options.ch_axis is None else {"ch_axis": options.ch_axis}


def pick(source: TensorSource, name: str) -> TensorRecord:
    """The tensor of that name; for an unknown one QuantValueError with near names, or how to see them all."""
    from perchq_widget.sources.base import near_names

    if name in source:
        return source[name]
    near = near_names(name, source, 3) or [known for known in source if name.lower() in known.lower()][:3]
    shown, *others = (repr(clip_text(each, 200)) for each in (name, *near))
    hint = f"did you mean {' or '.join(others)}? " if others else ""
    raise QuantValueError(f"no tensor {shown} in {source.name}; {hint}without --tensor its {len(source)} are listed")


def only_name(source: TensorSource) -> str | None:
    """The name of the one tensor that can be analyzed; None where there are several, or none."""
    usable = source.applicable()
    return usable[0].name if len(usable) == 1 else None


def list_tensors(source: TensorSource, options: argparse.Namespace) -> int:
    """Name, format, shape and how it is stored of each tensor on stdout, and what to do on stderr."""
    rows = [describe(source[name]) for name in source]
    rows.insert(0, HEADS if any(row[-1] for row in rows) else (*HEADS[:-1], ""))
    widths = [min(max(len(row[i]) for row in rows), _WIDEST) for i in range(3)]
    for row in rows:
        print("  ".join(text.ljust(width) for text, width in zip(row, (*widths, 0), strict=True)).rstrip())
    sys.stdout.flush()
    if not source.applicable():
        return complain(f"{options.file} holds no tensor that can be analyzed")
    return complain(f"{options.file} holds {len(source)} tensors; choose one with --tensor NAME")


def describe(record: TensorRecord) -> tuple[str, str, str, str]:
    """Name, format, shape and how it is stored; for a tensor that cannot be analyzed, why."""
    last = f"✕ {record.not_applicable}" if record.not_applicable else record.stored_as
    return clean_name(record.name), clean_name(record.dtype), str(record.shape), clean_name(last)
