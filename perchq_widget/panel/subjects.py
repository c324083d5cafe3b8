"""What a panel is about: pasted lines, or tensors. A subject turns an intent into a report and remembers the last."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

from ..api import calculate
from ..core.errors import QuantValueError
from ..report.documents import ChannelReport
from ..study.channels import STORED_QPARAMS
from ..study.tensor import Request
from ..study.tensor import scheme_of as scheme_of_parameters
from .comparing import Comparison, LinesComparison, TensorComparison
from .menus import settings_of
from .moves import SCHEME_NAMES, scheme_of
from .reading import InView, axis_of

if TYPE_CHECKING:
    from ..core.schemes import QuantScheme
    from ..sources.base import TensorRecord
    from .state import Intent


class Subject(Protocol):
    """The data side of a panel. ``kind`` is "calculator" or "tensor"; ``tensors`` the names to choose from.

    ``prefers_stored``: of tensors that their file holds quantized, show its parameters first.
    """

    kind: str
    tensors: tuple[str, ...]
    prefers_stored: bool

    def report(self, intent: Intent) -> ChannelReport:
        """The result for ``intent``; the same object while nothing that matters to it has changed.

        Raises QuantError, LinesError among them.
        """

    def rest(self, report: ChannelReport) -> None:
        """While nothing moves: complete the report, and prepare for the next move."""

    def comparison(self, intent: Intent) -> Comparison:
        """The data in view, ready to meet each convention."""

    def title(self, name: str) -> str:
        """One line about a tensor for the layer picker."""

    def axis(self, name: str | None) -> int:
        """The channel axis to begin with."""

    def known(self, name: str | None) -> TensorRecord | None:
        """The record of that name; None where there is none."""

    def stored_scheme(self, name: str | None) -> QuantScheme | None:
        """The settings that the parameters in the file stand for; None for a tensor that is not quantized there.

        Raises UnreadableTensorError.
        """


class _Remembered:
    """The last result and what it was made from."""

    def __init__(self) -> None:
        self._key: object = None
        self._report: ChannelReport | None = None

    def get(self, key: object, make: Callable[[], ChannelReport]) -> ChannelReport:
        if self._report is None or key != self._key:
            self._report, self._key = make(), key
        return self._report


class LinesSubject:
    """The calculator: everything comes from the intent."""

    kind = "calculator"
    tensors: tuple[str, ...] = ()
    prefers_stored = False

    def __init__(self) -> None:
        self._last = _Remembered()

    def report(self, intent: Intent) -> ChannelReport:
        """Calculate the lines as typed."""
        lines, options = self._arguments(intent)
        return self._last.get((lines, *options.values()), lambda: calculate(lines, **options))

    def rest(self, report: ChannelReport) -> None:
        """Nothing: lines are calculated whole."""

    def comparison(self, intent: Intent) -> Comparison:
        """The lines as typed."""
        return LinesComparison(*self._arguments(intent))

    def _arguments(self, intent: Intent) -> tuple[str, dict[str, Any]]:
        options = {
            name: getattr(intent, name)
            for name in ("mode", "dtype", "scheme", "reduce_range", "convention", "tensor_name", "ch_axis")
        }
        options["tensor_name"] = intent.tensor_name if intent.tensor_name.strip() else "tensor"
        # What stands in the box is text, never a path: a line break says so to the parser.
        return intent.lines if "\n" in intent.lines else intent.lines + "\n", options

    def title(self, name: str) -> str:
        """The name itself: the calculator has no layers."""
        return name

    def axis(self, name: str | None) -> int:
        """Lines have no shape to suggest one."""
        return 0

    def known(self, name: str | None) -> TensorRecord | None:
        """Lines have no records."""
        return None

    def stored_scheme(self, name: str | None) -> QuantScheme | None:
        """Lines are quantized here alone."""
        return None


class TensorsSubject:
    """One or more tensors; the one in view is read once."""

    kind = "tensor"

    def __init__(
        self,
        records: Mapping[str, TensorRecord],
        options: Mapping[str, Any],
        ch_axis: int | None = None,
        *,
        prefers_stored: bool = True,
    ) -> None:
        if not records:
            raise QuantValueError("there is no tensor to show; pass an array, a module, a mapping or a model file")
        self._records = records
        self._options = dict(options)
        self._asked_axis = ch_axis
        self.prefers_stored = prefers_stored
        self.tensors = tuple(records)
        self._seen: InView | None = None
        self._last = _Remembered()

    def record(self, name: str | None) -> TensorRecord:
        """The record of that name; for None the first that can be analysed, a weight before a bias."""
        if name is not None:
            return self._records[name]  # a source says which name is near
        usable = [record for record in self._records.values() if record.not_applicable is None]
        weights = (record for record in usable if len(record.shape) > 1)
        return next(weights, usable[0] if usable else self._records[self.tensors[0]])

    def known(self, name: str | None) -> TensorRecord | None:
        """The record of that name; None where there is none."""
        return self.record(None) if name is None else self._records.get(name)

    def quantized(self, name: str | None) -> bool:
        """Whether the file holds parameters of that tensor."""
        record = self.known(name)
        return record is not None and record.quantized and record.not_applicable is None

    def stored_scheme(self, name: str | None) -> QuantScheme | None:
        """The settings that the parameters in the file stand for; None for a tensor that is not quantized there."""
        if not self.quantized(name):
            return None
        return scheme_of_parameters(self._in_view(self.record(name)).stored.qparams)

    def report(self, intent: Intent) -> ChannelReport:
        """Analyze the tensor in view: what a moving control needs at once, the rest when it is asked for."""
        record = self.record(intent.tensor)
        settings = () if intent.as_stored else tuple(getattr(intent, each) for each in SCHEME_NAMES)
        key = (record.name, intent.tensor_name, intent.ch_axis, intent.as_stored, settings)
        return self._last.get(key, lambda: self.fresh_report(intent))

    def fresh_report(self, intent: Intent) -> ChannelReport:
        """The same, not remembered and never the one that is."""
        seen = self._in_view(self.record(intent.tensor))
        record = seen.record
        name = intent.tensor_name if intent.tensor_name.strip() else record.name
        facts = seen.facts(as_stored=intent.as_stored)
        request = self._as_stored(seen, intent, name) if intent.as_stored else self._chosen(intent, name)
        source = record.source if name == record.name else None
        return ChannelReport(facts.live_table(request), source=source)

    def _chosen(self, intent: Intent, name: str) -> Request:
        return Request(scheme_of(settings_of(intent)), intent.ch_axis, name, **self._options)

    def _as_stored(self, seen: InView, intent: Intent, name: str) -> Request:
        qparams, rank = seen.stored.qparams, len(seen.record.shape)
        axis = axis_of(qparams, rank)
        if axis is not None and -rank <= intent.ch_axis < rank and intent.ch_axis % rank != axis:
            raise QuantValueError(
                f"ch_axis must be {axis} while the parameters are as stored in the file, which are for that axis, got "
                f"{intent.ch_axis}: choose parameters here (as_stored False) for another one"
            )
        request = Request(scheme_of_parameters(qparams), intent.ch_axis, name, **self._options)
        return replace(request, qparams=qparams, qparams_from=STORED_QPARAMS)

    def rest(self, report: ChannelReport) -> None:
        """Compute what the report still lacks, and learn what makes the next moves fast."""
        for facts in () if self._seen is None else self._seen.known:
            if facts.array is report.study.array:
                facts.prepare(report.study)
        report.study.frame  # noqa: B018 - asking for it computes it

    def comparison(self, intent: Intent) -> Comparison:
        """The tensor in view."""
        seen = self._in_view(self.record(intent.tensor))
        return TensorComparison(seen.facts(as_stored=False).array, intent)

    def title(self, name: str) -> str:
        """Name, shape, format, how it is stored; the mark of those that cannot be analysed, and why not."""
        record = self._records[name]
        text = f"{name} · {tuple(record.shape)} {record.dtype}"
        if record.not_applicable is not None:
            return f"{text} ✕ {record.not_applicable}"
        return f"{text} · stored as {record.stored_as}" if record.stored_as else text

    def axis(self, name: str | None) -> int:
        """The axis that was asked for, where that tensor has it, else what its source suggests."""
        record, asked = self.record(name), self._asked_axis
        if asked is not None and -len(record.shape) <= asked < len(record.shape):
            return asked
        return record.ch_axis

    def _in_view(self, record: TensorRecord) -> InView:
        if self._seen is None or self._seen.record is not record:
            self._seen = None  # before the next one is read
            self._seen = InView(record)
        return self._seen
