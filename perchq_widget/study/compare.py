"""Two conventions on one tensor: which codes differ, and what it costs to write with one and read with the other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
import numpy.typing as npt

from perchq_widget.core.codec import Parameters
from perchq_widget.core.conventions import allowed
from perchq_widget.core.defaults import settled
from perchq_widget.core.elements import levels_of
from perchq_widget.core.errors import QuantValueError
from perchq_widget.core.kernels import Expanded, FloatArray
from perchq_widget.core.layouts import Piece, pieces
from perchq_widget.core.metrics import decibels
from perchq_widget.core.reduce import clamp, count, dot, small_buffers
from perchq_widget.core.schemes import SCHEMES, QuantScheme

from .contrast import Contrast, contrasts
from .tensor import Request, analyze_table

if TYPE_CHECKING:
    import pandas as pd

    from .channels import ChannelTable

DIFF_COLUMNS = (
    "channel", "codes_differ_pct", "max_code_diff", "scale_a", "scale_b", "zero_point_a", "zero_point_b",
    "sqnr_a_db", "sqnr_b_db", "sqnr_a_read_by_b_db", "sqnr_b_read_by_a_db",
)  # fmt: skip
_ROWS = 6
_N, _DIFFER, _STEPS, _SIGNAL, _A_BY_B, _B_BY_A = range(_ROWS)
Pair = tuple[Parameters, Parameters]


@dataclass(frozen=True, eq=False)
class DiffTable:
    """What two conventions make of one tensor.

    ``frame`` has one row per channel with the columns of DIFF_COLUMNS; ``summary`` the tensor's figures, from sums.
    ``contrasts`` are the rules that differ.
    """

    name: str
    a: QuantScheme
    b: QuantScheme
    frame: pd.DataFrame = field(repr=False)
    summary: dict[str, Any]
    contrasts: tuple[Contrast, ...]
    ch_axis: int
    shape: tuple[int, ...]
    tensor_dtype: str


def settle_both(names: tuple[str, str], dtype: str, **settings: Any) -> tuple[QuantScheme, QuantScheme]:
    """The schemes of two conventions under the same settings, those of :func:`~perchq_widget.core.defaults.settled`.

    A scheme and a granularity that are left out are the first that both have, beginning with what follows from the
    dtype. Raises QuantValueError where there are none, in the words of the one that does not have them.
    """
    usual = settled(dtype, **settings)
    free = settings.get("scheme") is None, settings.get("granularity") is None
    schemes = (usual.scheme, *(SCHEMES if free[0] else ()))
    granularities = (usual.granularity, *(("channel", "tensor") if free[1] and usual.group_size is None else ()))
    tried: list[tuple[QuantScheme, QuantScheme]] = []
    for granularity in granularities:
        for scheme in schemes:
            both = {**settings, "scheme": scheme, "granularity": granularity, "group_size": usual.group_size}
            first, second = (settled(dtype, convention=name, **both) for name in names)
            if allowed(first) is None and allowed(second) is None:
                return first, second
            tried.append((first, second))
    refused = next(each for each in tried[0] if allowed(each) is not None)
    raise QuantValueError(f"convention {refused.convention!r} does not have this combination: {allowed(refused)}")


def diff_table(array: npt.NDArray[Any], a: Request, b: Request) -> DiffTable:
    """Analyze ``array`` under both requests, which differ in their convention alone, and compare code by code.

    NaN and infinities are left out, as in errors. Raises QuantValueError where the codes have nothing in common.
    """
    tables = analyze_table(array, a), analyze_table(array, b)
    pair = tables[0].qparams, tables[1].qparams
    check_comparable(*pair)
    sums = _cross_sums(array, tables[0].ch_axis, pair)
    frame = _frame(tables, sums)
    return DiffTable(
        a.name,
        a.scheme,
        b.scheme,
        frame,
        _summary(frame, tables, sums),
        contrasts(tables, frame["codes_differ_pct"].to_numpy(np.float64)),
        tables[0].ch_axis,
        array.shape,
        array.dtype.name,
    )


def check_comparable(a: Parameters, b: Parameters) -> None:
    """Raise unless codes of the two can stand side by side: shared over the same elements, of one kind."""
    kinds = [each.code_dtype for each in (a, b)]
    if a.layout != b.layout:
        shown = [f"{each.layout[0]} of {each.layout[1]} under {each.convention}" for each in (a, b)]
        raise QuantValueError(f"scales of {a.dtype} are per {' and per '.join(shown)}: their codes cannot be compared")
    if kinds[0] != kinds[1] and any(kind.kind not in "iu" for kind in kinds):
        stored = [f"{each.code_dtype} under {each.convention}" for each in (a, b)]
        raise QuantValueError(f"codes of {a.dtype} are stored as {' and as '.join(stored)}: they cannot be compared")


@small_buffers()
def _cross_sums(array: npt.NDArray[Any], axis: int, pair: Pair) -> npt.NDArray[np.float64]:
    """(_ROWS, C): per channel, what the two tables do not tell."""
    sums = np.zeros((_ROWS, array.shape[axis]))
    whole_channels = pair[0].granularity in ("channel", "tensor")
    last: tuple[int, int] | None = None
    for both in _pieces(array, axis, pair):
        channels = both[0].channels
        if not whole_channels or (channels.start, channels.stop) != last:  # blocks of the same channels follow
            last = (channels.start, channels.stop)
            params = [each.expand(piece.units, piece.across) for each, piece in zip(pair, both, strict=True)]
        lanes = _lanes(pair, both, (params[0], params[1])).reshape(_ROWS, channels.stop - channels.start, -1)
        part = sums[:, channels]
        np.maximum(part[_STEPS], lanes[_STEPS].max(1), out=part[_STEPS])
        others = [row for row in range(_ROWS) if row != _STEPS]
        part[others] += lanes[others].sum(2)
    return sums


def _pieces(array: npt.NDArray[Any], axis: int, pair: Pair) -> Iterator[tuple[Piece, Piece]]:
    """Each piece as both see it: cut alike, in the dtype that each computes in."""
    cuts = [pieces(array, axis, *each.layout, each.working_dtype) for each in pair]
    if pair[0].working_dtype == pair[1].working_dtype:
        return ((piece, piece) for piece in cuts[0])
    return zip(*cuts, strict=True)


def _lanes(pair: Pair, both: tuple[Piece, Piece], params: tuple[Expanded, Expanded]) -> npt.NDArray[np.float64]:
    """(_ROWS, lanes) of one piece."""
    axis = both[0].axis
    x = both[0].x.astype(np.float64)
    finite = np.isfinite(x) & np.isfinite(both[1].x)
    signal = np.where(finite, x, 0.0)
    codes = [_codes(*each) for each in zip(pair, both, params, strict=True)]
    apart = finite & (_bits(codes[0]) != _bits(codes[1])).reshape(x.shape)
    steps = np.where(apart, _steps(codes).reshape(x.shape), 0.0)
    rows = [count(finite, axis), count(apart, axis), steps.max(1 - axis), dot(signal, signal, axis)]
    for writer, reader in ((0, 1), (1, 0)):
        error = np.where(finite, _decoded(codes[writer], pair[reader], params[reader]).reshape(x.shape) - signal, 0.0)
        with np.errstate(over="ignore", invalid="ignore"):
            rows.append(dot(error, error, axis))
    return np.array(rows, np.float64)


def _codes(qparams: Parameters, piece: Piece, params: Expanded) -> npt.NDArray[Any]:
    levels = levels_of(piece.x.reshape(piece.view), qparams, params)
    clamp(levels, params.low, params.high, params.axis, levels)
    return qparams.codes_of(levels, params)


def _decoded(codes: npt.NDArray[Any], reader: Parameters, params: Expanded) -> FloatArray:
    """What ``reader`` makes of codes, whoever wrote them, float64."""
    levels = reader.levels_of(codes, params)
    with np.errstate(over="ignore", under="ignore"):
        reader.decoder.values(levels, params, levels)
    return np.asarray(levels.astype(np.float64))


def _bits(codes: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Codes as stored; integers of any width compare by value."""
    return codes if codes.dtype.kind in "iu" else codes.view(f"u{codes.dtype.itemsize}")


