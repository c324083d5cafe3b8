"""The calculator's input: mode, text, CSV upload, and the lines that could not be used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ipywidgets as w

from ..report.text import escape
from .controls import error_html, set_if_new
from .view import LINES

if TYPE_CHECKING:
    from .kit import Kit
    from .state import PanelState
    from .view import PanelView

_MAX_UPLOAD = 1_000_000
_MAX_LISTED = 50
_HINTS = {
    "ranges": ("channel, min, max, sample", "filter_0,-1.2,1,0.73"),
    "params": ("channel, scale, zero_point, sample", "filter_0,0.00862745,11,0.73"),
}


class LinesInput:
    """Text area and upload. The text is the user's: nothing but the user, an upload or the mode changes it."""

    def __init__(self, kit: Kit, state: PanelState) -> None:
        self._state = state
        self._loaded: str | None = None  # the text that the note beside the upload is about
        self.mode = w.ToggleButtons(
            options=[("calibration ranges", "ranges"), ("manual parameters", "params")],
            tooltips=["One channel,min,max,sample per line", "One channel,scale,zero_point,sample per line"],
        )
        self.text = w.Textarea(
            rows=8, description="Lines",
            tooltip="One channel per line; separated by semicolons, tabs, commas or blanks; # starts a comment",
            layout=w.Layout(width="100%"),
        )
        self.upload = w.FileUpload(
            accept=".csv,.tsv,.txt", multiple=False, description="Load CSV",
            tooltip="Replace the text by the contents of a file",
        )
        self.hint, self.upload_note = kit.html("perchq-note"), kit.html("perchq-note")
        self.errors = kit.html("perchq-line-errors")
        self.mode.observe(lambda change: setattr(state, "mode", change["new"]), "value")
        self.text.observe(lambda change: setattr(state, "lines", change["new"]), "value")
        self.upload.observe(self._uploaded, "value")
        parts = [self.mode, self.hint, self.text, self.errors, self.upload, self.upload_note]
        self.widget = kit.column(parts, "perchq-input")

    def apply(self, view: PanelView) -> None:
        """Show mode and text, and beneath them every line that was left out, with its reason."""
        intent = view.intent
        set_if_new(self.mode, "value", intent.mode)
        set_if_new(self.text, "value", intent.lines)
        names, example = _HINTS[intent.mode]
        set_if_new(self.text, "placeholder", example)
        set_if_new(self.hint, "value", f"Per line: <code>{names}</code>")
        if intent.lines != self._loaded:
            set_if_new(self.upload_note, "value", "")
        problem = view.problem if view.problem is not None and view.problem.about == LINES else None
        set_if_new(self.errors, "value", (error_html(problem.message) if problem else "") + _errors_html(view))

    def _uploaded(self, change: Any) -> None:
        if not change["new"]:
            return
        file = change["new"][0]
        try:
            self._loaded = _decoded(file["name"], bytes(file["content"]))
            self._state.lines = self._loaded
            note = f"Loaded {escape(file['name'])}."
        except ValueError as error:
            self._loaded = self._state.lines
            note = error_html(str(error))
        set_if_new(self.upload_note, "value", note)
        self.upload.value = ()  # so that the same file can be loaded again


def _decoded(name: str, content: bytes) -> str:
    if len(content) > _MAX_UPLOAD:
        raise ValueError(f"{name} holds {len(content):,} bytes; at most {_MAX_UPLOAD:,} can be loaded here")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(f"{name} is not UTF-8 text; save it as CSV (UTF-8)") from None
    if not text.strip():
        raise ValueError(f"{name} is empty; the text stays as it was")
    return text.replace("\r\n", "\n")


def _errors_html(view: PanelView) -> str:
    if not view.errors:
        return ""
    items = "".join(
        f'<li><b>line {error.line}</b> <code>{escape(error.text)}</code><br>{escape(error.reason)}</li>'
        for error in view.errors[:_MAX_LISTED]
    )
    more = len(view.errors) - _MAX_LISTED
    tail = f"<p>… and {more:,} more</p>" if more > 0 else ""
    n = len(view.errors)
    return (
        f'<div role="alert"><p class="perchq-error">⚠ {n:,} {"line" if n == 1 else "lines"} left out:</p>'
        f"<ul>{items}</ul>{tail}</div>"
    )
