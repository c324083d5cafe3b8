"""The static figures: valid, harmless, no label over another, nothing outside the frame, fast."""

from __future__ import annotations

import itertools
import math
import re
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from perchq_widget.core.grids import float_grid
from perchq_widget.report import svg
from perchq_widget.report.figures import histogram_name, histogram_svg, overview_name, overview_svg

HOSTILE = '<script>alert("1")</script>\u202e\n]]>&{}' * 5
NS = "{http://www.w3.org/2000/svg}"


def tensor_channel(lo: float, hi: float, data: Any = None, channel: str = "3", nonfinite: int = 0) -> Any:
    data = np.random.default_rng(1).normal(size=4608) * 0.05 if data is None else np.asarray(data)
    counts, edges = np.histogram(data, bins=128)
    return SimpleNamespace(
        channel=channel, index=3, whose="", edges=edges, counts=counts.astype(float), quant_lo=lo, quant_hi=hi,
        min_val=float(data.min()), max_val=float(data.max()), scale=(hi - lo) / 255, zero_point=0, quant_min=-128,
        quant_max=127, n_below=int((data < lo).sum()), n_above=int((data > hi).sum()), n_nonfinite=nonfinite,
        sample=None, dequantized=None,
    )  # fmt: skip


def calculator_channel(low: float, high: float, sample: float, scale: float, zero_point: int, code: int) -> Any:
    near = tuple(range(max(code - 3, -128), min(code + 3, 127) + 1))
    return SimpleNamespace(
        channel="filter_0", index=0, edges=np.empty(0), counts=np.empty(0), quant_lo=(-128 - zero_point) * scale,
        quant_hi=(127 - zero_point) * scale, min_val=low, max_val=high, scale=scale, zero_point=zero_point,
        quant_min=-128, quant_max=127, n_below=0, n_above=0, n_nonfinite=0, sample=sample,
        dequantized=(code - zero_point) * scale, end_step=scale, near_codes=near,
        near_values=tuple((each - zero_point) * scale for each in near),
    )  # fmt: skip


def float_channel(sample: float, scale: float, code: float) -> Any:
    """A line under a float format, whose values lie the closer the nearer they are to zero."""
    grid = float_grid("float8_e4m3fn")
    at = int(np.argmin(np.abs(grid.levels - code)))
    near = grid.levels[max(0, at - 3) : at + 4]
    return SimpleNamespace(
        **vars(calculator_channel(-3, 3, sample, scale, 0, 0)) | {
            "quant_lo": -448 * scale, "quant_hi": 448 * scale, "quant_min": -448.0, "quant_max": 448.0,
            "zero_point": 0, "dequantized": code * scale, "end_step": 32 * scale, "near_codes": tuple(near.tolist()),
            "near_values": tuple((near * scale).tolist()),
        }
    )  # fmt: skip


HISTOGRAMS = {
    "wide": tensor_channel(-0.18, 0.18),
    "clipping": tensor_channel(-0.05, 0.04, nonfinite=3),
    "narrow": tensor_channel(-0.01, 0.01),
    "far": tensor_channel(-100, 100),
    "hostile": tensor_channel(-2.1, 2.1, channel=HOSTILE),
    "constant": tensor_channel(0, 3, data=np.full(10, 3.0)),
    "infinite": tensor_channel(-math.inf, math.inf),
    "nothing": SimpleNamespace(**vars(calculator_channel(math.nan, math.nan, 0, 1e-7, -128, 0))
                               | {"channel": HOSTILE, "sample": None, "dequantized": None, "n_nonfinite": 5000}),
    "sample": calculator_channel(-1.2, 1, 0.73, 2.2 / 255, 11, 96),
    "beyond": calculator_channel(-0.8, 0.9, 5, 1.7 / 255, -8, 127),
    "point": calculator_channel(3, 3, 3, 3 / 255, -128, 127),
    "no zero": calculator_channel(1, 1.1, 1.05, 0.1 / 255, -2678, 0),
    "zero": calculator_channel(0, 0, 0, 0.0, -128, -128),
    "float": float_channel(0.73, 3 / 448, 112),
    "float's end": float_channel(5.1, 3 / 448, 448),
    "float's middle": float_channel(0, 3 / 448, 0),
    "wide codes": calculator_channel(-1, 1, 0.1, 1 / 32767, 0, 100),
}  # fmt: skip
OVERVIEWS: dict[str, tuple[list[float], int, int]] = {
    "four": ([46.8, 35.8, 45.8, 43.7], 0, 1),
    "specials": ([46.8, math.inf, -math.inf, math.nan], 1, 2),
    "exact": ([math.inf] * 4, 0, 0),
    "nothing": ([math.nan], 0, 0),
    "negative": (list(np.linspace(-20, 15, 64)), 63, 62),
    "many": (list(40 + 4 * np.sin(np.arange(4096))), 4095, 11),
}


def every_figure() -> dict[str, str]:
    figures = {name: histogram_svg(hist) for name, hist in HISTOGRAMS.items()}
    for name, (values, selected, worst) in OVERVIEWS.items():
        names = [f"filter_{index}" for index in range(len(values))]
        figures[f"overview {name}"] = overview_svg(names, values, selected, worst, 30)
    return figures


FIGURES = every_figure()


@pytest.mark.parametrize("name", FIGURES)
def test_only_plain_elements(name: str) -> None:
    root = ET.fromstring(FIGURES[name])
    assert {element.tag.removeprefix(NS) for element in root.iter()} <= {
        "svg", "g", "path", "rect", "line", "circle", "text", "title",
    }  # fmt: skip
    assert not re.search(r"var\(|style=|href|<script|url\(|nan|inf[^ot]", re.sub(r">[^<]*<", "><", FIGURES[name]))


