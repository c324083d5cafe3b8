"""What to look at: the layer of a model, the channel of a layer."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any

import ipywidgets as w

from ..report.text import clean_name, escape, shorten
from .controls import HELP, error_html, set_if_new
from .ordering import channel_text

if TYPE_CHECKING:
    from .kit import Kit
    from .state import PanelState
    from .view import PanelView

_LISTED_NAMES = 500
_LONGEST = 200  # characters of a layer's name and shape; a file may make them endless
_MOST_LISTED = 300  # layers that a browser gets at once: as many as one scrolls through


class LayerPicker:
    """A filter and the layers that match it, a window of them where there are many."""

    def __init__(
        self, kit: Kit, state: PanelState, tensors: tuple[str, ...], title: Callable[[str], str]
    ) -> None:
        self._state, self._tensors, self._title = state, tensors, title
        self._tensor, self._known = tensors[0], frozenset(tensors)
        style = {"description_width": "64px"}
        self.filter = w.Text(
            description="Find layer", placeholder=f"part of a name, {len(tensors):,} layers", style=style,
            tooltip="Shows only layers whose name, shape, format or way of storing holds this text",
        )
        self.list = w.Select(description="Layer", rows=5, style=style, tooltip="The tensor in view")
        self.filter.observe(lambda _change: self._find(), "value")
        self._quiet = False
        self.list.observe(lambda change: self._picked(change["new"]), "value")
        self.note = kit.html("perchq-note")
        self.widget = kit.column([self.filter, self.list, self.note])
        self._found, self._start = tensors, 0
        self._offer()

    def _picked(self, tensor: str | None) -> None:
        if not self._quiet and tensor is not None:
            self._state.tensor = tensor

    def apply(self, tensor: str | None) -> None:
        """Mark the tensor in view."""
        if tensor is not None and tensor in self._known and tensor != self._tensor:
            self._tensor = tensor
            self._offer()

    @cached_property
    def _texts(self) -> list[str]:
        """What is searched, made at the first search."""
        return [self._title(name).casefold() for name in self._tensors]

    @property
    def _wanted(self) -> str:
        return str(self.filter.value).strip().casefold()

    def _find(self) -> None:
        wanted = self._wanted
        found = (name for name, text in zip(self._tensors, self._texts, strict=True) if wanted in text)
        self._found, self._start = (tuple(found) if wanted else self._tensors), 0
        self._offer()

    def _offer(self) -> None:
        shown = self._window() if self._found else (self._tensor,)
        options = tuple((self._shown(name), name) for name in shown)
        self._quiet = True
        with self.list.hold_sync():
            if self.list.options != options:
                self.list.options = options
            self.list.value = self._tensor if self._tensor in shown else None
        self._quiet = False
        set_if_new(self.note, "value", "<br>".join(map(escape, self._notes(shown))))

    def _shown(self, name: str) -> str:
        return shorten(clean_name(self._title(name)), _LONGEST)

    def _window(self) -> tuple[str, ...]:
        """So many of the layers found, moved where the one in view is at or beyond an end of it."""
        if len(self._found) <= _MOST_LISTED:
            return self._found
        at = self._found.index(self._tensor) if self._tensor in self._found else self._start
        if not self._start < at < self._start + _MOST_LISTED - 1:
            self._start = min(max(at - _MOST_LISTED // 2, 0), len(self._found) - _MOST_LISTED)
        return self._found[self._start : self._start + _MOST_LISTED]

    def _notes(self, shown: tuple[str, ...]) -> list[str]:
        notes = []
        if not self._found:
            notes.append(f"Nothing matches {shorten(self._wanted, 40)!r}; the layer in view:")
        elif self._tensor not in shown:
            notes.append(f"In view: {self._shown(self._tensor)}")
        if len(shown) < len(self._found):
            first = self._start + 1
            notes.append(f"{first:,}–{self._start + len(shown):,} of {len(self._found):,} layers; type part of a name")
        return notes


class ChannelSelector:
    """The selected channel by name or position, its neighbours in table order, and the worst one."""

    def __init__(self, kit: Kit, state: PanelState) -> None:
        self._state = state
        self._view: PanelView | None = None
        self.box = w.Combobox(
            description="Channel", tooltip=HELP["channel"], continuous_update=False, ensure_option=False,
            placeholder="name or position", style={"description_width": "64px"},
        )
        self.note = kit.html("perchq-note")
        self.box.observe(self._typed, "value")
        self.previous = kit.button(
            lambda: self._step(-1), "perchq-small", icon="chevron-left", description="Previous channel",
            tooltip="Previous channel in the table's order"
        )
        self.next = kit.button(
            lambda: self._step(1), "perchq-small", icon="chevron-right", description="Next channel",
            tooltip="Next channel in the table's order"
        )
        self.worst = kit.button(
            lambda: self._choose(None), description="Worst", tooltip="Select the channel with the lowest SQNR"
        )
        self.widget = kit.column([kit.row([self.box, self.previous, self.next, self.worst]), self.note])

    def apply(self, view: PanelView) -> None:
        """Show the selected channel, and say so where the one asked for does not exist."""
        self._view = None
        set_if_new(self.box, "options", view.names[:_LISTED_NAMES])
        asked = view.intent.channel if view.channel_note else None
        set_if_new(self.box, "value", view.channel if asked is None else channel_text(asked))
        set_if_new(self.note, "value", error_html(view.channel_note) if view.channel_note else "")
        self._view = view

    def _typed(self, change: Any) -> None:
        if self._view is not None and change["new"]:
            self._choose(change["new"])

    def _choose(self, channel: str | None) -> None:
        self._state.channel = channel

    def _step(self, by: int) -> None:
        view = self._view
        if view is None or not view.order:
            return
        at = min(by, 0) if view.place is None else (view.place + by) % len(view.order)  # of a hidden one: an end
        self._choose(view.names[view.order[at]])

