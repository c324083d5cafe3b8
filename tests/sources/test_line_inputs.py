"""The same lines from text, lists, data frames, files and uploads."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import ml_dtypes
import numpy as np
import pandas as pd
import pytest

from perchq_widget.core.errors import QuantTypeError, QuantValueError
from perchq_widget.sources.line_inputs import MAX_FILE_BYTES
from perchq_widget.sources.lines import EXAMPLE_LINES, Line, parse_lines

EXPECTED = (Line(1, "a", ("-1.5", "2.0", "0.1")), Line(2, "b", ("0", "1", "0.5")))
TEXT = "a,-1.5,2.0,0.1\nb,0,1,0.5\n"


@pytest.mark.parametrize(
    "lines",
    [
        TEXT,
        TEXT.splitlines(),
        TEXT.splitlines(keepends=True),
        tuple(TEXT.splitlines()),
        [("a", -1.5, 2.0, 0.1), ("b", 0, 1, 0.5)],
        [["a", "-1.5", " 2.0", Decimal("0.1")], ("b", np.int8(0), np.uint8(1), np.float16(0.5))],
        [("a", np.float64(-1.5), np.float32(2), np.float32(0.1)), ("b", 0, 1, ml_dtypes.bfloat16(0.5))],
        [
            {"channel": "a", "min": -1.5, "max": 2.0, "sample": 0.1},
            {"sample": 0.5, "Max": 1, "MIN": 0, "channel": "b"},
        ],
        TEXT.encode(),
        memoryview(b"\xef\xbb\xbf" + TEXT.replace("\n", "\r\n").encode()),
        TEXT.encode("utf-16"),
    ],
)
def test_every_kind_of_input_gives_the_same_rows(lines: object) -> None:
    parsed = parse_lines(lines)
    assert not parsed.errors
    assert parsed.rows == EXPECTED
    assert [row.number for row in parsed.rows] == [1, 2]


def test_a_data_frame_by_its_columns_each_value_in_its_own_precision() -> None:
    frame = pd.DataFrame(
        {
            "sample": np.array([0.1, 0.7], np.float32),
            "min": [-1, 0],
            "Max": np.array([0.3, 1e22]),
            "channel": ["a", "b\nc"],
        }
    )
    expected = (Line(1, "a", ("-1", "0.3", "0.1")), Line(2, "b\nc", ("0", "1e+22", "0.7")))
    assert parse_lines(frame).rows == expected
    assert parse_lines(frame.set_index("channel")).rows == expected
    assert parse_lines(frame.convert_dtypes()).rows[1].channel == "b\nc"


def test_bad_cells_of_a_data_frame_are_listed_by_row() -> None:
    frame = pd.DataFrame(
        {
            "channel": ["a", None, "c", "d", "e", float("nan")],
            "min": [0.0, 0, float("nan"), 0, 0, 0],
            "max": pd.array([1, 1, 1, None, 1, 1], dtype="Int64"),
            "sample": [0.5, 0.5, 0.5, 0.5, True, 0.5],
        }
    )
    parsed = parse_lines(frame)
    assert [row.channel for row in parsed.rows] == ["a"]
    reasons = {error.line: error.reason for error in parsed.errors}
    assert list(reasons) == [2, 3, 4, 5, 6]
    for line, words in {2: "empty channel", 3: "not finite", 4: "max is empty", 5: "'True' is not", 6: "empty"}.items():
        assert words in reasons[line]
    assert parsed.errors[1].text == "c,nan,1,0.5"


def test_a_data_frame_with_other_columns_is_refused() -> None:
    with pytest.raises(QuantValueError, match=r"unknown column 'low' and no column 'min'.*frame\[\['channel'"):
        parse_lines(pd.DataFrame({"channel": ["a"], "low": [0], "max": [1], "sample": [0]}))


def test_numbers_as_channel_names() -> None:
    assert [row.channel for row in parse_lines([(0, 0, 1, 0), (np.int64(1), 0, 1, 0)]).rows] == ["0", "1"]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (("a", 0, 1), "missing field: sample"),
        (("a", 0, 1, 2, 3), "too many fields"),
        ((), "missing field: channel"),
        (("a", 0, 1, None), "sample is empty"),
        (("a", 0, 1, 10**5000), "characters"),
        (("a", 0, 1, 1j), "not a number"),
        (("a", 0, 1, Fraction(1, 3)), "not a number"),
        (("a", 0, 1, float("inf")), "not finite"),
        (("\ud800", 0, 1, 2), "surrogate"),
        ({"channel": "a", "min": 0, "max": 1}, "no column 'sample'"),
        ({"channel": "a", "min": 0, "max": 1, "sample": 1, "x": 2}, "unknown column 'x'"),
    ],
)
def test_a_bad_row_is_listed(row: object, words: str) -> None:
    parsed = parse_lines([("good", 0, 1, 2), row])
    assert [line.channel for line in parsed.rows] == ["good"]
    assert parsed.errors[0].line == 2
    assert words in parsed.errors[0].reason


@pytest.mark.parametrize(
    "lines", [None, 3, {"channel": ["a"]}, {1}, np.zeros((2, 4)), [("a", 0, 1, 2), "b,0,1,2"], [1.0]]
)
def test_other_kinds_of_input_are_refused_by_name(lines: object) -> None:
    with pytest.raises(QuantTypeError, match="lines"):
        parse_lines(lines)


def test_a_file_by_text_or_path_whatever_its_suffix(tmp_path: Path) -> None:
    for name in ("ranges.csv", "ranges.dat"):
        path = tmp_path / name
        path.write_text(EXAMPLE_LINES, encoding="utf-8-sig")
        assert parse_lines(path) == parse_lines(str(path)) == parse_lines(EXAMPLE_LINES)


@pytest.mark.parametrize("lines", ["no/such/ranges.csv", "RANGES.TSV", "r.txt", Path("a,0,1,2")])
def test_a_mistyped_path_says_no_such_file(lines: object) -> None:
    with pytest.raises(QuantValueError, match="no such file") as caught:
        parse_lines(lines)
    assert isinstance(caught.value, FileNotFoundError)
    assert str(lines) in str(caught.value)


@pytest.mark.parametrize("text", ["a,0,1,2", "x" * 5000, "a\0,0,1,2", "."])
def test_one_line_of_text_is_not_taken_for_a_path(text: str) -> None:
    parsed = parse_lines(text)
    assert len(parsed.rows) + len(parsed.errors) == 1


def test_files_that_hold_no_text_lines(tmp_path: Path) -> None:
    path = tmp_path / "latin.csv"
    path.write_bytes("é,0,1,2".encode("latin-1"))
    with pytest.raises(QuantValueError, match=r"latin\.csv is not UTF-8 text \(byte 0"):
        parse_lines(path)
    with pytest.raises(QuantValueError, match="the input is not UTF-8"):
        parse_lines(path.read_bytes())
    with pytest.raises(QuantValueError, match="is a folder"):
        parse_lines(tmp_path)


def test_a_file_that_is_too_large_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "large.csv"
    with path.open("wb") as file:
        file.truncate(MAX_FILE_BYTES + 1)
    with pytest.raises(QuantValueError, match=r"large\.csv is over 16 MB"):
        parse_lines(path)


@pytest.mark.skipif(not Path("/dev/null").exists(), reason="no device files here")
def test_a_device_is_not_waited_for() -> None:
    with pytest.raises(QuantValueError, match="is a device or a pipe"):
        parse_lines(Path("/dev/null"))


def test_a_path_that_no_file_can_have() -> None:
    for path in (Path("x" * 5000), Path("a\0b")):
        with pytest.raises(QuantValueError, match="no such file"):
            parse_lines(path)
