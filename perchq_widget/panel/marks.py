"""bqplot parts that the charts share: figures that fit the panel, paths, and setting x and y together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import bqplot as bq
import ipywidgets as w
import numpy as np
import numpy.typing as npt

from ..report.text import escape

BLUE, VERMILLION, ORANGE, SKY, PINK, GREY = "#0072B2", "#D55E00", "#E69F00", "#56B4E9", "#CC79A7", "#888888"
Floats = npt.NDArray[np.float64]
_MANY = 1024  # values; a path of more has several of them in each column of pixels
_ROOM = 56  # characters of tick labels that an axis of the narrowest chart holds
LIMIT = 8e307  # the distance between any two coordinates must be a float64 too, here and in the browser


def drawable(values: Sequence[float]) -> list[float]:
    """Values as coordinates: the ends of float64, and what lies beyond them, at the limit."""
    return [min(max(value, -LIMIT), LIMIT) for value in values]


def set_xy(mark: Any, x: npt.ArrayLike, y: npt.ArrayLike) -> None:
    """Give a mark new coordinates in one message and one notification, as float64 or, where they are many, lighter."""
    with mark.hold_sync(), mark.hold_trait_notifications():
        mark.x, mark.y = _coordinates(x), _coordinates(y)


def _coordinates(values: npt.ArrayLike) -> npt.NDArray[Any]:
    """Half as many bytes where there are many values and float32 tells them apart as well as a screen does."""
    exact = np.asarray(values, dtype=np.float64)
    if exact.size <= _MANY:
        return exact
    low, high = float(exact.min()), float(exact.max())
    largest = max(-low, high)
    light = largest < 1e37 and high - low > 1e-3 * largest
    return exact.astype(np.float32) if light else exact


def set_bounds(scale: Any, low: float, high: float) -> None:
    """Give a linear scale its ends, in one message."""
    with scale.hold_sync(), scale.hold_trait_notifications():
        scale.min, scale.max = float(low), float(high)


def scales() -> dict[str, Any]:
    """A fresh pair of linear scales."""
    return {"x": bq.LinearScale(allow_padding=False), "y": bq.LinearScale(allow_padding=False)}


def path(on: dict[str, Any], color: str | list[str], **options: Any) -> Any:
    """An empty path that reacts to nothing by itself, or several of one mark, a colour each."""
    colors = [color] if isinstance(color, str) else color
    return bq.Lines(
        x=[0.0, 1.0], y=[0.0, 0.0], scales=on, colors=colors, interactions={}, enable_hover=False, **options
    )


def points(on: dict[str, Any], color: str, marker: str, size: int = 90) -> Any:
    """A few markers; for many points use a path."""
    return bq.Scatter(
        x=[0.0], y=[0.0], scales=on, colors=[color], marker=marker, default_size=size, stroke="white",
        stroke_width=1.0, interactions={}, enable_hover=False,
    )


def axis(scale: Any, label: str, *, vertical: bool = False) -> Any:
    """A thin axis with a label; its ticks come with the data."""
    return bq.Axis(
        scale=scale, label=label, grid_lines="solid" if vertical else "none",
        side="left" if vertical else "bottom", label_offset="46px" if vertical else "32px",
        tick_style={"font-size": "11px"},
    )


def round_step(raw: float) -> float:
    """The next of 1, 2, 5, 10, 20 … of any power of ten that is not below ``raw``, which is above zero."""
    power = 10.0 ** math.floor(math.log10(raw))
    return float(power * next(factor for factor in (1, 2, 5, 10) if factor * power >= raw * 0.999))


def ticks(low: float, high: float, about: int, *, whole: bool = False) -> tuple[Floats, str]:
    """Round values in [low, high], some ``about`` of them, and the d3 format that writes them in full.

    Fewer where they are long: neighbours far from zero differ in their last digits only.
    """
    step = round_step((high - low) / about)
    step = max(1.0, step) if whole else step
    first, end = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1
    values = np.arange(first, end).astype(np.float64) * step
    largest = max(abs(low), abs(high))
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    short = 1e-3 <= largest < 1e5
    digits = max(3, math.floor(math.log10(largest)) - math.floor(math.log10(step) + 1e-9)) if largest else 3
    width = len(f"{largest:,.{decimals}f}") if short else digits + 6
    if width * about > _ROOM and about > 2 and not whole:
        return ticks(low, high, about - 1)
    if short:
        return values, f",.{decimals}f"
    return values, "~s" if whole else f".{digits}~e"


def set_axis(
    target: Any, low: float, high: float, about: int = 5, *, whole: bool = False, at: Floats | None = None
) -> None:
    """Give an axis and its scale their ends and round ticks, or ticks ``at`` given places.

    The format goes ahead, in a message of its own: bqplot draws new ends and ticks in a transition, which writes them
    in the format that was there when it began. Labels must be there even before.
    """
    values, target.tick_format = ticks(low, high, about, whole=whole)
    set_bounds(target.scale, low, high)
    target.tick_values = values if at is None else at


def figure(marks: Sequence[Any], axes: Sequence[Any], *, height: int, left: int = 62) -> Any:
    """A figure as wide as its place in the panel."""
    return bq.Figure(
        marks=list(marks), axes=list(axes), display_toolbar=False, padding_x=0.0, padding_y=0.0,
        fig_margin={"top": 8, "bottom": 44, "left": left, "right": 16},
        layout=w.Layout(width="100%", height=f"{height}px", min_width="0"), _dom_classes=("perchq-figure",),
    )


def bars(y: Floats, floor: float) -> tuple[Floats, Floats]:
    """One path around a bar per value: apart for up to 128 values, side by side above; of over 1,024 the tops alone.

    bqplot computes every number of a path several times a move, so each point of many costs: bars that share a column
    of pixels need no width of their own.
    """
    at = np.arange(y.size, dtype=np.float64)
    if y.size > _MANY:
        return at, y
    if y.size > 128:
        return (at[:, None] + np.array([-0.5, 0.5])).ravel(), np.repeat(y, 2)
    x = (at[:, None] + np.array([-0.4, -0.4, 0.4, 0.4])).ravel()
    bottom = np.full_like(y, floor)
    return x, np.stack([bottom, y, y, bottom], axis=1).ravel()


def steps(edges: Floats, counts: Floats) -> tuple[Floats, Floats]:
    """One path around a histogram of bins of any width, closed to zero at both ends."""
    return np.repeat(edges, 2), np.concatenate([[0.0], np.repeat(counts, 2), [0.0]])


def swatch(color: str, text: str, mark: str = "■") -> str:
    """One entry of a legend; ``text`` is escaped."""
    sign = f'<span style="color:{color}" aria-hidden="true">{mark}</span>'
    return f'<span class="perchq-key">{sign} {escape(text)}</span>'
