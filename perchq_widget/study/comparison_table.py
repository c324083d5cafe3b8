"""Results side by side: what the same channels look like under different settings, against the first of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from perchq_widget.core.errors import QuantTypeError, QuantValueError
from perchq_widget.core.group_sizes import group_size_text
from perchq_widget.core.schemes import QuantScheme

if TYPE_CHECKING:
    import pandas as pd

    from .channels import ChannelTable

FEWEST, MOST = 2, 8
#: Per channel and result; the name of the result follows.
FIGURES = ("sqnr_db", "clipped_pct", "max_abs_error", "scale", "zero_point")
#: Per channel and result after the first, against the first.
DELTAS = ("sqnr_delta_db", "clipped_delta_pct", "max_error_ratio")
_MOST_NAME = 120
_SETTINGS = (
    "dtype", "scheme", "granularity", "group_size", "reduce_range", "narrow_range", "quant_range", "convention",
    "scale_rule", "observer", "clip_ratio",
)  # fmt: skip
_USUAL = {"granularity": "channel", "convention": "pytorch", "observer": "minmax", "clip_ratio": "clip 1"}
_MAYBE = ("group_size", "scale_rule", "observer")  # None where there is none, which pandas would make NaN
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ComparisonTable:
    """Two to eight results about the same channels; deltas are against the first.

    ``frame`` has one row per channel: channel, for each result FIGURES with its name behind them, for each but the
    first DELTAS, and ``best``. ``summary`` has one row per result; its channels_best counts the channels where no other
    result is better, so that equals all count. ``best`` is, per channel, the name of the result with the highest SQNR,
    the first of equals, "" for a channel without a value; ``leading`` (results, channels) has all of them.
    """

    names: tuple[str, ...]
    tables: tuple[ChannelTable, ...] = field(repr=False)
    frame: pd.DataFrame = field(repr=False)
    summary: pd.DataFrame = field(repr=False)
    leading: npt.NDArray[np.bool_] = field(repr=False)

    @property
    def best(self) -> pd.Series[Any]:
        """The name of the best result, by channel."""
        return self.frame.set_index("channel")["best"]


def compare_tables(tables: Sequence[ChannelTable], names: Sequence[str] | None = None) -> ComparisonTable:
    """Put results beside one another; raises QuantError where they are not about the same channels."""
    if not FEWEST <= len(tables) <= MOST:
        raise QuantValueError(f"reports must be {FEWEST} to {MOST} reports, got {len(tables)}")
    called = tuple(default_names(tables) if names is None else checked_names(names, len(tables)))
    for name, table in zip(called[1:], tables[1:], strict=True):
        check_same_channels(tables[0], table, (called[0], name))
    figures = [_figures(table) for table in tables]
    leading = leading_of(np.stack([comparable_sqnr(table.frame) for table in tables]))
    frame = _frame(tables[0], called, figures, leading)
    return ComparisonTable(called, tuple(tables), frame, _summary(called, tables, leading), leading)


def checked_names(names: object, n_reports: int) -> list[str]:
    """Names as given, one per report; raises unless they are different texts."""
    given: list[Any] = [] if isinstance(names, (str, bytes)) or not isinstance(names, Sequence) else list(names)
    if not given or not all(isinstance(name, str) and name.strip() for name in given):
        raise QuantTypeError(f"names must be a list of texts, one per report, got {names!r:.80}")
    if len(given) != n_reports:
        raise QuantValueError(f"names must be {n_reports} texts, one per report, got {len(given)}")
    too_long = [name for name in given if len(name) > _MOST_NAME]
    if too_long:
        raise QuantValueError(f"names must have at most {_MOST_NAME} characters, got one of {len(too_long[0])}")
    repeated = [name for name in given if given.count(name) > 1]
    if repeated:
        raise QuantValueError(f"names must differ, got {repeated[0]!r} more than once")
    return given


def default_names(tables: Sequence[ChannelTable]) -> list[str]:
    """Each result by the settings in which they differ, and by its tensor where those have different names."""
    labels = [{"tensor": table.name[:60], **_labels(table.scheme)} for table in tables]
    varying = [key for key in labels[0] if len({each[key] for each in labels}) > 1]
    full = [" ".join(filter(None, (each[key] for key in varying))) or "report" for each in labels]
    short = [" ".join(each[key] for key in varying if each[key] not in ("", _USUAL.get(key))) for each in labels]
    return short if all(short) and len(set(short)) == len(short) else apart(full)


def apart(texts: Sequence[str]) -> list[str]:
    """``texts``, those that are there already with a number behind them."""
    found: list[str] = []
    for text in texts:
        number = 2
        name = text
        while name in found:
            name, number = f"{text} ({number})", number + 1
        found.append(name)
    return found


def settings_text(scheme: QuantScheme) -> str:
    """A scheme in few words: what it is, and what of it is not as usual."""
    return " ".join(text for key, text in _labels(scheme).items() if text not in ("", _USUAL.get(key)))


def _labels(scheme: QuantScheme) -> dict[str, str]:
    """Each setting as a word or none."""
    size = group_size_text(scheme.group_size)
    return {
        "dtype": scheme.dtype,
        "scheme": scheme.scheme if scheme.family == "integer" else "",
        "granularity": f"{scheme.granularity} {size}".strip(),
        "reduce_range": "reduced" if scheme.reduce_range else "",
        "narrow_range": "narrow" if scheme.narrow_range else "",
        "quant_range": "" if scheme.quant_range is None else "{}..{}".format(*scheme.quant_range),
        "convention": scheme.convention,
        "scale_rule": "" if scheme.scale_rule is None else scheme.scale_rule,
        "observer": scheme.observer,
        "clip_ratio": f"clip {scheme.clip_ratio:g}",
    }


def check_same_channels(first: ChannelTable, other: ChannelTable, names: tuple[str, str]) -> None:
    """Raise QuantValueError unless both results are about the same channels; the message says where they part."""
    here, there = (f"{name!r:.60}" for name in names)
    if (first.kind == "tensor") != (other.kind == "tensor"):
        kinds = ["a tensor" if table.kind == "tensor" else "the calculator's lines" for table in (first, other)]
        raise QuantValueError(f"reports must be of one kind, but {here} is of {kinds[0]} and {there} of {kinds[1]}")
    if first.n_channels != other.n_channels:
        raise QuantValueError(
            f"reports must be about the same channels, but {here} has {first.n_channels:,} and {there} has "
            f"{other.n_channels:,}"
        )
    for at, (one, two) in enumerate(zip(first.channels, other.channels, strict=True)):
        if one != two:
            raise QuantValueError(
                f"reports must be about the same channels, but channel {at} is {one!r:.60} in {here} and {two!r:.60} "
                f"in {there}"
            )
    if first.shape is not None and first.shape == other.shape and first.ch_axis != other.ch_axis:
        raise QuantValueError(
            f"reports must be about the same channels, but those of {here} lie along axis {first.ch_axis} and those "
            f"of {there} along axis {other.ch_axis}"
        )


def delta(there: npt.ArrayLike, here: npt.ArrayLike) -> Floats:
    """``there`` minus ``here``; of equal values none, infinite ones among them."""
    new, old = np.asarray(there, np.float64), np.asarray(here, np.float64)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(new == old, 0.0, new - old))


def ratio(there: npt.ArrayLike, here: npt.ArrayLike) -> Floats:
    """``there`` over ``here``; 1 where they are equal, zeros among them."""
    new, old = np.asarray(there, np.float64), np.asarray(here, np.float64)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return np.asarray(np.where(new == old, 1.0, new / old))


def comparable_sqnr(table: pd.DataFrame) -> Floats:
    """Each channel's SQNR, NaN where the channel holds no finite value, so that there is nothing to be good at."""
    sqnr = table["sqnr_db"].to_numpy(np.float64)
    return np.where(table["n"].to_numpy() == 0, np.nan, sqnr) if "n" in table else sqnr


