"""Settings by deployment target."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .kit import Kit
    from .state import PanelState
    from .view import PanelView


class PresetPicker:
    """Chooses the settings of a deployment target."""

    def __init__(self, kit: Kit, state: PanelState, kind: str) -> None:
        self._state = state
        self.widget = kit.column([], "perchq-field perchq-wide")

    def apply(self, view: PanelView) -> None:
        """Show which target the settings are those of, if any."""
