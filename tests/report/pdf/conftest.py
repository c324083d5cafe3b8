"""Sample documents and notebooks, written by hand: what the exporter must take, independent of who makes it."""

from __future__ import annotations

import random
import re
import struct
import subprocess
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from shutil import which
from typing import Any

import nbformat
import pytest

MIMETYPE = "application/vnd.perchq.report+json"
Document = dict[str, Any]

FIGURE = (
    '<svg xmlns="http://www.w3.org/2000/svg" width="720" height="240" viewBox="0 0 720 240" font-family="sans-serif">'
    '<rect x="40" y="20" width="640" height="180" fill="#56B4E9" fill-opacity="0.15"/>'
    '<path d="M40 200 L160 150 L280 60 L360 30 L440 60 L560 150 L680 200 Z" fill="#0072B2"/>'
    '<line x1="60" y1="20" x2="60" y2="200" stroke="#D55E00" stroke-width="2"/>'
    '<line x1="660" y1="20" x2="660" y2="200" stroke="#D55E00" stroke-width="2"/>'
    '<text x="60" y="220" font-size="12" text-anchor="middle">-0.45</text>'
    '<text x="660" y="220" font-size="12" text-anchor="middle">0.6</text></svg>'
)


def _base(kind: str, title: str, caption: str) -> Document:
    return {
        "schema": "perchq.report/1",
        "kind": kind,
        "title": title,
        "caption": caption,
        "created": "2026-03-04T05:06:07+00:00",
        "versions": {"perchq_widget": "0.1.0", "numpy": "2.4.6", "python": "3.11.7"},
        "errors": [],
        "findings": [],
        "figures": {
            "histogram": FIGURE,
            "overview": FIGURE,
            "titles": {"histogram": "Worst channel: values and range", "overview": "SQNR per channel"},
        },
        "convention": {
            "name": "calculator",
            "title": "calculator",
            "rule": ["scale = (max - min) / (quant_max - quant_min)", "zero_point = round(quant_min - min / scale)"],
            "checked": "Round is half away from zero, decided on the decimals as typed.",
            "source": "",
        },
    }


_STEPS = [
    ("scale", "(max - min) / (quant_max - quant_min)", "(0.9 - -0.8) / (127 - -128)", "0.00666667", ""),
    ("zero point", "round(quant_min - min / scale)", "round(-128 - -0.8 / 0.00666667)", "-8", "half away from zero"),
    ("raw code", "round(sample / scale) + zero_point", "round(-0.21 / 0.00666667) + -8", "-40", "-31.5 is a tie"),
    ("code", "clamp(raw, quant_min, quant_max)", "clamp(-40, -128, 127)", "-40", "not clipped"),
    ("dequantized", "(code - zero_point) * scale", "(-40 - -8) * 0.00666667", "-0.21333333", ""),
]


def _explanation(channel: str) -> Document:
    names = ("name", "formula", "numbers", "result", "note")
    steps = [dict(zip(names, step, strict=True)) for step in _STEPS]
    title = f"How {channel} gets its code, with its own numbers"
    return {"title": title, "channel": channel, "convention": "calculator", "steps": steps, "source": "Convention."}


