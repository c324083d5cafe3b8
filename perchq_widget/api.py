"""The functions that users call. They join sources, study and report; the panel and the command line use them."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .core.conventions import CONVENTIONS
from .core.defaults import settled
from .core.errors import QuantTypeError, QuantValueError, choose_from
from .core.grids import canonical_dtype
from .core.keywords import DefaultNumber, DefaultText, given, known_keywords
from .core.observers import Observer, observer_of
from .core.schemes import GroupSize, QuantScheme

if TYPE_CHECKING:
    import numpy.typing as npt

    from .core.codec import Parameters
    from .report.comparison import ReportComparison
    from .report.difference import ConventionDiff
    from .report.documents import ChannelReport
    from .study.tensor import Request


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
    which brings its name and, unless ``ch_axis`` is given, the axis that its layer kind suggests. A record whose file
    holds it quantized is measured with the file's own parameters as long as no setting is given, and as the floats
    that these decode to as soon as one is.
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
    from .study.tensor import analyze_table

    asked = _Asked(
        dtype, scheme, granularity, convention, group_size, scale_rule, reduce_range, narrow_range, quant_range,
        observer, clip_ratio, ranges, qparams,
    )  # fmt: skip
    read = _read(tensor, as_stored=asked.nothing)
    request = _request(read, asked, ch_axis, name, channel_names)
    return ChannelReport(analyze_table(read.array, request), source=read.source if request.name == read.name else None)


@dataclass(frozen=True, eq=False, slots=True)
class _Asked:
    """The settings of :func:`analyze` as they were given."""

    dtype: str
    scheme: str | None
    granularity: str | None
    convention: str | None
    group_size: GroupSize | None
    scale_rule: str | None
    reduce_range: bool
    narrow_range: bool
    quant_range: tuple[int, int] | None
    observer: str | Observer
    clip_ratio: float
    ranges: tuple[npt.ArrayLike, npt.ArrayLike] | None
    qparams: Parameters | None

    @property
    def nothing(self) -> bool:
        """Whether everything was left as it is."""
        return self.qparams is None and not given(self.dtype) and not any(self._set().values())

    def settings(self) -> QuantScheme:
        """The scheme, with what was left open settled."""
        return settled(
            self.dtype, self.scheme, self.granularity, self.convention, self.group_size, self.scale_rule,
            reduce_range=self.reduce_range, narrow_range=self.narrow_range, quant_range=self.quant_range,
            observer=self.observer, clip_ratio=self.clip_ratio,
        )  # fmt: skip

    def check_beside(self, qparams: Parameters) -> None:
        """Refuse what ``qparams`` already says."""
        clashing = {"dtype": given(self.dtype) and canonical_dtype(self.dtype) != qparams.dtype, **self._set()}
        arguments = [argument for argument, clashes in clashing.items() if clashes]
        if arguments:
            raise QuantValueError(f"qparams already says what {', '.join(arguments)} would: leave one of them out")

    def _set(self) -> dict[str, bool]:
        """Which settings but the dtype differ from their defaults."""
        return {
            "scheme": self.scheme is not None, "granularity": self.granularity is not None,
            "reduce_range": bool(self.reduce_range), "narrow_range": bool(self.narrow_range),
            "quant_range": self.quant_range is not None, "observer": str(observer_of(self.observer)) != "minmax",
            "clip_ratio": self.clip_ratio != 1.0, "ranges": self.ranges is not None,
            "group_size": self.group_size is not None, "scale_rule": self.scale_rule is not None,
            "convention": self.convention is not None,
        }  # fmt: skip


def _request(
    read: _Read, asked: _Asked, ch_axis: int, name: str | None, channel_names: Sequence[str] | None
) -> Request:
    from .study.channels import GIVEN_QPARAMS, STORED_QPARAMS
    from .study.tensor import Request, scheme_of

    qparams = asked.qparams if read.qparams is None else read.qparams
    if qparams is not None:
        asked.check_beside(qparams)
    settings = asked.settings() if qparams is None else scheme_of(qparams)
    axis = ch_axis if given(ch_axis) or read.axis is None else read.axis
    label = read.name if name is None else name
    _check_label("name", label, axis)
    origin = GIVEN_QPARAMS if read.qparams is None else STORED_QPARAMS
    return Request(settings, axis, label, channel_names, asked.ranges, qparams, origin)


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
    read = _read(tensor)
    axis = ch_axis if given(ch_axis) or read.axis is None else read.axis
    label = read.name if name is None else name
    _check_label("name", label, axis)
    first, second = (Request(each, axis, label, channel_names, ranges) for each in settings)
    return ConventionDiff(diff_table(read.array, first, second))


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
    from .sources.torch.tensors import is_torch, torch_array

    values = x.read() if isinstance(x, TensorRecord) else x
    return torch_array(values, "x") if is_torch(values) else values


@dataclass(frozen=True, eq=False, slots=True)
class _Read:
    """A tensor's values, a name for it, the file that holds it under that name, and what its source suggests.

    ``qparams``: the parameters that the file holds, if they are to be used.
    """

    array: npt.NDArray[Any]
    name: str = "tensor"
    source: str | None = None
    axis: int | None = None
    qparams: Parameters | None = None


def _read(tensor: object, *, as_stored: bool = False) -> _Read:
    from .sources.base import TensorRecord
    from .sources.memory import as_array

    if not isinstance(tensor, TensorRecord):
        return _Read(as_array(tensor))
    if as_stored and tensor.quantized:
        stored = tensor.stored()
        return _Read(stored.array(), tensor.name, tensor.source, tensor.ch_axis, stored.qparams)
    return _Read(as_array(tensor.read()), tensor.name, tensor.source, tensor.ch_axis)
