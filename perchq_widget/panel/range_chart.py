"""The range of every channel, min..max, and what its codes represent."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .kit import Kit
    from .view import PanelView


class RangeChart:
    """Ranges of all channels; a click selects one."""

    def __init__(self, kit: Kit, on_select: Callable[[int], None]) -> None:
        self._on_select = on_select
        self.widget = kit.column([], "perchq-chart perchq-ranges")

    def apply(self, view: PanelView, *, data: bool) -> None:
        """Draw all channels (``data``), or only mark the selected one."""
