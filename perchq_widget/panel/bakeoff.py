"""All observers on the tensor in view, in one table with a small chart each; a click applies one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from math import isnan
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.observers import observer_of
from ..report.summary import decibels
from ..report.text import escape, short_number, shorten
from ..study.channels import STORED_QPARAMS
from ..study.live import TensorFacts
from .baking import Baked, bake, baked_stored, leading, observers_for, refusal, share_along
from .menus import settings_of
from .moves import scheme_of
from .pins import AS_STORED
from .rows_table import RowsTable

if TYPE_CHECKING:
    import pandas as pd

    from .kit import Kit
    from .state import Intent, PanelState
    from .view import PanelView

_HEADS = ("", "observer", "overall SQNR", "worst channel", "median", "clipped", "best or equal", "time",
          "where it is best")  # fmt: skip
_RUNS = 96  # bars of a small chart: a pixel or two each
_HEIGHT = 20
OUTDATED = "The settings have changed since: press Compare observers again."


class BakeOff(RowsTable[Baked]):
    """Filled observer by observer while the panel goes on listening; emptied when other settings change.

    ``button`` opens it; whoever arranges the panel says where it stands.
    """

    trait, outdated, css_class = "observer", OUTDATED, "perchq-bakeoff"

    def __init__(self, kit: Kit, state: PanelState, act: Callable[[], None]) -> None:
        super().__init__(kit, state)
        self.button = kit.button(
            act, description="Compare observers", icon="trophy",
            tooltip="What every observer would make of this tensor, all other settings alike",
        )
        self._names: Sequence[str] = ()

    @property
    def frame(self) -> pd.DataFrame:
        """The outcomes as a table: see :meth:`~perchq_widget.panel.app.QuantPanel.compare_observers`."""
        import pandas as pd

        names = ["sqnr_db", "worst_channel", "worst_sqnr_db", "median_sqnr_db", "clipped_pct", "channels_best",
                 "seconds", "refused"]  # fmt: skip
        counts = dict(zip([each.name for each in self.able], self._counts(), strict=True))
        rows = [
            {"observer": each.name, **{name: getattr(each, name, counts.get(each.name, 0)) for name in names}}
            for each in self.outcomes
        ]
        return pd.DataFrame(rows, columns=["observer", *names])

    @property
    def winners(self) -> pd.Series[Any]:
        """Per channel the observer with the highest SQNR, the first of equals; "" for a channel without a value.

        Empty before a bake-off.
        """
        import pandas as pd

        able = self.able
        leads = leading(able) if able else np.zeros((0, 0), bool)
        names = [each.name for each in able]
        best = [names[np.argmax(column)] if column.any() else "" for column in leads.T]
        index = pd.Index(self._names if able else [], name="channel")
        return pd.Series(best, index=index, name="observer", dtype=object)

    def _counts(self) -> list[int]:
        """For each of those that can be, the channels where no other is better."""
        able = self.able
        return [int(count) for count in leading(able).sum(axis=1)] if able else []

    def _steps(self, view: PanelView) -> Iterator[None]:
        self._names = view.names
        return self._try(self._work(view, observers_for(view.intent.observer)))

    def value_of(self, intent: Intent) -> str:
        """The observer in use, or the row of the parameters in the file."""
        return AS_STORED if intent.as_stored else intent.observer

    def use(self, name: str) -> None:
        """Take an observer's parameters, or those in the file."""
        if name == AS_STORED:
            self._state.as_stored = True
        else:
            super().use(name)

    def _work(self, view: PanelView, names: tuple[str, ...]) -> Iterator[None]:
        assert view.report is not None
        study, scheme = view.report.study, scheme_of(settings_of(view.intent))
        stored = baked_stored(view)
        self.outcomes = (*stored, *(Baked(name, refused=why) for name in names if (why := refusal(scheme, name))))
        assert study.array is not None
        facts = TensorFacts(study.array)
        waiting = [name for name in names if not refusal(scheme, name)]
        order = [AS_STORED, *names]
        for at, name in enumerate(waiting):
            self._say(f"Trying {escape(name)} … {at} of {len(waiting)}")
            self._draw()
            yield
            self._add(bake(study, view.names, replace(scheme, observer=name), facts), order)
        self._say(_verdict(self.able, self._counts()))
        self._draw()

    def _table_html(self, able: list[Baked]) -> str:
        return table_html(able, self._shown)


