"""Long and coloured terminal text to Typst, in blocks small enough to set quickly."""

from __future__ import annotations

from . import ansi
from .bundle import Bundle
from .text import breakable, quote

_BLOCK_LINES = 200
_MAX_LINES = 4_000
_MAX_LINES_IN_ALL = 40_000
_MAX_COLOURED = 600
_MAX_CHARS = 2_000_000
_LINE_CHARS = 80
_PIECE_CHARS = 16


def lines_source(text: str, bundle: Bundle) -> str:
    """Return markup of plain lines, cut with a notice after 4,000 lines. One call per line of markup."""
    lines = text[:_MAX_CHARS].rstrip("\n").split("\n")
    most = bundle.allow("lines", min(len(lines), _MAX_LINES), _MAX_LINES_IN_ALL)
    if len(lines) > most or len(text) > _MAX_CHARS:
        bundle.note(f"A text output of {len(lines):,} lines is cut after {most:,}.")
        lines = [*lines[:most], "[…]"]
    cleaned = [bundle.cleaner.clean(line) for line in lines]
    blocks = [cleaned[at : at + _BLOCK_LINES] for at in range(0, len(cleaned), _BLOCK_LINES)]
    return "\n".join(f"#plain-lines({quote(chr(10).join(block))})" for block in blocks)


def coloured_source(text: str, bundle: Bundle) -> str:
    """Return markup of terminal output; colours are kept in the first 600 lines."""
    if not ansi.has_colour(text[:_MAX_CHARS]):
        return lines_source(ansi.plain(text), bundle)
    lines = ansi.coloured_lines(text[:_MAX_CHARS].rstrip("\n"))
    shown = ", ".join(_line(runs, bundle) for runs in lines[:_MAX_COLOURED])
    rest = "\n".join("".join(run.text for run in runs) for runs in lines[_MAX_COLOURED:])
    return f"#terminal(({shown},))" + (f"\n{lines_source(rest, bundle)}" if rest else "")


def _line(runs: list[ansi.Run], bundle: Bundle) -> str:
    # A word may change its colour: how long it is shows in the whole line only.
    longest = max(map(len, "".join(run.text for run in runs).split()), default=0)
    limit = _PIECE_CHARS if longest > _LINE_CHARS else _LINE_CHARS
    return "{" + ";".join(["[]", *(_run(run, limit, bundle) for run in runs)]) + "}"


def _run(run: ansi.Run, limit: int, bundle: Bundle) -> str:
    body = f"raw({quote(breakable(bundle.cleaner.clean(run.text), limit))})"
    options = [f'fill: rgb("{run.colour}")'] if run.colour is not None else []
    options += ['weight: "bold"'] if run.bold else []
    return f"text({', '.join(options)}, {body})" if options else body
