"""The settings: one control per trait of the state, with the reason beside it where a choice is not allowed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import ipywidgets as w

from ..core.conventions import CONVENTIONS
from ..core.grids import INTEGER_DTYPES
from ..core.group_sizes import group_size_text
from ..report.text import clean_name, escape
from .fields import DIGITS, Fields
from .menus import Choice, Menu
from .observing import has_parameters, parameters_text, policy_of

if TYPE_CHECKING:
    from .kit import Kit
    from .state import PanelState
    from .view import PanelView

TITLES = {
    "tensor": "Layer", "tensor_name": "Tensor name", "ch_axis": "Channel axis", "dtype": "Number format",
    "scheme": "Scheme", "granularity": "Granularity", "group_size": "Group size", "scale_rule": "Scale rule",
    "reduce_range": "Reduce range", "narrow_range": "Narrow range",
    "convention": "Convention", "clip_ratio": "Clip ratio", "channel": "Channel",
    "lines": "Lines", "as_stored": "Parameters",
    "bits": "Bits", "observer": "Observer", "parameters": "Parameters", "ratio": "Clip ratio",
}
HELP = {
    "as_stored": "Scale and zero point that the file holds, or those that the settings below choose",
    "tensor_name": "Appears in the table's caption and in every export",
    "ch_axis": "The axis whose slices are the channels; negative counts from the end",
    "dtype": "What a value is stored as; a format that the other settings do not have brings its runtime's",
    "scheme": "affine moves zero with a zero point; symmetric keeps real zero at the middle code",
    "granularity": "What shares a scale: a channel, the tensor, a group of a channel's elements, a block, a token",
    "group_size": "Elements that share a scale, such as 128; for blocks rows x columns, such as 128x128; press Enter",
    "scale_rule": "How the scale follows from the largest magnitude",
    "reduce_range": "One bit less, for kernels whose 16-bit sums would overflow",
    "narrow_range": "Drop the lowest signed code",
    "convention": "Whose arithmetic the numbers follow",
    "clip_ratio": "Shrink the observed range before the scale is taken from it; 1 keeps it",
    "channel": "A channel's name or position; press Enter",
    "bits": "The width of integers of the same sign, in the convention in use; left and right move it",
    "observer": "How the range is taken from the values of each channel, or of the tensor",
    "parameters": "The observer's numbers, by name or in this order; press Enter",
    "ratio": "Clip ratio as a number: shrink the observed range before the scale is taken from it; 1 keeps it",
}
_RESET = (
    "Back to the settings the panel opened with, filters included; text, layer, pins and the baseline stay: "
    "they are work, not settings"
)
HIDDEN = "perchq-hidden"
_NAMES = (
    "as_stored", "tensor_name", "ch_axis", "dtype", "bits", "scheme", "granularity", "group_size", "scale_rule",
    "reduce_range", "narrow_range", "convention", "observer", "clip_ratio",
)  # fmt: skip
_TENSOR_ONLY = ("as_stored", "granularity", "group_size", "scale_rule", "narrow_range", "observer", "clip_ratio")
_WIDE = ("as_stored", "convention")
_MOST_REASONS, _MOST_TEXT = 1, 150  # that stand in the open; more is folded


class Controls:
    """Widgets for the settings. They write the state when the user moves them and follow it when Python does.

    ``picker`` chooses among the layers, None where there is only one tensor. ``names`` are the settings that an error
    can stand beside. A setting that does not apply has no widgets until it first does. ``compare_stored`` puts what is
    chosen here beside what the file has.
    """

    def __init__(
        self, kit: Kit, state: PanelState, kind: str, picker: Any, compare_stored: Callable[[], None]
    ) -> None:
        self._kit, self._picker, self._compare_stored = kit, picker, compare_stored
        self._inputs = Fields(kit, state)
        self.fields = self._inputs.made
        self.notes: dict[str, Any] = {}
        self._places: dict[str, Any] = {}
        self._settings = tuple(name for name in _NAMES if kind == "tensor" or name not in _TENSOR_ONLY)
        self.names = (*(("tensor",) if picker is not None else ()), *self._settings)
        self.compare = kit.button(
            description="Compare conventions", icon="balance-scale",
            tooltip="What would differ for this data under every convention",
        )
        self.reset = kit.button(description="Reset settings", icon="undo", tooltip=_RESET)
        if picker is not None:
            self._places["tensor"] = kit.column([picker.widget, self._note("tensor")], "perchq-field perchq-wide")
        self.widget = kit.column([self.reset], "perchq-controls")

    def apply(self, view: PanelView) -> None:
        """Show the intent and, beside each control, what is wrong or not allowed."""
        self._place_what_applies(view)
        with self._inputs.quietly():
            for name, field in self.fields.items():
                _fill(field, name, view)
            if self._picker is not None:
                self._picker.apply(view.intent.tensor)
        if view.report is not None:
            set_if_new(self.fields["tensor_name"], "placeholder", clean_name(view.report.name))
        for name, note in self.notes.items():
            set_if_new(note, "value", _note_text(name, view))

    def _place_what_applies(self, view: PanelView) -> None:
        about = None if view.problem is None else view.problem.about
        shown = [name for name in self._settings if name not in view.hidden or name == about]
        fresh = [name for name in shown if name not in self._places]
        for name in fresh:
            self._places[name] = self._kit.column(self._parts(name), _css_class(name))
        if fresh:
            placed = [self._places[name] for name in self.names if name in self._places]
            self.widget.children = (*placed, self.reset)
        for name in self._settings:
            if name in self._places:
                _show(self._places[name], name in shown)
        self._place_parameters(view.intent.observer)

    def _place_parameters(self, observer: str) -> None:
        """The text of an observer's parameters, once there is an observer that has some."""
        place, has_some = self._places.get("observer"), has_parameters(observer)
        if place is not None and has_some and "parameters" not in self.fields:
            chooser, note = place.children
            place.children = (chooser, self._field("parameters"), note)
        if "parameters" in self.fields:
            _show(self.fields["parameters"], has_some)

    def _parts(self, name: str) -> list[Any]:
        if name == "clip_ratio":  # the slider's handle has no name of its own for a screen reader; the number has
            return [self._kit.row([self._field("ratio"), self._field(name)], "perchq-ratio"), self._note(name)]
        parts = [self._field(name), self._note(name)]
        if name == "as_stored":
            beside = self._kit.button(
                self._compare_stored, description="Compare with stored", icon="columns",
                tooltip="What the settings below would choose, against what the file has: in table and charts",
            )
            return [*parts, beside]
        return [*parts, self.compare] if name == "convention" else parts

    def _field(self, name: str) -> Any:
        return self._inputs.make(name, TITLES[name], HELP[name])

    def _note(self, name: str) -> Any:
        self.notes[name] = self._kit.html("perchq-note")
        return self.notes[name]


