"""The converters one by one: HTML, tables, CSS, formulas, terminal text, images, SVG."""

from __future__ import annotations

import base64
import struct

import pandas as pd
import pytest

from perchq_widget.report.pdf import ansi, css
from perchq_widget.report.pdf.bundle import Bundle
from perchq_widget.report.pdf.compile import Job, compile_pdf
from perchq_widget.report.pdf.html_repair import close_implied
from perchq_widget.report.pdf.html_walk import Walker, parse
from perchq_widget.report.pdf.image_source import ImageSource
from perchq_widget.report.pdf.markdown import markdown_to_html
from perchq_widget.report.pdf.mathml import math_expression
from perchq_widget.report.pdf.pictures import PictureError, decode_base64, read_raster
from perchq_widget.report.pdf.svg import clean_svg
from perchq_widget.report.pdf.widths import PORTRAIT_PT, fit_columns


def walk(html: str, bundle: Bundle | None = None) -> str:
    bundle = bundle if bundle is not None else Bundle()
    return Walker(bundle, ImageSource(bundle)).write(parse(html))


def compiles(expression: str) -> bool:
    """Whether a code expression sets without being replaced by its plain text."""
    bundle = Bundle()
    call = bundle.add_fragment(f"#{expression}", "plain")
    main = f'#import "/prelude.typ": *\n#show: setup.with(json("/meta.json"))\n{call}'
    return compile_pdf(bundle.job(main, "t", "f", None)).bad_fragments == ()


@pytest.mark.parametrize(("html", "part"), [
    ("<b>x</b>", 'strong({[];"x"})'),
    ("<a href='https://x.org/a?b=1'>x</a>", 'link("https://x.org/a?b=1", {[];"x"})'),
    ("<a href='javascript:alert(1)'>x</a>", '{[];{[];"x"}}'),
    ("<a href='file:///etc/passwd'>x</a>", '{[];{[];"x"}}'),
    ("<h2>x</h2>", 'heading(level: 2, {[];"x"})'),
    ("<code>a  b</code>", 'raw("a  b")'),
    ("a   b\n c", '"a b c"'),
    ("<ol start=3><li>x</ol>", 'enum(start: 3, {[];"x"})'),
    ("<ol start=x><li>x</ol>", 'enum({[];"x"})'),
    ("<span style='color:#f00;font-weight:700'>x</span>", 'text(fill: rgb("#ff0000"), weight: "bold", {[];"x"})'),
    ("<iframe src='https://x.org'></iframe>", 'placeholder("[embedded page left out] https://x.org")'),
    ("<input type=checkbox checked>", '"☑ "'),
])  # fmt: skip
def test_elements(html, part):
    assert part in walk(html)


@pytest.mark.parametrize("html", ["<script>x</script>", "<style>x{}</style>", "<!-- x -->", "<p hidden>x</p>", "  "])
def test_what_a_reader_would_not_see_is_not_written(html):
    bundle = Bundle()
    walker = Walker(bundle, ImageSource(bundle))
    walker.write(parse(html))
    assert not walker.shown


def test_styler_colours_survive():
    frame = pd.DataFrame({"a": [1.0, -2.0], "b": [3.0, 4.0]})
    styled = frame.style.map(lambda value: "background-color: #D55E00; color: white" if value < 0 else "")
    code = walk(styled.set_caption("named").to_html())
    assert 'palette: (rgb("#d55e00"),)' in code
    assert 'text(fill: rgb("#ffffff"), "-2.000000")' in code
    assert 'caption: "named"' in code
    assert compiles(code)


def test_multi_index_spans_and_repeated_header():
    index = pd.MultiIndex.from_product([["a", "b"], [1, 2]], names=["k", "n"])
    columns = pd.MultiIndex.from_product([["X", "Y"], ["p", "q"]])
    code = walk(pd.DataFrame([[1, 2, 3, 4]] * 4, index=index, columns=columns).to_html())
    assert "table.cell(colspan: 2, rowspan: 1" in code
    assert "table.cell(colspan: 1, rowspan: 2" in code
    assert compiles(code)


