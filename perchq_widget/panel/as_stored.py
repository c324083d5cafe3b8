"""Parameters as stored in the file, or as chosen here: which of both is in view, and the settings of each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..core.errors import QuantError, QuantValueError
from ..core.schemes import QuantScheme
from ..study.stored_scheme import settings_like
from .menus import refusal_of
from .moves import SCHEME_NAMES
from .pins import AS_STORED, Pin, pinned
from .subjects import TensorsSubject

if TYPE_CHECKING:
    from .state import Intent, PanelState
    from .subjects import Subject

WAY_OUT = "set Parameters to 'as chosen here'"


class StoredMode:
    """Keeps a state's settings those that the file's parameters stand for, for as long as these are in view.

    The settings that were chosen here come back for a tensor that is not quantized, and where those of the file cannot
    be chosen. ``wanted`` remembers what the user looks at, for the next quantized tensor.
    """

    def __init__(self, state: PanelState, subject: Subject) -> None:
        self._state, self._subject = state, subject
        self.wanted = subject.prefers_stored
        self._own = self._settings()
        self._busy = False
        if state.as_stored:
            self._put(self._stored(state.tensor))

    def pick(self, tensor: str) -> None:
        """What follows from another tensor in view: its axis, and its stored parameters or the settings chosen here."""
        self._keep_own()
        axis = {"axis_text": None, "ch_axis": self._subject.axis(tensor)}
        self._put({**axis, **self._wanted_for(tensor)})

    def reset(self, own: Mapping[str, Any]) -> None:
        """Back to those settings and to what is looked at first."""
        self.wanted, self._own = self._subject.prefers_stored, dict(own)
        self._put({"size_text": None, "observer_text": None, **self._wanted_for(self._state.tensor)})

    def switched(self) -> None:
        """Somebody turned ``as_stored`` on or off, or moved a setting, which turns it off."""
        if self._busy:
            return
        self.wanted = self._state.as_stored
        if self.wanted:
            self._own = self._settings()
            self._put(self._stored(self._state.tensor))
        elif self._settings() == {**self._settings(), **self._stored(self._state.tensor)} and self._refused():
            self._put(self._own)  # nothing was moved, and what is stored can only be read

    def _wanted_for(self, tensor: str | None) -> dict[str, Any]:
        record = self._subject.known(tensor)
        stored = self.wanted and record is not None and record.quantized and record.not_applicable is None
        return {**self._own, **(self._stored(tensor) if stored else {}), "as_stored": stored}

    def _stored(self, tensor: str | None) -> dict[str, Any]:
        """The settings that the file's parameters stand for; none where they cannot be read, which the view says."""
        try:
            scheme = self._subject.stored_scheme(tensor)
        except QuantError:
            return {}
        return {} if scheme is None else settings_from(scheme)

    def _keep_own(self) -> None:
        if not self._state.as_stored:
            self._own = self._settings()

    def _settings(self) -> dict[str, Any]:
        return {name: getattr(self._state, name) for name in SCHEME_NAMES}

    def _refused(self) -> bool:
        try:
            return refusal_of(self._settings()) is not None
        except QuantError:
            return True

    def _put(self, settings: Mapping[str, Any]) -> None:
        with self._busily():
            self._state.put(settings)

    @contextmanager
    def _busily(self) -> Iterator[None]:
        self._busy = True
        try:
            yield
        finally:
            self._busy = False


def settings_from(scheme: QuantScheme) -> dict[str, Any]:
    """All settings of a panel for stored parameters, those of a range as they are where nothing is chosen."""
    return {"observer": scheme.observer, "clip_ratio": scheme.clip_ratio, **settings_like(scheme)}


def stored_pin(subject: Subject, intent: Intent) -> Pin:
    """What the file's own parameters make of the tensor of ``intent``; raises QuantError where there are none."""
    scheme = subject.stored_scheme(intent.tensor)
    if scheme is None or not isinstance(subject, TensorsSubject):
        about = "these are lines" if intent.tensor is None else f"the file holds no codes of {intent.tensor!r:.80}"
        raise QuantValueError(f"{about}: there are no stored parameters to compare with")
    stored = replace(intent, as_stored=True, **settings_from(scheme))
    return pinned(AS_STORED, stored, subject.fresh_report(stored))
