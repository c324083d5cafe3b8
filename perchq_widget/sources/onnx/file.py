"""``.onnx`` models: initializers and constants of all graphs, and weights that are quantized with their parameters.

The weights are not read when a model is opened. A file that is no model is refused; a bad tensor spoils only itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from perchq_widget.core.errors import MissingExtra, QuantError, QuantValueError
from perchq_widget.sources.axes import AxisHint
from perchq_widget.sources.base import TensorRecord, TensorSource
from perchq_widget.sources.decimals import clip_text
from perchq_widget.sources.file_bytes import FileStamp
from perchq_widget.sources.memory import as_array, dtype_problem, shape_problem
from perchq_widget.sources.onnx.axes import MAX_USES, axis_hint
from perchq_widget.sources.onnx.external import DataFolder
from perchq_widget.sources.onnx.graph import Scope, scopes_of
from perchq_widget.sources.onnx.packed import Bnb4, packed_use, unpacking
from perchq_widget.sources.onnx.params import BIAS, Found, found_in
from perchq_widget.sources.onnx.quantized import Coded
from perchq_widget.sources.onnx.sites import BIASES, parameter_of, sites_of
from perchq_widget.sources.onnx.tensor import Tensor, TensorReader
from perchq_widget.sources.onnx.types import INT32, STRING
from perchq_widget.sources.onnx.wire import WireError, malformed, read_skeleton

P = ParamSpec("P")
T = TypeVar("T")

_LFS = b"version https://git-lfs"


def open_onnx(path: Path) -> TensorSource:
    """The constants of a model: initializers, Constant nodes, those of subgraphs and functions with a prefix.

    A weight that the model holds quantized is one tensor; its scale and zero point, if nothing else uses them, are not
    listed beside it. QuantValueError if the file is no model; MissingExtra without the onnx package.
    """
    try:
        import onnx
    except ImportError as error:
        raise MissingExtra("onnx", "onnx") from error
    stamp = FileStamp.of(path)
    _refuse_pointer(path)
    try:
        skeleton = read_skeleton(path)
    except WireError as error:
        raise malformed(path, error) from error
    except OSError as error:
        raise QuantValueError(f"{path}: cannot be read ({error.strerror})") from error
    try:
        model = onnx.ModelProto.FromString(skeleton.model)
    except Exception as error:  # protobuf's own class, which lives in a package that is onnx's dependency, not ours
        raise malformed(path, error) from error
    if not model.HasField("graph"):
        raise QuantValueError(f"{path}: malformed: this is no ONNX model (it has no graph)")
    reader = TensorReader(stamp, skeleton.places, DataFolder(path))
    return TensorSource(_Listing(path).records(scopes_of(model, reader)), name=str(path), kind=".onnx file")


def _refuse_pointer(path: Path) -> None:
    with path.open("rb") as file:
        if file.read(len(_LFS)) == _LFS:
            raise QuantValueError(f"{path}: this is a Git LFS pointer, not the model: fetch it by `git lfs pull`")


class _Listing:
    """Makes the records of one model, in the order of its graphs."""

    def __init__(self, path: Path) -> None:
        self.source = str(path)
        self.taken: dict[tuple[int, str], str] = {}  # parameters of a listed tensor -> its name

    def records(self, scopes: list[Scope]) -> list[TensorRecord]:
        """All of them, but for parameters that a quantized tensor has taken in."""
        made = [(scope, tensor, self._record(scope, tensor)) for scope in scopes for tensor in scope.tensors]
        count = Counter(record.name for _, _, record in made)
        return [
            _twice(record) if count[record.name] > 1 else record
            for scope, tensor, record in made
            if not self._folded(scope, tensor)
        ]

    def _folded(self, scope: Scope, tensor: Tensor) -> bool:
        """Whether a tensor is a parameter of listed ones, and nothing else."""
        key = (id(scope), tensor.name)
        if key not in self.taken:
            return False
        n_uses = len(scope.uses.get(tensor.name, ()))
        return n_uses == 1 or parameter_of(scope, tensor.name) is not None

    def _record(self, scope: Scope, tensor: Tensor) -> TensorRecord:
        name = scope.prefix + tensor.name
        hint = axis_hint(scope, tensor.name, tensor.shape)
        if tensor.problem is not None:
            return self._plain(name, tensor, hint, tensor.problem)
        try:
            found = self._found(scope, tensor, hint)
        except QuantError as error:
            problem = None if _is_float(tensor) else str(error)
            return self._plain(name, tensor, hint, problem, "" if problem else str(error))
        if isinstance(found, Bnb4):
            return self._bnb4(name, tensor, found)
        if found is not None and not (found.coded.values is not None and found.coded.layout.problem):
            return self._quantized(scope, tensor, hint, found)
        note = "" if found is None else f"{found.by} quantizes it: {found.coded.layout.problem}"
        return self._plain(name, tensor, hint, self._role(scope, tensor), note)

    def _found(self, scope: Scope, tensor: Tensor, hint: AxisHint) -> Found | Bnb4 | None:
        """The constant as a quantized one, if it is; what it takes in is not listed."""
        if shape_problem(tensor.shape) or tensor.kind is None:
            return None
        if tensor.kind is INT32:
            self._take_all(scope, tensor)
        use = packed_use(scope, tensor)
        if use is not None:
            found: Found | Bnb4 | None = unpacking(use, tensor)
        else:
            found = found_in(scope, tensor, hint)
        if isinstance(found, Bnb4):
            self._take(scope, tensor, found.absmax)
        elif found is not None:
            for place in found.taken:
                self._take(scope, tensor, place)
        return found

    def _take_all(self, scope: Scope, tensor: Tensor) -> None:
        """The parameters of a bias, which is not analysed, are no tensors to analyse either."""
        for site in sites_of(scope, tensor):
            for place in (site.use.scope.constant(site.scale), site.use.scope.constant(site.zero)):
                if place is not None:
                    self._take(scope, tensor, place)

    def _take(self, scope: Scope, tensor: Tensor, place: tuple[Scope, Tensor]) -> None:
        self.taken[id(place[0]), place[1].name] = scope.prefix + tensor.name

    def _role(self, scope: Scope, tensor: Tensor) -> str | None:
        """Why a constant that is not quantized is none to be analysed, by what it is for."""
        uses = scope.uses.get(tensor.name, [])[:MAX_USES]
        if tensor.kind is INT32 and any((use.node.op, use.index) in BIASES for use in uses):
            return BIAS
        role = parameter_of(scope, tensor.name)
        return None if role is None else f"it is {role}"

    def _plain(self, name: str, tensor: Tensor, hint: AxisHint, problem: str | None, note: str = "") -> TensorRecord:
        """A tensor as the file has it."""
        if problem is None and tensor.kind is not None:
            found = _kind_problem(tensor) or shape_problem(tensor.shape)
            problem = f"it {found}" if found else None
        whole = tensor.problem is None
        floats = whole and _is_float(tensor)
        return TensorRecord(
            name,
            tensor.shape,
            tensor.dtype,
            tensor.n_bytes,
            hint.axis,
            hint.reason,
            not_applicable=problem,
            source=self.source,
            loader=self._naming(name, lambda: as_array(tensor.read())) if floats else None,
            note=note,
            row_loader=self._naming(name, lambda a, b: as_array(tensor.rows(a, b))) if floats else None,
            raw_loader=self._naming(name, tensor.read) if whole else None,
        )

    def _quantized(self, scope: Scope, tensor: Tensor, hint: AxisHint, found: Found) -> TensorRecord:
        coded, layout, name = found.coded, found.coded.layout, scope.prefix + tensor.name
        axis, reason = hint.axis, hint.reason
        if packed_use(scope, tensor) is not None:
            axis, reason = 0, f"{found.by} unpacks it to rows of axis 0"
        if layout.ch_axis is not None and (layout.ch_axis != axis or layout.block is None):
            also = reason if axis == layout.ch_axis else f"by the layers alone it would be axis {axis}"
            axis, reason = layout.ch_axis, f"{found.by} has its scales {layout.words()}; {also}"
        problem = f"; {layout.problem}: they are shown as decoded values" if layout.problem else ""
        return TensorRecord(
            name,
            layout.shape,
            coded.dtype,
            tensor.n_bytes + found.n_bytes,
            axis,
            reason,
            source=self.source,
            loader=self._naming(name, lambda: as_array(coded.read())),
            stored_as=found.scheme,
            note=f"{coded.note}{problem}".removeprefix("; "),
            row_loader=self._naming(name, lambda a, b: as_array(coded.rows(a, b))),
            raw_loader=self._naming(name, tensor.read),
            stored_loader=None if layout.problem else self._naming(name, lambda: _stored(coded)),
        )

    def _bnb4(self, name: str, tensor: Tensor, found: Bnb4) -> TensorRecord:
        return TensorRecord(
            name,
            found.shape,
            "nf4",
            tensor.n_bytes + found.absmax[1].n_bytes,
            0,
            f"{found.by} unpacks it to rows of axis 0",
            source=self.source,
            stored_as=found.scheme,
            raw_loader=self._naming(name, tensor.read),
            stored_loader=self._naming(name, found.stored),
        )

    def _naming(self, name: str, load: Callable[P, T]) -> Callable[P, T]:
        """``load`` with the file and the tensor in its errors."""

        def loaded(*args: P.args, **kwargs: P.kwargs) -> T:
            try:
                return load(*args, **kwargs)
            except QuantError as error:
                words = str(error)
                if self.source in words:
                    raise
                raise QuantValueError(f"{self.source}: tensor {clip_text(name, 200)!r}: {words}") from error

        return loaded


def _stored(coded: Coded) -> Any:
    try:
        return coded.stored()
    except QuantError as error:
        raise QuantValueError(f"its parameters cannot be used: {error}; read() still gives its values") from error


def _is_float(tensor: Tensor) -> bool:
    return tensor.kind is not None and tensor.kind is not STRING and dtype_problem(tensor.kind.dtype) is None


def _kind_problem(tensor: Tensor) -> str | None:
    assert tensor.kind is not None
    return "holds text, no numbers" if tensor.kind is STRING else dtype_problem(tensor.kind.dtype)


def _twice(record: TensorRecord) -> TensorRecord:
    """A name that means two tensors means none."""
    from dataclasses import replace

    problem = "malformed: the model names it more than once"
    return replace(record, not_applicable=problem, loader=None, stored_loader=None, row_loader=None, raw_loader=None)
