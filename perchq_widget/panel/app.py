"""QuantPanel: builds the parts, applies the difference between two views, and closes all that it made."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import ipywidgets as w

from ..core.errors import LinesError
from ..report.text import clean_name, escape
from ..study.channels import STORED_QPARAMS
from .as_code import CodeFold, code_of
from .as_stored import StoredMode
from .bakeoff import BakeOff
from .comparison import ConventionTable
from .comparisons import Comparisons
from .controls import Controls
from .copying import table_text
from .details import Banner, Explain, Findings, Tiles
from .error_curve import ErrorCurve
from .exports import ExportRow
from .histogram_chart import HistogramChart
from .inputs import LinesInput
from .kit import Kit
from .lifetime import close_tree
from .moves import SCHEME_NAMES
from .naming import names_html
from .number_line import NumberLine
from .opening import opened
from .ordering import same_look
from .overview import OverviewChart
from .pickers import ChannelSelector, LayerPicker
from .pin_board import PinBoard
from .presets import PresetPicker
from .range_chart import RangeChart
from .reading import UnreadableTensorError
from .state import INTENT_NAMES, PanelState, apply_options
from .static import StaticCopy, publish
from .style import sheet
from .table import TableView
from .timing import LatestWins
from .view import PanelView, resolve

if TYPE_CHECKING:
    from ..report.documents import ChannelReport
    from .subjects import Subject

_CLOSED = "This panel is closed; show() opens another one."
_LOOK = ("channel", "sort", "descending", "page", "find", "finding")
_STAYS = ("lines", "mode", "tensor", "tensor_name", "baseline", "as_stored")
REST_S = 0.5  # without a move, after which what the moves left out is computed
_LONG = 2000  # lines whose calculation takes long enough to say so


def show(obj: object = None, **options: Any) -> QuantPanel:
    """Open the panel.

    ``obj`` is None for the calculator with its example, lines as :func:`perchq_widget.calculate` takes them, an array
    or tensor, or a mapping, module or model file for a layer picker. ``options`` are the traits of
    :class:`~perchq_widget.panel.state.PanelState`, and for tensors ``channel_names``.

    Raises QuantTypeError for an unknown option, naming the nearest, and QuantError for settings that are not allowed
    together or a tensor that cannot be analysed; once the panel is open it shows such reasons beside their control.
    Nothing is displayed before the panel is the last expression of a cell or goes through ``display``.
    """
    state, subject = opened(obj, options)
    apply_options(state, options)
    # Bad lines are the panel's to show, and so is one of many tensors that cannot be read; a refused setting or tensor
    # is the caller's error.
    theirs = (LinesError, UnreadableTensorError) if len(subject.tensors) > 1 else (LinesError,)
    with suppress(*theirs):
        subject.report(state.intent())
    return QuantPanel(state, subject)


class QuantPanel(Comparisons, w.VBox):
    """The live panel: ``state`` holds what the user wants, ``report`` what follows from it.

    Setting a trait of ``state`` is the same as moving its control. Inside a running event loop the panel answers
    when the burst of changes is over; ``report`` answers at once, ``settle()`` draws and completes it too. An error
    that is not the input's own is raised there, and said in the panel; until it is gone nothing can be exported.
    """

    def __init__(self, state: PanelState, subject: Subject) -> None:
        super().__init__()
        self.state = state
        self._subject = subject
        self._view: PanelView | None = None
        self._drawn: PanelView | None = None
        self._opened_with = {name: getattr(state, name) for name in INTENT_NAMES}
        self._stored = StoredMode(state, subject)
        self._static = StaticCopy()
        self._build()
        self._pace = LatestWins(self._refresh)
        self._rest = LatestWins(self._finish, patient_s=REST_S, eager=False)
        state.observe(self._changed, list(INTENT_NAMES))
        try:
            self._refresh()
        except BaseException:
            self.close()
            raise

    @property
    def report(self) -> ChannelReport | None:
        """The report in view. It is the result of ``state``, except while the panel shows an error.

        Then ``view.stale`` is True and this is the last result, the one that the panel goes on showing; None if the
        input has never given one. The panel's own exports refuse a result that is not current.
        """
        return self._resolved().report

    @property
    def view(self) -> PanelView:
        """What the parts draw, up to date with ``state`` and complete."""
        self.settle()
        assert self._view is not None
        return self._view

    def settle(self) -> None:
        """Evaluate and draw what is pending, here and now, and what is otherwise left for when nothing moves."""
        self._pace.settle()
        self._rest.settle()

    def _resolved(self) -> PanelView:
        """The view of the state as it is now; drawing it may be pending."""
        intent, view = self.state.intent(), self._view
        if view is None or view.intent != intent or view.pins is not self.pins:
            view = self._view = resolve(intent, self._subject, view, self.pins)
        return view

    def use(self, preset: str) -> None:
        """Set all settings of the scheme to those of a deployment target, such as "vllm-w4a16" or "torch-x86-weights".

        Raises QuantValueError for a name that is none, naming the nearest. Where the tensor does not fit the preset,
        the panel says so beside the control, as for any other settings.
        """
        self.presets.use(preset)

    def as_code(self) -> str:
        """The API calls that give the current view, as Python source; running them gives the same table."""
        return code_of(self.view, self._subject)

    def table_text(self, kind: str = "csv") -> str:
        """The rows that the table's filter lets pass, sorted as there: all columns, every digit.

        ``kind`` is "csv", the table's columns as ``report.to_csv`` writes them, or "markdown". Raises QuantValueError
        for another kind, and while the panel shows an error instead of a result.
        """
        return table_text(self.view, kind)

    def snapshot(self) -> None:
        """Refresh the static copy in the notebook: what conversions to HTML, Markdown and PDF show.

        Raises QuantValueError while the panel shows an error instead of the result of its settings.
        """
        self._current()
        self._static.refresh(self.view)

    def close(self) -> None:
        """Close every widget that the panel made, with their layouts and styles."""
        if self.comm is None or not hasattr(self, "_pace"):
            return  # a second call, or the end of a panel that never came to be
        self._pace.cancel()
        self._rest.cancel()
        for part in (self.comparison, self.bakeoff):
            if part is not None:
                part.work.cancel()
        self.state.unobserve(self._changed, list(INTENT_NAMES))
        baked = () if self.bakeoff is None else self.bakeoff.rows
        curve = () if self.curve is None else self.curve.parts
        hidden = (*self.table.rows, *self.table.copy.parts, *self.comparison.rows, *baked, *curve, *self.board.parts)
        hidden += (self.controls.compare,)  # which gets its place when the settings are first drawn
        close_tree(self, super().close, extra=hidden)

    def __repr__(self) -> str:
        if self.comm is None:
            return "<QuantPanel, closed>"
        name = "no result" if self._view is None or self._view.report is None else self._view.report.caption
        return f"<QuantPanel {clean_name(name)}>"

    def _build(self) -> None:
        state, kind = self.state, self._subject.kind
        self._kit = kit = Kit()
        self.heading, self.tiles = kit.html(), Tiles(kit)
        self.input = LinesInput(kit, state) if kind == "calculator" else None
        names = self._subject.tensors
        self.picker = LayerPicker(kit, state, names, self._subject.title) if len(names) > 1 else None
        self.controls = Controls(kit, state, kind, self.picker, lambda: self.board.attempt(self.compare_stored))
        self.banner = Banner(kit, [*self.controls.names, *(["lines"] if self.input is not None else [])])
        self.controls.reset.on_click(lambda _button: self.reset())
        self.comparison = ConventionTable(kit, state, self._subject)
        self.controls.compare.on_click(lambda _button: self._compare())
        self.selector = ChannelSelector(kit, state)
        tensor = kind == "tensor"
        self.chart = HistogramChart(kit, self._set_clip) if tensor else NumberLine(kit)
        self.overview = OverviewChart(kit, self._select_row)
        self.presets = PresetPicker(kit, state, kind)
        self.curve = ErrorCurve(kit, self._set_clip) if tensor else None
        self.ranges = RangeChart(kit, self._select_row) if tensor else None
        self.bakeoff = BakeOff(kit, state, self._bake_off) if tensor else None
        self.code = CodeFold(kit, lambda view: code_of(view, self._subject))
        self.board = PinBoard(kit, self, [] if self.bakeoff is None else [self.bakeoff.button])
        self.table, self.explain, self.findings = TableView(kit, state), Explain(kit), Findings(kit)
        self.exports = ExportRow(kit, self._current, self.snapshot)
        self.children = [kit.html(value=sheet(self._static.css_class) + names_html()), *self._arranged()]
        self.add_class("perchq-panel")
        self.add_class(f"perchq-live-{self._static.css_class}")

    def _arranged(self) -> list[Any]:
        column = self._kit.column
        drawn = (self.chart, self.curve, self.overview, self.ranges)
        charts = column([part.widget for part in drawn if part is not None], "perchq-charts")
        side = [part.widget for part in (self.input, self.presets, self.controls, self.code) if part is not None]
        above = [part.widget for part in (self.tiles, self.board, self.bakeoff, self.comparison) if part is not None]
        below = [part.widget for part in (self.selector, self.table)]
        below += [self.explain.widget, self.findings.widget, self.exports.widget]
        parts = [column(side, "perchq-side"), column([*above, charts, *below], "perchq-main")]
        body = column(parts, "perchq-body")
        return [self.heading, self.banner.widget, body]

    def reset(self) -> None:
        """Back to the settings that the panel opened with; text, mode and layer stay, and the layer's own axis."""
        settings = {name: value for name, value in self._opened_with.items() if name not in _STAYS}
        if self.state.tensor in self._subject.tensors:
            settings["ch_axis"] = self._subject.axis(self.state.tensor)
        self._stored.reset({name: settings.pop(name) for name in SCHEME_NAMES})
        for name, value in settings.items():
            setattr(self.state, name, value)

    def _changed(self, change: Any) -> None:
        name, new = change["name"], change["new"]
        if name == "tensor" and new in self._subject.tensors:
            self._stored.pick(new)
            self._pin_stored_again()
        elif name == "as_stored":
            self._stored.switched()
        slow = name not in _LOOK and self.state.lines.count("\n") > _LONG
        self._pace.request(patient=slow and name == "lines")
        if slow and self._pace.pending:
            self.banner.computing()

    def _select_row(self, row: int) -> None:
        view = self._view
        if view is not None and row < len(view.names):
            self.state.channel = view.names[row]

    def _set_clip(self, ratio: float) -> None:
        if self.state.channel is None and self._view is not None and self._view.row is not None:
            self.state.channel = self._view.channel  # another one may be the worst now, but this one's line is held
        self.state.clip_ratio = ratio

    def _refresh(self) -> None:
        drawn, self._drawn = self._drawn, None  # after a failure half way, everything is drawn anew
        try:
            view = self._resolved()
            self._apply(view, drawn)
        except Exception as error:
            self.banner.failed(error)
            raise
        self._drawn = view
        if not view.complete:
            self._rest.request(patient=True)

    def _finish(self) -> None:
        """Nothing has moved for a while: compute and draw what the report still lacks."""
        view = self._view
        if view is None or view.report is None or view.complete:
            return
        try:
            self._subject.rest(view.report)
        except Exception as error:
            self.banner.failed(error)
            raise
        self._view = resolve(view.intent, self._subject, view, view.pins)
        self._pace.request()
        self._pace.settle()

    def _apply(self, view: PanelView, last: PanelView | None) -> None:
        data = last is None or last.report is not view.report or last.exact != view.exact
        texts = data or last is None or last.table is not view.table
        picked = data or last is None or last.row != view.row
        look = texts or picked or last is None or last.page != view.page or last.order != view.order
        look = look or last is None or not same_look(last.intent, view.intent)
        look = look or last is None or last.baseline is not view.baseline
        charts = data or last is None or last.baseline is not view.baseline
        # What one looks at goes first: everything below travels to the browser behind it.
        if picked or charts:
            self.overview.apply(view, data=charts)  # the largest of them, which takes the page longest
            self.chart.apply(view)
        if look:
            self.table.apply(view)
        if picked or charts:
            if self.curve is not None:
                self.curve.apply(view)
            if self.ranges is not None:
                self.ranges.apply(view, data=charts)
        if texts:
            self._apply_texts(view)
        if picked or texts:
            self.explain.apply(view)
        around = (self.controls, self.banner, self.input, self.presets, self.board, self.bakeoff, self.code)
        for each in (*around, self.selector, self.exports, self.comparison):
            if each is not None:
                each.apply(view)

    def _apply_texts(self, view: PanelView) -> None:
        if view.report is not None:
            self.heading.value = _heading(view.report)
        for part in (self.tiles, self.findings):
            part.apply(view)

    def _shown(self) -> PanelView:
        """What the static copy shows: the view, or the last one while there is a failure, which the banner tells."""
        with suppress(Exception):
            self.settle()
        assert self._view is not None
        return self._view

    def _repr_mimebundle_(self, **_options: Any) -> dict[str, Any]:
        """The live view, and beside it the static copy for whoever cannot draw widgets."""
        return {**self._live(), **self._static.bundle(self._shown())}

    def _ipython_display_(self, **_options: Any) -> None:
        """Show the live view and, as an output of its own, the static copy that steps back while the view is drawn.

        Two outputs, because nbconvert prefers a live view over all else in an output once the notebook stores widget
        state, and a copy that can be refreshed without drawing the view anew needs its own place.
        """
        if self.comm is None:
            publish({"text/plain": _CLOSED})
            return
        # What cannot draw the view shows the copy alone, so the first output says nothing in words.
        self._static.publish({**self._live(), "text/plain": ""}, self._shown())

    def _live(self) -> dict[str, Any]:
        view = super()._repr_mimebundle_()
        return view if isinstance(view, dict) else view[0]


def _heading(report: ChannelReport) -> str:
    estimate = "" if report.exact else ' · <b>estimate</b> while the control moves, exact when it rests'
    stored = f" · <b>{STORED_QPARAMS}</b>" if report.study.range_from == STORED_QPARAMS else ""
    return f'<h3>{escape(report.name)}</h3><div class="perchq-caption">{escape(report.caption)}{stored}{estimate}</div>'
