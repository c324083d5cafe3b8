"""What to look at: the layer of a model, the channel of a layer."""

from __future__ import annotations

from collections.abc import Callable
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


class LayerPicker:
    """A filter and the layers that match it."""

    def __init__(
        self, kit: Kit, state: PanelState, tensors: tuple[str, ...], title: Callable[[str], str]
    ) -> None:
        self._state = state
        self._titles = {name: clean_name(title(name)) for name in tensors}
        self._tensor = tensors[0]
        style = {"description_width": "64px"}
        self.filter = w.Text(
            description="Find layer", placeholder=f"part of a name, {len(tensors)} layers", style=style,
            tooltip="Shows only layers whose name holds this text",
        )
        self.list = w.Select(description="Layer", rows=5, style=style, tooltip="The tensor in view")
        self.filter.observe(lambda _change: self._offer(), "value")
        self._quiet = False
        self.list.observe(lambda change: self._picked(change["new"]), "value")
        self.note = kit.html("perchq-note")
        self.widget = kit.column([self.filter, self.list, self.note])
        self._offer()

    def _picked(self, tensor: str | None) -> None:
        if not self._quiet and tensor is not None:
            self._state.tensor = tensor

    def apply(self, tensor: str | None) -> None:
        """Mark the tensor in view."""
        self._tensor = tensor if tensor is not None and tensor in self._titles else self._tensor
        self._offer()

    def _offer(self) -> None:
        wanted = self.filter.value.strip().casefold()
        names = [name for name, title in self._titles.items() if wanted in title.casefold()]
        note = ""
        if not names:
            note = f"Nothing matches {shorten(wanted, 40)!r}; the layer in view:"
        elif self._tensor not in names:
            note = f"In view: {self._titles[self._tensor]}"
        shown = names if names else [self._tensor]
        options = tuple((self._titles[name], name) for name in shown)
        self._quiet = True
        with self.list.hold_sync():
            if self.list.options != options:
                self.list.options = options
            self.list.value = self._tensor if self._tensor in shown else None
        self._quiet = False
        set_if_new(self.note, "value", escape(note))


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

