"""Where images of a notebook may come from: data URIs, the cell's attachments, files in the notebook's own folder.

Never the network, never a path that leaves the folder, be it by ``..``, an absolute path or a link.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, unquote_to_bytes

from .bundle import Bundle
from .pictures import MAX_BYTES, Picture, PictureError, decode_base64, read_raster
from .svg import clean_svg
from .widths import PAGE_HEIGHT_PT, PORTRAIT_PT

_DATA_URI = re.compile(r"data:(image/[a-z+.-]+)((?:;[^,]*)?),(.*)", re.DOTALL | re.IGNORECASE)
_NUMBER = re.compile(r"\s*(\d{1,5}(?:\.\d+)?)\s*(?:px)?\s*")
_INLINE_PT = 24.0


@dataclass
class ImageSource:
    """Finds and prepares images for one cell; whatever goes wrong becomes a placeholder that says so."""

    bundle: Bundle
    attachments: Mapping[str, Any] = field(default_factory=dict)

    def expression(self, source: str, alt: str, *, width: object = None, height: object = None) -> str:
        """Return the Typst expression of an ``<img>``; ``width`` and ``height`` are in CSS pixels."""
        try:
            return self._sized(self._find(source), alt, width, height)
        except PictureError as error:
            return self._placeholder(alt or _shortened(source), str(error))

    def mime_expression(self, mime: str, data: object, size: Mapping[str, Any]) -> str:
        """Return the expression of an output's image; ``size`` is its metadata, with a width and height perhaps."""
        try:
            return self._sized(self._decode(mime, data), "", size.get("width"), size.get("height"))
        except PictureError as error:
            return self._placeholder(mime, str(error))

    def svg_expression(self, source: str, alt: str) -> str:
        """Return the expression of an ``<svg>`` element that an HTML parser has read (it lower-cases names)."""
        try:
            return self._sized(clean_svg(_restore_case(source), self.bundle.cleaner), alt, None, None)
        except PictureError as error:
            return self._placeholder(alt, str(error))

    def _find(self, source: str) -> Picture:
        if source.startswith("attachment:"):
            return self._attachment(unquote(source.removeprefix("attachment:")))
        match = _DATA_URI.fullmatch(source)
        if match is not None:
            encoded = ";base64" in match[2].lower()
            data = match[3] if encoded else unquote_to_bytes(match[3])
            return self._decode(match[1].lower(), data)
        return self._file(source)

    def _attachment(self, name: str) -> Picture:
        bundle = self.attachments.get(name)
        if not isinstance(bundle, Mapping) or not bundle:
            raise PictureError("the attachment is missing")
        mime = next(
            (kind for kind in ("image/svg+xml", "image/png", "image/jpeg") if kind in bundle), next(iter(bundle))
        )
        return self._decode(str(mime), bundle[mime])

    def _decode(self, mime: str, data: object) -> Picture:
        if isinstance(data, list):
            data = "".join(str(line) for line in data)
        if isinstance(data, bytes):
            return (
                clean_svg(data.decode("utf-8", "replace"), self.bundle.cleaner) if _is_svg(mime) else read_raster(data)
            )
        if not isinstance(data, str):
            raise PictureError("the image is not text as notebooks store it")
        if _is_svg(mime):
            plain = data if "<" in data else decode_base64(data).decode("utf-8", "replace")
            return clean_svg(plain, self.bundle.cleaner)
        return read_raster(decode_base64(data))

    def _file(self, source: str) -> Picture:
        if re.match(r"[a-zA-Z][a-zA-Z0-9+.-]+:|//|\\\\", source):
            raise PictureError("images are not fetched from elsewhere")
        if self.bundle.folder is None:
            raise PictureError("the notebook has no folder to look in")
        path = _inside(self.bundle.folder, unquote(source.partition("#")[0].partition("?")[0]))
        data = path.read_bytes()
        if path.suffix.lower() == ".svg":
            return clean_svg(data.decode("utf-8", "replace"), self.bundle.cleaner)
        return read_raster(data)

    def _sized(self, picture: Picture, alt: str, width: object, height: object) -> str:
        w, h = _asked_size(picture, _pixels(width), _pixels(height))
        shrink = min(1.0, PORTRAIT_PT / w, PAGE_HEIGHT_PT / h)
        path = self.bundle.add_picture(picture)
        call = "inline-picture" if h <= _INLINE_PT else "picture"
        size = f"{max(w * shrink, 0.1):.2f}pt, {max(h * shrink, 0.1):.2f}pt"
        return f'{call}("{path}", {size}, {self.bundle.literal(alt[:500])})'

    def _placeholder(self, what: str, reason: str) -> str:
        return f"placeholder({self.bundle.literal(f'Image left out ({_shortened(what)}): {reason}.')})"


def _inside(folder: Path, name: str) -> Path:
    """Return the file ``name`` of ``folder``. Raises PictureError if it is elsewhere, no plain file, or too large."""
    try:
        root = folder.resolve(strict=True)
        path = (root / name).resolve(strict=True)
        usable = path.is_relative_to(root) and path.is_file()
        size = path.stat().st_size
    except (OSError, ValueError, RuntimeError) as error:
        raise PictureError("there is no such file in the notebook's folder") from error
    if not usable:
        raise PictureError("there is no such file in the notebook's folder")
    if size > MAX_BYTES:
        raise PictureError("the file is too large")
    return path


def _is_svg(mime: str) -> bool:
    return mime.startswith("image/svg")


def _pixels(value: object) -> float | None:
    match = _NUMBER.fullmatch(str(value)) if isinstance(value, str | int | float) else None
    size = float(match[1]) if match is not None else 0.0
    return size if 1 <= size <= 10_000 else None


def _asked_size(picture: Picture, width: float | None, height: float | None) -> tuple[float, float]:
    ratio = picture.height_pt / picture.width_pt
    if width is not None and height is not None:
        return width * 0.75, height * 0.75
    if width is not None:
        return width * 0.75, width * 0.75 * ratio
    if height is not None:
        return height * 0.75 / ratio, height * 0.75
    return picture.width_pt, picture.height_pt


def _shortened(text: str) -> str:
    return text if len(text) <= 80 else text[:60] + "…"


_CASED = [
    "viewBox",
    "preserveAspectRatio",
    "linearGradient",
    "radialGradient",
    "clipPath",
    "gradientUnits",
    "gradientTransform",
    "patternUnits",
    "patternTransform",
    "patternContentUnits",
    "textPath",
    "textLength",
    "lengthAdjust",
    "markerWidth",
    "markerHeight",
    "markerUnits",
    "refX",
    "refY",
    "maskUnits",
    "clipPathUnits",
    "startOffset",
    "spreadMethod",
    "foreignObject",
]
_CASES = {name.lower(): name for name in _CASED}
_LOWERED = re.compile(r"(?<=[<\s/])(" + "|".join(_CASES) + r")(?=[\s=>/])")


def _restore_case(source: str) -> str:
    fixed = _LOWERED.sub(lambda match: _CASES[match[1]], source)
    return fixed if "xmlns=" in fixed[:2000] else fixed.replace("<svg", '<svg xmlns="http://www.w3.org/2000/svg"', 1)
