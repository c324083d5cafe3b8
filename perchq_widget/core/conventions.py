"""Every runtime's record, and the one table of what each of them allows: dtype x scheme x granularity x flags.

Errors, the panel's menus and the tests all read :func:`why_not`.
"""

from __future__ import annotations

from .errors import QuantValueError, choose_from
from .grids import INTEGER_DTYPES, STORED_DTYPES
from .observers import Entropy, MinMax, observer_of
from .record import CHANNEL_TENSOR, Convention, Refusal, Support, setting
from .runtimes.ai_edge import AI_EDGE
from .runtimes.bitsandbytes import BITSANDBYTES
from .runtimes.calculator import CALCULATOR
from .runtimes.compressed_tensors import COMPRESSED_TENSORS
from .runtimes.floats import FIXED_RULES
from .runtimes.gguf import GGUF
from .runtimes.litert import LITERT, LITERT_XNNPACK
from .runtimes.nvidia import MODELOPT, TENSORRT
from .runtimes.ocp import OCP
from .runtimes.onnxruntime import ONNX_DYNAMIC, ONNXRUNTIME
from .runtimes.torch_ao import PYTORCH, PYTORCH_QUANTIZED
from .runtimes.torch_dynamic import PYTORCH_DYNAMIC
from .runtimes.torchao import TORCHAO, TORCHAO_NO_CLIP
from .schemes import QuantScheme

CONVENTIONS: dict[str, Convention] = {
    each.name: each
    for each in (
        CALCULATOR,
        PYTORCH,
        PYTORCH_QUANTIZED,
        PYTORCH_DYNAMIC,
        TORCHAO,
        TORCHAO_NO_CLIP,
        ONNXRUNTIME,
        ONNX_DYNAMIC,
        LITERT,
        LITERT_XNNPACK,
        AI_EDGE,
        TENSORRT,
        MODELOPT,
        COMPRESSED_TENSORS,
        OCP,
        BITSANDBYTES,
        GGUF,
    )
}
#: Above this an entropy search, whose histograms have some thousand bins, sees no difference.
MOST_CODES = 1024
FLAGS = ("reduce_range", "narrow_range", "quant_range")

#: What no convention allows.
REFUSALS: tuple[Refusal, ...] = (
    *(
        Refusal(
            (("dtype", dtype), ("narrow_range", True)),
            f"narrow_range drops the lowest signed code, and {dtype} has no signed codes",
            f"choose dtype {dtype.replace('uint', 'int')!r}, or turn narrow_range off",
        )
        for dtype, (_, signed) in INTEGER_DTYPES.items()
        if not signed
    ),
    Refusal(
        (("quant_range", True), ("narrow_range", True)),
        "quant_range already says which codes are in force",
        "turn narrow_range off, or leave quant_range out",
    ),
    *(
        Refusal(
            (("dtype", dtype),),
            f"llama.cpp searches for the scales of {dtype}, and that search is not rebuilt here: {dtype} is measured "
            "with the scales that a GGUF file has",
            "open a file that holds it (pq.open_source), or choose 'q4_0', 'q8_0' or another format with a rule",
        )
        for dtype in STORED_DTYPES
    ),
)


def get_convention(name: str) -> Convention:
    """The record of that name; an unknown name raises and lists the known ones."""
    return CONVENTIONS[choose_from("convention", name, CONVENTIONS)]


def why_not(scheme: QuantScheme) -> Refusal | None:
    """None if the combination is allowed; else the settings that clash, the reason, and what to choose instead."""
    rules = get_convention(scheme.convention)
    for refusal in (*REFUSALS, *rules.refusals):
        if refusal.matches(scheme):
            return _under(rules, refusal)
    if any(_covers(row, scheme) for row in rules.supports):
        return _no_search(rules, scheme)
    return _first_gap(rules, scheme)


def allowed(scheme: QuantScheme) -> str | None:
    """None if the combination is allowed; else the reason and what to choose instead, as one sentence."""
    refusal = why_not(scheme)
    return None if refusal is None else str(refusal)


def require_allowed(scheme: QuantScheme) -> Convention:
    """Raise :class:`QuantValueError` unless the combination is allowed; return its convention."""
    reason = allowed(scheme)
    if reason is not None:
        raise QuantValueError(f"this combination is not allowed: {reason}")
    return get_convention(scheme.convention)


def symmetric_zero_point(scheme: QuantScheme) -> int:
    """The one zero point that the convention's symmetric scheme has: 0, or the middle of unsigned codes in torch."""
    return get_convention(scheme.convention).symmetric_zero_point(scheme)


def conventions_with(dtype: str) -> tuple[str, ...]:
    """The names of the conventions that have ``dtype``."""
    return tuple(name for name, rules in CONVENTIONS.items() if dtype in rules.formats)