@pytest.mark.parametrize("html", [
    "<table><tr><td rowspan=3>a<td>b<tr><td>c</table>",
    "<table><thead><tr><th rowspan=5>a<th>b</thead><tbody><tr><td>1<td>2<tr><td>3<td>4</table>",
    "<table><tr><td colspan=3>a<tr><td>b</table>",
    "<table><tr><td>a<tr><td>b<td>c<td>d</table>",
    "<table><thead><tr><th>only a head</thead></table>",
    "<table><tr><td><table><tr><td>inner</table></table>",
])  # fmt: skip
def test_broken_spans_still_make_a_table(html):
    assert compiles(walk(html))


@pytest.mark.parametrize(("html", "repaired"), [
    ("<table><tr><td>1<td>2<tr><th>3</table>", "<table><tr><td>1</td><td>2</td></tr><tr><th>3</th></tr></table>"),
    ("<ul><li>a<ul><li>b</ul><li>c</ul>", "<ul><li>a<ul><li>b</li></ul></li><li>c</li></ul>"),
    ("<table><tr><td>1</td></tr></table>", "<table><tr><td>1</td></tr></table>"),
    ("<td>1<td><table><td>2</table>", "<td>1</td><td><table><td>2</td></table>"),
    ("</td></tr><td", "</td></tr><td"),
])  # fmt: skip
def test_end_tags_that_html_lets_out(html, repaired):
    assert close_implied(html) == repaired


def test_wide_table_is_split_and_repeats_its_index():
    frame = pd.DataFrame([[0.123456] * 40] * 3, columns=[f"column_{i}" for i in range(40)])
    code = walk(frame.to_html())
    assert code.count("data-table(") > 2
    assert compiles(code)


def test_large_table_is_cut_with_a_notice():
    bundle = Bundle()
    walk("<table>" + "<tr><td>1<td>2" * 10_050 + "</table>", bundle)
    assert bundle.notices == ["A table of 10,050 rows is cut after 10,000."]


def test_table_of_4096_rows_is_set_untagged_in_reasonable_size():
    bundle = Bundle()
    rows = "".join(f"<tr><th>{i}</th>" + f"<td>{i}.25</td>" * 5 + "</tr>" for i in range(4096))
    code = walk(f"<table><thead><tr>{'<th>x' * 6}</thead><tbody>{rows}</table>", bundle)
    call = bundle.add_fragment(f"#{code}", "plain")
    job = bundle.job(f'#import "/prelude.typ": *\n#show: setup.with(json("/meta.json"))\n{call}', "t", "f", None)
    done = compile_pdf(job)
    assert not job.tagged
    assert done.bad_fragments == ()
    assert len(done.pdf) < 1_500_000


def test_fit_columns_shrinks_squeezes_then_splits():
    assert fit_columns([3, 3], PORTRAIT_PT, inset=5, largest=8.5).size == 8.5
    assert 6 <= fit_columns([10] * 6, PORTRAIT_PT, inset=5, largest=8.5).size < 8.5
    squeezed = fit_columns([3, 200], PORTRAIT_PT, inset=5, largest=8.5)
    assert sum(squeezed.widths) <= PORTRAIT_PT + 0.2
    split = fit_columns([8] * 40, PORTRAIT_PT, inset=5, largest=8.5, keep=1)
    assert all(part[0] == 0 for part in split.parts)
    assert sorted({x for part in split.parts for x in part}) == list(range(40))


@pytest.mark.parametrize(("value", "expected"), [
    ("red", "#ff0000"), ("#0f0", "#00ff00"), ("rgba(0,0,0,.5)", "#808080"), ("transparent", None), ("", None),
    ("inherit", None), ("currentColor", None), ("linear-gradient(90deg, red 1%)", None), ('"); #panic("', None),
    ("hsl(240 100% 50%)", "#0000ff"), (None, None),
])  # fmt: skip
def test_colours(value, expected):
    assert css.colour(value) == expected


def test_style_rules_by_id_class_and_ancestor():
    sheet = css.StyleSheet()
    sheet.add("#T_1 th {color: red} .hot, #c1 {background-color: blue} td:hover {color: green} @media print {td{}}")
    assert sheet.style_of("th", "", [], "", "T_1") == {"color": "red"}
    assert sheet.style_of("th", "", [], "", "T_2") == {}
    assert sheet.style_of("td", "c1", [], "color: lime !important", "")["color"] == "lime"
    assert sheet.style_of("td", "", ["hot"], "", "")["background-color"] == "blue"


