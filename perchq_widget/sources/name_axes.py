"""Which axis of a weight counts its output channels, by what the weight is called and the model's configuration.

Names are all that safetensors, npz and torch checkpoints have of a model's graph. Where a name leaves it open, the
reason says that it is a guess; a graph or a module, which know, are asked by their own readers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from perchq_widget.sources.axes import ONE_AXIS, AxisHint, suggested_axis

_CONV1D_MODELS = frozenset({"clvp", "decision_transformer", "gpt2", "imagegpt", "openai-gpt"})  # in transformers

# One search decides for most names that none of the rules is about them.
_TELLING = re.compile(r"emb|wte|wpe|kernel|c_attn|c_proj|c_fc|q_attn|expert|moe|trans|deconv|tconv|up|_g$|original0$")
_EMBEDDING = re.compile(
    r"(\b|_)(wte|wpe|emb|embed|embedding|embeddings|embed_tokens|embed_positions|tok_embeddings)(_\d+)?"
    r"([./](weight|embedding|embeddings)(:0)?)?$"
)
_CONV1D = re.compile(r"\b(c_attn|c_proj|c_fc|q_attn)\.weight$")
_KERNEL = re.compile(r"(\b|_)kernel(:0)?$")
_DEPTHWISE_KERNEL = re.compile(r"depthwise_kernel(:0)?$")
_KERAS_TRANSPOSED = re.compile(r"conv\dd_?transpose")
_TRANSPOSED = re.compile(r"conv_?\d?d?_?transposed?|transposed?_?conv|conv_?trans\b|deconv|(\b|_)tconv")
_VOCODER = re.compile(r"\bups\.\d+(\.\d+)?\.(weight|weight_v|parametrizations\.weight\.original1)$")
_UPSAMPLING = re.compile(r"\b(up_?conv|up_?sampler?|up)_?\d*(\.\d+)?\.weight$")
_NORMS_OF_WEIGHTS = re.compile(r"(\bweight_g|\bparametrizations\.weight\.original0)$")
_EXPERTS = re.compile(r"expert|\b\w*moe\b")
_INWARD = re.compile(r"down|\bw2\b|output_linear")

_HINTS = {
    "embedding": "an embedding by its name: each row is one token's or position's vector",
    "conv1d": "(in, out): the configuration's model_type stores this layer as a Conv1D, unlike Linear",
    "conv1d by shape": "(in, out) by its shape, as GPT-2's Conv1D has it; a guess without the configuration",
    "conv1d or linear": "first axis, as in Linear; a Conv1D as in GPT-2 stores (in, out), and the name fits both",
    "kernel": "Flax and Keras store a kernel as (..., in, out): its output channels are the last axis",
    "kernel of heads": "by its name a kernel of (in, heads, head size), whose outputs are two axes; this is the last",
    "depthwise kernel": "Keras stores a depthwise kernel as (..., channels, multiplier): this axis counts the channels",
    "keras transposed": "Keras stores a transposed convolution's kernel as (..., out, in): the last axis but one",
    "transposed": "a transposed convolution, (in, out / groups, ...) in torch: axis 1; a guess from its name alone",
    "depthwise transposed": "by name and shape a transposed convolution with one output per group, counted by axis 0",
    "upsampling": "first axis, as in Conv; were it a transposed convolution, as its name allows, it would be axis 1",
    "norms": "the norms of weight_norm, one for each slice of the weight: the axis that is longer than 1",
    "experts, out, in": "experts in one tensor, (experts, out, in) by the configuration's hidden_size: axis 1",
    "experts, in, out": "experts in one tensor, (experts, in, out) by the configuration's hidden_size: axis 2",
    "experts": "by its name experts in one tensor, mostly (experts, out, in): axis 1; a guess from name and rank",
}
Config = Mapping[str, Any] | None


def axis_by_name(name: str, shape: tuple[int, ...], config: Config = None) -> AxisHint:
    """The axis of a weight called ``name`` that counts its output channels.

    ``config`` is the model's parsed config.json or None: its model_type tells GPT-2's layers from Linear, its
    hidden_size how the experts of a mixture lie. Other names get what :func:`suggested_axis` gives.
    """
    if len(shape) <= 1:
        return AxisHint(0, ONE_AXIS)
    lower = name[-200:].lower()
    found = _found(lower, shape, config) if _TELLING.search(lower) else None
    if found is None:
        return AxisHint(*suggested_axis(shape))
    axis, rule = found
    return AxisHint(axis, _HINTS[rule])


def _found(name: str, shape: tuple[int, ...], config: Config) -> tuple[int, str] | None:
    """(axis, the rule's name in _HINTS), or None where the name tells nothing."""
    rank = len(shape)
    if _KERNEL.search(name):
        return _kernel(name, rank)
    if rank == 2 and _EMBEDDING.search(name):
        return 0, "embedding"
    if rank == 2 and _CONV1D.search(name):
        return _conv1d(name, shape, config)
    if _NORMS_OF_WEIGHTS.search(name) and sum(size > 1 for size in shape) == 1:
        return next(axis for axis, size in enumerate(shape) if size > 1), "norms"
    if 3 <= rank <= 5 and (_TRANSPOSED.search(name) or (rank == 3 and _VOCODER.search(name))):
        return (0, "depthwise transposed") if shape[1] == 1 < shape[0] else (1, "transposed")
    if 3 <= rank <= 5 and _UPSAMPLING.search(name):
        # Transposed convolutions that enlarge have even kernels; other convolutions have odd ones, as a rule.
        return (1, "transposed") if all(size % 2 == 0 for size in shape[2:]) else (0, "upsampling")
    if rank == 3 and _EXPERTS.search(name):
        return _experts(name, shape, config)
    return None


def _kernel(name: str, rank: int) -> tuple[int, str]:
    if _DEPTHWISE_KERNEL.search(name) and rank >= 3:
        return rank - 2, "depthwise kernel"
    if _KERAS_TRANSPOSED.search(name) and rank >= 3:
        return rank - 2, "keras transposed"
    heads = rank == 3 and re.search(r"\b(query|key|value)\b", name) is not None
    return rank - 1, "kernel of heads" if heads else "kernel"


def _conv1d(name: str, shape: tuple[int, ...], config: Config) -> tuple[int, str] | None:
    model_type = (config or {}).get("model_type")
    if isinstance(model_type, str):
        return (1, "conv1d") if model_type in _CONV1D_MODELS else None
    wider = 3 if "c_attn" in name else 4 if "c_fc" in name else 0
    if wider and shape[1] == wider * shape[0]:
        return 1, "conv1d by shape"
    return None if wider and shape[0] == wider * shape[1] else (0, "conv1d or linear")


def _experts(name: str, shape: tuple[int, ...], config: Config) -> tuple[int, str]:
    """Where the model's width is known and on one axis only, it tells inputs from outputs."""
    inner = (config or {}).get("text_config")
    hidden = next(
        (each["hidden_size"] for each in (config, inner) if isinstance(each, Mapping) and "hidden_size" in each), None
    )
    if (shape[1] == hidden) == (shape[2] == hidden):
        return 1, "experts"
    inward = _INWARD.search(name) is not None  # its outputs are as many as the model is wide
    return (1, "experts, out, in") if (shape[1] == hidden) == inward else (2, "experts, in, out")
