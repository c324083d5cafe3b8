"""Export buttons: one file name, five formats, and beside them where the file went or why it did not."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ipywidgets as w

from ..report.text import escape
from .controls import error_html, set_if_new

if TYPE_CHECKING:
    from ..report.documents import ChannelReport
    from .kit import Kit
    from .state import PanelView

FORMATS = {
    "csv": ("CSV", ".csv", "The channel table, every row, for pandas and spreadsheets"),
    "json": ("JSON", ".json", "Settings, table and findings for programs"),
    "html": ("HTML", ".html", "One page that needs nothing else"),
    "notebook": ("Notebook", ".ipynb", "A notebook that repeats this result"),
    "pdf": ("PDF", ".pdf", "A report to sign"),
}
_UNSAFE = re.compile(r"[^\w.-]+")


def safe_stem(name: str) -> str:
    """A file name without extension from a tensor's name: letters, digits, dot, dash, underscore; never empty."""
    stem = _UNSAFE.sub("_", name).strip("._-")[:80]
    return stem if stem else "tensor"


class ExportRow:
    """The file name follows the tensor's name until the user types another one."""

    def __init__(self, kit: Kit, current: Callable[[], ChannelReport | None], snapshot: Callable[[], None]) -> None:
        self._current = current
        self._default = ""
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
        """Suggest a file name."""
        if view.report is None:
            return
        default = safe_stem(view.report.name)
        if self.name.value in ("", self._default):
            set_if_new(self.name, "value", default)
        self._default = default

    def export(self, kind: str) -> None:
        """Write the report in view and say where."""
        report = self._current()
        if report is None:
            self.message.value = error_html("There is no result to export; correct the input first.")
            return
        stem = self.name.value.strip()
        suffix = FORMATS[kind][1]
        target = Path(stem if stem else self._default)
        target = target if target.suffix == suffix else target.with_name(target.name + suffix)
        self.message.value = f"Writing {escape(target)} …"
        self._write(report, kind, target)

    def _write(self, report: ChannelReport, kind: str, target: Path) -> None:
        try:
            written = getattr(report, f"to_{kind}")(target, overwrite=self.overwrite.value)
        except FileExistsError:
            self.message.value = error_html(f"{target} exists; tick Overwrite to replace it, or change the name.")
        except Exception as error:  # whatever a writer or the disk may raise belongs beside the button
            self.message.value = error_html(f"{target} was not written: {error}")
        else:
            self.message.value = f'<span class="perchq-ok">✓ Wrote <code>{escape(written)}</code></span>'

    def _snap(self, snapshot: Callable[[], None]) -> None:
        snapshot()
        self.message.value = '<span class="perchq-ok">✓ The static copy shows what the panel shows now.</span>'
