"""The selected channel's error against the clip ratio, split into rounding and clipping; a click sets the ratio."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .kit import Kit
    from .view import PanelView


class ErrorCurve:
    """Error of one channel at every clip ratio."""

    def __init__(self, kit: Kit, on_clip: Callable[[float], None]) -> None:
        self._on_clip = on_clip
        self.widget = kit.column([], "perchq-chart perchq-curve")

    def apply(self, view: PanelView) -> None:
        """Draw the channel that ``view`` selects."""
