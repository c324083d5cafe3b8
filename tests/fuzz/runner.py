"""Workers on all cores, each with a part of a reader's files; one that dies is a failure, and another goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from fuzz.seeds import READERS
from fuzz.worker import Result, case, laid_out

PART = 2_500
_SHORT = 500  # up to which several readers share a worker, whose start takes longer than the files
_MOST_DEATHS = 5
_ALONE = ("torch-zip", "torch-legacy")  # which load a library that takes its time
_WORKER = "fuzz.worker"
_TESTS = Path(__file__).parents[1]


@dataclass(frozen=True)
class _Part:
    readers: tuple[str, ...]
    first: int
    stop: int


def run(readers: Sequence[str], n_files: int) -> Iterator[Result]:
    """What came of ``n_files`` damaged files of each reader, reader by reader."""
    present = [name for name in readers if READERS[name].missing() is None]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        running = [(part, pool.submit(_run, part)) for part in _parts(present, n_files)]
        for name in readers:
            done = [result for part, future in running if name in part.readers for result in future.result()]
            found = _sum(name, [each for each in done if each.reader == name])
            found.missing = READERS[name].missing()
            _keep(found)
            yield found


def _parts(readers: Sequence[str], n_files: int) -> list[_Part]:
    if n_files > _SHORT:
        starts = range(0, n_files, PART)
        return [_Part((name,), first, min(first + PART, n_files)) for name in readers for first in starts]
    together = tuple(name for name in readers if name not in _ALONE)
    apart = tuple(name for name in readers if name in _ALONE)
    n = max(1, len(together) // 2 + len(apart))  # the half that starts sooner takes more readers
    groups = (together[:n], (*apart, *together[n:]))
    return [_Part(group, 0, n_files) for group in groups if group]


def _run(part: _Part) -> list[Result]:
    """The results of a part. After a crash the worker starts again behind the file that it was at."""
    found: list[Result] = []
    left, first = list(part.readers), part.first
    with tempfile.NamedTemporaryFile(prefix="fuzz-progress-") as progress:
        for _ in range(_MOST_DEATHS):
            command = [sys.executable, "-m", _WORKER, str(first), str(part.stop), progress.name, *left]
            env = os.environ | {"PYTHONPATH": str(_TESTS), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
            made = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
            told = [Result(**json.loads(line)) for line in made.stdout.splitlines() if line.startswith("{")]
            results = {result.reader: result for result in told}
            found += results.values()
            left = [name for name in left if name not in results or not results[name].done]
            if made.returncode == 0:
                return found
            reader, number = Path(progress.name).read_text().split()
            found.append(Result(reader, failures=[_death(reader, int(number), made)]))
            if int(number) < 0 or reader not in left:  # at a good file, or before the first
                left, first = left[1:], part.first
            else:
                left, first = left[left.index(reader) :], int(number) + 1
            if not left:
                return found
    return found


def _death(reader: str, number: int, made: subprocess.CompletedProcess[str]) -> str:
    code = made.returncode
    how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    return f"{reader} {number}: the process died ({how})\n{made.stderr[-2000:]}"


def _sum(reader: str, parts: list[Result]) -> Result:
    total = Result(reader)
    for part in parts:
        total.n_files += part.n_files
        total.n_opened += part.n_opened
        total.seconds += part.seconds
        total.peak = max(total.peak, part.peak)
        total.failures += part.failures
        if part.slowest > total.slowest:
            total.slowest, total.slowest_file = part.slowest, part.slowest_file
    return total


def _keep(found: Result) -> None:
    """Write the files that failed where they stay, and say where."""
    for index, failure in enumerate(found.failures):
        number = failure.removeprefix(found.reader).split(":")[0].strip()
        if not number.isdigit():
            continue
        folder = Path(tempfile.mkdtemp(prefix=f"fuzz-{found.reader}-{number}-"))
        laid_out(case(found.reader, int(number), READERS[found.reader].seeds()).files, folder / "case")
        again = f"python -m fuzz --only {found.reader} {number}"
        found.failures[index] = f"{failure.rstrip()}\nkept in {folder}/case; {again}"
