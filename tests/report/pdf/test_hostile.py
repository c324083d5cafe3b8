"""Strangers' notebooks: nothing becomes markup, nothing outside is read, one bad part does not cost the rest."""

from __future__ import annotations

import base64

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output, new_raw_cell

from perchq_widget.report.pdf import notebook_to_pdf
from perchq_widget.report.pdf.bundle import Bundle
from perchq_widget.report.pdf.cells import markdown_cell, outputs_of, raw_cell
from perchq_widget.report.pdf.text import strip_literals

STRINGS = [
    "#set page(fill: red)",
    "\\input{/etc/passwd}",
    "*a* _b_ $c$ `d` @ref <label>",
    'quote " and \\" and \\\\',
    "]; #panic()",
    '"); panic("',
    "= heading\n- list\n/ term: x",
    "\u202egnp.exe \u2066x\u2069 \u200f",
    "<script>alert(1)</script>",
    "=cmd|' /C calc'!A0",
    '#import "@preview/cetz:0.3.0": *',
    "\x00\x07\x1b[31m\x9b",
    "\ud800 lone surrogate",
    "a\u2028b\u2029c\x85d",
]


def generated(cell: nbformat.NotebookNode, convert) -> str:
    """The Typst code of a converted cell, without its string literals."""
    bundle = Bundle()
    convert(cell, {"perchq": bundle})
    sources = [data.decode() for path, data in bundle.files.items() if path.startswith(("/fragments", "/plain"))]
    return strip_literals("\n".join(sources))


@pytest.mark.parametrize("text", STRINGS)
def test_text_never_leaves_its_string_literals(text):
    outputs = [
        new_output("stream", name="stdout", text=text),
        new_output("display_data", data={"text/plain": text}),
        new_output("display_data", data={"text/html": f"<p title='{text}'>{text}<table><td>{text}</table>"}),
        new_output("display_data", data={"text/markdown": text}),
        new_output("error", ename=text, evalue=text, traceback=[text]),
    ]
    code = generated(new_code_cell("1", outputs=outputs), outputs_of)
    code += generated(new_raw_cell(text), raw_cell) + generated(new_markdown_cell(text), markdown_cell)
    for dangerous in ("set ", "panic", "@", "input{", "eval", "alert", "gnp", "cmd"):
        assert dangerous not in code
    assert code.count("import") == code.count('#import ""'), "only our own prelude is imported"


@pytest.mark.parametrize("text", STRINGS)
def test_every_string_of_a_document_is_set_as_text(text, calculator_document, report_notebook, pdf_text):
    rows = [[text, *row[1:]] for row in calculator_document["display_rows"]]
    finding = {"rule": text, "severity": "error", "channel": text, "value": 1.0, "message": text, "next_step": text}
    document = calculator_document | {
        "title": text, "caption": text, "display_rows": rows, "findings": [finding], "reproduce": text, "lines": text,
        "errors": [{"line": 1, "text": text, "reason": text}], "summary_rows": [[text, text]], "versions": {text: text},
        "tensor": {"name": text}, "settings": {"dtype": text, "scheme": text},
    }  # fmt: skip
    words = pdf_text(notebook_to_pdf(report_notebook(document)))
    assert "Decision" in words
    assert not set(words) & set("\u202e\u2066\u2069\u200f\x00\x07\x1b\u2028")
    if "#set" in text:
        assert "#set page(fill: red)" in words


def test_all_hostile_strings_in_one_notebook(pdf_text):
    cells = [new_markdown_cell(text) for text in STRINGS] + [new_raw_cell(text) for text in STRINGS]
    cells += [new_code_cell(text, outputs=[new_output("stream", text=text)]) for text in STRINGS]
    words = pdf_text(notebook_to_pdf(new_notebook(cells=cells)))
    assert "#set page(fill: red)" in words
    assert "⟨U+202E⟩" in words


def test_raw_typst_cell_is_text(pdf_text):
    cell = new_raw_cell('#set page(width: 1pt)\n#read("/main.typ")', metadata={"format": "text/typst"})
    assert "#set page(width: 1pt)" in pdf_text(notebook_to_pdf(new_notebook(cells=[cell])))


@pytest.mark.parametrize("name", [
    "../secret.png", "../../etc/passwd", "/etc/passwd", "link.png", "file:///etc/passwd", "http://127.0.0.1/x.png",
    "//host/x.png", "\\\\host\\x.png", "sub", "a\x00b", "x" * 5000, "%2e%2e/secret.png",
])  # fmt: skip
def test_images_outside_the_folder_are_not_read(name, tmp_path, make_png):
    folder = tmp_path / "notebook"
    (folder / "sub").mkdir(parents=True)
    (tmp_path / "secret.png").write_bytes(make_png(5, 5))
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    bundle = Bundle(folder=folder)
    markdown_cell(new_markdown_cell(f'<img src="{name}">\n\n![x](<{name}>)'), {"perchq": bundle})
    assert bundle.images == []
    assert b"Image left out" in bundle.files["/fragments/1.typ"]


