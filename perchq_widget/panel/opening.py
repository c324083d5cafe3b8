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
from .moves import MOVED, SCHEME_NAMES
from .state import INTENT_NAMES, WORST, PanelState, check_options, group_size_from
from .subjects import LinesSubject, Subject, TensorsSubject

_TENSOR_EXTRAS = ("channel_names",)
_TYPED = ("axis_text", "size_text", "observer_text")
#: Settings that only tensors have, and those that only lines have.
_TENSORS_OWN = (
    "tensor", "granularity", "group_size", "scale_rule", "narrow_range", "observer", "clip_ratio", "as_stored",
)  # fmt: skip
_LINES_OWN = ("mode", "lines")
_NOT_FOR_LINES = (*_TYPED, *_TENSORS_OWN, "channel_names")
_NOT_FOR_TENSORS = (*_TYPED, *_LINES_OWN)
_ONE_SAMPLE = "lines have one scale and one sample a channel; pq.show(tensor) has it"
_NO_LINES = "a tensor is shown; pq.show() opens the calculator, which has lines"


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
    idle = dict.fromkeys(_TENSORS_OWN, _ONE_SAMPLE)
    state = PanelState(other, idle=idle, mode=mode, lines=texts.get(mode, ""), convention="calculator")
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
    prefers = _prefers_stored(options, records)
    subject = TensorsSubject(records, extras, axis if isinstance(axis, int) else None, prefers_stored=prefers)
    first = subject.record(options.pop("tensor", None))
    options |= _settled(options)
    state = PanelState(
        columns=TENSOR_COLUMNS, idle=dict.fromkeys(_LINES_OWN, _NO_LINES), quantized=subject.quantized,
        tensor=first.name, tensor_name="", ch_axis=first.ch_axis, sort=WORST,
    )  # fmt: skip
    state.as_stored = prefers and subject.quantized(first.name)
    return state, subject


def _prefers_stored(options: dict[str, Any], records: Mapping[str, TensorRecord]) -> bool:
    """Whether to begin with what files hold: as asked for, else where no setting says what to choose instead."""
    given = [name for name in SCHEME_NAMES if name in options]
    asked = options.pop("as_stored", None)
    if asked is not None and not isinstance(asked, bool):
        raise QuantTypeError(f"as_stored must be True or False, got {asked!r:.80}")
    if asked and given:
        raise QuantValueError(f"as_stored takes the file's parameters, and {given[0]} chooses others: leave one out")
    if asked and not any(record.quantized for record in records.values()):
        raise QuantValueError("as_stored must be False here: no tensor is quantized in its file")
    return not given if asked is None else asked


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
