"""Which axis of a weight counts its output channels, by the kind of layer that uses it, and why."""

from __future__ import annotations

from dataclasses import dataclass

FIRST_AXIS = "output channels come first in Linear and Conv weights as torch stores them; change it for other layouts"
ONE_AXIS = "the only axis"


@dataclass(frozen=True, slots=True)
class AxisHint:
    """A suggested channel axis, from 0, and the reason in one line."""

    axis: int
    reason: str


def suggested_axis(shape: tuple[int, ...]) -> tuple[int, str]:
    """The channel axis to begin with when only the shape is known, and why."""
    return (0, ONE_AXIS) if len(shape) <= 1 else (0, FIRST_AXIS)


_OUT_FIRST = "{kind} stores {layout}: its output channels are axis 0"
_LAYOUTS = {
    "Linear": "(out, in)",
    "Bilinear": "(out, in1, in2)",
    **{f"Conv{rank}d": "(out, in / groups, ...)" for rank in (1, 2, 3)},
}
_GATES = {"LSTM": 4, "GRU": 3, "RNN": 1, "LSTMCell": 4, "GRUCell": 3, "RNNCell": 1}
_NORMS = frozenset(
    {"LayerNorm", "RMSNorm", "GroupNorm", "LocalResponseNorm", "CrossMapLRN2d"}
    | {f"{family}Norm{rank}d" for family in ("Batch", "Instance") for rank in (1, 2, 3)}
)
_TOKENS = frozenset({"Embedding", "EmbeddingBag"})
_TRANSPOSED = frozenset({"ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d"})
_RANKS = {
    "Linear": 2,
    "Bilinear": 3,
    "Conv1D": 2,
    "Embedding": 2,
    "EmbeddingBag": 2,
    **{f"Conv{way}{rank}d": rank + 2 for way in ("", "Transpose") for rank in (1, 2, 3)},
}

LAYER_KINDS: frozenset[str] = frozenset(
    {*_LAYOUTS, *_GATES, *_NORMS, *_TOKENS, *_TRANSPOSED, "Conv1D", "MultiheadAttention"}
)
"""The layer classes that :func:`axis_of_layer` knows, by the names that torch (Conv1D: transformers) gives them."""


def axis_of_layer(
    kind: str, shape: tuple[int, ...], *, tensor: str = "weight", groups: int = 1, name: str = ""
) -> AxisHint:
    """The axis of ``shape`` that counts the output channels of a layer of ``kind``, one of :data:`LAYER_KINDS`.

    ``tensor`` is what the layer calls the tensor ("weight", "in_proj_weight", "weight_hh_l0"), ``groups`` its number
    of groups, ``name`` what the class is called where it derives from ``kind``. Other kinds, and tensors whose rank
    is not their kind's, get what :func:`suggested_axis` gives.
    """
    called = f"{name} ({kind})" if name and name != kind else kind
    if len(shape) <= 1:
        return AxisHint(0, ONE_AXIS)
    fits = _RANKS.get(kind, len(shape)) == len(shape)
    found = _layer_hint(kind, called, shape, tensor, groups) if fits else None
    return AxisHint(*suggested_axis(shape)) if found is None else found


def _layer_hint(kind: str, called: str, shape: tuple[int, ...], tensor: str, groups: int) -> AxisHint | None:
    if kind in _LAYOUTS:
        return AxisHint(0, _OUT_FIRST.format(kind=called, layout=_LAYOUTS[kind]))
    if kind in _TRANSPOSED:
        return _transposed(called, groups)
    if kind in _TOKENS:
        return AxisHint(0, f"{called} stores (tokens, features): each row is one token's vector")
    if kind == "Conv1D":
        return AxisHint(1, f"{called} stores (in, out), unlike Linear: its output channels are axis 1")
    if kind in _GATES:
        return _gates(kind, called, tensor)
    if kind == "MultiheadAttention":
        return _attention(called, shape, tensor)
    if kind in _NORMS:
        return AxisHint(0, f"{called} has one number per normalized element and no output channels")
    return None


def _transposed(called: str, groups: int) -> AxisHint:
    if groups > 1:
        return AxisHint(
            1,
            f"{called} stores (in, out / groups, ...): axis 1 counts the output channels of one of its {groups} "
            "groups, each shared by all of them",
        )
    return AxisHint(1, f"{called} stores (in, out / groups, ...): its output channels are axis 1")


def _gates(kind: str, called: str, tensor: str) -> AxisHint:
    if tensor.startswith("weight_hr"):
        return AxisHint(0, f"{called} projects its hidden state by (projection, hidden): its outputs are axis 0")
    n_gates = _GATES[kind]
    rows = f"({n_gates} * hidden, in): axis 0 holds the rows of {n_gates} gates" if n_gates > 1 else "(hidden, in)"
    return AxisHint(0, f"{called} stores {rows}" + ("" if n_gates > 1 else ": its output channels are axis 0"))


def _attention(called: str, shape: tuple[int, ...], tensor: str) -> AxisHint:
    if tensor in ("bias_k", "bias_v"):
        return AxisHint(len(shape) - 1, f"{called} stores {tensor} as (1, 1, features): features are the last axis")
    if tensor == "in_proj_weight":
        return AxisHint(0, f"{called} stores (3 * features, in): axis 0 holds the rows of query, key and value")
    return AxisHint(0, f"{called} stores {tensor} as (out, in): its output channels are axis 0")
