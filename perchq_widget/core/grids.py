"""Number formats and their grids: which codes a format has, which of them are in force, how values round to them."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt

from .errors import QuantTypeError, QuantValueError

#: name -> (bits, signed)
INTEGER_DTYPES: dict[str, tuple[int, bool]] = {
    "qint8": (8, True),
    "quint8": (8, False),
    **{f"int{bits}": (bits, True) for bits in range(2, 8)},
    **{f"uint{bits}": (bits, False) for bits in range(2, 8)},
    "int16": (16, True),
    "uint16": (16, False),
}
#: name -> bits; the numpy dtype is ml_dtypes' of that name, or numpy's own
FLOAT_DTYPES: dict[str, int] = {
    "float8_e4m3fn": 8,
    "float8_e5m2": 8,
    "float8_e4m3fnuz": 8,
    "float8_e5m2fnuz": 8,
    "float6_e2m3fn": 6,
    "float6_e3m2fn": 6,
    "float4_e2m1fn": 4,
    "float16": 16,
    "bfloat16": 16,
}
#: Formats whose blocks share a scale: name -> (bits per element, elements per block)
BLOCK_DTYPES: dict[str, tuple[int, int]] = {
    "mxfp8_e4m3fn": (8, 32),
    "mxfp8_e5m2": (8, 32),
    "mxfp6_e2m3fn": (6, 32),
    "mxfp6_e3m2fn": (6, 32),
    "mxfp4": (4, 32),
    "mxint8": (8, 32),
    "nvfp4": (4, 16),
    "nf4": (4, 64),
    "q8_0": (8, 32),
    "q4_0": (4, 32),
    "q4_1": (4, 32),
    "q5_0": (5, 32),
    "q5_1": (5, 32),
    "gguf_mxfp4": (4, 32),
}
#: Formats of GGUF files that are read but never chosen from a range, since llama.cpp searches for their scales:
#: name -> (bits that the file spends on an element's code, elements that share a scale). They are given as BlockParams.
STORED_DTYPES: dict[str, tuple[float, int]] = {
    "q2_k": (2, 16),
    "q3_k": (3, 16),
    "q4_k": (4, 32),
    "q5_k": (5, 32),
    "q6_k": (6, 16),
    "iq1_s": (1.375, 32),
    "iq1_m": (1.375, 16),
    "iq2_xxs": (1.875, 32),
    "iq2_xs": (2, 16),
    "iq2_s": (2.25, 16),
    "iq3_xxs": (2.875, 32),
    "iq3_s": (3.25, 32),
    "iq4_nl": (4, 32),
    "iq4_xs": (4, 32),
    "tq1_0": (1.625, 256),
    "tq2_0": (2, 256),
    "gguf_nvfp4": (4, 16),
}
#: The formats to choose from.
DTYPES = (*INTEGER_DTYPES, *FLOAT_DTYPES, *BLOCK_DTYPES)
DTYPE_ALIASES: dict[str, str] = {"int8": "qint8", "uint8": "quint8"}

QuantRange = tuple[int, int]
Array = npt.NDArray[Any]

_EXPONENT, _MANTISSA_BITS = np.int32(0x7F800000), 23  # of float32
_LEAST_STEP_EXPONENT = -126  # a smaller step is subnormal in float32


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
    def levels(self) -> Array:
        """The codes in force, ascending, float64."""
        return np.arange(self.quant_min, self.quant_max + 1, dtype=np.float64)

    @property
    def top_step(self) -> float:
        """The distance between the two highest codes."""
        return 1.0

    @property
    def storage(self) -> np.dtype[Any]:
        """The numpy dtype that holds the codes; codes of less than a byte are in a byte each."""
        return np.dtype(f"{'i' if self.signed else 'u'}{2 if self.bits > 8 else 1}")


@dataclass(frozen=True, slots=True)
class FloatGrid:
    """The values of a small float format. ``quant_min`` and ``quant_max`` are its finite ends, as real numbers."""

    dtype: str
    bits: int
    quant_min: float
    quant_max: float
    mantissa_bits: int
    min_exponent: int  # of the smallest normal number
    storage: np.dtype[Any]

    @property
    def signed(self) -> bool:
        """Floats always have a sign."""
        return True

    @property
    def top_step(self) -> float:
        """The distance between the two highest values."""
        return float(2.0 ** (np.floor(np.log2(self.quant_max)) - self.mantissa_bits))

    @property
    def n_levels(self) -> int:
        """How many different finite values there are."""
        return len(_finite_values(self.storage))

    @property
    def levels(self) -> Array:
        """The finite values, ascending, float64."""
        return np.array(_finite_values(self.storage))

    @property
    def has_negative_zero(self) -> bool:
        """Whether the format has one; in the fnuz formats its place is NaN's."""
        return not self.dtype.endswith("uz")

    def round(self, x: Array, scratch: Array) -> None:
        """Round float32 ``x`` in place, half to even, to the format's steps; beyond its end as if it went on.

        ``scratch`` is a float32 array of x's shape. Zeros keep their sign where the format has a negative zero; NaN
        and infinities stay, and what float32 cannot hold after rounding becomes infinite.
        """
        if self.min_exponent - self.mantissa_bits < _LEAST_STEP_EXPONENT:
            _round_bits(x, scratch, self.mantissa_bits)
            return
        # The exponent bits of x, less the mantissa's width, are the format's step around x: an exact quotient,
        # rounded to an integer, keeps its sign at zero, which adding a magic number would lose.
        steps = scratch.view(np.int32)
        np.bitwise_and(x.view(np.int32), _EXPONENT, out=steps)
        np.clip(steps, np.int32(self.min_exponent + 127 << _MANTISSA_BITS), _EXPONENT, out=steps)
        np.subtract(steps, np.int32(self.mantissa_bits << _MANTISSA_BITS), out=steps)
        np.divide(x, scratch, out=x)
        np.rint(x, out=x)
        with np.errstate(over="ignore"):
            np.multiply(x, scratch, out=x)
        if not self.has_negative_zero:
            np.add(x, np.float32(0), out=x)


