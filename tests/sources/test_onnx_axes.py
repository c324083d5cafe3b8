"""The suggested channel axis of a model's tensors, and the reason: by the layers that use them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from needs import oracle
from sources.onnx_files import MS, model, node, normal, saved, tensor

from perchq_widget.sources.base import TensorRecord, TensorSource
from perchq_widget.sources.opening import open_source

pytestmark = pytest.mark.oracle
oracle("onnx")


def opened(tmp_path: Path, nodes: list[Any], *parts: Any) -> TensorSource:
    return open_source(saved(model(nodes, parts), tmp_path / "m.onnx"))


def record(tmp_path: Path, *nodes: Any, shape: tuple[int, ...] = (4, 6)) -> TensorRecord:
    """The record of ``w`` in a model of these nodes."""
    return opened(tmp_path, list(nodes), tensor(normal(*shape), "w"))["w"]


CASES: dict[str, tuple[Any, tuple[int, ...], int, str]] = {
    "Conv": (node("Conv", ["x", "w"], ["y"], "c"), (8, 3, 3, 3), 0, "Conv 'c'"),
    "ConvTranspose": (node("ConvTranspose", ["x", "w"], ["y"], "c"), (8, 4, 2, 2), 1, "(in, out, ...)"),
    "grouped": (node("ConvTranspose", ["x", "w"], ["y"], "c", group=2), (8, 4, 2, 2), 1, "each of its 2 groups"),
    "Gemm": (node("Gemm", ["x", "w"], ["y"], "g"), (4, 6), 1, "transB=0"),
    "transB": (node("Gemm", ["x", "w"], ["y"], "g", transB=1), (4, 6), 0, "transB=1"),
    "Gemm's A": (node("Gemm", ["w", "x"], ["y"], "g"), (4, 6), 0, "transA=0"),
    "transA": (node("Gemm", ["w", "x"], ["y"], "g", transA=1), (4, 6), 1, "transA=1"),
    "MatMul": (node("MatMul", ["x", "w"], ["y"], "m"), (4, 6), 1, "columns"),
    "batched": (node("MatMul", ["x", "w"], ["y"], "m"), (2, 4, 6), 2, "columns"),
    "MatMul's A": (node("MatMul", ["w", "x"], ["y"], "m"), (2, 4, 6), 1, "rows"),
    "fused": (node("FusedMatMul", ["x", "w"], ["y"], "m", domain=MS, transB=1), (4, 6), 0, "columns"),
    "Gather": (node("Gather", ["w", "i"], ["y"], "g"), (9, 4), 0, "rows"),
    "LSTM": (node("LSTM", ["x", "w"], ["y"], "l"), (2, 8, 3), 1, "LSTM 'l'"),
    "recurrent": (node("GRU", ["x", "v", "w"], ["y"], "l"), (1, 9, 3), 1, "GRU 'l'"),
    "PRelu": (node("PRelu", ["x", "w"], ["y"], "p"), (1, 4, 1, 1), 1, "axis 1 is the only one longer"),
    "Einsum": (node("Einsum", ["x", "w"], ["y"], "e", equation="bij,jk->bik"), (4, 6), 1, "bij,jk->bik"),
    "heads": (node("Einsum", ["w", "x"], ["y"], "e", equation="hkd,bk->bhd"), (2, 4, 6), 2, "keeps axis 2"),
    "no layer": (node("Abs", ["w"], ["y"]), (4, 6), 0, "no layer that says more"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_the_axis_follows_the_layer(tmp_path: Path, name: str) -> None:
    step, shape, axis, words = CASES[name]
    found = record(tmp_path, step, shape=shape)
    assert found.ch_axis == axis
    assert words in found.ch_axis_reason


def test_it_is_followed_through_nodes_that_only_hand_it_on(tmp_path: Path) -> None:
    found = record(
        tmp_path,
        node("Identity", ["w"], ["a"]),
        node("Cast", ["a"], ["b"], to=10),
        node("Transpose", ["b"], ["c"], perm=[2, 0, 1]),
        node("MatMul", ["x", "c"], ["y"], "mm"),
        shape=(2, 4, 6),
    )
    assert found.ch_axis == 1
    assert found.ch_axis_reason.startswith("MatMul 'mm'")
    assert found.ch_axis_reason.endswith("axis 1 of the tensor as it is stored")


def test_a_reshape_is_followed_where_it_only_adds_ones(tmp_path: Path) -> None:
    weight, plain = tensor(normal(8, 3), "w"), tensor(np.array([8, 3, 1, 1]), "shape")
    nodes = [node("Reshape", ["w", "shape"], ["r"]), node("Conv", ["x", "r"], ["y"], "c")]
    assert opened(tmp_path, nodes, weight, plain)["w"].ch_axis_reason.startswith("Conv 'c'")
    mixed = tensor(np.array([3, 8, 1, 1]), "shape")
    assert "no layer" in opened(tmp_path, nodes, weight, mixed)["w"].ch_axis_reason


def test_of_users_that_disagree_the_first_counts_and_the_reason_says_so(tmp_path: Path) -> None:
    found = record(tmp_path, node("Gather", ["w", "i"], ["e"], "table"), node("MatMul", ["x", "w"], ["y"], "head"))
    assert found.ch_axis == 0
    assert found.ch_axis_reason.startswith("Gather 'table'")
    assert "but MatMul 'head'" in found.ch_axis_reason


def test_circles_and_crowds_of_nodes_end(tmp_path: Path) -> None:
    circle = [node("Identity", ["w"], ["a"]), node("Identity", ["b"], ["a"]), node("Identity", ["a"], ["b"])]
    crowd = [node("Identity", [f"n{place}"], [f"n{place + 1}"]) for place in range(300)]
    found = record(tmp_path, *circle, node("Identity", ["w"], ["n0"]), *crowd, node("Conv", ["x", "n300"], ["y"]))
    assert "no layer" in found.ch_axis_reason
    loop = [node("Identity", ["b"], ["a"]), node("Identity", ["a"], ["b"]), node("Reshape", ["w", "a"], ["y"])]
    assert "no layer" in record(tmp_path, *loop).ch_axis_reason


def test_layers_that_torch_exports(tmp_path: Path) -> None:
    torch = oracle("torch")

    class Net(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.conv = torch.nn.Conv2d(3, 8, 3)
            self.slope = torch.nn.PReLU(8)
            self.up = torch.nn.ConvTranspose2d(8, 4, 2, groups=2)
            self.fc = torch.nn.Linear(4 * 7 * 7, 10)
            self.table = torch.nn.Embedding(12, 10)
            self.lstm = torch.nn.LSTM(10, 6, batch_first=True)
            self.head = torch.nn.Linear(6, 3, bias=False)

        def forward(self, x: Any, index: Any) -> Any:
            y = self.fc(self.up(self.slope(self.conv(x))).flatten(1))
            return self.head(self.lstm(self.table(index) + y[:, None])[0])

    path = tmp_path / "m.onnx"
    net, inputs = Net().eval(), (torch.zeros(1, 3, 8, 8), torch.zeros(1, 4, dtype=torch.long))
    with pytest.warns():  # the exporter that needs no onnxscript warns that it is the old one
        torch.onnx.export(net, inputs, str(path), dynamo=False)
    source = open_source(path)
    axes = {(each.shape, each.ch_axis_reason.split()[0]): each.ch_axis for each in source.applicable()}
    assert axes[(8, 3, 3, 3), "Conv"] == 0
    assert axes[(8, 2, 2, 2), "ConvTranspose"] == 1
    assert axes[(10, 196), "Gemm"] == 0
    assert axes[(12, 10), "Gather"] == 0
    assert axes[(1, 24, 10), "LSTM"] == axes[(1, 24, 6), "LSTM"] == 1
    assert axes[(6, 3), "MatMul"] == 1
    assert axes[(8, 1, 1), "PRelu"] == 0
    assert np.array_equal(source["conv.weight"].read(), net.conv.weight.detach().numpy())
