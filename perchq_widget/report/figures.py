"""Static vector figures of a report: plain SVG, written in about a millisecond, safe to put into any page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from perchq_widget.report.histogram_figure import draw_histogram, draw_nothing, histogram_title
from perchq_widget.report.number_line_figure import draw_number_line, number_line_title
from perchq_widget.report.overview_figure import Overview, draw_overview, overview_title

if TYPE_CHECKING:
    from perchq_widget.study.histogram import ChannelHistogram


def histogram_svg(hist: ChannelHistogram, width: float = 720, height: float = 260) -> str:
    """One channel as SVG text.

    A tensor's channel is a filled step histogram with the quantization range as a band, clip lines at its ends with
    their code, value and clipped count, and the smallest and largest value. A calculator's channel, which has no
    counts, is a number line: given range, representable range, and the grid steps around sample and dequantized value.
    A tensor's channel without any finite value has nothing to draw, and the figure says so.
    """
    draw = draw_histogram if hist.counts.size else draw_nothing if hist.sample is None else draw_number_line
    return draw(hist, histogram_name(hist), width, height)


def histogram_name(hist: ChannelHistogram) -> str:
    """Heading (and alternative text) of :func:`histogram_svg`'s figure."""
    return number_line_title(hist) if hist.sample is not None else histogram_title(hist)


def overview_svg(
    labels: Sequence[str],
    sqnr_db: ArrayLike,
    selected: int | None = None,
    worst: int | None = None,
    low_db: float | None = None,
    width: float = 720,
    height: float = 220,
) -> str:
    """SQNR in dB of every channel as SVG text: bars up to 64 channels, one path above.

    ``labels`` and ``sqnr_db`` run over the channels; ``selected`` and ``worst`` are indices into them; channels under
    ``low_db`` are marked. Infinite SQNR (exact) is a diamond at the top, minus infinity a triangle at the foot, NaN a
    stroke there.
    """
    view = Overview(labels, np.asarray(sqnr_db, dtype=np.float64), selected, worst, low_db)
    return draw_overview(view, overview_title(view), width, height)


def overview_name(sqnr_db: ArrayLike) -> str:
    """Heading (and alternative text) of :func:`overview_svg`'s figure."""
    return overview_title(Overview((), np.asarray(sqnr_db, dtype=np.float64)))
