"""Which integer codes each runtime puts in force: the same words mean different codes.

torch halves both ends for reduce_range (-64..63), ONNX Runtime's tool takes -64..64; where torch's symmetric int8 has
-128..127, ONNX Runtime and LiteRT have -127..127.
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


def litert_codes(dtype: str, symmetric: bool, reduce_range: bool, narrow_range: bool) -> QuantRange:
    """LiteRT: symmetric int8, its weights, goes without the lowest code; int16 activations saturate at all theirs."""
    low, high = full_range(dtype)
    return low + int(symmetric and dtype == "qint8"), high


def onnx_tool_codes(dtype: str, symmetric: bool, reduce_range: bool, narrow_range: bool) -> QuantRange:
    """onnxruntime.quantization: symmetric int8 is -127..127, reduced int8 -64..64; int16 alike, int4 not."""
    low, high = full_range(dtype)
    if reduce_range:
        return low // 2, high // 2 + int(dtype in ("qint8", "int16"))
    return low + int(symmetric and dtype in ("qint8", "int16")), high


def ai_edge_codes(dtype: str, symmetric: bool, reduce_range: bool, narrow_range: bool) -> QuantRange:
    """ai-edge-quantizer: symmetric codes go without the lowest from 8 bits up; int4 and int2 keep all theirs."""
    low, high = full_range(dtype)
    return low + int(symmetric and low <= -128), high


#: Conventions that are not named here have :func:`full_codes`.
CODE_RULES: Mapping[str, CodeRule] = {
    "onnxruntime": onnx_tool_codes,
    "ai-edge": ai_edge_codes,
    "litert": litert_codes,
    "litert-xnnpack": litert_codes,
}


def codes_in_force(
    convention: str, dtype: str, symmetric: bool, reduce_range: bool, narrow_range: bool, quant_range: QuantRange | None
) -> QuantRange:
    """(quant_min, quant_max) under ``convention``; a free ``quant_range`` is halved by reduce_range as in torch."""
    if quant_range is not None:
        return halved(quant_range) if reduce_range else quant_range
    return CODE_RULES.get(convention, full_codes)(dtype, symmetric, reduce_range, narrow_range)
