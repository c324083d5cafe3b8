"""A real tensor: array -> ChannelTable."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from perchq_widget.core.checks import check_ranges, normal_axis
from perchq_widget.core.conventions import require_allowed, symmetric_zero_point
from perchq_widget.core.elements import raw_codes, require_qparams
from perchq_widget.core.errors import QuantTypeError, QuantValueError
from perchq_widget.core.metrics import ChannelErrors, channel_errors, decibels, percent
from perchq_widget.core.qparams import QParams, qparams_from_range
from perchq_widget.core.ranges import ChannelRanges, channel_ranges
from perchq_widget.core.rules import finding_names, findings_of
from perchq_widget.core.schemes import QuantScheme
from perchq_widget.core.tensor_rules import tensor_hits

from .channels import TENSOR_COLUMNS, ChannelTable

Floats = npt.NDArray[np.float64]

#: Magnitudes whose squares, and the squares of their errors, float64 can hold.
SQUARES = (1e-140, 1e150)


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
    _check_squares(observed, rules.dtype)
    qparams, range_from = _qparams(request, observed, axis)
    errors = channel_errors(array, axis, qparams, observed)
    scheme = request.scheme
    hits = tensor_hits(observed, errors, qparams, scheme, _ends(observed, qparams), _used(request, observed))
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


def _check_squares(observed: ChannelRanges, dtype: np.dtype[Any]) -> None:
    """Errors are sums of squares: refuse magnitudes whose squares float64 itself cannot hold."""
    low, high = observed.known()
    top = np.maximum(-low, high)
    bad = np.flatnonzero((top > SQUARES[1]) | ((top > 0) & (top < SQUARES[0])))
    if dtype.itemsize >= 8 and bad.size:
        raise QuantValueError(
            f"the squares of channel {bad[0]}, whose largest magnitude is {top[bad[0]]:g}, leave float64: "
            f"rescale the tensor to magnitudes between {SQUARES[0]:g} and {SQUARES[1]:g}"
        )


def _names(given: object, n_channels: int) -> list[str]:
    if given is None:
        return [str(index) for index in range(n_channels)]
    names: list[Any] = list(given) if isinstance(given, Iterable) else [None]
    if isinstance(given, (str, bytes)) or not all(isinstance(name, str) for name in names):
        raise QuantTypeError(f"channel_names must be a list of texts, got {given!r:.80}")
    if len(names) != n_channels:
        raise QuantValueError(f"channel_names must have {n_channels} names, one per channel, got {len(names)}")
    repeated = {name for name in names if names.count(name) > 1} if len(set(names)) < len(names) else set()
    if repeated:
        raise QuantValueError(f"channel_names must differ, got {sorted(repeated)[0]!r} more than once")
    return names


def _qparams(request: Request, observed: ChannelRanges, axis: int) -> tuple[QParams, str]:
    """Parameters, and where their range came from."""
    if request.qparams is not None:
        return _given_qparams(request, observed, axis), "given qparams"
    if request.ranges is not None:
        low, high = _given_ranges(request.ranges, len(observed.min_val))
        range_from = "given ranges"
        low, high = (low.min(), high.max()) if request.scheme.granularity == "tensor" else (low, high)
    else:
        low, high = observed.whole() if request.scheme.granularity == "tensor" else observed.known()
        range_from = "minmax"
    ratio = request.scheme.clip_ratio
    dtype = require_allowed(request.scheme).dtype
    low, high = (np.asarray(end).astype(dtype) * dtype.type(ratio) for end in (low, high))
    return qparams_from_range(low, high, request.scheme, None if low.ndim == 0 else axis), range_from


def _given_qparams(request: Request, observed: ChannelRanges, axis: int) -> QParams:
    """The given parameters, if they fit the tensor."""
    qparams = request.qparams
    assert qparams is not None
    if qparams.ch_axis is None:
        return qparams
    if qparams.ch_axis not in (axis, request.ch_axis):
        raise QuantValueError(
            f"qparams are for ch_axis {qparams.ch_axis}, but ch_axis is {request.ch_axis}: pass the same"
        )
    if qparams.scale.size != len(observed.min_val):
        raise QuantValueError(
            f"qparams has {qparams.scale.size} scales, but axis {axis} has {len(observed.min_val)} channels"
        )
    return qparams


def _used(request: Request, observed: ChannelRanges) -> tuple[Floats, Floats] | None:
    """Per channel, the range before its parameters, if each channel has one."""
    if request.qparams is not None or request.scheme.granularity == "tensor":
        return None
    if request.ranges is not None:
        return _given_ranges(request.ranges, len(observed.min_val))
    return observed.known()


def _given_ranges(ranges: tuple[npt.ArrayLike, npt.ArrayLike], n_channels: int) -> tuple[Floats, Floats]:
    try:
        low, high = (np.broadcast_to(np.asarray(end, np.float64), (n_channels,)) for end in ranges)
    except (TypeError, ValueError) as error:
        raise QuantTypeError(
            f"ranges must be (min_val, max_val), each a number or {n_channels} of them, got {ranges!r:.80}"
        ) from error
    check_ranges(low, high, "ranges")
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
        errors.zeroed_pct,
        *(
            np.where(some, each, np.nan)
            for each in (errors.max_noise, errors.mean(errors.abs_noise), errors.pct_error, errors.mean(errors.noise))
        ),
        errors.sqnr_db,
        np.where(some, errors.cosine, np.nan),
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
        "zeroed_pct": 100.0 * float(errors.zeroed.sum()) / max(int(errors.nonzero.sum()), 1),
        "max_abs_error": float(errors.max_noise.max()),
        "mean_abs_error": float(errors.abs_noise.sum()) / n,
        "pct_error": float(percent(errors.abs_noise.sum(), errors.abs_signal.sum())),
        "mse": noise / n,
        "sqnr_db": float(decibels(errors.signal.sum(), noise)) if errors.n.any() else -float("inf"),
        "worst_channel": str(frame["channel"].iloc[worst]),
        "worst_sqnr_db": float(sqnr[worst]),
        "exact_channels": int(np.isposinf(sqnr).sum()),
        "scale_min": float(frame["scale"].min()),
        "scale_max": float(frame["scale"].max()),
    }


def scheme_of(qparams: QParams) -> QuantScheme:
    """The settings that given parameters stand for."""
    require_qparams(qparams)
    plain = QuantScheme(
        qparams.dtype,
        "symmetric",
        qparams.granularity,
        convention=qparams.convention,
    )
    ends = (qparams.quant_min, qparams.quant_max)
    settings = plain if ends == (plain.quant_min, plain.quant_max) else replace(plain, quant_range=ends)
    symmetric = bool((qparams.zero_point == symmetric_zero_point(settings)).all())
    return settings if symmetric else replace(settings, scheme="affine")
