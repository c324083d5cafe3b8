"""Panels without a browser: comms that only record, and a count of what stays alive."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import comm
import pytest
from comm.base_comm import BaseComm
from ipywidgets.widgets.widget import _instances

import perchq_widget as pq
from perchq_widget.panel.app import QuantPanel


class RecordingComm(BaseComm):
    """Takes every message of a widget and sends none."""

    sent: list[dict[str, Any]] = []  # noqa: RUF012 - one list for all, emptied by the fixture

    def publish_msg(self, msg_type: str, data: Any = None, *, buffers: Any = None, **_: Any) -> None:
        self.sent.append({"type": msg_type, "comm": self.comm_id, "data": data, "buffers": buffers or []})


@pytest.fixture(autouse=True)
def sent(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Messages to the browser, in order."""
    monkeypatch.setattr(comm, "create_comm", RecordingComm)
    monkeypatch.setattr("ipywidgets.widgets.widget.comm.create_comm", RecordingComm)
    RecordingComm.sent.clear()
    return RecordingComm.sent


@pytest.fixture
def alive() -> Iterator[set[str]]:
    """Widgets that were there before the test; those it leaves are closed for the next one."""
    before = set(_instances)
    yield before
    for name in set(_instances) - before:
        if name in _instances:  # a panel closes its parts with it
            _instances[name].close()


@pytest.fixture
def panel(alive: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> QuantPanel:
    """The calculator with its example, in an empty folder of its own."""
    del alive
    monkeypatch.chdir(tmp_path)
    return pq.show()
