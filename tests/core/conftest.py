"""A convention that has every integer format at every granularity, for tests of layouts."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from perchq_widget.core.conventions import CONVENTIONS
from perchq_widget.core.grids import INTEGER_DTYPES
from perchq_widget.core.record import Support
from perchq_widget.core.schemes import GRANULARITIES


def _registered(name: str, short_group: bool) -> Iterator[str]:
    everywhere = (Support(tuple(INTEGER_DTYPES), granularities=GRANULARITIES),)
    CONVENTIONS[name] = replace(
        CONVENTIONS["pytorch"], name=name, supports=everywhere, refusals=(), short_group=short_group
    )
    yield name
    del CONVENTIONS[name]


@pytest.fixture
def anything() -> Iterator[str]:
    """torch's arithmetic at every granularity, last groups of any length."""
    yield from _registered("anything", True)


@pytest.fixture
def anything_whole() -> Iterator[str]:
    """The same without short groups."""
    yield from _registered("anything_whole", False)
