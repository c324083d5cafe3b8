"""End tags that HTML lets an author leave out, put back: our parser nests what a browser would close.

Linear, and cosmetic at worst: what it writes is parsed again and walked like all else.
"""

from __future__ import annotations

import re

_CELLS = frozenset({"td", "th"})
_ROWS = _CELLS | {"tr"}
_GROUPS = _ROWS | {"thead", "tbody", "tfoot"}
# An opening tag ends these, if they are open at that place.
_ENDS = {
    "td": _CELLS,
    "th": _CELLS,
    "tr": _ROWS,
    "thead": _GROUPS,
    "tbody": _GROUPS,
    "tfoot": _GROUPS,
    "li": frozenset({"li"}),
    "dt": frozenset({"dt", "dd"}),
    "dd": frozenset({"dt", "dd"}),
}
_TAG = re.compile(r"<(/?)(table|thead|tbody|tfoot|tr|td|th|ul|ol|li|dl|dt|dd)\b[^>]*>", re.IGNORECASE)


def close_implied(html: str) -> str:
    """Return ``html`` with the end tags of cells, rows and list entries; unchanged if none is missing."""
    lowered = html.lower()
    if all(lowered.count(f"<{name}>") + lowered.count(f"<{name} ") <= lowered.count(f"</{name}>") for name in _ENDS):
        return html
    pieces: list[str] = []
    stack: list[str] = []
    at = 0
    for match in _TAG.finditer(html):
        pieces.append(html[at : match.start()])
        name = match[2].lower()
        pieces += _closed(stack, name, opening=not match[1])
        pieces.append(match[0])
        at = match.end()
    return "".join([*pieces, html[at:]])


def _closed(stack: list[str], name: str, *, opening: bool) -> list[str]:
    """Return the end tags to write before a tag, and keep the stack of open ones."""
    ended: list[str] = []
    if opening:
        while stack and stack[-1] in _ENDS.get(name, ()):
            ended.append(f"</{stack.pop()}>")
        stack.append(name)
    elif name in stack[-200:]:
        while stack[-1] != name:
            ended.append(f"</{stack.pop()}>")
        stack.pop()
    return ended
