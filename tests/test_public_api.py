"""The public names, their signatures and their tables: what other people's code relies on."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest

import perchq_widget as pq

FUNCTIONS = {
    "calculate": "lines, *, mode='ranges', dtype='qint8', scheme='affine', reduce_range=False, "
    "convention='calculator', tensor_name='tensor', ch_axis=0",
    "choose_qparams": "min_val, max_val, *, dtype='qint8', scheme=None, convention=None, reduce_range=False, "
    "narrow_range=False, quant_range=None, scale_rule=None, ch_axis=None",
    "quantize": "x, qparams",
    "dequantize": "codes, qparams",
    "fake_quantize": "x, qparams",
    "compare": "*reports, names=None",
    "dequantize_gguf": "raw, type_name, shape=None",
    "open_source": "obj",
    "show": "obj=None, **options",
}
ANALYZE = {
    "dtype": "qint8", "scheme": None, "granularity": None, "ch_axis": 0, "reduce_range": False, "narrow_range": False,
    "quant_range": None, "observer": "minmax", "clip_ratio": 1.0, "convention": None, "name": None,
    "channel_names": None,
}  # fmt: skip
CALCULATOR_COLUMNS = (
    "channel min max sample scale zero_point raw_quantized quantized dequantized clipped abs_error pct_error sqnr_db"
)
TENSOR_COLUMNS = (
    "channel min max n scale zero_point clipped clipped_pct zeroed_pct max_abs_error mean_abs_error pct_error mse "
    "sqnr_db cosine findings"
)
OBSERVERS = ("Observer", "MinMax", "MovingAverage", "Percentile", "MSE", "LpNorm", "Entropy", "MeanStd")
ERRORS = ("QuantError", "QuantValueError", "QuantTypeError", "LineError", "LinesError", "MissingExtra")


def plain_signature(function: Any) -> str:
    parameters = inspect.signature(function).parameters.values()
    return str(inspect.Signature([p.replace(annotation=inspect.Parameter.empty) for p in parameters]))[1:-1]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_signatures(name: str) -> None:
    assert plain_signature(getattr(pq, name)) == FUNCTIONS[name]


def test_analyze_signature() -> None:
    parameters = list(inspect.signature(pq.analyze).parameters.values())
    assert parameters[0].name == "tensor"
    keywords = {p.name: p.default for p in parameters[1:] if p.kind is p.KEYWORD_ONLY}
    assert ANALYZE.items() <= keywords.items()


def test_convention_diff_takes_the_options_of_analyze() -> None:
    def options(function: Any) -> dict[str, object]:
        parameters = inspect.signature(function).parameters.values()
        return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}

    assert list(inspect.signature(pq.convention_diff).parameters)[:3] == ["tensor", "a", "b"]
    own = {"convention", "qparams"}  # the conventions are the question, and parameters would be of one of them
    assert options(pq.convention_diff) == {k: v for k, v in options(pq.analyze).items() if k not in own}


def test_all_names_exist_and_are_listed() -> None:
    values = ("QParams", "BlockParams", "QuantScheme", "ChannelReport", "ConventionDiff", "ReportComparison")
    named = {*FUNCTIONS, "analyze", "convention_diff", *values, *OBSERVERS, *ERRORS}
    assert named - {"QuantScheme", "ChannelReport"} <= set(pq.__all__)
    assert all(hasattr(pq, name) for name in pq.__all__)
    assert set(pq.__all__) <= set(dir(pq))


@pytest.mark.parametrize("name", sorted(set(pq.__all__)))
def test_public_names_are_documented(name: str) -> None:
    value = getattr(pq, name)
    if callable(value):
        assert inspect.getdoc(value)


def test_errors_are_of_one_family() -> None:
    assert issubclass(pq.QuantValueError, pq.QuantError)
    assert issubclass(pq.QuantValueError, ValueError)
    assert issubclass(pq.QuantTypeError, TypeError)
    assert issubclass(pq.LinesError, pq.QuantValueError)
    assert issubclass(pq.MissingExtra, ImportError)


def test_columns() -> None:
    assert list(pq.calculate("a,-1,1,0.5").table.columns) == CALCULATOR_COLUMNS.split()
    assert list(pq.calculate("a,0.5,3,2", mode="params").table.columns) == CALCULATOR_COLUMNS.split()
    assert list(pq.analyze(np.eye(3, dtype=np.float32)).table.columns) == TENSOR_COLUMNS.split()


@pytest.mark.parametrize("name", ["calculate", "analyze", "show"])
def test_unknown_keywords_name_the_nearest_one(name: str) -> None:
    argument = "a,-1,1,0.5" if name == "calculate" else np.eye(3, dtype=np.float32)
    with pytest.raises(TypeError, match="reduce_range"):
        getattr(pq, name)(argument, reduce_rnage=True)


def test_unknown_names_are_attribute_errors() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = pq.no_such_name
