"""Our own SVG figures as PGF pictures, which nbconvert's LaTeX template can draw without any other program.

That template loads tcolorbox, which brings PGF's basic layer but not TikZ, so the basic layer it is.

Only what :mod:`perchq_widget.report.svg` writes is translated: ``svg g path rect line polyline circle text title`` with
colours as ``#RRGGBB``, absolute ``M L H V Z`` and text turned around its own place. Anything else is an error, so that
no figure loses a part without a word.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from xml.etree.ElementTree import Element, ParseError

from perchq_widget.core.errors import QuantValueError
from perchq_widget.report.latex_text import latex_text

_MAX_CHARS = 2_000_000
_MAX_POINTS = 50_000
_MAX_DEPTH = 20
# TeX's largest length is 16383 pt.
_MAX_LENGTH = 16_000.0
_NUMBER = r"-?(?:\d+\.?\d*|\.\d+)"
_TOKEN = re.compile(rf"\s*,?\s*([MLHVZ]|{_NUMBER})")
_COLOUR = re.compile(r"#([0-9A-Fa-f]{6})")
_TURN = re.compile(rf"rotate\(({_NUMBER})\s+({_NUMBER})\s+({_NUMBER})\)")
# Paths are most of a picture; two commands of its own keep it short.
_STEPS = "\n".join(
    f"\\def\\pq{name}(#1,#2){{\\pgfpath{command}{{\\pgfqpoint{{#1pt}}{{#2pt}}}}}}"
    for name, command in (("M", "moveto"), ("L", "lineto"))
)
_ANCHORS = {"start": "left,base", "middle": "base", "end": "right,base"}


def pgf_picture(svg: str) -> str:
    r"""Return ``svg`` as a ``pgfpicture`` in a ``\resizebox`` as wide as the line; colours are defined inside.

    A pixel is a point before scaling. Needs the packages pgf, xcolor and graphicx. Raises QuantValueError for a figure
    that is no SVG, too large, or holds what our figures do not.
    """
    root = _parse(svg)
    width, height = _size(root, "width"), _size(root, "height")
    canvas = _Canvas(height)
    drawn = "\n".join(canvas.draw(root))
    frame = f"\\pgfpathrectangle{{\\pgfpointorigin}}{{{_point(width, height)}}}\\pgfusepath{{use as bounding box}}"
    colours = "\n".join(f"\\definecolor{{pq{code}}}{{HTML}}{{{code}}}" for code in sorted(canvas.colours))
    picture = f"\\begin{{pgfpicture}}\\sffamily\n{frame}\n{drawn}\n\\end{{pgfpicture}}"
    return f"{{{_STEPS}\n{colours}\n\\resizebox{{\\linewidth}}{{!}}{{{picture}}}}}"


def _parse(svg: str) -> Element:
    from defusedxml.common import DefusedXmlException
    from defusedxml.ElementTree import fromstring

    if len(svg) > _MAX_CHARS:
        raise _refusal(f"it has {len(svg):,} characters, at most {_MAX_CHARS:,} are drawn")
    try:
        root: Element = fromstring(svg, forbid_dtd=True)
    except (ParseError, DefusedXmlException, ValueError) as error:
        raise _refusal(f"it cannot be parsed ({type(error).__name__})") from error
    if _local(root) != "svg":
        raise _refusal(f"its outermost element is <{_local(root)}>")
    return root


def _refusal(reason: str) -> QuantValueError:
    return QuantValueError(
        f"svg: a figure of perchq_widget is needed, but {reason[:200]}. Pass document['figures'] as document() made it."
    )


def _local(element: Element) -> str:
    return str(element.tag).rpartition("}")[2]


class _Canvas:
    """Translates elements one by one, collects the colours in use, and counts points. ``height`` turns y over."""

    def __init__(self, height: float) -> None:
        self.colours: set[str] = set()
        self._height = height
        self._points = 0
        self._drawers: dict[str, Callable[[Element], str]] = {
            "path": self._path, "rect": self._rect, "line": self._line, "polyline": self._polyline,
            "circle": self._circle, "text": self._text,
        }  # fmt: skip

    def draw(self, parent: Element, depth: int = 0) -> Iterator[str]:
        """PGF commands of everything in ``parent``, in painting order."""
        if depth > _MAX_DEPTH:
            raise _refusal(f"its groups are nested more than {_MAX_DEPTH} deep")
        for child in parent:
            name = _local(child)
            if name == "g":
                yield from self.draw(child, depth + 1)
            elif name in self._drawers:
                yield self._drawers[name](child)
            elif name != "title":
                raise _refusal(f"it holds an element <{name}>")

    def _path(self, element: Element) -> str:
        return self._painted(element, "".join(self._steps(element.get("d", ""))))

    def _steps(self, commands: str) -> Iterator[str]:
        """The path's commands as PGF's; H and V take the other coordinate from where the pen is."""
        tokens = _tokens(commands)
        x = y = 0.0
        command = ""
        while tokens:
            token = tokens.pop()
            if token == "Z":
                yield r"\pgfpathclose"
                continue
            if token in "MLHV":
                command = token
            else:
                tokens.append(token)
            if command in ("M", "L"):
                x, y = _take(tokens), _take(tokens)
            elif command == "H":
                x = _take(tokens)
            elif command == "V":
                y = _take(tokens)
            else:
                raise _refusal(f"a path begins with {token!r}")
            yield _to("M" if command == "M" else "L", self._at(x, y))
            # What follows a move without a command of its own are lines.
            command = "L" if command == "M" else command

    def _at(self, x: float, y: float) -> tuple[float, float]:
        self._points += 1
        if self._points > _MAX_POINTS:
            raise _refusal(f"it has more than {_MAX_POINTS:,} points")
        return x, self._height - y

    def _rect(self, element: Element) -> str:
        x, y, width, height = (_size(element, name) for name in ("x", "y", "width", "height"))
        track = f"\\pgfpathrectangle{{{_point(*self._at(x, y + height))}}}{{{_point(width, height)}}}"
        return self._painted(element, track, fill="#000000")

    def _line(self, element: Element) -> str:
        x1, y1, x2, y2 = (_size(element, name) for name in ("x1", "y1", "x2", "y2"))
        return self._painted(element, _to("M", self._at(x1, y1)) + _to("L", self._at(x2, y2)))

    def _polyline(self, element: Element) -> str:
        return self._painted(element, "".join(self._steps(f"M{element.get('points', '')}")))

    def _circle(self, element: Element) -> str:
        x, y, radius = (_size(element, name) for name in ("cx", "cy", "r"))
        track = f"\\pgfpathcircle{{{_point(*self._at(x, y))}}}{{{_length(radius)}pt}}"
        return self._painted(element, track, fill="#000000")

    def _text(self, element: Element) -> str:
        x, y, size = (_size(element, name) for name in ("x", "y", "font-size"))
        anchor = element.get("text-anchor", "start")
        if anchor not in _ANCHORS or len(element):
            raise _refusal(f"it holds text with the anchor {anchor!r} or elements inside")
        turn = _turn(element, x, y)
        turned = f",rotate={_length(-turn)}" if turn != 0 else ""
        bold = r"\bfseries" if element.get("font-weight") == "bold" else ""
        font = f"\\fontsize{{{_length(size)}}}{{{_length(size)}}}{bold}\\selectfont"
        colour = self._colour(element.get("fill", "#000000"))
        place = f"{_ANCHORS[anchor]},at={{{_point(*self._at(x, y))}}}{turned}"
        return f"\\pgftext[{place}]{{{font}\\textcolor{{{colour}}}{{{latex_text(_content(element))}}}}}"

    def _painted(self, element: Element, track: str, fill: str = "none") -> str:
        """One path, used with the element's fill and stroke."""
        if element.get("transform") is not None:
            raise _refusal(f"it turns a <{_local(element)}>")
        look, use = "", []
        inside, outline = element.get("fill", fill), element.get("stroke", "none")
        if inside != "none":
            use.append("fill")
            look += f"\\pgfsetfillcolor{{{self._colour(inside)}}}"
            if element.get("fill-opacity") is not None:
                look += f"\\pgfsetfillopacity{{{_length(_size(element, 'fill-opacity'))}}}"
        if outline != "none":
            use.append("stroke")
            width = _length(_size(element, "stroke-width"))
            look += f"\\pgfsetstrokecolor{{{self._colour(outline)}}}\\pgfsetlinewidth{{{width}pt}}{_dashes(element)}"
        return f"\\pgfscope{look}{track}\\pgfusepath{{{','.join(use)}}}\\endpgfscope"

    def _colour(self, text: str) -> str:
        match = _COLOUR.fullmatch(text)
        if match is None:
            raise _refusal(f"it has a colour {text!r}")
        code = match[1].upper()
        self.colours.add(code)
        return f"pq{code}"


