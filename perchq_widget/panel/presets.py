"""The picker of deployment targets: one choice sets all the settings of a scheme."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ipywidgets as w

from ..core.errors import QuantError, choose_from
from ..report.text import escape
from .controls import set_if_new
from .menus import settings_of
from .moves import scheme_of
from .targets import Preset, presets_for

if TYPE_CHECKING:
    from .kit import Kit
    from .state import Intent, PanelState
    from .view import PanelView

_HELP = "The settings that a runtime's own tool has by default, all at once; custom is any others"


class PresetPicker:
    """Chooses the settings of a deployment target, and tells whose the settings in use are."""

    def __init__(self, kit: Kit, state: PanelState, kind: str) -> None:
        self._state = state
        self._schemes = {each.scheme: each for each in presets_for(kind)}
        self.presets = {each.name: each for each in self._schemes.values()}
        options = [("custom", ""), *((each.title, each.name) for each in self.presets.values())]
        self.field = kit.field(w.Dropdown, description="Preset", tooltip=_HELP, options=options)
        self.note = kit.html("perchq-note")
        self._shown = ""
        self.field.observe(lambda change: self._picked(change["new"]), "value")
        self.widget = kit.column([self.field, self.note], "perchq-field perchq-wide")

    def apply(self, view: PanelView) -> None:
        """Show which target the settings are those of, if any."""
        preset = self.preset_of(view.intent)
        self._shown = "" if preset is None else preset.name
        set_if_new(self.field, "value", self._shown)
        set_if_new(self.note, "value", "" if preset is None else _about(preset))

    def preset_of(self, intent: Intent) -> Preset | None:
        """The preset whose settings are those of ``intent``, None if they are nobody's, or a file's."""
        if intent.as_stored:
            return None
        try:
            return self._schemes.get(scheme_of(settings_of(intent)))
        except QuantError:  # a value that no scheme can have
            return None

    def use(self, name: str) -> None:
        """Set all settings of the scheme to those of a preset; raises QuantValueError for a name that is none here."""
        preset = self.presets[choose_from("preset", name, self.presets)]
        # What was typed and could not be read goes with the settings that it was meant for.
        self._state.adopt({**preset.settings, "size_text": None, "observer_text": None})
        self._state.as_stored = False  # also where the settings were those of the file

    def _picked(self, name: str) -> None:
        if name and name != self._shown:
            self.use(name)
        elif name != self._shown:
            self.field.value = self._shown  # custom is what settings become, not what they can be set to


def _about(preset: Preset) -> str:
    return f"{escape(preset.why)} <span title=\"{escape(preset.source)}\">Source: {escape(preset.source)}.</span>"
