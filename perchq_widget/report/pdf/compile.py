"""Typesetting in a spawned process: fresh root, limits, no network."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from perchq_widget.core.errors import MissingExtra, QuantError

from .text import strip_literals

_WORKER = Path(__file__).with_name("worker.py")
_NOWHERE = "http://127.0.0.1:9"
_PROXIES = ("http_proxy", "https_proxy", "all_proxy")


@dataclass(frozen=True, slots=True)
class Limits:
    """What typesetting may take: seconds by the clock, bytes of address space (enforced on POSIX systems only)."""

    time_s: float = 120.0
    memory_bytes: int = 6 * 2**30


@dataclass(frozen=True, slots=True)
class Job:
    """All that the typesetter sees. ``files`` are paths inside its root; ``images`` and ``fragments`` may fail."""

    files: Mapping[str, bytes]
    images: tuple[str, ...] = ()
    fragments: tuple[int, ...] = ()
    timestamp: int = 0
    tagged: bool = True
    font_paths: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Typeset:
    """The PDF, and the images and fragments that could not be set and were replaced."""

    pdf: bytes
    bad_images: tuple[str, ...]
    bad_fragments: tuple[int, ...]


class TypesettingError(QuantError):
    """The typesetter failed, was stopped by a limit, or was refused a source."""


def require_extra() -> None:
    """Raise MissingExtra, with the line to run, unless the packages of the extra ``pdf`` are installed."""
    for package in ("typst", "latex2mathml"):
        if find_spec(package) is None:
            raise MissingExtra(package, "pdf")


def compile_pdf(job: Job, limits: Limits | None = None) -> Typeset:
    """Return the typeset job. Raises TypesettingError when nothing could be set, or a limit was reached."""
    limits = limits if limits is not None else Limits()
    _refuse_packages(job.files)
    with tempfile.TemporaryDirectory(prefix="perchq-pdf-") as name:
        folder = Path(name)
        _lay_out(folder, job, limits)
        _run(folder, limits)
        result = json.loads((folder / "result.json").read_text("utf-8"))
        if not result["ok"]:
            raise TypesettingError(f"the PDF could not be typeset: {result['error']}")
        bad = result["bad"]
        return Typeset((folder / "out.pdf").read_bytes(), tuple(bad["images"]), tuple(bad["fragments"]))


def _refuse_packages(files: Mapping[str, bytes]) -> None:
    """Refuse sources with an ``@`` outside a string or an import of ``"@..."``: only packages are spelt so."""
    for path, data in files.items():
        if path.endswith(".typ"):
            source = data.decode("utf-8")
            if "@" in strip_literals(source) or 'import "@' in _code_only(source):
                raise TypesettingError(f"{path} asks for a Typst package; packages are not fetched")


def _code_only(source: str) -> str:
    """Keep of each string literal only its first character: enough to tell ``import "@preview/..."``."""
    pieces = []
    at = 0
    while (start := source.find('"', at)) >= 0:
        pieces.append(source[at : start + 2])
        at = start + 1
        while at < len(source) and source[at] != '"':
            at += 2 if source[at] == "\\" else 1
        at += 1
    return "".join([*pieces, source[at:]])


def _lay_out(folder: Path, job: Job, limits: Limits) -> None:
    (folder / "no-packages").mkdir()
    for path, data in job.files.items():
        target = folder / "root" / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    order = {
        "images": list(job.images),
        "fragments": list(job.fragments),
        "timestamp": job.timestamp,
        "tagged": job.tagged,
        "font_paths": list(job.font_paths),
        "memory_limit": limits.memory_bytes,
        "time_limit": limits.time_s,
    }
    (folder / "job.json").write_text(json.dumps(order), "utf-8")


def _run(folder: Path, limits: Limits) -> None:
    # -P: the worker's own folder must not shadow modules of the standard library.
    command = [sys.executable, "-P", "-B", str(_WORKER), str(folder / "job.json")]
    try:
        done = subprocess.run(
            command, capture_output=True, timeout=limits.time_s, env=_environment(), cwd=folder, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise TypesettingError(
            f"typesetting took longer than {limits.time_s:g} s and was stopped; "
            "a longer time can be given as PerchqPDFExporter.time_limit"
        ) from error
    except OSError as error:
        raise TypesettingError(f"the typesetting process could not be started: {error}") from error
    if done.returncode != 0 or not (folder / "result.json").exists():
        last = done.stderr.decode("utf-8", "replace").strip().splitlines()[-1:]
        reason = last[0] if last else f"it ended with status {done.returncode}"
        raise TypesettingError(f"the typesetting process failed (out of memory?): {reason}")


def _environment() -> dict[str, str]:
    """Return our environment less Typst's own settings, able to find ``typst``, with proxies that lead nowhere."""
    kept = {key: value for key, value in os.environ.items() if not key.upper().startswith("TYPST_")}
    spec = find_spec("typst")
    home = str(Path(spec.origin).parent.parent) if spec is not None and spec.origin is not None else ""
    paths = [home, *filter(None, [kept.get("PYTHONPATH")])]
    for proxy in _PROXIES:
        kept[proxy] = kept[proxy.upper()] = _NOWHERE
    kept.pop("NO_PROXY", None)
    kept.pop("no_proxy", None)
    return {**kept, "PYTHONPATH": os.pathsep.join(paths), "PYTHONUTF8": "1"}
