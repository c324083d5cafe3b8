"""Every convention, format, scheme and granularity: the explanation ends where the arithmetic does."""

from itertools import groupby

import ml_dtypes
import numpy as np
import pytest
from study.schemes import allowed_schemes, label, options, weights

import perchq_widget as pq
from perchq_widget.core.conventions import CONVENTIONS
from perchq_widget.core.trace import number
from perchq_widget.report.documents import ChannelReport
from perchq_widget.study.explain import rule_lines
from perchq_widget.study.units import element_params, numbers_in_channel

X = weights()[:, :64]
SCHEMES = list(allowed_schemes())
BY_CONVENTION = {name: list(rows) for name, rows in groupby(SCHEMES, lambda scheme: scheme.convention)}


def results(explanation) -> dict[str, str]:
    return {step.name: step.result for step in explanation.steps}


def check(report: ChannelReport, x: np.ndarray, channels: tuple[int, ...]) -> None:
    """The explanations of channels' largest magnitudes against parameters, codes and values of the whole tensor."""
    codes, back = report.codes(), report.dequantized()
    for channel in channels:
        sizes = np.abs(x[channel].astype(np.float64))
        check_one(report, channel, int(np.argmax(np.where(np.isfinite(sizes), sizes, -1))), codes, back)


def check_one(report: ChannelReport, channel: int, at: int, codes: np.ndarray, back: np.ndarray) -> None:
    steps, code = results(report.explain(channel)), codes[channel, at]
    assert steps["code"] == (str(int(code)) if code.dtype.kind in "iu" else number(np.float32(code)))
    assert steps["dequantized"] == number(back[channel, at])
    where = np.unravel_index(numbers_in_channel(report.study, channel)[at], report.qparams.scale.shape)
    _, params = element_params(report.study, channel)
    own = params.scale.ravel()[at] if params.scale.size > 1 else params.scale.ravel()[0]
    assert steps["scale"] == number(own.astype(report.qparams.working_dtype))
    if getattr(report.qparams, "zero_point", None) is not None:
        assert steps["zero_point"] == str(report.qparams.zero_point[tuple(where)])


def test_there_is_something_of_everything() -> None:
    assert set(BY_CONVENTION) == set(CONVENTIONS)
    for name, rules in CONVENTIONS.items():
        assert {scheme.dtype for scheme in BY_CONVENTION[name]} == set(rules.formats), name


@pytest.mark.parametrize("convention", BY_CONVENTION)
def test_every_scheme_ends_at_the_arithmetic(convention) -> None:
    for scheme in BY_CONVENTION[convention]:
        plain = not (scheme.reduce_range or scheme.narrow_range or scheme.quant_range)
        try:
            check(pq.analyze(X, **options(scheme)), X, (0, 3, 5) if plain else (5,))
        except AssertionError as error:
            error.add_note(label(scheme))
            raise


@pytest.mark.parametrize("convention", BY_CONVENTION)
def test_every_scheme_lists_its_formulas(convention) -> None:
    for scheme in BY_CONVENTION[convention]:
        lines = rule_lines(pq.analyze(X, **options(scheme)).study)
        assert lines[-1].startswith("dequantized = "), label(scheme)
        names = [line.partition(" = ")[0] for line in lines]
        assert {"scale", "level", "code"} <= set(names), label(scheme)
        used = {word for line in lines for word in line.partition(" = ")[2].split() if word.isidentifier()}
        assert not used & {"multiplier", "inverse", "origin"} - set(names), (label(scheme), lines)


@pytest.mark.parametrize("dtype", [ml_dtypes.bfloat16, np.float16])
def test_tensors_that_are_computed_in_their_own_dtype(dtype) -> None:
    x = weights(1, dtype)
    of_them = [scheme for scheme in SCHEMES if np.dtype(dtype) in CONVENTIONS[scheme.convention].dtypes]
    assert of_them
    for scheme in of_them[::5]:
        check(pq.analyze(x, **options(scheme)), x, (2,))


