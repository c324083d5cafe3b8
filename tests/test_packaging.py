"""The wheel and the sdist hold what a user needs, and the wheel works away from the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DEMO = ("quickstart.ipynb", "models/digits.safetensors", "models/digits_ranges.csv", "models/digits.json")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist and the wheel that was built from it."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def wheel(dist: Path) -> Path:
    return next(dist.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel unpacked as an installer does it, for a path of its own."""
    target = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(target)
    return target


def source_files() -> set[str]:
    ignored = {"__pycache__"}
    files = [path for path in (ROOT / "perchq_widget").rglob("*") if path.is_file()]
    return {path.relative_to(ROOT).as_posix() for path in files if not ignored & set(path.parts)}


def test_the_wheel_holds_the_package_and_the_demo_and_nothing_else(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    package = {name for name in names if not name.startswith("perchq_widget-")}
    assert package == source_files() | {f"perchq_widget/_demo/{name}" for name in DEMO}
    assert "perchq_widget/py.typed" in package
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_the_sdist_can_be_tested(dist: Path) -> None:
    with tarfile.open(next(dist.glob("*.tar.gz"))) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    needed = {"Makefile", "LICENSE", "README.md", "CHANGELOG.md", "tests/conftest.py", "tests/constraints.txt"}
    assert needed | {f"notebooks/{name}" for name in DEMO} | {".ci/bootstrap.sh", ".ci/run"} <= names


def test_entry_points(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith("entry_points.txt"))
        text = archive.read(name).decode()
    assert "perchq = perchq_widget.cli:main" in text
    assert "perchq-pdf = perchq_widget.report.pdf.exporter:PerchqPDFExporter" in text


def run_installed(installed: Path, folder: Path, *arguments: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(installed), "PYTHONSAFEPATH": "1"}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_runs_away_from_the_checkout(installed: Path, tmp_path: Path) -> None:
    where = run_installed(installed, tmp_path, "-c", "import perchq_widget; print(perchq_widget.__file__)")
    assert Path(where.strip()).is_relative_to(installed)
    model = installed / "perchq_widget" / "_demo" / "models" / "digits.safetensors"
    command = ["-m", "perchq_widget", "analyze", str(model), "--tensor", "conv1.weight", "--pdf", "conv1.pdf"]
    assert "conv1.weight" in run_installed(installed, tmp_path, *command)
    assert (tmp_path / "conv1.pdf").read_bytes().startswith(b"%PDF-")
