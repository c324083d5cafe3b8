"""What follows from a dtype or a convention where settings are left out."""

import pytest

from perchq_widget.core.conventions import CONVENTIONS, allowed
from perchq_widget.core.defaults import settled
from perchq_widget.core.grids import DTYPES


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_format_has_a_convention_of_its_own_accord(dtype: str) -> None:
    assert allowed(settled(dtype)) is None


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_a_convention_gets_a_combination_that_it_has_for_each_of_its_formats(convention: str) -> None:
    for dtype in CONVENTIONS[convention].formats:
        assert allowed(settled(dtype, convention=convention)) is None or _needs_groups(convention, dtype), dtype


def _needs_groups(convention: str, dtype: str) -> bool:
    """Formats that a convention has in groups alone: their size has to be named."""
    rows = [row for row in CONVENTIONS[convention].supports if dtype in row.dtypes]
    return all(set(row.granularities) <= {"group", "block"} for row in rows)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("qint8",), ("affine", "channel", "pytorch")),
        (("int4", None, None, None, 32), ("affine", "group", "torchao")),
        (("qint8", None, None, None, (16, 16)), ("affine", "block", "torchao")),
        (("float8_e4m3fn",), ("symmetric", "channel", "pytorch")),
        (("mxfp4",), ("symmetric", "group", "ocp")),
        (("nvfp4",), ("symmetric", "group", "modelopt")),
        (("nf4",), ("symmetric", "group", "bitsandbytes")),
        (("q4_1",), ("affine", "group", "gguf")),
        (("qint8", None, None, "litert"), ("symmetric", "channel", "litert")),
        (("quint8", None, None, "litert"), ("affine", "tensor", "litert")),
        (("quint8", None, None, "onnx-dynamic"), ("affine", "tensor", "onnx-dynamic")),
    ],
)
def test_what_is_left_out_follows(arguments, expected) -> None:
    scheme = settled(*arguments)
    assert (scheme.scheme, scheme.granularity, scheme.convention) == expected


def test_what_was_named_stays_and_is_refused() -> None:
    scheme = settled("qint8", "affine", "channel", "litert")
    assert (scheme.scheme, scheme.granularity) == ("affine", "channel")
    assert "LiteRT" in str(allowed(scheme))
