"""Renderings of a 4,096-channel report, which a displayed panel waits for, and the reading of hostile text."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np
import pytest

import perchq_widget as pq
from perchq_widget.report.figures import histogram_svg, overview_svg
from perchq_widget.report.html import html_fragment
from perchq_widget.sources.lines import parse_lines

pytestmark = pytest.mark.bench


def median_ms(work: Callable[[], object], rounds: int = 5) -> float:
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times) * 1e3


def test_renderings() -> None:
    report = pq.analyze(np.random.default_rng(0).standard_normal((4096, 64), dtype=np.float32))
    document, hist = report.document(), report.histogram(0)
    sqnr = report.table["sqnr_db"].to_numpy()
    names = [str(name) for name in report.table["channel"]]
    print(
        f"\n4,096 channels: document {median_ms(report.document):.0f} ms, "
        f"HTML fragment {median_ms(lambda: html_fragment(document)):.0f} ms (goal 30), "
        f"histogram {median_ms(lambda: histogram_svg(hist)):.1f} ms, "
        f"overview {median_ms(lambda: overview_svg(names, sqnr)):.1f} ms"
    )


def reading_ms(piece: str, n: int) -> float:
    return median_ms(lambda: parse_lines(piece * (n // len(piece))), 3)


def test_time_to_read_text_grows_with_its_length_alone() -> None:
    for piece in ('"', '"",', '"x\n', '"""\n', 'a,"', "1e9\n", ";", "a,0,1e99999999,0\n", '""x\n'):
        short, long = reading_ms(piece, 30_000), reading_ms(piece, 300_000)
        print(f"{piece!r:24} {long:7.0f} ms for 300 kB, {long / short:.0f} times that for a tenth of it")
