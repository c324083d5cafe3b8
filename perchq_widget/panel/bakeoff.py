"""All observers on the tensor in view, in one table and chart; a click applies one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .timing import Gradual

if TYPE_CHECKING:
    from .kit import Kit
    from .state import PanelState
    from .subjects import Subject
    from .view import PanelView


class BakeOff:
    """Filled policy by policy while the panel goes on listening."""

    def __init__(self, kit: Kit, state: PanelState, subject: Subject) -> None:
        self._state, self._subject = state, subject
        self.work = Gradual()
        self.widget = kit.column([], "perchq-bakeoff perchq-hidden")

    def start(self, view: PanelView) -> None:
        """Try every observer on the tensor of ``view``."""

    def apply(self, view: PanelView) -> None:
        """Mark the observer in use; say so when the result no longer is about what the panel shows."""
