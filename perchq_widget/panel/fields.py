"""The inputs of the settings and what they write into the state. An input is made when its setting is first shown."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import ipywidgets as w

from ..core.errors import QuantError
from ..core.group_sizes import group_size_of
from ..core.schemes import SCHEMES
from .clip_lines import offered
from .observing import with_parameters
from .state import MOST_AXES

if TYPE_CHECKING:
    from .kit import Kit
    from .state import PanelState

DIGITS = 6  # of a clip ratio that comes from the slider
_AXIS = re.compile(r"\s*[+-]?\d{1,2}\s*")
_TYPED: Mapping[str, Any] = {"continuous_update": False}
_RATIO: Mapping[str, Any] = {"min": 0.005, "max": 1.0, "step": 0.005, "value": 1.0}
_SCHEMES = {
    "affine": "Scheme affine: zero moves with a zero point",
    "symmetric": "Scheme symmetric: real zero stays at the middle code",
}
#: What an input is, if it is no dropdown. "parameters" belong to the observer, "ratio" is the clip ratio as a number.
_KINDS: Mapping[str, tuple[Any, Mapping[str, Any]]] = {
    "as_stored": (
        w.ToggleButtons,
        {
            "options": [("as stored", True), ("as chosen here", False)],
            "tooltips": [f"Parameters {text}" for text in ("that the file holds", "that the settings below choose")],
            "tooltip": None,
        },
    ),
    "tensor_name": (w.Text, {}),
    "ch_axis": (w.Text, _TYPED),
    "bits": (w.SelectionSlider, {"options": [("8 bits", 8)]}),
    "scheme": (w.ToggleButtons, {"tooltips": [_SCHEMES[each] for each in SCHEMES], "tooltip": None}),
    "group_size": (w.Text, {**_TYPED, "placeholder": "128 or 128x128"}),
    "reduce_range": (w.Checkbox, {"indent": True}),
    "narrow_range": (w.Checkbox, {"indent": True}),
    "parameters": (w.Text, _TYPED),
    "ratio": (w.BoundedFloatText, _RATIO),
    "clip_ratio": (w.FloatSlider, {**_RATIO, "readout": False, "description": ""}),
}


class Fields:
    """Makes inputs that write the state, except while they are set ``quietly``."""

    def __init__(self, kit: Kit, state: PanelState) -> None:
        self._kit, self._state = kit, state
        self._quiet = False
        self._put: float | None = None  # where the panel put the slider of the ratio, until somebody moves it
        self.made: dict[str, Any] = {}

    def make(self, name: str, title: str, tooltip: str) -> Any:
        """The input of a setting, with its label and what it is about."""
        kind, options = _KINDS.get(name, (w.Dropdown, {}))
        field = self._kit.field(kind, **{"description": title, "tooltip": tooltip, **options})
        write = self._writer(name)
        field.observe(lambda change: None if self._quiet else write(change["new"]), "value")
        if name == "clip_ratio":
            field.observe(self._note_put, "value")
        self.made[name] = field
        return field

    @contextmanager
    def quietly(self) -> Iterator[None]:
        """New options make a selection jump to its first entry before its value is set: not the user's doing."""
        self._quiet = True
        try:
            yield
        finally:
            self._quiet = False

    def _writer(self, name: str) -> Callable[[Any], None]:
        typed: dict[str, Callable[[Any], None]] = {
            "ch_axis": self._write_axis, "group_size": self._write_size, "parameters": self._write_parameters,
            "clip_ratio": self._write_slider,
        }
        return typed.get(name, partial(self._write, "clip_ratio" if name == "ratio" else name))

    def _write(self, name: str, value: object) -> None:
        if value is not None:
            setattr(self._state, name, value)

    def _note_put(self, change: Any) -> None:
        if self._quiet:
            self._put = change["new"]

    def _write_slider(self, ratio: float) -> None:
        """A slider that is put between two of its steps sends back the nearer one, which is nobody's wish."""
        ratio = round(ratio, DIGITS)  # it adds its steps up: 0.7999999999999998
        put, self._put = self._put, None
        if put is None or put != self._state.clip_ratio or abs(ratio - offered(put)) > 1e-9:
            self._state.clip_ratio = ratio

    def _write_axis(self, text: str) -> None:
        axis = int(text) if _AXIS.fullmatch(text) else MOST_AXES
        known = -MOST_AXES <= axis < MOST_AXES
        self._state.axis_text = None if known else text
        if known:
            self._state.ch_axis = axis

    def _write_size(self, text: str) -> None:
        try:
            size = group_size_of(text)
        except QuantError:
            size = None
        self._state.size_text = text if size is None else None
        if size is not None:
            self._state.group_size = size

    def _write_parameters(self, text: str) -> None:
        try:
            observer = with_parameters(self._state.observer, text)
        except QuantError:
            self._state.observer_text = text
        else:
            self._state.adopt({"observer": observer, "observer_text": None})
