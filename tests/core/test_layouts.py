"""Every granularity on every memory order against whole-tensor arithmetic: ranges, codes, errors."""

import numpy as np
import pytest

from perchq_widget.core import elements, layouts, sharing
from perchq_widget.core.elements import dequantize, fake_quantize, quantize
from perchq_widget.core.errors import QuantError, QuantTypeError, QuantValueError
from perchq_widget.core.fitting import fit, unit_ranges
from perchq_widget.core.metrics import channel_errors
from perchq_widget.core.ranges import channel_ranges
from perchq_widget.core.schemes import QuantScheme

RNG = np.random.default_rng(11)
FLOAT32 = np.dtype(np.float32)


def tensors() -> list[tuple[str, np.ndarray]]:
    wide = RNG.standard_normal((40, 96)).astype(np.float32)
    return [
        ("matrix", wide),
        ("transposed", np.ascontiguousarray(wide.T).T),
        ("strided", RNG.standard_normal((80, 288)).astype(np.float32)[::2, ::3]),
        ("conv", RNG.standard_normal((6, 4, 3, 5)).astype(np.float32)),
        ("tokens", RNG.standard_normal((3, 7, 20)).astype(np.float32)),
        ("bfloat16-like", wide.astype(np.float16)),
        ("vector", RNG.standard_normal(50).astype(np.float32)),
        ("one long channel", RNG.standard_normal((1, 300_000)).astype(np.float32)),
        ("many rows", RNG.standard_normal((3000, 70)).astype(np.float32)),
    ]


