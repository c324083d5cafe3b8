"""Pins in the panel: keep the state in view under a name, compare with it, go back to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .app import QuantPanel
    from .kit import Kit
    from .view import PanelView


class PinBoard:
    """The pins of a panel, and the comparison with the baseline."""

    def __init__(self, kit: Kit, panel: QuantPanel) -> None:
        self._panel = panel
        self.widget = kit.column([], "perchq-pins")

    def apply(self, view: PanelView) -> None:
        """Show the pins and, with a baseline, the difference."""
