"""The tensor in view: what was read of it, each thing once."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from ..core.errors import QuantError, QuantValueError
from ..sources.memory import as_array
from ..study.live import TensorFacts

if TYPE_CHECKING:
    from ..sources.base import TensorRecord
    from ..sources.stored import Stored

T = TypeVar("T")


class UnreadableTensorError(QuantValueError):
    """A tensor that is listed cannot be read now; the message names its file, the tensor and the reason."""


class InView:
    """One record with its values and, if it is quantized, what its file holds; read when they are first asked for.

    What cannot be read raises UnreadableTensorError, and is tried again when it is asked for again.
    """

    def __init__(self, record: TensorRecord) -> None:
        self.record = record

    @cached_property
    def stored(self) -> Stored:
        """Codes and parameters as the file has them."""
        return self._read(self.record.stored)

    def facts(self, *, as_stored: bool) -> TensorFacts:
        """Of the values that the stored parameters are measured on, or of those to be quantized anew."""
        return self._stored if as_stored or self._only_codes else self._plain

    @property
    def known(self) -> tuple[TensorFacts, ...]:
        """What has been asked for so far."""
        return tuple(self.__dict__[name] for name in ("_stored", "_plain") if name in self.__dict__)

    @property
    def _only_codes(self) -> bool:
        """Whether the values are those that the codes decode to, so that one copy serves both."""
        return self.record.quantized and self.record.loader is None

    @cached_property
    def _stored(self) -> TensorFacts:
        return TensorFacts(self._read(lambda: as_array(self.stored.array())))

    @cached_property
    def _plain(self) -> TensorFacts:
        return TensorFacts(self._read(lambda: as_array(self.record.read())))

    def _read(self, read: Callable[[], T]) -> T:
        try:
            return read()
        except UnreadableTensorError:
            raise
        except QuantError as error:
            if self.record.not_applicable is not None:
                raise
            raise UnreadableTensorError(_told(self.record, str(error))) from error


def _told(record: TensorRecord, reason: str) -> str:
    """Tensor, file and reason, each once."""
    named = f"tensor {record.name!r}"
    file = f" of {record.source}" if record.source and record.source not in reason else ""
    if repr(record.name) in reason and not file:
        return f"tensor: {reason}"
    return f"{named}{file} cannot be read: {reason}"


def axis_of(parameters: Any, rank: int) -> int | None:
    """The axis that stored parameters are for, from 0; None where they hold for all."""
    axis: int | None = parameters.ch_axis
    return None if axis is None else axis % rank
