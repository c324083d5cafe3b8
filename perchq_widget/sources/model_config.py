"""The configuration that lies beside a model's weights: JSON that nobody vouches for, of which a few words are used."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

_T = TypeVar("_T")

MAX_CONFIG_BYTES = 1 << 22
"""Larger files are no configurations; models' own have some kilobytes, and a list of all their layers some hundred."""

# Older tools write the quantization's settings into a file of its own, which names no method.
_OF_TOOLS = {"quantize_config.json": "gptq", "quant_config.json": "awq", "hf_quant_config.json": "modelopt"}
_ABOUT_QUANTIZATION = ("quantization_config", "compression_config", "quantization")


@dataclass(frozen=True)
class ModelConfig:
    """What config.json says, None where there is none; ``problem`` is why one that is there was not read."""

    values: Mapping[str, Any] | None = None
    problem: str = ""

    def described(self, kind: str) -> str:
        """``kind`` of a source, and what is wrong with the configuration."""
        return f"{kind}; {self.problem}" if self.problem else kind


def config_of(folder: Path) -> ModelConfig:
    """The config.json of a model's folder, and what tools have written of its quantization beside it.

    Links are followed, as the download cache of Hugging Face needs it: what they name is parsed as JSON, and nothing
    of it is run. Never raises for what the files hold.
    """
    values, problem = read_json(folder / "config.json", dict)
    if values is not None and any(key in values for key in _ABOUT_QUANTIZATION):
        return ModelConfig(values)
    for name, method in _OF_TOOLS.items():
        found, wrong = read_json(folder / name, dict)
        problem = problem or wrong
        if found is not None:
            table = found["quantization"] if isinstance(found.get("quantization"), dict) else found
            settings = {"quant_method": method, **table}
            return ModelConfig({**(values or {}), "quantization_config": settings}, problem)
    return ModelConfig(values, problem)


def read_json(path: Path, kind: type[_T]) -> tuple[_T | None, str]:
    """The object or list in a small JSON file and "", or None and why a file that is there was not read."""
    try:
        if not path.is_file():
            return None, ""
        if path.stat().st_size > MAX_CONFIG_BYTES:
            return None, f"{path.name} is not read: more than {MAX_CONFIG_BYTES} bytes"
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        return None, f"{path.name} is not read: {type(error).__name__}"
    return (found, "") if isinstance(found, kind) else (None, f"{path.name} is not read: it holds no JSON object")
