"""The little CSS that notebook outputs are coloured with: inline styles and pandas Styler's id rules."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import tinycss2
from tinycss2 import color4

Style = dict[str, str]
_MAX_CSS = 8_000_000
_KNOWN = frozenset(
    {"background-color", "background", "color", "font-weight", "font-style", "text-align", "text-decoration", "display"}
)


def declarations(css: str) -> Style:
    """Return the declarations of an inline ``style`` that we act on; the last of a name wins."""
    return _declared(tinycss2.parse_blocks_contents(css[:20_000], skip_comments=True, skip_whitespace=True))


def colour(value: str | None) -> str | None:
    """Return ``#rrggbb`` for an opaque-enough CSS colour, blended on white, else None."""
    if not value:
        return None
    parsed = color4.parse_color(value.strip())
    if parsed is None or isinstance(parsed, str):
        return None
    red, green, blue, alpha = [float(part or 0) for part in (*parsed.to("srgb").coordinates, parsed.alpha)]
    if alpha < 0.02:
        return None
    channels = (min(1.0, max(0.0, channel)) * alpha + (1 - alpha) for channel in (red, green, blue))
    return "#" + "".join(f"{round(255 * channel):02x}" for channel in channels)


def is_bold(style: Mapping[str, str]) -> bool:
    """Whether ``font-weight`` asks for a bold face."""
    weight = style.get("font-weight", "")
    return weight in ("bold", "bolder") or (weight.isdigit() and int(weight) >= 600)


@dataclass(frozen=True)
class Selector:
    """The last part of a selector with an optional ancestor's id: ``#T1 td.col0`` and the like; no more is needed."""

    tag: str
    element_id: str
    classes: frozenset[str]
    ancestor_id: str

    def matches(self, tag: str, element_id: str, classes: frozenset[str], table_id: str) -> bool:
        """Whether an element of the table ``table_id`` is meant."""
        return (
            self.tag in ("", "*", tag)
            and self.element_id in ("", element_id)
            and self.classes <= classes
            and self.ancestor_id in ("", table_id)
        )


@dataclass
class StyleSheet:
    """Rules of the ``<style>`` elements of one output; those for a single id are found by it, others are tried."""

    by_id: dict[str, list[Style]] = field(default_factory=lambda: defaultdict(list))
    others: list[tuple[Selector, Style]] = field(default_factory=list)

    def add(self, css: str) -> None:
        """Read one ``<style>`` element; what is not a plain rule (``@media`` and so on) is skipped."""
        for rule in tinycss2.parse_stylesheet(css[:_MAX_CSS], skip_comments=True, skip_whitespace=True):
            if rule.type == "qualified-rule":
                contents = tinycss2.parse_blocks_contents(rule.content, skip_comments=True, skip_whitespace=True)
                style = _declared(contents)
                if style:
                    self._add_rule(tinycss2.serialize(rule.prelude), style)

    def _add_rule(self, prelude: str, style: Style) -> None:
        for text in prelude.split(","):
            selector = _selector(text)
            if selector is None:
                continue
            if selector.element_id and not selector.ancestor_id and not selector.classes:
                self.by_id[selector.element_id].append(style)
            elif len(self.others) < 500:
                self.others.append((selector, style))

    def style_of(self, tag: str, element_id: str, classes: Iterable[str], inline: str, table_id: str) -> Style:
        """Return the declarations in force on an element: general rules, then those of its id, then inline."""
        style: Style = {}
        own = frozenset(classes)
        for selector, rule in self.others:
            if selector.matches(tag, element_id, own, table_id):
                style.update(rule)
        for rule in self.by_id.get(element_id, ()) if element_id else ():
            style.update(rule)
        if inline:
            style.update(declarations(inline))
        return style


def _selector(text: str) -> Selector | None:
    parts = text.split()
    if not parts or any(mark in text for mark in ":[>+~"):
        return None
    tag, element_id, classes = _compound(parts[-1])
    ancestors = [_compound(part)[1] for part in parts[:-1]]
    return Selector(tag, element_id, classes, next((name for name in ancestors if name), ""))


def _compound(text: str) -> tuple[str, str, frozenset[str]]:
    spaced = text.replace("#", " #").replace(".", " .").split()
    tag = next((part.lower() for part in spaced if part[0] not in "#."), "")
    element_id = next((part[1:] for part in spaced if part[0] == "#"), "")
    return tag, element_id, frozenset(part[1:] for part in spaced if part[0] == ".")


def _declared(nodes: list[Any]) -> Style:
    return {
        node.lower_name: tinycss2.serialize(node.value).strip().removesuffix("!important").strip()[:200]
        for node in nodes
        if node.type == "declaration" and node.lower_name in _KNOWN
    }
