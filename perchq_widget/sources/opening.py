"""open_source: the tensors of whatever a user has, by what it is: a file's kind, a folder, an object in memory."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import cast

from perchq_widget.core.errors import QuantError, QuantTypeError, QuantValueError
from perchq_widget.sources.base import TensorRecord, TensorSource
from perchq_widget.sources.files import check_downloaded, existing_file, is_folder

Reader = Callable[[Path], TensorSource]

#: suffix -> (module of this package, its reader); imported when a file of that kind is opened
READERS: dict[str, tuple[str, str]] = {
    ".npy": ("npy", "open_npy"),
    ".npz": ("npy", "open_npz"),
    ".safetensors": ("safetensors", "open_safetensors"),
    ".index.json": ("sharded", "open_index"),
    ".gguf": ("gguf.file", "open_gguf"),
    ".onnx": ("onnx.file", "open_onnx"),
    ".tflite": ("tflite.file", "open_tflite"),
    ".pt": ("torch.file", "open_torch"),
    ".pth": ("torch.file", "open_torch"),
    ".ckpt": ("torch.file", "open_torch"),
    ".bin": ("torch.file", "open_torch"),
}


def open_source(obj: object) -> TensorSource:
    """The tensors of a model file or folder, mapping, state dict, torch module, record or single array.

    Files: .safetensors, a sharded checkpoint's .index.json, .onnx, .gguf, .tflite, .pt .pth .ckpt .bin (weights only),
    .npy, .npz; a folder that holds one of them. A source is returned as it is. QuantValueError for a file that is
    missing, of another kind or malformed; QuantTypeError for an object that holds no tensors; MissingExtra, with the
    line to install it, where a format needs a package that is not there.
    """
    from perchq_widget.sources.objects import array_source, mapping_source
    from perchq_widget.sources.torch.tensors import is_torch

    if isinstance(obj, TensorSource):
        return obj
    if isinstance(obj, TensorRecord):
        return TensorSource([obj], name=obj.name, kind="one tensor")
    if obj is None or isinstance(obj, bytes) or (isinstance(obj, str) and not obj.strip()):
        raise QuantTypeError(f"source must be a path, an array, a module or a mapping of such, got {obj!r:.60}")
    if isinstance(obj, (str, os.PathLike)):
        return _open_path(_at_home(Path(obj)))
    if is_torch(obj, "nn.Module"):
        from perchq_widget.sources.torch.modules import module_source

        return module_source(obj)
    if isinstance(obj, Mapping):
        return mapping_source(obj)
    return array_source(obj)


def _at_home(path: Path) -> Path:
    """``~/models`` as a shell has it, unless there is a file or folder of that very name."""
    if not path.parts[:1] or not path.parts[0].startswith("~") or os.path.lexists(path):
        return path
    try:
        return path.expanduser()
    except RuntimeError:  # nobody of that name, or no home folder is known
        return path


def _open_path(path: Path) -> TensorSource:
    if is_folder(path):
        from perchq_widget.sources.folder import open_folder

        return open_folder(path)
    found = existing_file(path, "source")
    reader = reader_of(found)
    try:
        check_downloaded(found)
        return reader(found)
    except OSError as error:
        if isinstance(error, QuantError):
            raise
        raise QuantValueError(f"{found}: cannot be read ({error.strerror or error})") from error


def reader_of(path: Path) -> Reader:
    """The reader for a file of that name; QuantValueError for a kind that is not read."""
    name = path.name.lower()
    for suffix, (module, reader) in READERS.items():
        if name.endswith(suffix):
            return cast(Reader, getattr(import_module(f"perchq_widget.sources.{module}"), reader))
    raise QuantValueError(
        f"source: cannot read {path} ({path.suffix or 'no suffix'}); read are {', '.join(READERS)}: save the tensors "
        "as .safetensors"
    )
