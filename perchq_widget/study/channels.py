"""ChannelTable: one tensor's result, as plain frozen data. Everything that is shown or exported renders this."""

from __future__ import annotations

from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from perchq_widget.core.codec import Parameters
from perchq_widget.core.elements import dequantize, fake_quantize, quantize
from perchq_widget.core.errors import LineError, QuantTypeError, QuantValueError
from perchq_widget.core.findings import Finding
from perchq_widget.core.metrics import GroupErrors
from perchq_widget.core.schemes import QuantScheme

if TYPE_CHECKING:
    import pandas as pd

    from perchq_widget.sources.lines import ParsedLines

CALCULATOR_COLUMNS = (
    "channel", "min", "max", "sample", "scale", "zero_point", "raw_quantized", "quantized", "dequantized",
    "clipped", "abs_error", "pct_error", "sqnr_db",
)  # fmt: skip
TENSOR_COLUMNS = (
    "channel", "min", "max", "n", "scale", "zero_point", "clipped", "clipped_pct", "zeroed_pct", "max_abs_error",
    "mean_abs_error", "pct_error", "mse", "sqnr_db", "cosine", "findings",
)  # fmt: skip


#: ``range_from`` where parameters are not taken from a range.
GIVEN_QPARAMS = "given qparams"
STORED_QPARAMS = "the parameters in the file"


@dataclass(frozen=True, eq=False)
class ChannelTable:
    """One tensor's result.

    ``kind``: "ranges" or "params" (calculator) or "tensor". ``frame`` has one row per channel with the columns of
    CALCULATOR_COLUMNS or TENSOR_COLUMNS. ``range_from`` says where the range came from (an observer's text, "given
    ranges", GIVEN_QPARAMS, STORED_QPARAMS, "lines"); ``calibration`` holds given ranges, ``searched`` those that an
    observer other than "minmax" found, both (C,) arrays. ``array`` is the tensor itself (a reference, so that codes
    can be made on demand), ``groups`` the errors of each channel's groups where scales are shared over
    such, ``lines`` the calculator's parsed input.
    """

    kind: str
    name: str
    frame: pd.DataFrame
    summary: dict[str, Any]
    scheme: QuantScheme
    qparams: Parameters
    findings: tuple[Finding, ...]
    ch_axis: int
    range_from: str
    errors: tuple[LineError, ...] = ()
    shape: tuple[int, ...] | None = None
    tensor_dtype: str | None = None
    calibration: tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]] | None = field(default=None, repr=False)
    searched: tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]] | None = field(default=None, repr=False)
    array: npt.NDArray[Any] | None = field(default=None, repr=False)
    groups: GroupErrors | None = field(default=None, repr=False)
    lines: ParsedLines | None = field(default=None, repr=False)

    @property
    def complete(self) -> bool:
        """Whether every column is there already; what is not is computed when ``frame`` is first asked for."""
        return True

    @property
    def exact(self) -> bool:
        """Whether every number was computed from all values; False while some are estimates."""
        return True

    @property
    def qparams_given(self) -> bool:
        """Whether scale and zero point were there from the start, so that no range led to them."""
        return self.kind == "params" or self.range_from in (GIVEN_QPARAMS, STORED_QPARAMS)

    @property
    def known(self) -> pd.DataFrame:
        """The columns of ``frame`` that are there already: all, or those that follow a control while it moves.

        These are channel, min, max, n, scale, zero_point, clipped, clipped_pct, max_abs_error, mse, sqnr_db, findings.
        """
        return self.frame

    @property
    def known_summary(self) -> dict[str, Any]:
        """Of ``summary``, what is there already."""
        return self.summary

    @property
    def known_findings(self) -> tuple[Finding, ...]:
        """Of ``findings``, those that are there already."""
        return self.findings

    @property
    def n_channels(self) -> int:
        """Rows of the table."""
        return len(self.known)

    @cached_property
    def channels(self) -> list[str]:
        """Channel names, in the table's order."""
        return [str(name) for name in self.frame["channel"].tolist()]

    def index_of(self, channel: int | str) -> int:
        """Row of a channel, given its name or its (possibly negative) number; raises naming the nearest one."""
        if isinstance(channel, str):
            if channel in self.channels:
                return self.channels.index(channel)
            near = get_close_matches(channel, self.channels, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"{self.name!r} has {self.n_channels} channels"
            raise QuantValueError(f"channel: no channel is named {channel!r}; {hint}")
        if isinstance(channel, bool) or not isinstance(channel, (int, np.integer)):
            raise QuantTypeError(f"channel must be a name or a number, got {channel!r}")
        if not -self.n_channels <= channel < self.n_channels:
            raise QuantValueError(
                f"channel must lie in 0..{self.n_channels - 1}, the channels of {self.name!r}, got {int(channel)}"
            )
        return int(channel) % self.n_channels

    @property
    def worst(self) -> int:
        """Row of the channel with the lowest SQNR (the first of equals)."""
        return int(np.argmin(self.frame["sqnr_db"].to_numpy(np.float64)))

    def samples(self) -> npt.NDArray[Any]:
        """What is quantized: the tensor, or the calculator's samples of shape (C,)."""
        if self.array is not None:
            return self.array
        return np.asarray(self.frame["sample"].to_numpy(np.float64))

    def channel_values(self, index: int) -> npt.NDArray[Any]:
        """All values of one channel, flat."""
        values = self.samples()
        axis = self.ch_axis if self.array is not None else 0
        return np.asarray(np.moveaxis(values, axis, 0)[index]).ravel()

    def codes(self) -> npt.NDArray[Any]:
        """Codes in the tensor's shape. Reads the tensor again."""
        return quantize(self.samples(), self.qparams)

    def dequantized(self) -> npt.NDArray[Any]:
        """Dequantized values in the tensor's shape, NaN kept. Reads the tensor again."""
        if self.array is None:
            return dequantize(self.codes(), self.qparams)
        return fake_quantize(self.samples(), self.qparams)

    def codes_used(self) -> npt.NDArray[np.int64]:
        """How many distinct codes each channel uses, shape (C,). Reads the tensor again."""
        codes = self.codes()
        if codes.dtype.kind not in "iu":  # float formats: by their bits, zeros of both signs alike
            codes = np.where(codes == 0, codes.dtype.type(0), codes).view(f"u{codes.dtype.itemsize}")
        first = int(codes.min())
        used = np.empty(int(codes.max()) - first + 1, bool)
        found = np.empty(self.n_channels, np.int64)
        rows = np.moveaxis(codes, self.ch_axis if self.array is not None else 0, 0)
        for index, row in enumerate(rows.reshape(self.n_channels, -1)):
            used[:] = False
            used[row.astype(np.int64) - first] = True
            found[index] = np.count_nonzero(used)
        return found
