"""GPTQ and AWQ against a packer and a decoder that go element by element, as the formats' papers and tools say."""

from __future__ import annotations

import re
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from sources.checkpoints.folding import Array, check_weight, fold, refused

from perchq_widget.core.errors import QuantValueError

STEM = "model.layers.0.mlp.down_proj."
NAME = STEM + "weight"
AWQ_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)


def packed_along(codes: Array, bits: int) -> Array:
    """(n, m) codes to (words, m): column by column as one long number, code i from bit i * bits on."""
    n, m = codes.shape
    words = np.zeros((-(-n * bits // 32), m), np.uint64)
    for column in range(m):
        whole = sum(int(code) << bits * place for place, code in enumerate(codes[:, column]))
        for word in range(len(words)):
            words[word, column] = whole >> 32 * word & 0xFFFFFFFF
    return words.astype(np.uint32).view(np.int32)


def decoded(codes: Array, zeros: Array, scales: Array, places: Array) -> Array:
    """(outputs, inputs) values in the scales' dtype, one at a time."""
    n, m = codes.shape  # inputs, outputs
    out = np.empty((m, n), scales.dtype)
    for i in range(n):
        for o in range(m):
            level = int(codes[i, o]) - int(zeros[places[i], o])
            out[o, i] = scales.dtype.type(level) * scales[places[i], o]
    return out


def layer(
    bits: int, size: int, *, version: int = 1, desc_act: bool = False, kind: Any = np.float16, short: int = 0
) -> tuple[dict[str, Array], Array, dict[str, Any]]:
    """A GPTQ layer of 96 inputs and 32 outputs: (tensors, values, quantize_config.json)."""
    rng = np.random.default_rng(bits)
    n, m = 96 - short, 32
    groups = -(-n // size)
    codes = rng.integers(0, 1 << bits, (n, m))
    zeros = rng.integers(2 - version, (1 << bits) + 2 - version, (groups, m))
    scales = (rng.random((groups, m)) * 0.01 + 1e-3).astype(kind)
    places = np.arange(n) // size
    if desc_act:
        places = rng.permutation(places)
    tensors = {
        STEM + "g_idx": places.astype(np.int32), STEM + "qweight": packed_along(codes, bits),
        STEM + "qzeros": np.ascontiguousarray(packed_along((zeros - (2 - version)).T, bits).T), STEM + "scales": scales,
    }  # fmt: skip
    form = "gptq" if version == 1 else "gptq_v2"
    config = {"bits": bits, "group_size": size, "desc_act": desc_act, "checkpoint_format": form, "quant_method": "gptq"}
    return tensors, decoded(codes, zeros, scales, places), config


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("version", [1, 2])
def test_bits_and_versions(bits: int, version: int) -> None:
    tensors, expected, config = layer(bits, 32, version=version)
    records = fold({**tensors, STEM + "bias": np.zeros(32, np.float16)}, {"quantization_config": config})
    assert list(records) == [NAME, STEM + "bias"]
    check_weight(records[NAME], expected)
    assert records[NAME].stored_as == f"int{bits}, groups of 32, GPTQ{' v2' if version == 2 else ''}"


@pytest.mark.parametrize("kind", [np.float32, ml_dtypes.bfloat16])
def test_scales_of_other_types(kind: Any) -> None:
    tensors, expected, config = layer(4, 32, kind=kind)
    check_weight(fold(tensors, config)[NAME], expected)


def test_bfloat16_does_not_tell_eight_bits_apart() -> None:
    tensors, expected, config = layer(8, 32, kind=ml_dtypes.bfloat16)
    check_weight(fold(tensors, config)[NAME], expected)


def test_one_group_is_a_channel() -> None:
    tensors, expected, config = layer(4, 96)
    record = fold(tensors, {**config, "group_size": -1})[NAME]
    check_weight(record, expected)
    assert record.stored_as == "int4, per channel, GPTQ"


def test_a_short_last_group() -> None:
    tensors, expected, config = layer(4, 64, short=8)
    check_weight(fold(tensors, config)[NAME], expected)


def test_the_shapes_tell_bits_and_groups() -> None:
    tensors, expected, _ = layer(3, 32)
    check_weight(fold(tensors)[NAME], expected)


def test_desc_act_reads_in_order_and_stores_by_group() -> None:
    tensors, expected, config = layer(4, 32, desc_act=True)
    record = fold(tensors, config)[NAME]
    check_weight(record, expected, in_order=False)
    order = np.argsort(tensors[STEM + "g_idx"], kind="stable")
    assert np.array_equal(record.stored().decoded(), expected[:, order])
    assert "desc_act" in record.note
    assert "sorted by their group" in record.stored().note


def test_zero_points_one_above_the_codes() -> None:
    tensors, _, config = layer(4, 32)
    stored = fold(tensors, config)[NAME].stored()
    assert stored.qparams.zero_point.max() == 8  # 16 in the file's counting
    assert "16 in the file's counting" in stored.note


def test_symmetric_without_zero_points() -> None:
    tensors, _, config = layer(4, 32)
    del tensors[STEM + "qzeros"]
    record = fold(tensors, {**config, "sym": True})[NAME]
    assert not record.stored().qparams.zero_point.any()
    assert "nothing says that it is symmetric" in refused(tensors, config).pop()


def awq(version: str, size: int) -> tuple[dict[str, Array], Array, dict[str, Any]]:
    """An AWQ layer of 64 inputs and 32 outputs."""
    rng = np.random.default_rng(3)
    codes, zeros = rng.integers(0, 16, (64, 32)), rng.integers(0, 16, (64 // size, 32))
    scales = (rng.random((64 // size, 32)) * 0.01 + 1e-3).astype(np.float16)
    config = {"quant_method": "awq", "bits": 4, "group_size": size, "zero_point": True, "version": version}
    expected = decoded(codes, zeros, scales, np.arange(64) // size)
    if version == "gemm":
        nibbles = np.concatenate([8 * word + np.array(AWQ_ORDER) for word in range(4)])
        words, points = (packed_along(each[:, nibbles].T, 4).T for each in (codes, zeros))
        tensors = {"qweight": words, "qzeros": points, "scales": scales}
    else:
        padded = np.zeros((32, 16), np.float16)
        padded[:, : 64 // size] = scales.T
        points = np.zeros((32, 16), np.int64)
        points[:, : 64 // size] = zeros.T
        tensors = {
            "qweight": packed_along(codes, 4).T, "qzeros": packed_along(points.T, 4).T, "scales": padded,
        }  # fmt: skip
    return {STEM + name: np.ascontiguousarray(each) for name, each in tensors.items()}, expected, config


@pytest.mark.parametrize("version", ["gemm", "gemv"])
@pytest.mark.parametrize("size", [16, 64])
def test_awq(version: str, size: int) -> None:
    tensors, expected, config = awq(version, size)
    record = fold(tensors, {"quantization_config": config})[NAME]
    check_weight(record, expected)
    over = "per channel" if size == 64 else "groups of 16"
    assert record.stored_as == f"int4, {over}, AWQ{' gemv' if version == 'gemv' else ''}"
    assert "8 less than in the file" in record.note


def test_awq_is_known_by_its_shapes() -> None:
    tensors, expected, _ = awq("gemm", 16)
    check_weight(fold(tensors)[NAME], expected)


DAMAGE = [
    ("scales", None, "missing"),
    ("qweight", np.zeros((11, 32), np.int32), "fit no number of bits"),
    ("qweight", np.zeros((12, 31), np.int32), "fits no 32 outputs"),
    ("qweight", np.zeros((12, 32), np.float32), "should be int32"),
    ("qweight", np.zeros((12, 0), np.int32), "empty"),
    ("qweight", np.zeros(384, np.int32), "dimensions"),
    ("scales", np.ones((3, 31), np.float16), "fits no 31 outputs"),
    ("scales", np.ones((5, 32), np.float16), "fit no number of bits"),
    ("scales", np.ones((3, 32), np.int8), "should be"),
    ("qzeros", np.zeros((3, 5), np.int32), "fit no number of bits"),
    ("qzeros", np.zeros((3, 4), np.uint8), "should be int32"),
    ("g_idx", np.zeros(95, np.float32), "should be int32|fit no number"),
    ("g_idx", np.zeros((2, 48), np.int32), "dimensions"),
    ("g_idx", np.zeros(1 << 20, np.int32), "fit no number of bits"),
]  # fmt: skip


@pytest.mark.parametrize(("part", "array", "why"), DAMAGE)
def test_damaged_parts_stay_raw(part: str, array: Array | None, why: str) -> None:
    tensors, _, config = layer(4, 32)
    damaged = {name: each for name, each in tensors.items() if name != STEM + part}
    notes = refused(damaged if array is None else {**damaged, STEM + part: array}, config)
    assert len(notes) == 1
    assert re.search(f"GPTQ or AWQ.*not unpacked.*({why})", notes.pop())


def test_a_group_that_there_is_not() -> None:
    tensors, _, config = layer(4, 32)
    tensors[STEM + "g_idx"] = np.full(96, -1, np.int32)
    with pytest.raises(QuantValueError, match=r"down_proj.weight.*there are 3"):
        fold(tensors, config)[NAME].rows(0, 1)


@pytest.mark.parametrize("form", ["marlin", "gemv_fast"])
def test_other_orders_are_named(form: str) -> None:
    tensors, _, config = layer(4, 32)
    assert form in refused(tensors, {**config, "checkpoint_format": form}).pop()


@pytest.mark.parametrize(
    "config", [None, [], {"bits": "4"}, {"bits": 10**30}, {"quantization_config": 3}, {"config_groups": {"a": []}}]
)
def test_a_strange_configuration_says_nothing(config: Any) -> None:
    tensors, expected, _ = layer(4, 32)
    check_weight(fold(tensors, config)[NAME], expected)


def test_names_that_only_look_alike() -> None:
    tensors = {
        "scales": np.ones((3, 32), np.float16), "qweight": np.ones((3, 4), np.float32),
        "layer_scale": np.ones(4, np.float32), "a.weight": np.ones((4, 4), np.float32),
        "a.weight_scale": np.ones(4, np.float32), "x_blocks": np.zeros((2, 2, 16), np.uint8), "_scale": np.ones(1),
        "absmax": np.ones(3, np.float32), "b_packed": np.zeros((4, 4), np.int32),
    }  # fmt: skip
    assert list(fold(tensors)) == list(tensors)
    assert not any(record.stored_as for record in fold(tensors).values())


def test_a_weight_beside_the_parts_of_one_stays() -> None:
    tensors, _, config = layer(4, 32)
    assert "another tensor" in refused({**tensors, NAME: np.ones((32, 96), np.float32)}, config).pop()
