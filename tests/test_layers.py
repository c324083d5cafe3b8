"""The house's rules, read off the syntax trees: imports run one way, and heavy libraries stay in their rooms."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import textwrap
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "perchq_widget"

# What each room may import from the package. A room sees itself and the rooms below it.
ORDER = ("core", "sources", "study", "report", "api", "panel", "cli")
BELOW = {room: set(ORDER[: place + 1]) for place, room in enumerate(ORDER)} | {
    "cli": set(ORDER),
    "panel": set(ORDER) - {"cli"},
    "__init__": set(ORDER) - {"cli"},
    "__main__": {"cli"},
}

# Third parties: at module level, and those that may be imported inside functions besides.
AT_IMPORT: dict[str, set[str]] = {
    "core": {"numpy", "ml_dtypes"},
    "sources": {"numpy", "ml_dtypes"},
    "study": {"numpy", "ml_dtypes"},
    "report": {"numpy"},
    "api": {"numpy"},
    # bqplot imports pandas itself, so the panel may.
    "panel": {"numpy", "ipywidgets", "bqplot", "IPython", "traitlets", "pandas"},
    "cli": set(),
    "__init__": set(),
    "__main__": set(),
}
IN_FUNCTIONS: dict[str, set[str]] = {
    "sources": {"torch", "pandas", "gguf", "onnx"},
    "study": {"torch", "pandas"},
    "report": {"pandas", "nbformat", "nbconvert", "typst", "latex2mathml", "bs4", "tinycss2", "mistune", "defusedxml"},
    "api": {"pandas"},
    "cli": {"nbformat", "nbclient"},
}
# The exporter subclasses nbconvert's own classes, so its folder cannot wait for a function call. Nothing else may
# import that folder at module level (test_pdf_folder_loads_late).
PDF_AT_IMPORT = {"numpy", "nbconvert", "nbformat", "traitlets", "bs4", "tinycss2", "mistune", "jinja2", "defusedxml"}

# Distribution names that differ from the module's.
DISTRIBUTIONS = {"bs4": "beautifulsoup4", "IPython": "ipython"}

MAX_MODULE_LINES = 400
MAX_FUNCTION_LINES = 50


@dataclass(frozen=True)
class Import:
    """One imported module: where, which, and whether it happens only when a function runs or types are checked."""

    path: Path
    line: int
    module: str
    in_function: bool
    for_types: bool

    @property
    def room(self) -> str:
        return room_of(self.path)

    @property
    def top(self) -> str:
        return self.module.partition(".")[0]

    def __str__(self) -> str:
        return f"{self.path.relative_to(ROOT)}:{self.line} imports {self.module}"


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}


def walk(node: ast.AST, in_function: bool = False, for_types: bool = False) -> Iterator[tuple[ast.AST, bool, bool]]:
    for child in ast.iter_child_nodes(node):
        inside = in_function or isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        types = for_types or is_type_checking(child)
        yield child, inside, types
        yield from walk(child, inside, types)


def named_modules(node: ast.AST, path: Path) -> list[str]:
    """Absolute names of the modules that an import statement may load."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if not isinstance(node, ast.ImportFrom):
        return []
    base = node.module or ""
    if node.level:
        package = path.relative_to(ROOT).with_suffix("").parts[: -node.level]
        base = ".".join((*package, *filter(None, [node.module])))
    # `from perchq_widget import api` and `from .. import core` name modules too.
    return [f"{base}.{alias.name}" for alias in node.names] if base == "perchq_widget" else [base]


@cache
def imports() -> tuple[Import, ...]:
    found = []
    for path in modules():
        for node, in_function, for_types in walk(tree_of(path)):
            line = getattr(node, "lineno", 0)
            found += [Import(path, line, module, in_function, for_types) for module in named_modules(node, path)]
    return tuple(found)


def own(item: Import) -> bool:
    return item.top == "perchq_widget"


