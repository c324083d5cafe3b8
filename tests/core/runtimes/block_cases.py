"""Hard tensors for formats whose blocks share a scale, with ties for the scales that they get."""

from __future__ import annotations

from typing import Any

import numpy as np
from core.runtimes.bits import fitted, n_different

from perchq_widget.core.blockscaled import BlockParams
from perchq_widget.core.elements import dequantize, fake_quantize, quantize

SHAPE = (2048, 512)  # 1,048,576 elements
KINDS = ("zeros", "subnormal", "huge", "below a power of two", "power of two", "sparse", "both signs", "constant")


def blocks(size: int, without: tuple[str, ...] = (), spread: float = 4.0, seed: int = 0) -> np.ndarray:
    """float32 of SHAPE: half ordinary blocks of sizes from 10^-spread to 10^spread, else a part of each hard kind."""
    rng = np.random.default_rng(seed)
    n = SHAPE[0] * SHAPE[1] // size
    x = rng.standard_normal((n, size)).astype(np.float32)
    x *= (10.0 ** rng.uniform(-spread, spread, (n, 1))).astype(np.float32)
    kinds = [kind for kind in KINDS if kind not in without]
    which = rng.integers(0, 2 * len(kinds), n)
    for index, kind in enumerate(kinds):
        rows = which == index
        x[rows] = _hard(kind, x[rows], rng)
    return x.reshape(SHAPE)


def _hard(kind: str, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    top = np.abs(x).max(1, keepdims=True)
    power = np.exp2(np.round(np.log2(top))).astype(np.float32)
    if kind == "zeros":
        return np.where(rng.random(x.shape) < 0.5, np.float32(0), np.float32(-0.0))
    if kind == "subnormal":
        return (x / top * np.float32(10) ** rng.uniform(-44, -38, (len(x), 1))).astype(np.float32)
    if kind == "huge":
        return (x / top * rng.uniform(0.1, 3, (len(x), 1)) * 1e30).astype(np.float32)
    if kind in ("below a power of two", "power of two"):
        away = rng.integers(0, 40, (len(x), 1)).astype(np.int32) if kind[0] == "b" else np.int32(0)
        end = (power.view(np.int32) - away).view(np.float32)
        return np.where(np.abs(x) == top, np.copysign(end, x), np.clip(x, -end, end) * np.float32(0.9))
    if kind == "sparse":
        return np.where(rng.random(x.shape) < 0.7, np.copysign(np.float32(0), x), x)
    if kind == "both signs":
        place = rng.permuted(np.tile(np.arange(x.shape[1]), (len(x), 1)), axis=1)
        return np.where(place == 0, top, np.where(place == 1, -top, x))
    return np.broadcast_to(x[:, :1], x.shape)


def with_ties(x: np.ndarray, qparams: BlockParams, size: int, middles: np.ndarray, seed: int = 1) -> np.ndarray:
    """``x`` with half of its elements, where that changes no block's ends, between two levels or one float32 beside.

    ``middles``: the bounds between levels, in units of what values are scaled to.
    """
    rng = np.random.default_rng(seed)
    rows = x.reshape(-1, size)
    params = qparams.form.effective(qparams.scale.reshape(-1), qparams.global_scale)
    factor = params[1] if qparams.multiplier is None else qparams.multiplier.reshape(-1)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        step = params[0].astype(np.float64) if factor is None else 1 / factor.astype(np.float64)
        origin = 0.0 if qparams.origin is None else qparams.origin.reshape(-1, 1).astype(np.float64)
        value = (rng.choice(middles, rows.shape) * step[:, None] + origin).astype(np.float32)
        side = rng.integers(-1, 2, rows.shape)
        beside = np.nextafter(value, np.where(side > 0, np.float32(np.inf), np.float32(-np.inf)))
        value = np.where(side == 0, value, beside)
    low, high = rows.min(1, keepdims=True), rows.max(1, keepdims=True)
    top = np.maximum(high, -low)
    fits = np.isfinite(value) & (value > np.maximum(low, -top)) & (value < np.minimum(high, top))
    inside = (rows > low) & (rows < high) & (np.abs(rows) < top)
    return np.where((rng.random(rows.shape) < 1 / 2) & fits & inside, value, rows).reshape(x.shape)


def middles_of(values: np.ndarray) -> np.ndarray:
    """Half way between neighbours."""
    distinct = np.unique(np.asarray(values, np.float64))
    return (distinct[1:] + distinct[:-1]) / 2


def hard(middles: np.ndarray, size: int, kinds: dict[str, Any], **settings: Any) -> tuple[np.ndarray, BlockParams]:
    """A tensor of SHAPE with ties for its own scales, and the parameters that the format takes from it."""
    x = blocks(size, **kinds)
    x = with_ties(x, block_params(x, **settings), size, middles)
    return x, block_params(x, **settings)


def block_params(x: np.ndarray, **settings: Any) -> BlockParams:
    """The parameters that the format takes from a tensor."""
    found = fitted(x, **settings)
    assert isinstance(found, BlockParams)
    return found


def nibbles(packed: np.ndarray, high_first: bool = False) -> np.ndarray:
    """Two codes from every byte, along the last axis."""
    low, high = packed & np.uint8(15), packed >> np.uint8(4)
    pair = (high, low) if high_first else (low, high)
    return np.stack(pair, axis=-1).reshape(*packed.shape[:-1], -1)


def assert_same(x: np.ndarray, params: BlockParams, codes: np.ndarray, values: np.ndarray) -> None:
    """Our codes (as bytes) and dequantized values are theirs, bit for bit, -0.0 included."""
    ours = quantize(x, params)
    assert n_different(ours.view(np.uint8), codes.reshape(ours.shape)) == 0
    assert n_different(dequantize(ours, params), values.reshape(x.shape)) == 0
    assert n_different(fake_quantize(x, params), values.reshape(x.shape)) == 0
