"""The API calls that give what a panel shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .view import PanelView


def code_of(view: PanelView) -> str:
    """Python source; running it gives the same table."""
    raise NotImplementedError
