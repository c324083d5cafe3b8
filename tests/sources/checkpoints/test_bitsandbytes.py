"""bitsandbytes' checkpoints: 4-bit codes and LLM.int8, written and read by the library itself."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import pytest
from core.runtimes.bits import from_torch
from needs import oracle
from sources.checkpoints.folding import Array, check_weight, fold, refused, same_bits

import perchq_widget as pq
from perchq_widget.core.errors import QuantValueError

torch = oracle("torch")
functional = oracle("bitsandbytes").functional
pytestmark = pytest.mark.oracle

STEM = "model.layers.0.self_attn.v_proj."
NAME = STEM + "weight"
STATE = NAME + ".quant_state.bitsandbytes__nf4"


def written(shape: tuple[int, ...] = (24, 96), kind: Any = None, **settings: Any) -> tuple[dict[str, Array], Array]:
    """(tensors of one layer as a file has them, what the library makes of them)."""
    kind = torch.float32 if kind is None else kind
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(5)).to(kind)
    packed, state = functional.quantize_4bit(weight, **settings)
    parts = {NAME: packed, **{f"{NAME}.{key}": each for key, each in state.as_dict(packed=True).items()}}
    tensors = {name: from_torch(torch, each) for name, each in parts.items()}
    # As one row: with AVX-512 the library takes the wrong absmax where rows are no whole blocks.
    state.shape = torch.Size([1, weight.numel()])
    return tensors, from_torch(torch, functional.dequantize_4bit(packed, state).reshape(shape))


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize(("size", "shape"), [(64, (24, 96)), (64, (7, 33)), (128, (300, 64)), (256, (5, 100))])
def test_nf4(nested: bool, size: int, shape: tuple[int, ...]) -> None:
    tensors, expected = written(shape, quant_type="nf4", blocksize=size, compress_statistics=nested)
    records = fold({"before": np.ones(3, np.float32), **tensors})
    assert list(records) == ["before", NAME]
    record = records[NAME]
    check_weight(record, expected)
    assert record.stored_as.startswith(f"nf4, blocks of {size}, bitsandbytes")
    assert record.n_bytes == sum(array.nbytes for array in tensors.values())


def test_values_that_the_library_rounds() -> None:
    tensors, expected = written(kind=torch.bfloat16, quant_type="nf4", compress_statistics=True)
    record = fold(tensors)[NAME]
    assert same_bits(record.read().astype(expected.dtype), expected)
    assert "rounds decoded values to bfloat16" in record.note
    check_weight(record, record.read())


def test_packed_bytes_of_another_type() -> None:
    tensors, expected = written(quant_type="nf4", quant_storage=torch.bfloat16, compress_statistics=False)
    assert tensors[NAME].dtype.name == "bfloat16"
    check_weight(fold(tensors)[NAME], expected)


@pytest.mark.parametrize("nested", [False, True])
def test_fp4_is_read(nested: bool) -> None:
    tensors, expected = written(quant_type="fp4", compress_statistics=nested)
    record = fold(tensors)[NAME]
    assert same_bits(record.read(), expected)
    assert same_bits(record.rows(3, 9), expected[3:9])
    assert record.stored_as.startswith("fp4, blocks of 64")
    with pytest.raises(QuantValueError, match=r"is stored as fp4.*its codes are not shown; use read\(\)"):
        record.stored()


@pytest.mark.parametrize("kind", [None, np.uint8])
def test_int8(kind: Any) -> None:
    weight = torch.randn(40, 64, generator=torch.Generator().manual_seed(5)).to(torch.float16)
    codes, largest, _ = functional.int8_vectorwise_quant(weight)
    tensors = {NAME: from_torch(torch, codes), STEM + "SCB": from_torch(torch, largest)}
    if kind is not None:
        tensors[STEM + "weight_format"] = np.zeros((), kind)
    records = fold(tensors)
    assert list(records) == [NAME]
    check_weight(records[NAME], from_torch(torch, functional.int8_vectorwise_dequant(codes, largest)))
    assert records[NAME].stored_as == "int8, per channel, LLM.int8"


def text(**fields: Any) -> Array:
    """The JSON part with these fields in place of the right ones."""
    right = {"quant_type": "nf4", "blocksize": 64, "dtype": "float32", "shape": [24, 96]}
    return np.frombuffer(json.dumps(right | fields).encode(), np.uint8)


DAMAGE = [
    (STATE, None, "is missing"),
    (STATE, np.frombuffer(b"[" * 50_000, np.uint8), "no JSON"),
    (STATE, np.frombuffer(b"\xff{}", np.uint8), "no JSON"),
    (STATE, np.frombuffer(b"[1]", np.uint8), "no JSON object"),
    (STATE, np.frombuffer(b'{"blocksize": ' + b"9" * 5000 + b"}", np.uint8), "no JSON"),
    (STATE, np.zeros(1 << 20, np.uint8), "far more"),
    (STATE, np.zeros(4, np.float32), "should be uint8"),
    (STATE, text(blocksize=0), "blocks of 0"),
    (STATE, text(blocksize=True), "blocks of True"),
    (STATE, text(quant_type="int5"), "int5"),
    (STATE, text(shape=[24, -96]), "the shape"),
    (STATE, text(shape=[1 << 40, 1 << 40]), "bytes, and"),
    (STATE, text(shape=[1 << 60]), "the shape"),
    (STATE, text(shape="wide"), "the shape"),
    (STATE, text(shape=[1] * 70), "the shape"),
    (STATE, text(shape=[24, 95]), "bytes, and"),
    (NAME, None, "is missing"),
    (NAME + ".absmax", None, "is missing"),
    (NAME + ".absmax", np.ones(35, np.float32), "35 numbers for 36 blocks"),
    (NAME + ".absmax", np.ones(36, np.float64), "should be"),
    (NAME + ".absmax", np.ones(36, np.uint8), "nested_absmax.* is missing"),
    (NAME + ".quant_map", np.ones(15, np.float32), "should have"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "array", "why"), DAMAGE)
def test_damaged_parts_stay_raw(name: str, array: Array | None, why: str) -> None:
    tensors, _ = written(quant_type="nf4", compress_statistics=False)
    damaged = {key: each for key, each in tensors.items() if key != name}
    notes = refused(damaged if array is None else {**damaged, name: array})
    assert len(notes) == 1
    assert re.search(f"bitsandbytes.*not unpacked.*({why})", notes.pop())


@pytest.mark.parametrize("field", [{"nested_blocksize": 0}, {"nested_offset": "x"}, {"nested_blocksize": 1}])
def test_damaged_scales_of_scales(field: dict[str, Any]) -> None:
    tensors, _ = written(quant_type="nf4", compress_statistics=True)
    state = json.loads(tensors[STATE].tobytes()) | field
    tensors[STATE] = np.frombuffer(json.dumps(state).encode(), np.uint8)
    assert "does not fit its 36 numbers" in refused(tensors).pop()


def test_another_list_of_values() -> None:
    tensors, _ = written(quant_type="nf4", compress_statistics=False)
    record = fold({**tensors, NAME + ".quant_map": np.linspace(-1, 1, 16).astype(np.float32)})[NAME]
    with pytest.raises(QuantValueError, match=r"v_proj.weight.*values of nf4"):
        record.read()


@pytest.mark.parametrize(
    ("part", "array", "why"),
    [
        (STEM + "SCB", np.ones(23, np.float32), "should have"),
        (STEM + "SCB", np.ones(24, np.float16), "should be float32"),
        (STEM + "weight_format", np.ones((), np.int64), "not in order"),
        (NAME, np.ones((24, 4, 2), np.int8), "dimensions"),
    ],
)
def test_damaged_int8(part: str, array: Array, why: str) -> None:
    tensors = {NAME: np.ones((24, 8), np.int8), STEM + "SCB": np.ones(24, np.float32), part: array}
    assert why in refused(tensors).pop()


@pytest.mark.parametrize("nested", [False, True], ids=["plain", "nested"])
def test_bits_per_weight_are_what_the_file_spends(nested: bool) -> None:
    tensors, _ = written(quant_type="nf4", blocksize=64, compress_statistics=nested)
    report = pq.analyze(fold(tensors)[NAME])
    n, blocks = report.summary["n"], -(-report.summary["n"] // 64)
    scales = 8 * blocks + 32 * -(-blocks // 256) + 32 if nested else 32 * blocks
    assert report.summary["bits_per_weight"] == pytest.approx(4 + scales / n)
