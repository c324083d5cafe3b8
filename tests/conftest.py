"""What holds for every test: no display, no colour from the environment, and no silent skip where a run forbids it."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Generator
from typing import Any

import needs
import pytest
from hypothesis import settings

# Two busy cores miss any deadline now and then, and a failure must be the same on every machine.
settings.register_profile("perchq", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("perchq")

# Kernels that tests start would otherwise import the debugger, which warns about frozen modules.
os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")


def pytest_sessionstart(session: pytest.Session) -> None:
    """Stop at once when a library or the browser that this run requires is not there."""
    del session
    missing = [name for name in needs.ORACLES if importlib.util.find_spec(name) is None]
    if needs.required("ORACLES") and missing:
        raise pytest.UsageError(f"PERCHQ_REQUIRE_ORACLES=1, but not installed: {', '.join(missing)}")
    if needs.required("BROWSER") and needs.find_chromium() is None:
        raise pytest.UsageError("PERCHQ_REQUIRE_BROWSER=1, but no Chromium was found; PERCHQ_CHROMIUM can name one")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The browser tests last: playwright keeps an event loop running in this thread until the session ends."""
    items.sort(key=lambda item: item.get_closest_marker("browser") is not None)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: Any) -> Generator[None, Any, Any]:
    """A test of a required ring that skips, for whatever reason, has failed."""
    del call
    report = yield
    for marker, what in (("oracle", "ORACLES"), ("browser", "BROWSER")):
        skipped = report.skipped and not hasattr(report, "wasxfail")
        if skipped and item.get_closest_marker(marker) and needs.required(what):
            report.outcome = "failed"
            report.longrepr = f"skipped, but PERCHQ_REQUIRE_{what}=1: {report.longrepr}"
    return report


@pytest.fixture(autouse=True)
def _plain_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """The width and colours of the developer's own terminal change no result."""
    for name in ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
