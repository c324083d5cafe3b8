"""analyze() of a 4096 x 4096 float32 layer beside torch and beside one read; the cost of the import.

Everything that a ratio compares is timed in turns in one run, so that a slow moment hits both. `make bench`.
"""

from __future__ import annotations

import subprocess
import sys
import warnings

import pytest
from benchmarks.turns import in_turns, layer
from needs import oracle

import perchq_widget as pq

pytestmark = pytest.mark.bench

def torch_table(torch: object, x: object, ch_axis: int) -> tuple[object, ...]:
    """Observer, fake_quantize and the error reductions that fill the same columns."""
    observers = pytest.importorskip("torch.ao.quantization")
    observer = observers.PerChannelMinMaxObserver(
        ch_axis=ch_axis,
        dtype=torch.qint8,
        qscheme=torch.per_channel_affine,  # type: ignore[attr-defined]
    )
    observer(x)
    scale, zero_point = observer.calculate_qparams()
    back = torch.fake_quantize_per_channel_affine(x, scale, zero_point.int(), ch_axis, -128, 127)  # type: ignore[attr-defined]
    error, other = back - x, 1 - ch_axis  # type: ignore[operator]
    return (
        (error * error).sum(other), error.abs().sum(other), error.abs().amax(other), (x * x).sum(other),
        x.abs().sum(other), (x * back).sum(other), (back * back).sum(other), ((back == 0) & (x != 0)).sum(other),
    )  # fmt: skip


@pytest.mark.parametrize("scheme", ["affine", "symmetric"])
@pytest.mark.parametrize("ch_axis", [0, -1])
def test_analyze_beside_torch_and_one_read(ch_axis: int, scheme: str) -> None:
    torch = oracle("torch")
    x = layer()
    tensor = torch.from_numpy(x)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ours, theirs, read = in_turns(
            lambda: pq.analyze(x, ch_axis=ch_axis, scheme=scheme),
            lambda: torch_table(torch, tensor, ch_axis % 2),
            x.sum,
        )
    print(
        f"\nanalyze ch_axis={ch_axis} {scheme}: {ours * 1e3:.0f} ms; torch {theirs * 1e3:.0f} ms, {theirs / ours:.1f}x "
        f"faster (goal 6); x.sum() {read * 1e3:.1f} ms, {ours / read:.1f}x slower (goal 12)"
    )


def test_import() -> None:
    def start(statement: str) -> None:
        subprocess.run([sys.executable, "-c", statement], check=True)

    bare, ours = in_turns(lambda: start("import numpy"), lambda: start("import numpy, perchq_widget"))
    print(f"\nimport perchq_widget adds {(ours - bare) * 1e3:.0f} ms to numpy's {bare * 1e3:.0f} ms (goal 200)")
