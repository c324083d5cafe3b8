"""A real tensor: array -> ChannelTable."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from perchq_widget.core.conventions import require_allowed
from perchq_widget.core.errors import QuantTypeError, QuantValueError
from perchq_widget.core.metrics import ChannelErrors, channel_errors, decibels, percent
from perchq_widget.core.qparams import QParams, normal_axis, qparams_from_range, raw_codes
from perchq_widget.core.ranges import ChannelRanges, channel_ranges
from perchq_widget.core.rules import finding_names, findings_of
from perchq_widget.core.schemes import QuantScheme
from perchq_widget.core.tensor_rules import tensor_hits

from .channels import TENSOR_COLUMNS, ChannelTable

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False, slots=True)
class Request:
    """What to do with a tensor. At most one of ``ranges`` and ``qparams`` is given."""

    scheme: QuantScheme
    ch_axis: int
    name: str
    channel_names: Sequence[str] | None = None
    ranges: tuple[npt.ArrayLike, npt.ArrayLike] | None = None
    qparams: QParams | None = None


def analyze_table(array: npt.NDArray[Any], request: Request) -> ChannelTable:
    """Ranges, parameters and exact errors of every channel; two passes in blocks, no full-size temporary."""
    axis = normal_axis(request.ch_axis, array.ndim)
    names = _names(request.channel_names, array.shape[axis])
    rules = require_allowed(request.scheme)
    observed = channel_ranges(array, axis, rules.dtype)
    qparams, range_from = _qparams(request, observed, axis)
    errors = channel_errors(array, axis, qparams, observed)
    scheme = request.scheme
    hits = tensor_hits(observed, errors, qparams, scheme, _ends(observed, qparams))
    frame = _frame(names, observed, errors, qparams, finding_names(hits, len(names)))
    return ChannelTable(
        "tensor",
        request.name,
        frame,
        _summary(frame, observed, errors),
        scheme,
        qparams,
        findings_of(hits, names),
        axis,
        range_from,
        shape=array.shape,
        tensor_dtype=array.dtype.name,
        calibration=None if request.ranges is None else _given_ranges(request.ranges, len(names)),
        array=array,
    )


def _names(given: Sequence[str] | None, n_channels: int) -> list[str]:
    if given is None:
        return [str(index) for index in range(n_channels)]
    names = [str(name) for name in given]
    if len(names) != n_channels:
        raise QuantValueError(f"channel_names must have {n_channels} names, one per channel, got {len(names)}")
    repeated = {name for name in names if names.count(name) > 1} if len(set(names)) < len(names) else set()
    if repeated:
        raise QuantValueError(f"channel_names must differ, got {sorted(repeated)[0]!r} more than once")
    return names


def _qparams(request: Request, observed: ChannelRanges, axis: int) -> tuple[QParams, str]:
    """Parameters, and where their range came from."""
    if request.qparams is not None:
        return _given_qparams(request.qparams, axis, len(observed.min_val)), "given qparams"
    if request.ranges is not None:
        low, high = _given_ranges(request.ranges, len(observed.min_val))
        range_from = "given ranges"
    else:
        (low, high), range_from = observed.known(), "minmax"
    if request.scheme.granularity == "tensor":
        low, high = low.min(), high.max()
    ratio = request.scheme.clip_ratio
    dtype = require_allowed(request.scheme).dtype
    low, high = (np.asarray(end).astype(dtype) * dtype.type(ratio) for end in (low, high))
    return qparams_from_range(low, high, request.scheme, None if low.ndim == 0 else axis), range_from


def _given_qparams(qparams: QParams, axis: int, n_channels: int) -> QParams:
    if qparams.ch_axis is None:
        return qparams
    if qparams.scale.size != n_channels:
        raise QuantValueError(f"qparams has {qparams.scale.size} scales, but axis {axis} has {n_channels} channels")
    return _on_axis(qparams, axis)


def _on_axis(qparams: QParams, axis: int) -> QParams:
    if qparams.ch_axis == axis:
        return qparams
    return QParams(
        qparams.scale,
        qparams.zero_point,
        dtype=qparams.dtype,
        convention=qparams.convention,
        ch_axis=axis,
        quant_min=qparams.quant_min,
        quant_max=qparams.quant_max,
        exact=qparams.exact,
    )


def _given_ranges(ranges: tuple[npt.ArrayLike, npt.ArrayLike], n_channels: int) -> tuple[Floats, Floats]:
    try:
        low, high = (np.broadcast_to(np.asarray(end, np.float64), (n_channels,)) for end in ranges)
    except (TypeError, ValueError) as error:
        raise QuantTypeError(
            f"ranges must be (min_val, max_val), each a number or {n_channels} of them, got {ranges!r:.80}"
        ) from error
    bad = ~(np.isfinite(low) & np.isfinite(high) & (low <= high))
    if bad.any():
        row = int(np.argmax(bad))
        raise QuantValueError(
            f"ranges must be finite with min_val <= max_val, got {float(low[row])}..{float(high[row])} (channel {row})"
        )
    return low, high


def _ends(observed: ChannelRanges, qparams: QParams) -> tuple[Floats, Floats]:
    """Raw codes of each channel's smallest and largest value."""
    params = qparams.expand(slice(None), 0)
    low, high = (raw_codes(end[:, None], qparams, params)[:, 0].astype(np.float64) for end in observed.known())
    return low, high


