"""Results as files. Every file goes through one writer, so that a failed export never costs the earlier one."""

from __future__ import annotations

import errno
import json
import os
import secrets
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from perchq_widget.core.errors import QuantError, QuantTypeError, QuantValueError
from perchq_widget.report.text import clean_name, csv_safe, whole_text

if TYPE_CHECKING:
    import pandas as pd


class TargetExistsError(QuantValueError, FileExistsError):
    """The file is there and ``overwrite`` is False."""


class TargetFolderError(QuantValueError, FileNotFoundError):
    """The file cannot be put there: its folder is missing, or the path is a folder itself."""


class TargetWriteError(QuantError, OSError):
    """The operating system refused the file; ``errno`` says why, ``__cause__`` is its own error."""


_NEXT_STEPS = {
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ENOSPC: "make room on the disk or choose another one",
    errno.EDQUOT: "make room on the disk or choose another one",
    errno.EACCES: "choose a folder that you may write to",
    errno.EPERM: "choose a folder that you may write to",
    errno.EROFS: "choose a folder that you may write to",
    errno.ELOOP: "it is a link that leads back to itself; remove it or choose another name",
}


def check_target(path: str | os.PathLike[str], overwrite: bool = False) -> Path:
    """Return ``path`` as a Path that may be written; to be asked before the work, not after it.

    Raises TargetExistsError for a file that is there (unless ``overwrite``), TargetFolderError for a missing folder,
    a path that is a folder or a link into a missing one, QuantTypeError for what is no path, QuantValueError for a
    name that no file can have, TargetWriteError for one that this file system refuses.
    """
    if not str(path) or not isinstance(path, (str, os.PathLike)):
        raise QuantTypeError(f"path must be the name of a file, a str or a Path, got {path!r}")
    try:
        return _checked(Path(path).expanduser(), overwrite)
    except QuantError:
        raise
    except OSError as error:
        raise _refused(path, error) from error
    except (ValueError, RuntimeError, TypeError) as error:  # a NUL, a lone surrogate, an unknown ~user, bytes
        raise QuantValueError(f"path must be a name that a file can have ({error}), got {str(path)!r:.200}") from error


def _checked(target: Path, overwrite: bool) -> Path:
    """``target`` if the checks that :func:`check_target` lists pass; raises OSError and ValueError as they come."""
    with suppress(FileNotFoundError, NotADirectoryError):
        target.lstat()  # unlike is_dir() and exists(), says why a name is impossible
    if target.is_dir():
        raise TargetFolderError(f"path must name a file, but {str(target)!r} is a folder; add a file name to it")
    if not target.parent.is_dir():
        raise TargetFolderError(f"path: the folder {str(target.parent)!r} does not exist; create it first")
    if target.exists() and not overwrite:
        raise TargetExistsError(f"{str(target)!r} exists and is left as it is; pass overwrite=True to replace it")
    if target.is_symlink():
        end = Path(os.path.realpath(target))
        if end.is_symlink():
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        if not end.parent.is_dir():
            raise TargetFolderError(
                f"{str(target)!r} is a link into the folder {str(end.parent)!r}, which does not exist; create it first"
            )
    return target


def _refused(path: str | os.PathLike[str], error: OSError) -> TargetWriteError:
    """What the operating system said, about the path that the user gave and not about our temporary file."""
    step = _NEXT_STEPS.get(error.errno or 0, "choose another name or folder")
    reason = error.strerror or type(error).__name__
    refusal = TargetWriteError(f"{str(path)!r:.200} cannot be written: {reason}; {step}")
    refusal.errno = error.errno
    return refusal


def write_atomic(path: str | os.PathLike[str], data: bytes | str, overwrite: bool = False) -> Path:
    """Write ``data`` (text as UTF-8) so that the file is either wholly the new one or wholly as it was.

    The bytes go to a temporary file in the same folder, reach the disk, and take the name in one step. A link is
    followed; a replaced file keeps its permissions. On any failure the temporary file is removed; only a killed
    process can leave one behind (hidden, ``.NAME.*.tmp``). Raises like :func:`check_target`, and TargetWriteError for
    what the disk refuses.
    """
    given = check_target(path, overwrite)
    target = Path(os.path.realpath(given))
    payload = data.encode("utf-8") if isinstance(data, str) else data
    temporary = target.with_name(f".{_stem(target.name)}.{secrets.token_hex(6)}.tmp")
    try:
        _write_through(temporary, payload)
        if target.exists():
            shutil.copymode(target, temporary)
        check_target(given, overwrite)
        os.replace(temporary, target)  # noqa: PTH105 - one rename(2), named as what it is
    except OSError as error:
        if isinstance(error, QuantError):
            raise
        raise _refused(path, error) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
    return given


def _stem(name: str) -> str:
    """The beginning of ``name``, short enough that the temporary file's own name is never too long in bytes."""
    return os.fsencode(name)[:80].decode("utf-8", "ignore")


def _write_through(path: Path, payload: bytes) -> None:
    """Create ``path`` with the user's default permissions and hand its bytes to the disk."""
    with path.open("xb") as file:
        file.write(payload)
        file.flush()
        os.fsync(file.fileno())


def csv_text(table: pd.DataFrame, settings: Mapping[str, object]) -> str:
    """The channel table as CSV text: the table's own columns first, then one column per setting.

    The first line is the header, there are no comments, and every row carries the settings, so the file explains
    itself and ``pandas.read_csv(path)[table.columns]`` gives back the same floats (shortest form that reads back
    exactly; ``inf`` as such, NaN as an empty cell; with pandas before 3 pass ``float_precision="round_trip"``). To
    have channels called ``NA`` or ``007`` back too, add ``dtype={"channel": str}, keep_default_na=False,
    na_values=[""]``.
    Text cells are made visible (:func:`~perchq_widget.report.text.clean_name`) and formula-safe
    (:func:`~perchq_widget.report.text.csv_safe`, undone by ``csv_restore``); the JSON export holds names exactly.
    """
    import pandas as pd

    columns = {str(name): _column(table[name]) for name in table.columns}
    for name, value in settings.items():
        columns.setdefault(name, [_cell(value)] * len(table))
    return pd.DataFrame(columns).to_csv(index=False, lineterminator="\n")


def _column(values: pd.Series[Any]) -> Sequence[object] | NDArray[np.float64]:
    """Floats widened to float64, whose shortest form names their value exactly; texts made safe."""
    if values.dtype.kind == "f":
        return values.to_numpy(dtype=np.float64)
    return [_cell(value) for value in values.tolist()]


def _cell(value: object) -> object:
    return csv_safe(clean_name(value)) if isinstance(value, str) else value


def json_text(document: Mapping[str, Any]) -> str:
    """A document as strict JSON: ASCII, so that every name survives every editor; no bare NaN or Infinity.

    Non-finite numbers must already be the strings ``"inf"``, ``"-inf"``, ``"nan"`` (:func:`json_safe` does it).
    """
    return json.dumps(document, ensure_ascii=True, allow_nan=False, indent=1) + "\n"


def json_safe(value: Any) -> Any:
    """Numpy scalars and arrays, tuples, non-finite floats and lone surrogates as what strict JSON can hold."""
    if isinstance(value, float):
        return _json_float(float(value))
    if isinstance(value, str):
        return whole_text(value)
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, Mapping):
        return {str(key): json_safe(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [json_safe(item) for item in value]
    if hasattr(value, "tolist"):
        return json_safe(value.tolist())
    return str(value)


def _json_float(value: float) -> float | str:
    if value != value:
        return "nan"
    if value in (float("inf"), float("-inf")):
        return "inf" if value > 0 else "-inf"
    return value
