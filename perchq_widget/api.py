"""The functions that users call. They join sources, study and report; the panel and the command line use them."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .core.conventions import CONVENTIONS
from .core.defaults import settled
from .core.errors import QuantTypeError, QuantValueError, choose_from
from .core.grids import canonical_dtype
from .core.keywords import DefaultNumber, DefaultText, given, known_keywords
from .core.observers import Observer, observer_of
from .core.schemes import GroupSize

if TYPE_CHECKING:
    import numpy.typing as npt

    from .core.codec import Parameters
    from .report.comparison import ReportComparison
    from .report.difference import ConventionDiff
    from .report.documents import ChannelReport


@known_keywords
def calculate(
    lines: object,
    *,
    mode: str = "ranges",
    dtype: str = "qint8",
    scheme: str = "affine",
    reduce_range: bool = False,
    convention: str = "calculator",
    tensor_name: str = "tensor",
    ch_axis: int = 0,
) -> ChannelReport:
    """Quantize one sample per channel from calibration ranges or from given parameters.

    ``lines``: text, a list of lines or tuples, a DataFrame, or the path of a text file. ``mode="ranges"`` reads
    ``channel,min,max,sample``, ``mode="params"`` reads ``channel,scale,zero_point,sample``. ``tensor_name`` and
    ``ch_axis`` (which axis the channels are on) label the table and the exports.

    Bad lines are listed in ``report.errors`` and good ones computed; with no good line at all a LinesError holds
    the whole list. Settings that the convention does not allow raise QuantValueError.
    """
    from .report.documents import ChannelReport
    from .sources.files import names_a_file
    from .sources.line_inputs import TEXT_SUFFIXES
    from .sources.lines import parse_lines
    from .study.calculator import calculate_table

    settings = settled(dtype, scheme, "channel", convention, reduce_range=reduce_range)
    ch_axis = _check_label("tensor_name", tensor_name, ch_axis)
    table = calculate_table(parse_lines(lines, mode), settings, name=tensor_name, ch_axis=ch_axis)
    pasted = isinstance(lines, str) and not names_a_file(lines, TEXT_SUFFIXES)
    return ChannelReport(table, typed=str(lines) if pasted else None)


def _check_label(argument: str, name: object, ch_axis: object) -> int:
    """The axis as a plain integer; raises unless it is one and the name is a text."""
    if not isinstance(name, str):
        raise QuantTypeError(f"{argument} must be a text, got {name!r:.80}")
    try:
        return int(operator.index(ch_axis)) if not isinstance(ch_axis, bool) else int("not an axis")  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise QuantTypeError(f"ch_axis must be an integer, got {ch_axis!r:.80}") from None


@known_keywords
def analyze(
    tensor: object,
    *,
    dtype: str = DefaultText("qint8"),
    scheme: str | None = None,
    granularity: str | None = None,
    ch_axis: int = DefaultNumber(0),
    group_size: GroupSize | None = None,
    reduce_range: bool = False,
    narrow_range: bool = False,
    quant_range: tuple[int, int] | None = None,
    scale_rule: str | None = None,
    observer: str | Observer = "minmax",
    clip_ratio: float = 1.0,
    ranges: tuple[npt.ArrayLike, npt.ArrayLike] | None = None,
    qparams: Parameters | None = None,
    convention: str | None = None,
    name: str | None = None,
    channel_names: Sequence[str] | None = None,
) -> ChannelReport:
    """Quantize a real tensor and measure every channel of ``ch_axis``.

    ``tensor``: numpy or torch array of any rank from 1, anything with DLPack or ``__array__``, or a TensorRecord,
    which brings its name and, unless ``ch_axis`` is given, the axis that its layer kind suggests.
    ``scheme``, ``granularity``, ``convention`` and ``scale_rule`` follow from the dtype where they are None: integers
    are affine, per channel, as "pytorch" does it; floats symmetric; MX formats as "ocp", nvfp4 as "modelopt", nf4 as
    "bitsandbytes", q4_0 and its like as "gguf". ``group_size`` is the elements of a channel that share a scale, or
    (rows, columns) of a matrix's blocks. The range is each unit's minimum and maximum, or for channels and tensors
    ``ranges=(min_val, max_val)``, times ``clip_ratio``; ``qparams`` gives the parameters themselves (QParams or
    BlockParams) and allows no other setting beside it. ``observer`` takes the range of channels and tensors in another
    way: a policy such as ``Percentile(99.9)``, or its text such as "mse" or "percentile(99.9)".

    NaN and infinities are left out of ranges and errors, counted, and reported as findings.
    """
    from .report.documents import ChannelReport
    from .study.tensor import Request, analyze_table, scheme_of

    array, found_name, source, suggested_axis = _read(tensor)
    if qparams is None:
        settings = settled(
            dtype, scheme, granularity, convention, group_size, scale_rule, reduce_range=reduce_range,
            narrow_range=narrow_range, quant_range=quant_range, observer=observer, clip_ratio=clip_ratio,
        )  # fmt: skip
    else:
        beside = {
            "dtype": given(dtype) and canonical_dtype(dtype) != qparams.dtype, "scheme": scheme is not None,
            "granularity": granularity is not None, "reduce_range": reduce_range, "narrow_range": narrow_range,
            "quant_range": quant_range is not None, "observer": str(observer_of(observer)) != "minmax",
            "clip_ratio": clip_ratio != 1.0, "ranges": ranges is not None, "group_size": group_size is not None,
            "scale_rule": scale_rule is not None, "convention": convention is not None,
        }  # fmt: skip
        _refuse_beside_qparams([argument for argument, clashes in beside.items() if clashes])
        settings = scheme_of(qparams)
    label = found_name if name is None else name
    axis = ch_axis if given(ch_axis) or suggested_axis is None else suggested_axis
    _check_label("name", label, axis)
    table = analyze_table(array, Request(settings, axis, label, channel_names, ranges, qparams))
    return ChannelReport(table, source=source if label == found_name else None)


@known_keywords
def convention_diff(
    tensor: object,
    a: str,
    b: str,
    *,
    dtype: str = DefaultText("qint8"),
    scheme: str | None = None,
    granularity: str | None = None,
    ch_axis: int = DefaultNumber(0),
    group_size: GroupSize | None = None,
    reduce_range: bool = False,
    narrow_range: bool = False,
    quant_range: tuple[int, int] | None = None,
    scale_rule: str | None = None,
    observer: str | Observer = "minmax",
    clip_ratio: float = 1.0,
    ranges: tuple[npt.ArrayLike, npt.ArrayLike] | None = None,
    name: str | None = None,
    channel_names: Sequence[str] | None = None,
) -> ConventionDiff:
    """Quantize ``tensor`` as conventions ``a`` and ``b`` do, and compare: codes, scales, errors, per channel.

    The options are those of :func:`analyze` and hold for both. ``scheme`` and ``granularity`` that are None are the
    first that both have, beginning with what follows from the dtype; ``scale_rule`` is each one's first. The result
    tells which codes differ and by how much, the SQNR under each, and the SQNR of codes written by one and read with
    the other's scales, zero points and decoder.

    Raises QuantValueError for one name twice, and where one of the two does not have the combination: the message
    says which, what it does, and what to choose instead.
    """
    from .report.difference import ConventionDiff
    from .study.compare import diff_table, settle_both
    from .study.tensor import Request

    for argument, convention in (("a", a), ("b", b)):
        choose_from(argument, convention, CONVENTIONS)
    if a == b:
        raise QuantValueError(f"a and b are both {a!r}: name two different conventions")
    settings = settle_both(
        (a, b), dtype, scheme=scheme, granularity=granularity, group_size=group_size, scale_rule=scale_rule,
        reduce_range=reduce_range, narrow_range=narrow_range, quant_range=quant_range, observer=observer,
        clip_ratio=clip_ratio,
    )  # fmt: skip
    array, found_name, _, suggested_axis = _read(tensor)
    axis = ch_axis if given(ch_axis) or suggested_axis is None else suggested_axis
    label = found_name if name is None else name
    _check_label("name", label, axis)
    first, second = (Request(each, axis, label, channel_names, ranges) for each in settings)
    return ConventionDiff(diff_table(array, first, second))


def compare(*reports: ChannelReport, names: Sequence[str] | None = None) -> ReportComparison:
    """Put two to eight reports about the same channels side by side, each against the first.

    The result has ``.table`` (per channel, each report's figures and their differences), ``.summary`` (one row per
    report), ``.best`` (per channel, the report with the highest SQNR) and the exports. ``names`` are what the reports
    are called; by default the settings in which they differ. Observers, say, are compared by
    ``compare(*(analyze(x, observer=each) for each in ("minmax", "mse", "entropy")))``.

    Raises QuantTypeError for what is no report, and QuantValueError where the reports are not about the same channels
    (number, names, axis); the message says where they part.
    """
    from .report.comparison import ReportComparison
    from .report.documents import ChannelReport
    from .study.comparison_table import compare_tables

    for report in reports:
        if not isinstance(report, ChannelReport):
            raise QuantTypeError(
                f"reports must be ChannelReports, as analyze() and calculate() give them, got {report!r:.80}; "
                "pass each as an argument of its own"
            )
    return ReportComparison(compare_tables([report.study for report in reports], names))


def quantize(x: object, qparams: Parameters) -> npt.NDArray[Any]:
    """Codes of ``x``, in its shape. inf saturates, NaN becomes the zero point.

    ``x``: numbers, an array, a torch CPU tensor or a TensorRecord. int8 for signed integers up to 8 bits, uint8,
    int16, uint16; ml_dtypes' dtype for float formats and elements of MX and NVFP4; uint8 indices for codebooks and
    GGUF. Raises QuantError where ``x`` does not fit the parameters.
    """
    from .core import elements

    return elements.quantize(_values(x), qparams)


def fake_quantize(x: object, qparams: Parameters) -> npt.NDArray[Any]:
    """``dequantize(quantize(x))`` with NaN kept as NaN, in the dtype that the convention computes in."""
    from .core import elements

    return elements.fake_quantize(_values(x), qparams)


def _values(x: object) -> Any:
    """``x`` as numpy takes it: torch tensors as arrays that share their memory, records as what they hold."""
    from .sources.base import TensorRecord
    from .sources.torch_tensors import is_torch, torch_array

    values = x.read() if isinstance(x, TensorRecord) else x
    return torch_array(values, "x") if is_torch(values) else values


def _refuse_beside_qparams(arguments: list[str]) -> None:
    if arguments:
        raise QuantValueError(f"qparams already says what {', '.join(arguments)} would: leave one of them out")


def _read(tensor: object) -> tuple[Any, str, str | None, int | None]:
    """The array, a name for it, the file that holds it under that name, and the axis that its source suggests."""
    from .sources.base import TensorRecord
    from .sources.memory import as_array

    if isinstance(tensor, TensorRecord):
        return as_array(tensor.read()), tensor.name, tensor.source, tensor.ch_axis
    return as_array(tensor), "tensor", None, None
