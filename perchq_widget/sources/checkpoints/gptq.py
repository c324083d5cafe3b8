"""GPTQ (AutoGPTQ, GPTQModel) and AWQ (AutoAWQ): qweight, qzeros, scales, g_idx.

Codes and zero points are shown counted from the middle of the codes, 0 to 15 as -8 to 7: so do compressed-tensors and
vLLM, whose arithmetic is the same, (code - zero) * scale in the scale's dtype, and a symmetric weight has a zero of 0.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from perchq_widget.sources.checkpoints.bits import unpack_words, words_for
from perchq_widget.sources.checkpoints.compressed import group_index, integer_name, signed
from perchq_widget.sources.checkpoints.facts import Facts
from perchq_widget.sources.checkpoints.parts import SCALES, Part, Parts, UnfitError
from perchq_widget.sources.checkpoints.weight import Affine, Array, Rows, Weight, affine_weight
from perchq_widget.sources.stored import Stored

BITS = (2, 3, 4, 8)
AWQ_BITS = 4
_AWQ_PLACES = np.array([0, 4, 1, 5, 2, 6, 3, 7])
"""Column c of eight lies in the nibble of this number: they are packed in the order 0 2 4 6 1 3 5 7."""

_UNLIKE = ("marlin", "gemv_fast", "exllama", "llm-awq", "bitblas", "ipex")


@dataclass(frozen=True)
class _Four:
    """The four parts, ``zeros`` and ``groups`` None where there are none."""

    weight: Part
    scales: Part
    zeros: Part | None
    groups: Part | None

    @property
    def names(self) -> tuple[str, ...]:
        parts = (self.weight, self.scales, self.zeros, self.groups)
        return tuple(part.name for part in parts if part is not None)


def fold_qweight(parts: Parts, facts: Facts) -> Weight:
    """GPTQ or AWQ, as the shapes have it: GPTQ packs inputs, AWQ's gemm packs outputs, its gemv packs inputs."""
    known = next((each for each in _UNLIKE if each in (facts.form, facts.version)), None)
    if known is not None:
        raise UnfitError(f"its configuration says {known!r}, an order of codes that is not read here")
    four = _Four(
        parts.need(parts.stem + "qweight").of("int32", rank=2),
        parts.need(parts.stem + "scales").of(*SCALES, rank=2),
        parts.find(parts.stem + "qzeros"), parts.find(parts.stem + "g_idx"),
    )  # fmt: skip
    if four.zeros is not None:
        four.zeros.of("int32", rank=2)
    outputs = four.scales.shape[1]
    if facts.method == "awq" and facts.version == "gemv":
        return _gemv(four, facts)
    if four.weight.shape[1] == outputs:
        return _gptq(four, facts)
    if four.weight.shape[1] * 8 == outputs:
        return _gemm(four)
    raise UnfitError(f"{four.weight.name!r} has the shape {four.weight.shape}, which fits no {outputs} outputs")


def _gptq(four: _Four, facts: Facts) -> Weight:
    (words, outputs), n_groups = four.weight.shape, four.scales.shape[0]
    bits = _bits(four, facts)
    inputs = four.groups.size if four.groups is not None else words * 32 // bits
    if words_for(inputs, bits) != words:
        raise UnfitError(f"{inputs} inputs of {bits} bits do not fill the {words} rows of {four.weight.name!r}")
    size = _group_size(inputs, n_groups, facts)
    older = facts.form != "gptq_v2"

    def codes(first: int, last: int) -> Array:
        return signed(unpack_words(four.weight.array()[:, first:last].T, bits, inputs), bits)

    one = n_groups == 1
    spec = Affine(
        (outputs, inputs), integer_name(bits), codes, _by_output(four.scales, one),
        _zeros(four, bits, older, one, facts.symmetric is True),
        None if one else size,
        None if four.groups is None or one else group_index(four.groups, inputs, n_groups),
    )  # fmt: skip
    if four.groups is not None:
        four.groups.of("int32", "int64", rank=1)
    form = "GPTQ" if older else "GPTQ v2"
    note = f"codes and zero points are {1 << bits - 1} less than in the file, as compressed-tensors counts them"
    weight = affine_weight(spec, form, four.names, note)
    if facts.desc_act and not one:
        note += "; desc_act: stored() has the columns sorted by group, read() in their own order"
    stored = spec.stored
    return replace(weight, note=note, stored=(lambda: _remarked(stored(), bits)) if older else stored)


def _remarked(stored: Stored, bits: int) -> Stored:
    """Runtimes do not agree what the highest stored zero point means: it can only come from a zero of -1 or 2^bits."""
    zeros = getattr(stored.qparams, "zero_point", None)
    if zeros is None or not (np.asarray(zeros) == 1 << bits - 1).any():
        return stored
    text = f"some zero points are {1 << bits} in the file's counting; a few runtimes take those for 0"
    return replace(stored, note=f"{stored.note}; {text}" if stored.note else text)


