"""The settings: one control per trait of the state, with the reason beside it where a choice is not allowed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import ipywidgets as w

from ..core.conventions import CONVENTIONS
from ..report.text import clean_name, escape
from .menus import Menu
from .state import MOST_AXES

if TYPE_CHECKING:
    from .kit import Kit
    from .state import PanelState
    from .view import PanelView

TITLES = {
    "tensor": "Layer", "tensor_name": "Tensor name", "ch_axis": "Channel axis", "dtype": "Number format",
    "scheme": "Scheme", "granularity": "Granularity", "reduce_range": "Reduce range", "narrow_range": "Narrow range",
    "convention": "Convention", "clip_ratio": "Clip ratio", "channel": "Channel",
    "lines": "Lines",
}
HELP = {
    "tensor_name": "Appears in the table's caption and in every export",
    "ch_axis": "The axis whose slices are the channels; negative counts from the end",
    "dtype": "qint8 holds signed codes, quint8 unsigned ones",
    "scheme": "affine moves zero with a zero point; symmetric keeps real zero at the middle code",
    "granularity": "One scale per channel, or one for the whole tensor",
    "reduce_range": "One bit less, for kernels whose 16-bit sums would overflow",
    "narrow_range": "Drop the lowest signed code",
    "convention": "Whose arithmetic the numbers follow",
    "clip_ratio": "Shrink the observed range before the scale is taken from it; 1 keeps it",
    "channel": "A channel's name or position; press Enter",
}
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
        names = ["tensor_name", "ch_axis", "dtype", "scheme", "granularity", "reduce_range", "narrow_range",
                 "convention", "clip_ratio"]
        if kind != "tensor":
            names = [name for name in names if name not in ("granularity", "narrow_range", "clip_ratio")]
        rows += [kit.column([self._field(name), self._note(name)], "perchq-field") for name in names]
        self.reset = kit.button(
            description="Reset settings", icon="undo", tooltip="Back to the settings the panel opened with; text stays"
        )
        self.widget = kit.column([*rows, self.reset], "perchq-controls")

    def _field(self, name: str) -> Any:
        common = {"description": TITLES[name], "tooltip": HELP[name], "style": {"description_width": "104px"}}
        make: dict[str, Callable[[], Any]] = {
            "tensor_name": lambda: w.Text(**common),
            "ch_axis": lambda: w.Text(**common, continuous_update=False),
            "reduce_range": lambda: w.Checkbox(**common, indent=True),
            "narrow_range": lambda: w.Checkbox(**common, indent=True),
            "convention": lambda: w.Dropdown(options=list(CONVENTIONS), **common),
            "clip_ratio": lambda: w.FloatSlider(min=0.005, max=1.0, step=0.005, readout_format=".3f", **common),
        }
        field = make.get(name, lambda: w.ToggleButtons(**{**common, "tooltip": None}))()
        write = self._write_axis if name == "ch_axis" else partial(self._write, name)
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
                value = _shown(view, name)
                menu = view.menus.get(name)
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
    """What a control shows: its trait, and of the axis what was typed."""
    if name != "ch_axis":
        return getattr(view.intent, name)
    return str(view.intent.ch_axis) if view.intent.axis_text is None else view.intent.axis_text


def _offer(field: Any, menu: Menu, value: object) -> None:
    if isinstance(field, w.Checkbox):
        set_if_new(field, "disabled", value is False and bool(menu.reason(True)))
        return
    options = tuple((f"{choice.label} ✕" if choice.reason else choice.label, choice.value) for choice in menu.choices)
    if field.options == options:
        return
    with field.hold_sync():
        field.options = options
        field.value = value


def _note_text(name: str, view: PanelView) -> str:
    if view.problem is not None and view.problem.about == name:
        return error_html(view.problem.message)
    menu = view.menus.get(name)
    lines = []
    if name == "convention":
        chosen = CONVENTIONS[view.intent.convention]
        lines.append(f"{chosen.title}, {chosen.rounding}. Used by {chosen.used_by}.")
    if menu is not None:
        value = getattr(view.intent, name)  # its own reason is the panel's problem, and said once
        lines += [f"✕ {choice.label}: {choice.reason}" for choice in menu.refused if choice.value != value]
    return "<br>".join(escape(line) for line in lines)


def error_html(message: str) -> str:
    """An error as the panel shows it, beside its cause."""
    return f'<span class="perchq-error" role="alert">⚠ {escape(message)}</span>'


def set_if_new(widget: Any, trait: str, value: object) -> None:
    """Set a trait only if that says something new to the browser."""
    if getattr(widget, trait) != value:
        setattr(widget, trait, value)