def unit_ids(shape: tuple[int, ...], axis: int, granularity: str, size: object) -> np.ndarray:
    """Per element of a tensor of ``shape``, the number of its unit, in the order of the scales."""
    places = np.indices(shape)
    if granularity == "token":
        return np.ravel_multi_index(tuple(places[:-1]), shape[:-1]) if len(shape) > 1 else np.zeros(shape, int)
    if granularity == "block":
        columns = -(-shape[1] // size[1])
        return places[0] // size[0] * columns + places[1] // size[1]
    moved = np.moveaxis(np.arange(int(np.prod(shape))).reshape(shape), axis, 0)
    n = moved[0].size
    ids = np.empty(int(np.prod(shape)), int)
    groups = -(-n // size)
    ids[moved.reshape(-1)] = (np.arange(len(moved))[:, None] * groups + np.arange(n) // size).ravel()
    return ids.reshape(shape)


CASES = [
    (name, x, axis, granularity, size)
    for name, x in tensors()
    for axis in range(x.ndim)
    for granularity, size in (("group", 4), ("group", 7), ("group", 1500), ("token", None), ("block", (16, 32)))
    if granularity != "block" or x.ndim == 2
]


@pytest.mark.parametrize(("name", "x", "axis", "granularity", "size"), CASES, ids=lambda v: str(v)[:12])
@pytest.mark.parametrize("mapping", ["affine", "symmetric"])
def test_ranges_codes_and_errors_are_those_of_each_unit(name, x, axis, granularity, size, mapping, anything) -> None:
    scheme = QuantScheme("int4", mapping, granularity, convention=anything, group_size=size)
    ids = unit_ids(x.shape, axis, granularity, size)
    values = x.astype(np.float32)
    low, high = np.full(ids.max() + 1, np.inf), np.full(ids.max() + 1, -np.inf)
    np.minimum.at(low, ids, values)
    np.maximum.at(high, ids, values)
    found = unit_ranges(x, axis, scheme, FLOAT32)
    assert np.array_equal(found[0].ravel(), low)
    assert np.array_equal(found[1].ravel(), high)
    q = fit(x, axis, scheme, channel_ranges(x, axis, FLOAT32))
    scale, zero = q.scale.ravel()[ids], q.zero_point.ravel()[ids]
    raw = np.rint(values * (np.float32(1) / scale)) + zero
    codes = np.clip(raw, q.quant_min, q.quant_max).astype(np.int8)
    back = (codes.astype(np.float32) - zero.astype(np.float32)) * scale
    assert np.array_equal(quantize(x, q), codes)
    assert np.array_equal(dequantize(codes, q), back)
    assert np.array_equal(fake_quantize(x, q), back)
    errors = channel_errors(x, axis, q, channel_ranges(x, axis, FLOAT32))
    others = tuple(a for a in range(x.ndim) if a != axis)
    e, v = back.astype(np.float64) - values, values.astype(np.float64)
    assert np.allclose(errors.noise, (e * e).sum(others), rtol=1e-5)
    assert np.allclose(errors.cross, (v * e).sum(others), rtol=1e-4, atol=1e-5)
    assert np.allclose(errors.abs_noise, np.abs(e).sum(others), rtol=1e-5)
    assert np.array_equal(errors.max_noise, np.abs(back - values).max(others))
    assert np.array_equal(errors.clipped, (raw != codes).sum(others))
    assert np.array_equal(errors.zeroed, ((back == 0) & (values != 0)).sum(others))
    assert np.array_equal(errors.overflow, np.abs(raw - codes).max(others))
    if granularity == "group":
        assert errors.groups is not None
        noise = np.zeros(ids.max() + 1)
        np.add.at(noise, ids, e * e)
        assert np.allclose(errors.groups.noise.ravel(), noise, rtol=1e-5, atol=1e-12)


def test_values_that_are_not_finite_stay_out_of_their_unit_alone(anything) -> None:
    x = RNG.standard_normal((8, 64)).astype(np.float32)
    x[2, 5], x[3, 40], x[4, :16] = np.nan, np.inf, np.nan
    scheme = QuantScheme("qint8", "affine", "group", convention=anything, group_size=16)
    observed = channel_ranges(x, 0, FLOAT32)
    q = fit(x, 0, scheme, observed)
    clean = np.where(np.isfinite(x), x, 0)
    assert np.isfinite(q.scale).all()
    assert q.scale[2, 0] == fit(clean, 0, scheme, channel_ranges(clean, 0, FLOAT32)).scale[2, 0]
    errors = channel_errors(x, 0, q, observed)
    assert np.isfinite(errors.noise).all()
    assert errors.n.tolist() == [64, 64, 63, 63, 48, 64, 64, 64]
    assert np.isnan(fake_quantize(x, q)[2, 5])
    assert quantize(x, q)[2, 5] == q.zero_point[2, 0]
    assert quantize(x, q)[3, 40] == q.quant_max


def test_a_short_last_group_is_refused_where_the_runtime_has_none(anything_whole) -> None:
    x = np.ones((4, 100), np.float32)
    scheme = QuantScheme("qint8", "affine", "group", convention=anything_whole, group_size=32)
    with pytest.raises(QuantValueError, match=r"group_size must divide a channel's 100 elements.*such as 4"):
        fit(x, 0, scheme, channel_ranges(x, 0, FLOAT32))


@pytest.mark.parametrize(
    ("granularity", "size", "message"),
    [
        ("group", None, "group_size must be an integer"),
        ("group", 0, "at least 1"),
        ("group", (2, 2), "an integer"),
        ("group", True, "an integer"),
        ("block", 128, r"\(rows, columns\)"),
        ("block", (128,), r"\(rows, columns\)"),
        ("channel", 32, "needs granularity 'group'"),
    ],
)
def test_group_sizes_that_cannot_be_are_named(granularity, size, message) -> None:
    with pytest.raises(QuantError, match=message):
        QuantScheme("qint8", granularity=granularity, group_size=size)
    assert issubclass(QuantTypeError, QuantError)


def test_blocks_need_a_matrix(anything) -> None:
    scheme = QuantScheme("qint8", "affine", "block", convention=anything, group_size=(2, 2))
    x = np.ones((2, 3, 4), np.float32)
    with pytest.raises(QuantValueError, match="needs a matrix, got a tensor of 3 axes"):
        fit(x, 0, scheme, channel_ranges(x, 0, FLOAT32))


def test_pieces_hold_each_element_once() -> None:
    x = np.arange(7 * 130, dtype=np.float32).reshape(7, 130)
    for granularity, size in (("channel", None), ("group", 32), ("flat", 9), ("block", (3, 50)), ("token", None)):
        seen = [piece.x.ravel().copy() for piece in layouts.pieces(x, 0, granularity, size, FLOAT32)]
        assert np.array_equal(np.sort(np.concatenate(seen)), x.ravel()), granularity


@pytest.mark.parametrize(
    ("granularity", "size"), [("group", 4), ("block", (16, 32)), ("channel", None), ("token", None)]
)
def test_threads_share_the_pieces(granularity, size, anything, monkeypatch) -> None:
    x = RNG.standard_normal((3000, 64)).astype(np.float32)
    scheme = QuantScheme("int4", "affine", granularity, convention=anything, group_size=size)
    q = fit(x, 0, scheme, channel_ranges(x, 0, FLOAT32))
    alone = quantize(x, q), fake_quantize(x, q)
    monkeypatch.setattr(sharing, "MANY", 0)
    monkeypatch.setattr(elements, "LARGE_BLOCK", 1 << 10)
    assert np.array_equal(quantize(x, q), alone[0])
    assert np.array_equal(fake_quantize(x, q), alone[1])
    assert np.array_equal(dequantize(alone[0], q), alone[1])