def make_calculator() -> Document:
    columns = (
        "channel min max sample scale zero_point raw_quantized quantized dequantized clipped abs_error pct_error "
        "sqnr_db"
    ).split()
    rows: list[list[Any]] = [
        ["filter_0", -1.2, 1.0, 0.73, 0.00862745, 11, 96, 96, 0.73333333, False, 0.00333333, 0.456621, 46.81],
        ["filter_1", -0.8, 0.9, -0.21, 0.00666667, -8, -40, -40, -0.21333333, False, 0.00333333, 1.587302, 35.99],
        ["filter_2", -1.5, 1.7, 1.11, 0.01254902, -8, 80, 80, 1.10431373, False, 0.00568627, 0.512277, 45.81],
        ["filter_3", -0.45, 0.6, 0.18, 0.00411765, -19, 25, 25, 0.18117647, False, 0.00117647, 0.653595, 43.69],
    ]
    document = _base("ranges", "conv1.weight", "conv1.weight · ch_axis 0 · qint8 affine, per channel, calculator")
    return document | {
        "tensor": {"name": "conv1.weight", "shape": None, "dtype": None, "ch_axis": 0, "n_channels": 4, "n": 4},
        "settings": {
            "dtype": "qint8", "scheme": "affine", "granularity": "channel", "reduce_range": False,
            "narrow_range": False, "quant_min": -128, "quant_max": 127, "convention": "calculator",
            "observer": "minmax", "clip_ratio": 1.0, "mode": "ranges",
        },
        "summary": {"channels": 4, "clipped": 0, "clipped_channels": 0, "sqnr_db": 44.97, "worst_channel": "filter_1",
                    "worst_sqnr_db": 35.99},
        "summary_rows": [
            ["Channels", "4"], ["Clipped channels", "0 (0 %)"], ["Mean absolute error", "0.00338235"],
            ["Largest absolute error", "0.00568627"], ["Mean percentage error", "0.802 %"],
            ["Overall SQNR", "44.97 dB"], ["Worst channel", "filter_1 (35.99 dB)"],
            ["Scale", "0.00411765 to 0.01254902"],
        ],
        "columns": columns, "rows": rows, "rows_total": 4, "rows_note": "All 4 channels.",
        "display_rows": [["no" if cell is False else str(cell) for cell in row] for row in rows],
        "row_flags": [[], [], [], []],
        "explanation": _explanation("filter_1"),
        "lines": "filter_0,-1.2,1,0.73\nfilter_1,-0.8,0.9,-0.21\nfilter_2,-1.5,1.7,1.11\nfilter_3,-0.45,0.6,0.18",
        "csv_columns": columns,
        "reproduce": 'import perchq_widget as pq\n\npq.calculate(lines, dtype="qint8", scheme="affine").table',
    }  # fmt: skip


def _tensor_rows(n: int) -> list[list[Any]]:
    draw = random.Random(7)
    rows = []
    for index in range(n):
        low, high = -draw.uniform(0.1, 2.0), draw.uniform(0.1, 2.0)
        clipped = draw.choice([0, 0, 0, 12])
        sqnr = draw.uniform(14, 46)
        rows.append([
            f"{index}", low, high, 4608, (high - low) / 255, round(-128 - low / ((high - low) / 255)), clipped,
            clipped / 46.08, draw.uniform(0, 4), draw.uniform(0.002, 0.01), draw.uniform(0.001, 0.003),
            draw.uniform(0.5, 3), draw.uniform(1e-7, 1e-5), sqnr, 1 - draw.uniform(0, 1e-3),
            "low_sqnr" if sqnr < 20 else "",
        ])  # fmt: skip
    return rows


