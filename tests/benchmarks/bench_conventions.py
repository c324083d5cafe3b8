"""Every convention's analyze() beside the fastest; groups and blocks beside the libraries' own quantize-dequantize.

Everything that a ratio compares is timed in turns in one run. `make bench`.
"""

from __future__ import annotations

import tracemalloc
import warnings
from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest
from benchmarks.turns import in_turns, layer
from needs import oracle

import perchq_widget as pq
from perchq_widget.core.conventions import CONVENTIONS, allowed
from perchq_widget.core.defaults import settled
from perchq_widget.core.errors import QuantError

pytestmark = pytest.mark.bench


def settings_of(name: str) -> dict[str, Any] | None:
    """What a convention does with 8-bit weights: the first combination that it has; None without integers."""
    for dtype, scheme, granularity in product(("qint8", "quint8"), ("symmetric", "affine"), ("channel", "tensor")):
        options = {"dtype": dtype, "scheme": scheme, "granularity": granularity, "convention": name}
        if allowed(settled(**options)) is None:
            return options
    return None


def test_every_convention_beside_the_fastest() -> None:
    x = layer()
    options = {name: settings_of(name) for name in CONVENTIONS}
    have = {name: each for name, each in options.items() if each is not None and name != "calculator"}
    runs: list[Callable[[], object]] = [lambda each=each: pq.analyze(x, **each) for each in have.values()]  # type: ignore[misc]
    took = dict(zip(have, in_turns(*runs), strict=True))
    fastest = min(took.values())
    print()
    for name, seconds in sorted(took.items(), key=lambda item: item[1]):
        each = have[name]
        setting = f"{each['dtype']} {each['scheme']} per {each['granularity']}"
        print(f"  {name:20} {seconds * 1e3:6.0f} ms  {seconds / fastest:4.2f}x the fastest (goal 2)  {setting}")


def torchao_int4(tensor: Any) -> Callable[[], object]:
    """torchao's choose, quantize and dequantize, symmetric int4 in groups of 128."""
    primitives = pytest.importorskip("torchao.quantization.quant_primitives")
    torch = oracle("torch")

    def run() -> object:
        block = (1, 128)
        symmetric = primitives.MappingType.SYMMETRIC
        scale, zero = primitives.choose_qparams_affine(tensor, symmetric, block, torch.int8, -8, 7)
        codes = primitives.quantize_affine(tensor, block, scale, zero, torch.int8, -8, 7)
        return primitives.dequantize_affine(codes, block, scale, zero, torch.int8, -8, 7)

    return run


def torchao_mxfp4(tensor: Any) -> Callable[[], object]:
    """torchao's to_mx and back."""
    torch = oracle("torch")
    mx = pytest.importorskip("torchao.prototype.mx_formats.mx_tensor")

    def run() -> object:
        scale, codes = mx.to_mx(tensor, torch.float4_e2m1fn_x2, 32)
        return mx.to_dtype(codes, scale, torch.float4_e2m1fn_x2, 32, torch.float32)

    return run


def bitsandbytes_nf4(tensor: Any) -> Callable[[], object]:
    """bitsandbytes' quantize_4bit and back, on the CPU."""
    functional = pytest.importorskip("bitsandbytes.functional")

    def run() -> object:
        codes, state = functional.quantize_4bit(tensor, blocksize=64, quant_type="nf4")
        return functional.dequantize_4bit(codes, state)

    return run


PEERS: list[tuple[str, dict[str, Any], Callable[[Any], Callable[[], object]]]] = [
    ("int4 groups of 128", {"dtype": "int4", "scheme": "symmetric", "group_size": 128}, torchao_int4),
    ("mxfp4", {"dtype": "mxfp4"}, torchao_mxfp4),
    ("nf4", {"dtype": "nf4"}, bitsandbytes_nf4),
]


@pytest.mark.parametrize(("name", "options", "peer"), PEERS, ids=[each[0] for each in PEERS])
def test_groups_and_blocks_beside_the_libraries(name: str, options: dict[str, Any], peer: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        x = layer()
        theirs = peer(oracle("torch").from_numpy(x))
        report = pq.analyze(x, **options)
        whole, back, library = in_turns(
            lambda: pq.analyze(x, **options), lambda: pq.fake_quantize(x, report.qparams), theirs
        )
    print(
        f"\n{name}: library's own quantize-dequantize {library * 1e3:.0f} ms; analyze (scales, codes, errors of every "
        f"channel) {whole * 1e3:.0f} ms, {library / whole:.1f}x faster (goal 3); fake_quantize with given scales "
        f"{back * 1e3:.0f} ms, {library / back:.1f}x faster"
    )


def test_a_million_groups() -> None:
    x = np.random.default_rng(0).standard_normal((4096, 11008), dtype=np.float32)
    options: dict[str, Any] = {"dtype": "int4", "scheme": "symmetric", "group_size": 32}
    (took,) = in_turns(lambda: pq.analyze(x, **options))
    tracemalloc.start()
    report = pq.analyze(x, **options)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    (listed,) = in_turns(report.groups)
    n_groups = report.qparams.scale.size
    print(
        f"\n{n_groups / 1e6:.2f} million groups of 32: analyze {took:.2f} s (goal 1), {peak / 1e6:.0f} MB extra "
        f"at most (goal 200); groups() {listed:.2f} s"
    )
    assert isinstance(n_groups, int)
    with pytest.raises(QuantError):
        pq.analyze(x[:, :100], **options)
