"""A real tensor: array -> ChannelTable."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from perchq_widget.core.checks import check_ranges, normal_axis
from perchq_widget.core.codec import Parameters
from perchq_widget.core.conventions import require_allowed, symmetric_zero_point
from perchq_widget.core.elements import check_layout, one_channel, raw_codes, require_qparams
from perchq_widget.core.errors import QuantTypeError, QuantValueError
from perchq_widget.core.fitting import fit, searched_ends
from perchq_widget.core.layouts import groups_of
from perchq_widget.core.metrics import ChannelErrors, GroupErrors, channel_errors, decibels, percent
from perchq_widget.core.qparams import QParams
from perchq_widget.core.ranges import ChannelRanges, channel_ranges
from perchq_widget.core.rules import finding_names, findings_of
from perchq_widget.core.schemes import QuantScheme
from perchq_widget.core.tensor_rules import tensor_hits

from .channels import GIVEN_QPARAMS, TENSOR_COLUMNS, ChannelTable

Floats = npt.NDArray[np.float64]

#: Magnitudes whose squares, and the squares of their errors, float64 can hold.
SQUARES = (1e-140, 1e150)


@dataclass(frozen=True, eq=False, slots=True)
class Request:
    """What to do with a tensor. At most one of ``ranges`` and ``qparams`` is given; ``qparams_from`` says by whom."""

    scheme: QuantScheme
    ch_axis: int
    name: str
    channel_names: Sequence[str] | None = None
    ranges: tuple[npt.ArrayLike, npt.ArrayLike] | None = None
    qparams: Parameters | None = None
    qparams_from: str = GIVEN_QPARAMS


@dataclass(frozen=True, eq=False, slots=True)
class Fitted:
    """A tensor with its parameters, ready to be measured. ``observed`` are its ranges along ``axis``."""

    array: npt.NDArray[Any]
    request: Request
    axis: int
    names: list[str]
    observed: ChannelRanges
    qparams: Parameters
    range_from: str
    searched: tuple[Floats, Floats] | None = None  # the ends that an observer found

    def table(self, errors: ChannelErrors) -> ChannelTable:
        """The result; of incomplete errors, the columns and figures that they allow."""
        observed, qparams, names, request = self.observed, self.qparams, self.names, self.request
        params = channel_params(qparams, len(names), self.axis)
        overflow, used = _overflow(observed, errors, qparams), _used(request, observed, self.searched)
        hits = tensor_hits(observed, errors, qparams, request.scheme, params, overflow, used)
        frame = _frame(names, observed, errors, params, finding_names(hits, len(names)))
        return ChannelTable(
            "tensor",
            request.name,
            frame,
            _summary(frame, observed, errors, qparams),
            request.scheme,
            qparams,
            findings_of(hits, names),
            self.axis,
            self.range_from,
            shape=self.array.shape,
            tensor_dtype=self.array.dtype.name,
            calibration=None if request.ranges is None else _given_ranges(request.ranges, len(names)),
            searched=self.searched,
            array=self.array,
            groups=errors.groups,
        )


class Facts:
    """What a tensor is like, looked up when it is asked for; those who look often remember it."""

    def __init__(self, array: npt.NDArray[Any]) -> None:
        self.array = array

    def ranges(self, axis: int, dtype: np.dtype[Any]) -> ChannelRanges:
        """Ranges along ``axis``, the values taken as ``dtype``."""
        return channel_ranges(self.array, axis, dtype)

    def searched(self, axis: int, scheme: QuantScheme, observed: ChannelRanges) -> tuple[Floats, Floats] | None:
        """The ends that the scheme's observer finds; None for "minmax"."""
        return searched_ends(self.array, axis, scheme, observed)


def fitted(facts: Facts, request: Request) -> Fitted:
    """Choose the parameters."""
    array = facts.array
    axis = normal_axis(request.ch_axis, array.ndim)
    names = _names(request.channel_names, array.shape[axis])
    if request.qparams is None:
        dtype = require_allowed(request.scheme).working_dtype(array.dtype)
    else:  # who gives parameters has chosen already, also what no rule would choose
        dtype = request.qparams.working_dtype
    observed = facts.ranges(axis, dtype)
    _check_squares(observed, dtype)
    free = request.ranges is None and request.qparams is None
    if request.ranges is not None and request.scheme.observer != "minmax":
        raise QuantValueError(
            f"ranges already says what observer {request.scheme.observer!r} would find: leave one of them out"
        )
    searched = facts.searched(axis, request.scheme, observed) if free else None
    found = _qparams(array, request, observed, axis, searched)
    return Fitted(array, request, axis, names, observed, *found, searched)


def analyze_table(array: npt.NDArray[Any], request: Request) -> ChannelTable:
    """Ranges, parameters and exact errors of every channel; two passes in blocks, no full-size temporary."""
    ready = fitted(Facts(array), request)
    return ready.table(channel_errors(array, ready.axis, ready.qparams, ready.observed))


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