def _css_class(name: str) -> str:
    return f"perchq-field perchq-{name.replace('_', '-')}" + (" perchq-wide" if name in _WIDE else "")


def _fill(field: Any, name: str, view: PanelView) -> None:
    value, menu = _shown(view, name), view.menus.get(name)
    if value is None and name == "bits":
        return  # out of sight, and a slider always has a value
    if menu is not None:
        _offer(field, menu, value)
    if name == "clip_ratio" and round(field.value, DIGITS) == value:
        return  # setting back what it rounds to would move it from under the hand
    if field.value != value:
        field.value = value


def _shown(view: PanelView, name: str) -> Any:
    """What a control shows: its trait; of what is typed the text; of the scale rule the one in force."""
    intent = view.intent
    if name == "ch_axis":
        return str(intent.ch_axis) if intent.axis_text is None else intent.axis_text
    if name == "group_size":
        return group_size_text(intent.group_size) if intent.size_text is None else intent.size_text
    if name == "parameters":
        return parameters_text(intent.observer) if intent.observer_text is None else intent.observer_text
    if name == "ratio":
        return intent.clip_ratio
    if name == "scale_rule" and intent.scale_rule is None:
        return next((choice.value for choice in view.menus[name].choices), None)
    return _chosen(view, name)


def _chosen(view: PanelView, name: str) -> Any:
    """The value of a setting as its menu has it."""
    if name == "bits":
        return INTEGER_DTYPES.get(view.intent.dtype, (None,))[0]
    return policy_of(view.intent.observer) if name == "observer" else getattr(view.intent, name)


