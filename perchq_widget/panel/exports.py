"""Export buttons: one file name, five formats, and beside them where the file went or why it did not."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ipywidgets as w

from ..core.errors import QuantValueError
from ..report.text import escape
from .controls import error_html, set_if_new

if TYPE_CHECKING:
    from ..report.documents import ChannelReport
    from .kit import Kit
    from .view import PanelView

FORMATS = {
    "csv": ("CSV", ".csv", "The channel table, every row, for pandas and spreadsheets"),
    "json": ("JSON", ".json", "Settings, table and findings for programs"),
    "html": ("HTML", ".html", "One page that needs nothing else"),
    "notebook": ("Notebook", ".ipynb", "A notebook that repeats this result"),
    "pdf": ("PDF", ".pdf", "A report to sign"),
}
_UNSAFE = re.compile(r"[^\w.-]+")


_DEVICES = {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10))}


def safe_stem(name: str) -> str:
    """A file name without extension from a tensor's name: letters, digits, dot, dash, underscore; never empty."""
    stem = _UNSAFE.sub("_", name).strip("._-")[:80]
    stem = stem if stem else "tensor"
    return f"tensor_{stem}" if _is_device(stem) else stem


def _is_device(name: str) -> bool:
    return name.partition(".")[0].strip().casefold() in _DEVICES


def target_of(typed: str, suffix: str) -> Path:
    """The file that a typed name means; raises QuantValueError for what names no file, on any system."""
    name = re.split(r"[/\\]", typed)[-1]
    if not name:
        raise QuantValueError(f"{typed} names a folder; add a file name to it")
    if set(name) <= {".", " "}:
        raise QuantValueError(f"{typed} is no name for a file; type another one")
    if _is_device(name):
        raise QuantValueError(f"{name} is the name of a device on Windows; type another one")
    return Path(typed if name.casefold().endswith(suffix) else typed + suffix)


class ExportRow:
    """The file name follows the tensor's name until the user types another one."""

    def __init__(self, kit: Kit, current: Callable[[], ChannelReport], snapshot: Callable[[], None]) -> None:
        self._current = current
        self._default = ""
        self._about: object = None
        self.name = w.Text(
            description="File name", tooltip="Without extension; a folder before it is allowed",
            style={"description_width": "72px"},
        )
        self.overwrite = w.Checkbox(
            description="Overwrite", indent=False, tooltip="Replace a file of that name if there is one"
        )
        self.buttons = {kind: self._button(kit, kind) for kind in FORMATS}
        self.snapshot = kit.button(
            lambda: self._snap(snapshot), description="Snapshot", icon="camera",
            tooltip="Refresh the static copy that HTML, Markdown and PDF conversions of this notebook show",
        )
        self.message = kit.html("perchq-export-message")
        row = kit.row([self.name, self.overwrite, *self.buttons.values(), self.snapshot])
        self.widget = kit.column([row, self.message], "perchq-export")

    def _button(self, kit: Kit, kind: str) -> Any:
        label, _, tooltip = FORMATS[kind]
        return kit.button(lambda: self.export(kind), description=label, icon="download", tooltip=tooltip)

    def apply(self, view: PanelView) -> None:
        """Suggest a file name, and take back what was said of a result that is no longer in view."""
        about = (view.report, view.problem)
        if about != self._about:
            set_if_new(self.message, "value", "")
        self._about = about
        if view.report is None:
            return
        default = safe_stem(view.report.name)
        if self.name.value in ("", self._default):
            set_if_new(self.name, "value", default)
        self._default = default

    def export(self, kind: str) -> None:
        """Write the report in view and say where."""
        label, suffix, _ = FORMATS[kind]
        typed = self.name.value.strip()
        try:
            report = self._current()
            target = target_of(typed if typed else self._default, suffix)
            self.message.value = f"Writing {escape(target)} …"
            written = getattr(report, f"to_{kind}")(target, overwrite=self.overwrite.value)
        except FileExistsError:
            self.message.value = error_html(f"{target} exists; tick Overwrite to replace it, or change the name.")
        except Exception as error:  # whatever a writer or the disk may raise belongs beside the button
            self.message.value = error_html(f"{label} was not written: {error}")
        else:
            self.message.value = f'<span class="perchq-ok">✓ Wrote <code>{escape(written.absolute())}</code></span>'

    def _snap(self, snapshot: Callable[[], None]) -> None:
        try:
            snapshot()
        except Exception as error:  # the button has nobody else to tell
            self.message.value = error_html(f"The static copy was not refreshed: {error}")
        else:
            self.message.value = '<span class="perchq-ok">✓ The static copy shows what the panel shows now.</span>'
