"""What a checkpoint's configuration says of its quantization, in one shape for all tools that write one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_LARGEST = 1 << 31


@dataclass(frozen=True)
class Facts:
    """Fields of a quantization configuration; None or "" where it does not say, or says what cannot be.

    ``group_size`` is -1 for one group per channel. ``blocks``: rows and columns of blocks.
    """

    method: str = ""
    bits: int | None = None
    group_size: int | None = None
    symmetric: bool | None = None
    form: str = ""
    version: str = ""
    desc_act: bool | None = None
    strategy: str = ""
    blocks: tuple[int, int] | None = None


def facts_of(config: Mapping[str, Any] | None) -> Facts:
    """The facts of a parsed config.json, quantize_config.json or hf_quant_config.json. Never raises."""
    table = _quantization(config)
    weights = _weights(table)
    return Facts(
        method="modelopt" if _text(table.get("quant_algo")) else _text(table.get("quant_method")),
        bits=_whole(_first(weights.get("num_bits"), table.get("bits"), table.get("w_bit"))),
        group_size=_whole(_first(weights.get("group_size"), table.get("group_size"), table.get("q_group_size"))),
        symmetric=_flag(_first(weights.get("symmetric"), table.get("sym"))),
        form=_text(_first(table.get("checkpoint_format"), table.get("format"))),
        version=_text(table.get("version")),
        desc_act=_flag(table.get("desc_act")),
        strategy=_text(weights.get("strategy")),
        blocks=_pair(_first(weights.get("block_structure"), table.get("weight_block_size"))),
    )


def _quantization(config: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """The table about quantization: a part of the model's configuration, or a file of its own."""
    if not isinstance(config, Mapping):
        return {}
    for key in ("quantization_config", "compression_config", "quantization"):
        if isinstance(config.get(key), Mapping):
            return _table(config[key])
    return config


def _weights(table: Mapping[str, Any]) -> Mapping[str, Any]:
    """What all groups of compressed-tensors' layers agree on; where they differ, the shapes have to tell."""
    found = [_table(_table(group).get("weights")) for group in _table(table.get("config_groups")).values()]
    if not found:
        return {}
    return {key: value for key, value in found[0].items() if all(other.get(key) == value for other in found[1:])}


def _table(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _first(*values: Any) -> Any:
    return next((value for value in values if value is not None), None)


def _text(value: Any) -> str:
    return value.lower() if isinstance(value, str) and len(value) <= 64 else ""


def _whole(value: Any) -> int | None:
    return value if type(value) is int and -1 <= value < _LARGEST else None


def _flag(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None


def _pair(value: Any) -> tuple[int, int] | None:
    if isinstance(value, (list, tuple)) and len(value) == 2:
        rows, columns = (_whole(each) for each in value)
        if rows is not None and columns is not None and min(rows, columns) >= 1:
            return rows, columns
    return None
