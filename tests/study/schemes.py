"""Every scheme that some convention allows, and a tensor for it: tests iterate over them, whatever is added."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import numpy as np

from perchq_widget.core.conventions import CONVENTIONS, why_not
from perchq_widget.core.grids import BLOCK_DTYPES
from perchq_widget.core.record import Support
from perchq_widget.core.schemes import QuantScheme

#: Elements of a group, or rows and columns, that divide the tensor's 8 x 128.
SIZES = {"group": 32, "block": (4, 32)}


def allowed_schemes() -> Iterator[QuantScheme]:
    """Of every convention each dtype x scheme x granularity x scale rule, plain and with each flag."""
    for name, rules in CONVENTIONS.items():
        for row in rules.supports:
            yield from (scheme for scheme in _of(name, row) if why_not(scheme) is None)


def _of(name: str, row: Support) -> Iterator[QuantScheme]:
    flags = [{}, *({flag: (-3, 2) if flag == "quant_range" else True} for flag in row.flags)]
    settings = product(row.dtypes, row.schemes, row.granularities, row.scale_rules or (None,), flags)
    for dtype, scheme, granularity, scale_rule, flag in settings:
        size = SIZES.get(granularity)
        if granularity == "group":
            size = BLOCK_DTYPES[dtype][1] if dtype in BLOCK_DTYPES else min(row.group_sizes or (32,))
        if flag.get("quant_range") and dtype.startswith(("u", "qu")):
            flag = {"quant_range": (0, 3)}
        if dtype == "int2" and flag.get("quant_range"):
            flag = {"quant_range": (-1, 1)}
        yield QuantScheme(
            dtype, scheme, granularity, convention=name, group_size=size, scale_rule=scale_rule, **flag
        )


def label(scheme: QuantScheme) -> str:
    """A scheme as a test's name."""
    extra = [flag for flag in ("reduce_range", "narrow_range", "quant_range") if getattr(scheme, flag)]
    parts = [scheme.convention, scheme.dtype, scheme.scheme, scheme.granularity, scheme.scale_rule or "", *extra]
    return "-".join(part for part in parts if part)


def options(scheme: QuantScheme) -> dict[str, object]:
    """The scheme as arguments of analyze."""
    names = ("dtype", "scheme", "granularity", "convention", "group_size", "scale_rule", "reduce_range", "narrow_range",
             "quant_range")  # fmt: skip
    return {name: getattr(scheme, name) for name in names}


def weights(seed: int = 0, dtype: object = np.float32) -> np.ndarray:
    """(8, 128) of channels of different sizes, one of them positive, with zeros and an outlier."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((8, 128)) * 10.0 ** rng.uniform(-2, 1, (8, 1))
    x[3] = np.abs(x[3]) + 0.1
    x[4, ::3] = 0
    x[5, 17] *= 40
    return x.astype(dtype)
