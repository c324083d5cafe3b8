"""The records and the one table of what is allowed."""

from collections.abc import Iterator
from itertools import product

import numpy as np
import pytest

from perchq_widget.core.conventions import CONVENTIONS, allowed, conventions_with, require_allowed, why_not
from perchq_widget.core.errors import QuantError, QuantTypeError, QuantValueError
from perchq_widget.core.grids import BLOCK_DTYPES, DTYPES, INTEGER_DTYPES, full_range
from perchq_widget.core.qparams import choose_qparams
from perchq_widget.core.record import Convention
from perchq_widget.core.schemes import GRANULARITIES, QuantScheme, family_of

SIZES = {"group": 32, "block": (16, 16)}


def scale_rules(record: Convention, dtype: str) -> tuple[str | None, ...]:
    """Those that the convention has for the format, and none."""
    return (None, *{rule for row in record.supports if dtype in row.dtypes for rule in row.scale_rules})


def combinations(record: Convention, granularities: tuple[str, ...]) -> Iterator[QuantScheme]:
    """Every format and mapping with every single flag and every scale rule."""
    for dtype, scheme, granularity, flag in product(
        DTYPES, ("affine", "symmetric"), granularities, (None, "reduce_range", "narrow_range", "quant_range")
    ):
        if flag == "quant_range" and dtype not in INTEGER_DTYPES:
            continue
        low, high = full_range(dtype) if dtype in INTEGER_DTYPES else (0, 0)
        flags = {} if flag is None else {flag: (low // 2, max(high // 2, 1)) if flag == "quant_range" else True}
        for rule in scale_rules(record, dtype):
            yield QuantScheme(
                dtype, scheme, granularity, convention=record.name, scale_rule=rule,
                group_size=SIZES.get(granularity), **flags,
            )  # fmt: skip


@pytest.mark.parametrize("name", CONVENTIONS)
def test_every_combination_computes_or_is_refused_with_a_way_out(name: str) -> None:
    found = {True: 0, False: 0}
    for scheme in combinations(CONVENTIONS[name], ("channel", "tensor")):
        if scheme.dtype in BLOCK_DTYPES:
            continue
        reason = allowed(scheme)
        found[reason is None] += 1
        if reason is None and scheme.scale_rule in CONVENTIONS[name].statistics:
            with pytest.raises(QuantValueError, match="all values of a tensor"):
                _assert_computes(scheme)  # a range is not enough for these
        elif reason is None:
            _assert_computes(scheme)
        else:
            assert any(word in reason for word in ("choose", "turn", "leave")), reason
            with pytest.raises(QuantValueError, match="not allowed"):
                require_allowed(scheme)
    if any(family_of(dtype) != "block" for dtype in CONVENTIONS[name].formats):
        assert found[True] > 0
    assert found[False] > 0


def _assert_computes(scheme: QuantScheme) -> None:
    ends = ([-1.5], [2.25]) if scheme.granularity == "channel" else (-1.5, 2.25)
    qparams = choose_qparams(
        *ends, dtype=scheme.dtype, scheme=scheme.scheme, convention=scheme.convention, scale_rule=scheme.scale_rule,
        reduce_range=scheme.reduce_range, narrow_range=scheme.narrow_range, quant_range=scheme.quant_range,
    )  # fmt: skip
    in_force = (scheme.quant_min, scheme.quant_max)
    if qparams.rules.whole_dtype_saturates and scheme.family == "integer":
        in_force = full_range(scheme.dtype)
    assert (qparams.quant_min, qparams.quant_max) == in_force
    assert np.isfinite(qparams.scale).all()
    assert (qparams.scale > 0).all()


@pytest.mark.parametrize("name", CONVENTIONS)
def test_every_refusal_names_settings_that_clash_and_a_way_out(name: str) -> None:
    for scheme in combinations(CONVENTIONS[name], GRANULARITIES):
        refusal = why_not(scheme)
        if refusal is None:
            continue
        settings = {"quant_range": scheme.quant_range is not None}
        for setting, value in refusal.when:
            assert settings.get(setting, getattr(scheme, setting)) == value, refusal
        assert any(word in refusal.instead for word in ("choose", "turn", "leave")), refusal


def test_every_format_has_a_convention() -> None:
    assert all(conventions_with(dtype) for dtype in DTYPES)


def test_torch_s_refusal_is_ours() -> None:
    scheme = QuantScheme("quint8", "symmetric", reduce_range=True, convention="pytorch")
    assert "NotImplementedError" in str(allowed(scheme))
    assert allowed(QuantScheme("quint8", "symmetric", reduce_range=True, convention="calculator")) is None


def test_unknown_names_are_errors() -> None:
    with pytest.raises(QuantValueError, match="did you mean 'pytorch'"):
        require_allowed(QuantScheme(convention="pytroch"))
    with pytest.raises(QuantValueError, match="observer"):
        require_allowed(QuantScheme(observer="magic"))
    with pytest.raises(QuantValueError, match="scheme must be one of"):
        QuantScheme(scheme="asymmetric")
    with pytest.raises(QuantTypeError, match="reduce_range must be True or False"):
        QuantScheme(reduce_range=1)  # type: ignore[arg-type]
    with pytest.raises(QuantValueError, match="clip_ratio"):
        QuantScheme(clip_ratio=0.0)


@pytest.mark.parametrize("record", CONVENTIONS.values(), ids=lambda record: record.name)
def test_records_say_who_uses_them_and_what_they_were_checked_against(record: Convention) -> None:
    for text in (record.title, record.used_by, record.checked, record.source):
        assert text
    for kernel in (record.kernel, record.tensor_kernel, record.multiplier_kernel, record.float_kernel):
        assert kernel is None or (kernel.rounding and kernel.formulas[-1].name == "level")
    assert record.formats
    assert record.dtype == record.dtypes[0]
    assert QuantError in QuantValueError.__mro__
