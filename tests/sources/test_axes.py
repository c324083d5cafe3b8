"""The channel axis follows the kind of layer, and the reason names its class."""

from __future__ import annotations

import warnings
from typing import Any

import needs
import pytest

from perchq_widget.sources.axes import FIRST_AXIS, LAYER_KINDS, ONE_AXIS, axis_of_layer
from perchq_widget.sources.base import TensorRecord
from perchq_widget.sources.opening import open_source

pytestmark = pytest.mark.oracle
torch = needs.oracle("torch")
nn: Any = torch.nn


def kinds(*names: str) -> list[str]:
    return [f"{name}{rank}d" for name in names for rank in (1, 2, 3)]


@pytest.mark.parametrize("kind", sorted(LAYER_KINDS))
def test_every_kind_has_an_axis_and_is_named(kind: str) -> None:
    rank = {"Linear": 2, "Bilinear": 3}.get(kind, int(kind[-2]) + 2 if kind[-2:] in ("1d", "2d", "3d") else 2)
    hint = axis_of_layer(kind, (2,) * rank)
    assert kind in hint.reason
    assert hint.axis == (1 if kind in ("Conv1D", *kinds("ConvTranspose")) else 0)
    assert axis_of_layer(kind, (5,)).reason == ONE_AXIS
    assert "Mine" in axis_of_layer(kind, (2,) * rank, name="Mine").reason


def test_what_is_not_known_gets_the_plain_suggestion() -> None:
    assert axis_of_layer("Whatever", (2, 3)).reason == FIRST_AXIS
    assert axis_of_layer("Linear", (2, 3, 4)).reason == FIRST_AXIS
    assert axis_of_layer("ConvTranspose2d", (2, 3)).axis == 0


def test_groups_of_a_transposed_convolution_are_told() -> None:
    assert "groups" not in axis_of_layer("ConvTranspose2d", (8, 4, 3, 3)).reason.replace("/ groups", "")
    hint = axis_of_layer("ConvTranspose2d", (8, 4, 3, 3), groups=2)
    assert (hint.axis, "one of its 2 groups" in hint.reason) == (1, True)


class Own(nn.ConvTranspose1d):  # type: ignore[misc]
    pass


LAYERS: dict[str, tuple[Any, str, int, str]] = {
    "linear": (lambda: nn.Linear(3, 2), "weight", 0, "Linear"),
    "conv": (lambda: nn.Conv3d(3, 2, 1), "weight", 0, "Conv3d"),
    "transposed": (lambda: nn.ConvTranspose2d(4, 6, 3, groups=2), "weight", 1, "one of its 2 groups"),
    "subclass": (lambda: Own(4, 6, 3), "weight", 1, r"Own (ConvTranspose1d)"),
    "embedding": (lambda: nn.Embedding(5, 3), "weight", 0, "token"),
    "bag": (lambda: nn.EmbeddingBag(5, 3), "weight", 0, "token"),
    "bilinear": (lambda: nn.Bilinear(2, 3, 4), "weight", 0, "(out, in1, in2)"),
    "attention": (lambda: nn.MultiheadAttention(4, 2), "in_proj_weight", 0, "query, key and value"),
    "attention apart": (lambda: nn.MultiheadAttention(4, 2, kdim=3), "k_proj_weight", 0, "k_proj_weight"),
    "attention bias": (lambda: nn.MultiheadAttention(4, 2, add_bias_kv=True), "bias_k", 2, "last axis"),
    "attention out": (lambda: nn.MultiheadAttention(4, 2), "out_proj.weight", 0, "Linear"),
    "lstm": (lambda: nn.LSTM(3, 4, num_layers=2, bidirectional=True), "weight_hh_l1_reverse", 0, "4 gates"),
    "lstm projection": (lambda: nn.LSTM(3, 4, proj_size=2), "weight_hr_l0", 0, "projects"),
    "gru": (lambda: nn.GRU(3, 4), "weight_ih_l0", 0, "3 gates"),
    "rnn": (lambda: nn.RNN(3, 4), "weight_ih_l0", 0, "(hidden, in)"),
    "norm": (lambda: nn.LayerNorm(4), "weight", 0, "the only axis"),
    "wide norm": (lambda: nn.LayerNorm((4, 3)), "weight", 0, "no output channels"),
    "weight norm": (lambda: nn.utils.parametrizations.weight_norm(nn.ConvTranspose1d(2, 3, 1), dim=1),
                    "parametrizations.weight.original1", 1, "ConvTranspose1d"),
    "its lengths": (lambda: nn.utils.parametrizations.weight_norm(nn.Linear(2, 3)),
                    "parametrizations.weight.original0", 0, "Linear"),
    "spectral norm": (lambda: nn.utils.parametrizations.spectral_norm(nn.Linear(2, 3)),
                      "parametrizations.weight.original", 0, "Linear"),
}  # fmt: skip


def record(make: Any, name: str) -> TensorRecord:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return open_source(make())[name]


@pytest.mark.parametrize("case", LAYERS)
def test_a_modules_weights_follow_their_layers(case: str) -> None:
    make, name, axis, words = LAYERS[case]
    found = record(make, name)
    assert found.ch_axis == axis
    assert words in found.ch_axis_reason


def test_old_weight_norm() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        layer = nn.utils.weight_norm(nn.ConvTranspose1d(2, 3, 1), dim=1)
    source = open_source(nn.ModuleDict({"up": layer}))
    assert [source[f"up.weight_{part}"].ch_axis for part in "gv"] == [1, 1]


def test_transformers_conv1d() -> None:
    utils = pytest.importorskip("transformers.pytorch_utils")
    found = open_source(nn.Sequential(utils.Conv1D(6, 3)))["0.weight"]
    assert (found.shape, found.ch_axis) == ((3, 6), 1)
    assert "unlike Linear" in found.ch_axis_reason


def test_lazy_and_meta_parameters_are_listed() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # lazy modules are new
        lazy = open_source(nn.Sequential(nn.LazyLinear(3), nn.Linear(2, 3, device="meta")))
    assert "no shape yet; run the module once" in str(lazy["0.weight"].not_applicable)
    assert "no data" in str(lazy["1.weight"].not_applicable)
    assert lazy["1.weight"].shape == (3, 2)
