"""The API calls that give what a panel shows. Names and lines come out as string literals and as nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import ipywidgets as w

from ..core.errors import QuantError
from ..report.code import call, comment, text_block
from ..report.reproduce import brief_settings, readable_file
from ..study.comparison_table import apart
from .controls import HIDDEN
from .ordering import position_span
from .pins import NOW
from .state import GIVEN, WORST
from .subjects import TensorsSubject

if TYPE_CHECKING:
    from ..report.documents import ChannelReport
    from ..sources.base import TensorRecord
    from .kit import Kit
    from .pins import Pin
    from .state import Intent
    from .subjects import Subject
    from .view import PanelView

_MOST_NAMES = 64  # of channels, written out
_NATURAL = '''\
def by_number(name):  # filter_10 comes after filter_9
    parts = re.split(r"(\\d{1,18})", name)
    return [(int(part), 0, "") if at % 2 else (-1, 1, part.casefold()) for at, part in enumerate(parts)]
'''


def code_of(view: PanelView, subject: Subject) -> str:
    """Python source; running it gives ``report`` and, rows as in view, ``table``.

    A tensor that was not read from a file is the variable ``tensor``, which is named in a comment. Parameters as stored
    in a file are what ``analyze`` takes for its record where it is told no setting. With a baseline,
    ``comparison`` puts the pins beside the report. Raises QuantValueError where the state in view has no result.
    """
    report = view.current()
    script = _Script(subject)
    script.add_report("report", report, view.intent)
    pins = [] if view.baseline is None else [pin for pin in view.pins if _comparable(pin.report, report)]
    _add_comparison(script, pins)
    explained = [f"explanation = report.explain({view.channel!a})"] if view.row is not None else []
    rows = [*explained, *_rows(view), "table"]
    if any("by_number" in row for row in rows):
        script.imports.insert(0, "import re")
        rows.insert(0, _NATURAL)
    return "\n\n".join(["\n".join(script.imports), *script.blocks, "\n".join(rows)]) + "\n"


class _Script:
    """Statements that read tensors and report on them; each tensor is read once."""

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self._variables: dict[str, str] = {}
        self.imports = ["import perchq_widget as pq"]
        self.blocks: list[str] = []

    def add_report(self, variable: str, report: ChannelReport, intent: Intent) -> None:
        """``variable`` becomes the report of that intent."""
        if report.kind != "tensor":
            self._add_lines(variable, report)
            return
        assert isinstance(self._subject, TensorsSubject)
        record = self._subject.record(intent.tensor)
        tensor, usual = self._tensor(record, report)
        options: dict[str, Any] = {"ch_axis": report.study.ch_axis, "name": report.name}
        options = {name: value for name, value in options.items() if value != usual[name]}
        names = self._channel_names(report)
        first = tensor + (", channel_names=channel_names" if names else "")
        arguments = {**self._settings(record, report, intent), **options}
        self.blocks.append("\n".join([*names, f"{variable} = {call('pq.analyze', first, arguments)}"]))

    def _settings(self, record: TensorRecord, report: ChannelReport, intent: Intent) -> dict[str, Any]:
        """The arguments that choose parameters; of a quantized record at least one, else analyze takes the stored."""
        if intent.as_stored:
            return {}
        brief = brief_settings(report.scheme)
        return brief if brief or not record.quantized else {"dtype": report.scheme.dtype}

    def _add_lines(self, variable: str, report: ChannelReport) -> None:
        scheme, lines = report.scheme, report.lines
        given: dict[str, tuple[object, object]] = {
            "mode": (report.kind, "ranges"), "dtype": (scheme.dtype, "qint8"), "scheme": (scheme.scheme, "affine"),
            "reduce_range": (scheme.reduce_range, False), "convention": (scheme.convention, "calculator"),
            "tensor_name": (report.name, "tensor"), "ch_axis": (report.study.ch_axis, 0),
        }  # fmt: skip
        arguments = {name: value for name, (value, usual) in given.items() if value != usual}
        assert lines is not None
        text = f"{variable}_lines"
        self.blocks.append(f"{text} = {text_block(lines)}\n{variable} = {call('pq.calculate', text, arguments)}")

    def _tensor(self, record: TensorRecord, report: ChannelReport) -> tuple[str, dict[str, Any]]:
        """The variable of a tensor, and the name and axis that ``analyze`` takes for it if it is told none."""
        file = readable_file(record.source)
        if record.name not in self._variables:
            n = len(self._variables)
            self._variables[record.name] = variable = "tensor" if n == 0 else f"tensor_{n + 1}"
            about = f"{record.name}, {report.study.tensor_dtype}, shape {report.study.shape}"
            opened = f"{variable} = pq.open_source({file!a})[{record.name!a}]" if file is not None else ""
            what = "the record of what show() was given" if record.quantized else "the tensor as show() was given it"
            self.blocks.append(opened if opened else comment(f"{variable}: {what}: {about}"))
        variable = self._variables[record.name]
        if file is not None or record.quantized:
            return variable, {"name": record.name, "ch_axis": record.ch_axis}
        return variable, {"name": "tensor", "ch_axis": 0}

    def _channel_names(self, report: ChannelReport) -> list[str]:
        """Names that were given, as far as one would read them; above that they are a variable as the tensor is."""
        channels = report.study.channels
        if channels == [str(index) for index in range(len(channels))]:
            return []
        if len(channels) <= _MOST_NAMES:
            return [f"channel_names = {channels!a}"]
        return [comment(f"channel_names: the {len(channels)} names as show() was given them")]


def _comparable(one: ChannelReport, other: ChannelReport) -> bool:
    return one.study.ch_axis == other.study.ch_axis and one.study.channels == other.study.channels


def _add_comparison(script: _Script, pins: list[Pin]) -> None:
    if not pins:
        return
    variables = [f"pinned_{number}" for number in range(1, len(pins) + 1)]
    for variable, pin in zip(variables, pins, strict=True):
        script.add_report(variable, pin.report, pin.intent)
    names = {"names": apart([*(pin.name for pin in pins), NOW])}
    script.blocks.append(f"comparison = {call('pq.compare', ', '.join([*variables, 'report']), names)}")


def _rows(view: PanelView) -> list[str]:
    """Statements that filter and sort ``table`` as the view does."""
    intent, rows = view.intent, ["table = report.table"]
    if intent.finding is not None and intent.tensor is None:  # what the rules say of lines is in no column
        numbers = sorted(view.order)
        rows.append(f"table = table.iloc[{list(numbers)}]  {comment(f'rows in view, with {intent.finding}')}")
    else:
        rows += _filters(intent)
    return [*rows, *_sorting(intent)]


def _filters(intent: Intent) -> list[str]:
    rows = []
    if intent.find.strip():
        found, span = f"{intent.find.strip().casefold()!a} in name.casefold()", position_span(intent.find)
        if span is not None:
            within = f"{span[0]} <= row <= {span[1]}"
            rows.append(f'found = [{found} or {within} for row, name in enumerate(table["channel"])]')
        else:
            rows.append(f'found = [{found} for name in table["channel"]]')
        rows.append("table = table.loc[found]")
    if intent.finding is not None:
        rows.append(f'found = [{intent.finding!a} in names.split("; ") for names in table["findings"]]')
        rows.append("table = table.loc[found]")
    return rows


def _sorting(intent: Intent) -> list[str]:
    column = "sqnr_db" if intent.sort == WORST else intent.sort
    rows = []
    if column == "channel" and intent.tensor is None:
        rows.append('numbers = [by_number(name) for name in table["channel"]]')
        rows.append("table = table.iloc[sorted(range(len(table)), key=numbers.__getitem__)]")
    elif column not in (GIVEN, "channel"):
        rows.append(f'table = table.sort_values({column!a}, kind="stable")')
    return [*rows, "table = table.iloc[::-1]"] if intent.descending else rows


class CodeFold:
    """The code, ready to be copied; made when it is first asked for, and anew while it is open."""

    def __init__(self, kit: Kit, make: Callable[[PanelView], str]) -> None:
        self._kit, self._make = kit, make
        self._view: PanelView | None = None
        self.text: Any = None
        self.toggle = kit.button(
            self._turn, description="Show code", icon="code", tooltip="The API calls that give this view, to be copied"
        )
        self.widget = kit.column([self.toggle], "perchq-code")

    @property
    def open(self) -> bool:
        """Whether the code is in sight."""
        return self.text is not None and HIDDEN not in self.text._dom_classes

    def apply(self, view: PanelView) -> None:
        """Follow the view while the code is in sight."""
        self._view = view
        if self.open:
            self._write()

    def _turn(self) -> None:
        if self.text is None:
            self.text = w.Textarea(
                description="Code", rows=14, tooltip="Select all and copy", layout=w.Layout(width="100%")
            )
            self.widget.children = [self.toggle, self.text]
        else:
            (self.text.add_class if self.open else self.text.remove_class)(HIDDEN)
        self.toggle.description = "Hide code" if self.open else "Show code"
        if self.open:
            self._write()

    def _write(self) -> None:
        if self._view is None or not self._view.complete:
            return  # a control is moving; the view at rest follows
        try:
            code = self._make(self._view)
        except QuantError as error:
            code = comment(str(error))
        if self.text.value != code:
            self.text.value = code
