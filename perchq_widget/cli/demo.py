"""``perchq demo`` and ``perchq lab``: the bundled model and its notebook, the same with and without make."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perchq_widget.cli.output import OK, need, print_report
from perchq_widget.core.errors import QuantError
from perchq_widget.report.document import MIMETYPE
from perchq_widget.report.export import write_atomic

if TYPE_CHECKING:
    from nbformat import NotebookNode

    from perchq_widget.report.documents import ChannelReport

NOTEBOOK = "quickstart.ipynb"
MODEL_FILES = ("digits.safetensors", "digits_ranges.csv", "digits.json")
# The layer that the quickstart looks at too.
LAYER = "conv2.weight"
CELL_LIMIT_S = 300
LIVE_VIEW = "application/vnd.jupyter.widget-view+json"


def demo(options: argparse.Namespace) -> int:
    """Analyze the model, write the results into --out, run the notebook there, open JupyterLab from a terminal."""
    need("nbclient", "lab")
    need("ipykernel", "lab")
    need("typst", "pdf")
    out = prepare(options.out)
    fresh_notebook(out)
    written = analyze_model(out)
    notebook = out / NOTEBOOK
    print(f"\nrunning {notebook} ...", flush=True)
    run_notebook(notebook)
    print("\nwritten:")
    for path in (*written, notebook, *sorted((out / "exports").glob("*"))):
        print(f"  {path}  ({path.stat().st_size / 1024:,.0f} KB)")
    if options.no_lab:
        return OK
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        print(f"\nto open it: {invocation()} lab --out {options.out}")
        return OK
    return open_lab(notebook)


def invocation() -> str:
    """This command as it was typed; in a virtual environment its bare name may not be on the path."""
    script = Path(sys.argv[0])
    return str(script) if script.stem == "perchq" else f"{sys.executable} -m perchq_widget"


def lab(options: argparse.Namespace) -> int:
    """Open JupyterLab on the quickstart in --out; a notebook that is there already is opened as it is."""
    return open_lab(prepare(options.out) / NOTEBOOK)


def bundled(name: str) -> Path:
    """The notebook or one of the model's files: beside the package's modules when installed, else in the checkout."""
    package = Path(__file__).resolve().parents[1]
    folders = [package / "_demo", package.parent / "notebooks"]
    found = [folder / name for folder in folders if (folder / name).is_file()]
    if not found:
        raise QuantError(f"{name} is missing from {folders[0]}; install perchq_widget again")
    return found[0]


def prepare(out: Path) -> Path:
    """Copy notebook and model into ``out`` and return it. What the user may have edited is left alone."""
    models = out / "models"
    models.mkdir(parents=True, exist_ok=True)
    for name in MODEL_FILES:
        shutil.copyfile(bundled(f"models/{name}"), models / name)
    if not (out / NOTEBOOK).exists():
        shutil.copyfile(bundled(NOTEBOOK), out / NOTEBOOK)
    return out


def fresh_notebook(out: Path) -> None:
    """Replace the notebook in ``out`` by the bundled one; one whose cells were edited is kept beside it."""
    import nbformat

    def cells(path: Path) -> list[str]:
        return [cell["source"] for cell in nbformat.read(path, as_version=4)["cells"]]

    notebook = out / NOTEBOOK
    if cells(notebook) == cells(bundled(NOTEBOOK)):
        return
    names = (notebook.with_stem(f"quickstart-edited-{number}") for number in count(1))
    kept = next(path for path in names if not path.exists())
    notebook.replace(kept)
    shutil.copyfile(bundled(NOTEBOOK), notebook)
    print(f"your edited notebook is now {kept}\n")


def analyze_model(out: Path) -> list[Path]:
    """One line per layer, the table of LAYER, and its CSV and PDF; returns the files written."""
    from perchq_widget import api
    from perchq_widget.sources.opening import open_source

    source = open_source(out / "models" / MODEL_FILES[0])
    print(f"{out / 'models' / MODEL_FILES[0]}: SQNR of each layer as qint8, affine, per channel\n")
    for name in source:
        if len(source[name].shape) > 1:
            print_layer(name, api.analyze(source[name]))
    report = api.analyze(source[LAYER])
    print()
    print_report(report.document(rows=12))
    return [
        report.to_csv(out / f"{LAYER}.csv", overwrite=True),
        report.to_pdf(out / f"{LAYER}.pdf", overwrite=True),
    ]


def print_layer(name: str, report: ChannelReport) -> None:
    """Name, channels, SQNR and worst channel of one layer in a line."""
    figures = report.summary
    worst = f"worst channel {figures['worst_channel']} at {figures['worst_sqnr_db']:.2f} dB"
    print(f"  {name:<14} {figures['channels']:>4} channels  {figures['sqnr_db']:6.2f} dB, {worst}")


def run_notebook(notebook: Path) -> None:
    """Execute ``notebook`` in its folder with this interpreter and store the outputs in it.

    Raises QuantError with the cell's own error when one fails; the file then keeps what it held.
    """
    import nbformat
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

    # A kernel of the same name elsewhere on the machine may belong to another Python.
    os.environ["JUPYTER_PREFER_ENV_PATH"] = "1"
    content = nbformat.read(notebook, as_version=4)
    client = NotebookClient(
        content,
        timeout=CELL_LIMIT_S,
        kernel_name="python3",
        resources={"metadata": {"path": str(notebook.parent)}},
        store_widget_state=False,
        # The kernel lives as long as this call; its notes on transport and frozen modules are not the user's.
        extra_arguments=["--log-level=ERROR"],
    )
    try:
        client.execute()
    except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
        raise QuantError(f"{notebook} failed: {error}") from error
    keep_static_copies(content)
    write_atomic(notebook, nbformat.writes(content), overwrite=True)
    trust(content)


def keep_static_copies(content: NotebookNode) -> None:
    """Drop each panel's live view where its static copy follows: the kernel has ended, so nothing is live."""
    for cell in content.cells:
        if cell.cell_type == "code":
            copied = [shows(after, MIMETYPE) for after in cell.outputs[1:]] + [False]
            pairs = zip(cell.outputs, copied, strict=False)
            cell.outputs = [output for output, has_copy in pairs if not (has_copy and shows(output, LIVE_VIEW))]


def shows(output: Mapping[str, Any], mimetype: str) -> bool:
    """Whether an output holds data of that type."""
    return mimetype in output.get("data", {})


def trust(content: NotebookNode) -> None:
    """Sign the notebook that has just run here, as JupyterLab does on saving; it draws figures only in signed ones."""
    from nbformat.sign import NotebookNotary

    try:
        notary = NotebookNotary()
        with closing(notary.store):
            notary.sign(content)
    except OSError as error:
        print(f"not signed ({error}); in JupyterLab, run the cells to see their figures")


def open_lab(notebook: Path) -> int:
    """Start JupyterLab on ``notebook`` and stay until it ends; Ctrl-C ends it as in JupyterLab itself."""
    need("jupyterlab", "lab")
    print(f"\nopening {notebook} in JupyterLab; Ctrl-C twice ends it", flush=True)
    process = subprocess.Popen([*lab_command(), notebook.name], cwd=notebook.parent)
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:
            # The terminal sent it to JupyterLab as well, which asks before it stops.
            continue


def lab_command() -> list[str]:
    """JupyterLab of this interpreter. It refuses to run as root unless told; containers often have no other user."""
    root = hasattr(os, "geteuid") and os.geteuid() == 0
    return [sys.executable, "-m", "jupyter", "lab", *(["--allow-root"] if root else [])]
