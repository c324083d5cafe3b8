"""HTML tables to Typst tables: plain strings where possible, colours as a palette, sizes decided before setting.

Spans are resolved on a grid of our own, because Typst refuses a table whose spans do not fit.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bs4 import Tag

from .css import Style, colour, is_bold
from .text import array, breakable, quote
from .widths import PORTRAIT_PT, Fit, column_ems, fit_columns

if TYPE_CHECKING:
    from .html_walk import Walker

MAX_ROWS = 10_000
MAX_CELLS = 100_000
_MAX_CELLS_IN_ALL = 250_000
_MAX_COLUMNS = 300
_MAX_SPAN = 300
_INSET_PT = 6.5
_LARGEST_PT = 8.5
_WIDEST_EM = 24.0
_RICH = frozenset(
    [
        "a",
        "b",
        "strong",
        "i",
        "em",
        "code",
        "img",
        "svg",
        "br",
        "ul",
        "ol",
        "pre",
        "math",
        "perchq-math",
        "span",
        "div",
        "p",
        "sub",
        "sup",
        "table",
        "s",
        "u",
    ]
)


@dataclass(slots=True)
class Cell:
    """One cell at its place in the grid. ``code`` is a Typst expression; ``text`` is what its width is judged by."""

    text: str
    code: str
    head: bool
    width: int = 1
    height: int = 1
    fill: str | None = None
    align: str | None = None
    rich: bool = False


@dataclass(slots=True)
class Grid:
    """Cells by place; ``None`` where a span reaches into."""

    rows: list[list[Cell | None]] = field(default_factory=list)
    n_head: int = 0
    n_columns: int = 0


class TableReader:
    """Reads one ``<table>`` with the walker's style rules."""

    def __init__(self, walker: Walker) -> None:
        self.walker = walker

    def read(self, table: Tag, depth: int) -> str:
        """Return the Typst expression of the table, split into several where it is too wide for a page."""
        rows = list(_rows(table))
        width = max([1, *(len(row.find_all(True, recursive=False)) for row in rows[:50])])
        wanted = min(MAX_CELLS, min(MAX_ROWS, len(rows)) * width)
        most = self.walker.bundle.allow("cells", wanted, _MAX_CELLS_IN_ALL) // width
        if len(rows) > most:
            self.walker.bundle.note(f"A table of {len(rows):,} rows is cut after {most:,}.")
        grid = self._grid(table, rows[:most], depth)
        if not grid.rows or grid.n_columns == 0:
            return ""
        self.walker.shown = True
        self.walker.bundle.table_rows += len(grid.rows)
        fit = _fit(grid)
        caption = table.find("caption")
        title = self.walker.bundle.literal(" ".join(caption.get_text().split())) if caption is not None else "none"
        parts = fit.parts if not _has_column_spans(grid) or len(fit.parts) == 1 else (tuple(range(grid.n_columns)),)
        written = [_write_part(grid, part, fit, title if index == 0 else "none") for index, part in enumerate(parts)]
        return "{" + ";".join(["parbreak()", *written, "parbreak()"]) + "}"

    def _grid(self, table: Tag, rows: list[Tag], depth: int) -> Grid:
        grid = Grid()
        taken: dict[tuple[int, int], bool] = {}
        table_id = str(table.get("id", ""))
        for y, row in enumerate(rows):
            line: dict[int, Cell] = {}
            x = 0
            for tag in row.find_all(["td", "th"], recursive=False):
                while (y, x) in taken:
                    x += 1
                if x >= _MAX_COLUMNS:
                    self.walker.bundle.note(f"A table is cut after {_MAX_COLUMNS} columns.")
                    break
                cell = self._cell(tag, table_id, (min(_MAX_COLUMNS - x, _MAX_SPAN), len(rows) - y), depth)
                line[x] = cell
                taken.update({(y + dy, x + dx): True for dy in range(cell.height) for dx in range(cell.width)})
                x += cell.width
            grid.n_columns = max([grid.n_columns, x, *(at + cell.width for at, cell in line.items())])
            grid.rows.append([line.get(at) for at in range(_MAX_COLUMNS)])
        return _settle(grid, taken, _head_rows(rows))

    def _cell(self, tag: Tag, table_id: str, most: tuple[int, int], depth: int) -> Cell:
        style = self.walker.sheet.style_of(
            tag.name, str(tag.get("id", "")), tag.get_attribute_list("class"), str(tag.get("style", "")), table_id
        )
        rich = any(isinstance(child, Tag) and child.name in _RICH for child in tag.children)
        text = self.walker.bundle.cleaner.clean(" ".join(tag.get_text(" ").split()))
        body = "{" + ";".join(["[]", *self.walker.children(tag, depth + 1)]) + "}" if rich else text
        return Cell(
            text=text,
            code=_decorated(body, style, rich=rich, head=tag.name == "th"),
            head=tag.name == "th",
            width=_span(tag.get("colspan"), most[0]),
            height=_span(tag.get("rowspan"), most[1]),
            fill=colour(style.get("background-color", style.get("background"))),
            align=_alignment(style, tag),
            rich=rich or _text_options(style, head=False) != [],
        )


def _rows(table: Tag) -> Iterator[Tag]:
    for child in table.children:
        if isinstance(child, Tag):
            if child.name == "tr":
                yield child
            elif child.name in ("thead", "tbody", "tfoot"):
                yield from (row for row in child.children if isinstance(row, Tag) and row.name == "tr")


def _head_rows(rows: list[Tag]) -> int:
    head = 0
    for row in rows[:12]:
        if row.parent is None or row.parent.name != "thead":
            break
        head += 1
    return head


