"""A constant that a model holds quantized: its codes, its parameters laid out as QParams have them, and its values."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from perchq_widget.core.errors import QuantValueError
from perchq_widget.core.qparams import QParams
from perchq_widget.sources.onnx.types import Array
from perchq_widget.sources.stored import Stored

CONVENTION = "onnxruntime"
#: numpy's name of a code's type -> ours
CODE_DTYPES: dict[str, str] = {
    "int8": "qint8", "uint8": "quint8", "int16": "int16", "uint16": "uint16", "int4": "int4", "uint4": "uint4",
    "int2": "int2", "uint2": "uint2",
    **{name: name for name in ("float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz", "float4_e2m1fn")},
}  # fmt: skip
_CHUNK = 1 << 20  # elements that are decoded at a time


@dataclass(frozen=True, eq=False, slots=True)
class Layout:
    """What shares a scale: everything (``axis`` None), a slice of ``axis``, or ``block`` elements along it.

    Scales in blocks have the tensor's shape, but for that axis. ``ch_axis``: the axis that parameters here belong to;
    None where all share one, or where they cannot be told in blocks of one channel, which ``problem`` explains.
    ``order``: the block of each element of the axis, where they do not follow each other.
    """

    shape: tuple[int, ...]
    axis: int | None = None
    block: int | None = None
    ch_axis: int | None = None
    problem: str = ""
    order: Array | None = None

    @property
    def scale_shape(self) -> tuple[int, ...]:
        """The shape of scales and zero points as the file has them."""
        if self.axis is None:
            return ()
        if self.block is None:
            return (self.shape[self.axis],)
        return tuple(-(-n // self.block) if axis == self.axis else n for axis, n in enumerate(self.shape))

    def words(self) -> str:
        """What shares a scale, for people."""
        if self.axis is None:
            return "one scale"
        return f"{'per channel of' if self.block is None else f'blocks of {self.block} on'} axis {self.axis}"

    def arranged(self, values: Array) -> Array:
        """Parameters as QParams have them: (), (C,), or (C, G) with the blocks of a channel in order."""
        if self.block is None:
            return values
        assert self.ch_axis is not None
        moved = np.moveaxis(values, self.ch_axis, 0)
        return np.ascontiguousarray(moved.reshape(len(moved), -1))

    def spread(self, values: Array, start: int, stop: int) -> Array:
        """Parameters of the rows from ``start`` to ``stop``, to broadcast against them."""
        if self.axis is None:
            return values
        if self.block is None:
            part = values[start:stop] if self.axis == 0 else values
            return part.reshape([-1 if axis == self.axis else 1 for axis in range(len(self.shape))])
        if self.axis != 0:
            values = values[start:stop]
        first, last = (start, stop) if self.axis == 0 else (0, self.shape[self.axis])
        blocks = np.arange(first, last) // self.block if self.order is None else self.order[first:last]
        return values.take(blocks, axis=self.axis)


def layout_of(shape: tuple[int, ...], scales: tuple[int, ...], axis: int | None, block: int, suggested: int) -> Layout:
    """The layout of parameters of shape ``scales``; QuantValueError where they do not fit the tensor."""
    if math.prod(scales) == 1 and (len(scales) <= 1 or not block):
        return Layout(shape)
    if axis is None or not -len(shape) <= axis < len(shape):
        raise QuantValueError(f"malformed: its scale has shape {scales}, and one number is needed")
    axis %= len(shape)
    if len(scales) == 1 and not (block and len(shape) == 1):
        found = Layout(shape, axis, None, axis)
    else:
        found = in_blocks(shape, axis, block or _guessed(shape, scales, axis), suggested)
    if found.scale_shape != scales:
        raise QuantValueError(f"malformed: the tensor has shape {shape}, {found.words()}; its scale {scales}")
    return found


def _guessed(shape: tuple[int, ...], scales: tuple[int, ...], axis: int) -> int:
    """The block size that a scale's shape alone implies."""
    if len(scales) != len(shape) or not scales[axis]:
        raise QuantValueError(f"malformed: its scale has shape {scales} and its codes have {shape}")
    return max(1, -(-shape[axis] // scales[axis]))


def in_blocks(shape: tuple[int, ...], axis: int, block: int, suggested: int) -> Layout:
    """Blocks along ``axis``, told per channel of ``suggested`` if that can be, else of another axis that can."""
    if block < 1:
        raise QuantValueError(f"malformed: its block size is {block}")
    block = min(block, shape[axis])
    if len(shape) == 1:
        return Layout(shape, axis, block, None, "a single axis cut into blocks has no channels to tell them by")
    for ch_axis in dict.fromkeys((suggested, *range(len(shape)))):
        if ch_axis != axis and _aligned(shape, axis, block, ch_axis):
            return Layout(shape, axis, block, ch_axis)
    problem = f"blocks of {block} along axis {axis} of {shape} are no groups of a channel"
    return Layout(shape, axis, block, None, problem)


def _aligned(shape: tuple[int, ...], axis: int, block: int, ch_axis: int) -> bool:
    """Whether the elements of a block follow each other in a channel of ``ch_axis``."""
    after = [n for place, n in enumerate(shape) if place > axis and place != ch_axis]
    before = [n for place, n in enumerate(shape) if place < axis and place != ch_axis]
    return math.prod(after) == 1 and (shape[axis] % block == 0 or math.prod(before) == 1)


@dataclass(frozen=True, eq=False)
class Coded:
    """A quantized constant. The callables read: ``codes`` rows of codes, ``scale`` and ``zero`` the parameters, of the
    layout's scale_shape; ``zero`` is None where the zero point is ``middle``. ``out``: the dtype of what the model
    computes with. ``values``: the floats, where the file has those and not the codes.
    """

    dtype: str
    layout: Layout
    codes: Callable[[int, int], Array] | None
    scale: Callable[[], Array]
    zero: Callable[[], Array] | None
    out: np.dtype[Any]
    middle: int = 0
    values: Callable[[], Array] | None = None
    note: str = ""

    def qparams(self) -> QParams:
        """The parameters; QuantValueError where the file's are none that can be computed with here."""
        scale = self.layout.arranged(_native(self.scale()))
        zero = np.full(scale.shape, self.middle) if self.zero is None else self.layout.arranged(_native(self.zero()))
        axis, block = self.layout.ch_axis, self.layout.block
        return QParams(scale, zero, dtype=self.dtype, convention=CONVENTION, ch_axis=axis, group_size=block)

    def stored(self) -> Stored:
        """Codes and parameters; of floats the codes that QuantizeLinear makes of them."""
        from perchq_widget.core.elements import quantize

        qparams = self.qparams()
        if self.values is not None:
            values = self.values()
            return Stored(quantize(values, qparams), qparams, values, self.note)
        assert self.codes is not None
        codes = self.codes(0, self.layout.shape[0])
        return Stored(codes.astype(qparams.code_dtype, copy=False), qparams, None, self.note)

    def read(self) -> Array:
        """All values, as the model computes with them."""
        if self.values is not None:
            return self.values()
        shape = self.layout.shape
        out = np.empty(shape, self.out)
        step = max(1, _CHUNK // max(1, math.prod(shape[1:])))
        scale, zero = self._parameters()
        for start in range(0, shape[0], step):
            stop = min(start + step, shape[0])
            out[start:stop] = self._decoded(scale, zero, start, stop)
        return out

    def rows(self, start: int, stop: int) -> Array:
        """Those of some rows of axis 0."""
        if self.values is not None:
            return self.values()[start:stop]
        return self._decoded(*self._parameters(), start, stop)

    def _parameters(self) -> tuple[Array, Array]:
        zero = np.full(self.layout.scale_shape, self.middle) if self.zero is None else _native(self.zero())
        whole = zero.dtype.kind == "i"
        return _native(self.scale()).astype(np.float32), zero.astype(np.int32 if whole else np.float32)

    def _decoded(self, scale: Array, zero: Array, start: int, stop: int) -> Array:
        """(codes - zero point) * scale in float32, rounded once to what the model computes with.

        A zero point that is a float is scaled by itself, as onnxruntime does it.
        """
        assert self.codes is not None
        codes = self.codes(start, stop)
        shift = self.layout.spread(zero, start, stop)
        step = self.layout.spread(scale, start, stop)
        with np.errstate(all="ignore"):
            if self.dtype in _FLOAT_CODES:
                values = codes.astype(np.float32) * step
            elif zero.dtype == np.float32:
                values = codes.astype(np.float32) * step - shift * step
            else:
                values = (codes.astype(np.int32) - shift).astype(np.float32) * step
            return np.asarray(values.astype(self.out, copy=False))


_FLOAT_CODES = frozenset(name for name in CODE_DTYPES if name.startswith("float"))


def _native(values: Array) -> Array:
    """A copy in native order that no mapped file stands behind: int64, or floats (float32 for those of eight bits)."""
    found = np.array(values)
    if found.dtype.name.startswith(("int", "uint")):
        return found.astype(np.int64)
    if found.dtype.itemsize == 1:
        return found.astype(np.float32)
    return found if found.dtype.isnative else found.astype(found.dtype.newbyteorder("="))