def make_tensor(n: int) -> Document:
    columns = (
        "channel min max n scale zero_point clipped clipped_pct zeroed_pct max_abs_error mean_abs_error pct_error mse "
        "sqnr_db cosine findings"
    ).split()
    rows = _tensor_rows(n)
    total = len(rows)
    note = f"All {total} channels."
    if total > 200:
        rows = sorted(rows, key=lambda row: row[13])[:100]
        note = f"The worst 100 of {total} channels by SQNR; all of them are in the CSV and JSON exports."
    shown = [[cell if isinstance(cell, str) else f"{cell:.5g}" for cell in row] for row in rows]
    flags = [[*(["clipped"] if row[6] else []), *(["low_sqnr"] if row[15] else [])] for row in rows]
    document = _base("tensor", "layer4.conv2.weight", f"float32 ({n}, 512, 3, 3) · ch_axis 0 · qint8 affine, pytorch")
    return document | {
        "tensor": {"name": "layer4.conv2.weight", "shape": [n, 512, 3, 3], "dtype": "float32", "ch_axis": 0,
                   "n_channels": n, "n": n * 4608},
        "settings": make_calculator()["settings"] | {"convention": "pytorch"},
        "summary": {"channels": n, "clipped": 132, "clipped_pct": 0.04, "clipped_channels": 11, "sqnr_db": 38.214,
                    "worst_channel": rows[0][0], "worst_sqnr_db": 14.3},
        "summary_rows": [["Channels", str(n)], ["Clipped", "132 values in 11 channels"], ["Overall SQNR", "38.21 dB"]],
        "columns": columns, "rows": rows, "rows_total": total, "rows_note": note, "display_rows": shown,
        "row_flags": flags,
        "findings": [
            {"rule": "low_sqnr", "severity": "warning", "channel": "17", "value": 14.3,
             "message": "SQNR is 14.3 dB, under 20 dB: one outlier stretches the range.",
             "next_step": "Try a range search or a smaller clip ratio for this channel."},
            {"rule": "dead", "severity": "info", "channel": None, "value": 2.0,
             "message": "2 channels are all zero.", "next_step": "Prune them, or ignore them."},
            {"rule": "nonfinite", "severity": "error", "channel": "3", "value": 1.0,
             "message": "1 value is NaN and was left out.", "next_step": "Check the checkpoint."},
        ],
        "explanation": _explanation(rows[0][0]),
        "lines": None, "csv_columns": columns,
        "reproduce": 'import perchq_widget as pq\n\npq.analyze(weight, ch_axis=0, dtype="qint8").table',
    }  # fmt: skip


def png(width: int, height: int, *, claim: tuple[int, int] | None = None) -> bytes:
    """A grey PNG; ``claim`` is the size its header states instead."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", *(claim if claim is not None else (width, height)), 8, 0, 0, 0, 0)
    rows = b"".join(b"\x00" + bytes((40 * x + 9 * y) % 256 for x in range(width)) for y in range(height))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.fixture
def calculator_document() -> Document:
    return make_calculator()


@pytest.fixture
def tensor_document() -> Callable[[int], Document]:
    return make_tensor


@pytest.fixture
def make_png() -> Callable[..., bytes]:
    return png


@pytest.fixture
def output() -> Callable[..., Any]:
    """A notebook of one code cell with one display output of the given representations."""

    def build(data: dict[str, Any], metadata: dict[str, Any] | None = None) -> nbformat.NotebookNode:
        shown = nbformat.v4.new_output("display_data", data=data, metadata=metadata or {})
        return nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("show()", outputs=[shown])])

    return build


@pytest.fixture
def report_notebook(output: Callable[..., Any]) -> Callable[[Document], nbformat.NotebookNode]:
    def build(document: Document) -> nbformat.NotebookNode:
        others = {"text/html": "<b>ignored</b>", "text/plain": "ignored too", "image/svg+xml": FIGURE}
        return output({MIMETYPE: document, **others})

    return build


@pytest.fixture
def pdf_text(tmp_path: Path) -> Callable[[bytes], str]:
    """The text of a PDF as ``pdftotext`` reads it."""
    if which("pdftotext") is None:
        pytest.skip("pdftotext is not installed")

    def read(pdf: bytes) -> str:
        path = tmp_path / "read.pdf"
        path.write_bytes(pdf)
        done = subprocess.run(["pdftotext", "-layout", str(path), "-"], capture_output=True, check=True)
        return done.stdout.decode("utf-8")

    return read


@pytest.fixture
def count_pages() -> Callable[[bytes], int]:
    """Pages of a PDF, read from its page tree without another program."""

    def count(pdf: bytes) -> int:
        bodies = [pdf]
        for match in re.finditer(rb"stream\r?\n(.*?)\r?\nendstream", pdf, re.DOTALL):
            with suppress(zlib.error):
                bodies.append(zlib.decompress(match[1]))
        counts = [int(n) for body in bodies for n in re.findall(rb"/Type\s*/Pages\b[^>]*?/Count\s+(\d+)", body)]
        return max(counts)

    return count
