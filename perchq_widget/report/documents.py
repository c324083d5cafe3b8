"""ChannelReport: one result with everything that can be asked of it and every form it can be handed over in."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perchq_widget.core.codec import Parameters
from perchq_widget.core.errors import LineError
from perchq_widget.core.findings import Finding
from perchq_widget.core.schemes import QuantScheme
from perchq_widget.report import document as documents
from perchq_widget.report.display import display_data
from perchq_widget.report.export import check_target, csv_text, json_text, write_atomic
from perchq_widget.report.html import html_fragment, html_page
from perchq_widget.report.reproduce import Code, notebook_code, reproduce
from perchq_widget.report.text import clean_name, plural
from perchq_widget.study.channels import ChannelTable
from perchq_widget.study.explain import Explanation, explain
from perchq_widget.study.groups import group_frame
from perchq_widget.study.histogram import ChannelHistogram, channel_histogram
from perchq_widget.study.sweep import ErrorCurve, error_curve

if TYPE_CHECKING:
    import numpy.typing as npt
    import pandas as pd
    from nbformat import NotebookNode

PathLike = str | os.PathLike[str]


def now() -> str:
    """The time in UTC, to the second, as ISO text."""
    return datetime.now(UTC).isoformat(timespec="seconds")


@dataclass(frozen=True, eq=False, repr=False)
class ChannelReport:
    """A tensor's (or the calculator's) result, channel by channel.

    ``study`` is the frozen result. ``typed`` is the calculator's input where it was text, ``source`` the file that a
    tensor was read from; both go into notebooks and ``reproduce``. ``created`` is the time that exports carry: set it
    (``dataclasses.replace(report, created="2025-01-31")``) for exports that are the same byte for byte.
    """

    study: ChannelTable
    typed: str | None = None
    source: str | None = None
    created: str = field(default_factory=now)

    @property
    def kind(self) -> str:
        """``"ranges"`` or ``"params"`` (the calculator's modes) or ``"tensor"``."""
        return self.study.kind

    @property
    def name(self) -> str:
        """The tensor's name, as given."""
        return self.study.name

    @property
    def table(self) -> pd.DataFrame:
        """One row per channel; a copy, so that no change to it reaches the exports."""
        return self.study.frame.copy()

    @property
    def summary(self) -> dict[str, Any]:
        """Figures of the whole tensor by name."""
        return dict(self.study.summary)

    @property
    def scheme(self) -> QuantScheme:
        """The settings."""
        return self.study.scheme

    @property
    def qparams(self) -> Parameters:
        """Scale and zero point, to be applied with :func:`perchq_widget.quantize`."""
        return self.study.qparams

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What a reader should know, most severe first."""
        return self.study.findings

    @property
    def errors(self) -> tuple[LineError, ...]:
        """The input lines that were left out, in order."""
        return self.study.errors

    @property
    def exact(self) -> bool:
        """Whether every number was computed from all values; False while a panel shows estimates of a large tensor."""
        return self.study.exact

    @property
    def caption(self) -> str:
        """One line: tensor, type and shape, axis, format, scheme, granularity, convention."""
        return documents.caption(self.study)

    def histogram(self, channel: int | str, bins: int = 128) -> ChannelHistogram:
        """Distribution of one channel (name or number) beside its quantization range."""
        return channel_histogram(self.study, channel, bins)

    def error_curve(self, channel: int | str, ratios: npt.ArrayLike | None = None) -> ErrorCurve:
        """Error of one channel at every clip ratio, split into rounding and clipping; by default at some 80 ratios."""
        return error_curve(self.study, channel, ratios)

    def explain(self, channel: int | str, value: float | None = None, group: int | None = None) -> Explanation:
        """The formulas in use with one channel's numbers put in, for ``value`` or the channel's own sample.

        A tensor's own sample is the channel's largest magnitude. Where a channel has several scales, the one that it
        meets is followed, or that of ``group``, numbered as in :meth:`groups`.
        """
        return explain(self.study, channel, value, group)

    def groups(self) -> pd.DataFrame:
        """One row per group, where scales are shared over groups, blocks or tokens; reads the tensor again.

        Columns: see :func:`perchq_widget.study.groups.group_frame`.
        """
        return group_frame(self.study)

    def codes(self) -> npt.NDArray[Any]:
        """Codes in the tensor's shape; reads the tensor again."""
        return self.study.codes()

    def dequantized(self) -> npt.NDArray[Any]:
        """Dequantized values in the tensor's shape; reads the tensor again."""
        return self.study.dequantized()

    def codes_used(self) -> npt.NDArray[Any]:
        """How many distinct codes each channel uses, shape (C,); reads the tensor again."""
        return self.study.codes_used()

    @property
    def lines(self) -> str | None:
        """The calculator's input as text, decimals as typed; None for a tensor."""
        if self.study.lines is None:
            return None
        from perchq_widget.sources.lines import format_lines

        return self.typed if self.typed is not None else format_lines(self.study.lines)

    def document(self, channel: int | str | None = None, *, rows: int | None = None) -> dict[str, Any]:
        """Everything that a rendering needs, as one JSON-safe dict (schema ``perchq.report/1``).

        ``channel`` (name or number) is the one in figures and formulas; None is the worst. Keys: schema, kind, title,
        caption, created, tensor, settings, versions, summary, summary_rows, columns, rows, rows_total, rows_note,
        display_rows, row_flags, findings, errors, errors_total, explanation, convention, figures, lines, csv_columns,
        reproduce. Non-finite floats are the strings ``"inf"``, ``"-inf"``, ``"nan"``. All texts in it are untrusted.

        Up to 200 channels all rows are there in table order, above that the worst 100. ``rows`` sets another number:
        all rows where there are no more than that, else the worst, worst first; 0 is every row and every bad line.
        """
        lines = self.lines
        code = reproduce(self.study, lines=lines, source=self.source)
        return documents.build_document(self.study, channel, self.created, lines, code, rows)

    def to_csv(self, path: PathLike, overwrite: bool = False) -> Path:
        """Write the table as CSV, settings in columns behind the table's own; see :func:`~.export.csv_text`."""
        check_target(path, overwrite)
        return write_atomic(path, csv_text(self.study.frame, documents.csv_settings(self.study)), overwrite)

    def to_json(self, path: PathLike, overwrite: bool = False) -> Path:
        """Write :meth:`document` as strict JSON, with every row and every bad line."""
        check_target(path, overwrite)
        return write_atomic(path, json_text(self.document(rows=0)), overwrite)

    def to_html(self, path: PathLike, overwrite: bool = False) -> Path:
        """Write one HTML page that needs nothing else: no script, no file beside it, no network."""
        check_target(path, overwrite)
        return write_atomic(path, html_page(self.document()), overwrite)

    def to_notebook(self, path: PathLike, overwrite: bool = False) -> Path:
        """Write a Jupyter notebook that shows the result and computes it again when run in its folder, as Jupyter does.

        A tensor's file is named from the notebook's folder where they share one below the root, so that they can move
        together, else in full. A tensor without a file is in the notebook itself up to 1 MiB, in a folded cell; above
        that a cell says what to assign.
        """
        import nbformat

        check_target(path, overwrite)
        return write_atomic(path, nbformat.writes(self.notebook(Path(path).expanduser().parent)) + "\n", overwrite)

    def notebook(self, folder: PathLike | None = None) -> NotebookNode:
        """The notebook that :meth:`to_notebook` writes into ``folder``; None is where this program runs."""
        from perchq_widget.report.notebook import to_notebook

        return to_notebook(self, folder)

    def notebook_code(self, folder: PathLike | None = None) -> Code:
        """Python for a notebook in ``folder`` that gives this report again."""
        where = None if folder is None else Path(folder)
        return notebook_code(self.study, lines=self.lines, source=self.source, folder=where)

    def to_pdf(self, path: PathLike, overwrite: bool = False) -> Path:
        """Write a PDF, typeset from the notebook by the exporter ``perchq-pdf``. Needs the extra ``pdf``."""
        check_target(path, overwrite)
        from perchq_widget.report.notebook import output_only
        from perchq_widget.report.pdf import notebook_to_pdf

        return write_atomic(path, notebook_to_pdf(output_only(self)), overwrite)

    def mimebundle(self, channel: int | str | None = None) -> dict[str, Any]:
        """The result as Jupyter display data: HTML, LaTeX, a line of text, and :meth:`document` under its own type."""
        return display_data(self.document(channel), repr(self))

    def _repr_html_(self) -> str:
        return html_fragment(self.document())

    def _repr_mimebundle_(
        self, include: Collection[str] | None = None, exclude: Collection[str] | None = None, **_: object
    ) -> Mapping[str, Any]:
        wanted = self.mimebundle()
        return {
            kind: data
            for kind, data in wanted.items()
            if (include is None or kind in include) and (exclude is None or kind not in exclude)
        }

    def __repr__(self) -> str:
        bad = f", {plural(len(self.errors), 'line')} left out" if self.errors else ""
        return f"<ChannelReport {clean_name(self.caption)}, {plural(self.study.n_channels, 'channel')}{bad}>"
