"""Weights that onnxruntime's own operators unpack: MatMulNBits, MatMulBnb4, GatherBlockQuantized."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import ml_dtypes
import numpy as np

from perchq_widget.core.blockscaled import BlockParams
from perchq_widget.core.errors import QuantValueError
from perchq_widget.core.runtimes.bitsandbytes import BITSANDBYTES
from perchq_widget.sources.onnx.graph import Node, Scope, Use
from perchq_widget.sources.onnx.params import Found, Place, flat, parameter
from perchq_widget.sources.onnx.quantized import CODE_DTYPES, Coded, Layout, in_blocks
from perchq_widget.sources.onnx.tensor import Tensor
from perchq_widget.sources.onnx.types import INT8, UINT8, Array, unpacked
from perchq_widget.sources.stored import Stored

_DOMAIN = "com.microsoft"
_APART = (
    "its zero points are floats: onnxruntime takes zero_point * scale off code * scale, which read() does too, so that "
    "the last bit may differ from (code - zero_point) * scale"
)
_OUT = {"float16": np.dtype(np.float16), "bfloat16": np.dtype(ml_dtypes.bfloat16)}


def packed_use(scope: Scope, tensor: Tensor) -> Use | None:
    """The node that unpacks a constant, if there is one."""
    for use in scope.uses.get(tensor.name, [])[:16]:
        if (use.node.op, use.index) in _OPERATORS and use.node.domain == _DOMAIN:
            return use
    return None


def unpacking(use: Use, tensor: Tensor) -> Found | Bnb4:
    """What an operator unpacks; QuantValueError says why it cannot be had."""
    return _OPERATORS[use.node.op, use.index](use, tensor)


def _matmul(use: Use, tensor: Tensor) -> Found:
    """B (N, blocks, bytes of a block): codes of each row's blocks, the first at the low end of a byte."""
    rows, columns, block, bits = _sizes(use.node)
    blocks = -(-columns // block)
    row_bytes = blocks * block * bits // 8
    if tensor.kind is not UINT8 or tensor.shape[:1] != (rows,) or tensor.size != rows * row_bytes:
        raise QuantValueError(f"malformed: {use.node} needs {rows} rows of {row_bytes} bytes, got {tensor.shape}")
    layout = in_blocks((rows, columns), 1, block, 0)
    order = _order(use, columns, block, blocks)
    if order is not None:
        layout = Layout(layout.shape, 1, block, None, "its columns are dealt to groups by g_idx", order)

    def codes(start: int, stop: int) -> Array:
        whole = _bits(tensor.rows(start, stop).reshape(-1), bits, (stop - start) * blocks * block)
        return whole.reshape(stop - start, blocks * block)[:, :columns]

    scale, zero = _parameters(use, (2, 3))
    if scale[1].size != rows * blocks:
        raise QuantValueError(f"malformed: {use.node} needs {rows * blocks} scales, got shape {scale[1].shape}")
    reader = None if zero is None else _zeros(zero[1], rows, blocks, bits)
    return _found(use, layout, bits, codes, (scale, zero), reader)


def _sizes(node: Node) -> tuple[int, int, int, int]:
    """(N, K, block size, bits) of a node, as far as they can be true."""
    rows, columns, block = (node.integer(name, 0) for name in ("N", "K", "block_size"))
    bits = node.integer("bits", 4)
    if min(rows, columns, block) < 1:
        raise QuantValueError(f"malformed: {node} has N={rows}, K={columns}, block_size={block}")
    if bits not in (2, 4, 8) or block * bits % 8:
        raise QuantValueError(f"{node} has {bits} bits in blocks of {block}; read are 2, 4 and 8 bits in whole bytes")
    return rows, columns, block, bits


def _order(use: Use, columns: int, block: int, blocks: int) -> Array | None:
    """g_idx, where it says more than that blocks follow each other."""
    if not use.node.input(4):
        return None
    index = parameter(use.scope, use.node.input(4))[1]
    if index.size != columns or index.dtype not in ("int32", "int64"):
        raise QuantValueError(f"malformed: g_idx of {use.node} has shape {index.shape}, for {columns} columns")
    order = np.array(flat(index))
    if order.min() < 0 or order.max() >= blocks:
        raise QuantValueError(f"malformed: g_idx of {use.node} names groups {order.min()}..{order.max()} of {blocks}")
    return None if np.array_equal(order, np.arange(columns) // block) else order


def _zeros(zero: Tensor, rows: int, blocks: int, bits: int) -> Callable[[], Array]:
    """Zero points (rows, blocks): packed as the codes are, each row from a new byte, or numbers of the scales' type."""
    packed = zero.kind is UINT8
    needed = rows * -(-blocks * bits // 8) if packed else rows * blocks
    if zero.size != needed:
        raise QuantValueError(f"malformed: it needs {needed} zero points, got shape {zero.shape}")
    per_row = -(-blocks * bits // 8) * 8 // bits

    def read() -> Array:
        if not packed:
            return flat(zero).reshape(rows, blocks)
        return _bits(flat(zero), bits, rows * per_row).reshape(rows, per_row)[:, :blocks]

    return read


def _bits(packed: Array, bits: int, n: int) -> Array:
    return packed if bits == 8 else unpacked(packed, bits, 0, n)


def _parameters(use: Use, places: tuple[int, int]) -> tuple[Place, Place | None]:
    scale, zero = (use.node.input(place) for place in places)
    return parameter(use.scope, scale), parameter(use.scope, zero) if zero else None


def _found(
    use: Use,
    layout: Layout,
    bits: int,
    codes: Callable[[int, int], Array],
    taken: tuple[Place, Place | None],
    zeros: Callable[[], Array] | None,
    dtype: str = "",
    middle: int | None = None,
) -> Found:
    scale = taken[0][1]
    name = dtype or ("quint8" if bits == 8 else f"uint{bits}")
    found = Coded(
        name,
        layout,
        codes,
        lambda: scale.read().reshape(layout.scale_shape),
        zeros,
        _OUT.get(scale.dtype, np.dtype(np.float32)),
        (1 << bits - 1) if middle is None else middle,
    )
    fractions = zeros is not None and taken[1] is not None and taken[1][1].dtype in ("float32", *_OUT)
    if fractions and layout.problem == "":
        problem = "" if _whole(zeros) else "its zero points are no whole numbers"
        axis = None if problem else layout.ch_axis
        layout = Layout(layout.shape, layout.axis, layout.block, axis, problem, layout.order)
        found = Coded(name, layout, codes, found.scale, zeros, found.out, note="" if problem else _APART)
    words = name.removeprefix("q") if bits == 8 else name
    return Found(found, f"{words}, {layout.words()}, {use.node.op}", str(use.node), tuple(filter(None, taken)))


def _whole(zeros: Callable[[], Array] | None) -> bool:
    """Whether zero points stored as floats are integers of the format all the same."""
    assert zeros is not None
    values = zeros().astype(np.float32)
    with np.errstate(invalid="ignore"):
        return bool((np.rint(values) == values).all())


def _gather(use: Use, tensor: Tensor) -> Found:
    """Rows of a table: int4 and uint4 as ONNX packs them, or several codes along the last axis in each uint8."""
    node = use.node
    bits = node.integer("bits", 4) if tensor.kind is UINT8 else 4
    if tensor.kind is None or tensor.kind.name not in ("uint8", "int4", "uint4") or bits not in (2, 4, 8):
        raise QuantValueError(f"{node} holds {tensor.dtype} of {bits} bits, which is not read")
    per_byte = 8 // bits if tensor.kind is UINT8 else 1
    rank = len(tensor.shape)
    axis = node.integer("quantize_axis", 1)
    if rank < 2 or not -rank <= axis < rank or not tensor.size:
        raise QuantValueError(f"malformed: {node} has a table of shape {tensor.shape} with quantize_axis={axis}")
    shape = (*tensor.shape[:-1], tensor.shape[-1] * per_byte)
    layout = in_blocks(shape, axis % rank, node.integer("block_size", 128), 0)
    scale, zero = _parameters(use, (2, 3))
    if scale[1].shape != layout.scale_shape:
        raise QuantValueError(f"malformed: {node} needs scales of shape {layout.scale_shape}, got {scale[1].shape}")

    def codes(start: int, stop: int) -> Array:
        rows = tensor.rows(start, stop)
        return rows if per_byte == 1 else _bits(rows.reshape(-1), bits, rows.size * per_byte).reshape(-1, *shape[1:])

    reader = None if zero is None else _zeros_like(zero[1], layout.scale_shape, bits)
    middle = (1 << bits - 1) if tensor.kind is UINT8 else 0
    plain = "" if tensor.kind is UINT8 else CODE_DTYPES[tensor.kind.name]
    return _found(use, layout, bits, codes, (scale, zero), reader, plain, middle)


def _zeros_like(zero: Tensor, shape: tuple[int, ...], bits: int) -> Callable[[], Array]:
    """Zero points of scale's shape: of the type of the codes, or packed along the last axis."""
    if zero.kind is not UINT8 or bits == 8:
        if zero.shape != shape:
            raise QuantValueError(f"malformed: its zero points have shape {zero.shape}, its scales {shape}")
        return zero.read
    rows, per_row = math.prod(shape[:-1]), -(-shape[-1] * bits // 8)
    if zero.size != rows * per_row:
        raise QuantValueError(f"malformed: its zero points have shape {zero.shape}, its scales {shape}")
    spread = per_row * 8 // bits
    return lambda: unpacked(flat(zero), bits, 0, rows * spread).reshape(rows, spread)[:, : shape[-1]].reshape(shape)


@dataclass(frozen=True, eq=False)
class Bnb4:
    """A weight in NF4 blocks of the flattened (N, K): two codes a byte, the first at the high end."""

    packed: Tensor
    absmax: Place
    shape: tuple[int, int]
    block: int
    by: str

    @property
    def scheme(self) -> str:
        """As TensorRecord.stored_as."""
        return f"nf4, blocks of {self.block}, MatMulBnb4"

    def stored(self) -> Stored:
        """Codes and scales."""
        params = BlockParams(
            _floats(self.absmax[1]), dtype="nf4", convention="bitsandbytes", ch_axis=None, group_size=self.block
        )
        data = flat(self.packed)
        codes = np.empty((data.size, 2), np.uint8)
        np.right_shift(data, 4, out=codes[:, 0])
        np.bitwise_and(data, 15, out=codes[:, 1])
        return Stored(codes.reshape(-1)[: math.prod(self.shape)].reshape(self.shape), params)


def _floats(tensor: Tensor) -> Array:
    return np.array(flat(tensor), np.float32)


def _bnb4(use: Use, tensor: Tensor) -> Bnb4:
    rows, columns, block = (use.node.integer(name, 0) for name in ("N", "K", "block_size"))
    if min(rows, columns, block) < 1 or tensor.kind not in (UINT8, INT8) or tensor.size != -(-rows * columns // 2):
        raise QuantValueError(f"malformed: {use.node} has N={rows}, K={columns} and {tensor.size} bytes")
    sizes = BITSANDBYTES.supports[0].group_sizes
    if block not in sizes:
        raise QuantValueError(f"it has NF4 blocks of {block}; known are {', '.join(map(str, sorted(sizes)))}")
    if use.node.integer("quant_type", 1) != 1:
        raise QuantValueError("it has FP4 codes of bitsandbytes, for which there are no parameters here; NF4 is read")
    absmax = parameter(use.scope, use.node.input(2))
    if absmax[1].size != -(-rows * columns // block) or absmax[1].dtype not in ("float32", *_OUT):
        raise QuantValueError(f"malformed: {use.node} has {absmax[1].size} scales for blocks of {block}")
    return Bnb4(tensor, absmax, (rows, columns), block, str(use.node))


_OPERATORS: dict[tuple[str, int], Callable[[Use, Tensor], Found | Bnb4]] = {
    ("MatMulNBits", 1): _matmul,
    ("GatherBlockQuantized", 0): _gather,
    ("MatMulBnb4", 1): _bnb4,
}
