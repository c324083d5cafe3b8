"""compressed-tensors' checkpoints, written and read by the library itself."""

from __future__ import annotations

import re
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from core.runtimes.bits import from_torch
from needs import oracle
from sources.checkpoints.folding import Array, check_weight, fold, refused

from perchq_widget.core.errors import QuantValueError

torch = oracle("torch")
oracle("compressed_tensors")
pytestmark = pytest.mark.oracle

from compressed_tensors.compressors import BaseCompressor  # noqa: E402
from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme  # noqa: E402
from compressed_tensors.quantization.utils import calculate_qparams  # noqa: E402

NAME = "model.layers.0.self_attn.q_proj.weight"
FLOATS = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def ranges(weight: Any, args: Any) -> tuple[Any, Any]:
    """Lowest and highest value of each unit, as an observer of the library would have them."""
    rows, columns = weight.shape
    if args.strategy == "tensor":
        x = weight.reshape(1, -1)
    elif args.strategy == "channel":
        x = weight
    elif args.strategy == "block":
        high, wide = args.block_structure
        x = weight.reshape(rows // high, high, columns // wide, wide).transpose(1, 2).flatten(-2)
    else:
        x = weight.unflatten(-1, (columns // args.group_size, args.group_size))
    low, high = torch.aminmax(x, dim=-1, keepdim=args.strategy == "channel")
    return low, high


def compressed(form: str, *, rows: int = 16, columns: int = 256, kind: str = "float32", **settings: Any) -> Any:
    """(state of one layer as a file has it, what the library makes of it, configuration)."""
    args = QuantizationArgs(**settings)
    weight = torch.randn(rows, columns, generator=torch.Generator().manual_seed(7)).to(FLOATS[kind])
    state = {"weight": weight}
    overall = None
    if form == "nvfp4-pack-quantized":
        overall = (2688 / weight.abs().max()).reshape(1).to(torch.float32)
        state["weight_global_scale"] = overall
    scale, zero = calculate_qparams(*ranges(weight, args), args, global_scale=overall)
    state |= {"weight_scale": scale, "weight_zero_point": zero.to(torch.int8)}
    scheme = QuantizationScheme(targets=["Linear"], weights=args)
    compressor = BaseCompressor.get_value_from_registry(form)
    small = compressor.compress(state, scheme)
    config = {
        "quantization_config": {
            "quant_method": "compressed-tensors", "format": form,
            "config_groups": {"group_0": {"targets": ["Linear"], "weights": args.model_dump(mode="json")}},
        }
    }  # fmt: skip
    opened = from_torch(torch, compressor.decompress(small, scheme)["weight"])
    stem = NAME.removesuffix("weight")
    return {stem + name: from_torch(torch, each) for name, each in small.items()}, opened, config


PACKED = [
    ("group", 4, True, "float32"), ("group", 4, False, "float16"), ("group", 4, True, "bfloat16"),
    ("group", 8, False, "bfloat16"), ("group", 8, True, "float16"), ("channel", 4, True, "float16"),
    ("channel", 4, False, "float32"), ("channel", 8, False, "float16"), ("tensor", 8, True, "float32"),
    ("tensor", 4, False, "float32"), ("group", 3, False, "float16"), ("group", 2, True, "float16"),
    ("group", 5, False, "float32"), ("channel", 6, False, "float32"), ("group", 7, True, "float16"),
]  # fmt: skip


@pytest.mark.parametrize(("strategy", "bits", "symmetric", "kind"), PACKED)
@pytest.mark.parametrize("known", [True, False])
def test_packed_integers(strategy: str, bits: int, symmetric: bool, kind: str, known: bool) -> None:
    group = {"group_size": 64} if strategy == "group" else {}
    tensors, expected, config = compressed(
        "pack-quantized", rows=40, kind=kind, num_bits=bits, type="int", strategy=strategy, symmetric=symmetric, **group
    )
    records = fold(tensors, config if known else None)
    assert list(records) == [NAME]
    record = records[NAME]
    check_weight(record, expected)
    assert record.dtype == ("qint8" if bits == 8 else f"int{bits}")
    assert record.stored_as.startswith(f"int{bits}, {'groups of 64' if group else f'per {strategy}'}")
    assert record.n_bytes == sum(array.nbytes for array in tensors.values())


@pytest.mark.parametrize(("strategy", "symmetric"), [("channel", True), ("tensor", True), ("channel", False)])
def test_int8_as_it_is(strategy: str, symmetric: bool) -> None:
    tensors, expected, config = compressed(
        "int-quantized", kind="bfloat16", num_bits=8, type="int", strategy=strategy, symmetric=symmetric
    )
    check_weight(fold(tensors, config)[NAME], expected)


def test_narrow_codes_in_int8() -> None:
    tensors, expected, config = compressed(
        "naive-quantized", num_bits=4, type="int", strategy="group", group_size=32, symmetric=True
    )
    record = fold(tensors, config)[NAME]
    check_weight(record, expected)
    assert record.dtype == "int4"


@pytest.mark.parametrize("strategy", ["tensor", "channel", "block"])
@pytest.mark.parametrize("kind", ["float32", "bfloat16"])
def test_float8(strategy: str, kind: str) -> None:
    block = {"block_structure": [128, 128]} if strategy == "block" else {}
    tensors, expected, config = compressed(
        "float-quantized", rows=256, kind=kind, num_bits=8, type="float", strategy=strategy, symmetric=True, **block
    )
    record = fold(tensors, config)[NAME]
    check_weight(record, expected)
    assert record.dtype == "float8_e4m3fn"


def test_nvfp4() -> None:
    tensors, expected, config = compressed(
        "nvfp4-pack-quantized", num_bits=4, type="float", strategy="tensor_group", group_size=16, symmetric=True
    )
    record = fold(tensors, config)[NAME]
    # the library rounds the products to bfloat16 at the end
    assert np.array_equal(record.read().astype(ml_dtypes.bfloat16), expected)
    check_weight(record, record.read())


@pytest.mark.parametrize(("form", "bits"), [("mxfp4-pack-quantized", 4), ("mxfp8-quantized", 8)])
def test_mx(form: str, bits: int) -> None:
    tensors, expected, config = compressed(
        form, num_bits=bits, type="float", strategy="group", group_size=32, symmetric=True, scale_dtype="torch.uint8"
    )
    record = fold(tensors, config)[NAME]
    assert np.array_equal(record.read().astype(expected.dtype), expected)
    check_weight(record, record.read())
    assert record.dtype == ("mxfp4" if bits == 4 else "mxfp8_e4m3fn")


@pytest.fixture(scope="module")
def layer() -> tuple[dict[str, Array], Array, dict[str, Any]]:
    tensors, expected, config = compressed(
        "pack-quantized", num_bits=4, type="int", strategy="group", group_size=64, symmetric=False
    )
    return tensors, expected, config


def test_columns_in_other_groups(layer: Any) -> None:
    tensors, _, config = layer
    places = np.random.default_rng(0).permutation(256).astype(np.int32) // 64
    record = fold({**tensors, NAME + "_g_idx": places}, config)[NAME]
    in_order = fold(tensors, config)[NAME].stored()
    params = in_order.qparams
    scale, zero = params.scale[:, places], params.zero_point[:, places]
    expected = ((in_order.codes.astype(np.int64) - zero).astype(np.float32) * scale).astype(np.float32)
    check_weight(record, expected, in_order=False)
    order = np.argsort(places, kind="stable")
    assert np.array_equal(record.stored().decoded(), expected[:, order])
    assert "sorted" in record.stored().note


def test_groups_of_other_sizes_are_only_read(layer: Any) -> None:
    tensors, _, config = layer
    record = fold({**tensors, NAME + "_g_idx": np.zeros(256, np.int32)}, config)[NAME]
    assert record.read().shape == (16, 256)
    with pytest.raises(QuantValueError, match="groups that are not of 64"):
        record.stored()


def test_a_group_that_there_is_not(layer: Any) -> None:
    tensors, _, config = layer
    record = fold({**tensors, NAME + "_g_idx": np.full(256, 4, np.int32)}, config)[NAME]
    with pytest.raises(QuantValueError, match=r"model.safetensors: tensor .*q_proj.weight': .*there are 4"):
        record.read()


DAMAGE = [
    ("_scale", None, "missing"),
    ("_shape", None, "missing"),
    ("_shape", np.array([16, 1 << 62]), "no width"),
    ("_shape", np.array([-16, 256]), "rows"),
    ("_shape", np.array([16, -256]), "rows"),
    ("_shape", np.array([16, 256, 1]), "shape"),
    ("_shape", np.zeros(1 << 20, np.int64), "shape"),
    ("_scale", np.ones((16, 5), np.float32), "shares out no weight"),
    ("_scale", np.ones((0, 4), np.float32), "empty"),
    ("_scale", np.ones((16, 4), np.int32), "should be"),
    ("_scale", np.ones((16, 4), np.float64), "should be"),
    ("_zero_point", np.ones((3, 4), np.int32), "should have"),
    ("_zero_point", np.ones((16, 4), np.float32), "should be"),
    ("_g_idx", np.zeros(255, np.int32), "should have"),
    ("_packed", np.zeros((16, 31), np.int32), "no width|would do"),
    ("_packed", np.zeros((16, 32), np.int64), "should be"),
    ("_packed", np.zeros((16, 2, 16), np.int32), "dimensions"),
    ("_packed", np.zeros((16, 0), np.int32), "empty"),
]  # fmt: skip


@pytest.mark.parametrize(("part", "array", "why"), DAMAGE)
def test_damaged_parts_stay_raw(layer: Any, part: str, array: Array | None, why: str) -> None:
    tensors, _, config = layer
    damaged = {name: each for name, each in tensors.items() if name != NAME + part}
    notes = refused(damaged if array is None else {**damaged, NAME + part: array}, config)
    assert len(notes) == 1
    assert re.search(f"compressed-tensors.*not unpacked.*({why})", notes.pop())


@pytest.mark.parametrize("scale", [0.0, -1.0, np.nan, np.inf])
def test_scales_that_are_no_steps_are_still_read(layer: Any, scale: float) -> None:
    tensors, _, config = layer
    scales = tensors[NAME + "_scale"].copy()
    scales[3, 2] = scale
    record = fold({**tensors, NAME + "_scale": scales}, config)[NAME]
    assert record.read().shape == (16, 256)
    with pytest.raises(QuantValueError, match=r"q_proj.weight.*scale must be finite and above 0"):
        record.stored()


def test_the_configuration_decides_where_few_columns_leave_it_open() -> None:
    words = np.arange(8, dtype=np.int32).reshape(4, 2)
    tensors = {NAME + "_packed": words, NAME + "_scale": np.ones((4, 1), np.float32), NAME + "_shape": np.array([4, 9])}
    assert "would do" in refused(tensors).pop()
    config = {"quantization_config": {"config_groups": {"a": {"weights": {"num_bits": 5}}}}}
    assert fold(tensors, config)[NAME].dtype == "int5"
