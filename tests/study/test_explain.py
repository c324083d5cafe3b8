"""Derivations: every result in them is the table's."""

import numpy as np
import pytest

import perchq_widget as pq
from perchq_widget.sources.lines import EXAMPLE_LINES, EXAMPLE_PARAMS

RNG = np.random.default_rng(5)


def results(explanation) -> dict[str, str]:
    return {step.name: step.result for step in explanation.steps}


@pytest.mark.parametrize("convention", ["calculator", "pytorch"])
@pytest.mark.parametrize("dtype", ["qint8", "quint8"])
@pytest.mark.parametrize("scheme", ["affine", "symmetric"])
@pytest.mark.parametrize("mode", ["ranges", "params"])
def test_steps_end_at_the_table(convention, dtype, scheme, mode) -> None:
    zero = 0 if dtype == "qint8" else 128
    lines = EXAMPLE_LINES if mode == "ranges" else "a,0.01,0,0.5\n" if scheme == "affine" else f"a,0.01,{zero},0.5\n"
    report = pq.calculate(lines, mode=mode, dtype=dtype, scheme=scheme, convention=convention)
    for row in report.table.itertuples():
        steps = results(report.explain(row.channel))
        assert steps["zero_point"] == str(row.zero_point)
        assert float(steps["scale"]) == pytest.approx(row.scale, rel=1e-7)
        assert steps["raw code"] == str(row.raw_quantized)
        assert steps["code"] == str(row.quantized)
        assert float(steps["dequantized"]) == pytest.approx(row.dequantized, rel=1e-7)
        assert float(steps["absolute error"]) == pytest.approx(row.abs_error, rel=1e-6, abs=1e-12)
        assert float(steps["SQNR"].removesuffix(" dB")) == pytest.approx(row.sqnr_db, rel=1e-5)


@pytest.mark.parametrize("convention", ["calculator", "pytorch"])
def test_reduce_range_is_explained(convention) -> None:
    report = pq.calculate("act,-53.584,34.898,3", dtype="quint8", reduce_range=True, convention=convention)
    steps = {step.name: step for step in report.explain("act").steps}
    assert steps["codes"].result == "0..127"
    assert steps["codes"].note == "quint8 has 0..255; reduce_range takes one bit away"
    assert steps["range"].result == "-53.584..34.898"
    assert steps["scale"].numbers == "(34.898 - (-53.584)) / (127 - 0) = 88.482 / 127"
    assert "88.482 / 127 = 0.6967086" in report.explain("act").to_text()
    assert steps["zero_point"].result == "77"


def test_the_tie_shows() -> None:
    steps = {step.name: step for step in pq.calculate(EXAMPLE_LINES).explain("filter_1").steps}
    assert steps["quotient"].result == "-31.5"
    assert steps["level"].note == "half away from zero, exact"
    assert steps["raw code"].numbers == "-32 + (-8)"


def test_tensor_channels_explain_their_largest_value_or_a_given_one() -> None:
    x = RNG.standard_normal((3, 50)).astype(np.float32)
    for options in (
        {},
        {"granularity": "tensor"},
        {"clip_ratio": 0.5},
        {"ranges": (-1.0, 2.0)},
        {"scheme": "symmetric"},
    ):
        report = pq.analyze(x, **options)
        for index, row in enumerate(report.table.itertuples()):
            at = int(np.argmax(np.abs(x[index])))
            steps = {step.name: step for step in report.explain(index).steps}
            assert steps["code"].result == str(report.codes()[index, at])
            assert float(steps["dequantized"].result) == pytest.approx(float(report.dequantized()[index, at]), rel=1e-7)
            assert steps["zero_point"].result == str(row.zero_point)
            numbers, divisor = steps["scale"].numbers.split(" = ")[-1].split(" / ")
            assert float(numbers) / float(divisor) == pytest.approx(row.scale, rel=1e-6), options
    given = pq.analyze(x).explain(0, value=0.25)
    assert "how 0.25 becomes a code" in given.title


def test_given_parameters_are_said_to_be_given() -> None:
    text = pq.calculate(EXAMPLE_PARAMS, mode="params").explain(0).to_text()
    assert "scale: as given = 0.00862745" in text
    report = pq.analyze(np.ones((2, 3)), qparams=pq.choose_qparams(-1, 1))
    assert "as given" in report.explain(1).to_text()


def test_clamped_zero_point_and_floor_are_said() -> None:
    report = pq.calculate("a,2,5,3", convention="calculator")
    assert "off the grid" in report.explain("a").to_text()
    assert "zero is taken into the range" in pq.calculate("a,2,5,3", convention="pytorch").explain("a").to_text()
    assert "held at eps" in pq.calculate("a,-1e-9,1e-9,0", convention="pytorch").explain("a").to_text()
    assert "no width" in pq.calculate("a,1,1,1").explain("a").to_text()


@pytest.mark.parametrize(("channel", "message"), [("filter_9", "did you mean"), (4, "0..3"), (1.5, "name or a number")])
def test_unknown_channels_are_named(channel, message) -> None:
    with pytest.raises(pq.QuantError, match=message):
        pq.calculate(EXAMPLE_LINES).explain(channel)


def test_bad_values_are_named() -> None:
    report = pq.calculate(EXAMPLE_LINES)
    with pytest.raises(pq.QuantValueError, match="finite"):
        report.explain(0, value=float("nan"))
    with pytest.raises(pq.QuantTypeError, match="value must be a number"):
        report.explain(0, value="1")


def test_the_calculator_explains_the_decimals_as_typed() -> None:
    near = pq.calculate("a,-0.8,0.9,-0.2099999999999999999999999")
    assert results(near.explain(0))["code"] == str(near.table["quantized"][0]) == "-39"
    exact = pq.calculate("a,0,2.55,0.57", dtype="quint8")
    assert results(exact.explain(0))["SQNR"] == "inf dB"
    assert results(exact.explain(0))["absolute error"] == "0"


def test_integers_beyond_any_float_are_named() -> None:
    with pytest.raises(pq.QuantError, match="value must be finite"):
        pq.analyze(np.ones((2, 8), np.float32)).explain(0, 10**400)
