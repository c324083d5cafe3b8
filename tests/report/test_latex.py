"""Reports as LaTeX: every text prints as itself, every group closes, and nbconvert's exporters pick the right form."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nbconvert.exporters import (
    ASCIIDocExporter,
    HTMLExporter,
    LatexExporter,
    MarkdownExporter,
    RSTExporter,
    SlidesExporter,
)
from nbconvert.filters import strip_files_prefix
from nbconvert.filters.datatypefilter import DataTypeFilter
from nbformat import NotebookNode, v4
from report.samples import HOSTILE_NAMES, calculator, hostile, tensor

import perchq_widget as pq
from perchq_widget.core.errors import QuantValueError
from perchq_widget.report.latex import latex_fragment
from perchq_widget.report.latex_text import latex_text
from perchq_widget.report.pgf import pgf_picture

REPORTS = {"calculator": calculator, "hostile": hostile, "tensor": tensor, "large": lambda: tensor(300)}
NASTY = [
    *HOSTILE_NAMES, "\\input{/etc/passwd}", "\\write18{touch x}", "^^5cinput", "%", "a & b \\\\", "*", "[2em]", "{}}",
    "\\fi\\else", "--- << >> ,, '' `` ?` !`", "  two  spaces  ", "src=files/x", "![a](files/b)", "#1", "~", "$$",
    "\\end{longtable}", "".join(map(chr, range(0xA1, 0x100))), "x" * 900, "_" * 300, "→ ← × − · … – ∞ ≤ ▲ ▼ ◆ ✓ σ",
]  # fmt: skip

COMMAND = re.compile(r"\\(?:[A-Za-z]+|[^A-Za-z])")
TEXT_COMMANDS = frozenset(
    r"\kern \ \allowbreak \penalty \textbackslash \{ \} \$ \& \# \% \_ \textasciicircum \textasciitilde \textless "
    r"\textgreater \textbar \textquotedbl \textquotesingle \textasciigrave \nobreakspace \textperiodcentered "
    r"\textellipsis \textendash \textemdash \textquotedblleft \textquotedblright \textquoteright \ensuremath "
    r"\rightarrow \leftarrow \times \infty \leq \geq \Vert \langle \rangle \lfloor \rfloor \lceil \rceil \checkmark "
    r"\sigma \rho \gamma \hookleftarrow \usefont \symbol".split()
) | {"\\ "}


def depth_of(source: str) -> int:
    """How many groups are open at the end; fails where one closes that was never opened."""
    depth = 0
    for char in COMMAND.sub("", source):
        depth += (char == "{") - (char == "}")
        assert depth >= 0
    return depth


@given(st.text(), st.integers(0, 20))
def test_text_holds_no_special_character_and_no_command_but_those_that_print(text: str, every: int) -> None:
    source = latex_text(text, every)
    assert set(COMMAND.findall(source)) <= TEXT_COMMANDS
    plain = COMMAND.sub("", source)
    assert not set(plain) & set("\\$&#^_%~\"<>|'`\n\r\t\0")
    assert depth_of(source) == 0
    assert all(char.isascii() or "\xa1" <= char <= "\xff" for char in source)
    assert all(char.isprintable() for char in source)


@given(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E)), st.integers(0, 20))
def test_ascii_text_prints_as_itself(text: str, every: int) -> None:
    source = re.sub(r"\\kern0pt\{\}|\\allowbreak\{\}|\\penalty1000\{\}", "", latex_text(text, every))
    names = {
        "textbackslash": "\\", "textasciicircum": "^", "textasciitilde": "~", "textless": "<", "textgreater": ">",
        "textbar": "|", "textquotedbl": '"', "textquotesingle": "'", "textasciigrave": "`",
    }  # fmt: skip
    held = {f"\\{name}{{}}": char for name, char in names.items()} | {f"{{{char}}}": char for char in "*[]="}
    held |= {f"\\{char}": char for char in "{}$&#%_ "}
    token = re.compile("|".join(map(re.escape, held)))
    assert token.sub(lambda match: held[match[0]], source) == text


@pytest.mark.parametrize("text", ["0.00862745", "-1.2", "1.19209e-07", "filter.0", "3+4", "a/b"])
def test_plain_numbers_and_names_stay_as_they_are(text: str) -> None:
    assert latex_text(text) == text


@pytest.mark.parametrize("text", ["--", "<<", ">>", ",,", "---"])
def test_no_ligature_joins_repeated_characters(text: str) -> None:
    assert latex_text(text).count(r"\kern0pt{}") == len(text) - 1


def test_shows_what_the_fonts_lack_by_code_point() -> None:
    assert latex_text("通") == r"\ensuremath{\langle}U+901A\ensuremath{\rangle}"
    assert latex_text("a\u202eb") == r"a\ensuremath{\langle}U+202E\ensuremath{\rangle}b"
    assert latex_text("é") == "é"


@given(st.text(st.sampled_from("src=hef/'\"![]()il a")))
def test_nbconvert_changes_no_text(text: str) -> None:
    for source in (latex_text(text), latex_text(f"src={text}files/x"), latex_text(f"[{text}](files/x)")):
        assert strip_files_prefix(source) == source


def environments(source: str) -> list[str]:
    """Names of environments, checked to close in the order in which they were opened."""
    opened: list[str] = []
    seen = []
    for kind, name in re.findall(r"(?<!\\)\\(begin|end)\{(\w+)\}", source):
        if kind == "begin":
            opened.append(name)
            seen.append(name)
        else:
            assert opened.pop() == name
    assert opened == []
    return seen


def nasty() -> pq.ChannelReport:
    return pq.calculate([(name, -1.0, 1.0, 3.0) for name in NASTY], tensor_name=" ".join(NASTY[:24]))


def wide() -> pq.ChannelReport:
    """Numbers of every magnitude, and so the widest columns."""
    weights = np.random.default_rng(1).normal(size=(20, 30)) * np.logspace(-30, 30, 20)[:, None]
    return pq.analyze(weights.astype(np.float32), name="w")


@pytest.mark.parametrize("name", [*REPORTS, "nasty"])
def test_groups_conditionals_and_environments_are_balanced(name: str) -> None:
    source = latex_fragment((nasty if name == "nasty" else REPORTS[name])().document())
    assert depth_of(source) == 0
    assert {"longtable", "pgfpicture", "tabular"} <= set(environments(source))
    commands = COMMAND.findall(source)
    assert commands.count(r"\ifdefined") + commands.count(r"\ifdim") == commands.count(r"\fi")
    assert commands.count(r"\pgfscope") == commands.count(r"\endpgfscope")
    assert commands.count(r"\begingroup") == commands.count(r"\endgroup") == 1
    assert not re.search(r"\n\s*\n", source)
    assert not set(commands) & {r"\input", r"\include", r"\write", r"\immediate", r"\special", r"\openin", r"\csname"}


@pytest.mark.parametrize("name", REPORTS)
def test_shows_every_row_and_both_figures(name: str) -> None:
    document = REPORTS[name]().document()
    source = latex_fragment(document)
    table = source.split(r"\bfseries Channels\par")[1]
    assert source.count(r"\begin{pgfpicture}") == 2
    for row in document["display_rows"]:
        assert latex_text(row[document["columns"].index("scale")]) in table
    shown = re.sub(r"\\allowbreak\{\}|\\penalty1000\{\}", "", source)
    assert latex_text(document["caption"]) in shown
    assert all(latex_text(text) in shown for _, text in document["summary_rows"])
    assert all(latex_text(finding["message"]) in shown for finding in document["findings"])
    assert all(latex_text(error["reason"]) in shown for error in document["errors"])


def test_repeats_the_heading_on_every_page_and_the_channel_in_every_part() -> None:
    document = tensor().document()
    assert latex_fragment(document).count(r"\endhead") == 1
    wide = {**document, "columns": [f"a_rather_long_{n}" for n in range(30)]}
    wide["display_rows"] = [[f"{n}.{row}.0123456789" for n in range(30)] for row in range(16)]
    source = latex_fragment(wide)
    assert source.count(r"\endhead") > 1
    assert all(source.count(latex_text(f"0.{row}.0123456789", 12)) == source.count(r"\endhead") for row in range(16))


def test_columns_fit_the_line() -> None:
    for report in (tensor(), tensor(300), nasty(), wide(), calculator()):
        source = latex_fragment(report.document())
        for columns in re.findall(r"\\begin\{longtable\}\{@\{\}(.*)@\{\}\}", source):
            widths = [float(width) for width in re.findall(r"p\{([\d.]+)pt\}", columns)]
            assert sum(widths) + 4 * (len(widths) - 1) <= 452


def test_keeps_many_digits_in_their_column() -> None:
    digits = "0." + "123456789" * 9
    document = pq.calculate(f"a,-1,{digits},0.5\n").document()
    document["display_rows"][0][2] = digits
    source = latex_fragment(document)
    assert digits in source.replace(r"\penalty1000{}", "").replace(r"\allowbreak{}", "")
    assert digits not in source


def test_extreme_numbers_take_smaller_type_before_a_second_table() -> None:
    source = latex_fragment(wide().document())
    assert source.count(r"\endhead") == 1


def test_marks_clipped_and_low_rows_by_sign_and_colour() -> None:
    report = pq.calculate("a,-1,1,5\nb,-1,1,0.5\n")
    rows = latex_fragment(report.document()).split(r"\endhead")[-1].splitlines()
    clipped = next(row for row in rows if row.endswith(r"\\") and "a}" in row)
    plain = next(row for row in rows if row.startswith("b &"))
    assert r"\textcolor{pqclip}{{\usefont{U}{msa}{m}{n}\symbol{78}}}" in clipped
    assert "usefont" not in plain


def test_tells_findings_that_no_mark_tells() -> None:
    source = latex_fragment(tensor().document())
    assert len(re.findall(r"\\multicolumn\{\d+\}\{.*all-\\allowbreak\{\}zero", source)) == 1


@pytest.mark.parametrize(
    "svg",
    [
        "no svg",
        '<!DOCTYPE svg [<!ENTITY a "b">]><svg width="1" height="1">&a;</svg>',
        '<svg width="1" height="1"><image href="file:///etc/passwd"/></svg>',
        '<svg width="1" height="1"><path d="M0 0C1 1 2 2 3 3" fill="none"/></svg>',
        '<svg width="1" height="1"><path d="M0" fill="none"/></svg>',
        '<svg width="1" height="1"><path d="M0 0L1e9 0" fill="none"/></svg>',
        '<svg width="1" height="1"><path d="M0 0L99999 0" fill="none"/></svg>',
        '<svg width="1" height="1"><rect x="0" y="0" width="1" height="1" fill="red\\input"/></svg>',
        '<svg width="1}" height="1"/>',
        '<svg width="1" height="1"><text x="0" y="0" font-size="9" transform="scale(2)">a</text></svg>',
        '<svg width="1" height="1">' + "<g>" * 30 + "</g>" * 30 + "</svg>",
        "<html/>",
    ],
)
def test_refuses_figures_that_are_not_ours(svg: str) -> None:
    with pytest.raises(QuantValueError, match="svg: a figure of perchq_widget"):
        pgf_picture(svg)


def test_draws_every_element_of_a_figure() -> None:
    body = (
        '<rect x="1" y="2" width="3" height="4" fill="#0072b2" fill-opacity="0.5"/>'
        '<line x1="0" y1="0" x2="9" y2="9" stroke="#D55E00" stroke-width="1.5" stroke-dasharray="5 4"/>'
        '<polyline points="0,0 1,1 2,0" fill="none" stroke="#D55E00" stroke-width="1"/>'
        '<circle cx="5" cy="5" r="2" fill="#222222"/><path d="M1 1H4V3L0 0Z" fill="#222222"/>'
        '<text x="2" y="3" font-size="11" fill="#222222" text-anchor="end" transform="rotate(-90 2 3)">a_b</text>'
    )
    source = pgf_picture(f'<svg width="10" height="20"><title>t</title><g>{body}</g></svg>')
    assert r"\pgfpathrectangle{\pgfqpoint{1pt}{14pt}}{\pgfqpoint{3pt}{4pt}}" in source
    assert r"\pgfsetfillopacity{0.5}" in source
    assert r"\pgfsetdash{{5pt}{4pt}}{0pt}\pqM(0,20)\pqL(9,11)" in source
    assert r"\pqM(0,20)\pqL(1,19)\pqL(2,20)" in source
    assert r"\pgfpathcircle{\pgfqpoint{5pt}{15pt}}{2pt}" in source
    assert r"\pqM(1,19)\pqL(4,19)\pqL(4,17)\pqL(0,20)\pgfpathclose" in source
    assert r"\pgftext[right,base,at={\pgfqpoint{2pt}{17pt}},rotate=90]" in source
    assert r"\definecolor{pq0072B2}{HTML}{0072B2}" in source
    assert r"a\_b" in source


def notebook(*reports: pq.ChannelReport) -> NotebookNode:
    cells = []
    for report in reports:
        data: dict[str, Any] = {**report.mimebundle(), "text/latex": latex_fragment(report.document())}
        outputs = [v4.new_output("display_data", data=data), v4.new_output("execute_result", data, execution_count=1)]
        cells.append(v4.new_code_cell("report", execution_count=1, outputs=outputs))
    return v4.new_notebook(cells=cells)


def test_the_latex_exporter_takes_it_as_it_is() -> None:
    source, _ = LatexExporter().from_notebook_node(notebook(hostile()))
    assert latex_fragment(hostile().document()).strip() in source
    preamble = source[: source.index(r"\begin{document}")]
    needed = ("longtable", "array", "xcolor", "graphicx", "textcomp", "amssymb", "tcolorbox")
    assert all(re.search(rf"\\usepackage(\[\w+\])?\{{{name}\}}", preamble) for name in needed)


@pytest.mark.parametrize("exporter", [HTMLExporter, SlidesExporter, MarkdownExporter])
def test_other_exporters_take_the_html_still(exporter: type) -> None:
    source, _ = exporter().from_notebook_node(notebook(calculator()))
    assert "pq-report" in source
    assert "longtable" not in source


@pytest.mark.parametrize("exporter", [HTMLExporter, SlidesExporter, MarkdownExporter, RSTExporter, ASCIIDocExporter])
def test_html_ranks_before_latex(exporter: type) -> None:
    made = exporter()
    choose = dict(made.default_filters()).get("filter_data_type", DataTypeFilter(parent=made))
    choose = choose if isinstance(choose, DataTypeFilter) else DataTypeFilter(parent=made)
    assert choose(json.loads(json.dumps({"text/latex": "", "text/html": "", "text/plain": ""}))) == ["text/html"]


@pytest.mark.skipif(shutil.which("xelatex") is None, reason="needs xelatex on PATH")
def test_xelatex_sets_it_with_no_text_lost(tmp_path: Path) -> None:
    source, _ = LatexExporter().from_notebook_node(notebook(calculator(), tensor(40), nasty(), wide()))
    (tmp_path / "main.tex").write_text(source, encoding="utf-8")
    command = ["xelatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "main.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
    log = (tmp_path / "main.log").read_text(encoding="utf-8", errors="replace")
    assert done.returncode == 0, log[-3000:]
    assert "Missing character" not in log
    assert not re.search(r"^Overfull \\hbox", log, re.MULTILINE)
