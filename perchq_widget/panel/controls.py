"""The settings: one control per trait of the state, with the reason beside it where a choice is not allowed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import ipywidgets as w

from ..core.conventions import CONVENTIONS
from ..core.errors import QuantError
from ..core.group_sizes import group_size_of, group_size_text
from ..report.text import clean_name, escape
from .menus import Choice, Menu
from .state import MOST_AXES

if TYPE_CHECKING:
    from .kit import Kit
    from .state import PanelState
    from .view import PanelView

TITLES = {
    "tensor": "Layer", "tensor_name": "Tensor name", "ch_axis": "Channel axis", "dtype": "Number format",
    "scheme": "Scheme", "granularity": "Granularity", "group_size": "Group size", "scale_rule": "Scale rule",
    "reduce_range": "Reduce range", "narrow_range": "Narrow range",
    "convention": "Convention", "clip_ratio": "Clip ratio", "channel": "Channel",
    "lines": "Lines",
}
HELP = {
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
}
HIDDEN = "perchq-hidden"
_DROPDOWNS = ("dtype", "granularity", "scale_rule", "convention")
_TENSOR_ONLY = ("granularity", "group_size", "scale_rule", "narrow_range", "clip_ratio")
_MOST_REASONS, _MOST_TEXT = 1, 150  # that stand in the open; more is folded
_AXIS = re.compile(r"\s*[+-]?\d{1,2}\s*")


class Controls:
    """Widgets for the settings. They write the state when the user moves them and follow it when Python does.

    ``picker`` chooses among the layers, None where there is only one tensor.
    """

    def __init__(
        self, kit: Kit, state: PanelState, kind: str, picker: Any
    ) -> None:
        self._kit, self._state = kit, state
        self._quiet = False
        self.fields: dict[str, Any] = {}
        self.notes: dict[str, Any] = {}
        self._picker = picker
        rows = []
        if self._picker is not None:
            rows.append(kit.column([self._picker.widget, self._note("tensor")], "perchq-field perchq-wide"))
        names = ["tensor_name", "ch_axis", "dtype", "scheme", "granularity", "group_size", "scale_rule",
                 "reduce_range", "narrow_range", "convention", "clip_ratio"]
        if kind != "tensor":
            names = [name for name in names if name not in _TENSOR_ONLY]
        self.compare = kit.button(
            description="Compare conventions", icon="balance-scale",
            tooltip="What would differ for this data under every convention",
        )
        self._places = {name: kit.column(self._parts(name), self._css_class(name)) for name in names}
        rows += self._places.values()
        self.reset = kit.button(
            description="Reset settings", icon="undo", tooltip="Back to the settings the panel opened with; text stays"
        )
        self.widget = kit.column([*rows, self.reset], "perchq-controls")

    def _parts(self, name: str) -> list[Any]:
        parts = [self._field(name), self._note(name)]
        return [*parts, self.compare] if name == "convention" else parts

    @staticmethod
    def _css_class(name: str) -> str:
        return "perchq-field perchq-wide" if name == "convention" else "perchq-field"

    def _field(self, name: str) -> Any:
        common = {"description": TITLES[name], "tooltip": HELP[name], "style": {"description_width": "104px"}}
        make: dict[str, Callable[[], Any]] = {
            "tensor_name": lambda: w.Text(**common),
            "ch_axis": lambda: w.Text(**common, continuous_update=False),
            "reduce_range": lambda: w.Checkbox(**common, indent=True),
            "narrow_range": lambda: w.Checkbox(**common, indent=True),
            "group_size": lambda: w.Text(**common, continuous_update=False, placeholder="128 or 128x128"),
            **{each: lambda: w.Dropdown(**common) for each in _DROPDOWNS},
            "clip_ratio": lambda: w.FloatSlider(min=0.005, max=1.0, step=0.005, readout_format=".3f", **common),
        }
        field = make.get(name, lambda: w.ToggleButtons(**{**common, "tooltip": None}))()
        typed = {"ch_axis": self._write_axis, "group_size": self._write_size}
        write = typed.get(name, partial(self._write, name))
        field.observe(lambda change: write(change["new"]), "value")
        self.fields[name] = field
        return field

    def _note(self, name: str) -> Any:
        self.notes[name] = self._kit.html("perchq-note")
        return self.notes[name]

    def _write(self, name: str, value: object) -> None:
        if not self._quiet and value is not None:
            setattr(self._state, name, value)

    def _write_axis(self, text: str) -> None:
        if self._quiet:
            return
        axis = int(text) if _AXIS.fullmatch(text) else MOST_AXES
        known = -MOST_AXES <= axis < MOST_AXES
        self._state.axis_text = None if known else text
        if known:
            self._state.ch_axis = axis

    def _write_size(self, text: str) -> None:
        if self._quiet:
            return
        try:
            size = group_size_of(text)
        except QuantError:
            size = None
        self._state.size_text = text if size is None else None
        if size is not None:
            self._state.group_size = size

    @contextmanager
    def _silently(self) -> Iterator[None]:
        # New options make a selection jump to its first entry before its value is set: not the user's doing.
        self._quiet = True
        try:
            yield
        finally:
            self._quiet = False

    def apply(self, view: PanelView) -> None:
        """Show the intent and, beside each control, what is wrong or not allowed."""
        with self._silently():
            for name, field in self.fields.items():
                value, menu = _shown(view, name), view.menus.get(name)
                _show(self._places[name], name not in view.hidden)
                if menu is not None:
                    _offer(field, menu, value)
                if field.value != value:
                    field.value = value
            if self._picker is not None:
                self._picker.apply(view.intent.tensor)
        if view.report is not None:
            set_if_new(self.fields["tensor_name"], "placeholder", clean_name(view.report.name))
        for name, note in self.notes.items():
            set_if_new(note, "value", _note_text(name, view))


def _shown(view: PanelView, name: str) -> Any:
    """What a control shows: its trait; of axis and group size what was typed; of the scale rule the one in force."""
    intent = view.intent
    if name == "ch_axis":
        return str(intent.ch_axis) if intent.axis_text is None else intent.axis_text
    if name == "group_size":
        return group_size_text(intent.group_size) if intent.size_text is None else intent.size_text
    if name == "scale_rule" and intent.scale_rule is None:
        return next((choice.value for choice in view.menus[name].choices), None)
    return getattr(intent, name)


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
    value = getattr(view.intent, name)  # its own reason is the panel's problem, and said once
    refused = [] if menu is None else [choice for choice in menu.refused if choice.value != value]
    problem = "" if view.problem is None else _nameless(name, value, view.problem.message)
    reasons = [escape(f"✕ {', '.join(values)}: {reason}") for reason, values in by_reason(name, refused, problem)]
    if len(reasons) > _MOST_REASONS or len("".join(reasons)) > _MOST_TEXT:
        share = f"{len(refused)} of {len(menu.choices if menu else ())}"
        summary = f"<summary>✕ {share} do not go with the other settings</summary>"
        reasons = [f"<details>{summary}{'<br>'.join(reasons)}</details>"]
    return "<br>".join([*lines, *reasons])


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
