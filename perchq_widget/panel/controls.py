"""The settings: one control per trait of the state, with the reason beside it where a choice is not allowed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import ipywidgets as w

from ..core.conventions import CONVENTIONS
from ..report.text import clean_name, escape
from .menus import Menu

if TYPE_CHECKING:
    from .kit import Kit
    from .state import PanelState, PanelView

_TITLES = {
    "tensor": "Layer", "tensor_name": "Tensor name", "ch_axis": "Channel axis", "dtype": "Number format",
    "scheme": "Scheme", "granularity": "Granularity", "reduce_range": "Reduce range", "narrow_range": "Narrow range",
    "convention": "Convention", "clip_ratio": "Clip ratio", "channel": "Channel",
}
_HELP = {
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
_LISTED_NAMES = 500


class Controls:
    """Widgets for the settings. They write the state when the user moves them and follow it when Python does."""

    def __init__(
        self, kit: Kit, state: PanelState, kind: str, tensors: tuple[str, ...], title: Callable[[str], str]
    ) -> None:
        self._kit, self._state = kit, state
        self._quiet = False
        self.fields: dict[str, Any] = {}
        self.notes: dict[str, Any] = {}
        self._picker = LayerPicker(kit, tensors, title, self._write) if len(tensors) > 1 else None
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
        common = {"description": _TITLES[name], "tooltip": _HELP[name], "style": {"description_width": "104px"}}
        make: dict[str, Callable[[], Any]] = {
            "tensor_name": lambda: w.Text(**common),
            "ch_axis": lambda: w.IntText(**common),
            "reduce_range": lambda: w.Checkbox(**common, indent=True),
            "narrow_range": lambda: w.Checkbox(**common, indent=True),
            "convention": lambda: w.Dropdown(options=list(CONVENTIONS), **common),
            "clip_ratio": lambda: w.FloatSlider(min=0.005, max=1.0, step=0.005, readout_format=".3f", **common),
        }
        field = make.get(name, lambda: w.ToggleButtons(**{**common, "tooltip": None}))()
        field.observe(lambda change: self._write(name, change["new"]), "value")
        self.fields[name] = field
        return field

    def _note(self, name: str) -> Any:
        self.notes[name] = self._kit.html("perchq-note")
        return self.notes[name]

    def _write(self, name: str, value: object) -> None:
        if not self._quiet and value is not None:
            setattr(self._state, name, value)

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
                value = getattr(view.intent, name)
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
        value = getattr(view.intent, name)  # its own reason, if there is one, stands beside what was changed last
        lines += [f"✕ {choice.label}: {choice.reason}" for choice in menu.refused if choice.value != value]
    return "<br>".join(escape(line) for line in lines)


def error_html(message: str) -> str:
    """An error as the panel shows it, beside its cause."""
    return f'<span class="perchq-error" role="alert">⚠ {escape(message)}</span>'


def set_if_new(widget: Any, trait: str, value: object) -> None:
    """Set a trait only if that says something new to the browser."""
    if getattr(widget, trait) != value:
        setattr(widget, trait, value)


class LayerPicker:
    """A filter and the layers that match it."""

    def __init__(
        self, kit: Kit, tensors: tuple[str, ...], title: Callable[[str], str], write: Callable[[str, object], None]
    ) -> None:
        self._titles = {name: clean_name(title(name)) for name in tensors}
        self._tensor: str | None = tensors[0]
        style = {"description_width": "64px"}
        self.filter = w.Text(
            description="Find layer", placeholder=f"part of a name, {len(tensors)} layers", style=style,
            tooltip="Shows only layers whose name holds this text",
        )
        self.list = w.Select(description="Layer", rows=5, style=style, tooltip="The tensor in view")
        self.filter.observe(lambda _change: self._offer(), "value")
        self._quiet = False
        self.list.observe(lambda change: None if self._quiet else write("tensor", change["new"]), "value")
        self.widget = kit.column([self.filter, self.list])
        self._offer()

    def apply(self, tensor: str | None) -> None:
        """Mark the tensor in view."""
        self._tensor = tensor if tensor in self._titles else self._tensor
        self._offer()

    def _offer(self) -> None:
        wanted = self.filter.value.casefold()
        names = [name for name, title in self._titles.items() if wanted in title.casefold() or name == self._tensor]
        options = tuple((self._titles[name], name) for name in names)
        self._quiet = True
        with self.list.hold_sync():
            if self.list.options != options:
                self.list.options = options
            self.list.value = self._tensor
        self._quiet = False


class ChannelSelector:
    """The selected channel by name or position, its neighbours in table order, and the worst one."""

    def __init__(self, kit: Kit, state: PanelState) -> None:
        self._state = state
        self._view: PanelView | None = None
        self.box = w.Combobox(
            description="Channel", tooltip=_HELP["channel"], continuous_update=False, ensure_option=False,
            placeholder="name or position", style={"description_width": "64px"},
        )
        self.note = kit.html("perchq-note")
        self.box.observe(self._typed, "value")
        self.previous = kit.button(
            lambda: self._step(-1), "perchq-small", icon="chevron-left", tooltip="Previous channel in the table's order"
        )
        self.next = kit.button(
            lambda: self._step(1), "perchq-small", icon="chevron-right", tooltip="Next channel in the table's order"
        )
        self.worst = kit.button(
            lambda: self._choose(None), description="Worst", tooltip="Select the channel with the lowest SQNR"
        )
        self.widget = kit.column([kit.row([self.box, self.previous, self.next, self.worst]), self.note])

    def apply(self, view: PanelView) -> None:
        """Show the selected channel, and say so where the one asked for does not exist."""
        self._view = None
        set_if_new(self.box, "options", view.names[:_LISTED_NAMES])
        set_if_new(self.box, "value", view.channel)
        set_if_new(self.note, "value", error_html(view.channel_note) if view.channel_note else "")
        self._view = view

    def _typed(self, change: Any) -> None:
        if self._view is not None and change["new"]:
            self._choose(change["new"])

    def _choose(self, channel: str | None) -> None:
        self._state.channel = channel

    def _step(self, by: int) -> None:
        view = self._view
        if view is None or view.row is None:
            return
        at = (view.order.index(view.row) + by) % len(view.order)
        self._choose(view.names[view.order[at]])

