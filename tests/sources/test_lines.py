"""Lines in, decimals as typed out; everything else is listed with its number, text and reason."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perchq_widget.core.errors import LineError, QuantValueError
from perchq_widget.sources.line_text import MAX_NAME
from perchq_widget.sources.lines import (
    COLUMNS,
    EXAMPLE_LINES,
    EXAMPLE_PARAMS,
    Line,
    ParsedLines,
    format_lines,
    parse_lines,
)


def only_error(lines: object, mode: str = "ranges") -> LineError:
    parsed = parse_lines(lines, mode)
    assert len(parsed.errors) == 1, parsed
    return parsed.errors[0]


def test_the_examples_parse_to_the_issue_table() -> None:
    parsed = parse_lines(EXAMPLE_LINES)
    assert not parsed.errors
    assert [row.number for row in parsed.rows] == [1, 2, 3, 4]
    assert parsed.rows[1] == Line(2, "filter_1", ("-0.8", "0.9", "-0.21"))
    scales = [row.values[:2] for row in parse_lines(EXAMPLE_PARAMS, "params").rows]
    assert scales == [("0.00862745", "11"), ("0.00666667", "-8"), ("0.01254902", "-8"), ("0.00411765", "-19")]


def test_values_are_kept_as_typed_and_exact() -> None:
    (row,) = parse_lines("a,-0.80,+1E-1,.5").rows
    assert row.values == ("-0.80", "+1E-1", ".5")
    assert row.exact == (Fraction(-4, 5), Fraction(1, 10), Fraction(1, 2))


@pytest.mark.parametrize(
    "text",
    [
        "a;-1;2;0.5",
        "a\t-1\t2\t0.5",
        "a,-1,2,0.5",
        "a -1  2\t0.5".replace("\t", " "),
        '  "a" , -1 ,2,0.5  ',
        "\ta\t-1\t2\t0.5",
    ],
)
def test_every_separator_gives_the_same_line(text: str) -> None:
    assert parse_lines(text).rows == (Line(1, "a", ("-1", "2", "0.5")),)


def test_the_strongest_separator_outside_quotes_wins() -> None:
    rows = parse_lines('a,b;0;1;2\n"c;d",0,1,2\n"e f" 0 1 2\ng h\t0\t1\t2\ni j,0,1,2').rows
    assert [row.channel for row in rows] == ["a,b", "c;d", "e f", "g h", "i j"]


def test_blank_lines_comments_and_a_byte_order_mark_are_passed_over() -> None:
    parsed = parse_lines("\ufeff# ranges, by hand\n\n  # another; one\na,0,1,2\r\n\r\n   \nb,0,1,2\rc,0,1,2")
    assert not parsed.errors
    assert [(row.number, row.channel) for row in parsed.rows] == [(4, "a"), (7, "b"), (8, "c")]


@pytest.mark.parametrize(
    "header", ["channel,min,max,sample", " Channel ; MIN ; Max ; sample", "channel min max sample"]
)
def test_a_header_is_passed_over(header: str) -> None:
    parsed = parse_lines(f"# first\n{header}\na,0,1,2")
    assert not parsed.errors
    assert parsed.rows == (Line(3, "a", ("0", "1", "2")),)


def test_a_header_in_another_order_puts_the_fields_right() -> None:
    (row,) = parse_lines("sample,Zero Point,channel,scale\n0.7,3,a,0.1", "params").rows
    assert row == Line(2, "a", ("0.1", "3", "0.7"))


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ("channel,lo,hi,sample", "unknown column 'lo'"),
        ("channel,min,max", "no column 'sample'"),
        ("channel,min,max,sample,min", "named twice"),
        ("channel,scale,zero_point,sample", "mode 'params'"),
    ],
)
def test_a_header_that_does_not_fit_stops_the_reading(header: str, words: str) -> None:
    parsed = parse_lines(f"{header}\na,0,1,2,3")
    assert not parsed.rows
    assert len(parsed.errors) == 1
    assert words in parsed.errors[0].reason


def test_a_channel_may_have_the_name_of_a_column() -> None:
    assert parse_lines("channel,0,1,2\nmin,0,1,2").rows[0].channel == "channel"


@pytest.mark.parametrize(
    ("line", "mode", "words"),
    [
        ("a,0,1", "ranges", "missing field: sample"),
        ("a", "ranges", "missing field: min"),
        ("a,0,,2", "ranges", "missing field: max is empty"),
        ("a,0,1,2,3", "ranges", "too many fields: 5"),
        ("a,0,x,2", "ranges", "max: 'x' is not a number"),
        ("a;0,5;1;2", "ranges", "'0,5' is not a number: write 0.5"),
        ("a,0,1_000,2", "ranges", "'1_000' is not a number: write 1000"),
        ("a,−1,1,0", "ranges", "is not a number: write -1"),
        ("a,0,١,2", "ranges", "is not a number"),
        ("a,0,0x10,2", "ranges", "is not a number"),
        ("a,nan,1,2", "ranges", "not finite"),
        ("a,0,-Infinity,2", "ranges", "not finite"),
        ("a,1,0.99999999999999999999,2", "ranges", "min > max"),
        ("a,0,1e999999999,2", "ranges", "outside the float64 range"),
        ("a,0,0e999999999,2", "ranges", "outside the float64 range"),
        ("a,0,1e-999999999,2", "ranges", "outside the float64 range"),
        ("a,0,1e-400,2", "ranges", "closer to zero than float64"),
        ("a,0,1.8e308,2", "ranges", "outside the float64 range"),
        ("a,0," + "1" * 5000 + ",2", "ranges", "5000 characters"),
        (",0,1,2", "ranges", "empty channel name"),
        ('"  ",0,1,2', "ranges", "empty channel name"),
        (f"{'n' * (MAX_NAME + 1)},0,1,2", "ranges", f"at most {MAX_NAME}"),
        ('"a,0,1,2', "ranges", "quote is opened and not closed"),
        ('"a"b,0,1,2', "ranges", "follows a closing quote"),
        ('"a" b,0,1,2', "ranges", "follows a closing quote"),
        ("a,0,1,2", "params", "scale <= 0"),
        ("a,-0.5,1,2", "params", "scale <= 0"),
        ("a,0.5,1.5,2", "params", "zero point not an integer"),
        ("a,0.5,1e300,2", "params", "zero point beyond 2^53"),
    ],
)
def test_a_bad_line_is_listed_with_its_reason(line: str, mode: str, words: str) -> None:
    parsed = parse_lines(f"good,1,2,3\n{line}\nalso good,1,2,3", mode)
    assert [row.channel for row in parsed.rows] == ["good", "also good"]
    (error,) = parsed.errors
    assert error.line == 2
    assert error.text == (line if len(line) <= 200 else line[:200] + "…")
    assert words in error.reason


@pytest.mark.parametrize("value", ["11.0", "1.1e1", "-8", "+3", "0"])
def test_a_zero_point_is_any_text_of_an_integer(value: str) -> None:
    (row,) = parse_lines(f"a,0.5,{value},2", "params").rows
    assert row.exact[1].denominator == 1


def test_a_repeated_name_is_the_second_lines_error_and_names_the_first() -> None:
    parsed = parse_lines("a,0,x,2\na,0,1,2\nb,0,1,2\na,0,3,4")
    assert [(row.number, row.channel) for row in parsed.rows] == [(2, "a"), (3, "b")]
    assert [(error.line, "duplicate" in error.reason) for error in parsed.errors] == [(1, False), (4, True)]
    assert "first on line 2" in parsed.errors[1].reason


def test_an_equal_min_and_max_is_left_to_the_convention() -> None:
    assert not parse_lines("a,1,1.0,1").errors


def test_over_one_megabyte_pasted_is_one_error() -> None:
    assert "over 1 MB pasted" in only_error("a,0,1,2\n" * 140_000).reason
    assert "over 1 MB pasted" in only_error("é,0,1,2\n" * 112_000).reason  # fewer characters, but the bytes count
    assert "over 1 MB pasted" in only_error(["a,0,1,2"] * 140_000).reason


def test_an_unknown_mode_names_both() -> None:
    with pytest.raises(QuantValueError, match=r"mode must be one of 'ranges', 'params', got 'range'"):
        parse_lines("a,0,1,2", "range")


@pytest.mark.parametrize("text", ["", "\n\n", "# nothing\n", "channel,min,max,sample\n"])
def test_no_line_is_no_error_here(text: str) -> None:
    assert parse_lines(text) == ParsedLines("ranges", (), ())


numbers = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.integers(-(10**30), 10**30).map(str),
    st.decimals(-1000, 1000, places=3).map(str),
)
names = st.one_of(
    st.text(min_size=1, max_size=30),
    st.text(alphabet='"\n\r\t;,# a\u2028=\ufeff', min_size=1, max_size=12),
).filter(lambda name: name.strip())


@given(st.lists(st.tuples(names, numbers, numbers, numbers), unique_by=lambda row: row[0], max_size=6))
def test_format_is_parsed_back(rows: list[tuple[str, str, str, str]]) -> None:
    ordered = [(name, *sorted((low, high), key=Fraction), sample) for name, low, high, sample in rows]
    parsed = parse_lines(ordered)
    assert not parsed.errors
    assert [row.channel for row in parsed.rows] == [row[0] for row in ordered]
    assert parse_lines(format_lines(parsed)) == parsed


@given(st.lists(st.tuples(names, st.integers(-300, 300), numbers), unique_by=lambda row: row[0], max_size=6))
def test_format_is_parsed_back_in_params_mode(rows: list[tuple[str, int, str]]) -> None:
    parsed = parse_lines([(name, "0.25", zero_point, sample) for name, zero_point, sample in rows], "params")
    assert not parsed.errors
    assert parse_lines(format_lines(parsed), "params") == parsed


@given(st.text(max_size=300) | st.text(alphabet='a01.,;\t" \n\r#-e', max_size=300), st.sampled_from(sorted(COLUMNS)))
def test_any_text_is_read_without_a_crash_and_its_good_lines_survive(text: str, mode: str) -> None:
    if "\n" not in text:
        text += "\n"  # one line could be the name of a file
    parsed = parse_lines(text, mode)
    again = parse_lines(format_lines(parsed), mode)
    assert again.rows == parsed.rows
    assert not again.errors


@given(st.text(alphabet='ab,;" #\t', max_size=60))
def test_a_bad_line_leaves_its_neighbours_alone(text: str) -> None:
    parsed = parse_lines(f"first,0,1,2\n{text}\nlast,0,1,2")
    assert [row.channel for row in parsed.rows if row.channel in {"first", "last"}] == ["first", "last"]
