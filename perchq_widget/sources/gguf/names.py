"""What llama.cpp's names say of a GGUF tensor: which axis counts its output channels, and what its rows are."""

from __future__ import annotations

import re
from collections.abc import Container

from ..axes import AxisHint, suggested_axis

#: Architectures whose converters re-order the rows of q and k; see LlamaModel.permute in llama.cpp's conversion.
_REORDERED = frozenset({"llama", "granite", "granitemoe", "minicpm", "minicpm3", "deci", "internlm2", "arctic"})
_REORDERED_NOTE = (
    "llama.cpp's converter re-orders the rows of q and k of Hugging Face checkpoints, within each head (the halves of "
    "its rotary pairs, interleaved): channel numbers are not those of the checkpoint"
)
_Q_OR_K = re.compile(r"blk\.\d+\.attn_[qk]\.(weight|bias)")
_EXPERTS = re.compile(r"_(ch)?exps\.")
_CONV = re.compile(r"conv|patch_emb|\.(neck|net_|peg)", re.IGNORECASE)
_TRANSPOSED = re.compile(r"conv_?tr(anspose|[._])|transposed?_conv|deconv", re.IGNORECASE)
#: What the rows of a table are: names of llama.cpp, of its projectors ("v.", "a.", "mm.") and of whisper.cpp.
_TABLES = {
    "tokens": re.compile(r"(.*\.)?((per_layer_)?token_embd|token_embedding|embed_tokens|mm\.(a\.)?embedding)\.weight"),
    "positions": re.compile(r"(.*\.)?(position_embd|pos_embd|positional_embedding|position_embeddings)(\.weight)?"),
    "token types": re.compile(r"token_types\.weight"),
}


def axis_of(name: str, shape: tuple[int, ...]) -> AxisHint:
    """The channel axis of a tensor of ``shape``, which has GGUF's axes reversed."""
    if len(shape) <= 1:
        return AxisHint(*suggested_axis(shape))
    return _matrix(name) if len(shape) == 2 else _of_more_axes(name, len(shape))


def _matrix(name: str) -> AxisHint:
    rows = next((what for what, pattern in _TABLES.items() if pattern.fullmatch(name)), None)
    if rows is not None:
        return AxisHint(0, f"a table whose rows are {rows}")
    return AxisHint(0, "llama.cpp's weights are (out, in) once GGUF's axes are reversed: rows are output channels")


def _of_more_axes(name: str, rank: int) -> AxisHint:
    if rank == 3 and _EXPERTS.search(name):
        return AxisHint(1, "(experts, out, in): axis 0 counts the experts, axis 1 the output channels of each")
    if _TRANSPOSED.search(name):
        return AxisHint(1, "a transposed convolution keeps (in, out, kernel): its output channels are axis 1")
    if _CONV.search(name):
        return AxisHint(0, "a convolution's kernel is (out, in, kernel) once GGUF's axes are reversed")
    return AxisHint(0, "the outermost axis: the name tells no kind of layer; change it where channels lie elsewhere")


def note_of(name: str, architecture: str, names: Container[str]) -> str:
    """What else one should know of a tensor of that name in a model of ``architecture`` with ``names``; "" for most."""
    notes = [_REORDERED_NOTE] if architecture in _REORDERED and _Q_OR_K.fullmatch(name) else []
    factor = name.removesuffix(".weight") + ".scale"
    if name.endswith(".weight") and factor in names:
        notes.append(f"the file also holds {factor!r}: where llama.cpp multiplies by it, these values are without it")
    return "; ".join(notes)