def _under(rules: Convention, refusal: Refusal) -> Refusal:
    """A convention's own refusal, with the convention among the settings that clash."""
    if refusal in REFUSALS:
        return refusal
    return Refusal((("convention", rules.name), *refusal.when), refusal.reason, refusal.instead)


def _gaps(row: Support, scheme: QuantScheme) -> tuple[str, ...]:
    """The settings of ``scheme`` that ``row`` lacks, in the order in which they are named."""
    fixed = row.group_sizes and scheme.granularity == "group" and scheme.group_size not in row.group_sizes
    missing = {
        "dtype": scheme.dtype not in row.dtypes,
        "scheme": scheme.scheme not in row.schemes,
        "granularity": scheme.granularity not in row.granularities,
        "group_size": bool(fixed),
        **{flag: bool(setting(scheme, flag)) and flag not in row.flags for flag in FLAGS},
        "scale_rule": scheme.scale_rule not in (row.scale_rules or (None,)),
    }
    return tuple(name for name, lacks in missing.items() if lacks)


def _no_search(rules: Convention, scheme: QuantScheme) -> Refusal | None:
    """Why a range cannot be searched for; None where it can, and where none is, as for "minmax"."""
    observer, back = observer_of(scheme.observer), "choose observer 'minmax'"
    clash: tuple[tuple[str, object], ...] = (("observer", scheme.observer),)
    if isinstance(observer, MinMax):
        return None
    if scheme.family == "block":
        reason = f"{scheme.dtype} takes one scale for each block from the block's own values"
        return Refusal((("dtype", scheme.dtype), *clash), reason, f"{back}, or an integer or float format")
    if scheme.granularity not in CHANNEL_TENSOR:
        reason = f"observers look at channels or at the tensor, and not at each {scheme.granularity}"
        return Refusal((("granularity", scheme.granularity), *clash), reason, f"{back}, or granularity 'channel'")
    if scheme.scale_rule in FIXED_RULES or scheme.scale_rule in rules.statistics:
        fixed = scheme.scale_rule in FIXED_RULES
        why = "is 1 whatever the range is" if fixed else "comes from all values and not from a range"
        reason = f"the scale of scale_rule {scheme.scale_rule!r} {why}"
        instead = f"{back}, or scale_rule 'amax' where the format has it"
        return Refusal((("scale_rule", scheme.scale_rule), *clash), reason, instead)
    if isinstance(observer, Entropy) and scheme.grid.n_levels > MOST_CODES:
        reason = f"{scheme.dtype} has {scheme.grid.n_levels} codes, so many that every distribution stays as it is"
        return Refusal((("dtype", scheme.dtype), *clash), reason, f"{back} or 'mse', or a format of 8 bits or less")
    return None


def _covers(row: Support, scheme: QuantScheme) -> bool:
    return not _gaps(row, scheme)


def _choices(row: Support, name: str) -> tuple[object, ...]:
    return {"scheme": row.schemes, "granularity": row.granularities, "group_size": row.group_sizes,
            "scale_rule": row.scale_rules}[name]  # fmt: skip


def _first_gap(rules: Convention, scheme: QuantScheme) -> Refusal:
    """Why no row covers the scheme: the nearest row's first missing setting, and what that row has instead."""
    with_dtype = [row for row in rules.supports if scheme.dtype in row.dtypes]
    if not with_dtype:
        without = (("convention", rules.name), ("dtype", scheme.dtype))
        others = ", ".join(map(repr, conventions_with(scheme.dtype)))
        instead = f"choose convention {others}, or dtype {', '.join(map(repr, rules.formats))}"
        return Refusal(without, f"{rules.name} has no {scheme.dtype}", instead)
    row = min(with_dtype, key=lambda each: len(_gaps(each, scheme)))
    name = _gaps(row, scheme)[0]
    value = setting(scheme, name)
    clash = (("convention", rules.name), ("dtype", scheme.dtype), (name, value))
    if name in FLAGS:
        off = "leave quant_range out" if name == "quant_range" else f"turn {name} off"
        return Refusal(clash, f"{rules.name} has no {name} for {scheme.dtype}", off)
    near = [each for each in with_dtype if _gaps(each, scheme) == (name,)] or [row]
    choices = tuple(dict.fromkeys(choice for each in near for choice in _choices(each, name)))
    if not choices:
        return Refusal(clash, f"{rules.name} has one rule for {scheme.dtype} and no {name}", f"leave {name} out")
    shown = " or ".join(map(repr, choices))
    return Refusal(clash, f"{rules.name} has no {name} {value!r} for {scheme.dtype}", f"choose {name} {shown}")
