"""The few SVG elements that our figures are made of, as strings, and where labels go so that none overlap.

Only ``svg g path rect line circle text title`` with presentation attributes: browsers, nbconvert and the typesetter of
the PDF draw these alike. No style sheet, variable, script or reference, so a figure is safe wherever it is put.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from perchq_widget.report.text import escape

FONT = "Liberation Sans, Arial, Helvetica, DejaVu Sans"
BLUE, VERMILLION, ORANGE, SKY, PINK = "#0072B2", "#D55E00", "#E69F00", "#56B4E9", "#CC79A7"
INK, GREY, FAINT = "#222222", "#666666", "#DDDDDD"
# Text in the mark's hue, dark enough to read on white (contrast 4.5 and more).
VERMILLION_INK, PINK_INK, BLUE_INK = "#A84300", "#9C3F76", "#005A8E"


def num(value: float) -> str:
    """A coordinate: one decimal, no trailing zero."""
    text = f"{value:.1f}"
    return text[:-2] if text.endswith(".0") else text


def text_width(text: str, size: float = 12) -> float:
    """Width in pixels that no usual font exceeds, the typesetter's monospaced one included."""
    ems = 0.0
    for char in text:
        if char.isascii():
            ems += 0.85 if char in "mwMW@%" else 0.62
        else:
            ems += 1.05 if unicodedata.east_asian_width(char) in "WF" else 0.75
    return ems * size


