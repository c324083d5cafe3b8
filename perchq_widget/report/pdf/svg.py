"""SVG images of strangers: parsed without entities, emptied of all that acts or points outside, then measured."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from xml.etree.ElementTree import Element, ParseError, register_namespace, tostring

from .pictures import Picture, PictureError, decode_base64, read_raster
from .text import TextCleaner

_MAX_CHARS = 12_000_000
_MAX_ELEMENTS = 150_000
_MAX_DEPTH = 120
_SVG = "{http://www.w3.org/2000/svg}"
_HREF = "{http://www.w3.org/1999/xlink}href"
_DROPPED = frozenset({"filter", "script", "foreignObject", "iframe", "audio", "video", "handler", "set", "animate"})
_PX_PER_UNIT = {"": 1.0, "px": 1.0, "pt": 4 / 3, "pc": 16.0, "mm": 96 / 25.4, "cm": 96 / 2.54, "in": 96.0}
_LENGTH = re.compile(r"\s*([0-9]*\.?[0-9]+(?:[eE][-+]?[0-9]+)?)\s*(px|pt|pc|mm|cm|in)?\s*")
_CSS_VARIABLE = re.compile(r"var\(\s*--[\w-]+\s*(?:,\s*([^()]*(?:\([^()]*\))?[^()]*))?\)")
_OUTSIDE = re.compile(r"@import[^;]*;?|url\(\s*['\"]?(?!#)[^)]*\)", re.IGNORECASE)
_FAMILY = re.compile(r"(font-family\s*:\s*)([^;}]*)", re.IGNORECASE)

register_namespace("", "http://www.w3.org/2000/svg")
register_namespace("xlink", "http://www.w3.org/1999/xlink")


def clean_svg(source: str, cleaner: TextCleaner) -> Picture:
    """Return the image without scripts, foreign objects, links and CSS variables. Raises PictureError."""
    if len(source) > _MAX_CHARS:
        raise PictureError("the SVG image is too large")
    root = _parse(source)
    if root.tag not in (f"{_SVG}svg", "svg"):
        raise PictureError("the image is no SVG")
    width, height = _size(root)
    _clean_element(root, cleaner, 0)
    if _drawn_elements(root) > _MAX_ELEMENTS:
        raise PictureError(f"the SVG image draws more than {_MAX_ELEMENTS:,} elements")
    root.set("width", f"{width:.6g}")
    root.set("height", f"{height:.6g}")
    return Picture(tostring(root, encoding="utf-8"), "svg", width * 0.75, height * 0.75, 0)


def _parse(source: str) -> Element:
    from defusedxml.common import DefusedXmlException
    from defusedxml.ElementTree import fromstring

    try:
        root: Element = fromstring(source.encode("utf-8", "replace"), forbid_dtd=False)
    except (ParseError, DefusedXmlException, ValueError) as error:
        raise PictureError(f"the SVG image cannot be read: {type(error).__name__}") from error
    return root


def _size(root: Element) -> tuple[float, float]:
    box = [float(part) for part in re.findall(r"-?[0-9]*\.?[0-9]+", root.get("viewBox", ""))[:4]]
    natural = (box[2], box[3]) if len(box) == 4 else (300.0, 150.0)
    width, height = _length(root.get("width")), _length(root.get("height"))
    if width is None and height is None:
        width, height = natural
    elif width is None and height is not None:
        width = height * natural[0] / max(natural[1], 1e-9)
    elif width is not None and height is None:
        height = width * natural[1] / max(natural[0], 1e-9)
    if width is None or height is None or not (0 < width < 1e6 and 0 < height < 1e6 and math.isfinite(width)):
        raise PictureError("the SVG image has no usable size")
    return width, height


def _length(value: str | None) -> float | None:
    match = _LENGTH.fullmatch(value) if value is not None else None
    return float(match[1]) * _PX_PER_UNIT[match[2] if match[2] is not None else ""] if match is not None else None


def _clean_element(element: Element, cleaner: TextCleaner, depth: int) -> None:
    if depth > _MAX_DEPTH:
        raise PictureError("the SVG image is nested too deeply")
    element.text = _clean_text(element, element.text, cleaner)
    for name in list(element.attrib):
        _clean_attribute(element, name)
    for child in list(element):
        if _unwanted(child):
            element.remove(child)
        else:
            child.tail = cleaner.clean(child.tail) if child.tail is not None else None
            _clean_element(child, cleaner, depth + 1)


def _clean_text(element: Element, text: str | None, cleaner: TextCleaner) -> str | None:
    if text is None:
        return None
    return _css(text) if _local(element) == "style" else cleaner.clean(text)


def _clean_attribute(element: Element, name: str) -> None:
    value = element.attrib[name]
    local = name.rpartition("}")[2].lower()
    if local.startswith("on"):
        del element.attrib[name]
    elif local == "href":
        if not (value.startswith("#") or _local(element) == "image"):
            del element.attrib[name]
    elif local == "font-family":
        element.attrib[name] = _family(value)
    elif "(" in value or local == "style":
        element.attrib[name] = _css(value)


def _unwanted(child: Element) -> bool:
    if _local(child) in _DROPPED:
        return True
    return _local(child) == "image" and not any(_embedded_raster(link) for link in _links(child))


def _drawn_elements(root: Element) -> int:
    """Count elements as drawn: ``<use>`` repeats what it names, and a few of them nested can repeat it endlessly."""
    named = {element.attrib["id"]: element for element in root.iter() if "id" in element.attrib}
    counts: dict[int, int] = {}

    def count(element: Element, depth: int) -> int:
        if depth > 2 * _MAX_DEPTH:
            raise PictureError("the SVG image refers to itself")
        if id(element) not in counts:
            used = [named.get(link[1:]) for link in _links(element) if _local(element) == "use"]
            parts = [*element, *(target for target in used if target is not None)]
            counts[id(element)] = min(_MAX_ELEMENTS + 1, 1 + sum(count(part, depth + 1) for part in parts))
        return counts[id(element)]

    return count(root, 0)


def _links(element: Element) -> Iterator[str]:
    yield from (element.attrib[name] for name in ("href", _HREF) if name in element.attrib)


def _embedded_raster(link: str) -> bool:
    """Only pixels that are in the file itself, of a kind and size that we would show anywhere else."""
    head, _, body = link.partition(",")
    if not re.fullmatch(r"data:image/(png|jpe?g|gif|webp);base64", head.strip()):
        return False
    try:
        read_raster(decode_base64(body))
    except PictureError:
        return False
    return True


def _css(text: str) -> str:
    resolved = _CSS_VARIABLE.sub(lambda match: match[1] if match[1] is not None else "currentColor", text)
    return _FAMILY.sub(lambda match: match[1] + _family(match[2]), _OUTSIDE.sub("none", resolved))


def _family(names: str) -> str:
    """Name a font that is there: families of the maker's machine are not, and generic ones resolve to nothing."""
    return "DejaVu Sans Mono" if "mono" in names.lower() or "courier" in names.lower() else "Libertinus Serif"


def _local(element: Element) -> str:
    return element.tag.rpartition("}")[2]
