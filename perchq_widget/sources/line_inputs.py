"""The kinds of input that hold lines, each turned into the same records: text, files, rows, data frames."""

from __future__ import annotations

import codecs
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from perchq_widget.core.errors import QuantTypeError, QuantValueError
from perchq_widget.sources.decimals import clip_text, is_missing, number_text
from perchq_widget.sources.files import existing_file, names_a_file
from perchq_widget.sources.line_text import Record, quote_name, split_records

MAX_PASTED_BYTES = 1_000_000
MAX_FILE_BYTES = 16_000_000
TEXT_SUFFIXES = (".csv", ".tsv", ".txt")

_ACCEPTED = (
    "text, a list of lines, a list of (channel, number, number, number) tuples or of mappings, a pandas DataFrame, "
    "or the path or the bytes of a CSV file"
)


def read_records(lines: object, columns: Sequence[str]) -> Iterator[Record]:
    """The records of any accepted input, fields in the order of ``columns``, the header taken out.

    Raises QuantTypeError for an input of another kind, QuantValueError (also FileNotFoundError, if that is the
    cause) for a file that cannot be read, is not text or is too large.
    """
    if isinstance(lines, str) and not names_a_file(lines, TEXT_SUFFIXES):
        return _without_header(_pasted(lines), columns)
    if isinstance(lines, (str, os.PathLike)):
        return _without_header(split_records(_file_text(Path(lines))), columns)
    if isinstance(lines, (bytes, bytearray, memoryview)):
        return _without_header(split_records(_decode(bytes(lines), "the input")), columns)
    pandas = sys.modules.get("pandas")
    if pandas is not None and isinstance(lines, pandas.DataFrame):
        return _frame_records(lines, columns)
    if isinstance(lines, (list, tuple)):
        return _sequence_records(lines, columns)
    raise QuantTypeError(f"lines must be {_ACCEPTED}; got {type(lines).__name__}")


def _pasted(text: str) -> Iterator[Record]:
    # A character is at least one byte: a text far too long is refused without encoding it first.
    size = len(text) if len(text) > MAX_PASTED_BYTES else len(text.encode("utf-8", "surrogatepass"))
    if size > MAX_PASTED_BYTES:
        reason = f"over 1 MB pasted ({size:,} bytes or more); save it as a CSV file and give the file"
        return iter([Record(1, clip_text(text, 200), problem=reason)])
    return split_records(text.removeprefix("\ufeff"))


def _file_text(path: Path) -> str:
    found = existing_file(path, "lines")
    with found.open("rb") as file:
        data = file.read(MAX_FILE_BYTES + 1)
    return _decode(data, str(path))


