"""Calibration lines: ``channel,min,max,sample`` or ``channel,scale,zero_point,sample``, decimals kept as typed.

:func:`parse_lines` takes pasted text, rows, data frames and files; good lines become :class:`Line`, the others
:class:`~perchq_widget.core.errors.LineError`. :func:`format_lines` writes the good ones back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction

from perchq_widget.core.errors import LineError, choose_from
from perchq_widget.sources.decimals import clip_text, decimal_problem
from perchq_widget.sources.line_inputs import read_records
from perchq_widget.sources.line_text import MAX_NAME, quote_name

COLUMNS = {
    "ranges": ("channel", "min", "max", "sample"),
    "params": ("channel", "scale", "zero_point", "sample"),
}
"""The fields of a line, by input mode."""

EXAMPLE_LINES = """\
filter_0,-1.2,1,0.73
filter_1,-0.8,0.9,-0.21
filter_2,-1.5,1.7,1.11
filter_3,-0.45,0.6,0.18
"""

EXAMPLE_PARAMS = """\
filter_0,0.00862745,11,0.73
filter_1,0.00666667,-8,-0.21
filter_2,0.01254902,-8,1.11
filter_3,0.00411765,-19,0.18
"""

MAX_ZERO_POINT = 2**53
"""Largest accepted size of a zero point: beyond it float64 skips integers."""

_MAX_SHOWN = 200


@dataclass(frozen=True)
class Line:
    """One good line. ``values`` are the three decimals as typed; ``number`` says where, and is not compared."""

    number: int = field(compare=False)
    channel: str
    values: tuple[str, str, str]

    @property
    def exact(self) -> tuple[Fraction, Fraction, Fraction]:
        """The three values as exact fractions of the decimals as typed."""
        first, second, third = map(Fraction, self.values)
        return first, second, third


@dataclass(frozen=True)
class ParsedLines:
    """What an input held: ``rows`` in order, channel names unique, and one error for each other line."""

    mode: str
    rows: tuple[Line, ...]
    errors: tuple[LineError, ...]


def parse_lines(lines: object, mode: str = "ranges") -> ParsedLines:
    """Read calibration ranges (``mode="ranges"``) or manual parameters (``"params"``).

    ``lines`` is text, a list of lines, a list of tuples or mappings, a pandas DataFrame, a path to a text file
    (a str is a path if it has no line break and names an existing file or ends in .csv, .tsv or .txt) or the
    bytes of one. Text is split at semicolons if the line holds one, else at tabs, else at commas, else at white
    space; quotes work as in CSV, and a quoted channel name may even hold line breaks. Line numbers count the
    lines of a text, or the rows of a table, from 1.

    Bad lines are listed, not raised. QuantValueError for an unknown mode and for a file that is missing
    (a FileNotFoundError too), not UTF-8 or over 16 MB; QuantTypeError for an input of another kind.
    """
    columns = COLUMNS[choose_from("mode", mode, COLUMNS)]
    rows: dict[str, Line] = {}
    errors: list[LineError] = []
    for record in read_records(lines, columns):
        reason = record.problem or _problem(record.fields, columns, rows)
        if reason:
            errors.append(LineError(record.number, clip_text(record.text, _MAX_SHOWN), reason))
            continue
        channel, first, second, third = record.fields
        rows[channel] = Line(record.number, channel, (first.strip(), second.strip(), third.strip()))
    return ParsedLines(mode, tuple(rows.values()), tuple(errors))


def format_lines(parsed: ParsedLines) -> str:
    """The good lines as text, one a line, comma separated, names quoted where they must be.

    ``parse_lines(format_lines(parsed), parsed.mode).rows == parsed.rows`` for any channel name.
    """
    return "".join(f"{quote_name(row.channel)},{','.join(row.values)}\n" for row in parsed.rows)


def _problem(fields: Sequence[str], columns: Sequence[str], earlier: dict[str, Line]) -> str | None:
    """Why a line cannot be used, or None."""
    expected = ", ".join(columns)
    if len(fields) < len(columns):
        return f"missing field: {columns[len(fields)]} ({len(fields)} of {len(columns)} fields: {expected})"
    if len(fields) > len(columns):
        return f"too many fields: {len(fields)}, expected {len(columns)} ({expected}); quote a name with separators"
    channel, *values = fields
    reason = _name_problem(channel, earlier)
    for column, value in zip(columns[1:], values, strict=True):
        reason = reason or _value_problem(column, value.strip())
    return reason or (_range_problem(values) if "min" in columns else _params_problem(values))


def _name_problem(channel: str, earlier: dict[str, Line]) -> str | None:
    if not channel.strip():
        return "empty channel name"
    if len(channel) > MAX_NAME:
        return f"the channel name has {len(channel)} characters; write at most {MAX_NAME}"
    if any("\ud800" <= letter <= "\udfff" for letter in channel):
        return "the channel name holds half of a surrogate pair, which no UTF-8 file can hold; rename it"
    if channel in earlier:
        shown = repr(clip_text(channel, 40))
        return f"duplicate channel name {shown}, first on line {earlier[channel].number}; rename one"
    return None


def _value_problem(column: str, value: str) -> str | None:
    if not value:
        return f"missing field: {column} is empty"
    reason = decimal_problem(value)
    return f"{column}: {reason}" if reason else None


def _range_problem(values: Sequence[str]) -> str | None:
    low, high = clip_text(values[0], 40), clip_text(values[1], 40)
    return f"min > max ({low} > {high}); swap them" if Decimal(values[0]) > Decimal(values[1]) else None


def _params_problem(values: Sequence[str]) -> str | None:
    scale, zero_point = Decimal(values[0]), Fraction(values[1])
    if scale <= 0:
        return f"scale <= 0 ({clip_text(values[0], 40)}); a scale is above zero"
    if zero_point.denominator != 1:
        return f"zero point not an integer ({clip_text(values[1], 40)})"
    if abs(zero_point) > MAX_ZERO_POINT:
        return f"zero point beyond 2^53 ({clip_text(values[1], 40)}), where float64 skips integers"
    return None