def _show(place: Any, applies: bool) -> None:
    """Show a control, or hide one that would offer no choice."""
    if applies == (HIDDEN in place._dom_classes):
        (place.remove_class if applies else place.add_class)(HIDDEN)


def _offer(field: Any, menu: Menu, value: object) -> None:
    if isinstance(field, w.Checkbox):
        set_if_new(field, "disabled", value is False and bool(menu.reason(True)))
        return
    options = tuple((f"{choice.label} ✕" if choice.reason else choice.label, choice.value) for choice in menu.choices)
    if field.options == options:
        return
    with field.hold_sync():
        field.options = options
        field.value = value if value in [each for _, each in options] else None


def _note_text(name: str, view: PanelView) -> str:
    if view.problem is not None and view.problem.about == name:
        return error_html(view.problem.message)
    menu = view.menus.get(name)
    lines = []
    if name == "convention":
        chosen = CONVENTIONS[view.intent.convention]
        lines.append(escape(f"{chosen.title}. Used by {chosen.used_by}."))
    lines += [escape(clean_name(text)) for text in _told_of_record(name, view)]
    value = _chosen(view, name)  # its own reason is the panel's problem, and said once
    refused = [] if menu is None else [choice for choice in menu.refused if choice.value != value]
    problem = "" if view.problem is None else _nameless(name, value, view.problem.message)
    reasons = [escape(f"✕ {', '.join(values)}: {reason}") for reason, values in by_reason(name, refused, problem)]
    if len(reasons) > _MOST_REASONS or len("".join(reasons)) > _MOST_TEXT:
        share = f"{len(refused)} of {len(menu.choices if menu else ())}"
        summary = f"<summary>✕ {share} do not go with the other settings</summary>"
        reasons = [f"<details>{summary}{'<br>'.join(reasons)}</details>"]
    return "<br>".join([*lines, *reasons])


def _told_of_record(name: str, view: PanelView) -> list[str]:
    """What the source of the tensor in view says that belongs beside a control."""
    record, intent = view.record, view.intent
    if record is None:
        return []
    if name == "as_stored":
        return [f"In the file: {record.stored_as or record.dtype}", *filter(None, [record.note])]
    if name == "tensor":
        return [record.note] if record.note and not record.quantized else []
    if name != "ch_axis" or not record.shape:
        return []
    same = intent.ch_axis % len(record.shape) == record.ch_axis % len(record.shape)
    return [f"{'axis' if same else 'suggested is axis'} {record.ch_axis}: {record.ch_axis_reason}"]


def by_reason(name: str, refused: Iterable[Choice], problem: str = "") -> list[tuple[str, list[str]]]:
    """The refused values of a setting by cause, each cause once; with the way out where it is the same for all of them.

    ``problem`` is what is said of the value in use, so that it need not be said again.
    """
    found: dict[str, tuple[list[str], set[str]]] = {}
    for choice in refused:
        cause, _, way = _nameless(name, choice.value, choice.reason).partition("; ")
        if cause in problem:
            cause, way = "for the same reason", ""
        values, ways = found.setdefault(cause, ([], set()))
        values.append(choice.label if isinstance(choice.value, bool) else str(choice.value))
        ways.add(way)
    return [
        (f"{cause}; {min(ways)}" if len(ways) == 1 and min(ways) else cause, values)
        for cause, (values, ways) in found.items()
    ]


def _nameless(name: str, value: object, reason: str) -> str:
    """A reason without the name of the format or convention that it is about, so that equal ones are seen as such."""
    if name == "bits":
        return re.sub(rf"\bq?u?int{value}\b", "such integers", reason)
    if name == "convention":
        return reason.replace(f"{value} has ", "has ")
    return re.sub(rf"\b{value}\b", "it", reason) if name == "dtype" else reason


def error_html(message: str) -> str:
    """An error as the panel shows it, beside its cause."""
    return f'<span class="perchq-error" role="alert">⚠ {escape(message)}</span>'


def set_if_new(widget: Any, trait: str, value: object) -> None:
    """Set a trait only if that says something new to the browser."""
    if getattr(widget, trait) != value:
        setattr(widget, trait, value)