def third_party(item: Import) -> bool:
    return not own(item) and item.top not in sys.stdlib_module_names


def allowed_third_parties(item: Import) -> set[str]:
    at_import = PDF_AT_IMPORT if PACKAGE / "report" / "pdf" in item.path.parents else AT_IMPORT[item.room]
    return at_import | IN_FUNCTIONS.get(item.room, set()) if item.in_function or item.for_types else at_import


def test_every_module_is_in_a_known_room() -> None:
    assert {room_of(path) for path in modules()} <= set(BELOW)


def test_imports_run_one_way() -> None:
    def target(item: Import) -> str:
        return [*item.module.split("."), "__init__"][1]

    # The package's own top offers nothing but names of other modules, so a function may ask it for the version.
    wrong = [i for i in imports() if own(i) and target(i) in ORDER and target(i) not in BELOW[i.room]]
    assert not wrong, "\n".join(map(str, wrong))


def test_third_parties_stay_in_their_rooms() -> None:
    wrong = [item for item in imports() if third_party(item) and item.top not in allowed_third_parties(item)]
    assert not wrong, "\n".join(map(str, wrong))


def test_pdf_folder_loads_late() -> None:
    folder = PACKAGE / "report" / "pdf"
    outside = [i for i in imports() if i.module.startswith("perchq_widget.report.pdf") and folder not in i.path.parents]
    wrong = [item for item in outside if not (item.in_function or item.for_types)]
    assert not wrong, "\n".join(map(str, wrong))


def test_every_third_party_is_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    lines = project["dependencies"] + [line for name, extra in extras.items() if name != "test" for line in extra]
    declared = {re.split(r"[^A-Za-z0-9_.-]", line)[0].lower().replace("-", "_") for line in lines}
    used = {DISTRIBUTIONS.get(item.top, item.top).lower() for item in imports() if third_party(item)}
    assert used <= declared


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_rooms_are_small(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_MODULE_LINES
    functions = [n for n in ast.walk(tree_of(path)) if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef))]
    assert not [f.name for f in functions if length(f) > MAX_FUNCTION_LINES]


def length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function without its docstring, which may be as long as the contract needs."""
    text = ast.get_docstring(function, clean=False)
    total = (function.end_lineno or function.lineno) - function.lineno + 1
    return total - (0 if text is None else text.count("\n") + 1)


def run_python(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_core_needs_numpy_and_ml_dtypes_alone() -> None:
    run_python(
        """
        import sys

        heavy = "pandas ipywidgets bqplot IPython traitlets nbformat nbconvert typst torch"
        for name in heavy.split():
            sys.modules[name] = None  # an import of it now raises
        import importlib, pkgutil
        import perchq_widget.core

        for module in pkgutil.walk_packages(perchq_widget.core.__path__, "perchq_widget.core."):
            importlib.import_module(module.name)
        """
    )


def test_import_of_the_package_loads_nothing_heavy() -> None:
    loaded = run_python("import sys, perchq_widget; print(*{name.partition('.')[0] for name in sys.modules})").split()
    heavy = "pandas ipywidgets bqplot IPython nbformat nbconvert typst torch matplotlib bs4"
    assert not set(heavy.split()) & set(loaded)


def test_the_walk_sees_what_it_must(tmp_path: Path) -> None:
    """A check that cannot fail is none: the helpers find each kind of import."""
    source = """
import a.b
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    import c
def f():
    from d import e
"""
    path = tmp_path / "m.py"
    path.write_text(source, encoding="utf-8")
    seen = {
        name: (in_function, for_types)
        for node, in_function, for_types in walk(tree_of(path))
        for name in named_modules(node, path)
    }
    assert seen == {"a.b": (False, False), "typing": (False, False), "c": (False, True), "d": (True, False)}
    relative = ast.parse("from ..core.errors import QuantError").body[0]
    assert named_modules(relative, PACKAGE / "sources" / "lines.py") == ["perchq_widget.core.errors"]