def leading_of(sqnr_db: Floats) -> npt.NDArray[np.bool_]:
    """Where a value of ``sqnr_db`` (results, channels) is the highest of its channel, equals included; never NaN."""
    known = ~np.isnan(sqnr_db)
    filled = np.where(known, sqnr_db, -np.inf)
    return np.asarray((filled == filled.max(axis=0)) & known)


def _figures(table: ChannelTable) -> dict[str, npt.NDArray[Any]]:
    """The figures of FIGURES; a calculator's channel is its one sample."""
    frame = table.frame
    if table.kind == "tensor":
        return {name: frame[name].to_numpy() for name in FIGURES}
    own = {"clipped_pct": 100.0 * frame["clipped"].to_numpy(np.float64), "max_abs_error": frame["abs_error"].to_numpy()}
    return {name: own[name] if name in own else frame[name].to_numpy() for name in FIGURES}


def _frame(
    first: ChannelTable,
    names: tuple[str, ...],
    figures: list[dict[str, npt.NDArray[Any]]],
    leading: npt.NDArray[np.bool_],
) -> pd.DataFrame:
    import pandas as pd

    columns: dict[str, Any] = {"channel": first.channels}
    for name, each in zip(names, figures, strict=True):
        columns |= {f"{figure}_{name}": each[figure] for figure in FIGURES}
    for name, each in zip(names[1:], figures[1:], strict=True):
        changes = (
            delta(each["sqnr_db"], figures[0]["sqnr_db"]),
            delta(each["clipped_pct"], figures[0]["clipped_pct"]),
            ratio(each["max_abs_error"], figures[0]["max_abs_error"]),
        )
        columns |= {f"{title}_{name}": values for title, values in zip(DELTAS, changes, strict=True)}
    leaders = np.array(names, dtype=object)[np.argmax(leading, axis=0)]
    columns["best"] = np.where(leading.any(axis=0), leaders, "")
    return pd.DataFrame(columns)


