"""ReportComparison: results about the same channels side by side, with every form they can be handed over in."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from perchq_widget.report.export import check_target, csv_text, json_safe, json_text, write_atomic
from perchq_widget.report.html import whole_page
from perchq_widget.report.html_style import FRAGMENT_CSS
from perchq_widget.report.markdown import markdown_text
from perchq_widget.report.summary import decibels
from perchq_widget.report.text import NOTHING, clean_name, escape, format_cell, plural, short_number, shorten, unit_text
from perchq_widget.study.comparison_table import DELTAS, FIGURES, ComparisonTable, apart

if TYPE_CHECKING:
    import pandas as pd

PathLike = str | os.PathLike[str]
SCHEMA = "perchq.comparison/1"
MOST_ROWS = 100
SUMMARY_HEADS = (
    "report", "format", "convention", "observer", "clip ratio", "bits per weight", "SQNR", "difference",
    "worst channel", "clipped, %", "error, %", "channels best or equal",
)  # fmt: skip
_LEFT = 4  # columns of text, from the left


@dataclass(frozen=True, eq=False, repr=False)
class ReportComparison:
    """Two to eight reports about the same channels; every difference is against the first.

    ``.table`` has one row per channel: ``channel``; of each report ``sqnr_db_NAME``, ``clipped_pct_NAME``,
    ``max_abs_error_NAME``, ``scale_NAME`` and ``zero_point_NAME``; of each but the first ``sqnr_delta_db_NAME`` and
    ``clipped_delta_pct_NAME`` (its own minus the first's) and ``max_error_ratio_NAME`` (its own over the first's);
    and ``best``. Differences of two infinite figures are 0, the ratio of two zeros is 1.

    ``.summary`` has one row per report: its name, tensor, settings, bits_per_weight, sqnr_db, sqnr_delta_db,
    worst_channel, worst_sqnr_db, clipped_pct, max_abs_error, pct_error and channels_best: how many channels have no
    higher SQNR in any other report, so that reports that are equally good all count them.

    ``.best`` is the name of the report with the highest SQNR, by channel; the first of equals, "" for a channel without
    a finite value. Pages say which reports are equal.
    """

    study: ComparisonTable

    @property
    def names(self) -> tuple[str, ...]:
        """What the reports are called, in order."""
        return self.study.names

    @property
    def table(self) -> pd.DataFrame:
        """One row per channel; a copy, so that no change to it reaches the exports."""
        return self.study.frame.copy()

    @property
    def summary(self) -> pd.DataFrame:
        """One row per report; a copy."""
        return self.study.summary.copy()

    @property
    def best(self) -> pd.Series[Any]:
        """Per channel, the name of the report with the highest SQNR."""
        return self.study.best

    @property
    def caption(self) -> str:
        """One line: the tensor or tensors, the channels, what is compared with what."""
        tensors = dict.fromkeys(clean_name(table.name) for table in self.study.tables)
        others = ", ".join(clean_name(name) for name in self.names[1:])
        channels = plural(len(self.study.frame), "channel")
        return f"{', '.join(tensors)} · {channels} · {others} against {clean_name(self.names[0])}"

    def to_csv(self, path: PathLike, overwrite: bool = False) -> Path:
        """Write the table as CSV, all channels; see :func:`~.export.csv_text`. Names in the header are made visible."""
        check_target(path, overwrite)
        shown = self.study.frame.set_axis(apart([clean_name(str(name)) for name in self.study.frame.columns]), axis=1)
        return write_atomic(path, csv_text(shown, {}), overwrite)

    def document(self) -> dict[str, Any]:
        """Everything as one JSON-safe dict: schema, caption, names, summary and channels, each a list of rows by name.

        Non-finite floats are the strings "inf", "-inf", "nan". All texts in it are untrusted.
        """
        study = self.study
        parts = {
            "schema": SCHEMA,
            "caption": self.caption,
            "names": study.names,
            "summary": study.summary.to_dict("records"),
            "columns": list(study.frame.columns),
            "channels": study.frame.to_dict("records"),
        }
        safe: dict[str, Any] = json_safe(parts)
        return safe

    def to_json(self, path: PathLike, overwrite: bool = False) -> Path:
        """Write :meth:`document` as strict JSON, with every channel."""
        check_target(path, overwrite)
        return write_atomic(path, json_text(self.document()), overwrite)

    def to_html(self, path: PathLike, overwrite: bool = False) -> Path:
        """Write one HTML page that needs nothing else; of more than 100 channels those that differ most."""
        check_target(path, overwrite)
        return write_atomic(path, whole_page(f"Comparison: {self.caption}", self._body()), overwrite)

    def to_markdown(self, path: PathLike, overwrite: bool = False) -> Path:
        """Write both tables as Markdown; of more than 100 channels those that differ most."""
        check_target(path, overwrite)
        return write_atomic(path, self.markdown(), overwrite)

    def markdown(self) -> str:
        """What :meth:`to_markdown` writes."""
        heads, rows = self.channel_cells()
        parts = [
            f"# Comparison\n\n{markdown_text(self.caption)}",
            _markdown_table(list(SUMMARY_HEADS), self.summary_cells(), _LEFT),
            f"## Channels\n\n{self._note(len(rows))}".strip(),
            _markdown_table(heads, rows, 1),
        ]
        return "\n\n".join(parts) + "\n"

    def summary_cells(self) -> list[list[str]]:
        """The summary as text, one row per report."""
        return [
            _summary_row(row, table.scheme)
            for row, table in zip(self.study.summary.to_dict("records"), self.study.tables, strict=True)
        ]

    def channel_cells(self, most: int = MOST_ROWS) -> tuple[list[str], list[list[str]]]:
        """Headings, and rows as text of at most ``most`` channels, those whose SQNR differs most first; 0: all."""
        frame = self.study.frame
        if 0 < most < len(frame):
            changes = [np.abs(frame[f"{DELTAS[0]}_{name}"].to_numpy(np.float64)) for name in self.names[1:]]
            frame = frame.iloc[np.argsort(-np.max(changes, axis=0), kind="stable")[:most]]
        columns = self._columns()
        cells = [[_cell(figure, value) for value in frame[column].tolist()] for column, figure, _ in columns[:-1]]
        cells.append([self._leaders(row) for row in frame.index.tolist()])
        return [heading for *_, heading in columns], [list(row) for row in zip(*cells, strict=True)]

    def _columns(self) -> list[tuple[str, str, str]]:
        """(column, figure, heading) of what a page shows: the rest is in .table and the CSV."""
        shown = [(figure, name) for figure in FIGURES[:2] for name in self.names]
        shown += [(DELTAS[0], name) for name in self.names[1:]]
        titled = [(f"{each}_{name}", each, f"{_TITLES[each]} {shorten(clean_name(name), 40)}") for each, name in shown]
        return [("channel", "channel", "channel"), *titled, ("best", "best", "best")]

    def _leaders(self, row: int) -> str:
        """The best report of a channel, or those that are equally good; nothing for a channel without a value."""
        names = [name for name, leads in zip(self.names, self.study.leading[:, row], strict=True) if leads]
        if len(names) > 1 and len(names) == len(self.names):
            return "all equal"
        return " = ".join(shorten(clean_name(name), 40) for name in names) if names else NOTHING

    def _note(self, shown: int) -> str:
        left_out = len(self.study.frame) - shown
        text = f"The {shown} channels that differ most; {left_out:,} more are in .table and in the CSV."
        return text if left_out else ""

    def _repr_html_(self) -> str:
        return f'<div class="pq-report pq-embedded"><style>{FRAGMENT_CSS}</style>{self._body()}</div>'

    def _body(self) -> str:
        heads, rows = self.channel_cells()
        return (
            '<div class="pq-h1" role="heading" aria-level="1">Comparison</div>'
            f'<p class="pq-caption">{escape(self.caption)}</p>'
            f"{_html_table('Reports', list(SUMMARY_HEADS), self.summary_cells(), _LEFT)}"
            '<div class="pq-h2" role="heading" aria-level="2">Channels</div>'
            f'<p class="pq-note">{escape(self._note(len(rows)))}</p>{_html_table("", heads, rows, 1)}'
        )

    def __repr__(self) -> str:
        figures = ", ".join(decibels(value) for value in self.study.summary["sqnr_db"].tolist())
        return f"<ReportComparison {self.caption}: {figures}>"


_TITLES = {"sqnr_db": "SQNR, dB:", "clipped_pct": "clipped, %:", "sqnr_delta_db": "difference, dB:"}


def signed_db(value: float) -> str:
    """A difference of two SQNRs with its sign and unit."""
    if value == 0:
        return "same"
    return f"{value:+.2f} dB" if np.isfinite(value) else f"{'+' if value > 0 else '−'}∞ dB"


def _cell(figure: str, value: object) -> str:
    if figure == "sqnr_delta_db":
        return f"{value:+.2f}" if value else "0"
    return format_cell(figure, value)


def _summary_row(row: dict[Any, Any], scheme: Any) -> list[str]:
    kind = scheme.scheme if scheme.family == "integer" else ""
    parts = (scheme.dtype, kind, f"per {unit_text(scheme.granularity, scheme.group_size)}")
    observer = row["observer"] if isinstance(row["observer"], str) else "–"
    bits = row["bits_per_weight"]
    return [
        clean_name(row["name"]), " ".join(filter(None, parts)), row["convention"], observer, f"{row['clip_ratio']:g}",
        "–" if np.isnan(bits) else short_number(bits), decibels(row["sqnr_db"]), signed_db(row["sqnr_delta_db"]),
        f"{clean_name(row['worst_channel'])}, {decibels(row['worst_sqnr_db'])}", short_number(row["clipped_pct"], 3),
        short_number(row["pct_error"], 3), f"{row['channels_best']:,}",
    ]  # fmt: skip


def _html_table(caption: str, heads: list[str], rows: list[list[str]], n_texts: int) -> str:
    sides = [' class="pq-text"' if at < n_texts else "" for at in range(len(heads))]
    head = "".join(f'<th scope="col"{side}>{escape(text)}</th>' for side, text in zip(sides, heads, strict=True))
    body = "".join(_html_row(row, sides) for row in rows)
    title = f"<caption>{escape(caption)}</caption>" if caption else ""
    return (
        f'<div class="pq-scroll"><table class="pq-table">{title}<thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _html_row(cells: list[str], sides: list[str]) -> str:
    rest = "".join(f"<td{side}>{escape(cell)}</td>" for cell, side in zip(cells[1:], sides[1:], strict=True))
    return f'<tr><th scope="row" class="pq-text">{escape(cells[0])}</th>{rest}</tr>'


def _markdown_table(heads: list[str], rows: list[list[str]], n_texts: int) -> str:
    rules = ["---" if at < n_texts else "---:" for at in range(len(heads))]
    texts = [[markdown_text(cell) for cell in row] for row in (heads, *rows)]
    return "\n".join(f"| {' | '.join(row)} |" for row in (texts[0], rules, *texts[1:]))
