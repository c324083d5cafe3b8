"""A tensor that its file holds already quantized: the codes, and the parameters that the file gives them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from perchq_widget.core.codec import Parameters


@dataclass(frozen=True, eq=False)
class Stored:
    """Codes and parameters as a file has them.

    ``codes`` has the tensor's shape and ``qparams.code_dtype``. ``values`` are the floats that the file keeps beside
    the parameters (an ONNX weight ahead of its QuantizeLinear), None where the codes are all there is.
    ``note`` is what one should know of the order or the origin of the codes.
    """

    codes: np.ndarray[Any, Any]
    qparams: Parameters
    values: np.ndarray[Any, Any] | None = None
    note: str = ""

    def decoded(self) -> np.ndarray[Any, Any]:
        """What the runtime makes of the codes: an array of their shape in the parameters' working dtype."""
        from perchq_widget.core.elements import dequantize

        return dequantize(self.codes, self.qparams)

    def array(self) -> np.ndarray[Any, Any]:
        """What the parameters are measured on: the floats where the file has them, else the decoded codes."""
        return self.decoded() if self.values is None else self.values
