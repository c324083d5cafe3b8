"""Files: one atomic writer, CSV that reads back exactly, strict JSON."""

from __future__ import annotations

import errno
import io
import json
import math
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from report.samples import read_csv

from perchq_widget.core.errors import QuantError, QuantTypeError
from perchq_widget.report import export
from perchq_widget.report.export import csv_text, json_safe, json_text, write_atomic


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("data", ["text, ünïcode\n", b"\x00bytes"])
def test_writes_and_returns_the_path(tmp_path: Path, data: str | bytes) -> None:
    target = tmp_path / "report.csv"
    assert write_atomic(target, data) == target
    assert target.read_bytes() == (data.encode() if isinstance(data, str) else data)
    assert names(tmp_path) == ["report.csv"]


def test_accepts_str_paths(tmp_path: Path) -> None:
    assert write_atomic(str(tmp_path / "a.csv"), "x").read_text() == "x"


def test_refuses_an_existing_file_unless_told(tmp_path: Path) -> None:
    target = tmp_path / "a.csv"
    target.write_text("old")
    with pytest.raises(FileExistsError, match="overwrite=True") as caught:
        write_atomic(target, "new")
    assert isinstance(caught.value, QuantError)
    assert target.read_text() == "old"
    write_atomic(target, "new", overwrite=True)
    assert target.read_text() == "new"
    assert names(tmp_path) == ["a.csv"]


def test_refuses_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="does not exist") as caught:
        write_atomic(tmp_path / "no" / "a.csv", "x")
    assert isinstance(caught.value, QuantError)
    assert names(tmp_path) == []


def test_refuses_a_folder(tmp_path: Path) -> None:
    with pytest.raises(QuantError, match="is a folder"):
        write_atomic(tmp_path, "x", overwrite=True)


@pytest.mark.parametrize("path", [None, 3, ""])
def test_refuses_what_is_no_path(path: object) -> None:
    with pytest.raises(QuantTypeError, match="path must be"):
        write_atomic(path, "x")  # type: ignore[arg-type]


def test_a_failing_disk_leaves_the_earlier_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "a.csv"
    target.write_text("old")

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(export.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_atomic(target, "new", overwrite=True)
    assert target.read_text() == "old"
    assert names(tmp_path) == ["a.csv"]


def test_text_that_cannot_be_encoded_leaves_the_earlier_file(tmp_path: Path) -> None:
    target = tmp_path / "a.csv"
    target.write_text("old")
    with pytest.raises(UnicodeEncodeError):
        write_atomic(target, "\ud800", overwrite=True)
    assert target.read_text() == "old"
    assert names(tmp_path) == ["a.csv"]


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX permissions")
def test_permissions(tmp_path: Path) -> None:
    mask = os.umask(0o027)
    try:
        target = write_atomic(tmp_path / "a.csv", "x")
    finally:
        os.umask(mask)
    assert target.stat().st_mode & 0o777 == 0o640
    target.chmod(0o600)
    write_atomic(target, "y", overwrite=True)
    assert target.stat().st_mode & 0o777 == 0o600


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege there")
def test_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    real, link = tmp_path / "real" / "a.csv", tmp_path / "a.csv"
    real.write_text("old")
    link.symlink_to(real)
    write_atomic(link, "new", overwrite=True)
    assert link.is_symlink()
    assert real.read_text() == "new"


def refusal(path: Path | str, data: str = "x", *, overwrite: bool = False) -> QuantError:
    with pytest.raises(QuantError) as caught:
        write_atomic(path, data, overwrite)
    assert ".tmp" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize("name", ["a\0b.csv", "\ud800.csv", "~no-such-user-here/a.csv"])
def test_a_name_that_no_file_can_have(tmp_path: Path, name: str) -> None:
    error = refusal(name if name.startswith("~") else f"{tmp_path}/{name}")
    assert isinstance(error, ValueError)
    assert "path must be a name" in str(error) or "does not exist" in str(error)
    assert names(tmp_path) == []


@pytest.mark.skipif(sys.platform == "win32", reason="other limits there")
def test_a_name_that_is_too_long(tmp_path: Path) -> None:
    error = refusal(tmp_path / ("x" * 300))
    assert isinstance(error, OSError)
    assert error.errno == errno.ENAMETOOLONG
    assert "shorter name" in str(error)
    # The temporary file's name is longer than the file's own and has to fit as well.
    for longest in ("x" * 255, "é" * 127):
        assert write_atomic(tmp_path / longest, "x").exists()


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="no /proc here")
def test_a_folder_that_takes_no_files_is_named_by_the_users_path() -> None:
    error = refusal("/proc/x")
    assert isinstance(error, OSError)
    assert str(error).startswith("'/proc/x' cannot be written: ")


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege there")
def test_links_that_lead_nowhere(tmp_path: Path) -> None:
    link, loop, fresh = tmp_path / "link.csv", tmp_path / "loop.csv", tmp_path / "fresh.csv"
    link.symlink_to(tmp_path / "missing" / "a.csv")
    assert isinstance(error := refusal(link), FileNotFoundError)
    assert "link.csv' is a link into the folder" in str(error)
    loop.symlink_to(loop)
    for overwrite in (False, True):
        assert "leads back to itself" in str(refusal(loop, overwrite=overwrite))
    fresh.symlink_to(tmp_path / "made.csv")
    assert write_atomic(fresh, "x").read_text() == (tmp_path / "made.csv").read_text() == "x"


