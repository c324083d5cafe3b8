"""Raster images of strangers: told apart by their first bytes, measured in the header, refused before decoding."""

from __future__ import annotations

import base64
import binascii
import struct
from dataclasses import dataclass

MAX_BYTES = 30 * 2**20
MAX_PIXELS = 40_000_000
_PT_PER_PX = 0.75


class PictureError(ValueError):
    """An image that cannot or must not be shown; the message says why."""


@dataclass(frozen=True, slots=True)
class Picture:
    """An image that Typst may decode. ``kind`` is its file suffix; the size is the one to print, in points."""

    data: bytes
    kind: str
    width_pt: float
    height_pt: float
    pixels: int


def read_raster(data: bytes) -> Picture:
    """Return a PNG, JPEG, GIF or WebP image. Raises PictureError for other bytes and for absurd sizes."""
    if len(data) > MAX_BYTES:
        raise PictureError(f"the image has {len(data) / 2**20:.0f} MB, more than {MAX_BYTES / 2**20:.0f} MB")
    try:
        kind, (width, height) = _measure(data)
    except (struct.error, IndexError) as error:
        raise PictureError("the image's header is damaged") from error
    if width < 1 or height < 1:
        raise PictureError("the image has no pixels")
    if width * height > MAX_PIXELS:
        raise PictureError(f"the image claims {width} x {height} pixels, more than {MAX_PIXELS:,} in all")
    return Picture(data, kind, width * _PT_PER_PX, height * _PT_PER_PX, width * height)


def decode_base64(text: str) -> bytes:
    """Return the bytes of a base64 text, as notebooks store images. Raises PictureError."""
    if len(text) > MAX_BYTES * 3 // 2:
        raise PictureError("the image is too large")
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise PictureError("the image's base64 text is damaged") from error


def _measure(data: bytes) -> tuple[str, tuple[int, int]]:
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png", struct.unpack_from(">II", data, 16)
    if data.startswith(b"\xff\xd8\xff"):
        return "jpg", _jpeg_size(data)
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "gif", struct.unpack_from("<HH", data, 6)
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "webp", _webp_size(data)
    raise PictureError("the image is of no known kind (PNG, JPEG, GIF, WebP, SVG)")


def _jpeg_size(data: bytes) -> tuple[int, int]:
    at = 2
    while at < len(data):
        if data[at] != 0xFF:
            raise PictureError("the image's header is damaged")
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
        elif marker in range(0xC0, 0xD0) and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack_from(">HH", data, at + 5)
            return width, height
        else:
            at += 2 + struct.unpack_from(">H", data, at + 2)[0]
    raise PictureError("the image's header is damaged")


def _webp_size(data: bytes) -> tuple[int, int]:
    form = data[12:16]
    if form == b"VP8X":
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    if form == b"VP8L":
        bits = struct.unpack_from("<I", data, 21)[0]
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    width, height = struct.unpack_from("<HH", data, 26)
    return width & 0x3FFF, height & 0x3FFF