@pytest.mark.parametrize("name", FIGURES)
def test_labels_neither_overlap_nor_leave_the_frame(name: str) -> None:
    root = ET.fromstring(FIGURES[name])
    boxes = [text_box(element) for element in root.iter(f"{NS}text") if "transform" not in element.attrib]
    for left, right, top, bottom, text in boxes:
        assert left >= -1, text
        assert right <= 721, text
        assert top >= 0, text
        assert bottom <= float(root.attrib["height"]), text
    for index, one in enumerate(boxes):
        for other in boxes[index + 1 :]:
            apart = one[1] <= other[0] or other[1] <= one[0] or one[3] <= other[2] or other[3] <= one[2]
            assert apart, (one, other)


def text_box(element: ET.Element) -> tuple[float, float, float, float, str]:
    """The space of a label: a typical proportional font, half an em a character."""
    size, content = float(element.attrib["font-size"]), element.text or ""
    width = 0.5 * size * len(content)
    shift = {"start": 0.0, "middle": width / 2, "end": width}[element.attrib.get("text-anchor", "start")]
    left, base = float(element.attrib["x"]) - shift, float(element.attrib["y"])
    return left, left + width, base - 0.7 * size, base + 0.2 * size, content


def texts(figure: str) -> list[str]:
    return [element.text or "" for element in ET.fromstring(figure).iter(f"{NS}text")]


def test_histogram_says_what_is_clipped() -> None:
    shown = texts(FIGURES["clipping"])
    hist = HISTOGRAMS["clipping"]
    assert f"{hist.n_below} clipped" in shown
    assert f"{hist.n_above} clipped" in shown
    assert "code -128 = -0.05" in shown
    assert "code 127 = 0.04" in shown
    assert any("3 not finite left out" in text for text in shown)


def test_histogram_without_clipping_says_so() -> None:
    assert texts(histogram_svg(tensor_channel(-1, 1))).count("none clipped") == 2


def test_lone_outliers_stay_visible() -> None:
    data = np.r_[np.zeros(100_000), 1.0]
    steps = re.findall(r'd="(M[^"]*H[^"]*Z)"', histogram_svg(tensor_channel(0, 1, data=data)))
    heights = {float(value) for value in re.findall(r"V([\d.]+)", steps[0])}
    assert len(heights) == 3  # the floor, a pixel above it, the peak


def test_number_line_names_sample_and_result() -> None:
    shown = texts(FIGURES["sample"])
    assert {"sample 0.73", "dequantized 0.73333333", "code 96", "min -1.2", "max 1"} <= set(shown)
    assert "dequantized minus sample = 0.003333" in shown


def test_a_float_format_s_values_stand_where_they_are() -> None:
    """Below 128 the steps of float8_e4m3fn are 8, above 16; at the end there is nothing beyond 448."""
    shown = texts(FIGURES["float"])
    assert {"code 112", "code 104", "code 120", "code 128", "code -448 = -3"} <= set(shown)
    assert "Around the sample, where steps differ" in shown
    drawn = [each.attrib for each in ET.fromstring(FIGURES["float"]).iter(f"{NS}line")]
    upright = [each for each in drawn if each["x1"] == each["x2"] and each["stroke"] in (svg.INK, svg.GREY)]
    lines = [float(each["x1"]) for each in upright]
    gaps = np.diff(sorted(lines))
    assert gaps.max() == pytest.approx(2 * gaps.min(), rel=0.01)
    assert not [text for text in texts(FIGURES["float's end"]) if text.startswith("code 480")]
    assert "clipped" in texts(FIGURES["float's end"])


def test_number_line_points_at_a_sample_beyond_the_range() -> None:
    assert "→ sample 5" in texts(FIGURES["beyond"])
    assert "clipped" in texts(FIGURES["beyond"])


def test_overview_names_worst_and_selected() -> None:
    shown = texts(FIGURES["overview four"])
    assert {"worst: filter_1, 35.8 dB", "selected: filter_0, 46.8 dB"} <= set(shown)
    assert "worst and selected: filter_0, exact" in texts(FIGURES["overview exact"])


def test_overview_draws_bars_for_few_and_one_path_for_many() -> None:
    rects = ET.fromstring(FIGURES["overview four"]).iter(f"{NS}rect")
    bars = [rect for rect in rects if rect.attrib.get("fill-opacity") == "0.9"]
    assert len(bars) == 4
    assert len(ET.fromstring(FIGURES["overview many"]).findall(f".//{NS}path")) <= 4
    assert len(FIGURES["overview many"]) < 40_000


def test_overview_marks_low_channels_beside_their_colour() -> None:
    assert FIGURES["overview negative"].count(svg.ORANGE) >= 2 * 60
    assert "low: under 30 dB" in texts(FIGURES["overview negative"])


def test_names_are_those_of_the_figures() -> None:
    assert ET.fromstring(FIGURES["sample"])[0].text == histogram_name(HISTOGRAMS["sample"])
    assert ET.fromstring(FIGURES["overview specials"])[0].text == overview_name(OVERVIEWS["specials"][0])


def test_no_channels_is_a_figure_too() -> None:
    ET.fromstring(overview_svg([], []))


def test_spread_keeps_order_and_bounds() -> None:
    labels = [svg.Label(x, "some label") for x in (5, 6, 7, 700)]
    centres = svg.spread(labels, 0, 720)
    edges = [(at - label.width / 2, at + label.width / 2) for at, label in zip(centres, labels, strict=True)]
    assert edges[0][0] >= 0
    assert edges[-1][1] <= 720
    assert all(left[1] <= right[0] for left, right in itertools.pairwise(edges))


def test_fit_cuts_to_width() -> None:
    assert svg.text_width(svg.fit("a" * 500, 100), 12) <= 100
    assert svg.fit("short", 100) == "short"
