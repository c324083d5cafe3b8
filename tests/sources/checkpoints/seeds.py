"""Small sound checkpoints of every layout, made with numpy alone: what damaged ones are made from."""

from __future__ import annotations

import json
from typing import Any

import ml_dtypes
import numpy as np

Tensors = dict[str, np.ndarray[Any, Any]]
Seed = tuple[Tensors, dict[str, Any]]

STEM = "model.layers.0.mlp.up_proj."
F8 = np.dtype(ml_dtypes.float8_e4m3fn)
BF16 = np.dtype(ml_dtypes.bfloat16)
NF4 = (
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
    -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
    0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
)  # fmt: skip


def seed_checkpoints() -> dict[str, Seed]:
    """name -> (raw tensors of one file, its config.json)."""
    rng = np.random.default_rng(17)

    def words(*shape: int) -> np.ndarray[Any, Any]:
        return rng.integers(-(1 << 31), 1 << 31, shape).astype(np.int32)

    def octets(*shape: int) -> np.ndarray[Any, Any]:
        return rng.integers(0, 256, shape).astype(np.uint8)

    def steps(*shape: int, kind: Any = np.float16) -> np.ndarray[Any, Any]:
        return (rng.random(shape) * 0.01 + 1e-3).astype(kind)

    def small(*shape: int) -> np.ndarray[Any, Any]:
        return (rng.normal(size=shape) * 20).astype(F8)

    def named(config: dict[str, Any] | None = None, **parts: Any) -> Seed:
        tensors = {STEM + name.replace("__", "."): np.asarray(each) for name, each in parts.items()}
        return tensors, {"model_type": "llama", "quantization_config": config or {}}

    def gptq(bits: int, **facts: Any) -> Seed:
        config = {"quant_method": "gptq", "bits": bits, "group_size": 32, **facts}
        places = rng.permutation(64) // 32 if facts.get("desc_act") else np.arange(64) // 32
        return named(
            config, qweight=words(2 * bits, 32), qzeros=words(2, bits), scales=steps(2, 32),
            g_idx=places.astype(np.int32),
        )  # fmt: skip

    def packed(bits: int, symmetric: bool, **others: Any) -> Seed:
        weights = {"num_bits": bits, "type": "int", "strategy": "group", "group_size": 32, "symmetric": symmetric}
        zero = {} if symmetric else {"weight_zero_point": words(bits, 2)}
        return named(
            {"quant_method": "compressed-tensors", "config_groups": {"group_0": {"weights": weights}}},
            weight_packed=words(32, 2 * bits), weight_scale=steps(32, 2, kind=BF16), weight_shape=np.array([32, 64]),
            **zero, **others,
        )  # fmt: skip

    def four_bits(kind: str, nested: bool) -> Seed:
        state: dict[str, Any] = {"quant_type": kind, "blocksize": 64, "dtype": "bfloat16", "shape": [12, 64]}
        parts = {"weight__absmax": steps(12, kind=np.float32)}
        if nested:
            state |= {"nested_blocksize": 256, "nested_dtype": "float32", "nested_offset": 0.04}
            table = np.sort(rng.random(256) * 2 - 1).astype(np.float32)
            parts = {
                "weight__absmax": octets(12), "weight__nested_absmax": steps(1, kind=np.float32),
                "weight__nested_quant_map": table,
            }  # fmt: skip
        text = np.frombuffer(json.dumps(state).encode(), np.uint8)
        tensors, config = named({"quant_method": "bitsandbytes"}, weight=octets(384, 1), **parts)
        tensors[STEM + "weight.quant_map"] = np.array(NF4, np.float32)
        tensors[STEM + f"weight.quant_state.bitsandbytes__{kind}"] = text
        return tensors, config

    awq = {"quant_method": "awq", "bits": 4, "group_size": 32}
    return {
        **{f"gptq{bits}": gptq(bits) for bits in (2, 3, 4, 8)},
        "gptq_desc_act": gptq(4, desc_act=True, checkpoint_format="gptq_v2"),
        "awq_gemm": named(awq | {"version": "gemm"}, qweight=words(64, 4), qzeros=words(2, 4), scales=steps(2, 32)),
        "awq_gemv": named(awq | {"version": "gemv"}, qweight=words(32, 8), qzeros=words(32, 1), scales=steps(32, 8)),
        "packed4": packed(4, symmetric=False),
        "packed3": packed(3, symmetric=False),
        "packed8": packed(8, symmetric=True, weight_g_idx=(rng.permutation(64) // 32).astype(np.int32)),
        "int8": named({}, weight=octets(32, 64).view(np.int8), weight_scale=steps(32, 1, kind=np.float32)),
        "float8": named({}, weight=small(32, 64), weight_scale=steps(1, kind=np.float32)),
        "mxfp8": named({}, weight=small(32, 64), weight_scale=octets(32, 2) // 4 + np.uint8(100)),
        "nvfp4": named(
            {}, weight_packed=octets(32, 32), weight_scale=np.abs(small(32, 4)),
            weight_global_scale=np.array([3], np.float32),
        ),
        "mxfp4": named({}, weight_packed=octets(32, 32), weight_scale=octets(32, 2) // 4 + np.uint8(100)),
        "modelopt_nvfp4": named(
            {}, weight=octets(32, 32), weight_scale=np.abs(small(32, 4)), weight_scale_2=np.float32(0.1)
        ),
        "deepseek": named(
            {"quant_method": "fp8", "weight_block_size": [16, 32]}, weight=small(40, 64),
            weight_scale_inv=steps(3, 2, kind=np.float32),
        ),
        "experts": named({}, gate_proj=small(2, 130, 64), gate_proj_scale_inv=steps(2, 2, 1, kind=np.float32)),
        "gpt_oss": named({}, gate_blocks=octets(2, 8, 3, 16), gate_scales=octets(2, 8, 3) // 4 + np.uint8(100)),
        "nf4": four_bits("nf4", nested=False),
        "nf4_nested": four_bits("nf4", nested=True),
        "fp4": four_bits("fp4", nested=True),
        "llm_int8": named({}, weight=octets(16, 32).view(np.int8), SCB=steps(16, kind=np.float32)),
    }  # fmt: skip