def _qparams(
    array: npt.NDArray[Any],
    request: Request,
    observed: ChannelRanges,
    axis: int,
    searched: tuple[Floats, Floats] | None,
) -> tuple[Parameters, str]:
    """Parameters, and where their range came from."""
    if request.qparams is not None:
        return _given_qparams(array, request, axis), request.qparams_from
    if request.ranges is not None:
        given = _given_ranges(request.ranges, len(observed.min_val))
        return fit(array, axis, request.scheme, observed, given), "given ranges"
    return fit(array, axis, request.scheme, observed, searched), request.scheme.observer


def _given_qparams(array: npt.NDArray[Any], request: Request, axis: int) -> Parameters:
    """The given parameters, if they fit the tensor."""
    qparams = request.qparams
    assert qparams is not None
    if qparams.ch_axis is not None and normal_axis(qparams.ch_axis, array.ndim) != axis:
        raise QuantValueError(
            f"qparams are for ch_axis {qparams.ch_axis}, but ch_axis is {request.ch_axis}: pass the same"
        )
    check_layout(array.shape, axis, qparams)
    return qparams


def _used(
    request: Request, observed: ChannelRanges, searched: tuple[Floats, Floats] | None
) -> tuple[Floats, Floats] | None:
    """Per channel, the range before its parameters, if each channel has one."""
    if request.qparams is not None or request.scheme.granularity != "channel":
        return None
    if request.ranges is not None:
        return _given_ranges(request.ranges, len(observed.min_val))
    return observed.known() if searched is None else searched


def _given_ranges(ranges: tuple[npt.ArrayLike, npt.ArrayLike], n_channels: int) -> tuple[Floats, Floats]:
    try:
        low, high = (np.broadcast_to(np.asarray(end, np.float64), (n_channels,)) for end in ranges)
    except (TypeError, ValueError) as error:
        raise QuantTypeError(
            f"ranges must be (min_val, max_val), each a number or {n_channels} of them, got {ranges!r:.80}"
        ) from error
    check_ranges(low, high, "ranges")
    return low, high


def _overflow(observed: ChannelRanges, errors: ChannelErrors, qparams: Parameters) -> Floats:
    """By how many codes each channel is clipped at most; from its ends where all of it has one scale."""
    if qparams.granularity not in ("channel", "tensor"):
        return errors.overflow / qparams.grid.top_step
    params = one_channel(slice(None), qparams)
    low, high = (raw_codes(end[:, None], qparams, params)[:, 0].astype(np.float64) for end in observed.known())
    return np.asarray(np.maximum(qparams.quant_min - low, high - qparams.quant_max)) / qparams.grid.top_step


def channel_params(qparams: Parameters, n_channels: int, ch_axis: int) -> tuple[Floats, Floats]:
    """(scale, zero point) per channel: its own, or of the groups that meet it the one with the median scale.

    NaN as a zero point where the format has none.
    """
    step = qparams.effective()
    zero = getattr(qparams, "zero_point", None)
    zeros = np.full(step.shape, np.nan) if zero is None else zero.astype(np.float64)
    if step.ndim == 0:
        return np.full(n_channels, float(step)), np.full(n_channels, float(zeros))
    if qparams.granularity == "channel":
        return step, zeros
    step, zeros = (_per_channel(each, qparams, n_channels, ch_axis) for each in (step, zeros))
    middle = step.shape[1] // 2
    order = np.argpartition(step, middle, axis=1)[:, middle]
    rows = np.arange(len(step))
    found, shift = (np.broadcast_to(each[rows, order], (n_channels,)) for each in (step, zeros))
    return found, shift


def _per_channel(values: Floats, qparams: Parameters, n_channels: int, ch_axis: int) -> Floats:
    """Values of the units that meet each channel, of shape (C, units); (1, units) where all meet all."""
    granularity, size = qparams.layout
    if granularity == "block" and isinstance(size, tuple):
        by_axis = np.moveaxis(values, ch_axis, 0)
        return np.repeat(by_axis, size[ch_axis], axis=0)[:n_channels]
    if granularity == "token":
        if ch_axis < values.ndim:
            return np.moveaxis(values, ch_axis, 0).reshape(n_channels, -1)
        return values.reshape(1, -1)
    if values.ndim == 1:  # blocks of the flattened tensor
        assert isinstance(size, int)
        if groups_of(n_channels, size) == values.size:  # a tensor of one axis: each channel is one element of a block
            return np.repeat(values, size)[:n_channels, None]
        even = values.size % n_channels == 0 and ch_axis == 0
        return values.reshape(n_channels, -1) if even else values[None]
    return values


