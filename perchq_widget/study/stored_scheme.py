"""What one would have to choose to get a scheme like that of stored parameters."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from perchq_widget.core.schemes import QuantScheme

_SAME = ("dtype", "scheme", "granularity", "group_size", "convention")


def settings_like(scheme: QuantScheme) -> dict[str, Any]:
    """Arguments of ``analyze`` for the scheme of stored parameters, as far as a runtime's rule lets one choose them.

    The scale rule is the runtime's first. Of ranges of codes, only what narrow_range or reduce_range says is kept: a
    file may have any, and a rule its own. Whether the table allows the whole is for who uses them to ask.
    """
    settings: dict[str, Any] = {**{name: getattr(scheme, name) for name in _SAME}, "scale_rule": None}
    for flag in ("narrow_range", "reduce_range"):
        flags: dict[str, Any] = {flag: True}
        ends = scheme.quant_range if scheme.family == "integer" else None
        flagged = replace(scheme, quant_range=None, **flags)
        settings[flag] = ends is not None and (flagged.quant_min, flagged.quant_max) == ends
    return settings
