"""The terminal table: widths, marks, colour, and names that try to drive the terminal."""

from __future__ import annotations

import io

import pytest

from perchq_widget.cli.terminal import EXPENDABLE, Look, display_width, fit_columns, pad, table_lines

COLUMNS = ["channel", "scale", "clipped", "sqnr_db"]
ROWS = [["conv.0", "0.5", "yes", "3.10"], ["conv.10", "0.00862745", "no", "41.25"]]
FLAGS = [["clipped", "low_sqnr"], []]


class Terminal(io.TextIOWrapper):
    """A stream that says it is a terminal, with the encoding asked for."""

    def __init__(self, encoding: str = "utf-8") -> None:
        super().__init__(io.BytesIO(), encoding=encoding)

    def isatty(self) -> bool:
        return True


def test_numbers_are_aligned_and_marks_come_first() -> None:
    lines = table_lines(COLUMNS, ROWS, FLAGS, Look())
    assert lines == [
        "   channel       scale  clipped  sqnr_db",
        "▲▼ conv.0          0.5      yes     3.10",
        "   conv.10  0.00862745       no    41.25",
    ]


def test_findings_take_room_only_where_there_is_one() -> None:
    columns = ["channel", "sqnr_db", "findings"]
    assert "findings" not in table_lines(columns, [["a", "1.00", ""]], [[]], Look())[0]
    assert "findings" in table_lines(columns, [["a", "1.00", ""], ["b", "1.00", "low_sqnr"]], [[], []], Look())[0]


def test_a_narrow_terminal_leaves_columns_out_and_says_which() -> None:
    lines = table_lines(COLUMNS, ROWS, FLAGS, Look(width=24))
    assert lines[0] == "   channel  sqnr_db"
    note = " ".join(line.strip() for line in lines[3:])
    assert note == "(no room for scale, clipped; a wider terminal or --csv has them)"
    assert all(display_width(line) <= 24 for line in lines)


@pytest.mark.parametrize("width", [20, 40, 60, 80, 120])
def test_no_row_is_wider_than_the_terminal(width: int) -> None:
    columns = ["channel", *EXPENDABLE, "sqnr_db"]
    rows = [[f"{column}-value" for column in columns]]
    widths = [len(cell) for cell in rows[0]]
    kept, left_out = fit_columns(columns, widths, width)
    assert {columns[i] for i in kept} | set(left_out) == set(columns)
    if left_out != list(EXPENDABLE):
        assert sum(widths[i] + 2 for i in kept) - 2 <= width


def test_everything_fits_where_there_is_no_limit() -> None:
    assert fit_columns(COLUMNS, [1000] * 4, None) == ([0, 1, 2, 3], [])


HOSTILE = ["\x1b[2J\x1b[31mred", "a\rb", "a\nb", "\u202eevil", "\x9b31m", "\u2066x\u2069", "\x00\x07"]


@pytest.mark.parametrize("name", HOSTILE)
def test_names_cannot_drive_the_terminal(name: str) -> None:
    lines = table_lines(["channel", "sqnr_db"], [[name, "1.00"]], [[]], Look())
    assert len(lines) == 2
    assert lines[1].isprintable()


def test_long_names_keep_their_end() -> None:
    lines = table_lines(["channel", "sqnr_db"], [["layer" * 20 + ".conv2.weight", "1.00"]], [[]], Look())
    assert ".conv2.weight  " in lines[1]
    assert "…" in lines[1]


def test_wide_characters_count_twice() -> None:
    assert display_width("日本a") == 5
    assert display_width("e\u0301") == 1
    assert pad("日本", 6, right=True) == "  日本"
    assert pad("日本", 6, right=False) == "日本  "


def test_colour_only_on_a_terminal_and_never_with_no_color(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    assert Look.of(Terminal()).coloured
    assert not Look.of(io.StringIO()).coloured
    monkeypatch.setenv("NO_COLOR", "1")
    assert not Look.of(Terminal()).coloured
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert not Look.of(Terminal()).coloured


def test_colour_wraps_whole_rows_and_leaves_plain_ones_alone() -> None:
    lines = table_lines(COLUMNS, ROWS, FLAGS, Look(coloured=True))
    assert lines[1].startswith("\x1b[38;5;166m▲▼")
    assert lines[1].endswith("\x1b[0m")
    assert lines[2] == "   conv.10  0.00862745       no    41.25"


def test_the_width_is_the_terminals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "57")
    assert Look.of(Terminal()).width == 57
    monkeypatch.delenv("COLUMNS")
    assert Look.of(io.StringIO()).width is None


def test_marks_in_characters_that_the_encoding_has() -> None:
    look = Look.of(Terminal("cp1252"))
    assert (look.clipped, look.low_sqnr) == ("^", "v")
    lines = table_lines(["channel", "sqnr_db"], [["x" * 80, "1.00"]], [["clipped"]], look)
    "\n".join(lines).encode("ascii")
