"""What the documents say is true: examples run, outputs match, columns exist, links lead somewhere."""

from __future__ import annotations

import doctest
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import nbformat
import pytest

import perchq_widget as pq

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").rglob("*.ipynb"))
DOCUMENTS = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def blocks(text: str, language: str) -> list[str]:
    """The contents of the fenced code blocks in ``language``."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with the checkout's layout, in which the README's files can be written."""
    shutil.copytree(ROOT / "notebooks", tmp_path / "notebooks", ignore=shutil.ignore_patterns("exports"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_readme_python_runs(folder: Path) -> None:
    namespace: dict[str, Any] = {}
    examples = blocks(read("README.md"), "python")
    assert examples
    for example in examples:
        exec(compile(example, "README.md", "exec"), namespace)
    assert (folder / "conv2.csv").stat().st_size > 0
    assert (folder / "conv2.pdf").read_bytes().startswith(b"%PDF-")
    assert (namespace["panel"].report.scheme.dtype, namespace["panel"].report.scheme.observer) == ("int4", "mse")
    assert namespace["table"]["channel"].tolist() == [str(index) for index in range(32)]
    namespace["panel"].close()


def test_readme_sessions_print_what_they_show(folder: Path) -> None:
    sessions = blocks(read("README.md"), "pycon")
    assert sessions
    parser, namespace = doctest.DocTestParser(), {"pq": pq}
    for number, session in enumerate(sessions):
        test = parser.get_doctest(session, namespace, f"README session {number}", "README.md", 0)
        runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS, verbose=False)
        runner.run(test, clear_globs=False)
        assert runner.failures == 0
        namespace = test.globs


def commands(block: str) -> Iterator[tuple[str, str]]:
    """Each `$ command` of a console block with the output shown below it."""
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        command, _, output = part.partition("\n")
        yield command, output


@pytest.mark.skipif(os.name == "nt", reason="the examples are for a POSIX shell")
def test_readme_console_prints_what_it_shows(folder: Path) -> None:
    consoles = blocks(read("README.md"), "console")
    assert consoles
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    checker = doctest.OutputChecker()
    for command, expected in (pair for block in consoles for pair in commands(block)):
        done = subprocess.run(
            ["sh", "-c", f"{command} 2>&1"], cwd=folder, env={**os.environ, "PATH": path, "COLUMNS": "100"},
            capture_output=True, text=True, check=False, encoding="utf-8",
        )  # fmt: skip
        assert checker.check_output(expected, done.stdout, OPTIONS), f"$ {command}\n{done.stdout}"


def described_columns(heading: str) -> list[str]:
    """The names in the first column of the README table that follows ``heading``."""
    text = read("README.md")
    table = text[text.index(heading) :].split("\n\n")[1]
    return [name for row in table.splitlines()[2:] for name in re.findall(r"`(\w+)`", row.split("|")[1])]


def test_readme_describes_every_column() -> None:
    import numpy as np

    assert described_columns("The calculator's table") == list(pq.calculate("a,-1,1,0.5").table.columns)
    assert described_columns("A tensor's table") == list(pq.analyze(np.eye(3, dtype=np.float32)).table.columns)


def test_readme_says_where_the_model_is_without_a_checkout() -> None:
    """The demo's folder, from the command's own default."""
    from perchq_widget.cli.parser import build_parser

    options = build_parser().parse_args(["demo"])
    assert f"`{(options.out / 'models').as_posix()}`" in read("README.md")


def test_readme_lists_the_exit_codes_of_the_help() -> None:
    from perchq_widget.cli.parser import EXIT_CODES

    in_help = re.findall(r"^  (\d+) ", EXIT_CODES, flags=re.MULTILINE)
    assert re.findall(r"^\| (\d+) \|", read("README.md"), flags=re.MULTILINE) == in_help


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    targets = re.findall(r"\]\(([^)\s]+)\)", path.read_text(encoding="utf-8"))
    local = [target.partition("#")[0] for target in targets if "://" not in target]
    missing = [target for target in local if not (path.parent / target).exists()]
    assert not missing


def test_the_changelog_knows_the_version() -> None:
    project = tomllib.loads(read("pyproject.toml"))["project"]
    assert f"## [{project['version']}]" in read("CHANGELOG.md")
    assert pq.__version__ == project["version"]


def test_contributing_names_targets_that_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", read("Makefile"), flags=re.MULTILINE))
    named = set(re.findall(r"`make ([a-z]+)", read("CONTRIBUTING.md") + read("README.md")))
    assert named
    assert named <= targets


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_notebooks_are_stored_clean(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    # Without it JupyterLab asks for a kernel before it shows anything.
    assert notebook.metadata["kernelspec"]["name"] == "python3"
    assert "widgets" not in notebook.metadata
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not any(cell.outputs or cell.execution_count for cell in code)


@pytest.fixture(scope="module")
def outputs_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], list[Any]]:
    """The outputs of a notebook's cells, from a kernel of its own in a folder like the checkout's; run once each."""

    @cache
    def run(path: Path) -> list[Any]:
        root = tmp_path_factory.mktemp("notebooks")
        shutil.copytree(ROOT / "notebooks", root / "notebooks", ignore=shutil.ignore_patterns("exports"))
        target = root / path.relative_to(ROOT)
        subprocess.run(
            [sys.executable, "-m", "nbconvert", "--to", "notebook", "--execute", "--inplace", str(target)],
            check=True, capture_output=True, timeout=300,
        )  # fmt: skip
        return [out for cell in nbformat.read(target, as_version=4).cells for out in cell.get("outputs", [])]

    return run


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_notebooks_run(path: Path, outputs_of: Callable[[Path], list[Any]]) -> None:
    """Every cell runs without error or warning."""
    outputs = outputs_of(path)
    assert outputs
    noise = [out for out in outputs if out.output_type == "error" or out.get("name") == "stderr"]
    assert not noise


def conventions_of(dtype: str) -> list[str]:
    from perchq_widget.core.conventions import CONVENTIONS

    return [name for name, rules in CONVENTIONS.items() if dtype in rules.formats]


def variants_of_formats() -> list[str]:
    """Every format, MX with each scale rule and nvfp4 in each dialect."""
    from perchq_widget.core.grids import DTYPES
    from perchq_widget.core.runtimes.ocp import FORMATS, SCALE_RULES

    plain = [dtype for dtype in DTYPES if dtype not in (*FORMATS, "nvfp4")]
    mx = [f"{dtype}, {rule}" for dtype in FORMATS for rule in SCALE_RULES]
    return [*plain, *mx, *(f"nvfp4, {name}" for name in conventions_of("nvfp4"))]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "rows"),
    [("conventions", lambda: conventions_of("qint8")), ("formats", variants_of_formats)],
    ids=["conventions", "formats"],
)
def test_tours_leave_nothing_out(
    name: str, rows: Callable[[], list[str]], outputs_of: Callable[[Path], list[Any]]
) -> None:
    """A row for every convention with 8-bit weights, or for every format; and no line wider than 100 characters."""
    outputs = outputs_of(ROOT / "notebooks" / f"{name}.ipynb")
    tables = [out["data"]["text/plain"] for out in outputs if out.output_type != "stream"]
    printed = [out["text"] for out in outputs if out.output_type == "stream"]
    lines = [line for text in tables for line in text.splitlines()]
    assert [row for row in rows() if not any(line.startswith(f"{row} ") for line in lines)] == []
    assert max(len(line) for text in (*tables, *printed) for line in text.splitlines()) <= 100
