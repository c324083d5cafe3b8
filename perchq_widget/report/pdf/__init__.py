"""Notebooks and reports to PDF, through nbconvert and Typst."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nbformat import NotebookNode

__all__ = ["notebook_to_pdf"]


def notebook_to_pdf(notebook: NotebookNode, resources: dict[str, Any] | None = None) -> bytes:
    """Return the PDF of a notebook; outputs that hold a report of ours are set natively.

    ``resources`` are nbconvert's; ``{"metadata": {"path": folder, "name": title}}`` says where images may lie.
    Raises MissingExtra without the packages of the extra ``pdf``, and TypesettingError (a QuantError).
    """
    from .exporter import notebook_to_pdf as convert  # nbconvert takes half a second to import

    return convert(notebook, resources)
