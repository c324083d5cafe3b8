"""Cleaning, quoting, fonts' coverage."""

from __future__ import annotations

import json
import re
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perchq_widget.report.pdf.cmap import FontError, covered_ranges
from perchq_widget.report.pdf.coverage import Coverage, coverage_of, embedded, font_files, merge, name_characters
from perchq_widget.report.pdf.text import TextCleaner, breakable, quote, strip_literals


@given(st.text())
def test_a_literal_reads_back_as_the_cleaned_text(text):
    cleaner = TextCleaner(embedded())
    cleaned = cleaner.clean(text)
    literal = cleaner.literal(text)
    assert strip_literals(literal) == '""', "a literal is one string and nothing else"
    assert json.loads(literal) == cleaned, "Typst's escapes in use are those of JSON"
    assert "\r" not in literal
    assert cleaner.clean(cleaned) == cleaned


@given(st.text(alphabet=st.characters(codec=None), max_size=30))
def test_nothing_unprintable_is_left(text):
    kept = TextCleaner(embedded()).clean(text)
    assert all(c in "\t\n" or ord(c) in embedded() for c in kept)
    assert not re.search("[\u202a-\u202e\u2066-\u2069\u200e\u200f\u061c\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]", kept)


def test_missing_characters_are_remembered_once_and_grouped():
    cleaner = TextCleaner(embedded())
    assert cleaner.clean("中文中 x") == "⟨U+4E2D U+6587 U+4E2D⟩ x"
    assert cleaner.missing == (0x4E2D, 0x6587)
    assert cleaner.clean("emoji ❤\ufe0f soft\u00adhyphen") == "emoji ❤ softhyphen"


@pytest.mark.parametrize(("text", "limit"), [("short", 10), ("aaa bbb", 4), ("two words of nine", 9), ("", 4)])
def test_breakable_leaves_short_text_alone(text, limit):
    assert breakable(text, limit) == text


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("a" * 11, ["aa", "aa", "aa", "aa", "aa", "a"]),
        ("encode_layers_weight", ["encode_", "layers_", "weight"]),
        ("ch_000,-1.25,1.013", ["ch_", "000,", "-1.25,", "1.013"]),
        ("W" * 9, ["WW", "WW", "WW", "WW", "W"]),
        ("so abcdefghijkl", ["so ab", "cd", "ef", "gh", "ij", "kl"]),
    ],
)
def test_breakable_breaks_at_separators_and_in_long_segments(text, pieces):
    """Limit 10: wide letters count for more, numbers stay whole, words that fit are left alone."""
    assert breakable(text, 10).split("\u200b") == pieces


@pytest.mark.parametrize("text", ["a_" * 99, "_" * 50, "1.5," * 40, "-" * 41, "+.+-" * 20, "é⟨U+202E⟩" * 20])
@pytest.mark.parametrize("limit", [1, 4, 30])
def test_breakable_loses_no_character(text, limit):
    assert breakable(text, limit).replace("\u200b", "") == text


@pytest.mark.parametrize(("text", "literal"), [('"', '"\\""'), ("\\", '"\\\\"'), ("a\nb\tc", '"a\\nb\\tc"')])
def test_quote(text, literal):
    assert quote(text) == literal


def test_merge_joins_what_touches():
    assert merge([(5, 7), (1, 2), (3, 4), (6, 10), (20, 20)]) == [(1, 10), (20, 20)]
    coverage = Coverage([(1, 3), (7, 7)])
    assert [code in coverage for code in range(9)] == [False, True, True, True, False, False, False, True, False]


def test_names_are_limited():
    assert name_characters([0x4E2D, 0xE000], limit=1) == "U+4E2D Cjk Unified Ideograph-4E2D and 1 more"


def fonts_inside_typst() -> list[bytes]:
    """The fonts that the installed typesetter carries, found in its binary by their tables."""
    typst = pytest.importorskip("typst")
    found = []
    for path in Path(typst.__file__).parent.glob("_typst*"):
        data = path.read_bytes()
        for match in re.finditer(rb"OTTO\x00[\x05-\x20]|\x00\x01\x00\x00\x00[\x05-\x20]", data):
            start, count = match.start(), data[match.start() + 5]
            tags = [data[start + 12 + 16 * i : start + 16 + 16 * i] for i in range(count)]
            if b"cmap" in tags and all(re.fullmatch(rb"[A-Za-z0-9/ ]{4}", tag) for tag in tags):
                found.append(data[start : start + 2_000_000])
    return found


def test_coverage_is_that_of_the_installed_typesetter():
    fonts = fonts_inside_typst()
    if not fonts:
        pytest.skip("the installed typst keeps its fonts where they cannot be found")
    assert embedded().ranges == merge(pair for font in fonts for pair in covered_ranges(font))


def sfnt(cmap: bytes) -> bytes:
    return b"\x00\x01\x00\x00" + struct.pack(">HHHH", 1, 0, 0, 0) + struct.pack(">4sIII", b"cmap", 0, 28, 0) + cmap


def test_cmap_formats():
    twelve = struct.pack(">HHHHI", 0, 1, 3, 10, 12) + struct.pack(">HHIII", 12, 0, 28, 0, 1)
    assert covered_ranges(sfnt(twelve + struct.pack(">III", 0x4E00, 0x4E10, 1))) == [(0x4E00, 0x4E10)]
    ends, starts = struct.pack(">HH", 0x41, 0xFFFF), struct.pack(">HH", 0x40, 0xFFFF)
    four = struct.pack(">HHHHI", 0, 1, 3, 1, 12) + struct.pack(">HHHHHHH", 4, 0, 0, 4, 0, 0, 0)
    assert covered_ranges(sfnt(four + ends + b"\0\0" + starts)) == [(0x40, 0x41)]


@pytest.mark.parametrize("data", [b"", b"OTTO", b"ttcf" + b"\0" * 20, b"no font at all", sfnt(b""), sfnt(b"\0" * 4)])
def test_damaged_fonts_are_refused(data):
    with pytest.raises(FontError):
        covered_ranges(data)


def test_user_fonts_add_coverage_and_damaged_ones_do_not(tmp_path):
    twelve = struct.pack(">HHHHI", 0, 1, 3, 10, 12) + struct.pack(">HHIII", 12, 0, 28, 0, 1)
    (tmp_path / "cjk.ttf").write_bytes(sfnt(twelve + struct.pack(">III", 0x4E00, 0x9FFF, 1)))
    (tmp_path / "bad.otf").write_bytes(b"bad")
    (tmp_path / "readme.txt").write_text("no font")
    assert len(font_files([str(tmp_path), str(tmp_path / "missing")])) == 2
    assert 0x4E2D in coverage_of([str(tmp_path)])
    assert 0x4E2D not in embedded()
