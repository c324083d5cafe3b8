"""Numbers and untrusted names as text."""

import json
import math
import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perchq_widget.report.code import call, comment, lines_literal
from perchq_widget.report.markdown import markdown_text
from perchq_widget.report.text import (
    clean_name,
    column_title,
    csv_restore,
    csv_safe,
    escape,
    format_cell,
    format_number,
    short_number,
    shorten,
    whole_text,
)

ANY_TEXT = st.text(alphabet=st.characters(exclude_categories=()))


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (2.2 / 255, "0.00862745"), (1.7 / 255, "0.00666667"), (3.2 / 255, "0.01254902"), (1.05 / 255, "0.00411765"),
        (96 * 2.2 / 255 - 11 * 2.2 / 255, "0.73333333"), (-32 * 1.7 / 255, "-0.21333333"),
        (88 * 3.2 / 255, "1.10431373"),
        (-1.2, "-1.2"), (1, "1"), (1.0, "1"), (0.0, "0"), (-0.0, "0"), (0.73, "0.73"),
        (1.1920929e-07, "1.19209e-7"), (1e-5, "1e-5"), (0.000411764, "0.000411764"), (123456.7890123, "123456.789"),
        (1e300, "1e300"), (math.inf, "inf"), (-math.inf, "-inf"), (math.nan, "nan"),
        (np.float32(0.5), "0.5"), (np.int64(-128), "-128"), ("x\n", "x⏎"),
    ],
)  # fmt: skip
def test_format_number(value: object, shown: str) -> None:
    assert format_number(value) == shown


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_format_number_is_close(value: float) -> None:
    assert float(format_number(value)) == pytest.approx(value, rel=5e-6, abs=5e-324)


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0, "0"), (4608.0, "4,608"), (0.000123456, "0.0001235"), (1.5e-9, "1.5e-9"), (2e9, "2e9"), (-math.inf, "-inf")],
)
def test_short_number(value: float, shown: str) -> None:
    assert short_number(value) == shown


@pytest.mark.parametrize(
    ("column", "value", "shown"),
    [
        ("sqnr_db", 46.82612, "46.83"), ("sqnr_db", math.inf, "inf"), ("zero_point", 11.0, "11"),
        ("clipped", np.bool_(True), "yes"), ("clipped", False, "no"), ("clipped", 12, "12"),
        ("pct_error", 0.456621, "0.4566"),
        ("scale", 2.2 / 255, "0.00862745"), ("channel", "<b>\u202e", "<b>⟨U+202E⟩"), ("findings", None, ""),
        ("quantized", math.nan, "nan"), ("max_abs_error", 1000.0, "1000"), ("min", -1000.0, "-1000"),
        ("n", 4608, "4608"),
    ],
)  # fmt: skip
def test_format_cell(column: str, value: object, shown: str) -> None:
    assert format_cell(column, value) == shown


def test_column_titles_carry_units() -> None:
    assert column_title("sqnr_db") == "SQNR, dB"
    assert column_title("zero_point") == "zero point"


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("conv1.weight", "conv1.weight"), ("Fältung 1", "Fältung 1"), ("通道", "通道"), ("a\nb\tc\r", "a⏎b⇥c␍"),
        ("x\u202egnp", "x⟨U+202E⟩gnp"), ("\u200b", "⟨U+200B⟩"), ("\ud800", "⟨U+D800⟩"), ("\0\x1b[31m", "␀⟨U+001B⟩[31m"),
        ("\u2028", "⟨U+2028⟩"), ("\uffff", "⟨U+FFFF⟩"), ("\u3164", "⟨U+3164⟩"), ("a\u00a0b", "a\u00a0b"),
    ],
)  # fmt: skip
def test_clean_name(name: str, shown: str) -> None:
    assert clean_name(name) == shown


@given(ANY_TEXT)
def test_clean_name_leaves_nothing_invisible(name: str) -> None:
    shown = clean_name(name)
    assert not any(unicodedata.category(char) in {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"} for char in shown)
    assert clean_name(shown) == shown
    shown.encode("utf-8")


@pytest.mark.parametrize("name", ["=cmd()", "+1", "-1", "@SUM(A1)", "\tx", "\rx", "\n=1", "'=1", " =1", "＝1", "''-x"])
def test_csv_safe_disarms_formulas(name: str) -> None:
    assert csv_safe(name) == f"'{name}"


@pytest.mark.parametrize("name", ["filter_0", "'quoted'", "a=b", "1-2", ""])
def test_csv_safe_leaves_the_rest(name: str) -> None:
    assert csv_safe(name) == name


@given(ANY_TEXT | st.text(alphabet="'=+-@ \t\r\nx"))
def test_csv_safe_is_reversible(name: str) -> None:
    assert csv_restore(csv_safe(name)) == name


def test_escape_covers_attributes() -> None:
    assert escape("<script>\"'&\u202e") == "&lt;script&gt;&quot;&#x27;&amp;⟨U+202E⟩"


def test_shorten_keeps_the_end() -> None:
    assert shorten("features.layer1.0.conv2.weight", 16).endswith("v2.weight")
    assert len(shorten("x" * 100, 16)) == 16
    assert shorten("short", 16) == "short"


@given(ANY_TEXT)
def test_whole_text_can_be_stored(text: str) -> None:
    whole_text(text).encode("utf-8")


def test_whole_text_keeps_all_else() -> None:
    assert whole_text("a\u202e\n\ud800") == "a\u202e\n⟨U+D800⟩"


@given(ANY_TEXT)
def test_lines_literal_evaluates_to_the_lines(lines: str) -> None:
    literal = lines_literal(lines)
    assert literal.isascii()
    assert eval(literal, {"__builtins__": {}}) == (lines if lines.endswith("\n") else lines + "\n")


@given(ANY_TEXT)
def test_calls_and_comments_cannot_be_broken_out_of(text: str) -> None:
    seen = {}
    program = f"{comment(text)}\n{call('record', '1', {'name': text, 'flag': False})}"
    exec(program, {"record": lambda _, **arguments: seen.update(arguments)})
    assert seen == {"name": text, "flag": False}


@given(ANY_TEXT)
def test_markdown_text_renders_as_itself(text: str) -> None:
    import mistune
    from bs4 import BeautifulSoup

    html = mistune.html(f"x{markdown_text(text)}x")
    soup = BeautifulSoup(str(html), "html.parser")
    assert [tag.name for tag in soup.find_all()] == ["p"]
    shown = " ".join(soup.get_text().split())
    assert shown == " ".join(f"x{clean_name(text)}x".split())


def test_markdown_text_leaves_no_syntax() -> None:
    assert not set("*_`[]()<>#$\\|!~{}") & set(markdown_text("*_`[]()<>#$\\|!~{}").replace("&#", "").replace(";", ""))
    assert json.dumps(markdown_text("plain name, 1/2")) == '"plain name, 1/2"'
