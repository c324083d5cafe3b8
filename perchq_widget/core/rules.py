"""Rules that turn a table's numbers into findings. Each rule looks at all channels at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from .conventions import get_convention
from .findings import Finding, Severity
from .runtimes.calculator import LARGEST_ZERO_POINT
from .schemes import QuantScheme

LOW_SQNR_DB = 20.0  # noise at a tenth of the signal's amplitude: visible in most layers' outputs
OUTLIER_RATIO = 10.0  # largest magnitude over root mean square; 4 to 5 for a bell curve
ZEROED_PCT = 50.0
EXTREME_SCALES = (float(np.finfo(np.float32).tiny), 1e30)

Mask = npt.NDArray[np.bool_]
Values = npt.NDArray[Any]
#: Above this many channels a rule reports once, for the channel where its value is worst.
LISTED_CHANNELS = 5


@dataclass(frozen=True, eq=False, slots=True)
class Hit:
    """One rule's result: the channels it meets, the number that met it, and the words."""

    rule: str
    severity: Severity
    where: Mask
    values: Values
    message: str  # with {value}, and the names of ``also``
    next_step: str
    lowest_is_worst: bool = False
    also: Mapping[str, Values] = field(default_factory=dict)  # other numbers of each channel


def findings_of(hits: Iterable[Hit], names: list[str]) -> tuple[Finding, ...]:
    """One finding per channel, or one per rule where it meets many, naming the worst channel."""
    found: list[Finding] = []
    for hit in hits:
        rows = np.flatnonzero(hit.where)
        if len(rows) > LISTED_CHANNELS:
            values = hit.values[rows]
            worst = rows[int(np.argmin(values) if hit.lowest_is_worst else np.argmax(values))]
            prefix, rows = f"{len(rows)} channels; worst here: ", np.array([worst])
        else:
            prefix = ""
        found += [
            Finding(
                hit.rule,
                hit.severity,
                names[row],
                float(hit.values[row]),
                prefix + _message(hit, int(row)),
                hit.next_step,
            )
            for row in rows
        ]
    order = {"error": 0, "warning": 1, "info": 2}
    return tuple(sorted(found, key=lambda finding: order[finding.severity]))


def _message(hit: Hit, row: int) -> str:
    numbers = {"value": hit.values, **hit.also}
    return hit.message.format_map({name: _shown(float(values[row])) for name, values in numbers.items()})


def _shown(value: float) -> str:
    """Whole numbers, such as codes and counts, with all their digits."""
    return str(int(value)) if value.is_integer() and abs(value) < LARGEST_ZERO_POINT else f"{value:.6g}"


def finding_names(hits: Iterable[Hit], n_channels: int) -> list[str]:
    """Per channel, the rules that meet it, joined with "; "; of many channels few combinations occur."""
    met = np.zeros(n_channels, np.int64)
    rules: list[str] = []
    for hit in hits:
        if hit.where.any():
            met += hit.where.astype(np.int64) << len(rules)
            rules.append(hit.rule)
    found, which = np.unique(met, return_inverse=True)
    texts = ["; ".join(rule for at, rule in enumerate(rules) if each >> at & 1) for each in found.tolist()]
    return [texts[place] for place in which.tolist()]


def scale_hits(
    scale: Values, low: Values, high: Values, scheme: QuantScheme, dtype: np.dtype[Any] | None = None
) -> list[Hit]:
    """Rules about the range and the scale that came from it; shared by lines and tensors.

    ``dtype``: what the scale was computed in, if not the convention's first.
    """
    with np.errstate(over="ignore"):
        width = high - low
    extreme = (scale < EXTREME_SCALES[0]) | (scale > EXTREME_SCALES[1])
    rules = get_convention(scheme.convention)
    floor = rules.floor_in(rules.dtype if dtype is None else dtype)
    floored = (scale == (-1.0 if floor is None else floor)) & (width > 0)
    zero_width = width == 0
    return [
        Hit("zero-width", "warning", zero_width, low, "min and max are both {value}.",
            "The scale follows the convention's rule for a range without width; is the channel meant to be constant?"),
        Hit("scale-floor", "warning", floored, scale,
            f"the scale is held at {{value}}, the least that {scheme.convention} allows.",
            "The channel's values are smaller than the step; rescale them or leave the channel unquantized."),
        Hit("extreme-scale", "warning", extreme & ~zero_width, scale, "the scale {value} is extreme for float32.",
            "Runtimes may flush it to zero or overflow; rescale the channel."),
    ]  # fmt: skip


def line_findings(frame: Any, mode: str, scheme: QuantScheme) -> tuple[Finding, ...]:
    """Findings of the calculator's table."""
    return findings_of(line_hits(frame, mode, scheme), [str(name) for name in frame["channel"]])


def line_hits(frame: Any, mode: str, scheme: QuantScheme) -> list[Hit]:
    """What the rules find in the calculator's table."""
    column = {name: frame[name].to_numpy() for name in frame.columns}
    low, high = column["min"].astype(float), column["max"].astype(float)
    zero = column["zero_point"].astype(float)
    overflow = np.abs(column["raw_quantized"].astype(float) - column["quantized"].astype(float)) / scheme.grid.top_step
    sqnr = column["sqnr_db"].astype(float)
    off_grid = (zero < scheme.quant_min) | (zero > scheme.quant_max)
    not_symmetric = (zero != 0) & (scheme.symmetric and mode == "params" and get_convention(scheme.convention).exact)
    ranges = mode == "ranges"
    hits = [
        Hit("zero-off-grid", "warning", off_grid, zero,
            f"zero_point {{value}} lies outside {scheme.quant_min}..{scheme.quant_max}: real zero is off the grid.",
            "Include 0 in the range, or use a runtime's convention, which does so by itself."),
        Hit("clipped", "warning", overflow > 1, overflow, "the sample is clipped by {value} codes.",
            "Widen the range to hold the sample, or accept the loss."),
        Hit("low-sqnr", "warning", (sqnr < LOW_SQNR_DB) & (overflow <= 1), sqnr,
            f"SQNR is {{value}} dB, below {LOW_SQNR_DB:g} dB.",
            "The sample is small beside the step; narrow the range or use more bits.", lowest_is_worst=True),
        Hit("not-symmetric", "warning", not_symmetric, zero,
            "zero_point {value} is used as typed, but symmetric means 0.", "Choose scheme 'affine', or write 0."),
    ]  # fmt: skip
    if ranges:
        hits = scale_hits(column["scale"].astype(float), low, high, scheme) + hits
    return hits
