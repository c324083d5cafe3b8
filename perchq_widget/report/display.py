"""A document as Jupyter display data: every front end and exporter finds a form that it can show."""

from __future__ import annotations

from typing import Any

from perchq_widget.report.document import MIMETYPE
from perchq_widget.report.html import html_fragment
from perchq_widget.report.latex import latex_fragment


def display_data(document: dict[str, Any], plain: str) -> dict[str, Any]:
    """HTML for notebooks and the web, LaTeX for nbconvert's own pdf exporter, the document itself for ours."""
    return {
        "text/html": html_fragment(document),
        "text/latex": latex_fragment(document),
        "text/plain": plain,
        MIMETYPE: document,
    }
