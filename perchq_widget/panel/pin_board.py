"""Pins in the panel: keep the state in view under a name, compare with it, go back to it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import ipywidgets as w

from ..core.errors import QuantError
from ..report.text import clean_name, escape, shorten
from .baseline import mismatch, sqnr_deltas, summary_html
from .controls import error_html, set_if_new
from .delta_chart import DeltaChart
from .pins import suggested

if TYPE_CHECKING:
    from .app import QuantPanel
    from .kit import Kit
    from .view import PanelView

_MOST_SHOWN = 30
_CHOSEN = "perchq-chosen"


class PinBoard:
    """The pins of a panel, and the comparison with the baseline; chips and chart are made when first needed.

    ``beside`` are widgets that stand in its row, behind its own.
    """

    def __init__(self, kit: Kit, panel: QuantPanel, beside: Sequence[Any] = ()) -> None:
        self._kit, self._panel = kit, panel
        self._drawn: tuple[Any, ...] = ()
        self.name = w.Text(
            description="Pin as", tooltip="A name for the settings in view and their result; empty for the one shown",
            style={"description_width": "44px"}, continuous_update=False,
        )
        self.pin = kit.button(
            lambda: self.attempt(self._pin), description="Pin", icon="thumb-tack",
            tooltip="Keep these settings and their result under this name, and compare with them from now on",
        )
        self.message, self.delta = kit.html("perchq-note perchq-pin-message"), kit.html("perchq-delta-line")
        self.chips: list[PinChip] = []
        self._row = kit.row([self.name, self.pin, *beside])
        self._chip_row: Any = None
        self.chart: DeltaChart | None = None
        self.widget = kit.column([self._row, self.message], "perchq-pins")

    def apply(self, view: PanelView) -> None:
        """Show the pins and, with a baseline, the difference."""
        drawn = (view.report, view.table, view.pins, view.intent.baseline, view.problem)
        if all(a is b for a, b in zip(drawn, self._drawn, strict=False)) and self._drawn:
            return
        if self._drawn and self._drawn[2:4] != drawn[2:4]:
            set_if_new(self.message, "value", "")
        self._drawn = drawn
        if view.report is not None and not view.stale:
            set_if_new(self.name, "placeholder", suggested(view.pins, view.intent, view.report))
        self._show_chips(view)
        self._show_delta(view)

    def _show_chips(self, view: PanelView) -> None:
        if self._chip_row is None and view.pins:
            self._chip_row = self._kit.row([])
        while len(self.chips) < len(view.pins):
            self.chips.append(PinChip(self._kit, partial(self._of, len(self.chips))))
        for chip, pin in zip(self.chips, view.pins, strict=False):
            chip.show(pin.name, chosen=pin is view.baseline)
        if self._chip_row is not None and len(self._chip_row.children) != len(view.pins):
            self._chip_row.children = [chip.widget for chip in self.chips[: len(view.pins)]]

    def _show_delta(self, view: PanelView) -> None:
        deltas = sqnr_deltas(view)
        if deltas is not None:
            self.chart = DeltaChart(self._kit) if self.chart is None else self.chart
            self.chart.draw(deltas)
            set_if_new(self.delta, "value", f'<span role="status">{summary_html(view, deltas)}</span>')
        else:
            set_if_new(self.delta, "value", _no_delta(view))
        self._arrange(len(view.pins), deltas is not None)

    def _arrange(self, n_pins: int, compared: bool) -> None:
        parts = [self._row, *([self._chip_row] if n_pins else []), self.message]
        parts += [self.delta] if self.delta.value else []
        parts += [self.chart.widget] if compared and self.chart is not None else []
        if list(self.widget.children) != parts:
            self.widget.children = parts

    @property
    def parts(self) -> tuple[Any, ...]:
        """Widgets that may be out of sight, to be closed with the panel."""
        chart = () if self.chart is None else (self.chart.widget,)
        row = () if self._chip_row is None else (self._chip_row,)
        return (self.delta, *chart, *row, *(chip.widget for chip in self.chips))

    def _pin(self) -> None:
        typed = self.name.value
        self._panel.pin(typed if typed else self.name.placeholder)
        self.name.value = ""

    def _of(self, place: int, action: str) -> None:
        """A chip's button: its place says which pin it is about."""
        self.attempt(partial(self._do, place, action))

    def _do(self, place: int, action: str) -> None:
        pins = self._panel.pins
        if place < len(pins):
            getattr(self, f"_{action}")(pins[place].name)

    def _compare(self, name: str) -> None:
        state = self._panel.state
        state.baseline = None if state.baseline == name else name

    def _restore(self, name: str) -> None:
        self._panel.restore(name)

    def _remove(self, name: str) -> None:
        self._panel.unpin(name)

    def attempt(self, work: Callable[[], None]) -> None:
        """Do it; what was asked for and cannot be is said beside the name, a defect in the banner too."""
        set_if_new(self.message, "value", "")
        try:
            work()
        except QuantError as error:
            self.message.value = error_html(str(error))
        except Exception as error:
            self._panel.banner.failed(error)
            raise


class PinChip:
    """One pin: compare with it, go back to its settings, take it out."""

    def __init__(self, kit: Kit, act: Callable[[str], None]) -> None:
        self.compare = kit.button(partial(act, "compare"), "perchq-pin-name")
        self.restore = kit.button(partial(act, "restore"), "perchq-small", icon="undo")
        self.remove = kit.button(partial(act, "remove"), "perchq-small", icon="times")
        self.widget = kit.row([self.compare, self.restore, self.remove], "perchq-row-of-controls perchq-chip")

    def show(self, name: str, *, chosen: bool) -> None:
        """Name the pin; ``chosen`` is the baseline."""
        short = shorten(clean_name(name), _MOST_SHOWN)
        set_if_new(self.compare, "description", f"◆ {short} · baseline" if chosen else f"Compare with {short}")
        tooltip = f"Stop comparing with {short}" if chosen else f"Show what differs from {short} now"
        set_if_new(self.compare, "tooltip", tooltip)
        for button, action in ((self.restore, "Restore settings of"), (self.remove, "Remove pin")):
            set_if_new(button, "description", f"{action} {short}")
            set_if_new(button, "tooltip", f"{action} {short}")
        if chosen != (_CHOSEN in self.widget._dom_classes):
            (self.widget.add_class if chosen else self.widget.remove_class)(_CHOSEN)


def _no_delta(view: PanelView) -> str:
    """Why there is no difference to show, "" where none was asked for."""
    name = view.intent.baseline
    if name is None:
        return ""
    if view.baseline is None:
        known = ", ".join(shorten(pin.name, 40) for pin in view.pins)
        hint = f"there are {known}" if known else "there is none yet: press Pin"
        return error_html(f"No pin is called {shorten(name, 60)!r}; {hint}.")
    reason = mismatch(view)
    return f'<span role="status">No difference is shown: {escape(reason)}.</span>' if reason else ""