def test_images_inside_the_folder_are_shown(tmp_path, make_png):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a b.png").write_bytes(make_png(5, 5))
    bundle = Bundle(folder=tmp_path)
    markdown_cell(new_markdown_cell("![x](sub/a%20b.png)"), {"perchq": bundle})
    assert bundle.images == ["/images/1.png"]


def test_bad_images_become_placeholders_and_the_rest_stays(make_png, pdf_text):
    def shown(data: bytes, mime: str = "image/png") -> nbformat.NotebookNode:
        return new_output("display_data", data={mime: base64.b64encode(data).decode()})

    whole = make_png(30, 30)
    outputs = [
        shown(make_png(2, 2, claim=(60_000, 60_000))),
        shown(whole[:60]),  # a good header, then nothing: only decoding tells
        shown(whole[:-30] + b"\x00" * 30),
        shown(b"\xff\xd8\xff\xe0 no image", "image/jpeg"),
        new_output("display_data", data={"image/png": "not base64 !!"}),
        new_output("display_data", data={"image/svg+xml": "<svg><unclosed></svg>"}),
        shown(whole),
        new_output("stream", text="still here"),
    ]
    words = " ".join(pdf_text(notebook_to_pdf(new_notebook(cells=[new_code_cell("1", outputs=outputs)]))).split())
    assert "still here" in words
    assert "claims 60000 x 60000 pixels" in words
    assert words.count("image left out: ") == 2, "the two that only decoding could tell"
    assert "base64 text is damaged" in words


@pytest.mark.parametrize("size", [{"width": "1e9", "height": -3}, {"width": "100%"}, {"width": [], "height": {}},
                                  {"width": 0}, {"width": "9999", "height": "1"}, {"width": "#panic()"}])  # fmt: skip
def test_odd_image_sizes(size, make_png, output, count_pages):
    data = {"image/png": base64.b64encode(make_png(8, 8)).decode()}
    assert count_pages(notebook_to_pdf(output(data, {"image/png": size}))) == 1


def test_script_only_html_falls_back_to_plain_text(output, pdf_text):
    data = {"text/html": "<script>x</script><style>p{}</style><div hidden>no</div>", "text/plain": "plain instead"}
    words = pdf_text(notebook_to_pdf(output(data)))
    assert "plain instead" in words


def test_widget_view_without_our_document_shows_its_html(output, pdf_text):
    data = {"application/vnd.jupyter.widget-view+json": {"model_id": "1"}, "text/html": "<b>static</b>"}
    assert "static" in pdf_text(notebook_to_pdf(output(data)))


@pytest.mark.parametrize("html", ["<div>" * 3000 + "x", "<table><tr><td>" * 300 + "x", "<ul><li>" * 400 + "x",
                                  "<table><tr><td colspan=99999 rowspan=99999>x", "<table><tr><td colspan='-1'>x<td>",
                                  "<table><tr>" + "<td>x" * 1000, "<table></table>x", "<b" * 1000 + "x",
                                  "<math><mi>x</mi>", "<svg><script>1</script><text>x</text></svg>"])  # fmt: skip
def test_odd_html_is_set(html, output, count_pages):
    assert count_pages(notebook_to_pdf(output({"text/html": html, "text/plain": "x"}))) >= 1


def test_long_outputs_are_cut_with_a_notice(pdf_text):
    text = "\n".join(f"line {i}" for i in range(9000))
    outputs = [new_output("stream", text=text), new_output("stream", text="x" * 200_000)]
    words = pdf_text(notebook_to_pdf(new_notebook(cells=[new_code_cell("1", outputs=outputs)])))
    assert "line 3999" in words
    assert "line 4001" not in words
    assert "is cut after 4,000" in words


def test_a_document_has_room_for_so_many_lines_and_cells():
    bundle = Bundle()
    assert [bundle.allow("cells", 60, 100), bundle.allow("cells", 60, 100), bundle.allow("cells", 1, 100)] == [
        60,
        40,
        0,
    ]
    assert bundle.allow("lines", 1, 100) == 1


def test_characters_without_a_font_are_spelt_and_listed(pdf_text):
    words = " ".join(pdf_text(notebook_to_pdf(new_notebook(cells=[new_markdown_cell("a 中文 b ไ c 😀 d Д")]))).split())
    assert "a ⟨U+4E2D U+6587⟩ b ⟨U+0E44⟩ c ⟨U+1F600⟩ d Д" in words
    assert "lack these characters" in words
    assert "U+0E44 Thai Character" in words
