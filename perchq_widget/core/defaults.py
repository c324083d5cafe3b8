"""What follows from the dtype where a setting is left out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from .conventions import get_convention, why_not
from .grids import INTEGER_DTYPES, block_shape, canonical_dtype
from .schemes import SCHEMES, GroupSize, QuantScheme, family_of

#: Formats that add a minimum to every value.
WITH_MINIMUM = ("q4_1", "q5_1", "q2_k", "q4_k", "q5_k")


def default_convention(dtype: str, granularity: str = "channel") -> str:
    """The runtime whose arithmetic is followed where none is named."""
    if family_of(dtype) != "block":
        if INTEGER_DTYPES.get(dtype, (8, True))[0] > 8:
            return "onnxruntime"
        return "pytorch" if granularity in ("channel", "tensor") else "torchao"
    if dtype.startswith("mx"):
        return "ocp"
    return {"nvfp4": "modelopt", "nf4": "bitsandbytes"}.get(dtype, "gguf")


def default_scheme(dtype: str) -> str:
    """affine for integers and for blocks with a minimum; symmetric for floats and other blocks."""
    return "affine" if family_of(dtype) == "integer" or dtype in WITH_MINIMUM else "symmetric"


def settled(
    dtype: str,
    scheme: str | None = None,
    granularity: str | None = None,
    convention: str | None = None,
    group_size: GroupSize | None = None,
    scale_rule: str | None = None,
    **others: Any,
) -> QuantScheme:
    """The scheme with every None replaced by what follows from the dtype.

    A ``group_size`` makes the granularity "group" (or "block" for two numbers); the scale rule is the first that the
    convention has. Where a named convention has no such combination, what was left out is the first that it has.
    """
    dtype = canonical_dtype(dtype)
    free = ("scheme",) * (scheme is None) + ("granularity",) * (granularity is None and group_size is None)
    in_blocks = family_of(dtype) == "block"
    pair = isinstance(group_size, (tuple, list))
    if granularity is None:
        granularity = "group" if in_blocks or group_size is not None else "channel"
        granularity = "block" if pair else granularity
    if in_blocks and group_size is None and granularity == "group":
        group_size = block_shape(dtype)[1]
    chosen = QuantScheme(
        dtype,
        default_scheme(dtype) if scheme is None else scheme,
        granularity,
        convention=default_convention(dtype, granularity) if convention is None else convention,
        group_size=group_size,
        scale_rule=scale_rule,
        **others,
    )
    rules = next((row.scale_rules for row in get_convention(chosen.convention).supports if dtype in row.dtypes), ())
    chosen = replace(chosen, scale_rule=rules[0]) if scale_rule is None and rules else chosen
    return chosen if convention is None or in_blocks else _within(chosen, free)


def _within(chosen: QuantScheme, free: tuple[str, ...]) -> QuantScheme:
    """``chosen``, or the first combination that its convention has when the settings ``free`` are let go."""
    schemes = (chosen.scheme, *(SCHEMES if "scheme" in free else ()))
    granularities = (chosen.granularity, *(("channel", "tensor") if "granularity" in free else ()))
    options = (replace(chosen, scheme=each, granularity=unit) for unit in granularities for each in schemes)
    return next((option for option in options if why_not(option) is None), chosen)
