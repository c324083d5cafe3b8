"""What the user wants: PanelState, whose traits the controls write, and Intent, one frozen moment of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any

import traitlets as t

from ..core.conventions import CONVENTIONS
from ..core.errors import QuantError, QuantTypeError, QuantValueError, choose_from
from ..core.grids import INTEGER_DTYPES, canonical_dtype
from ..core.group_sizes import group_size_of
from ..core.observers import observer_of
from ..core.schemes import GRANULARITIES, SCHEMES, GroupSize, check_clip_ratio, check_group_size
from ..study.channels import CALCULATOR_COLUMNS
from .moves import SCHEME_NAMES, followed, integer_of

MODES = ("ranges", "params")
WORST, GIVEN = "worst", "given"
MOST_AXES = 64  # as many as numpy's arrays can have


class UnknownSettingError(QuantError, AttributeError):
    """The state has no trait of that name; the message names the nearest."""


class _ObserverText(t.TraitType[str, object]):
    """A policy or its text, kept as the text."""

    def validate(self, obj: object, value: object) -> str:
        return str(observer_of(value))


class PanelState(t.HasTraits):
    """The user's intent: every control writes one of these traits, and so may Python.

    ``lines`` is the text of the input ``mode`` in force; the other mode's text is kept and comes back with it.
    ``channel`` is a channel's name or its position, None for the worst. ``sort`` is "given", "worst" or a column of
    the table (``columns``); choosing one begins in ascending order. ``find`` is part of a name, or a span of positions
    such as 10-20; ``finding`` a finding's name, None for rows with any or none: the table shows the rows that pass
    both. ``page`` counts from 0, None for the page with the selected channel. ``axis_text``,
    ``size_text`` and ``observer_text`` are what was typed as the axis, the group size and the observer's parameters
    where that is none, else None.

    ``observer`` takes a policy such as ``Percentile(99.9)`` or its text and holds the text. ``bits`` is the width of an
    integer format: setting it chooses the integer of that width and the same sign, and moves nothing else.

    ``group_size`` is None, a number of elements, or (rows, columns); texts such as "128" and "128x128" will do. A
    ``scale_rule`` that is None is the convention's first. What cannot stay beside a new value moves with it: a format
    that the settings do not have brings its runtime's, granularity "group" a group size, a group size its granularity.

    ``as_stored``: the parameters are those that the tensor's file holds, and the settings those that they stand for;
    moving one of them turns it off.

    A value that cannot be raises QuantError and leaves the trait as it was; so does a name that is no trait, and a
    setting that does not apply to what is shown.
    """

    mode = t.Unicode("ranges")
    lines = t.Unicode("")
    tensor_name = t.Unicode("tensor")
    tensor = t.Unicode(None, allow_none=True)
    dtype = t.Unicode("qint8")
    scheme = t.Unicode("affine")
    granularity = t.Unicode("channel")
    group_size = t.Any(None)
    size_text = t.Unicode(None, allow_none=True)
    scale_rule = t.Unicode(None, allow_none=True)
    ch_axis = t.Int(0)
    axis_text = t.Unicode(None, allow_none=True)
    reduce_range = t.Bool(False)
    narrow_range = t.Bool(False)
    convention = t.Unicode("pytorch")
    observer = _ObserverText("minmax")
    observer_text = t.Unicode(None, allow_none=True)
    clip_ratio = t.Float(1.0)
    as_stored = t.Bool(False)
    baseline = t.Unicode(None, allow_none=True)
    find = t.Unicode("")
    finding = t.Unicode(None, allow_none=True)
    channel = t.Union([t.Unicode(), t.Int()], default_value=None, allow_none=True)
    sort = t.Unicode(GIVEN)
    descending = t.Bool(False)
    page = t.Int(None, allow_none=True)

    def __init__(
        self,
        other_lines: str = "",
        columns: tuple[str, ...] = CALCULATOR_COLUMNS,
        idle: Mapping[str, str] = MappingProxyType({}),
        quantized: Callable[[str | None], bool] = lambda _tensor: False,
        **traits: Any,
    ) -> None:
        """``idle`` are the settings that do not apply, with the reason; ``quantized`` tells which tensors are."""
        self._other_lines = other_lines
        self._columns = columns
        self._idle, self._quantized = idle, quantized
        self._started = self._following = False
        super().__init__(**traits)
        self._started = True

    def __setattr__(self, name: str, value: object) -> None:
        if not name.startswith("_") and not hasattr(type(self), name):
            near = get_close_matches(name, INTENT_NAMES, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(INTENT_NAMES)}"
            raise UnknownSettingError(f"state has no setting {name!r}; {hint}")
        if not name.startswith("_") and name in self._idle and not _same(value, getattr(self, name)):
            raise QuantValueError(f"{name} does not apply here: {self._idle[name]}")
        super().__setattr__(name, value)

    @t.validate("dtype")
    def _known_dtype(self, proposal: Any) -> str:
        return canonical_dtype(proposal["value"])

    @t.validate("mode")
    def _known_mode(self, proposal: Any) -> str:
        return choose_from("mode", proposal["value"], MODES)

    @t.validate("scheme")
    def _known_scheme(self, proposal: Any) -> str:
        return choose_from("scheme", proposal["value"], SCHEMES)

    @t.validate("convention")
    def _known_convention(self, proposal: Any) -> str:
        return choose_from("convention", proposal["value"], CONVENTIONS)

    @property
    def bits(self) -> int | None:
        """The width of an integer format's codes, None for other formats."""
        return INTEGER_DTYPES[self.dtype][0] if self.dtype in INTEGER_DTYPES else None

    @bits.setter
    def bits(self, bits: int) -> None:
        # A format brings its runtime; a width keeps it, so that one passes those that the runtime does not have.
        self.put({"dtype": integer_of(self.dtype, bits), "as_stored": False})

    @t.validate("granularity")
    def _known_granularity(self, proposal: Any) -> str:
        return choose_from("granularity", proposal["value"], GRANULARITIES)

    @t.validate("group_size")
    def _possible_group_size(self, proposal: Any) -> GroupSize | None:
        return group_size_from(proposal["value"])

    @t.validate("clip_ratio")
    def _possible_clip_ratio(self, proposal: Any) -> float:
        check_clip_ratio(proposal["value"])
        return float(proposal["value"])

    @t.validate("as_stored")
    def _stored_somewhere(self, proposal: Any) -> bool:
        if proposal["value"] and not self._quantized(self.tensor):
            about = "there is no file" if self.tensor is None else f"the file holds no codes of {self.tensor!r:.80}"
            raise QuantValueError(f"as_stored must be False here: {about}, so no parameters are stored")
        return bool(proposal["value"])

    @t.validate("sort")
    def _known_sort(self, proposal: Any) -> str:
        return choose_from("sort", proposal["value"], (GIVEN, WORST, *self._columns))

    @t.validate("ch_axis")
    def _possible_axis(self, proposal: Any) -> int:
        axis = int(proposal["value"])
        if not -MOST_AXES <= axis < MOST_AXES:
            got = axis if abs(axis) < 10**9 else "a number far beyond"
            raise QuantValueError(f"ch_axis must lie in {-MOST_AXES}..{MOST_AXES - 1}, got {got}")
        return axis

    @t.observe("dtype", "granularity", "group_size", "convention")
    def _follow(self, change: Any) -> None:
        """Move what cannot stay, in one go: nobody sees the settings half moved."""
        if not self._started or self._following:
            return
        moved = followed({name: getattr(self, name) for name in SCHEME_NAMES}, change["name"])
        self.put({**moved, "as_stored": False})

    @t.observe("scheme", "scale_rule", "reduce_range", "narrow_range", "observer", "clip_ratio")
    def _choose_here(self, _change: Any) -> None:
        if self._started and not self._following:
            self.as_stored = False

    def put(self, settings: Mapping[str, object]) -> None:
        """Set several traits at once, as they are: nothing moves with them."""
        with self._unfollowed():
            self.adopt(settings)

    def adopt(self, settings: Mapping[str, object]) -> None:
        """Set several traits at once: whoever observes one of them sees all of them set."""
        with self.hold_trait_notifications():
            for name, value in settings.items():
                setattr(self, name, value)

    @contextmanager
    def _unfollowed(self) -> Iterator[None]:
        before, self._following = self._following, True
        try:
            yield
        finally:
            self._following = before

    @t.observe("observer")
    def _parameters_are_known(self, _change: Any) -> None:
        self.observer_text = None

    @t.observe("group_size")
    def _size_is_known(self, _change: Any) -> None:
        self.size_text = None

    @t.observe("mode")
    def _swap_lines(self, _change: Any) -> None:
        if self._started:
            self._other_lines, self.lines = self.lines, self._other_lines

    @t.observe("channel")
    def _follow_channel(self, _change: Any) -> None:
        self.page = None

    @t.observe("sort")
    def _ascending(self, _change: Any) -> None:
        if self._started:
            self.descending = False

    @t.observe("sort", "descending", "find", "finding")
    def _first_page(self, _change: Any) -> None:
        if self._started:
            self.page = 0

    @t.observe("ch_axis")
    def _axis_is_known(self, _change: Any) -> None:
        self.axis_text = None

    @t.observe("tensor", "ch_axis")
    def _other_channels(self, _change: Any) -> None:
        if self._started:
            self.channel = None
            self.page = None

    def intent(self) -> Intent:
        """The traits as one frozen value."""
        return Intent(**{name: getattr(self, name) for name in INTENT_NAMES})


