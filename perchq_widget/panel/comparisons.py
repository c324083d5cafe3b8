"""What a panel compares: states under names, conventions, observers. The panel itself inherits it."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ..core.errors import QuantError, QuantValueError
from .as_stored import stored_pin
from .menus import settings_of
from .pins import AS_STORED, Pin, check_name, compared, pin_named, pinned, with_pin

if TYPE_CHECKING:
    import pandas as pd

    from ..report.comparison import ReportComparison
    from ..report.documents import ChannelReport
    from .bakeoff import BakeOff
    from .comparison import ConventionTable
    from .state import PanelState
    from .subjects import Subject
    from .timing import LatestWins
    from .view import PanelView


class Comparisons:
    """The panel's names for comparing; needs its state, its view and the parts that show what came out."""

    state: PanelState
    comparison: ConventionTable
    bakeoff: BakeOff | None
    pins: tuple[Pin, ...] = ()
    comm: Any
    _subject: Subject
    _pace: LatestWins

    @property
    def view(self) -> PanelView:
        """What the parts draw, up to date with ``state`` and complete."""
        raise NotImplementedError

    def compare_conventions(self) -> pd.DataFrame:
        """Fill the table of conventions, here and now, and return it: what would differ for the data in view.

        One row per convention, the one in use first: codes_differ_pct against it, sqnr_db, gain_db, used_by, and
        ``refused``, the reason where a convention does not have these settings. Of tensors above four million
        elements evenly spaced slices are compared. The button does the same, convention by convention. Raises
        QuantValueError while the panel shows an error instead of a result, or parameters as stored in a file.
        """
        self._current()
        lacking = self.comparison.lacking(self.view)
        if lacking:
            raise QuantValueError(lacking)
        self._compare()
        self.comparison.work.settle()
        return self.comparison.frame

    def pin(self, name: str) -> None:
        """Keep the state in view under ``name``, up to four of them, as the baseline of comparisons from now on.

        A pin of that name is replaced. Raises QuantValueError for a fifth name, and while the panel shows an error
        instead of a result.
        """
        check_name(self.pins, name)
        self.pins = with_pin(self.pins, pinned(name, self.view.intent, self._current()))
        self.state.baseline = name
        self._pace.request()

    def unpin(self, name: str) -> None:
        """Forget the pin of that name; raises QuantValueError if there is none."""
        gone = pin_named(self.pins, name)
        self.pins = tuple(pin for pin in self.pins if pin is not gone)
        if self.state.baseline == name:
            self.state.baseline = None
        self._pace.request()

    def restore(self, name: str) -> None:
        """Go back to the settings of the pin of that name; tensor, axis and text stay.

        Of a pin of stored parameters, those of the tensor in view. Raises QuantValueError, also where there are none.
        """
        intent = pin_named(self.pins, name).intent
        if intent.as_stored:
            self.state.as_stored = True
            return
        typed = {"size_text": None, "observer_text": None}  # what was typed and is none goes
        self.state.put({**settings_of(intent), **typed, "as_stored": False})

    def compare_stored(self) -> None:
        """Show what is chosen here against what the tensor's file has: pin the latter, and compare with it.

        The pin is called "as stored" and becomes the baseline; as long as it is, it follows the tensor in view. While
        the parameters in view are the file's own, those of the same settings as chosen here take their place. Raises
        QuantError for a tensor that is not quantized in its file, for one that cannot be read, and for a fifth pin.
        """
        check_name(self.pins, AS_STORED)
        self.pins = with_pin(self.pins, stored_pin(self._subject, self.state.intent()))
        self.state.put({"baseline": AS_STORED, "as_stored": False})
        self._pace.request()

    def _pin_stored_again(self) -> None:
        """Let the pin of stored parameters follow the tensor in view while it is the baseline."""
        if self.state.baseline != AS_STORED or not any(pin.name == AS_STORED for pin in self.pins):
            return
        with suppress(QuantError):  # then it stays what it is, of another tensor, which the panel says
            self.pins = with_pin(self.pins, stored_pin(self._subject, self.state.intent()))

    def compare(self) -> ReportComparison:
        """All pins and the state in view ("now") side by side, each against the first pin.

        Raises QuantValueError without a pin, where they are not about the same channels, and while the panel shows an
        error instead of a result.
        """
        return compared(self.pins, self._current())

    def compare_observers(self) -> pd.DataFrame:
        """Fill the table of observers, here and now, and return it: what each would make of the tensor in view.

        One row per observer, each with its own parameters: sqnr_db, worst_channel, worst_sqnr_db, median_sqnr_db,
        clipped_pct, channels_best (those where no other is better), seconds, and ``refused``, the reason where the
        settings do not allow it; parameters as stored in the tensor's file have a row too, where they are in view or
        pinned. Who is best for each channel is then in ``panel.bakeoff.winners``. All values of the tensor
        are read for each. Raises QuantValueError for the calculator, whose lines are ranges already, and while the
        panel shows an error instead of a result.
        """
        if self.bakeoff is None:
            raise QuantValueError("observers take ranges from tensors, and these are lines: use show(tensor)")
        self._current()
        self._bake_off()
        self.bakeoff.work.settle()
        return self.bakeoff.frame

    def _compare(self) -> None:
        self.comparison.start(self.view)

    def _bake_off(self) -> None:
        if self.bakeoff is not None:
            self.bakeoff.start(self.view)

    def _current(self) -> ChannelReport:
        if self.comm is None:
            raise QuantValueError("this panel is closed; show() opens another one")
        return self.view.current()

