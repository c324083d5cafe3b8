"""``python -m fuzz``: damage files by the thousand on all cores, and print a line for each reader.

``python -m fuzz --only READER NUMBER`` writes that one damaged file, reads it again and shows what goes wrong.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

from fuzz.exercise import exercise
from fuzz.runner import Result, run
from fuzz.seeds import READERS
from fuzz.worker import case, laid_out


def main() -> int:
    """0 if nothing went wrong."""
    parser = argparse.ArgumentParser(prog="fuzz", description=__doc__)
    parser.add_argument("readers", nargs="*", help=f"of {', '.join(READERS)}; all by default")
    parser.add_argument("--files", type=int, default=int(os.environ.get("PERCHQ_FUZZ", "10000")))
    parser.add_argument("--only", nargs=2, metavar=("READER", "NUMBER"))
    asked = parser.parse_args()
    if asked.only:
        return again(asked.only[0], int(asked.only[1]))
    print("seed", os.environ.get("PERCHQ_FUZZ_SEED", "0"), "(PERCHQ_FUZZ_SEED chooses another)")
    wrong = 0
    for found in run(asked.readers or list(READERS), asked.files):
        print(line(found), flush=True)
        for failure in found.failures:
            print(failure, file=sys.stderr)
        wrong += len(found.failures)
    return int(wrong > 0)


def line(found: Result) -> str:
    """What came of one reader, in one line."""
    if found.missing:
        return f"{found.reader:13} left out: {found.missing}"
    refused = found.n_files - found.n_opened
    return (
        f"{found.reader:13} {found.n_files:6} files {found.n_opened:6} opened {refused:6} refused "
        f"{found.seconds:7.1f} s, slowest {found.slowest * 1000:5.0f} ms (file {found.slowest_file}), "
        f"peak {found.peak / 2**20:5.1f} MiB, {len(found.failures)} failures"
    )


def again(reader: str, number: int) -> int:
    """Write one damaged file where it stays, and read it without the limits, so that a debugger can look."""
    folder = Path(tempfile.mkdtemp(prefix=f"fuzz-{reader}-{number}-")) / "case"
    made = case(reader, number, READERS[reader].seeds())
    laid_out(made.files, folder)
    print(folder / made.path)
    print("opened" if exercise(folder / made.path, analyze=True) else "refused")
    return 0


if __name__ == "__main__":
    sys.exit(main())
