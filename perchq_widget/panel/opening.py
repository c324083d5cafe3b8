"""What ``show`` was given: lines, one tensor, or many; and the state that the panel opens with."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from ..core.defaults import settled
from ..core.errors import QuantTypeError, QuantValueError, choose_from
from ..core.grids import canonical_dtype
from ..sources.base import TensorRecord
from ..sources.files import is_folder, names_a_file
from ..sources.line_inputs import TEXT_SUFFIXES, read_records
from ..sources.lines import COLUMNS, EXAMPLE_LINES, EXAMPLE_PARAMS
from ..sources.opening import READERS, open_source
from ..study.channels import TENSOR_COLUMNS
from .moves import MOVED
from .state import INTENT_NAMES, WORST, PanelState, check_options, group_size_from
from .subjects import LinesSubject, Subject, TensorsSubject

_TENSOR_EXTRAS = ("channel_names",)
_NOT_FOR_LINES = (
    "axis_text", "size_text", "observer_text", "tensor", "granularity", "group_size", "scale_rule", "narrow_range",
    "observer", "clip_ratio", "channel_names",
)  # fmt: skip
_NOT_FOR_TENSORS = ("axis_text", "size_text", "observer_text", "mode", "lines")


def opened(obj: object, options: dict[str, Any]) -> tuple[PanelState, Subject]:
    """State and subject for ``obj``; of ``options``, what belongs to the data is taken out."""
    if obj is None or _is_lines(obj):
        check_options(options, tuple(name for name in INTENT_NAMES if name not in _NOT_FOR_LINES))
        return _calculator(obj, options)
    check_options(options, tuple(name for name in (*INTENT_NAMES, *_TENSOR_EXTRAS) if name not in _NOT_FOR_TENSORS))
    return _tensors(obj, options)


def _is_lines(obj: object) -> bool:
    if isinstance(obj, str):
        return not (names_a_file(obj, tuple(READERS)) or is_folder(obj)) or obj.lower().endswith(TEXT_SUFFIXES)
    if isinstance(obj, os.PathLike):
        return str(os.fspath(obj)).lower().endswith(TEXT_SUFFIXES)
    if isinstance(obj, (list, tuple)):
        return bool(obj) and all(_is_row(row) for row in obj)
    return isinstance(obj, bytes) or type(obj).__name__ == "DataFrame"


def _is_row(row: object) -> bool:
    return isinstance(row, (str, Mapping)) or (isinstance(row, (list, tuple)) and bool(row) and isinstance(row[0], str))


def _calculator(obj: object, options: dict[str, Any]) -> tuple[PanelState, Subject]:
    mode = options.pop("mode", "ranges")
    texts = {"ranges": EXAMPLE_LINES, "params": EXAMPLE_PARAMS}
    if obj is not None:
        texts[mode] = _as_text(obj, mode)
    other = texts["params" if mode == "ranges" else "ranges"]
    if "lines" in options and obj is not None:
        raise QuantValueError("show() got the lines twice: as its argument and as the option lines")
    state = PanelState(other, mode=mode, lines=texts.get(mode, ""), convention="calculator")
    return state, LinesSubject()


def _as_text(obj: object, mode: str) -> str:
    """What the text area shows: text as it is, anything else one record a line, bad ones included."""
    if isinstance(obj, str) and not names_a_file(obj, TEXT_SUFFIXES):
        return obj
    return "".join(f"{record.text}\n" for record in read_records(obj, COLUMNS[choose_from("mode", mode, COLUMNS)]))


def _tensors(obj: object, options: dict[str, Any]) -> tuple[PanelState, Subject]:
    extras = {name: options.pop(name) for name in _TENSOR_EXTRAS if name in options}
    records: Mapping[str, TensorRecord] = open_source(obj)
    axis = options.get("ch_axis")
    if isinstance(axis, bool):
        raise QuantTypeError("ch_axis must be an integer, got a bool")
    subject = TensorsSubject(records, extras, axis if isinstance(axis, int) else None)
    first = subject.record(options.pop("tensor", None))
    options |= _settled(options)
    state = PanelState(
        columns=TENSOR_COLUMNS, tensor=first.name, tensor_name="", ch_axis=first.ch_axis, sort=WORST
    )
    return state, subject


def _settled(options: Mapping[str, Any]) -> dict[str, Any]:
    """The format's settings that ``options`` leave open, as :func:`perchq_widget.analyze` would take them."""
    given = {name: options.get(name) for name in MOVED}
    if "dtype" not in options and not any(value is not None for value in given.values()):
        return {}
    dtype = canonical_dtype(options.get("dtype", "qint8"))
    size = group_size_from(given["group_size"])
    scheme = settled(dtype, given["scheme"], given["granularity"], given["convention"], size, given["scale_rule"])
    rule = {"scale_rule": given["scale_rule"]}
    return {"dtype": dtype, **{name: getattr(scheme, name) for name in MOVED}, **rule}