def _summary(names: tuple[str, ...], tables: Sequence[ChannelTable], leading: npt.NDArray[np.bool_]) -> pd.DataFrame:
    import pandas as pd

    counts = leading.sum(axis=1).tolist()
    rows = [
        {"name": name, **_settings(table), **_totals(table.summary, tables[0].summary), "channels_best": count}
        for name, table, count in zip(names, tables, counts, strict=True)
    ]
    frame = pd.DataFrame(rows)
    return frame.assign(**{name: pd.Series([row[name] for row in rows], dtype=object) for name in _MAYBE})


def _settings(table: ChannelTable) -> dict[str, Any]:
    """The settings as plain values; an observer only where one ran."""
    scheme = table.scheme
    given = {name: getattr(scheme, name) for name in _SETTINGS if name != "quant_range"}
    given["group_size"] = group_size_text(scheme.group_size) or None
    observed = table.kind == "tensor" and table.calibration is None and not table.qparams_given
    given["observer"] = scheme.observer if observed else None
    return {"tensor": table.name, **given, "quant_min": scheme.quant_min, "quant_max": scheme.quant_max}


def _totals(summary: dict[str, Any], first: dict[str, Any]) -> dict[str, Any]:
    """Figures of the whole tensor; ``pct_error`` is the calculator's mean over its lines, a tensor's ratio of sums."""
    pct = "pct_error" if "pct_error" in summary else "mean_pct_error"
    return {
        "bits_per_weight": summary.get("bits_per_weight", np.nan),
        "sqnr_db": summary["sqnr_db"],
        "sqnr_delta_db": float(delta(summary["sqnr_db"], first["sqnr_db"])),
        "worst_channel": summary["worst_channel"],
        "worst_sqnr_db": summary["worst_sqnr_db"],
        "clipped_pct": summary["clipped_pct"],
        "max_abs_error": summary["max_abs_error"],
        "pct_error": summary[pct],
    }