@pytest.mark.parametrize("ch_axis", [0, 1])
@pytest.mark.parametrize(
    "settings",
    [
        {"dtype": "int4", "group_size": 4},
        {"granularity": "block", "group_size": (3, 5), "convention": "modelopt", "scheme": "symmetric"},
        {"dtype": "qint8", "granularity": "token", "convention": "torchao"},
        {"dtype": "nf4"},
        {"dtype": "mxfp4", "convention": "ocp"},
    ],
    ids=str,
)
def test_every_element_of_a_small_tensor(ch_axis, settings) -> None:
    """Groups, blocks, tokens and blocks of the flattened tensor on both axes, short last ones among them."""
    x = weights(3)[:, :28]
    report = pq.analyze(x, ch_axis=ch_axis, **settings)
    rows, codes, back = (np.moveaxis(each, ch_axis, 0) for each in (x, report.codes(), report.dequantized()))
    for channel in range(len(rows)):
        groups = numbers_in_channel(report.study, channel)
        for number_of in np.unique(groups):
            at = int(np.argmax(np.where(groups == number_of, np.abs(rows[channel]), -1)))
            known = np.unique(groups).tolist()
            along = report.qparams.layout[0] in ("group", "block")
            steps = results(report.explain(channel, group=known.index(number_of) if along else int(number_of)))
            code = codes[channel, at]
            assert steps["code"] == (str(int(code)) if code.dtype.kind in "iu" else number(np.float32(code)))
            assert steps["dequantized"] == number(back[channel, at])


def test_the_group_is_named() -> None:
    x = np.zeros((2, 4096), np.float32)
    x[1, 100] = -3
    found = pq.analyze(x, dtype="int4", group_size=32).explain(1)
    assert found.unit == "group 3 of 128, elements 96..127"
    assert found.title == "1, group 3 of 128, elements 96..127: how -3 becomes a code and comes back"
    assert "[group 3 of 128, elements 96..127]" in found.to_text()
    other = pq.analyze(x, dtype="int4", group_size=32).explain(1, value=2.5, group=127)
    assert "group 127 of 128" in other.title
    assert "how 2.5 becomes" in other.title
    block = pq.analyze(x, group_size=(1, 1000), convention="modelopt", scheme="symmetric").explain(1)
    assert block.unit == "block (1, 0) of 2 x 5, rows 1..1, columns 0..999"
    assert pq.analyze(x, granularity="token", convention="torchao").explain(1).unit == "token 1 of 2"
    assert "elements 4160..4223 of the flattened tensor" in pq.analyze(x, dtype="nf4").explain(1).unit


@pytest.mark.parametrize(
    ("settings", "group", "message"),
    [
        ({}, 0, "group must be left out"),
        ({"dtype": "int4", "group_size": 16}, 4, r"group must lie in 0\.\.3"),
        ({"dtype": "int4", "group_size": 16}, -1, r"group must lie in 0\.\.3"),
        ({"dtype": "int4", "group_size": 32}, 1.0, "group must be an integer"),
        ({"dtype": "nf4"}, 0, r"group must lie in 1\.\.1"),
    ],
)
def test_groups_that_are_not_there_are_named(settings, group, message) -> None:
    with pytest.raises(pq.QuantError, match=message):
        pq.analyze(X, **settings).explain(1, group=group)


def test_settings_are_told() -> None:
    text = pq.analyze(X, clip_ratio=0.5, granularity="tensor").explain(0).to_text()
    assert "one range for the whole tensor; times clip_ratio 0.5" in text
    assert "the given calibration range" in pq.analyze(X, ranges=(-1.0, 1.0)).explain(0).to_text()
    assert "litert has -127..127 for symmetric codes" in pq.analyze(
        X, convention="litert", scheme="symmetric"
    ).explain(0).to_text()
    saturates = pq.analyze(X, convention="pytorch-quantized", reduce_range=True).explain(0)
    assert results(saturates)["codes"] == "-64..63"
    assert results(saturates)["saturation"] == "-128..127"


@pytest.mark.parametrize("dtype", ["nvfp4", "q5_1", "mxfp8_e4m3fn", "nf4", "q8_0", "gguf_mxfp4"])
def test_given_block_scales_are_told_as_given(dtype) -> None:
    made = pq.analyze(X, dtype=dtype)
    again = pq.analyze(X, qparams=made.qparams).explain(5)
    assert "as given" in again.to_text()
    for name in ("code", "dequantized", "SQNR"):
        assert results(again)[name] == results(made.explain(5))[name]
    assert rule_lines(pq.analyze(X, qparams=made.qparams).study)[0] == "scales as given"


def test_what_is_not_finite_is_left_out_of_a_block() -> None:
    x = X.copy()
    x[0, 3], x[0, 40:64] = np.nan, np.inf
    for dtype in ("mxfp4", "nf4", "q4_0"):
        report = pq.analyze(x, dtype=dtype)
        check(report, x, (0,))
    with pytest.raises(pq.QuantValueError, match="finite in float32"):
        report.explain(0, value=1e300)
