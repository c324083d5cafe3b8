"""Which origin of a tensor can be named in code: files and folders that can be opened again, and nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from perchq_widget.report.reproduce import readable_file


def test_files_and_folders_of_models_can_be_opened_again(tmp_path: Path) -> None:
    np.save(tmp_path / "w.npy", np.ones(3, "f4"))
    assert readable_file(str(tmp_path / "w.npy")) == str(tmp_path / "w.npy")
    assert readable_file(str(tmp_path)) == str(tmp_path)


@pytest.mark.parametrize("source", [None, "", " ", "dict", "missing.npz", "a\0b", "n" * 5000, "notes.txt"])
def test_names_of_objects_cannot(source: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.txt").write_text("no tensor")
    (tmp_path / "dict").mkdir()  # a folder that happens to have an object's name
    assert readable_file(source) is None
