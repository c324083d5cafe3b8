"""What a panel is about: pasted lines, or tensors. A subject turns an intent into a report and remembers the last."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from ..api import calculate
from ..core.errors import QuantValueError, choose_from
from ..report.documents import ChannelReport
from ..sources.memory import as_array
from ..study.live import TensorFacts
from ..study.tensor import Request
from .comparing import Comparison, LinesComparison, TensorComparison
from .menus import settings_of
from .moves import SCHEME_NAMES, scheme_of

if TYPE_CHECKING:
    from ..sources.base import TensorRecord
    from .state import Intent


class Subject(Protocol):
    """The data side of a panel. ``kind`` is "calculator" or "tensor"; ``tensors`` the names to choose from."""

    kind: str
    tensors: tuple[str, ...]

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


class TensorsSubject:
    """One or more tensors; the one in view is read once."""

    kind = "tensor"

    def __init__(
        self, records: Mapping[str, TensorRecord], options: Mapping[str, Any], ch_axis: int | None = None
    ) -> None:
        if not records:
            raise QuantValueError("there is no tensor to show; pass an array, a module, a mapping or a model file")
        self._records = records
        self._options = dict(options)
        self._asked_axis = ch_axis
        self.tensors = tuple(records)
        self._read: tuple[str, TensorFacts] | None = None
        self._last = _Remembered()

    def record(self, name: str | None) -> TensorRecord:
        """The record of that name; for None the first that can be analysed, a weight before a bias."""
        if name is not None:
            return self._records[choose_from("tensor", name, self.tensors)]
        usable = [record for record in self._records.values() if record.not_applicable is None]
        weights = (record for record in usable if len(record.shape) > 1)
        return next(weights, usable[0] if usable else self._records[self.tensors[0]])

    def report(self, intent: Intent) -> ChannelReport:
        """Analyze the tensor in view: what a moving control needs at once, the rest when it is asked for."""
        record = self.record(intent.tensor)
        name = intent.tensor_name if intent.tensor_name.strip() else record.name
        key = (record.name, name, intent.ch_axis, *(getattr(intent, each) for each in SCHEME_NAMES))
        return self._last.get(key, lambda: self._live(record, intent, name))

    def _live(self, record: TensorRecord, intent: Intent, name: str) -> ChannelReport:
        request = Request(scheme_of(settings_of(intent)), intent.ch_axis, name, **self._options)
        return ChannelReport(self._facts(record).live_table(request))

    def rest(self, report: ChannelReport) -> None:
        """Compute what the report still lacks, and learn what makes the next moves fast."""
        if self._read is not None and self._read[1].array is report.study.array:
            self._read[1].prepare(report.study)
        report.study.frame  # noqa: B018 - asking for it computes it

    def comparison(self, intent: Intent) -> Comparison:
        """The tensor in view."""
        return TensorComparison(self._facts(self.record(intent.tensor)).array, intent)

    def title(self, name: str) -> str:
        """Name, shape and dtype."""
        record = self._records[name]
        unusable = "" if record.not_applicable is None else " ✕"
        return f"{name} · {tuple(record.shape)} {record.dtype}{unusable}"

    def axis(self, name: str | None) -> int:
        """The axis that was asked for, where that tensor has it, else what its source suggests."""
        record, asked = self.record(name), self._asked_axis
        if asked is not None and -len(record.shape) <= asked < len(record.shape):
            return asked
        return record.ch_axis

    def _facts(self, record: TensorRecord) -> TensorFacts:
        if self._read is None or self._read[0] != record.name:
            self._read = None
            self._read = (record.name, TensorFacts(as_array(record.read())))
        return self._read[1]
