"""bitsandbytes in Hugging Face checkpoints: 4-bit codes with absmax per block, and LLM.int8."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from perchq_widget.sources.checkpoints.bits import unpack_nibbles
from perchq_widget.sources.checkpoints.facts import Facts
from perchq_widget.sources.checkpoints.parts import Part, Parts, UnfitError
from perchq_widget.sources.checkpoints.weight import AT_ONCE, Array, Weight
from perchq_widget.sources.stored import Stored

STATE = ".quant_state.bitsandbytes__"
SIZES = (32, 64, 128, 256, 512, 1024, 2048, 4096)
_FP4_NOTE = (
    "fp4 of bitsandbytes is not among the formats here: its values are read, its codes are not shown"
)


@dataclass(frozen=True, eq=False)
class _Rows:
    """int8 codes, of which 127 stands for the largest magnitude of a row."""

    weight: Part
    largest: Part

    def values(self, first: int, last: int) -> Array:
        """Decoded rows, float32: multiplied twice, as the library does."""
        from perchq_widget.core.runtimes.bitsandbytes import SHARE

        out = self.weight.array()[first:last].astype(np.float32)
        with np.errstate(all="ignore"):
            out *= self.largest.array().reshape(-1, 1)[first:last]
            out *= SHARE
        return out

    def stored(self) -> Stored:
        """All codes with the largest magnitude of each row; QuantValueError for one that is 0 or not finite."""
        from perchq_widget.core.qparams import QParams
        from perchq_widget.core.runtimes.bitsandbytes import SHARE

        largest = np.array(self.largest.array()).reshape(-1)
        with np.errstate(all="ignore"):
            scale = largest * SHARE
        zero = np.zeros(scale.shape, np.int64)
        params = QParams(scale, zero, dtype="qint8", convention="bitsandbytes", ch_axis=0, multiplier=largest)
        return Stored(np.array(self.weight.array()), params)


@dataclass(frozen=True)
class _State:
    """What the JSON text among a weight's parts says."""

    kind: str
    size: int
    shape: tuple[int, ...]
    values: str
    nested_size: int
    offset: float


