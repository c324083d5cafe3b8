"""perchq_widget: see, tune, explain and sign off how a tensor survives quantization, channel by channel.

    >>> import perchq_widget as pq
    >>> report = pq.calculate("filter_0,-1.2,1,0.73")
    >>> report.table["quantized"].tolist()
    [96]

Public names load on first use: importing this package imports neither pandas nor the widget stack.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .api import analyze, calculate, compare, convention_diff, fake_quantize, quantize
    from .core.blockscaled import BlockParams
    from .core.elements import dequantize
    from .core.errors import LineError, LinesError, MissingExtra, QuantError, QuantTypeError, QuantValueError
    from .core.findings import Finding
    from .core.observers import MSE, Entropy, LpNorm, MeanStd, MinMax, MovingAverage, Observer, Percentile
    from .core.qparams import QParams, choose_qparams
    from .core.schemes import QuantScheme
    from .panel.app import QuantPanel, show
    from .report.comparison import ReportComparison
    from .report.difference import ConventionDiff
    from .report.documents import ChannelReport
    from .sources.base import TensorRecord, TensorSource
    from .sources.gguf.blocks import dequantize_gguf
    from .sources.opening import open_source
    from .sources.stored import Stored

__version__ = "0.1.0"

_HOMES = {
    "api": ("analyze", "calculate", "compare", "convention_diff", "fake_quantize", "quantize"),
    "core.blockscaled": ("BlockParams",),
    "core.errors": ("LineError", "LinesError", "MissingExtra", "QuantError", "QuantTypeError", "QuantValueError"),
    "core.findings": ("Finding",),
    "core.elements": ("dequantize",),
    "core.observers": ("MSE", "Entropy", "LpNorm", "MeanStd", "MinMax", "MovingAverage", "Observer", "Percentile"),
    "core.qparams": ("QParams", "choose_qparams"),
    "core.schemes": ("QuantScheme",),
    "panel.app": ("QuantPanel", "show"),
    "report.comparison": ("ReportComparison",),
    "report.difference": ("ConventionDiff",),
    "report.documents": ("ChannelReport",),
    "sources.base": ("TensorRecord", "TensorSource"),
    "sources.gguf.blocks": ("dequantize_gguf",),
    "sources.opening": ("open_source",),
    "sources.stored": ("Stored",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "MSE",
    "BlockParams",
    "ChannelReport",
    "ConventionDiff",
    "Entropy",
    "Finding",
    "LineError",
    "LinesError",
    "LpNorm",
    "MeanStd",
    "MinMax",
    "MissingExtra",
    "MovingAverage",
    "Observer",
    "Percentile",
    "QParams",
    "QuantError",
    "QuantPanel",
    "QuantScheme",
    "QuantTypeError",
    "QuantValueError",
    "ReportComparison",
    "Stored",
    "TensorRecord",
    "TensorSource",
    "analyze",
    "calculate",
    "choose_qparams",
    "compare",
    "convention_diff",
    "dequantize",
    "dequantize_gguf",
    "fake_quantize",
    "open_source",
    "quantize",
    "show",
]


def __getattr__(name: str) -> Any:
    """Load a public name from its module, once."""
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
