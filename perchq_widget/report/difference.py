"""ConventionDiff: two conventions on one tensor, with every form it can be handed over in."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from perchq_widget.core.conventions import get_convention
from perchq_widget.core.group_sizes import group_size_text
from perchq_widget.report.export import check_target, csv_text, write_atomic
from perchq_widget.report.html_style import FRAGMENT_CSS
from perchq_widget.report.summary import decibels
from perchq_widget.report.text import clean_name, escape, format_cell, plural, short_number
from perchq_widget.study.compare import DiffTable

if TYPE_CHECKING:
    import pandas as pd

MOST_ROWS = 100
_TITLES = {
    "channel": "channel",
    "codes_differ_pct": "codes that differ, %",
    "max_code_diff": "by at most",
    "scale_a": "scale, {a}",
    "scale_b": "scale, {b}",
    "zero_point_a": "zero point, {a}",
    "zero_point_b": "zero point, {b}",
    "sqnr_a_db": "SQNR of {a}, dB",
    "sqnr_b_db": "SQNR of {b}, dB",
    "sqnr_a_read_by_b_db": "{a} read by {b}, dB",
    "sqnr_b_read_by_a_db": "{b} read by {a}, dB",
}


@dataclass(frozen=True, eq=False, repr=False)
class ConventionDiff:
    """What conventions ``a`` and ``b`` make of one tensor, code by code.

    ``.table`` has one row per channel of:

    - ``codes_differ_pct``, the share of the finite values whose stored codes are not the same, and ``max_code_diff``,
      by how many codes of the format at most (of floats -0 and +0 are two codes, no step apart)
    - ``scale_a`` and ``scale_b``, ``zero_point_a`` and ``zero_point_b`` (of groups and blocks those of the one with
      the median scale; NaN where the format has no zero point)
    - ``sqnr_a_db`` and ``sqnr_b_db``, each with its own codes, scales and reader
    - ``sqnr_a_read_by_b_db``, codes written by a and read with b's scales, zero points and decoder; and the other way
    """

    study: DiffTable

    @property
    def a(self) -> str:
        """The first convention."""
        return self.study.a.convention

    @property
    def b(self) -> str:
        """The second convention."""
        return self.study.b.convention

    @property
    def table(self) -> pd.DataFrame:
        """One row per channel; a copy, so that no change to it reaches the exports."""
        return self.study.frame.copy()

    @property
    def summary(self) -> dict[str, Any]:
        """Figures of the whole tensor by name, from sums over its values."""
        return dict(self.study.summary)

    @property
    def why(self) -> tuple[str, ...]:
        """The rules that differ, one a line: what, how ``a`` does it, how ``b`` does it."""
        return tuple(f"{each.what}: {self.a}: {each.a} | {self.b}: {each.b}" for each in self.study.contrasts)

    @property
    def caption(self) -> str:
        """One line: tensor, type and shape, axis, format, granularity, the two conventions."""
        study, scheme = self.study, self.study.a
        size = group_size_text(scheme.group_size)
        unit = scheme.granularity + (f" of {size}" if size else "")
        kind = scheme.scheme if scheme.family == "integer" else ""
        parts = [
            f"{clean_name(study.name)} · {study.tensor_dtype} {study.shape} · ch_axis {study.ch_axis}",
            f"{' '.join(filter(None, (scheme.dtype, kind)))}, per {unit}",
            f"{self.a} against {self.b}",
        ]
        return " · ".join(parts)

    def to_csv(self, path: str | os.PathLike[str], overwrite: bool = False) -> Path:
        """Write the table as CSV, settings in columns behind the table's own; see :func:`~.export.csv_text`."""
        check_target(path, overwrite)
        return write_atomic(path, csv_text(self.study.frame, self._settings()), overwrite)

    def _settings(self) -> dict[str, object]:
        study = self.study
        both = study.a.as_dict(), study.b.as_dict()
        settings: dict[str, object] = {
            "tensor": study.name, "shape": "x".join(map(str, study.shape)), "ch_axis": study.ch_axis,
            "convention_a": self.a, "convention_b": self.b,
        }  # fmt: skip
        for name in ("dtype", "scheme", "granularity", "reduce_range", "narrow_range", "observer", "clip_ratio"):
            settings[name] = both[0][name]
        settings["group_size"] = group_size_text(study.a.group_size)
        for name in ("quant_min", "quant_max", "scale_rule"):
            settings |= {f"{name}_{side}": each[name] for side, each in zip("ab", both, strict=True)}
        return settings

    def summary_rows(self) -> list[tuple[str, str]]:
        """The summary in reading order, each figure with its unit."""
        s, a, b = self.summary, self.a, self.b
        different = f"{short_number(s['codes_differ_pct'], 3)} % of {plural(s['n'], 'value')}"
        most = f", by up to {plural(s['max_code_diff'], 'code')}" if s["max_code_diff"] else ""
        if not s["n"]:
            return [("Values", "none is finite")]
        return [
            ("Codes that differ", different + most if s["codes_differ"] else f"none of {plural(s['n'], 'value')}"),
            ("Channels that differ", f"{s['channels_differ']:,} of {s['channels']:,}"),
            (f"SQNR of {a}", decibels(s["sqnr_a_db"])),
            (f"SQNR of {b}", decibels(s["sqnr_b_db"])),
            (f"Written by {a}, read by {b}", decibels(s["sqnr_a_read_by_b_db"])),
            (f"Written by {b}, read by {a}", decibels(s["sqnr_b_read_by_a_db"])),
        ]

    def rows(self, most: int = MOST_ROWS) -> list[list[str]]:
        """The table as text, of at most ``most`` channels, those with most different codes first; 0: all."""
        frame = self.study.frame
        if 0 < most < len(frame):
            frame = frame.iloc[np.argsort(-frame["codes_differ_pct"].to_numpy(np.float64), kind="stable")[:most]]
        cells = [[_cell(str(name), value) for value in frame[name].tolist()] for name in frame.columns]
        return [list(row) for row in zip(*cells, strict=True)]

    def _repr_html_(self) -> str:
        rows = self.rows()
        headings = [_TITLES[name].format(a=self.a, b=self.b) for name in self.study.frame.columns]
        left_out = len(self.study.frame) - len(rows)
        note = f"The {len(rows)} channels that differ most; {left_out:,} more are in .table." if left_out else ""
        return (
            f'<div class="pq-report pq-embedded"><style>{FRAGMENT_CSS}</style>'
            f'<div class="pq-h1" role="heading" aria-level="1">{escape(self.a)} and {escape(self.b)}</div>'
            f'<p class="pq-caption">{escape(self.caption)}</p>{self._pairs()}{self._why_html()}'
            f'<div class="pq-h2" role="heading" aria-level="2">Channels</div><p class="pq-note">{note}</p>'
            f'<div class="pq-scroll"><table class="pq-table"><caption>{escape(self.caption)}</caption>'
            f"{_head(headings)}<tbody>{''.join(map(_row, rows))}</tbody></table></div></div>"
        )

    def _pairs(self) -> str:
        cells = "".join(
            f'<tr><th scope="row">{escape(name)}</th><td>{escape(text)}</td></tr>' for name, text in self.summary_rows()
        )
        return f'<table class="pq-pairs"><caption>Summary</caption><tbody>{cells}</tbody></table>'

    def _why_html(self) -> str:
        if not self.study.contrasts:
            return '<p class="pq-note">Both follow the same rules here.</p>'
        rows = "".join(
            f'<tr><th scope="row">{escape(each.what)}</th><td>{escape(each.a)}</td><td>{escape(each.b)}</td></tr>'
            for each in self.study.contrasts
        )
        return (
            '<div class="pq-scroll"><table class="pq-table pq-left"><caption>What differs in the rules</caption>'
            f"{_head(['rule', self._titled(self.a), self._titled(self.b)])}<tbody>{rows}</tbody></table></div>"
        )

    @staticmethod
    def _titled(name: str) -> str:
        return f"{name}: {get_convention(name).title}"

    def __repr__(self) -> str:
        s = self.summary
        return (
            f"<ConventionDiff {clean_name(self.caption)}: {short_number(s['codes_differ_pct'], 3)} % of the codes "
            f"differ, SQNR {decibels(s['sqnr_a_db'])} and {decibels(s['sqnr_b_db'])}>"
        )


def _cell(column: str, value: object) -> str:
    if column.startswith("zero_point"):
        return "–" if value != value else format_cell("zero_point", value)
    if column == "codes_differ_pct":
        return format_cell("clipped_pct", value)
    return format_cell(column, value)


def _head(headings: list[str]) -> str:
    first = f'<th scope="col" class="pq-text">{escape(headings[0])}</th>'
    rest = "".join(f'<th scope="col">{escape(text)}</th>' for text in headings[1:])
    return f"<thead><tr>{first}{rest}</tr></thead>"


def _row(cells: list[str]) -> str:
    rest = "".join(f"<td>{escape(cell)}</td>" for cell in cells[1:])
    return f'<tr><th scope="row" class="pq-text">{escape(cells[0])}</th>{rest}</tr>'
