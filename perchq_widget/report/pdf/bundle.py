"""What one conversion collects: fragments, images, data files and notices, all in memory until it is typeset."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

from .compile import Job
from .coverage import coverage_of, missing_notice
from .pictures import Picture, PictureError
from .svg import clean_svg
from .text import TextCleaner, quote
from .values import shorten

_DATA = Path(__file__).parent / "data"
_MAX_PIXELS_IN_ALL = 300_000_000
_HEAD = '#import "/prelude.typ": *\n'


@dataclass
class Bundle:
    """The growing parts of one PDF. Methods return Typst expressions that call what they stored."""

    font_paths: Sequence[str] = ()
    folder: Path | None = None
    files: dict[str, bytes] = field(default_factory=dict)
    images: list[str] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    created: str = ""
    table_rows: int = 0
    language: str = "python"
    _fragments: int = 0
    _pixels: int = 0
    _taken: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.cleaner = TextCleaner(coverage_of(self.font_paths))
        for name in ("prelude.typ", "report.typ"):
            self.files[f"/{name}"] = (_DATA / name).read_bytes()

    def literal(self, text: object) -> str:
        """Return untrusted ``text`` as a Typst string literal."""
        return self.cleaner.literal(text)

    def note(self, notice: str) -> None:
        """Add a line to the notes at the end, once."""
        if notice not in self.notices:
            self.notices.append(notice)

    def add_fragment(self, source: str, plain: str, head: str = "") -> str:
        """Store Typst ``source`` with the ``plain`` text to show if it cannot be set; return the call in markup."""
        self._fragments += 1
        number = self._fragments
        shown = f"#plain-lines({self.literal(plain[:20_000])})\n"
        self.files[f"/fragments/{number}.typ"] = f"{_HEAD}{head}{source}\n".encode()
        self.files[f"/plain/{number}.typ"] = f"{_HEAD}{shown}".encode()
        return f"#fragment({number});"

    def add_json(self, value: Any) -> str:
        """Store data; return the expression that reads it."""
        path = f"/data/{len(self.files)}.json"
        self.files[path] = json.dumps(value, ensure_ascii=True).encode()
        return f"json({quote(path)})"

    def add_picture(self, picture: Picture) -> str:
        """Store an image; return its path in the root. Raises PictureError when the document holds too many pixels."""
        self._pixels += picture.pixels
        if self._pixels > _MAX_PIXELS_IN_ALL:
            raise PictureError("the document's images together are too large")
        path = f"/images/{len(self.images) + 1}.{picture.kind}"
        self.files[path] = picture.data
        self.images.append(path)
        return path

    def add_figure(self, svg: str, title: str, cleaner: TextCleaner) -> dict[str, Any] | None:
        """Store a report's own figure; None, and a notice, if it cannot be used."""
        try:
            picture = clean_svg(svg, cleaner)
            path = self.add_picture(picture)
        except PictureError as error:
            self.note(f"The figure “{title}” was left out: {error}.")
            return None
        scale = 481.0 / picture.width_pt
        named = escape(title) in svg  # a figure that carries its own title needs no second one above it
        height = picture.height_pt * scale
        return {"path": path, "width": 481.0, "height": height, "title": title, "heading": not named}

    def cut(self, text: str, limit: int, what: str) -> str:
        """Return at most ``limit`` characters of ``text``, with a notice if that is less than all."""
        if len(text) > limit:
            self.note(f"{what} of {len(text):,} characters is cut after {limit:,}.")
        return text[:limit]

    def allow(self, kind: str, wanted: int, limit: int) -> int:
        """Return how many of ``wanted`` lines or cells the document may still take, and count them as taken."""
        granted = max(0, min(wanted, limit - self._taken[kind]))
        self._taken[kind] += granted
        return granted

    def all_notices(self) -> list[str]:
        """Return the notices, with one on the characters that no font could draw."""
        missing = missing_notice(self.cleaner.missing)
        return [*self.notices, missing] if missing else list(self.notices)

    def job(self, main: str, title: str, footer: str, timestamp: int | None) -> Job:
        """Return the typesetting job of a main source."""
        meta = {"title": title, "header": shorten(title, 80), "footer": footer, "dated": timestamp is not None}
        files = {**self.files, "/main.typ": main.encode(), "/meta.json": json.dumps(meta).encode()}
        return Job(
            files=files,
            images=tuple(self.images),
            fragments=tuple(range(1, self._fragments + 1)),
            timestamp=timestamp if timestamp is not None else 0,
            # Tags for thousands of table rows multiply the size of the file.
            tagged=self.table_rows <= 500,
            font_paths=tuple(self.font_paths),
        )
