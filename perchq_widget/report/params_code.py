"""Given parameters as Python: which class, which arrays, which of them a person can read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perchq_widget.core.blockscaled import BlockParams
from perchq_widget.core.codec import Parameters
from perchq_widget.core.qparams import QParams

_LONGEST_LIST = 64
_ARRAYS = ("scale", "zero_point", "minimum", "multiplier", "origin")


@dataclass(frozen=True, slots=True)
class ParamsCode:
    """``arrays`` by argument, the first one or two of which are positional; ``options`` are the plain arguments."""

    class_name: str
    arrays: dict[str, NDArray[Any]]
    options: dict[str, Any]

    @property
    def n_bytes(self) -> int:
        """Size of all arrays."""
        return sum(array.nbytes for array in self.arrays.values())

    def literals(self) -> dict[str, str] | None:
        """Every array as a list of numbers to read, None where some is too long or would come back as another dtype."""
        scale = self.arrays["scale"]
        kept = self.class_name == "BlockParams" or scale.dtype.itemsize >= 4  # blocks know the dtype of their scales
        if scale.size > _LONGEST_LIST or not kept:
            return None
        return {name: _literal(array) for name, array in self.arrays.items()}

    def arguments(self, values: dict[str, str]) -> str:
        """The arrays as the arguments of a call, ``values`` being the text of each."""
        positional = ("scale", "zero_point") if self.class_name == "QParams" else ("scale",)
        return ", ".join(text if name in positional else f"{name}={text}" for name, text in values.items())


def params_code(qparams: Parameters) -> ParamsCode:
    """What builds ``qparams`` again."""
    arrays = {name: getattr(qparams, name, None) for name in _ARRAYS}
    options: dict[str, Any] = {"dtype": qparams.dtype, "convention": qparams.convention, "ch_axis": qparams.ch_axis}
    if isinstance(qparams, QParams):
        options |= {} if qparams.group_size is None else {"group_size": qparams.group_size}
        options |= {"granularity": "token"} if qparams.granularity == "token" else {}
        if isinstance(qparams.quant_min, int):
            options |= {"quant_min": qparams.quant_min, "quant_max": qparams.quant_max}
    elif isinstance(qparams, BlockParams):
        options |= {"group_size": qparams.group_size}
        options |= {} if qparams.global_scale is None else {"global_scale": float(qparams.global_scale)}
        options |= {} if qparams.scale_bits is None else {"scale_bits": qparams.scale_bits}
    name = "QParams" if isinstance(qparams, QParams) else "BlockParams"
    return ParamsCode(name, {key: array for key, array in arrays.items() if array is not None}, options)


def _literal(array: NDArray[Any]) -> str:
    """Nested lists of numbers; what is not finite has no literal of its own."""
    numbers = array if array.dtype.kind in "iu" else array.astype(np.float64)
    text = repr(numbers.tolist())
    return text.replace("nan", 'float("nan")').replace("inf", 'float("inf")')
