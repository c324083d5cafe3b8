"""Code grids: which integer codes a format has, and which of them are in force."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .errors import QuantTypeError, QuantValueError, choose_from

#: name -> (bits, signed)
INTEGER_DTYPES: dict[str, tuple[int, bool]] = {"qint8": (8, True), "quint8": (8, False)}
DTYPE_ALIASES: dict[str, str] = {"int8": "qint8", "uint8": "quint8"}

QuantRange = tuple[int, int]


@dataclass(frozen=True, slots=True)
class IntGrid:
    """The integer codes of a format. ``quant_min`` and ``quant_max`` are inclusive and in force."""

    dtype: str
    bits: int
    signed: bool
    quant_min: int
    quant_max: int

    @property
    def n_levels(self) -> int:
        """How many codes are in force."""
        return self.quant_max - self.quant_min + 1

    @property
    def storage(self) -> np.dtype[np.signedinteger] | np.dtype[np.unsignedinteger]:
        """The numpy dtype that holds the codes."""
        return np.dtype(f"{'i' if self.signed else 'u'}{max(1, self.bits // 8)}")


def canonical_dtype(dtype: str) -> str:
    """Resolve aliases: ``int8`` is ``qint8``, ``uint8`` is ``quint8``. Raises for unknown formats."""
    if not isinstance(dtype, str):
        raise QuantTypeError(f"dtype must be a name such as 'qint8', got {type(dtype).__name__}")
    return choose_from("dtype", DTYPE_ALIASES.get(dtype, dtype), INTEGER_DTYPES)


def full_range(dtype: str) -> QuantRange:
    """All codes of the format: (-128, 127) for qint8, (0, 255) for quint8."""
    bits, signed = INTEGER_DTYPES[canonical_dtype(dtype)]
    return (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)


def integer_grid(
    dtype: str,
    *,
    reduce_range: bool = False,
    narrow_range: bool = False,
    quant_range: QuantRange | None = None,
) -> IntGrid:
    """The grid in force.

    ``narrow_range`` drops the lowest code, ``quant_range`` gives both ends, ``reduce_range`` takes one bit
    away by halving both ends with floor division, as torch.ao observers do: (-128, 127) becomes (-64, 63),
    (0, 255) becomes (0, 127).
    """
    dtype = canonical_dtype(dtype)
    bits, signed = INTEGER_DTYPES[dtype]
    low, high = full_range(dtype) if quant_range is None else check_quant_range(dtype, quant_range)
    if reduce_range:
        low, high = low // 2, high // 2
    return IntGrid(dtype, bits, signed, low + int(narrow_range), high)


def check_quant_range(dtype: str, quant_range: QuantRange) -> QuantRange:
    """Validate a free (quant_min, quant_max): integers inside the format, in order, zero between them."""
    full_low, full_high = full_range(dtype)
    try:
        low, high = (int(end) for end in quant_range)
        whole = (low, high) == tuple(quant_range)
    except (TypeError, ValueError):
        whole = False
    if not whole:
        raise QuantValueError(f"quant_range must be two integers (quant_min, quant_max), got {quant_range!r}")
    if not full_low <= low <= 0 <= high <= full_high or low == high:
        raise QuantValueError(
            f"quant_range must lie in {full_low}..{full_high} of {dtype}, hold 0 and at least two codes, "
            f"got {(low, high)}"
        )
    return low, high
