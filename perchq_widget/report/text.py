"""Numbers and untrusted names as text: one way to write them for the panel, the HTML page, the figures and CSV.

Channel names, tensor names and pasted lines come from files and clipboards. They are data: shown as they are where
that is harmless, with invisible and reordering characters made visible where it is not.
"""

from __future__ import annotations

import html
import math
import re
import unicodedata
from numbers import Integral, Real

import numpy as np

# Printable for Python, blank on the page.
_BLANKS = frozenset("\u2800\u3164\uffa0\u115f\u1160")
_CONTROL_PICTURES = {"\n": "⏎", "\r": "␍", "\t": "⇥", "\0": "␀"}
_FORMULA = re.compile(r"'*(?:\s*[=+\-@＝＋－＠]|[\t\r\n])")  # noqa: RUF001 - full-width forms start formulas too
_SURROGATE = re.compile(r"[\ud800-\udfff]")
#: A cell that has no number, because the format has no such thing.
NOTHING = "–"
_INTEGER_COLUMNS = frozenset({"n", "zero_point", "raw_quantized", "quantized", "clipped"})
_SHORT_COLUMNS = frozenset(
    {"abs_error", "max_abs_error", "mean_abs_error", "pct_error", "mean_pct_error", "mse", "clipped_pct", "zeroed_pct"}
)

_TITLES = {
    "raw_quantized": "raw code",
    "quantized": "code",
    "abs_error": "abs. error",
    "max_abs_error": "max abs. error",
    "mean_abs_error": "mean abs. error",
    "pct_error": "error, %",
    "clipped_pct": "clipped, %",
    "zeroed_pct": "zeroed, %",
    "sqnr_db": "SQNR, dB",
    "mse": "MSE",
}


def _nonfinite(x: float) -> str:
    if math.isnan(x):
        return "nan"
    return "inf" if x > 0 else "-inf"


def _tidy_exponent(text: str) -> str:
    mantissa, mark, exponent = text.partition("e")
    return f"{mantissa}e{int(exponent)}" if mark else mantissa


def format_number(x: object) -> str:
    """Write a real-world value: scale, bound, sample, dequantized value.

    Eight decimals with trailing zeros dropped (0.73333333, 0.00862745, -1.2), but never under six or over nine
    significant digits, so that tiny scales keep theirs. Infinity and NaN are ``inf``, ``-inf``, ``nan``; integers
    are written whole; anything that is no number goes through :func:`clean_name`.
    """
    if isinstance(x, Integral):
        return str(int(x))
    if not isinstance(x, Real):
        return clean_name(str(x))
    value = float(x)
    if not math.isfinite(value):
        return _nonfinite(value)
    if value == 0:
        return "0"
    digits = min(9, max(6, math.floor(math.log10(abs(value))) + 9))
    return _tidy_exponent(f"{value:.{digits}g}")


def short_number(x: float, digits: int = 4, *, commas: bool = True) -> str:
    """Write a value for an axis or a label: ``digits`` significant digits, whole numbers below 1e7 in full.

    ``commas`` group a whole number's thousands; in a column they would stand beside decimals that have none.
    """
    value = float(x)
    if not math.isfinite(value):
        return _nonfinite(value)
    if value == int(value) and abs(value) < 1e7:
        return f"{int(value):,}" if commas else str(int(value))
    return _tidy_exponent(f"{value:.{digits}g}")


def code_text(code: float) -> str:
    """A code as a label writes it: integers whole, values of a float format short."""
    return short_number(code, 6, commas=False)


def unit_text(granularity: object, group_size: object) -> str:
    """What shares a scale: ``channel``, ``group of 128``, ``block of 128x128``."""
    sizes = list(group_size) if isinstance(group_size, (list, tuple)) else [group_size]
    if not sizes or not all(isinstance(size, int) for size in sizes):
        return str(granularity)
    return f"{granularity} of {'x'.join(map(str, sizes))}"


def codes_line(low: object, high: object) -> tuple[str, str]:
    """Label and text of the codes in force; a float format or a list of values has no numbered codes."""
    if isinstance(low, int) and isinstance(high, int):
        return "Codes", f"{low} to {high}"
    return "Values of a code", " to ".join(short_number(float(end), 6, commas=False) for end in (low, high))  # type: ignore[arg-type]


def column_title(column: str) -> str:
    """Heading of a table column, with its unit: ``sqnr_db`` is ``SQNR, dB``."""
    return _TITLES.get(column, clean_name(column).replace("_", " "))


def plural(count: int, noun: str) -> str:
    """``1 value``, ``2 values``, ``4,096 values``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def format_cell(column: str, value: object) -> str:
    """One cell of the channel table as text, by its column: codes whole, dB with two decimals, errors short."""
    if isinstance(value, (bool, np.bool_)):
        return "yes" if value else "no"
    if not isinstance(value, Real):
        return "" if value is None else clean_name(str(value))
    number = float(value)
    if column == "zero_point" and math.isnan(number):
        return NOTHING
    if column.endswith("_db") and math.isfinite(number):
        return f"{number:.2f}"
    if column in _INTEGER_COLUMNS and math.isfinite(number) and number == int(number):
        return str(int(number))
    return short_number(number, commas=False) if column in _SHORT_COLUMNS else format_number(value)


def clean_name(name: str) -> str:
    """Show ``name`` in one line with nothing invisible in it.

    Line breaks and tabs become ⏎ ␍ ⇥; every other control, format (zero-width, bidirectional), surrogate, private,
    unassigned and blank character becomes its code point in brackets: ⟨U+202E⟩. For display: two odd names may look
    alike, so files that must keep a name exactly (JSON, notebooks) hold the name itself, escaped.
    """
    if name.isprintable() and _BLANKS.isdisjoint(name):
        return name
    return "".join(map(_visible, name))


def _visible(char: str) -> str:
    if char in _CONTROL_PICTURES:
        return _CONTROL_PICTURES[char]
    harmless = char.isprintable() or unicodedata.category(char) == "Zs"
    return char if harmless and char not in _BLANKS else f"⟨U+{ord(char):04X}⟩"


def whole_text(text: str) -> str:
    """``text`` with lone surrogates made visible: they are no characters, and no file can hold them."""
    return _SURROGATE.sub(lambda match: _visible(match.group()), text)


def shorten(text: str, limit: int) -> str:
    """Cut ``text`` to ``limit`` characters, the end kept because names differ there (``layer1.0.…conv2.weight``)."""
    if len(text) <= limit:
        return text
    head = (limit - 1) // 3
    return f"{text[:head]}…{text[len(text) - (limit - 1 - head) :]}"


def csv_safe(name: str) -> str:
    """Make a text cell harmless in a spreadsheet: an apostrophe before what would start a formula.

    That is a leading ``= + - @`` (also full-width, also after blanks or apostrophes), tab, carriage return or line
    feed. Reversible: :func:`csv_restore` gives ``name`` back, whatever it was.
    """
    return f"'{name}" if _FORMULA.match(name) else name


def csv_restore(cell: str) -> str:
    """Undo :func:`csv_safe`."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell[1:]) else cell


def escape(value: object) -> str:
    """Text for HTML and SVG, in content and in quoted attributes: cleaned, then escaped."""
    return html.escape(clean_name(str(value)), quote=True)
