"""Our own documents: what is on the pages."""

from __future__ import annotations

import json
from typing import Any

import pytest

from perchq_widget.report.pdf import notebook_to_pdf
from perchq_widget.report.pdf.bundle import Bundle
from perchq_widget.report.pdf.document import DocumentError, report_view


def view_of(document: dict[str, Any]) -> dict[str, Any]:
    bundle = Bundle()
    return report_view(document, bundle.cleaner, bundle.add_figure)


def test_calculator_report_holds_all_parts(calculator_document, report_notebook, pdf_text, count_pages):
    pdf = notebook_to_pdf(report_notebook(calculator_document))
    words = " ".join(pdf_text(pdf).split())
    for part in (
        "conv1.weight", "Decision", "Reviewer", "Signature", "Findings", "Explain this number", "-0.21333333",
        "Rule in force: calculator", "All 4 channels", "Overall SQNR", "44.97 dB", "pq.calculate", "numpy 2.4.6",
        "0.01254902", "Page 1 of 3",
    ):  # fmt: skip
        assert part in words
    assert "ignored" not in words, "another representation of the same output was set too"
    assert count_pages(pdf) == 3


def test_tensor_of_64_shows_every_row_and_marks(tensor_document, report_notebook, pdf_text):
    document = tensor_document(64)
    words = pdf_text(notebook_to_pdf(report_notebook(document)))
    rows = [line for line in words.splitlines() if " 4608 " in line]
    assert len(rows) == 64
    flags = document["row_flags"]
    assert sum("▲" in row for row in rows) == sum("clipped" in flag for flag in flags)
    assert sum("▼" in row for row in rows) == sum("low_sqnr" in flag for flag in flags)
    assert words.count("cosine") == 2, "the header is repeated on the table's second page"


def test_tensor_of_4096_shows_the_worst_and_says_where_the_rest_is(tensor_document, report_notebook, pdf_text):
    words = pdf_text(notebook_to_pdf(report_notebook(tensor_document(4096))))
    assert sum(" 4608 " in line for line in words.splitlines()) == 100
    assert "The worst 100 of 4096 channels by SQNR; all of them are in the CSV and JSON exports." in words


def test_several_reports_each_start_a_page(calculator_document, tensor_document, report_notebook, pdf_text):
    notebook = report_notebook(calculator_document)
    notebook.cells += report_notebook(tensor_document(8)).cells
    pages = pdf_text(notebook_to_pdf(notebook)).split("\f")
    starts = [page for page in pages if "Decision" in page]
    assert len(starts) == 2
    assert starts[0].splitlines()[0].strip().startswith("Notebook") or "conv1.weight" in starts[0].splitlines()[0]
    assert "layer4.conv2.weight" in starts[1].splitlines()[0], "the page's header names its own tensor"


def test_same_document_gives_same_bytes(tensor_document, report_notebook):
    document = tensor_document(16)
    assert notebook_to_pdf(report_notebook(document)) == notebook_to_pdf(report_notebook(document))


def test_document_may_be_stored_as_json_text(calculator_document, output, pdf_text):
    data = {"application/vnd.perchq.report+json": json.dumps(calculator_document)}
    assert "Explain this number" in pdf_text(notebook_to_pdf(output(data)))


@pytest.mark.parametrize("document", [{}, {"schema": "other/1"}, [], "{", None, {"schema": 7}])
def test_unknown_document_falls_back_to_other_representations(document, output, pdf_text):
    data = {"application/vnd.perchq.report+json": document, "text/plain": "the plain text"}
    assert "the plain text" in pdf_text(notebook_to_pdf(output(data)))


@pytest.mark.parametrize("key", ["tensor", "settings", "summary", "summary_rows", "columns", "rows", "display_rows",
                                 "row_flags", "findings", "errors", "explanation", "convention", "figures", "lines",
                                 "versions", "reproduce", "title", "caption", "created", "rows_note"])  # fmt: skip
@pytest.mark.parametrize("value", [None, 3, "text", [[["deep"]]], {"a": {"b": []}}, [None, 1, "x"]])
def test_no_key_needs_to_be_there_or_of_its_type(key, value, tensor_document):
    document = tensor_document(3) | {key: value}
    view = view_of(document)
    assert json.dumps(view)
    document.pop(key)
    assert json.dumps(view_of(document))


def test_odd_documents_are_set(calculator_document, report_notebook, count_pages):
    odd = calculator_document | {
        "summary": {"sqnr_db": "inf", "worst_sqnr_db": "-inf", "clipped_channels": "nan", "channels": True},
        "summary_rows": [["x" * 300, "y" * 3000], ["only one"], 7],
        "title": "t" * 5000, "caption": "c" * 5000, "created": "not a date",
        "findings": [{"severity": "none such", "channel": "z" * 999, "message": "m" * 3000}] * 200,
        "errors": [{"line": "x", "text": "q" * 999, "reason": None}] * 3,
        "display_rows": [["n" * 400, "1"], [], ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n"]],
        "figures": {"histogram": "<svg", "overview": "<svg xmlns='http://www.w3.org/2000/svg' width='-4'/>"},
    }  # fmt: skip
    assert count_pages(notebook_to_pdf(report_notebook(odd))) >= 3


def test_other_schema_is_no_document():
    with pytest.raises(DocumentError, match=r"perchq\.report/1"):
        view_of({"schema": "perchq.report/2"})


def test_wide_table_turns_the_page_and_narrow_does_not(calculator_document, tensor_document):
    assert view_of(tensor_document(4))["table"]["landscape"] is True
    narrow = calculator_document | {"columns": ["channel", "min"], "display_rows": [["a", "1"]], "row_flags": []}
    table = view_of(narrow)["table"]
    assert table["landscape"] is False
    assert table["size"] == 8.5


def test_forty_wide_columns_are_split_and_repeat_the_name(calculator_document):
    columns = ["channel", *(f"column_{i}" for i in range(39))]
    document = calculator_document | {"columns": columns, "display_rows": [["a", *["0.123456789012"] * 39]]}
    parts = view_of(document)["table"]["parts"]
    assert len(parts) > 1
    assert {part["columns"][0]["name"] for part in parts} == {"channel"}
    assert sum(len(part["columns"]) - 1 for part in parts) == 39
    assert all(sum(column["width"] for column in part["columns"]) <= 756 for part in parts)


def test_a_report_names_its_own_missing_characters(calculator_document, report_notebook, pdf_text):
    notebook = report_notebook(calculator_document | {"title": "重み", "figures": {}})
    words = pdf_text(notebook_to_pdf(notebook))
    assert "⟨U+91CD U+307F⟩" in words
    assert "lack these characters" in words
    assert "Notes on this PDF" not in words, "a page of its own would follow the report"


def test_findings_beyond_sixty_are_counted(calculator_document):
    findings = [{"severity": "info", "message": str(i)} for i in range(70)] + [{"severity": "error", "message": "bad"}]
    view = view_of(calculator_document | {"findings": findings})
    assert view["findings"][0]["message"] == "bad", "the gravest come first"
    assert len(view["findings"]) == 60
    assert view["findings-note"].startswith("11 more")
