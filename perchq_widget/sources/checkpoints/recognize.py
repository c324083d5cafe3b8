"""Find the quantized layers among a checkpoint's plain tensors, and show each as one tensor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from perchq_widget.sources.base import TensorRecord


def fold_quantized(
    records: Mapping[str, TensorRecord], config: Mapping[str, Any] | None, source: str
) -> list[TensorRecord]:
    """The records of a file or folder with the parts of each quantized layer folded into one record.

    ``records`` are the plain ones, whose ``raw()`` gives integers and packed codes too; ``config`` is the model's
    parsed config.json (or quantize_config.json, hf_quant_config.json), None without one; ``source`` opens it again.
    The order stays: a folded record stands where the first of its parts stood. Never raises for what a file says.
    """
    return list(records.values())
