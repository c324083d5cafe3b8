"""A report as a Jupyter notebook: it shows the result at once and computes it again when it is run."""

from __future__ import annotations

import json
import os
from itertools import count
from typing import TYPE_CHECKING, Any

from perchq_widget.report.display import display_data
from perchq_widget.report.export import json_safe
from perchq_widget.report.markdown import markdown_text

if TYPE_CHECKING:
    from nbformat import NotebookNode

    from perchq_widget.report.documents import ChannelReport
    from perchq_widget.report.reproduce import Code

# JupyterLab and perchq-pdf fold the cell by the first; Jupyter Book by the second.
_FOLDED = {"jupyter": {"source_hidden": True}, "tags": ["hide-input"]}


def to_notebook(report: ChannelReport, folder: str | os.PathLike[str] | None = None) -> NotebookNode:
    """Title, the code that gives the result again, and the result as that code's output.

    ``folder`` is where the notebook will be; files are named from there. None: as they were given.
    Names and lines enter code as ASCII literals and Markdown as character references, so that none can be more than
    text. The settings are in the metadata under ``perchq``. Cell ids are counted, so equal reports give equal files.
    """
    from nbformat import v4

    document, code, run = report.document(), report.notebook_code(folder), count(1)
    cells = [v4.new_markdown_cell(_title(document), id="title")]
    if code.folded:
        cells.append(v4.new_code_cell(code.folded, id="values", execution_count=next(run), metadata=_FOLDED))
    cells += [
        v4.new_code_cell(code.shown, id="compute", execution_count=next(run)),
        _output_cell(document, repr(report), "report", next(run)),
        v4.new_markdown_cell(_next_steps(code), id="next-steps"),
    ]
    return _notebook(cells, document)


def output_only(report: ChannelReport) -> NotebookNode:
    """The result alone, as the PDF is made of it: the document carries title, settings and code itself."""
    document = report.document()
    return _notebook([_output_cell(document, repr(report), "", None)], document)


def _title(document: dict[str, Any]) -> str:
    return f"# {markdown_text(document['title'])}\n\n{markdown_text(document['caption'])}"


def _next_steps(code: Code) -> str:
    first = "Assign what the first code cell asks for. " if code.to_assign else ""
    return (
        f"{first}Change a setting above and run all cells. `report.table` is the table as a DataFrame; "
        "`report.to_csv`, `to_json`, `to_html` and `to_pdf` write it to a file; `pq.show()` opens the live panel."
    )


def _output_cell(document: dict[str, Any], plain: str, source: str, count: int | None) -> NotebookNode:
    from nbformat import v4

    bundle = display_data(document, plain)
    output = v4.new_output("execute_result", data=bundle, execution_count=count)
    cell: NotebookNode = v4.new_code_cell(source, id="report", execution_count=count, outputs=[output])
    return cell


def _notebook(cells: list[NotebookNode], document: dict[str, Any]) -> NotebookNode:
    from nbformat import v4, validate

    facts = ("schema", "kind", "created", "tensor", "settings", "versions")
    metadata = {
        "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
        "language_info": {"name": "python"},
        "title": document["title"],
        "perchq": {name: document[name] for name in facts},
    }
    made: NotebookNode = v4.new_notebook(cells=cells, metadata=json.loads(json.dumps(json_safe(metadata))))
    validate(made)
    return made