def _tokens(commands: str) -> list[str]:
    """Commands and numbers of a path, last first."""
    tokens, at = [], 0
    commands = commands.rstrip()
    while at < len(commands):
        match = _TOKEN.match(commands, at)
        if match is None:
            raise _refusal(f"a path has {commands[at : at + 10]!r}")
        tokens.append(match[1])
        at = match.end()
    return tokens[::-1]


def _take(tokens: list[str]) -> float:
    if not tokens or tokens[-1] in "MLHVZ":
        raise _refusal("a path lacks a coordinate")
    return float(tokens.pop())


def _turn(element: Element, x: float, y: float) -> float:
    """Degrees clockwise that a text is turned around its own place."""
    transform = element.get("transform")
    if transform is None:
        return 0.0
    match = _TURN.fullmatch(transform)
    if match is None or (float(match[2]), float(match[3])) != (x, y):
        raise _refusal(f"it transforms text by {transform!r}")
    return float(match[1])


def _dashes(element: Element) -> str:
    dashes = element.get("stroke-dasharray")
    if dashes is None:
        return ""
    lengths = [float(length) for length in re.findall(_NUMBER, dashes)]
    if len(lengths) != 2:
        raise _refusal(f"it has a dash pattern {dashes!r}")
    return "\\pgfsetdash{" + "".join(f"{{{_length(length)}pt}}" for length in lengths) + "}{0pt}"


def _content(element: Element) -> str:
    return "" if element.text is None else element.text


def _size(element: Element, name: str) -> float:
    text = element.get(name, "")
    if not re.fullmatch(_NUMBER, text):
        raise _refusal(f"<{_local(element)}> has {name}={text!r}")
    return float(text)


def _point(x: float, y: float) -> str:
    return f"\\pgfqpoint{{{_length(x)}pt}}{{{_length(y)}pt}}"


def _to(command: str, place: tuple[float, float]) -> str:
    return f"\\pq{command}({_length(place[0])},{_length(place[1])})"


def _length(value: float) -> str:
    """A number as TeX reads it: no exponent, within its largest length."""
    if not (math.isfinite(value) and abs(value) <= _MAX_LENGTH):
        raise _refusal(f"it has a coordinate {value:g}")
    return f"{value:.2f}".rstrip("0").rstrip(".")
