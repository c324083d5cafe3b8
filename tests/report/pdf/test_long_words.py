"""Words longer than a line: every page keeps its margins, and what is copied out of it is what went in."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from html import unescape
from itertools import combinations
from pathlib import Path
from shutil import which
from typing import Any

import nbformat
import pytest

from perchq_widget.report.pdf import notebook_to_pdf
from perchq_widget.report.pdf.values import shorten_middle

NAME = "model_decoder_layers_12_encoder_attention_output_projection_weight_channel_{:03d}"
TENSOR = "model.decoder.layers.12.encoder_attention.output_projection.weight.original.parameters.tensor"
URL = "https://example.org/" + "a-path-segment/" * 7 + "file_" + "x" * 30
_PAGE = re.compile(r'<page width="([\d.]+)".*?</page>', re.DOTALL)
_WORD = re.compile(r'<word xMin="([\d.-]+)" yMin="([\d.-]+)" xMax="([\d.-]+)" yMax="([\d.-]+)">(.*?)</word>')


@dataclass(frozen=True)
class Word:
    """One word of a page and its box, in points from the page's upper left corner."""

    left: float
    top: float
    right: float
    bottom: float
    text: str

    def covers(self, other: Word) -> bool:
        """Whether two words overprint each other, the small overlap of line boxes aside."""
        across = min(self.right, other.right) - max(self.left, other.left)
        down = min(self.bottom, other.bottom) - max(self.top, other.top)
        return across > 1 and down > 4


Pages = list[tuple[float, list[Word]]]


@pytest.fixture
def words_of(tmp_path: Path) -> Callable[[bytes], Pages]:
    """The width of every page of a PDF and the words on it."""
    if which("pdftotext") is None:
        pytest.skip("pdftotext is not installed")

    def read(pdf: bytes) -> Pages:
        path = tmp_path / "words.pdf"
        path.write_bytes(pdf)
        done = subprocess.run(["pdftotext", "-bbox", str(path), "-"], capture_output=True, check=True)
        pages = _PAGE.finditer(done.stdout.decode("utf-8"))
        return [(float(page[1]), [_word(match) for match in _WORD.finditer(page[0])]) for page in pages]

    return read


def _word(match: re.Match[str]) -> Word:
    left, top, right, bottom = (float(match[at]) for at in range(1, 5))
    return Word(left, top, right, bottom, unescape(match[5]))


def outside(pages: Pages) -> list[str]:
    """The words that leave the margins: 20 mm, on a turned page 15 mm; half a point is rounding."""
    found = []
    for width, words in pages:
        margin = 42.0 if width > 700 else 56.2
        found += [word.text for word in words if word.left < margin or word.right > width - margin]
    return found


def named(document: dict[str, Any], findings: int) -> dict[str, Any]:
    """The document with long names wherever a name can stand."""
    rows = [[NAME.format(at), *row[1:]] for at, row in enumerate(document["display_rows"])]
    entry = {"severity": "warning", "message": f"SQNR of {NAME} is low.", "next_step": "Search a range."}
    lines = "\n".join(f"{row[0]},-1.25,1.013,0.73" for row in rows)
    return document | {
        "title": TENSOR,
        "caption": f"{TENSOR} · ch_axis 0",
        "tensor": document["tensor"] | {"name": TENSOR},
        "summary": document["summary"] | {"worst_channel": NAME.format(1)},
        "summary_rows": [*document["summary_rows"], ["Worst channel", f"{NAME.format(1)} (3.39 dB)"],
                         ["A label far longer than the column it has", "0.5"]],
        "display_rows": rows,
        "findings": [entry | {"channel": NAME.format(at)} for at in range(findings)],
        "errors": [{"line": 7, "text": f"{NAME},nope,{'z' * 200}", "reason": f"no number: {'n' * 90}"}],
        "explanation": document["explanation"] | {"title": f"{NAME.format(1)}: how it gets its code"},
        "lines": lines,
        "reproduce": f"lines = '''\n{lines}\n'''\npq.calculate(\n    lines,\n    tensor_name='{TENSOR * 2}',\n)",
    }  # fmt: skip


@pytest.mark.parametrize("findings", [0, 3, 200])
def test_long_names_keep_the_margins_and_no_words_overlap(
    findings, calculator_document, tensor_document, report_notebook, words_of
):
    for document in (calculator_document, tensor_document(200)):
        pages = words_of(notebook_to_pdf(report_notebook(named(document, findings))))
        assert outside(pages) == []
        first = next(words for _, words in pages if any(word.text == "Decision" for word in words))
        assert [(a.text, b.text) for a, b in combinations(first, 2) if a.covers(b)] == []