def test_what_the_disk_refuses_is_our_error_and_names_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", ".hidden.tmp")

    monkeypatch.setattr(export, "_write_through", refuse)
    error = refusal(tmp_path / "a.csv")
    assert isinstance(error, OSError)
    assert str(error).endswith("a.csv' cannot be written: Permission denied; choose a folder that you may write to")


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
@pytest.mark.parametrize("moment", ["fsync", "replace"])
def test_a_killed_export_leaves_the_earlier_file(tmp_path: Path, moment: str) -> None:
    """The writer is killed half-way through its bytes, or just before the file takes its name."""
    target = tmp_path / "a.csv"
    target.write_text("old")
    program = textwrap.dedent(
        """
        import os, signal, sys
        from perchq_widget.report import export
        def die(*_):
            os.kill(os.getpid(), signal.SIGKILL)
        setattr(export.os, sys.argv[2], die)
        export.write_atomic(sys.argv[1], "new" * 100_000, overwrite=True)
        """
    )
    done = subprocess.run([sys.executable, "-c", program, str(target), moment], check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL
    assert target.read_text() == "old"


SETTINGS = {"tensor": "=conv", "dtype": "qint8", "scheme": "affine", "ch_axis": 0, "reduce_range": False}


def read(text: str) -> pd.DataFrame:
    return read_csv(io.StringIO(text))


@given(st.lists(st.floats(), min_size=1, max_size=30))
def test_csv_floats_read_back_exactly(values: list[float]) -> None:
    table = pd.DataFrame({"channel": [f"c{i}" for i in range(len(values))], "scale": values})
    back = read(csv_text(table, SETTINGS))
    np.testing.assert_array_equal(back["scale"].to_numpy(dtype=float), np.array(values))


def test_csv_widens_float32_first() -> None:
    values = np.array([0.1, 1 / 3], dtype=np.float32)
    back = read(csv_text(pd.DataFrame({"scale": values}), {}))
    np.testing.assert_array_equal(back["scale"].to_numpy(), values.astype(np.float64))


def test_csv_has_a_plain_header_and_the_tables_columns_first() -> None:
    table = pd.DataFrame({"channel": ["a", "b"], "clipped": [True, False], "zero_point": [1, -2]})
    text = csv_text(table, SETTINGS)
    assert text.splitlines()[0] == "channel,clipped,zero_point,tensor,dtype,scheme,ch_axis,reduce_range"
    back = read(text)
    pd.testing.assert_frame_equal(back[list(table.columns)], table, check_dtype=False)
    assert set(back["dtype"]) == {"qint8"}
    assert set(back["tensor"]) == {"'=conv"}


@pytest.mark.parametrize(
    "name", ["=cmd()", "+1", "@x", "a\nb", "x\u202ey", "\ud800", "<script>", 'say "hi", you', "\\input{}"]
)
def test_csv_names_are_text_in_one_line(name: str) -> None:
    text = csv_text(pd.DataFrame({"channel": [name], "scale": [0.5]}), {})
    text.encode("utf-8")
    assert text.count("\n") == 2
    cell = str(read(text)["channel"][0])
    assert cell[0] not in "=+-@\t\r\n"
    assert export.csv_safe(export.clean_name(name)) == cell


def test_csv_does_not_touch_the_table() -> None:
    table = pd.DataFrame({"channel": ["=x"], "scale": [0.5]})
    csv_text(table, SETTINGS)
    assert list(table.columns) == ["channel", "scale"]
    assert table["channel"][0] == "=x"


def test_json_safe_turns_all_into_strict_json() -> None:
    value = {
        "a": np.float32(0.5), "b": np.array([1, 2]), "c": (math.inf, -math.inf, math.nan), "d": np.float64(math.nan),
        "e": np.bool_(True), "f": None, "g": "\ud800\u202e", 3: np.int64(7), "h": Path("x"), "i": np.array([math.inf]),
    }  # fmt: skip
    assert json.loads(json_text(json_safe(value)), parse_constant=pytest.fail) == {
        "a": 0.5, "b": [1, 2], "c": ["inf", "-inf", "nan"], "d": "nan", "e": True, "f": None, "g": "⟨U+D800⟩\u202e",
        "3": 7, "h": "x", "i": ["inf"],
    }  # fmt: skip


def test_json_text_is_ascii_and_refuses_bare_nan() -> None:
    assert json_text({"name": "\u202eü"}).isascii()
    with pytest.raises(ValueError, match="JSON"):
        json_text({"x": math.nan})