def _frame(names: list[str], observed: ChannelRanges, errors: ChannelErrors, qparams: QParams, found: list[str]) -> Any:
    import pandas as pd

    n = observed.n_finite
    some = n > 0
    per_value = np.maximum(n, 1)
    n_channels = len(names)
    columns = (
        names,
        np.where(some, observed.min_val, np.nan),
        np.where(some, observed.max_val, np.nan),
        n,
        np.broadcast_to(qparams.scale.astype(np.float64), (n_channels,)),
        np.broadcast_to(qparams.zero_point, (n_channels,)),
        errors.clipped,
        100.0 * errors.clipped / per_value,
        100.0 * errors.zeroed / per_value,
        errors.max_noise,
        errors.mean(errors.abs_noise),
        errors.pct_error,
        errors.mean(errors.noise),
        errors.sqnr_db,
        errors.cosine,
        found,
    )
    return pd.DataFrame(dict(zip(TENSOR_COLUMNS, columns, strict=True)))


def _summary(frame: Any, observed: ChannelRanges, errors: ChannelErrors) -> dict[str, Any]:
    """Tensor figures, from sums and not from means of channels."""
    n = max(int(observed.n_finite.sum()), 1)
    sqnr = frame["sqnr_db"].to_numpy(float)
    worst = int(np.argmin(sqnr))
    noise = float(errors.noise.sum())
    return {
        "channels": len(frame),
        "n": int(observed.n_finite.sum()),
        "non_finite": int((observed.n_nan + observed.n_inf).sum()),
        "clipped": int(errors.clipped.sum()),
        "clipped_pct": 100.0 * float(errors.clipped.sum()) / n,
        "clipped_channels": int((errors.clipped > 0).sum()),
        "zeroed_pct": 100.0 * float(errors.zeroed.sum()) / n,
        "max_abs_error": float(errors.max_noise.max()),
        "mean_abs_error": float(errors.abs_noise.sum()) / n,
        "pct_error": float(percent(errors.abs_noise.sum(), errors.abs_signal.sum())),
        "mse": noise / n,
        "sqnr_db": float(decibels(errors.signal.sum(), noise)),
        "worst_channel": str(frame["channel"].iloc[worst]),
        "worst_sqnr_db": float(sqnr[worst]),
        "exact_channels": int(np.isposinf(sqnr).sum()),
        "scale_min": float(frame["scale"].min()),
        "scale_max": float(frame["scale"].max()),
    }


def scheme_of(qparams: QParams) -> QuantScheme:
    """The settings that given parameters stand for."""
    middle = 0 if qparams.grid.signed else (qparams.quant_min + qparams.quant_max + 1) // 2
    symmetric = bool((qparams.zero_point == middle).all())
    plain = QuantScheme(
        qparams.dtype,
        "symmetric" if symmetric else "affine",
        qparams.granularity,
        convention=qparams.convention,
    )
    ends = (qparams.quant_min, qparams.quant_max)
    return plain if ends == (plain.quant_min, plain.quant_max) else replace(plain, quant_range=ends)
