"""Tensors that torch or torchao quantized: their codes, and the scales and zero points that they carry.

``torch.quantize_per_tensor`` and ``quantize_per_channel`` make tensors that know their quantizer; torchao's are
subclasses with ``qdata``, ``scale``, ``zero_point`` and ``block_size``. Both are read by these attributes, so that
nothing of theirs computes. What has others is refused with the call that decodes it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np

from perchq_widget.core.elements import dequantize
from perchq_widget.core.errors import QuantError, QuantTypeError, QuantValueError
from perchq_widget.core.grids import INTEGER_DTYPES
from perchq_widget.core.qparams import QParams
from perchq_widget.sources.axes import AxisHint, suggested_axis
from perchq_widget.sources.base import TensorRecord
from perchq_widget.sources.stored import Stored
from perchq_widget.sources.torch.tensors import elsewhere, is_torch, torch_array, torch_dtype_name

_Array = np.ndarray[Any, Any]
_TWO_NUMBERS = 16  # a float64 scale and an int64 zero point
_MOST_BITS_IN_BFLOAT16 = 6  # values of wider codes, rounded to bfloat16, do not lead back to them
_BITS = {"qint8": 8, "quint8": 8, "qint32": 32, "quint4x2": 4, "quint2x4": 2}


@dataclass(frozen=True, eq=False)
class _Form:
    """How a tensor is quantized. ``qparams`` is None where our formats do not have it: then it is only decoded."""

    dtype: str
    n_bytes: int
    stored_as: str
    codes: Callable[[], _Array]
    qparams: QParams | None = None
    decoded: Callable[[], _Array] | None = None
    note: str = ""


def quantized_record(name: str, tensor: Any, origin: str, axis: AxisHint | None = None) -> TensorRecord | None:
    """The record of a torch or torchao quantized tensor; None for one that is neither.

    Its own channel axis comes before ``axis``. QuantError for data elsewhere and for layouts that are not known.
    """
    if is_torch(tensor, "nn.parameter.UninitializedTensorMixin"):
        return None
    from_torchao = _is_torchao(tensor)
    if not tensor.is_quantized and not from_torchao:
        return None
    refusal = elsewhere(tensor)
    if refusal:
        raise QuantValueError(f"it {refusal}")
    shape = tuple(map(int, tensor.shape))
    if 0 in shape or not shape:
        raise QuantValueError(f"it has no elements or rank 0 (shape {shape})")
    form = _torchao_form(tensor, shape) if from_torchao else _torch_form(tensor, shape)
    return _record(name, shape, form, origin, axis)


def _record(name: str, shape: tuple[int, ...], form: _Form, origin: str, axis: AxisHint | None) -> TensorRecord:
    hint = AxisHint(*suggested_axis(shape)) if axis is None else axis
    qparams = form.qparams
    if qparams is not None and qparams.ch_axis is not None and qparams.ch_axis != hint.axis:
        hint = AxisHint(qparams.ch_axis, "the axis that its stored scales belong to")
    return TensorRecord(
        name, shape, form.dtype, form.n_bytes, hint.axis, hint.reason, source=origin, stored_as=form.stored_as,
        loader=form.decoded, raw_loader=form.codes, note=form.note,
        stored_loader=None if qparams is None else lambda: Stored(form.codes(), qparams, note=form.note),
    )  # fmt: skip


def _torch_form(tensor: Any, shape: tuple[int, ...]) -> _Form:
    """A tensor with a quantizer. Only 8-bit codes with whole zero points have parameters of ours."""
    dtype, scheme = torch_dtype_name(tensor), str(tensor.qscheme()).removeprefix("torch.")
    size = math.prod(shape) * _BITS.get(dtype, 8) // 8

    def codes() -> _Array:
        array: _Array = tensor.int_repr().numpy()
        return array

    if scheme in ("per_tensor_affine", "per_tensor_symmetric"):
        scale, zero, axis, spent = np.array(tensor.q_scale()), np.array(tensor.q_zero_point()), None, _TWO_NUMBERS
        what = f"torch {dtype}, one scale"
    else:
        scale, zero = tensor.q_per_channel_scales().numpy(), tensor.q_per_channel_zero_points().numpy()
        axis, spent = int(tensor.q_per_channel_axis()), scale.size * _TWO_NUMBERS
        what = f"torch {dtype}, per channel of axis {axis}"
        if not 0 <= axis < len(shape) or scale.shape != (shape[axis],) or zero.shape != scale.shape:
            raise QuantValueError(f"it has {scale.shape} scales for axis {axis} of {shape}: its quantizer is malformed")
    if dtype not in ("qint8", "quint8") or zero.dtype.kind == "f":
        why = "its zero points are no whole numbers" if zero.dtype.kind == "f" else f"we have no format {dtype}"
        note = f"only decoded: {why}"
        return _Form(dtype, size + spent, what, codes, None, lambda: torch_array(tensor.dequantize(), "it"), note)
    params = QParams(scale, zero, dtype=dtype, convention="pytorch-quantized", ch_axis=axis)
    return _Form(dtype, size + spent, what, codes, params)


def _is_torchao(tensor: Any) -> bool:
    return type(tensor).__module__.split(".")[0] == "torchao"


def _torchao_form(tensor: Any, shape: tuple[int, ...]) -> _Form:
    kind = type(tensor).__name__
    try:
        return _by_attributes(tensor, kind, shape)
    except (QuantError, AttributeError, TypeError, ValueError, RuntimeError) as error:
        reason = f" ({error})" if isinstance(error, QuantError) else ""
        raise QuantTypeError(
            f"it is a {kind} of torchao, whose stored parameters are not read here{reason}; "
            "give tensor.dequantize() where it has that"
        ) from error


def _by_attributes(tensor: Any, kind: str, shape: tuple[int, ...]) -> _Form:
    codes = torch_array(tensor.qdata, "qdata", any_dtype=True)
    scale = torch_array(tensor.scale, "scale")
    given = getattr(tensor, "zero_point", None)
    zero = None if given is None else torch_array(given, "zero_point", any_dtype=True)
    block = tuple(int(n) for n in tensor.block_size)
    if codes.shape != shape:
        raise QuantValueError(f"its codes have shape {codes.shape}, packed in an order of their own")
    layout = _layout(shape, block, scale)
    dtype = _code_name(tensor, codes)
    zeros = np.zeros(scale.shape, np.int64) if zero is None else zero
    wide = scale.dtype.name == "bfloat16" and _code_bits(dtype) > _MOST_BITS_IN_BFLOAT16
    scales = (scale.astype(np.float32) if wide else scale).reshape(layout.of)
    params = QParams(
        scales, zeros.reshape(layout.of), dtype=dtype, convention="torchao", ch_axis=layout.ch_axis,
        group_size=layout.group_size,
    )  # fmt: skip
    out = _numpy_dtype(tensor)
    return _Form(
        dtype,
        codes.nbytes + scale.nbytes + (0 if zero is None else zero.nbytes),
        f"torchao {kind}, {dtype}, {layout.words}",
        lambda: codes,
        params,
        None if out == params.working_dtype else lambda: dequantize(codes, params).astype(out),
        "" if out == params.working_dtype else f"torchao rounds the decoded values to {out.name}, as read() does",
    )


@dataclass(frozen=True)
class _Layout:
    """What a scale is shared over: the shape that QParams wants scales in, their axis and group size, in words."""

    of: tuple[int, ...]
    ch_axis: int | None
    group_size: int | tuple[int, int] | None
    words: str


def _layout(shape: tuple[int, ...], block: tuple[int, ...], scale: _Array) -> _Layout:
    if len(block) != len(shape) or any(size < 1 or n % size for n, size in zip(shape, block, strict=False)):
        raise QuantValueError(f"blocks of {block} do not fit {shape}")
    units = tuple(n // size for n, size in zip(shape, block, strict=True))
    if scale.size != math.prod(units):
        raise QuantValueError(f"{scale.size} scales for {math.prod(units)} blocks of {block} in {shape}")
    split = [axis for axis, count in enumerate(units) if count > 1]
    if not split:
        return _Layout((), None, None, "one scale")
    if len(split) == 1 and block[split[0]] == 1:
        return _Layout((scale.size,), split[0], None, f"per channel of axis {split[0]}")
    if len(shape) == 2 and block[0] == 1:
        return _Layout(units, 0, block[1], f"groups of {block[1]}")
    if len(shape) == 2:
        return _Layout(units, None, (block[0], block[1]), f"blocks of {block[0]} x {block[1]}")
    raise QuantValueError(f"blocks of {block} in {shape}")


def _code_name(tensor: Any, codes: _Array) -> str:
    if codes.dtype.kind not in "iu":
        return str(codes.dtype.name)
    target = str(getattr(tensor, "target_dtype", codes.dtype.name)).removeprefix("torch.")
    return {"int8": "qint8", "uint8": "quint8"}.get(target, target)


def _code_bits(dtype: str) -> int:
    return INTEGER_DTYPES[dtype][0] if dtype in INTEGER_DTYPES else 8


def _numpy_dtype(tensor: Any) -> np.dtype[Any]:
    name = torch_dtype_name(tensor)
    return np.dtype(getattr(ml_dtypes, name, name))
