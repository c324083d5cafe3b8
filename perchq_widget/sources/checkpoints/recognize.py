"""Find the quantized layers among a checkpoint's plain tensors, and show each as one tensor."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from perchq_widget.core.errors import QuantError, QuantValueError
from perchq_widget.sources.base import TensorRecord
from perchq_widget.sources.checkpoints.bitsandbytes import STATE, fold_four_bits, fold_int8
from perchq_widget.sources.checkpoints.compressed import fold_naive, fold_packed
from perchq_widget.sources.checkpoints.facts import Facts, facts_of
from perchq_widget.sources.checkpoints.fp4 import fold_gpt_oss, fold_modelopt
from perchq_widget.sources.checkpoints.fp8 import fold_scale_inv
from perchq_widget.sources.checkpoints.gptq import fold_qweight
from perchq_widget.sources.checkpoints.parts import FLOAT8, Parts, UnfitError
from perchq_widget.sources.checkpoints.weight import Weight
from perchq_widget.sources.stored import Stored

Records = Mapping[str, TensorRecord]
Fold = Callable[[Parts, Facts], Weight]


@dataclass(frozen=True)
class _Layout:
    """A layout by the name of a part that only it has. ``weight``: that part's name with ``ending`` off, and this on.

    ``beside``: endings of other parts, of which one must be there (from the weight's name; from the layer's after a
    dot). ``types``: what the weight itself must be, where the file has it under its own name.
    """

    title: str
    ending: str
    fold: Fold
    weight: str = ""
    beside: tuple[str, ...] = ()
    types: tuple[str, ...] = ()

    def base(self, name: str, records: Records) -> str | None:
        """The name of the weight that the part ``name`` belongs to; None if it is no such part."""
        if not name.endswith(self.ending):
            return None
        base = name[: len(name) - len(self.ending)] + self.weight
        if self.types and (base not in records or records[base].dtype not in self.types):
            return None
        stem = base[: base.rfind(".") + 1]
        if self.beside and not any(base + each in records or stem + each in records for each in self.beside):
            return None
        return base


#: In the order in which they are asked: the first that has the name's ending and what belongs to it.
LAYOUTS = (
    _Layout("GPTQ or AWQ", "qweight", fold_qweight, "weight", ("scales", "qzeros", "g_idx")),
    _Layout("compressed-tensors", "_packed", fold_packed, "", ("_scale", "_shape", "_global_scale")),
    _Layout("bitsandbytes", STATE + "nf4", fold_four_bits),
    _Layout("bitsandbytes", STATE + "fp4", fold_four_bits),
    _Layout("bitsandbytes", ".quant_map", fold_four_bits, "", (".absmax",)),
    _Layout("LLM.int8", "SCB", fold_int8, "weight", (), ("int8",)),
    _Layout("ModelOpt NVFP4", "_scale_2", fold_modelopt, "", ("_scale",), ("uint8",)),
    _Layout("block FP8", "_scale_inv", fold_scale_inv, "", (), FLOAT8),
    _Layout("gpt-oss MXFP4", "_blocks", fold_gpt_oss, "", ("_scales",)),
    _Layout("compressed-tensors", "_scale", fold_naive, "", (), ("int8", *FLOAT8)),
)

#: Values of quant_method whose layouts these are; parts of others are listed with a note.
KNOWN = ("gptq", "awq", "compressed-tensors", "bitsandbytes", "fp8", "fbgemm_fp8", "modelopt", "mxfp4")

#: Endings of all parts, for the note on those of a layer that was not unpacked.
_PARTS = (
    "", "_packed", "_scale", "_shape", "_zero_point", "_g_idx", "_global_scale", "_scale_2", "_scale_inv", "_blocks",
    "_scales", ".absmax", ".quant_map", ".nested_absmax", ".nested_quant_map", STATE + "nf4", STATE + "fp4",
)  # fmt: skip
_LAYER_PARTS = ("qweight", "qzeros", "scales", "g_idx", "SCB", "weight_format")


def fold_quantized(records: Records, config: Mapping[str, Any] | None, source: str) -> list[TensorRecord]:
    """The records of a file or folder with the parts of each quantized layer folded into one record.

    ``records`` are the plain ones, whose ``raw()`` gives integers and packed codes too; ``config`` is the model's
    parsed config.json (or quantize_config.json, hf_quant_config.json), None without one; ``source`` opens it again.
    The order stays: a folded record stands where the first of its parts stood. Parts that have a layout's names and do
    not fit stay, each with a note that says why. Never raises for what a file says.
    """
    facts = facts_of(config)
    folded: dict[str, TensorRecord] = {}
    noted: dict[str, str] = {}
    for base, layout in _candidates(records):
        try:
            weight = _fold(base, layout, records, facts)
        except UnfitError as reason:
            text = f"part of a {layout.title} weight that was not unpacked: {reason}"
            noted.update((name, text) for name in _names(base, records) if name not in folded)
            continue
        record = _record(base, weight, records, source)
        folded.update((name, record) for name in weight.used)
    if facts.method and facts.method not in KNOWN:
        text = f"its configuration says {facts.method!r}, a layout that is not known here: listed as the file has it"
        noted = {name: text for name, record in records.items() if _is_code(record) and name not in folded} | noted
    return list(_in_order(records, folded, noted))


def _is_code(record: TensorRecord) -> bool:
    """Whether a raw tensor may be codes: integers in a matrix."""
    return len(record.shape) > 1 and record.dtype in ("int8", "uint8", "int16", "int32")


def _candidates(records: Records) -> Iterator[tuple[str, _Layout]]:
    """The name of each weight that seems to be quantized, once, with the layout that its parts' names suggest."""
    found: dict[str, tuple[int, _Layout]] = {}
    for name in records:
        for rank, layout in enumerate(LAYOUTS):
            base = layout.base(name, records)
            if base is not None:
                if base not in found or rank < found[base][0]:
                    found[base] = rank, layout
                break
    for base, (_, layout) in found.items():
        yield base, layout