def _round_bits(x: Array, scratch: Array, mantissa_bits: int) -> None:
    """For a format of float32's exponents: drop the low bits of the pattern, half to even. NaN stays NaN."""
    bits, odd = x.view(np.uint32), scratch.view(np.uint32)
    dropped = _MANTISSA_BITS - mantissa_bits
    nan = np.isnan(x)
    np.right_shift(bits, np.uint32(dropped), out=odd)
    np.bitwise_and(odd, np.uint32(1), out=odd)
    np.add(odd, np.uint32((1 << dropped - 1) - 1), out=odd)
    np.add(bits, odd, out=bits)
    np.bitwise_and(bits, np.uint32(0xFFFFFFFF << dropped & 0xFFFFFFFF), out=bits)
    if nan.any():  # a carry out of a NaN's mantissa would make it a number
        x[nan] = np.nan


@dataclass(frozen=True, slots=True)
class CodebookGrid:
    """The values of a format that lists them, ascending. ``n_codes``: how many codes, if not all that bits can tell."""

    dtype: str
    bits: int
    values: tuple[float, ...]
    storage: np.dtype[Any]
    n_codes: int | None = None

    @property
    def last_code(self) -> int:
        """The highest index that can be stored."""
        return (1 << self.bits if self.n_codes is None else self.n_codes) - 1

    @property
    def quant_min(self) -> float:
        """The lowest value."""
        return self.values[0]

    @property
    def quant_max(self) -> float:
        """The highest value."""
        return self.values[-1]

    @property
    def signed(self) -> bool:
        """Whether some value is negative."""
        return self.values[0] < 0

    @property
    def n_levels(self) -> int:
        """How many different values there are."""
        return len(set(self.values))

    @property
    def levels(self) -> Array:
        """The different values, ascending, float64."""
        return np.array(sorted(set(self.values)))

    @property
    def top_step(self) -> float:
        """The distance between the two highest values."""
        return self.values[-1] - self.values[-2]


Grid = IntGrid | FloatGrid | CodebookGrid