def _frame(
    names: list[str], observed: ChannelRanges, errors: ChannelErrors, params: tuple[Floats, Floats], found: list[str]
) -> Any:
    import pandas as pd

    n = observed.n_finite
    some = n > 0
    per_value = np.maximum(n, 1)
    scale, zero_point = params
    columns = {
        "channel": names,
        "min": np.where(some, observed.min_val, np.nan),
        "max": np.where(some, observed.max_val, np.nan),
        "n": n,
        "scale": scale,
        "zero_point": zero_point if np.isnan(zero_point).any() else zero_point.astype(np.int64),
        "clipped": errors.clipped,
        "clipped_pct": 100.0 * errors.clipped / per_value,
        "max_abs_error": np.where(some, errors.max_noise, np.nan),
        "mse": np.where(some, errors.mean(errors.noise), np.nan),
        "sqnr_db": errors.sqnr_db,
        "findings": found,
    }
    if errors.complete:
        columns |= {
            "zeroed_pct": errors.zeroed_pct,
            "mean_abs_error": np.where(some, errors.mean(errors.abs_noise), np.nan),
            "pct_error": np.where(some, errors.pct_error, np.nan),
            "cosine": np.where(some, errors.cosine, np.nan),
        }
    return pd.DataFrame({name: columns[name] for name in TENSOR_COLUMNS if name in columns})


def _summary(frame: Any, observed: ChannelRanges, errors: ChannelErrors, qparams: Parameters) -> dict[str, Any]:
    """Tensor figures, from sums and not from means of channels."""
    n = max(int(observed.n_finite.sum()), 1)
    sqnr = frame["sqnr_db"].to_numpy(float)
    worst = int(np.argmin(sqnr))
    noise = float(errors.noise.sum())
    return {
        "channels": len(frame),
        "n": int(observed.n_finite.sum()),
        "bits_per_weight": qparams.bits_per_weight + qparams.overhead_bits / (len(frame) * observed.n),
        "non_finite": int((observed.n_nan + observed.n_inf).sum()),
        "clipped": int(errors.clipped.sum()),
        "clipped_pct": 100.0 * float(errors.clipped.sum()) / n,
        "clipped_channels": int((errors.clipped > 0).sum()),
        "max_abs_error": float(errors.max_noise.max()),
        **(_later_figures(errors, n) if errors.complete else {}),
        "mse": noise / n,
        "sqnr_db": float(decibels(errors.signal.sum(), noise)) if errors.n.any() else -float("inf"),
        "worst_channel": str(frame["channel"].iloc[worst]),
        "worst_sqnr_db": float(sqnr[worst]),
        "exact_channels": int(np.isposinf(sqnr).sum()),
        "scale_min": float(qparams.effective().min()),
        "scale_max": float(qparams.effective().max()),
        **({} if errors.groups is None else _group_summary(errors.groups, frame["channel"].tolist())),
    }


def _later_figures(errors: ChannelErrors, n: int) -> dict[str, Any]:
    return {
        "zeroed_pct": 100.0 * float(errors.zeroed.sum()) / max(int(errors.nonzero.sum()), 1),
        "mean_abs_error": float(errors.abs_noise.sum()) / n,
        "pct_error": float(percent(errors.abs_noise.sum(), errors.abs_signal.sum())),
    }


def _group_summary(groups: GroupErrors, names: list[str]) -> dict[str, Any]:
    """Over all groups of all channels; the worst one by its channel and number."""
    sqnr = groups.sqnr_db
    channel, group = np.unravel_index(int(np.argmin(sqnr)), sqnr.shape)
    middle = (sqnr.size - 1) // 2
    return {
        "worst_group": f"{names[int(channel)]}, group {group}",
        "worst_group_sqnr_db": float(sqnr[channel, group]),
        "median_group_sqnr_db": float(np.partition(sqnr, middle, axis=None)[middle]),
    }


def scheme_of(qparams: Parameters) -> QuantScheme:
    """The settings that given parameters stand for."""
    require_qparams(qparams)
    plain = QuantScheme(
        qparams.dtype,
        "symmetric",
        qparams.granularity,
        convention=qparams.convention,
        group_size=qparams.group_size,
        scale_rule=None,
    )
    if not isinstance(qparams, QParams):
        scheme = "affine" if getattr(qparams, "minimum", None) is not None else "symmetric"
        rules = next((row.scale_rules for row in qparams.rules.supports if qparams.dtype in row.dtypes), ())
        return replace(plain, scheme=scheme, scale_rule=rules[0] if rules else None)
    if plain.family == "float":
        rules = next((row.scale_rules for row in qparams.rules.supports if qparams.dtype in row.dtypes), ())
        return replace(plain, scale_rule=rules[0] if rules else None)
    ends = (int(qparams.quant_min), int(qparams.quant_max))
    settings = plain if ends == (plain.quant_min, plain.quant_max) else replace(plain, quant_range=ends)
    symmetric = bool((qparams.zero_point == symmetric_zero_point(settings)).all())
    if symmetric:
        return settings
    affine = replace(plain, scheme="affine")
    return affine if ends == (affine.quant_min, affine.quant_max) else replace(affine, quant_range=ends)
