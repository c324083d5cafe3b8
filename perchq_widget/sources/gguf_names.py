"""What llama.cpp's names say of a GGUF tensor: which axis counts its output channels, and what its rows are."""

from __future__ import annotations

import re
from collections.abc import Container

from .axes import AxisHint, suggested_axis

#: Architectures whose converters re-order the rows of q and k; see LlamaModel.permute in llama.cpp's conversion.
_REORDERED = frozenset({"llama", "granite", "granitemoe", "minicpm", "minicpm3", "deci", "internlm2", "arctic"})
_REORDERED_NOTE = (
    "llama.cpp's converter re-orders the rows of q and k of Hugging Face checkpoints, within each head (the halves of "
    "its rotary pairs, interleaved): channel numbers are not those of the checkpoint"
)
_Q_OR_K = re.compile(r"blk\.\d+\.attn_[qk]\.(weight|bias)")
_EXPERTS = re.compile(r"_(ch)?exps\.")
_TRANSPOSED = re.compile(r"(conv_?tr(ans\w*)?|transposed?_conv|deconv\w*|wave_upsample)[._]", re.IGNORECASE)
_ROWS = {
    "token_embd.weight": "tokens",
    "per_layer_token_embd.weight": "tokens",
    "output.weight": "the tokens' scores, the output channels",
    "token_types.weight": "token types",
    "position_embd.weight": "positions",
    "v.position_embd.weight": "positions",
    "a.position_embd.weight": "positions",
    "decoder.positional_embedding": "positions",
    "encoder.positional_embedding": "positions",
    "decoder.token_embedding.weight": "tokens",
}


def axis_of(name: str, shape: tuple[int, ...]) -> AxisHint:
    """The channel axis of a tensor of ``shape``, which has GGUF's axes reversed."""
    rank = len(shape)
    if rank <= 1:
        return AxisHint(*suggested_axis(shape))
    if name in _ROWS:
        return AxisHint(0, f"the rows of {name} are {_ROWS[name]}")
    if rank == 3 and _EXPERTS.search(name):
        return AxisHint(1, "(experts, out, in): axis 0 counts the experts, axis 1 the output channels of each")
    if rank >= 3 and _TRANSPOSED.search(name):
        return AxisHint(1, "a transposed convolution keeps (in, out, kernel): its output channels are axis 1")
    if rank >= 3:
        return AxisHint(0, "a convolution's kernel is (out, in, kernel) once GGUF's axes are reversed")
    return AxisHint(0, "llama.cpp's weights are (out, in) once GGUF's axes are reversed: rows are output channels")


def note_of(name: str, architecture: str, names: Container[str]) -> str:
    """What else one should know of a tensor of that name in a model of ``architecture`` with ``names``; "" for most."""
    notes = [_REORDERED_NOTE] if architecture in _REORDERED and _Q_OR_K.fullmatch(name) else []
    factor = name.removesuffix(".weight") + ".scale"
    if name.endswith(".weight") and factor in names:
        notes.append(f"the file also holds {factor!r}: where llama.cpp multiplies by it, these values are without it")
    return "; ".join(notes)