@cache
def float_grid(dtype: str) -> FloatGrid:
    """The grid of a format in FLOAT_DTYPES."""
    storage = np.dtype(dtype) if dtype == "float16" else np.dtype(getattr(ml_dtypes, dtype))
    info: Any = ml_dtypes.finfo(storage)  # type: ignore[no-untyped-call]
    largest = float(info.max)
    return FloatGrid(dtype, FLOAT_DTYPES[dtype], -largest, largest, int(info.nmant), int(info.minexp), storage)


@cache
def _finite_values(storage: np.dtype[Any]) -> tuple[float, ...]:
    codes = np.arange(1 << 8 * storage.itemsize, dtype=f"u{storage.itemsize}")
    with np.errstate(invalid="ignore"):
        values = codes.view(storage).astype(np.float64)
    return tuple(np.unique(values[np.isfinite(values)]).tolist())


def carrier(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype of arrays that hold numbers of ``dtype``: float32 for those of half a width, else itself.

    numpy computes in those five to twenty times slower. An operation in float32, rounded at once, gives the same bits.
    """
    return np.dtype(np.float32) if dtype.itemsize < 4 else dtype


def carried(values: Array, dtype: np.dtype[Any]) -> Array:
    """``values`` as numbers of ``dtype``, in the dtype that carries them; a copy only where something changes."""
    wide = carrier(dtype)
    if wide == dtype or values.dtype != wide:
        with np.errstate(over="ignore"):
            return np.asarray(values.astype(dtype, copy=False).astype(wide, copy=False))
    rounded = values.copy()
    float_grid(dtype.name).round(rounded, np.empty_like(rounded))
    return rounded


def canonical_dtype(dtype: str) -> str:
    """Resolve aliases: ``int8`` is ``qint8``, ``uint8`` is ``quint8``. Raises for unknown formats.

    Those that can only be given (STORED_DTYPES) are known, too.
    """
    if not isinstance(dtype, str):
        raise QuantTypeError(f"dtype must be a name such as 'qint8', got {dtype!r:.40}")
    name = DTYPE_ALIASES.get(dtype, dtype)
    if name in DTYPES or name in STORED_DTYPES:
        return name
    raise QuantValueError(
        "dtype must be one of the formats, such as 'qint8', 'int4', 'float8_e4m3fn', 'mxfp4', 'nf4' or 'q4_0', "
        f"got {dtype!r:.60}{_near(dtype.lower())}; `perchq conventions` lists all"
    )


def block_shape(dtype: str) -> tuple[float, int]:
    """(bits of an element's code, elements that share a scale) of a format in BLOCK_DTYPES or STORED_DTYPES."""
    return BLOCK_DTYPES[dtype] if dtype in BLOCK_DTYPES else STORED_DTYPES[dtype]


def _near(name: str) -> str:
    """Formats that a mistyped or short name may mean, in words."""
    short = {"fp": "float", "bf": "bfloat"}
    meant = next((full + name[2:] for start, full in short.items() if name.startswith(start)), name)
    known = (*DTYPES, *STORED_DTYPES)
    inside = [dtype for dtype in known if meant in dtype or (len(dtype) > 3 and dtype in meant)]
    near = inside or get_close_matches(name, (*known, *DTYPE_ALIASES), n=2)
    return f"; did you mean {' or '.join(map(repr, near[:4]))}?" if near else ""


def full_range(dtype: str) -> QuantRange:
    """All codes of an integer format: (-128, 127) for qint8, (0, 255) for quint8."""
    bits, signed = INTEGER_DTYPES[canonical_dtype(dtype)]
    return (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)


def integer_grid(dtype: str, ends: QuantRange) -> IntGrid:
    """The grid with the codes ``ends`` in force."""
    bits, signed = INTEGER_DTYPES[canonical_dtype(dtype)]
    return IntGrid(canonical_dtype(dtype), bits, signed, *ends)


def check_quant_range(dtype: str, quant_range: QuantRange) -> QuantRange:
    """Validate a free (quant_min, quant_max): integers inside the format, in order, zero between them."""
    if dtype not in INTEGER_DTYPES:
        raise QuantValueError(f"quant_range names integer codes, and {dtype} has none: leave quant_range out")
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