@dataclass(frozen=True)
class Intent:
    """A snapshot of :class:`PanelState`; equal snapshots give equal views.

    In an order in which its values can be set one by one: a trait comes after those that reset it.
    """

    mode: str
    lines: str
    tensor_name: str
    tensor: str | None
    dtype: str
    scheme: str
    granularity: str
    group_size: GroupSize | None
    size_text: str | None
    ch_axis: int
    axis_text: str | None
    reduce_range: bool
    narrow_range: bool
    convention: str
    scale_rule: str | None
    observer: str
    observer_text: str | None
    clip_ratio: float
    as_stored: bool
    baseline: str | None
    find: str
    finding: str | None
    sort: str
    descending: bool
    channel: str | int | None
    page: int | None


INTENT_NAMES = tuple(f.name for f in fields(Intent))


def _same(value: object, other: object) -> bool:
    """Whether both are one value, a policy and its text among them."""
    return value == other or str(value) == other


def group_size_from(value: object) -> GroupSize | None:
    """A group size given as a number, a pair, or either as text; raises QuantError for others."""
    if value is None:
        return None
    if isinstance(value, str):
        return group_size_of(value)
    return check_group_size("block" if isinstance(value, (tuple, list)) else "group", value)


def check_options(options: Mapping[str, object], allowed: tuple[str, ...]) -> None:
    """Raise QuantTypeError for an option of ``show`` that does not exist here, naming the nearest one."""
    for name in options:
        if name not in allowed:
            near = get_close_matches(name, allowed, n=1, cutoff=0.4)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(allowed)}"
            raise QuantTypeError(f"show() got an unknown option {name!r}; {hint}")


def apply_options(state: PanelState, options: Mapping[str, object]) -> None:
    """Set the traits that ``options`` name; a value of the wrong type names its option."""
    for name in (name for name in INTENT_NAMES if name in options):
        value = options[name]
        try:
            setattr(state, name, value)
        except t.TraitError as error:
            raise QuantValueError(f"show({name}={value!r}): {error}") from error
