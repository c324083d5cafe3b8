"""The textbook formulas, exact on the decimals as typed. No runtime does this; people with a pencil do."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .. import exact
from ..grids import INTEGER_DTYPES
from ..kernels import Expanded, FloatArray, Kernel
from ..record import Convention, Params, Refusal, Support
from ..schemes import QuantScheme
from ..trace import Formula, Note

#: float64 quotients this close to a tie (relative) are decided on exact fractions.
TIE_MARGIN = 1e-9
#: Above this a zero point no longer has an exact float64, and no code would ever be in reach.
LARGEST_ZERO_POINT = 1 << 53


def calculator_range(min_val: FloatArray, max_val: FloatArray, scheme: QuantScheme, note: Note) -> Params:
    """The textbook formulas, exact on the decimals that the floats print as."""
    rule = exact.symmetric_params if scheme.symmetric else exact.affine_params
    ends = zip(min_val.ravel().tolist(), max_val.ravel().tolist(), strict=True)
    low, high = int(scheme.quant_min), int(scheme.quant_max)
    found = tuple(rule(exact.fraction(first), exact.fraction(last), low, high) for first, last in ends)
    scale = np.array([exact.to_float(each.scale) for each in found], np.float64).reshape(min_val.shape)
    limit = LARGEST_ZERO_POINT  # beyond it the caller refuses; clipped here so that int64 can hold it
    zero_point = np.array([min(max(each.zero_point, -limit), limit) for each in found], np.int64).reshape(scale.shape)
    if scheme.symmetric:
        note("largest", "max(|min|, |max|)", np.maximum(np.abs(min_val), np.abs(max_val)))
        note("scale", "largest / max(|quant_min|, |quant_max|)", scale, _width_note(min_val, max_val))
        note("zero_point", "0", zero_point, "0 by definition")
    else:
        note("scale", "(max - min) / (quant_max - quant_min)", scale, _width_note(min_val, max_val))
        note("zero_point", "round(quant_min - min / scale)", zero_point, _zero_note(zero_point, low, high))
    return Params(scale, zero_point, found)


def _width_note(min_val: FloatArray, max_val: FloatArray) -> str:
    same = bool(np.all(min_val == max_val))
    return "the range has no width: the scale is float32's epsilon by convention" if same else ""


def _zero_note(zero_point: npt.NDArray[np.int64], low: int, high: int) -> str:
    inside = bool(((zero_point >= low) & (zero_point <= high)).all())
    return "not clamped" if inside else "outside the codes and not clamped: real zero is off the grid"


def _levels(x: FloatArray, params: Expanded, out: FloatArray) -> None:
    """Round half away from zero of x / scale; what float64 cannot decide goes through exact fractions."""
    np.divide(x, params.scale, out=out)
    size = np.abs(out)
    whole = np.floor(size)
    rest = size - whole
    doubtful = np.abs(rest - 0.5) <= TIE_MARGIN * np.maximum(size, 1.0)
    np.copysign(whole + (rest >= 0.5), out, out=out)
    if params.exact is not None and doubtful.any():
        _decide_ties(x, params, np.nonzero(doubtful), out)


def _decide_ties(x: FloatArray, params: Expanded, where: tuple[npt.NDArray[np.intp], ...], out: FloatArray) -> None:
    """Overwrite ``out`` at ``where``. Each distinct (value, channel) is worked out once."""
    assert params.exact is not None
    n_channels = len(params.exact)
    channel = where[params.axis] if n_channels > 1 else np.zeros(len(where[0]), np.intp)
    pairs = np.stack([x[where].astype(np.float64), channel.astype(np.float64)])
    distinct, back = np.unique(pairs, axis=1, return_inverse=True)
    levels = [
        exact.round_half_away(exact.fraction(value) / params.exact[int(index)].scale) for value, index in distinct.T
    ]
    out[where] = np.array(levels, np.float64)[back.ravel()]


EXACT = Kernel(
    "exact",
    _levels,
    (
        Formula("quotient", "x / scale", lambda k: k["x"] / k["scale"]),
        Formula("level", "round(quotient)", lambda k: k["exact_level"], "half away from zero, exact"),
    ),
    "half away from zero",
)

CALCULATOR = Convention(
    name="calculator",
    title="Textbook formulas, exact",
    used_by="lecture notes, blog posts and pocket calculators; no runtime",
    supports=(
        Support(
            tuple(INTEGER_DTYPES),
            granularities=("channel", "tensor", "group"),
            flags=("reduce_range", "narrow_range", "quant_range"),
        ),
    ),
    range_rule=calculator_range,
    kernel=EXACT,
    dtypes=(np.dtype(np.float64),),
    zero_point_in_range=False,
    exact=True,
    zero_in_range=False,
    short_group=True,
    checked="exact fractions",
    source="textbook formulas on the decimals as typed; round is half away from zero",
    refusals=(
        Refusal(
            (("quant_range", True), ("reduce_range", True)),
            "the calculator takes quant_range as it is given",
            "turn reduce_range off and write the smaller quant_range",
        ),
    ),
)