FORMULAS = [
    r"E = mc^2", r"\frac{a, b}{c; d}", r"\sum_{i=0}^{n} x_i", r"\sqrt[3]{x} + \sqrt{y}", r"\hat{x} + \bar{y} + \vec{z}",
    r"\left( \frac{x}{s} \right) \left\lfloor y \right\rceil", r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}",
    r"\begin{cases} 1 & x > 0 \\ 0 & \text{else; \# , \"} \end{cases}", r"\begin{align} a &= b \\ c &= d \end{align}",
    r"\mathbb{R} \mathcal{L} \mathfrak{g} \mathbf{x} \mathrm{clamp} \operatorname{round}", r"\binom{n}{k} \pmod{2}",
    r"\int_0^\infty e^{-x}\,dx \quad \lim_{x \to 0}", r"\overbrace{x}^{n} \underbrace{y}_{m} \overline{z}",
    r"x' + x'' - \dots \cdots \ldots", r"\color{red}{x}", r'" #panic() \\ $ @a', r"中 + 1", "a_{b_{c_{d}}}",
    r"{}^{14}_{6}C", r"\cancel{x}", r"\phantom{x} y", r"\alpha\beta\Gamma \leq \geq \neq \approx \times \pm",
]  # fmt: skip


def test_formulas_are_set_as_formulas():
    for tex in FORMULAS:
        code = math_expression(tex, block=True, cleaner=Bundle().cleaner)
        assert compiles(code), tex


@pytest.mark.parametrize("tex", ["", "x" * 6000, r"\frac{", r"\begin{foo} x", "{" * 2000])
def test_unreadable_formulas_show_their_text(tex):
    code = math_expression(tex, block=False, cleaner=Bundle().cleaner)
    assert code.startswith(("raw(", "math.equation("))
    assert compiles(code)


def test_markdown_keeps_formulas_code_and_language():
    html = markdown_to_html("$a<b$\n\n$$c$$\n\n```python x\n<b>\n```\n\n| a | b |\n|--:|---|\n| 1 | `x` |")
    assert '<perchq-math data-block="0">a&lt;b</perchq-math>' in html
    assert '<perchq-math data-block="1">c</perchq-math>' in html
    assert '<pre data-language="python">&lt;b&gt;\n</pre>' in html
    assert compiles(walk(html))


def test_markdown_with_endless_environments_is_quick_text():
    assert markdown_to_html("\\begin{a}" * 600).startswith("<pre>")


def test_terminal_colours_and_overwriting():
    lines = ansi.coloured_lines("\x1b[1;31mred\x1b[0m plain\n\x1b[38;5;196mx\x1b[38;2;0;0;255my\x1b[39mz")
    assert [(run.text, run.colour is not None, run.bold) for run in lines[0]] == [
        ("red", True, True), (" plain", False, False),
    ]  # fmt: skip
    assert [run.text for run in lines[1]] == ["x", "y", "z"]
    assert ansi.plain("10%\r50%\r100%\nnext\r\n\x1b[2K\x1b]0;title\x07end") == "100%\nnext\nend"
    assert not ansi.has_colour("\x1b[0m\x1b[2K")
    assert ansi.coloured_lines("a\rb\x1b[31mc")[0][0].text == "b"


def jpeg(width: int, height: int) -> bytes:
    return b"\xff\xd8\xff\xe0\x00\x04ab\xff\xc0" + struct.pack(">HBHHB", 8, 8, height, width, 1) + b"\0" * 4


@pytest.mark.parametrize(("data", "size"), [
    (jpeg(640, 480), (640, 480)),
    (b"GIF89a" + struct.pack("<HH", 3, 4), (3, 4)),
    (b"RIFF\0\0\0\0WEBPVP8X" + b"\0" * 8 + b"\x0f\0\0\x07\0\0", (16, 8)),
    (b"RIFF\0\0\0\0WEBPVP8L" + b"\0" * 5 + struct.pack("<I", 15 | 7 << 14), (16, 8)),
    (b"RIFF\0\0\0\0WEBPVP8 " + b"\0" * 10 + struct.pack("<HH", 16, 8), (16, 8)),
])  # fmt: skip
def test_sizes_are_read_from_headers(data, size):
    picture = read_raster(data)
    assert (picture.width_pt / 0.75, picture.height_pt / 0.75) == size


