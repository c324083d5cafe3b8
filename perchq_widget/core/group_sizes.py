"""Group sizes as people write them: ``128`` elements of a channel, or blocks of ``128x128``."""

from __future__ import annotations

import re

from .errors import QuantValueError
from .schemes import GroupSize

_WRITTEN = re.compile(r"\s*(\d{1,9})\s*(?:[x×,]\s*(\d{1,9})\s*)?")


def group_size_of(text: str) -> GroupSize | None:
    """The size that ``text`` names: "128" is 128, "128x64" is (128, 64), an empty text is None. Raises for others."""
    if not text.strip():
        return None
    found = _WRITTEN.fullmatch(text)
    sizes = () if found is None else tuple(int(part) for part in found.groups() if part is not None)
    if not sizes or min(sizes) < 1:
        raise QuantValueError(
            f"group_size must be a number of elements such as 128, or rows and columns of blocks such as 128x128, "
            f"got {text!r:.60}"
        )
    return sizes[0] if len(sizes) == 1 else (sizes[0], sizes[1])


def group_size_text(size: GroupSize | None) -> str:
    """A group size as :func:`group_size_of` reads it; "" for None."""
    if size is None:
        return ""
    return f"{size[0]}x{size[1]}" if isinstance(size, tuple) else str(size)
