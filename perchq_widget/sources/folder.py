"""A folder that holds a model: its checkpoint, whole or in shards, and the configuration beside it."""

from __future__ import annotations

from pathlib import Path

from perchq_widget.core.errors import QuantValueError
from perchq_widget.sources.base import TensorSource


def open_folder(path: Path) -> TensorSource:
    """The tensors of the model in a folder."""
    raise QuantValueError(f"source: {path} is a folder; give the path of a file in it")
