"""What some tests need and a machine may lack. They skip by name, or fail where the run said that all must be there.

PERCHQ_REQUIRE_ORACLES=1 and PERCHQ_REQUIRE_BROWSER=1 turn the skips into failures; `make test ORACLES=1` sets both.
"""

from __future__ import annotations

import importlib
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

ORACLES = (
    "torch", "safetensors", "torchao", "onnx", "onnxruntime", "gguf", "compressed_tensors", "ai_edge_litert",
    "ai_edge_quantizer", "modelopt", "bitsandbytes", "jax",
)  # fmt: skip
CHROMIUMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
MAC_CHROME = Path("/Applications/Google Chrome.app/Contents/MacOS/Google Chrome")


def required(what: str) -> bool:
    """Whether this run must not skip for want of what: "ORACLES" or "BROWSER"."""
    return os.environ.get(f"PERCHQ_REQUIRE_{what}", "0") == "1"


def oracle(name: str) -> Any:
    """The module of a real library that results are compared with."""
    try:
        return importlib.import_module(name)
    except ImportError:
        reason = f"{name} is not installed; make test ORACLES=1 installs it"
        if required("ORACLES"):
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason, allow_module_level=True)


def find_chromium() -> Path | None:
    """An installed Chromium or Chrome; PERCHQ_CHROMIUM names one, and then no other is taken."""
    named = os.environ.get("PERCHQ_CHROMIUM")
    if named is not None:
        return Path(named) if Path(named).exists() else None
    found = next(filter(None, map(shutil.which, CHROMIUMS)), None)
    if found is not None:
        return Path(found)
    return MAC_CHROME if MAC_CHROME.exists() else None


def chromium() -> Path:
    """The browser for tests/browser, to launch with playwright's executable_path."""
    path = find_chromium()
    if path is not None:
        return path
    reason = "no Chromium found; install one or set PERCHQ_CHROMIUM"
    if required("BROWSER"):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason, allow_module_level=True)