def _fold(base: str, layout: _Layout, records: Records, facts: Facts) -> Weight:
    weight = layout.fold(Parts(base, records), facts)
    if base in records and base not in weight.used:
        raise UnfitError(f"there is another tensor {base!r}")
    return weight


def _names(base: str, records: Records) -> list[str]:
    stem = base[: base.rfind(".") + 1]
    names = (*(base + end for end in _PARTS), *(stem + end for end in _LAYER_PARTS))
    return [name for name in names if name in records]


def _in_order(records: Records, folded: Mapping[str, TensorRecord], noted: Mapping[str, str]) -> Iterator[TensorRecord]:
    given: set[str] = set()
    for name, record in records.items():
        if name in folded:
            if folded[name].name not in given:
                given.add(folded[name].name)
                yield folded[name]
        elif name in noted:
            told = noted[name]
            yield replace(record, note=told, not_applicable=None if record.not_applicable is None else told)
        else:
            yield record


def _record(base: str, weight: Weight, records: Records, source: str) -> TensorRecord:
    rows = weight.shape[0]
    guard = _Guard(source, base)
    stored = weight.stored
    return TensorRecord(
        base, weight.shape, weight.dtype, sum(records[name].n_bytes for name in weight.used), weight.ch_axis,
        weight.ch_axis_reason, source=source, loader=lambda: guard.array(weight.values, 0, rows),
        stored_as=weight.scheme, note=weight.note,
        row_loader=lambda first, last: guard.array(weight.values, first, last),
        raw_loader=records[weight.used[0]].raw,
        stored_loader=None if stored is None else lambda: guard.stored(stored),
    )  # fmt: skip


@dataclass(frozen=True)
class _Guard:
    """Reads a weight, and says of what the file and the tensor are when that fails."""

    source: str
    name: str

    def array(self, values: Callable[[int, int], np.ndarray[Any, Any]], first: int, last: int) -> np.ndarray[Any, Any]:
        """Rows of values."""
        try:
            with np.errstate(all="ignore"):  # a damaged scale may be any bits, and a signalling NaN warns when touched
                return values(first, last)
        except QuantError as error:
            raise self._named(error) from error

    def stored(self, stored: Callable[[], Stored]) -> Stored:
        """Codes and parameters."""
        try:
            with np.errstate(all="ignore"):
                return stored()
        except QuantError as error:
            raise self._named(error) from error

    def _named(self, error: QuantError) -> QuantValueError:
        return QuantValueError(f"{self.source}: tensor {self.name!r}: {error}")