def test_summary_label_stays_readable_beside_a_long_value(calculator_document, report_notebook, pdf_text):
    text = pdf_text(notebook_to_pdf(report_notebook(named(calculator_document, 0))))
    assert re.search(r"Worst channel +model_decoder_", text)


def notebook() -> nbformat.NotebookNode:
    v4 = nbformat.v4
    table = f"| a | b |\n|--|--|\n| {'w' * 90} | `{'q' * 90}` |\n| x | {'W' * 60} |"
    fenced = f"```python\nurl = '{URL}'\n{'w' * 200}\n```"
    text = f"# {'w' * 90}\n\n{'w' * 200} and {URL} and `{'code_' * 40}`\n\n- {'m' * 99}\n  - {'W' * 99}\n\n> {'m' * 99}"
    source = f"url = '{URL}'\nx = '{'w' * 200}'\n        indented = call(other='{'v' * 100}')"
    outputs = [
        v4.new_output("stream", text=f"\x1b[31m{'r' * 60}\x1b[32m{'g' * 60}\x1b[0m\n{'M' * 120}\n"),
        v4.new_output("stream", text=f"{'M' * 120}\n{'/a_path' * 30}\n"),
        v4.new_output("error", ename="E", evalue="e", traceback=["\x1b[31mE\x1b[0m: " + "e" * 150]),
    ]
    cells = [v4.new_markdown_cell(part) for part in (text, table, fenced)]
    cells += [v4.new_code_cell(source, outputs=outputs), v4.new_raw_cell("W" * 200)]
    return v4.new_notebook(cells=cells)


def test_plain_notebook_keeps_the_margins(words_of):
    assert outside(words_of(notebook_to_pdf(notebook()))) == []


def test_what_is_copied_holds_no_invisible_character(pdf_text):
    text = pdf_text(notebook_to_pdf(notebook()))
    assert "\u200b" not in text
    joined = re.sub(r"\s+", "", text)
    for part in (f"x='{'w' * 200}'", f"call(other='{'v' * 100}')", f"url='{URL}'", "r" * 60 + "g" * 60, "code_" * 40):
        assert part in joined


def test_indentation_stays_with_the_word_it_indents(pdf_text):
    source = f"call(\n{' ' * 12}'{'k' * 84}',\n)"
    cells = [nbformat.v4.new_code_cell(source)]
    lines = [line for line in pdf_text(notebook_to_pdf(nbformat.v4.new_notebook(cells=cells))).splitlines() if line]
    at = next(at for at, line in enumerate(lines) if "call(" in line)
    assert lines[at + 1].strip().startswith("'kkk"), "no empty line in between"
    assert len(lines[at + 1]) - len(lines[at + 1].lstrip()) > len(lines[at]) - len(lines[at].lstrip())


def test_code_with_short_lines_stands_beside_the_rule_and_with_long_ones_below(
    calculator_document, report_notebook, words_of
):
    def tops(document: dict[str, Any]) -> tuple[float, float]:
        page = words_of(notebook_to_pdf(report_notebook(document)))[-1][1]
        return tuple(next(word.top for word in page if word.text.startswith(start)) for start in ("Rule", "import"))

    rule, code = tops(calculator_document)
    assert abs(rule - code) < 12
    rule, code = tops(calculator_document | {"reproduce": f"import perchq_widget as pq\nname = '{TENSOR}'"})
    assert code - rule > 40


@pytest.mark.parametrize("count", [20, 34, 52, 61, 75, 110])
def test_no_page_holds_a_few_lines_alone(count, calculator_document, report_notebook, words_of):
    code = "\n".join(f"call_{at}(1, 2)" for at in range(count))
    narrow = {"columns": ["channel"], "display_rows": [["a"]], "row_flags": [], "reproduce": code}
    for _, words in words_of(notebook_to_pdf(report_notebook(calculator_document | narrow)))[1:]:
        assert len({round(word.top) for word in words}) >= 12
        if any(word.text == "Made" for word in words):
            assert any(word.text.startswith("call_5") for word in words)


def test_middle_is_shortened_where_ends_differ():
    assert shorten_middle("short", 5) == "short"
    assert shorten_middle("abcdefghij", 7) == "abc…hij"
    assert len(shorten_middle(NAME, 48)) == 48