def _bits(four: _Four, facts: Facts) -> int:
    """Bits of a code, from the zero points, the inputs and the configuration, as far as there are any."""
    words, outputs = four.weight.shape
    fitting = [bits for bits in BITS if words * 32 % bits == 0 or four.groups is not None]
    if four.zeros is not None:
        fitting = [bits for bits in fitting if four.zeros.shape == (four.scales.shape[0], words_for(outputs, bits))]
    if four.groups is not None:
        fitting = [bits for bits in fitting if words_for(four.groups.size, bits) == words]
    if facts.bits in fitting:
        return facts.bits
    if len(fitting) == 1 and (four.zeros is not None or four.groups is not None):
        return fitting[0]
    raise UnfitError("the shapes of its parts fit no number of bits" if not fitting else "its bits are not known")


def _group_size(inputs: int, n_groups: int, facts: Facts) -> int:
    """Inputs of a group: the configuration's if that makes so many groups, else an even share."""
    said = facts.group_size
    if said is not None and said > 0 and -(-inputs // said) == n_groups:
        return said
    if inputs % n_groups:
        raise UnfitError(f"{inputs} inputs do not make {n_groups} even groups; its configuration would say their size")
    return inputs // n_groups


def _by_output(scales: Part, one: bool) -> Rows:
    if one:
        return lambda first, last: np.array(scales.array()[0, first:last])
    return lambda first, last: np.ascontiguousarray(scales.array()[:, first:last].T)


def _zeros(four: _Four, bits: int, older: bool, one: bool, symmetric: bool) -> Rows | None:
    """Zero points less the middle. The first version of the format stores them less 1."""
    packed = four.zeros
    if packed is None and symmetric:
        return None
    if packed is None:
        raise UnfitError("its qzeros are missing, and nothing says that it is symmetric")

    def some(first: int, last: int) -> Array:
        run = first // 32  # of 32 codes, which begins with a word
        words = packed.array()[:, run * bits : words_for(last, bits)]
        codes = unpack_words(words, bits, last - run * 32)[:, first - run * 32 :].T.astype(np.int16)
        codes += int(older) - (1 << bits - 1)
        return codes[:, 0] if one else codes

    return some


def _gemm(four: _Four) -> Weight:
    """AWQ's gemm: rows are inputs, words hold eight outputs, every other one first."""
    inputs, words = four.weight.shape
    n_groups, outputs = four.scales.shape
    zeros = _awq_zeros(four).shaped((n_groups, words))
    if inputs % n_groups:
        raise UnfitError(f"{inputs} inputs do not make {n_groups} even groups")
    one = n_groups == 1

    def outputs_of(packed: Part, first: int, last: int) -> Array:
        start = first // 8
        nibbles = unpack_words(packed.array()[:, start : -(-last // 8)], AWQ_BITS, 8 * (-(-last // 8) - start))
        columns = nibbles.reshape(len(nibbles), -1, 8)[:, :, _AWQ_PLACES].reshape(len(nibbles), -1)
        return signed(np.ascontiguousarray(columns[:, first - 8 * start : last - 8 * start].T), AWQ_BITS)

    spec = Affine(
        (outputs, inputs), "int4", lambda first, last: outputs_of(four.weight, first, last),
        _by_output(four.scales, one),
        lambda first, last: outputs_of(zeros, first, last)[:, 0] if one else outputs_of(zeros, first, last),
        None if one else inputs // n_groups,
    )  # fmt: skip
    return affine_weight(spec, "AWQ", four.names, _AWQ_NOTE)


def _gemv(four: _Four, facts: Facts) -> Weight:
    """AWQ's gemv: rows are outputs, words hold eight inputs in order; scales and zero points are padded at the end."""
    outputs, words = four.weight.shape
    inputs, size = 8 * words, facts.group_size
    size = inputs if size == -1 else size
    if size is None or size < 1 or inputs % size:
        raise UnfitError(f"its group size is {size}, by which {inputs} inputs cannot be cut")
    n_groups = inputs // size
    zeros = _awq_zeros(four)
    for part, groups in ((four.scales, four.scales.shape[1]), (zeros, 8 * zeros.shape[1])):
        if part.shape[0] != outputs or groups < n_groups:
            raise UnfitError(f"{part.name!r} has the shape {part.shape}, not {outputs} rows of {n_groups} groups")
    one = n_groups == 1

    def numbers(packed: Part, count: int, first: int, last: int) -> Array:
        return signed(unpack_words(packed.array()[first:last], AWQ_BITS, count), AWQ_BITS)

    def scale(first: int, last: int) -> Array:
        found = np.array(four.scales.array()[first:last, :n_groups])
        return found[:, 0] if one else found

    def zero(first: int, last: int) -> Array:
        found = numbers(zeros, n_groups, first, last)
        return found[:, 0] if one else found

    spec = Affine(
        (outputs, inputs), "int4", lambda first, last: numbers(four.weight, inputs, first, last), scale, zero,
        None if one else size,
    )  # fmt: skip
    return affine_weight(spec, "AWQ gemv", four.names, _AWQ_NOTE)


_AWQ_NOTE = "codes and zero points are 8 less than in the file, as compressed-tensors counts them"


def _awq_zeros(four: _Four) -> Part:
    if four.zeros is None:
        raise UnfitError("its qzeros are missing")
    return four.zeros
