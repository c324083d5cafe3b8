"""The panel's static copy: what a notebook shows wherever the live view cannot be drawn."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from ..report.display import display_data

if TYPE_CHECKING:
    from .view import PanelView

_numbers = count(1)


class StaticCopy:
    """Makes the copy, publishes it beside the live view, and refreshes it in place.

    The copy hides while the live view stands in the same page (see :mod:`perchq_widget.panel.style`). In JupyterLab,
    where the view takes a moment to arrive, it also waits that moment, so that nothing jumps.
    """

    def __init__(self) -> None:
        self.css_class = f"perchq-static-{uuid4().hex[:12]}"
        self._display_ids: list[str] = []

    def bundle(self, view: PanelView) -> dict[str, Any]:
        """The copy as a display bundle: HTML with table and figures, text, and the report's document."""
        if view.report is None:
            return {"text/plain": "perchq_widget panel: no line can be used"}
        document = view.report.document(view.row)
        wait = (
            "<style>.jp-NotebookPanel .perchq-static{animation:perchq-wait 3s step-end}"
            "@keyframes perchq-wait{from{max-height:0;overflow:hidden}}</style>"
        )
        data = display_data(document, view.report.caption)
        return data | {"text/html": f'<div class="perchq-static {self.css_class}">{wait}{data["text/html"]}</div>'}

    def publish(self, live: dict[str, Any], view: PanelView) -> None:
        """Show the live view, then the copy."""
        display_id = f"{self.css_class}-{next(_numbers)}"
        self._display_ids.append(display_id)
        publish(live)
        publish(self.bundle(view), transient={"display_id": display_id})

    def refresh(self, view: PanelView) -> None:
        """Replace every published copy by one of what is in view now."""
        for display_id in self._display_ids:
            publish(self.bundle(view), transient={"display_id": display_id}, update=True)


def publish(data: dict[str, Any], **options: Any) -> None:
    """Send a display bundle to the output of the running cell."""
    from IPython.display import publish_display_data

    publish_display_data(data, **options)  # type: ignore[no-untyped-call]
