"""float8 and FP4 as DeepSeek, ModelOpt and gpt-oss write them."""

from __future__ import annotations

import re
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from core.runtimes.bits import from_torch
from needs import oracle
from sources.checkpoints.folding import Array, check_weight, fold, refused, same_bits

from perchq_widget.core.errors import QuantValueError

NAME = "model.layers.3.mlp.gate_proj.weight"
F8 = np.dtype(ml_dtypes.float8_e4m3fn)
FP4 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6], np.float32)


def float8(shape: tuple[int, ...]) -> Array:
    """Finite numbers of float8_e4m3fn."""
    return (np.random.default_rng(1).normal(size=shape) * 50).astype(F8)


def in_blocks(weight: Array, scale: Array, high: int = 128, wide: int = 128) -> Array:
    """weight * scale, block by block."""
    out = np.empty(weight.shape, np.float32)
    for row in range(0, weight.shape[0], high):
        for column in range(0, weight.shape[1], wide):
            part = np.s_[row : row + high, column : column + wide]
            out[part] = weight[part].astype(np.float32) * scale[row // high, column // wide]
    return out


@pytest.mark.parametrize("shape", [(256, 384), (300, 200), (128, 640), (640, 64)])
def test_blocks_of_deepseek(shape: tuple[int, int]) -> None:
    weight = float8(shape)
    scale = np.random.default_rng(2).random((-(-shape[0] // 128), -(-shape[1] // 128))).astype(np.float32) + 0.1
    config = {"quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]}}
    tensors = {NAME: weight, NAME + "_scale_inv": scale}
    for known in (config, None):
        record = fold(tensors, known)[NAME]
        check_weight(record, in_blocks(weight, scale))
    assert record.dtype == "float8_e4m3fn"


def test_blocks_of_another_size() -> None:
    weight, scale = float8((64, 96)), np.full((2, 2), 0.5, np.float32)
    config = {"quantization_config": {"weight_block_size": [32, 48]}}
    record = fold({NAME: weight, NAME + "_scale_inv": scale}, config)[NAME]
    check_weight(record, in_blocks(weight, scale, 32, 48))
    assert record.stored_as == "float8_e4m3fn, blocks of 32x48, block FP8"


def test_stacked_experts_are_read() -> None:
    weight = float8((3, 130, 128))
    scale = np.random.default_rng(2).random((3, 2, 1)).astype(np.float32) + 0.1
    record = fold({"experts.down_proj": weight, "experts.down_proj_scale_inv": scale})["experts.down_proj"]
    expected = np.stack([in_blocks(*each) for each in zip(weight, scale, strict=True)])
    assert same_bits(record.read(), expected)
    assert same_bits(record.rows(1, 3), expected[1:3])
    assert not record.quantized
    assert "only its values" in record.note


@pytest.mark.parametrize("shape", [(), (1,)])
def test_float8_of_modelopt(shape: tuple[int, ...]) -> None:
    weight, scale = float8((32, 64)), np.full(shape, 0.013, np.float32)
    config = {"producer": {"name": "modelopt"}, "quantization": {"quant_algo": "FP8", "kv_cache_quant_algo": "FP8"}}
    tensors = {NAME: weight, NAME + "_scale": scale, NAME.replace("weight", "input_scale"): np.ones((), np.float32)}
    records = fold(tensors, config)
    check_weight(records[NAME], weight.astype(np.float32) * np.float32(0.013))
    assert records[NAME].stored_as == "float8_e4m3fn, per tensor, ModelOpt"
    assert len(records) == 2


def test_nvfp4_of_modelopt() -> None:
    rng = np.random.default_rng(4)
    packed = rng.integers(0, 256, (24, 32)).astype(np.uint8)
    scale, overall = (rng.random((24, 4)) + 0.5).astype(F8), np.float32(0.0123)
    nibbles = np.stack([packed & 15, packed >> 4], -1).reshape(24, 64)
    step = scale.astype(np.float32) * overall
    tensors = {NAME: packed, NAME + "_scale": scale, NAME + "_scale_2": np.array(overall)}
    records = fold(tensors, {"quantization": {"quant_algo": "NVFP4", "group_size": 16}})
    assert list(records) == [NAME]
    # no negative zero, as in the library's own quantizer, which core's tests compare with
    check_weight(records[NAME], FP4[nibbles] * np.repeat(step, 16, axis=1) + np.float32(0))
    assert records[NAME].dtype == "nvfp4"


def test_experts_with_a_global_scale_each() -> None:
    rng = np.random.default_rng(4)
    packed = rng.integers(0, 256, (2, 8, 16)).astype(np.uint8)
    scale, overall = (rng.random((2, 8, 2)) + 0.5).astype(F8), np.array([0.5, 3], np.float32)
    record = fold({NAME: packed, NAME + "_scale": scale, NAME + "_scale_2": overall})[NAME]
    nibbles = np.stack([packed & 15, packed >> 4], -1).reshape(2, 8, 32)
    step = scale.astype(np.float32) * overall[:, None, None]
    expected = FP4[nibbles] * np.repeat(step, 16, axis=2) + np.float32(0)
    assert same_bits(record.read(), expected)
    assert same_bits(record.rows(1, 2), expected[1:])
    assert not record.quantized


@pytest.mark.oracle
def test_mxfp4_of_gpt_oss() -> None:
    torch = oracle("torch")
    oracle("transformers")
    from transformers.integrations.mxfp4 import convert_moe_packed_tensors

    rng = np.random.default_rng(5)
    blocks = rng.integers(0, 256, (3, 10, 4, 16)).astype(np.uint8)
    blocks[(blocks & 15) == 8] ^= 8  # a negative zero decodes and is not told from zero again
    blocks[(blocks >> 4) == 8] ^= 128
    scales = rng.integers(118, 130, (3, 10, 4)).astype(np.uint8)
    tensors = {"mlp.experts.gate_up_proj_blocks": blocks, "mlp.experts.gate_up_proj_scales": scales}
    records = fold(tensors)
    assert list(records) == ["mlp.experts.gate_up_proj"]
    record = records["mlp.experts.gate_up_proj"]
    theirs = convert_moe_packed_tensors(
        torch.from_numpy(blocks.copy()), torch.from_numpy(scales.copy()), dtype=torch.float32
    )
    check_weight(record, from_torch(torch, theirs.transpose(1, 2)))
    assert record.ch_axis == 1
    assert record.stored_as == "mxfp4, groups of 32, gpt-oss"


DAMAGE: list[tuple[dict[str, Any], str]] = [
    ({NAME: float8((8, 8)), NAME + "_scale_inv": np.ones((3, 3), np.float32)}, "shares out no weight"),
    ({NAME: float8((8,)), NAME + "_scale_inv": np.ones((1,), np.float32)}, "should be a matrix"),
    ({NAME: float8((8, 8)), NAME + "_scale_inv": np.ones((1, 1), np.float64)}, "should be"),
    ({NAME: float8((2, 8, 8)), NAME + "_scale_inv": np.ones((2, 1), np.float32)}, "should have"),
    ({NAME: float8((8, 8)), NAME + "_scale": np.ones((5,), np.float32)}, "shares out no weight"),
    ({NAME: np.zeros((8, 8), np.uint8), NAME + "_scale_2": np.ones((), np.float32),
      NAME + "_scale": np.ones((8, 2), F8)}, "should have"),
    ({NAME: np.zeros((8, 8), np.uint8), NAME + "_scale_2": np.ones((8,), np.float32),
      NAME + "_scale": np.ones((8, 1), F8)}, "one number"),
    ({NAME: np.zeros((8, 7), np.uint8), NAME + "_scale_2": np.ones((), np.float32),
      NAME + "_scale": np.ones((8, 1), F8)}, "no groups of 16"),
    ({"w_blocks": np.zeros((2, 4, 2, 16), np.uint8), "w_scales": np.zeros((2, 4, 3), np.uint8)}, "should have"),
    ({"w_blocks": np.zeros((2, 4, 2, 15), np.uint8), "w_scales": np.zeros((2, 4, 2), np.uint8)}, "groups of 16"),
    ({"w_blocks": np.zeros((2, 4, 2, 16), np.int32), "w_scales": np.zeros((2, 4, 2), np.uint8)}, "should be"),
]  # fmt: skip


@pytest.mark.parametrize(("tensors", "why"), DAMAGE)
def test_damaged_parts_stay_raw(tensors: dict[str, Array], why: str) -> None:
    notes = refused(tensors)
    assert len(notes) == 1
    assert re.search(f"not unpacked.*{why}", notes.pop())


def test_a_scale_that_is_no_number_is_named() -> None:
    scales = np.full((2, 4, 2), 255, np.uint8)
    record = fold({"w_blocks": np.full((2, 4, 2, 16), 17, np.uint8), "w_scales": scales})["w"]
    assert np.isnan(record.read()).all()
    with pytest.raises(QuantValueError, match=r"model.safetensors: tensor 'w': scale must be finite"):
        record.stored()