def _settle(grid: Grid, taken: dict[tuple[int, int], bool], n_head: int) -> Grid:
    """Fill holes with empty cells and keep spans of the head inside the head."""
    for y, row in enumerate(grid.rows):
        del row[grid.n_columns :]
        for x in range(grid.n_columns):
            cell = row[x]
            if cell is None and (y, x) not in taken:
                row[x] = Cell("", "", head=False)
            elif cell is not None and y < n_head < y + cell.height:
                cell.height = n_head - y
    _fill_under_cut_spans(grid, n_head)
    grid.n_head = n_head
    return grid


def _fill_under_cut_spans(grid: Grid, n_head: int) -> None:
    covered = {
        (y + dy, x + dx)
        for y, row in enumerate(grid.rows)
        for x, cell in enumerate(row)
        if cell is not None and (cell.width > 1 or cell.height > 1)
        for dy in range(cell.height)
        for dx in range(cell.width)
    }
    for y, row in enumerate(grid.rows):
        for x, cell in enumerate(row):
            if cell is None and (y, x) not in covered:
                row[x] = Cell("", "", head=y < n_head)


def _span(value: object, most: int) -> int:
    text = str(value) if value is not None else "1"
    return max(1, min(int(text), most)) if text.isascii() and text.isdigit() and len(text) < 6 else 1


def _alignment(style: Style, tag: Tag) -> str | None:
    value = style.get("text-align", str(tag.get("align", "")))
    return value if value in ("left", "right", "center") else None


def _text_options(style: Style, *, head: bool) -> list[str]:
    paint = colour(style.get("color"))
    options = [f'fill: rgb("{paint}")'] if paint not in (None, "#000000") else []
    options += ["weight: 600"] if head or is_bold(style) else []
    options += ['style: "italic"'] if style.get("font-style") == "italic" else []
    return options


def _decorated(body: str, style: Style, *, rich: bool, head: bool) -> str:
    """Return the cell's expression, or for a plain one its bare text (quoted once its column's width is known)."""
    options = _text_options(style, head=head)
    if not options:
        return body if rich else ""
    return f"text({', '.join(options)}, {body if rich else quote(breakable(body, 40))})"


def _fit(grid: Grid) -> Fit:
    columns: list[list[str]] = [[] for _ in range(grid.n_columns)]
    for row in grid.rows:
        for x, cell in enumerate(row):
            if cell is not None and cell.width == 1:
                # Code in a cell is set in the wider face.
                columns[x].append(cell.text + "0" * (len(cell.text) // 4 + 1) if cell.rich else cell.text)
    natural = [column_ems(cells, _WIDEST_EM) * 1.04 + 0.15 for cells in columns]
    first = [row[0] for row in grid.rows[grid.n_head :] if row[0] is not None]
    keep = 1 if first and all(cell.head for cell in first) else 0
    return fit_columns(natural, PORTRAIT_PT - 36, inset=_INSET_PT, largest=_LARGEST_PT, keep=keep)


def _has_column_spans(grid: Grid) -> bool:
    return any(cell is not None and cell.width > 1 for row in grid.rows for cell in row)


def _write_part(grid: Grid, part: tuple[int, ...], fit: Fit, title: str) -> str:
    room = {x: max(4, int((fit.widths[x] - _INSET_PT) / fit.size / 0.5)) for x in part}
    widths = array(f"{fit.widths[x]}pt" for x in part)
    if sum(fit.widths[x] for x in part) > PORTRAIT_PT:  # spans forbade a split: share the page
        widths = array(f"{fit.widths[x]}fr" for x in part)
    aligns = array(_column_align(grid, x) for x in part)
    palette, shades = _shades(grid, part)
    head = _written(grid.rows[: grid.n_head], part, room)
    body = _written(grid.rows[grid.n_head :], part, room)
    return (
        f"data-table({widths}, {aligns}, {array(head)}, {array(body)}, {grid.n_head}, {fit.size}pt, "
        f"palette: {palette}, shades: {shades}, caption: {title})"
    )


def _written(rows: list[list[Cell | None]], part: tuple[int, ...], room: dict[int, int]) -> Iterator[str]:
    for row in rows:
        for x in part:
            cell = row[x]
            if cell is not None:
                yield _write_cell(cell, room[x])


def _write_cell(cell: Cell, room: int) -> str:
    code = cell.code if cell.code else quote(breakable(cell.text, room * cell.width))
    if cell.width == 1 and cell.height == 1:
        return code
    return f"table.cell(colspan: {cell.width}, rowspan: {cell.height}, {code})"


def _column_align(grid: Grid, x: int) -> str:
    asked = [cell.align for row in grid.rows for cell in [row[x]] if cell is not None and cell.align is not None]
    if asked:
        return max(set(asked), key=asked.count)
    body = [row[x] for row in grid.rows[grid.n_head :]]
    texts = [cell.text for cell in body if cell is not None and cell.text]
    numeric = sum(1 for text in texts if text[:1] in "-+−.0123456789" or text in ("nan", "NaN", "inf", "None"))
    return "right" if texts and numeric > 0.7 * len(texts) else "left"


def _shades(grid: Grid, part: tuple[int, ...]) -> tuple[str, str]:
    """Return the palette and, row by row, indices into it (-1: none); both empty when no cell has a colour."""
    palette: dict[str, int] = {}
    lines = []
    for row in grid.rows:
        fills = [cell.fill if cell is not None else None for cell in (row[x] for x in part)]
        indices = [palette.setdefault(fill, len(palette)) if fill is not None else -1 for fill in fills]
        lines.append(array(str(index) for index in indices))
    if not palette:
        return "()", "()"
    return array(f'rgb("{fill}")' for fill in palette), array(lines)
