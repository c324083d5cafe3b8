"""A few damaged files for each reader; ``make fuzz`` reads 10,000 of each. PERCHQ_FUZZ says how many here."""

from __future__ import annotations

import os
import sys

import pytest
from fuzz import runner
from fuzz.evil import DEEDS
from fuzz.runner import Result, run
from fuzz.seeds import READERS
from fuzz.worker import case

N_FILES = int(os.environ.get("PERCHQ_FUZZ", "150"))


@pytest.fixture(scope="module")
def results() -> dict[str, Result]:
    return {found.reader: found for found in run(list(READERS), N_FILES)}


@pytest.mark.parametrize("reader", READERS)
def test_only_our_own_error_comes_out_of_damaged_files(results: dict[str, Result], reader: str) -> None:
    found = results[reader]
    if found.missing:
        pytest.skip(found.missing)
    assert not found.failures, "\n\n".join(found.failures)
    assert found.n_files == N_FILES
    assert 0 < found.n_opened < N_FILES  # damage that nothing survives, or that nothing notices, tests nothing


def test_whatever_a_reader_must_not_do_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "_WORKER", "fuzz.evil")
    (found,) = runner.run(["npy"], len(DEEDS))
    for number, (_, words) in enumerate(DEEDS):
        if words == "MemoryError" and sys.platform != "linux":
            continue  # there, memory has no limit
        assert any(each.startswith(f"npy {number}:") and words in each for each in found.failures), (number, words)
    assert len(found.failures) == len(DEEDS)


def test_a_number_names_the_same_file_each_time() -> None:
    for reader in ("npz", "safetensors", "folder", "tflite"):
        first, second = (
            [case(reader, number, READERS[reader].seeds()).files for number in range(30)] for _ in range(2)
        )
        assert first == second
        assert len({repr(each) for each in first}) > 25
