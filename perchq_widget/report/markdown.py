"""Untrusted text inside Markdown."""

from __future__ import annotations

import re

from perchq_widget.report.text import clean_name

_SYNTAX = re.compile(r"[!-+\-.:-@\[-`{-~]")


def markdown_text(text: str) -> str:
    """``text`` so that Markdown, its HTML and its formulas show it as it is: punctuation as character references."""
    return _SYNTAX.sub(lambda match: f"&#{ord(match.group())};", clean_name(text))