@dataclass(frozen=True, eq=False)
class _Flat:
    """Codes of four bits, the high half first, with one absmax for ``size`` elements of the flattened tensor."""

    shape: tuple[int, ...]
    size: int
    packed: Part
    absmax: Callable[[], Array]
    book: Callable[[], Array]
    nested_size: int = 0

    @property
    def row(self) -> int:
        """Elements of a row of axis 0."""
        return math.prod(self.shape[1:])

    def codes(self, first: int, last: int) -> Array:
        """Elements ``first`` to ``last`` of the flattened tensor."""
        packed = self.packed.octets()[first // 2 : -(-last // 2)]
        return unpack_nibbles(packed, high_first=True)[first % 2 : first % 2 + last - first]

    def values(self, first: int, last: int) -> Array:
        """Decoded rows, float32."""
        begin, end = first * self.row, last * self.row
        book, absmax = self.book(), self.absmax()
        out = np.empty(end - begin, np.float32)
        for start in range(begin, end, AT_ONCE):
            stop = min(start + AT_ONCE, end)
            blocks = absmax[start // self.size : -(-stop // self.size)]
            steps = np.repeat(blocks, self.size)[start % self.size :][: stop - start]
            with np.errstate(all="ignore"):
                np.multiply(book[self.codes(start, stop)], steps, out=out[start - begin : stop - begin])
        return out.reshape(-1, *self.shape[1:])

    def stored(self) -> Stored:
        """All codes with the absmax of every block. QuantValueError where one is not finite."""
        from perchq_widget.core.blockscaled import BlockParams

        codes, absmax = self.codes(0, math.prod(self.shape)).reshape(self.shape), self.absmax()
        if (absmax < 0).any():
            raise UnfitError(f"a block's absmax is {float(absmax.min())!r}, and a magnitude is not below 0")
        params = BlockParams(
            absmax, dtype="nf4", convention="bitsandbytes", group_size=self.size, scale_bits=self._nested_bits(absmax)
        )
        return Stored(codes, params)

    def _nested_bits(self, absmax: Array) -> int | None:
        """Of a quantized absmax: a byte each, a float32 for every ``nested_size`` of them, and the offset."""
        return None if self.nested_size < 1 else 8 * absmax.size + 32 * -(-absmax.size // self.nested_size) + 32


def fold_four_bits(parts: Parts, facts: Facts) -> Weight:
    """weight with absmax, quant_map and the JSON text quant_state.bitsandbytes__nf4 or __fp4."""
    packed = parts.need(parts.base)
    text = parts.find(f"{parts.base}{STATE}nf4") or parts.find(f"{parts.base}{STATE}fp4")
    if text is None:
        raise UnfitError(f"{parts.base + STATE + 'nf4'!r} is missing, which tells its shape and block size")
    state = _state(text)
    n = math.prod(state.shape)
    if packed.record.n_bytes != -(-n // 2):
        raise UnfitError(f"{packed.name!r} has {packed.record.n_bytes} bytes, and {state.shape} takes {-(-n // 2)}")
    book = parts.need(parts.base + ".quant_map").of("float32").shaped((16,))
    absmax, used = _absmax(parts, state, -(-n // state.size))
    spec = _Flat(state.shape, state.size, packed, absmax, lambda: _book(book, state.kind), state.nested_size)
    known = state.kind == "nf4"
    note = "" if state.values in ("", "float32") else f"the library rounds decoded values to {state.values}"
    notes = [each for each in ("" if known else _FP4_NOTE, note) if each]
    return Weight(
        "bitsandbytes", state.shape, "nf4" if known else "float32",
        f"{state.kind}, blocks of {state.size}, bitsandbytes" + ("" if state.nested_size < 1 else ", absmax quantized"),
        (packed.name, text.name, book.name, *used), spec.values, spec.stored if known else None, "; ".join(notes),
    )  # fmt: skip


def fold_int8(parts: Parts, facts: Facts) -> Weight:
    """LLM.int8: weight int8 and SCB, the largest magnitude of each row. 127 stands for that."""
    weight = parts.need(parts.base).of("int8", rank=2)
    largest = parts.need(parts.stem + "SCB").of("float32").shaped((weight.shape[0],), (weight.shape[0], 1))
    form = parts.find(parts.stem + "weight_format")
    if form is not None and (form.size != 1 or int(form.small().reshape(-1)[0]) != 0):
        raise UnfitError(f"{form.name!r} says that its rows are not in order")
    spec = _Rows(weight, largest)
    return Weight(
        "LLM.int8", weight.shape, "qint8", "int8, per channel, LLM.int8",
        tuple(part.name for part in (weight, largest, form) if part is not None), spec.values, spec.stored,
    )  # fmt: skip


def _state(text: Part) -> _State:
    raw = text.of("uint8", rank=1).small().tobytes()
    try:
        fields = json.loads(raw.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise UnfitError(f"{text.name!r} is no JSON ({str(error)[:80]})") from error
    if not isinstance(fields, dict):
        raise UnfitError(f"{text.name!r} is no JSON object")
    kind, size, shape = fields.get("quant_type"), fields.get("blocksize"), fields.get("shape")
    if kind not in ("nf4", "fp4") or type(size) is not int or size not in SIZES:
        raise UnfitError(f"{text.name!r} names type {kind!r:.40} in blocks of {size!r:.40}")
    if not isinstance(shape, list) or not 1 <= len(shape) <= 8 or not all(_is_length(each) for each in shape):
        raise UnfitError(f"{text.name!r} names the shape {shape!r:.80}")
    values = fields.get("dtype")
    nested, offset = fields.get("nested_blocksize"), fields.get("nested_offset")
    return _State(
        kind, size, tuple(shape), values if values in ("float32", "float16", "bfloat16") else "",
        nested if type(nested) is int and 0 < nested < 1 << 31 else 0,
        float(offset) if isinstance(offset, float) or (type(offset) is int and abs(offset) < 1 << 63) else math.nan,
    )  # fmt: skip


def _is_length(value: Any) -> bool:
    return type(value) is int and 0 < value < 1 << 48


def _absmax(parts: Parts, state: _State, blocks: int) -> tuple[Callable[[], Array], tuple[str, ...]]:
    """The absmax of every block: as they are, or codes of 8 bits with a table, an absmax each and an offset."""
    part = parts.need(parts.base + ".absmax").of("float32", "uint8")
    if part.size != blocks:
        raise UnfitError(f"{part.name!r} has {part.size} numbers for {blocks} blocks")
    if part.dtype == "float32":
        return (lambda: np.array(part.array()).reshape(-1)), (part.name,)
    outer = parts.need(parts.base + ".nested_absmax").of("float32")
    table = parts.need(parts.base + ".nested_quant_map").of("float32").shaped((256,))
    if state.nested_size < 1 or outer.size != -(-blocks // state.nested_size) or not math.isfinite(state.offset):
        raise UnfitError(f"{part.name!r} is quantized, and what belongs to it does not fit its {blocks} numbers")

    def absmax() -> Array:
        scale = np.repeat(outer.array().reshape(-1), min(state.nested_size, blocks))[:blocks]
        with np.errstate(all="ignore"):
            found: Array = table.array()[part.array().reshape(-1)] * scale
            return found + np.float32(state.offset)

    return absmax, (part.name, outer.name, table.name)


def _book(part: Part, kind: str) -> Array:
    """The sixteen values; nf4's must be those that the codes stand for here."""
    from perchq_widget.core.runtimes.bitsandbytes import NF4

    found = np.array(part.array())
    if kind == "nf4" and not np.array_equal(found, NF4):
        raise UnfitError(f"{part.name!r} does not hold the values of nf4")
    return found
