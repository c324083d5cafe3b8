"""The records and the one table of what is allowed."""

from itertools import product

import numpy as np
import pytest

from perchq_widget.core.conventions import CONVENTIONS, allowed, require_allowed
from perchq_widget.core.errors import QuantError, QuantTypeError, QuantValueError
from perchq_widget.core.qparams import choose_qparams
from perchq_widget.core.schemes import QuantScheme

COMBINATIONS = [
    QuantScheme(dtype, scheme, granularity, reduce_range, narrow_range, None, convention)
    for dtype, scheme, granularity, reduce_range, narrow_range, convention in product(
        ("qint8", "quint8"), ("affine", "symmetric"), ("channel", "tensor"), (False, True), (False, True), CONVENTIONS
    )
]


@pytest.mark.parametrize("scheme", COMBINATIONS, ids=str)
def test_every_combination_computes_or_is_refused_with_a_way_out(scheme: QuantScheme) -> None:
    reason = allowed(scheme)
    arguments = {
        "dtype": scheme.dtype, "scheme": scheme.scheme, "convention": scheme.convention,
        "reduce_range": scheme.reduce_range, "narrow_range": scheme.narrow_range,
    }  # fmt: skip
    if reason is None:
        qparams = choose_qparams(-1.5, 2.25, **arguments)
        assert (qparams.quant_min, qparams.quant_max) == (scheme.quant_min, scheme.quant_max)
        assert np.isfinite(qparams.scale)
        assert qparams.scale > 0
    else:
        assert "choose" in reason or "turn" in reason
        with pytest.raises(QuantValueError, match="not allowed"):
            choose_qparams(-1.5, 2.25, **arguments)


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
def test_records_say_who_uses_them_and_what_they_were_checked_against(record) -> None:
    for text in (record.title, record.used_by, record.checked, record.source, record.rounding):
        assert text
    assert QuantError in QuantValueError.__mro__
