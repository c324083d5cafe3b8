"""Closing a panel: a box closes only itself, so its children, layouts, styles, scales and axes are found and closed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import ipywidgets as w


def owned(root: Any) -> list[Any]:
    """Every widget that ``root`` reaches through its synchronised traits, itself not included."""
    found: dict[int, Any] = {id(root): root}
    waiting = [root]
    while waiting:
        for widget in _direct(waiting.pop()):
            if id(widget) not in found:
                found[id(widget)] = widget
                waiting.append(widget)
    return list(found.values())[1:]


def close_tree(root: Any, close_root: Callable[[], None], extra: tuple[Any, ...] = ()) -> None:
    """Close ``root`` and all that it owns; ``extra`` are parts that are not shown at the moment."""
    parts = owned(root)
    for part in extra:
        parts += [part, *owned(part)]
    close_root()
    for part in parts:
        part.close()


def _direct(widget: Any) -> Iterator[Any]:
    for name in widget.keys:
        # Reading a trait may create its default (a tooltip, a layout); what was never made needs no closing.
        if name in widget._trait_values:
            yield from _widgets_in(widget._trait_values[name])


def _widgets_in(value: object) -> Iterator[Any]:
    if isinstance(value, w.Widget):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _widgets_in(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _widgets_in(item)