@pytest.mark.parametrize("data", [b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF89a", b"RIFF....WEBP", b"BM1234",
                                  jpeg(60_000, 60_000), jpeg(0, 5), b"%PDF-1.4"])  # fmt: skip
def test_bad_headers_are_refused(data):
    with pytest.raises(PictureError):
        read_raster(data)


def test_base64_is_checked():
    assert decode_base64("aGk=\n") == b"hi"
    with pytest.raises(PictureError):
        decode_base64("a*b")


def svg(body: str, attributes: str = 'width="10" height="10"') -> str:
    links = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    return f"<svg {links} {attributes}>{body}</svg>"


@pytest.mark.parametrize("body", [
    "<script>alert(1)</script>", "<foreignObject><b>x</b></foreignObject>", '<image href="/etc/passwd"/>',
    '<image xlink:href="file:///etc/passwd"/>', '<image href="https://evil.org/x.png"/>', '<rect onclick="alert(1)"/>',
    '<use href="https://evil.org/x.svg#a"/>', '<style>@import url("https://evil.org/x.css");</style>',
    '<rect style="fill: url(https://evil.org/x)"/>', '<image href="data:image/svg+xml;base64,PHN2Zz4="/>',
    '<a href="javascript:alert(1)"/>', '<image href="data:image/png;base64,aGk="/>',
])  # fmt: skip
def test_svg_is_emptied_of_what_acts_or_points_outside(body):
    cleaned = clean_svg(svg(body), Bundle().cleaner).data.decode()
    for word in ("alert", "evil", "passwd", "foreignObject", "data:image", "javascript"):
        assert word not in cleaned


def test_svg_keeps_embedded_pixels_text_and_fonts(make_png):
    link = f"data:image/png;base64,{base64.b64encode(make_png(2, 2)).decode()}"
    body = (
        f'<image href="{link}"/><text font-family="Arial" style="fill: var(--c, #123456)">a 中</text>'
        '<g style="font-family: Menlo, monospace"/><use href="#a"/>'
    )
    cleaned = clean_svg(svg(body), Bundle().cleaner).data.decode()
    for part in ("data:image/png", "a ⟨U+4E2D⟩", "Libertinus Serif", "DejaVu Sans Mono", "#123456", 'href="#a"'):
        assert part in cleaned


@pytest.mark.parametrize("source", [
    "", "<svg", "<html/>", svg("", 'viewBox="0 0 0 0"'), svg("", 'width="1e9" height="1e9"'),
    '<!DOCTYPE svg [<!ENTITY a "b">]>' + svg("<text>&a;</text>"), svg("<g>" * 200 + "</g>" * 200),
    svg('<g id="a"><use href="#b"/></g><g id="b"><use href="#a"/></g>'),
    svg("".join(f'<g id="g{i}">' + f'<use href="#g{i + 1}"/>' * 10 + "</g>" for i in range(9)) + '<g id="g9"/>'),
])  # fmt: skip
def test_bad_svg_is_refused(source):
    with pytest.raises(PictureError):
        clean_svg(source, Bundle().cleaner)


def test_inline_svg_of_html_gets_its_names_back():
    bundle = Bundle()
    walk(
        f"<div>{svg('<lineargradient id=x></lineargradient><path d=M0,0/>', 'viewBox=&quot;0 0 40 20&quot;')}</div>",
        bundle,
    )
    walk('<svg viewBox="0 0 40 20"><linearGradient id="x"/><path d="M0 0"/></svg>', bundle)
    shown = bundle.files["/images/2.svg" if "/images/2.svg" in bundle.files else "/images/1.svg"].decode()
    assert 'viewBox="0 0 40 20"' in shown
    assert "linearGradient" in shown
    assert 'width="40"' in shown


def test_job_is_a_value():
    assert Job(files={}).tagged is True
