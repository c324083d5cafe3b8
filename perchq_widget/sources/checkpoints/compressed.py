"""compressed-tensors, as llm-compressor writes it: integers packed into words, plain int8 and float8 with scales."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from perchq_widget.core.schemes import GroupSize
from perchq_widget.sources.checkpoints.bits import unpack_words, words_for
from perchq_widget.sources.checkpoints.facts import Facts
from perchq_widget.sources.checkpoints.fp4 import mx_words, nv_words
from perchq_widget.sources.checkpoints.parts import FLOAT8, SCALES, Part, Parts, UnfitError
from perchq_widget.sources.checkpoints.scales import group_of_scales, is_whole, rows_of_scales
from perchq_widget.sources.checkpoints.weight import Affine, Array, Rows, Weight, affine_weight

LAYOUT = "compressed-tensors"
_BITS = range(2, 9)


def fold_packed(parts: Parts, facts: Facts) -> Weight:
    """weight_packed with weight_scale: integers in int32 words, or FP4 two a byte."""
    packed = parts.need(parts.base + "_packed").of("int32", "uint8", rank=2)
    if packed.dtype == "uint8":
        return _floats(parts, packed)
    scale = parts.need(parts.base + "_scale").of(*SCALES)
    shape, shape_part = _shape(parts, packed)
    bits = _bits(packed.shape[1], shape[1], facts)
    group = group_of_scales(scale, shape, facts)
    zero = parts.find(parts.base + "_zero_point")
    groups = parts.find(parts.base + "_g_idx")
    spec = Affine(
        shape, integer_name(bits), lambda first, last: _signed(packed.array()[first:last], bits, shape[1]),
        rows_of_scales(scale, shape, group), _zeros(zero, scale, shape, group, bits), group,
        group_index(groups, shape[1], scale.shape[-1]) if groups is not None and isinstance(group, int) else None,
        whole=is_whole(scale, shape, group),
    )  # fmt: skip
    used = (packed, scale, shape_part, zero, groups)
    return affine_weight(spec, LAYOUT, tuple(each.name for each in used if each is not None))


def fold_naive(parts: Parts, facts: Facts) -> Weight:
    """weight as int8 or float8 with weight_scale: int-quantized, float-quantized, naive-quantized, ModelOpt's FP8."""
    weight = parts.need(parts.base).of("int8", *FLOAT8)
    scale = parts.need(parts.base + "_scale")
    if scale.dtype == "uint8":
        return mx_words(parts, weight.of("float8_e4m3fn", rank=2), scale, LAYOUT)
    shape = weight.shape
    if len(shape) < 2:
        raise UnfitError(f"{weight.name!r} has the shape {shape} and should be a matrix")
    group = group_of_scales(scale.of(*SCALES), shape, facts)
    zero, groups = (parts.find(parts.base + end) for end in ("_zero_point", "_g_idx"))
    narrow = 8 if facts.bits is None or facts.bits not in _BITS or weight.dtype != "int8" else facts.bits
    spec = Affine(
        shape, integer_name(narrow) if weight.dtype == "int8" else weight.dtype,
        lambda first, last: weight.array()[first:last], rows_of_scales(scale, shape, group),
        _zeros(zero, scale, shape, group, narrow) if weight.dtype == "int8" else None, group,
        group_index(groups, shape[1], scale.shape[-1]) if groups is not None and isinstance(group, int) else None,
        "modelopt" if facts.method == "modelopt" and weight.dtype in FLOAT8 else "compressed-tensors",
        is_whole(scale, shape, group),
    )  # fmt: skip
    used = (weight, scale, zero, groups)
    layout = "ModelOpt" if spec.convention == "modelopt" else LAYOUT
    return affine_weight(spec, layout, tuple(each.name for each in used if each is not None))


def integer_name(bits: int) -> str:
    """The name of signed codes of so many bits."""
    return "qint8" if bits == 8 else f"int{bits}"


def group_index(part: Part, columns: int, n_groups: int) -> Callable[[], Array]:
    """The group of each column, checked when it is read."""
    part.of("int32", "int64", rank=1).shaped((columns,))

    def places() -> Array:
        found = part.array()
        if found.min() < 0 or found.max() >= n_groups:
            raise UnfitError(f"{part.name!r} names groups {found.min()}..{found.max()}, and there are {n_groups}")
        return found

    return places


def _floats(parts: Parts, packed: Part) -> Weight:
    scale = parts.need(parts.base + "_scale")
    overall = parts.find(parts.base + "_global_scale")
    if scale.dtype == "uint8":
        return mx_words(parts, packed, scale, LAYOUT)
    if overall is None:
        raise UnfitError(f"{parts.base + '_global_scale'!r} is missing")
    return nv_words(packed, scale, overall, LAYOUT, "compressed-tensors")


def _shape(parts: Parts, packed: Part) -> tuple[tuple[int, int], Part]:
    part = parts.need(parts.base + "_shape").of("int64", "int32").shaped((2,))
    rows, columns = (int(each) for each in part.small())
    if rows != packed.shape[0] or columns < 1:
        raise UnfitError(f"{part.name!r} says ({rows}, {columns}), and {packed.name!r} has {packed.shape[0]} rows")
    return (rows, columns), part


def _bits(words: int, columns: int, facts: Facts) -> int:
    """Bits of a code: the configuration's where they fit the packed width, else the only ones that do."""
    fitting = [bits for bits in _BITS if words_for(columns, bits) == words]
    if facts.bits in fitting:
        return facts.bits
    if len(fitting) != 1:
        say = f"{', '.join(map(str, fitting))} bits would do" if fitting else "no width from 2 to 8 bits fits"
        raise UnfitError(f"{columns} codes in {words} words: {say}; its configuration would say which")
    return fitting[0]


def _signed(words: Array, bits: int, columns: int) -> Array:
    return signed(unpack_words(words, bits, columns), bits)


def signed(codes: Array, bits: int) -> Array:
    """Codes counted from the middle: 0 to 15 as -8 to 7."""
    return (codes - np.uint8(1 << bits - 1)).view(np.int8)


def _zeros(
    zero: Part | None, scale: Part, shape: tuple[int, ...], group: GroupSize | None, bits: int
) -> Rows | None:
    """Zero points: packed along the rows, or as they are."""
    if zero is None:
        return None
    if zero.shape == scale.shape and zero.dtype in ("int8", "int32", "int64"):
        return rows_of_scales(zero, shape, group)
    rows, groups = shape[0], scale.shape[-1] if len(scale.shape) == 2 else 1
    zero.of("int32", rank=2).shaped((words_for(rows, bits), groups))

    def some(first: int, last: int) -> Array:
        run = first // 32  # of 32 codes, which begins with a word
        words = zero.array()[run * bits : words_for(last, bits)].T
        codes = _signed(words, bits, last - run * 32)[:, first - run * 32 :].T
        return codes if group is not None else codes.reshape(-1)

    return some
