"""The nbconvert exporter ``perchq-pdf``: any notebook to PDF, results of this package natively, from pip alone."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from nbconvert.exporters.templateexporter import TemplateExporter
from nbformat import NotebookNode
from traitlets import Float, Int, List, Unicode, default
from traitlets.config import Config

from . import cells
from .bundle import Bundle
from .compile import Limits, compile_pdf, require_extra
from .values import mapping, text

_TEMPLATES = Path(__file__).parent / "templates"
_NAME = "perchq-pdf"


class PerchqPDFExporter(TemplateExporter):
    """Exports a notebook as PDF through Typst; needs ``pip install "perchq_widget[pdf]"`` and nothing else."""

    export_from_notebook = "PDF via perchq_widget"
    output_mimetype = "application/pdf"

    font_paths = List(Unicode(), help="Folders with fonts for characters that the embedded ones lack.").tag(config=True)
    time_limit = Float(120.0, help="Seconds after which typesetting is stopped.").tag(config=True)
    memory_limit = Int(6 * 2**30, help="Bytes of address space typesetting may use (POSIX only).").tag(config=True)

    @default("file_extension")
    def _default_file_extension(self) -> str:
        return ".pdf"

    @default("template_extension")
    def _default_template_extension(self) -> str:
        return ".typ.j2"

    @default("template_name")
    def _default_template_name(self) -> str:
        return _NAME

    @default("template_paths")
    def _template_paths(self, prune: bool = True, root_dirs: object = None) -> list[str]:
        # Ours comes with the package and stands alone, so no Jupyter data path needs to be right.
        if self.template_name == _NAME:
            return [str(_TEMPLATES / _NAME)]
        paths: list[str] = super()._template_paths(prune, root_dirs)
        return paths

    @property
    def default_config(self) -> Config:
        """Streams of one cell are joined before we see them; everything else of nbconvert stays as configured."""
        config = Config({"CoalesceStreamsPreprocessor": {"enabled": True}})
        config.merge(super().default_config)
        return config

    def default_filters(self) -> Iterable[tuple[str, Any]]:
        """Return the filters of our template beside nbconvert's own."""
        yield from super().default_filters()  # type: ignore[no-untyped-call]
        yield "typst_markdown", cells.markdown_cell
        yield "typst_input", cells.input_of
        yield "typst_outputs", cells.outputs_of
        yield "typst_raw", cells.raw_cell
        yield "typst_notes", cells.notes_of

    def _preprocess(self, nb: NotebookNode, resources: dict[str, Any]) -> tuple[NotebookNode, dict[str, Any]]:
        # nbconvert copies the resources here, so what filters are to fill must be put in afterwards.
        nb, resources = super()._preprocess(nb, resources)  # type: ignore[no-untyped-call]
        metadata = mapping(resources.get("metadata"))
        # nbconvert gives an empty path for a notebook in the current folder, and none for one without a file.
        folder = Path(text(metadata["path"])) if "path" in metadata else None
        bundle = Bundle(font_paths=tuple(self.font_paths), folder=folder)
        bundle.language = _language(nb)
        resources["perchq"] = bundle
        return nb, resources

    def from_notebook_node(  # type: ignore[override]
        self, nb: NotebookNode, resources: dict[str, Any] | None = None, **kw: Any
    ) -> tuple[bytes, dict[str, Any]]:
        """Return the PDF's bytes and the resources.

        Raises MissingExtra without the packages of the extra ``pdf``, TypesettingError when a limit was reached.
        """
        require_extra()
        main, resources = super().from_notebook_node(nb, resources, **kw)
        bundle: Bundle = resources.pop("perchq")
        pdf = self._typeset(bundle, main, _title(nb, resources))
        resources["output_extension"] = ".pdf"
        return pdf, resources

    def _typeset(self, bundle: Bundle, main: str, title: str) -> bytes:
        dated = f" · {bundle.created[:19].replace('T', ' ')}" if bundle.created else ""
        footer = bundle.cleaner.clean(f"perchq_widget{dated}")
        job = bundle.job(main, bundle.cleaner.clean(title), footer, _timestamp(bundle.created))
        done = compile_pdf(job, Limits(self.time_limit, self.memory_limit))
        for path in done.bad_images:
            self.log.warning("left out an image that could not be decoded: %s", path)
        for number in done.bad_fragments:
            self.log.warning("set part %s of the notebook as plain text: the typesetter refused it", number)
        return done.pdf


def notebook_to_pdf(notebook: NotebookNode, resources: dict[str, Any] | None = None) -> bytes:
    """Return the PDF of a notebook, as ``jupyter nbconvert --to perchq-pdf`` makes it."""
    exporter = PerchqPDFExporter()  # type: ignore[no-untyped-call]
    pdf, _ = exporter.from_notebook_node(notebook, resources)
    return pdf


def _language(nb: NotebookNode) -> str:
    metadata = mapping(nb.get("metadata"))
    name = text(mapping(metadata.get("language_info")).get("name")) or "python"
    return name if re.fullmatch(r"[A-Za-z0-9+#-]{1,20}", name) else "txt"


def _title(nb: NotebookNode, resources: dict[str, Any]) -> str:
    own = text(mapping(nb.get("metadata")).get("title"))
    return (own or text(mapping(resources.get("metadata")).get("name")) or "Notebook")[:300]


def _timestamp(created: str) -> int | None:
    """Return the first report's own time, so that the same report gives the same bytes whenever it is printed."""
    try:
        moment = datetime.fromisoformat(created)
    except ValueError:
        return None
    aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return max(0, int(aware.timestamp())) if aware.year >= 1970 else None
