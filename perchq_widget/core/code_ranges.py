"""Which integer codes each runtime puts in force: the same words mean different codes.

torch halves both ends for reduce_range (-64..63), ONNX Runtime's tool takes -64..64; where torch's symmetric int8 has
-128..127, ONNX Runtime, LiteRT and TensorRT have -127..127.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from .grids import QuantRange, full_range

#: (dtype, symmetric, reduce_range, narrow_range) -> (quant_min, quant_max)
CodeRule = Callable[[str, bool, bool, bool], QuantRange]


def halved(ends: QuantRange) -> QuantRange:
    """One bit less, by floor division of both ends, as torch.ao observers do: (-128, 127) -> (-64, 63)."""
    return ends[0] // 2, ends[1] // 2


def full_codes(dtype: str, symmetric: bool, reduce_range: bool, narrow_range: bool) -> QuantRange:
    """All codes of the format, halved by reduce_range, without the lowest one under narrow_range."""
    low, high = halved(full_range(dtype)) if reduce_range else full_range(dtype)
    return low + int(narrow_range), high


def balanced_codes(dtype: str, symmetric: bool, reduce_range: bool, narrow_range: bool) -> QuantRange:
    """As :func:`full_codes`, but symmetric signed codes always go without the lowest: -127..127."""
    low, high = full_codes(dtype, symmetric, reduce_range, False)
    return low + int(narrow_range or (symmetric and low < 0)), high


#: Conventions that are not named here have :func:`full_codes`.
CODE_RULES: Mapping[str, CodeRule] = {
    "litert": balanced_codes,
    "litert-xnnpack": balanced_codes,
    "tensorrt": balanced_codes,
}


def codes_in_force(
    convention: str, dtype: str, symmetric: bool, reduce_range: bool, narrow_range: bool, quant_range: QuantRange | None
) -> QuantRange:
    """(quant_min, quant_max) under ``convention``; a free ``quant_range`` is halved by reduce_range as in torch."""
    if quant_range is not None:
        return halved(quant_range) if reduce_range else quant_range
    return CODE_RULES.get(convention, full_codes)(dtype, symmetric, reduce_range, narrow_range)