def fit(text: str, width: float, size: float = 12) -> str:
    """Cut ``text`` in the middle until it fits ``width`` pixels; names differ at their ends."""
    if text_width(text, size) <= width:
        return text
    keep = len(text) - 1
    while keep > 2:
        head = keep // 3
        short = f"{text[:head]}…{text[len(text) - (keep - head) :]}"
        if text_width(short, size) <= width:
            return short
        keep -= max(1, keep // 8)
    return "…"


@dataclass(frozen=True, slots=True)
class Axis:
    """A linear map from data ``lo..hi`` to pixels ``start..end`` (``start > end`` turns it over)."""

    lo: float
    hi: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Pixel of ``value``; values outside stop at the ends."""
        share = (value - self.lo) / (self.hi - self.lo)
        return self.start + (self.end - self.start) * min(1.0, max(0.0, share))

    def ticks(self, count: int) -> list[float]:
        """About ``count`` round values inside the axis."""
        step = nice_step((self.hi - self.lo) / max(1, count))
        first = math.ceil(self.lo / step - 1e-9)
        last = math.floor(self.hi / step + 1e-9)
        return [index * step for index in range(first, last + 1)]


def nice_step(rough: float) -> float:
    """The least 1, 2 or 5 times a power of ten that is not under ``rough`` (which is positive)."""
    power = 10.0 ** math.floor(math.log10(rough))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * (1 - 1e-9))


def text(
    x: float, y: float, content: str, *, size: float = 12, anchor: str = "start", fill: str = INK, bold: bool = False
) -> str:
    """One line of text, escaped; ``anchor`` is start, middle or end."""
    extra = (f' text-anchor="{anchor}"' if anchor != "start" else "") + (' font-weight="bold"' if bold else "")
    return f'<text x="{num(x)}" y="{num(y)}" font-size="{num(size)}" fill="{fill}"{extra}>{escape(content)}</text>'


def line(x1: float, y1: float, x2: float, y2: float, stroke: str, width: float = 1, dash: str = "") -> str:
    """A straight line."""
    dashed = f' stroke-dasharray="{dash}"' if dash else ""
    ends = f'x1="{num(x1)}" y1="{num(y1)}" x2="{num(x2)}" y2="{num(y2)}"'
    return f'<line {ends} stroke="{stroke}" stroke-width="{num(width)}"{dashed}/>'


def rect(x: float, y: float, width: float, height: float, fill: str, opacity: float = 1) -> str:
    """A filled rectangle; never thinner than half a pixel, so that it stays visible."""
    alpha = f' fill-opacity="{opacity:g}"' if opacity != 1 else ""
    size = f'width="{num(max(width, 0.5))}" height="{num(max(height, 0))}"'
    return f'<rect x="{num(x)}" y="{num(y)}" {size} fill="{fill}"{alpha}/>'


def path(d: str, *, fill: str = "none", stroke: str = "none", width: float = 1, opacity: float = 1) -> str:
    """A path from its commands."""
    alpha = f' fill-opacity="{opacity:g}"' if opacity != 1 else ""
    outline = f' stroke="{stroke}" stroke-width="{num(width)}"' if stroke != "none" else ""
    return f'<path d="{d}" fill="{fill}"{alpha}{outline}/>'


def triangle(x: float, y: float, fill: str, *, up: bool = True, size: float = 4) -> str:
    """The mark ▲ or ▼ around ``(x, y)``, drawn rather than typed: not every font has the glyph."""
    tip, foot = (y - size, y + size) if up else (y + size, y - size)
    return path(f"M{num(x)} {num(tip)}L{num(x + size)} {num(foot)}L{num(x - size)} {num(foot)}Z", fill=fill)


def diamond(x: float, y: float, fill: str, size: float = 5) -> str:
    """A diamond around ``(x, y)``."""
    left, right, top, bottom = num(x - size), num(x + size), num(y - size), num(y + size)
    return path(f"M{left} {num(y)}L{num(x)} {top}L{right} {num(y)}L{num(x)} {bottom}Z", fill=fill)


def circle(x: float, y: float, radius: float, fill: str) -> str:
    """A disc."""
    return f'<circle cx="{num(x)}" cy="{num(y)}" r="{num(radius)}" fill="{fill}"/>'


@dataclass(frozen=True, slots=True)
class Label:
    """A text that wants to stand centred at pixel ``x``."""

    x: float
    content: str
    fill: str = INK
    bold: bool = False
    size: float = 12

    @property
    def width(self) -> float:
        """Estimated width in pixels."""
        return text_width(self.content, self.size)


def spread(labels: Sequence[Label], left: float, right: float, gap: float = 12) -> list[float]:
    """Centres for ``labels`` in one row between ``left`` and ``right``, in their given order, without overlap.

    Each stays where it wants to be if there is room, else it is pushed the least way to the right, then back from the
    right end. Labels wider than the row together start at ``left`` and run on: cut them to size first.
    """
    order = sorted(range(len(labels)), key=lambda index: labels[index].x)
    centres = [0.0] * len(labels)
    edge = left
    for index in order:
        half = labels[index].width / 2
        centres[index] = max(labels[index].x, edge + half)
        edge = centres[index] + half + gap
    edge = right
    for index in reversed(order):
        half = labels[index].width / 2
        centres[index] = max(min(centres[index], edge - half), left + half)
        edge = centres[index] - half - gap
    return centres


def row_of(labels: Sequence[Label], y: float, left: float, right: float, gap: float = 12) -> str:
    """``labels`` drawn in one row at baseline ``y``, spread so that none overlap."""
    centres = spread(labels, left, right, gap)
    return "".join(
        text(x, y, label.content, size=label.size, anchor="middle", fill=label.fill, bold=label.bold)
        for x, label in zip(centres, labels, strict=True)
    )


def legend(right: float, y: float, entries: Sequence[tuple[str, str, float]]) -> tuple[str, float]:
    """Colour keys ``(text, colour, opacity)`` in one row that ends at pixel ``right``; also where the row begins."""
    parts = []
    for content, colour, opacity in reversed(entries):
        right -= text_width(content, 11)
        parts.append(text(right, y, content, size=11, fill=GREY) + rect(right - 18, y - 8, 13, 8, colour, opacity))
        right -= 32
    return "".join(parts), right


def heading(content: str, width: float, entries: Sequence[tuple[str, str, float]] = ()) -> str:
    """Title on the left and legend on the right of the first row; the title is cut where they would meet."""
    keys, left = legend(width - 10, 20, entries)
    return text(12, 20, fit(content, left - 12, 14), size=14, bold=True) + keys


def upright(x: float, y: float, content: str) -> str:
    """Small grey text that reads upwards, centred at ``(x, y)``: the name of a vertical axis."""
    turn = f'transform="rotate(-90 {num(x)} {num(y)})"'
    place = f'x="{num(x)}" y="{num(y)}" font-size="11" fill="{GREY}" text-anchor="middle"'
    return f"<text {place} {turn}>{escape(content)}</text>"


def document(width: float, height: float, title: str, parts: Iterable[str]) -> str:
    """The whole figure: white ground, title for screen readers, one font for all text."""
    size = f'width="{num(width)}" height="{num(height)}" viewBox="0 0 {num(width)} {num(height)}"'
    ground = f'<rect x="0" y="0" width="{num(width)}" height="{num(height)}" fill="#ffffff"/>'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img"><title>{escape(title)}</title>'
    return f'{head}{ground}<g font-family="{FONT}">{"".join(parts)}</g></svg>'
