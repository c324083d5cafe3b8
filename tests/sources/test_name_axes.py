"""The channel axis by a tensor's name: right where names tell, and called a guess where they only suggest."""

from __future__ import annotations

from typing import Any

import pytest

from perchq_widget.sources.axes import FIRST_AXIS, ONE_AXIS
from perchq_widget.sources.name_axes import axis_by_name

GPT2, LLAMA = {"model_type": "gpt2"}, {"model_type": "llama"}
WIDE = {"hidden_size": 64}
DEFAULT = FIRST_AXIS


@pytest.mark.parametrize(
    ("name", "shape", "config", "axis", "words"),
    [
        ("model.norm.weight", (64,), None, 0, ONE_AXIS),
        ("scale", (), None, 0, ONE_AXIS),
        ("model.layers.0.self_attn.q_proj.weight", (64, 32), LLAMA, 0, DEFAULT),
        ("conv1.weight", (16, 3, 3, 3), None, 0, DEFAULT),
        # Embeddings: rows are tokens.
        ("model.embed_tokens.weight", (1000, 64), LLAMA, 0, "each row is one token's"),
        ("bert.embeddings.word_embeddings.weight", (1000, 64), None, 0, "each row"),
        ("transformer.wte.weight", (1000, 64), GPT2, 0, "each row"),
        ("tok_embeddings.weight", (1000, 64), None, 0, "each row"),
        ("params/token_embedder/embedding", (1000, 64), None, 0, "each row"),
        ("vision.patch_embedding.weight", (64, 3, 16, 16), None, 0, DEFAULT),
        ("time_embedding.linear_1.weight", (64, 32), None, 0, DEFAULT),
        # GPT-2 stores its layers the other way round.
        ("h.0.attn.c_attn.weight", (64, 192), GPT2, 1, "Conv1D"),
        ("h.0.mlp.c_proj.weight", (256, 64), GPT2, 1, "Conv1D"),
        ("h.0.attn.c_attn.weight", (192, 64), {"model_type": "gpt_bigcode"}, 0, DEFAULT),
        ("h.0.attn.c_attn.weight", (64, 192), None, 1, "a guess without the configuration"),
        ("h.0.attn.c_attn.weight", (192, 64), None, 0, DEFAULT),
        ("h.0.attn.c_proj.weight", (64, 64), None, 0, "the name fits both"),
        ("lm_head.weight", (1000, 64), GPT2, 0, DEFAULT),
        # Flax and Keras.
        ("Dense_0/kernel", (3, 8), None, 1, "the last axis"),
        ("params.Conv_0.kernel", (3, 3, 16, 32), None, 3, "the last axis"),
        ("conv2d/kernel:0", (3, 3, 16, 32), None, 3, "the last axis"),
        ("ConvTranspose_0.kernel", (3, 3, 16, 32), None, 3, "the last axis"),
        ("conv2d_transpose_1/kernel:0", (3, 3, 16, 32), None, 2, "last axis but one"),
        ("depthwise_conv2d/depthwise_kernel:0", (3, 3, 16, 1), None, 2, "counts the channels"),
        ("layer/attention/query/kernel", (64, 4, 16), None, 2, "two axes"),
        # Transposed convolutions: never sure by the name alone.
        ("decoder.ConvTranspose2d.weight", (64, 32, 4, 4), None, 1, "a guess from its name alone"),
        ("decoder.conv_transpose1.weight", (64, 32, 3, 3), None, 1, "a guess"),
        ("deconv2.weight", (64, 32, 2, 2), None, 1, "a guess"),
        ("deconv_dw.weight", (64, 1, 4, 4), None, 0, "one output per group"),
        ("generator.ups.1.weight_v", (512, 256, 16), None, 1, "a guess"),
        ("ups.0.0.parametrizations.weight.original1", (512, 256, 16), None, 1, "a guess"),
        ("ups.0.3.weight", (64, 128, 3, 3), None, 0, DEFAULT),
        ("generator.ups.1.weight_g", (512, 1, 1), None, 0, "weight_norm"),
        ("up1.up.weight", (64, 32, 2, 2), None, 1, "a guess"),
        ("upconv1.weight", (256, 64, 3, 3), None, 0, "as its name allows"),
        ("up_blocks.0.upsamplers.0.conv.weight", (64, 64, 3, 3), None, 0, DEFAULT),
        ("transformer.h.0.mlp.weight", (64, 64), None, 0, DEFAULT),
        # Experts in one tensor: which way round depends on the model.
        ("layers.0.mlp.experts.gate_up_proj", (8, 192, 64), WIDE, 1, "(experts, out, in)"),
        ("layers.0.mlp.experts.gate_up_proj", (8, 64, 192), {"text_config": WIDE}, 2, "(experts, in, out)"),
        ("layers.0.mlp.experts.down_proj", (8, 64, 96), WIDE, 1, "(experts, out, in)"),
        ("layers.0.mlp.experts.down_proj", (8, 96, 64), WIDE, 2, "(experts, in, out)"),
        ("layers.0.mlp.experts.down_proj", (8, 64, 64), WIDE, 1, "a guess"),
        ("block_sparse_moe.input_linear.weight", (8, 192, 64), None, 1, "a guess"),
        ("layers.0.mlp.experts.3.w1.weight", (192, 64), WIDE, 0, DEFAULT),
    ],
)
def test_axis(name: str, shape: tuple[int, ...], config: Any, axis: int, words: str) -> None:
    hint = axis_by_name(name, shape, config)
    assert hint.axis == axis
    assert words in hint.reason


@pytest.mark.parametrize("config", [{"model_type": []}, {"model_type": 3}, {"hidden_size": "64", "text_config": 1}, {}])
def test_a_configuration_of_anything_does_no_harm(config: Any) -> None:
    for name in ("c_attn.weight", "experts.w", "x" * 100_000 + "kernel", "\0/..:kernel:0", ""):
        for shape in ((2, 3), (2, 3, 4), (0, 0, 0), (1,) * 64):
            assert 0 <= axis_by_name(name, shape, config).axis < len(shape)