def _steps(codes: list[npt.NDArray[Any]]) -> npt.NDArray[np.int32]:
    """How many codes of the format lie between; of float formats, values of the grid (-0 and +0 are one)."""
    ranks = [_ranks(each) for each in codes]
    return np.asarray(np.abs(ranks[0] - ranks[1]))


def _ranks(codes: npt.NDArray[Any]) -> npt.NDArray[np.int32]:
    """Codes in the order of their values; a float's bits are its sign and its magnitude's rank."""
    bits = _bits(codes).astype(np.int32)
    if codes.dtype.kind in "iu":
        return bits
    sign = 1 << (int(ml_dtypes.finfo(codes.dtype).bits) - 1)  # type: ignore[no-untyped-call]
    magnitude = bits & (sign - 1)
    return np.asarray(np.where(bits & sign, -magnitude, magnitude))


def _frame(tables: tuple[ChannelTable, ChannelTable], sums: npt.NDArray[np.float64]) -> Any:
    import pandas as pd

    a, b = (table.frame for table in tables)
    columns = (
        a["channel"], _share(sums[_DIFFER], sums[_N]), sums[_STEPS].astype(np.int64), a["scale"], b["scale"],
        a["zero_point"], b["zero_point"], a["sqnr_db"], b["sqnr_db"],
        *(np.where(sums[_N] > 0, decibels(sums[_SIGNAL], sums[row]), -np.inf) for row in (_A_BY_B, _B_BY_A)),
    )  # fmt: skip
    return pd.DataFrame(dict(zip(DIFF_COLUMNS, columns, strict=True)))


def _share(part: Any, whole: Any) -> Any:
    return 100.0 * part / np.maximum(whole, 1)


def _summary(frame: Any, tables: tuple[ChannelTable, ChannelTable], sums: npt.NDArray[np.float64]) -> dict[str, Any]:
    total = sums.sum(1)
    shares = frame["codes_differ_pct"].to_numpy(np.float64)
    crossed = [float(decibels(total[_SIGNAL], total[row])) if total[_N] else -np.inf for row in (_A_BY_B, _B_BY_A)]
    return {
        "channels": len(frame),
        "n": int(total[_N]),
        "codes_differ": int(total[_DIFFER]),
        "codes_differ_pct": float(_share(total[_DIFFER], total[_N])),
        "channels_differ": int((sums[_DIFFER] > 0).sum()),
        "max_code_diff": int(sums[_STEPS].max()),
        "most_different_channel": str(frame["channel"].iloc[int(np.argmax(shares))]) if shares.any() else None,
        "sqnr_a_db": tables[0].summary["sqnr_db"],
        "sqnr_b_db": tables[1].summary["sqnr_db"],
        "sqnr_a_read_by_b_db": crossed[0],
        "sqnr_b_read_by_a_db": crossed[1],
    }