def _decode(data: bytes, name: str) -> str:
    if len(data) > MAX_FILE_BYTES:
        raise QuantValueError(f"lines: {name} is over {MAX_FILE_BYTES // 1_000_000} MB; split it into several files")
    utf16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return data.decode("utf-16" if utf16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise QuantValueError(
            f"lines: {name} is not UTF-8 text (byte {error.start}: {error.reason}); save it as CSV in UTF-8"
        ) from error


def _without_header(records: Iterator[Record], columns: Sequence[str]) -> Iterator[Record]:
    first = next(records, None)
    if first is None:
        return
    if first.problem or not _is_header(first.fields, columns):
        yield first
        yield from records
        return
    order, problem = _column_order(first.fields, columns)
    if problem:
        # Without a header that can be trusted, no row can: a wrong order would give wrong numbers silently.
        yield Record(first.number, first.text, problem=f"header: {problem}")
        return
    for record in records:
        yield _reordered(record, order)


def _is_header(fields: Sequence[str], columns: Sequence[str]) -> bool:
    """True if a first record names columns: no digit-bearing field after the first, and at least one known name."""
    known = {*columns, "min", "max", "scale", "zero_point"}
    values_look_numeric = any(any(letter.isdigit() for letter in field) for field in fields[1:])
    return not values_look_numeric and any(_column_name(field) in known for field in fields)


def _column_name(label: object) -> str:
    return "_".join(str(label).strip().lower().replace("-", " ").replace("_", " ").split())


def _column_order(labels: Iterable[object], columns: Sequence[str]) -> tuple[list[int], str | None]:
    """Where each of ``columns`` stands among ``labels``, or why that cannot be said."""
    names = [_column_name(label) for label in labels]
    expected = f"the columns are {', '.join(columns)}"
    unknown = [name for name in names if name not in columns]
    missing = [name for name in columns if name not in names]
    if unknown or missing:
        parts = [f"unknown column {clip_text(unknown[0], 40)!r}"] if unknown else []
        parts += [f"no column {missing[0]!r}"] if missing else []
        return [], f"{' and '.join(parts)}; {expected}{_other_mode(names, columns)}"
    if len(names) > len(columns):
        return [], f"a column is named twice; {expected}, each once"
    return [names.index(name) for name in columns], None


def _other_mode(names: Sequence[str], columns: Sequence[str]) -> str:
    other, mode = ({"scale", "zero_point"}, "params") if "min" in columns else ({"min", "max"}, "ranges")
    return f"; these look like the columns of mode {mode!r}" if other <= set(names) else ""


def _reordered(record: Record, order: Sequence[int]) -> Record:
    if record.problem or len(record.fields) != len(order):
        return record
    return Record(record.number, record.text, tuple(record.fields[place] for place in order))


def _frame_records(frame: Any, columns: Sequence[str]) -> Iterator[Record]:
    table = frame.reset_index() if frame.index.name == columns[0] else frame
    order, problem = _column_order(table.columns, columns)
    if problem:
        raise QuantValueError(f"lines: in the DataFrame, {problem}; keep these alone: frame[{list(columns)}]")
    # Column by column: a row would turn float32 into Python floats, with digits that nobody typed.
    cells = [_cells(table.iloc[:, place]) for place in order]
    return (_row_record(number, row) for number, row in enumerate(zip(*cells, strict=True), start=1))


def _cells(column: Any) -> Iterable[object]:
    # Nullable columns turn into float64 as arrays, so they are walked; numpy's own keep their scalars only as arrays.
    return column.to_numpy() if isinstance(column.dtype, np.dtype) else list(column)


def _sequence_records(rows: Sequence[object], columns: Sequence[str]) -> Iterator[Record]:
    if all(isinstance(row, str) for row in rows):
        text = "\n".join(str(row).removesuffix("\n").removesuffix("\r") for row in rows)
        return _without_header(_pasted(text), columns)
    for place, row in enumerate(rows):
        if not isinstance(row, (Mapping, list, tuple)):
            raise QuantTypeError(
                f"lines[{place}] must be a row (tuple, list or mapping) like the others, or all items must be lines "
                f"of text; got {type(row).__name__}"
            )
    return (_any_row_record(number, row, columns) for number, row in enumerate(rows, start=1))


def _any_row_record(number: int, row: object, columns: Sequence[str]) -> Record:
    if not isinstance(row, Mapping):
        return _row_record(number, tuple(row) if isinstance(row, (list, tuple)) else ())
    order, problem = _column_order(row, columns)
    cells = list(row.values())
    if problem:
        return Record(number, _row_text(map(_name_text, cells)), problem=problem)
    return _row_record(number, [cells[place] for place in order])


def _row_record(number: int, cells: Sequence[object]) -> Record:
    fields = (_name_text(cells[0]), *map(number_text, cells[1:])) if cells else ()
    return Record(number, _row_text(fields), fields)


def _row_text(fields: Iterable[str]) -> str:
    return ",".join(quote_name(field) if field else field for field in fields)


def _name_text(cell: object) -> str:
    """A channel name from a cell: text exactly as it is, a number as its text, a missing value (NaN too) as ''."""
    if isinstance(cell, str):
        return cell
    is_nan = isinstance(cell, float) and cell != cell
    return "" if is_missing(cell) or is_nan else number_text(cell)