def _verdict(able: list[Baked], counts: list[int]) -> str:
    """Which ones lead, in words."""
    if not able:
        return "No observer has these settings."
    top, most = max(each.sqnr_db for each in able), max(counts)
    highest = [each.name for each in able if each.sqnr_db == top]
    leads = [each.name for each, count in zip(able, counts, strict=True) if count == most]
    n = int((~np.isnan(able[0].by_channel)).sum())
    return (
        f"Highest overall SQNR: {_listed(highest)}, {escape(decibels(top))}. Best or equal best of the most channels: "
        f"{_listed(leads)}, {most:,} of {n:,}. Click a row to use it."
    )


def _listed(names: list[str]) -> str:
    return " and ".join(f"<b>{escape(name)}</b>" for name in names)


def table_html(able: list[Baked], in_use: str) -> str:
    """The observers that the settings have, one a row, each with a path of where along the channels it is best."""
    leads, top = leading(able), max(each.sqnr_db for each in able)
    n = int((~np.isnan(able[0].by_channel)).sum())
    charts = _charts([share_along(each, _RUNS) for each in leads])
    head = "".join(f'<th scope="col">{text}</th>' for text in _HEADS)
    rows = "".join(
        _row_html(each, (int(mine.sum()), n), chart, each.name == in_use, each.sqnr_db == top)
        for each, mine, chart in zip(able, leads, charts, strict=True)
    )
    key = (
        '<caption><b class="perchq-pick">◆</b> in use · ★ highest overall SQNR · a channel of which several are '
        "equally good counts for each of them</caption>"
    )
    return (
        f'<table class="perchq-compared perchq-baked">{key}<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'
    )


def _row_html(baked: Baked, share: tuple[int, int], chart: str, in_use: bool, leads: bool) -> str:
    mark, css_class = ("◆", ' class="selected"') if in_use else ("", "")
    n_best, n = share
    title = STORED_QPARAMS if baked.name == AS_STORED else observer_of(baked.name).title
    worst = f"{decibels(baked.worst_sqnr_db)}<br><small>{escape(shorten(baked.worst_channel, 18))}</small>"
    return (
        f'<tr{css_class}><td>{mark}</td><th scope="row">{escape(baked.name)}<br><small>{escape(title)}</small></th>'
        f"<td>{'★ ' if leads else ''}{escape(decibels(baked.sqnr_db))}</td><td>{worst}</td>"
        f"<td>{escape(decibels(baked.median_sqnr_db))}</td><td>{short_number(baked.clipped_pct, 3)} %</td>"
        f"<td>{n_best:,}<br><small>{short_number(100 * n_best / max(n, 1), 3)} %</small></td>"
        f"<td>{'' if isnan(baked.seconds) else f'{1000 * baked.seconds:,.0f} ms'}</td><td>{chart}</td></tr>"
    )


def _charts(shares: list[Any]) -> list[str]:
    """One path each: the share of neighbouring channels led, from the first channel to the last, on one scale."""
    top = max(float(each.max()) for each in shares)
    return [_chart(each / top if top else each) for each in shares]


def _chart(heights: Any) -> str:
    """Drawn for the eye alone: the number of channels stands beside it."""
    path = "".join(f"V{_HEIGHT * (1 - height):.4g}h1" for height in heights.tolist())
    return (
        f'<svg viewBox="0 0 {heights.size} {_HEIGHT}" preserveAspectRatio="none" aria-hidden="true">'
        f'<path d="M0 {_HEIGHT}{path}V{_HEIGHT}z"/></svg>'
    )
