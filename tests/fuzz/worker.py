"""Damage files and read them, in a process of its own: a crash or a hang then is one failure among others.

``python -m fuzz.worker FIRST STOP PROGRESS READER...`` reads files FIRST to STOP of each reader, and prints one line of
JSON for each reader. The file PROGRESS always tells which one is being read.
"""

from __future__ import annotations

import faulthandler
import gc
import importlib
import json
import os
import pkgutil
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import tracemalloc
import warnings
from contextlib import nullcontext, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from fuzz.exercise import Watch, exercise
from fuzz.mutations import damaged
from fuzz.seeds import EDITS, READERS, Files, Seed

from perchq_widget import sources

LIMIT_S = 5.0
"""Seconds of processor time that a file may take: a busy machine makes nothing fail."""
_HANG_S = 60
_MEMORY = 1 << 30
_TRACED = 10  # every so many files memory is counted
_ANALYZED = 5
_PEAK = 32 << 20  # and fifty times the file's size
SECRET = "secret.safetensors"  # a good file outside of the folder, where no reader may look
_MOST_FAILURES = 20


class TooSlow(BaseException):
    """Not an Exception, so that no reader can take it for a damaged file."""


@dataclass
class Result:
    """What came of one reader's files."""

    reader: str
    n_files: int = 0
    n_opened: int = 0
    seconds: float = 0.0
    slowest: float = 0.0
    slowest_file: int = -1
    peak: int = 0
    failures: list[str] = field(default_factory=list)
    missing: str | None = None
    done: bool = False


@dataclass(frozen=True)
class Case:
    """One damaged set of files; a value that is text is a link to that path."""

    files: dict[str, bytes | str]
    path: str

    @property
    def size(self) -> int:
        return sum(len(each) for each in self.files.values())


def case(reader: str, number: int, seeds: list[Seed]) -> Case:
    """File number ``number`` of a reader: the same on every machine and in every run."""
    rng = Random(f"{reader} {number} {os.environ.get('PERCHQ_FUZZ_SEED', '0')}")
    seed = rng.choice(seeds)
    files: dict[str, Any] = dict(seed.files)
    if len(files) > 1 and rng.random() < 0.15:
        _among_files(rng, files)
        return Case(files, seed.path)
    for name in rng.sample(sorted(files), min(len(files), 1 + (rng.random() < 0.1))):
        donors = [each.files[other] for each in seeds for other in each.files if other.endswith(Path(name).suffix)]
        special = EDITS.get(Path(name).suffix, ())
        files[name] = damaged(rng, files[name], donors, special)
    return Case(files, seed.path)


def _among_files(rng: Random, files: dict[str, Any]) -> None:
    """One file gone, empty, renamed, turned into another, or into a link that leads out."""
    name, other = rng.choice(sorted(files)), rng.choice(sorted(files))
    kind = rng.randrange(5)
    if kind == 0:
        del files[name]
    elif kind == 1:
        files[name] = b""
    elif kind == 2:
        files[name + ".old"] = files.pop(name)
    elif kind == 3:
        files[name], files[other] = files[other], files[name]
    else:
        files[name] = rng.choice((f"../{SECRET}", ".", "/dev/zero", "nowhere"))


def laid_out(files: Files | dict[str, Any], folder: Path) -> None:
    """Write the files of a case into an empty folder."""
    folder.mkdir(parents=True)
    for name, data in files.items():
        if isinstance(data, str):
            (folder / name).symlink_to(data)
        else:
            (folder / name).write_bytes(data)


class Bench:
    """Where one file after the other is read."""

    def __init__(self, folder: Path, progress: Path) -> None:
        self._folder = folder / "case"
        self._progress = os.open(progress, os.O_WRONLY | os.O_CREAT)
        (folder / SECRET).write_bytes(READERS["safetensors"].seeds()[0].files["w.safetensors"])
        self._watch = Watch(self._folder)
        signal.signal(signal.SIGPROF, self._too_slow)

    def _too_slow(self, number: int, frame: Any) -> None:
        raise TooSlow(f"it takes more than {LIMIT_S:g} s of processor time")

    def run(self, reader: str, numbers: range) -> Result:
        """Damage and read, after the good files were read to load what readers load when they are first used."""
        found, seeds = Result(reader), READERS[reader].seeds()
        ours = [each.name for each in pkgutil.walk_packages(sources.__path__, f"{sources.__name__}.")]
        for helper in (*ours, *READERS[reader].helpers):  # imported by a damaged file, it would look like code from it
            with suppress(ImportError):
                importlib.import_module(helper)
        for index, seed in enumerate(seeds):
            self._note(reader, -1 - index)
            good = Case(dict(seed.files), seed.path)
            self._read(good, analyze=True, armed=False)
            if numbers and not self._read(good, analyze=True) and not seed.refused:
                found.failures.append(f"{reader}: good file {index} ({seed.path or 'folder'}) is refused")
        told = 0
        gc.freeze()
        for number in numbers:
            self._note(reader, number)
            self._one(found, case(reader, number, seeds), number)
            if len(found.failures) > told:
                told = len(found.failures)
                tell(found)  # what comes next may be a crash
            if len(found.failures) >= _MOST_FAILURES:
                break
        found.done = True
        return found

    def _note(self, reader: str, number: int) -> None:
        os.pwrite(self._progress, f"{reader} {number}".ljust(80).encode(), 0)

    def _one(self, found: Result, made: Case, number: int) -> None:
        traced = number % _TRACED == 0
        start = time.process_time()
        try:
            if traced:
                tracemalloc.start()
            found.n_opened += self._read(made, analyze=not traced and number % _ANALYZED == 1)
            peak = tracemalloc.get_traced_memory()[1] if traced else 0
        except (Exception, TooSlow):
            peak = 0
            found.failures.append(f"{found.reader} {number}:\n{traceback.format_exc(limit=-6)}")
        finally:
            tracemalloc.stop()
        took = time.process_time() - start
        found.n_files += 1
        found.seconds += took
        found.peak = max(found.peak, peak)
        if took > found.slowest:
            found.slowest, found.slowest_file = took, number
        if peak > _PEAK + 50 * made.size:
            found.failures.append(f"{found.reader} {number}: {peak} bytes of memory for files of {made.size} bytes")

    def _read(self, made: Case, *, analyze: bool, armed: bool = True) -> bool:
        laid_out(made.files, self._folder)
        faulthandler.dump_traceback_later(_HANG_S, exit=True)
        signal.setitimer(signal.ITIMER_PROF, LIMIT_S if armed else 0)
        try:
            with self._watch.armed() if armed else nullcontext():
                return exercise(self._folder / made.path, analyze=analyze)
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
            faulthandler.cancel_dump_traceback_later()
            shutil.rmtree(self._folder)


def tell(found: Result) -> None:
    """A line for the runner; a later one of the same reader replaces it."""
    print(json.dumps(asdict(found)), flush=True)


def limit_memory() -> None:
    """A gigabyte beyond what the process has by now; a claim of more ends in a MemoryError."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + _MEMORY, resource.RLIM_INFINITY))


def main(first: int, stop: int, progress: Path, readers: list[str]) -> None:
    """Print a line of JSON for each reader."""
    sys.dont_write_bytecode = True
    warnings.simplefilter("error")
    os.environ["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory(prefix="perchq-fuzz-") as folder:
        bench = Bench(Path(folder), progress)
        for index, reader in enumerate(readers):
            if index == 0:
                bench.run(reader, range(0))
                if Path("/proc/self/statm").exists():
                    limit_memory()
            tell(bench.run(reader, range(first, stop)))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]), sys.argv[4:])
