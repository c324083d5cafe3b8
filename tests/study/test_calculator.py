"""The calculator's table, against the issue's own figures and against decimal arithmetic worked out apart from it."""

import math
import warnings
from decimal import ROUND_HALF_UP, Decimal, getcontext

import numpy as np
import pytest
from needs import oracle
from study.schemes import allowed_schemes, label

import perchq_widget as pq
from perchq_widget.core.defaults import settled
from perchq_widget.core.schemes import QuantScheme
from perchq_widget.sources.lines import EXAMPLE_LINES, EXAMPLE_PARAMS

getcontext().prec = 80
CODES = {
    ("qint8", False): (-128, 127),
    ("qint8", True): (-64, 63),
    ("quint8", False): (0, 255),
    ("quint8", True): (0, 127),
}


def test_the_example_to_every_printed_digit() -> None:
    table = pq.calculate(EXAMPLE_LINES).table
    shown = [
        (row.channel, f"{row.scale:.8f}", row.zero_point, row.quantized, f"{row.dequantized:.8f}")
        for row in table.itertuples()
    ]
    assert shown == [
        ("filter_0", "0.00862745", 11, 96, "0.73333333"),
        ("filter_1", "0.00666667", -8, -40, "-0.21333333"),
        ("filter_2", "0.01254902", -8, 80, "1.10431373"),
        ("filter_3", "0.00411765", -19, 25, "0.18117647"),
    ]


def away(value: Decimal) -> int:
    return int(value.quantize(Decimal(1), rounding=ROUND_HALF_UP))


def by_hand(low: str, high: str, sample: str, scheme: str, codes: tuple[int, int]) -> dict[str, float]:
    """The textbook formulas in 80-digit decimals."""
    lo, hi, x = Decimal(low), Decimal(high), Decimal(sample)
    qmin, qmax = codes
    if scheme == "affine":
        scale = (hi - lo) / (qmax - qmin)
        zero = away(qmin - lo * (qmax - qmin) / (hi - lo))
        quotient = x * (qmax - qmin) / (hi - lo)
    else:
        scale = max(abs(lo), abs(hi)) / max(abs(qmin), abs(qmax))
        zero = 0
        quotient = x * max(abs(qmin), abs(qmax)) / max(abs(lo), abs(hi))
    raw = away(quotient) + zero
    code = min(max(raw, qmin), qmax)
    real = (code - zero) * scale
    error = abs(real - x)
    return {
        "scale": float(scale), "zero_point": zero, "raw_quantized": raw, "quantized": code, "dequantized": float(real),
        "clipped": raw != code, "abs_error": float(error), "pct_error": float(100 * error / abs(x)),
        "sqnr_db": float(20 * (abs(x) / error).log10()) if error else math.inf,
    }  # fmt: skip


@pytest.mark.parametrize(("dtype", "reduce_range"), CODES)
@pytest.mark.parametrize("scheme", ["affine", "symmetric"])
def test_every_variant_equals_decimal_arithmetic(dtype: str, reduce_range: bool, scheme: str) -> None:
    lines = (
        EXAMPLE_LINES
        + "tie,-0.8,0.9,0.37\nfar,2,5,3.3\nbelow,-7,-2,-30\nbig,-1e30,3e29,5e28\nsmall,-1e-30,3e-29,1e-30\n"
    )
    report = pq.calculate(lines, dtype=dtype, scheme=scheme, reduce_range=reduce_range)
    assert not report.errors
    for line, row in zip(lines.splitlines(), report.table.to_dict("records"), strict=True):
        channel, *numbers = line.split(",")
        assert row["channel"] == channel
        for name, want in by_hand(*numbers, scheme, CODES[dtype, reduce_range]).items():
            assert row[name] == pytest.approx(want, rel=1e-14, abs=0), (channel, name)


@pytest.mark.oracle
@pytest.mark.parametrize("dtype", ["qint8", "quint8"])
@pytest.mark.parametrize("scheme", ["affine", "symmetric"])
def test_pytorch_lines_equal_torch_bit_for_bit(dtype: str, scheme: str) -> None:
    torch = oracle("torch")
    observers = pytest.importorskip("torch.ao.quantization")
    rng = np.random.default_rng(3)
    n = 2500  # times four settings: ten thousand ranges
    ends = np.sort(rng.standard_normal((n, 2)) * 10.0 ** rng.uniform(-6, 6, (n, 1)), axis=1).astype(np.float32)
    x = (ends[:, 0] + (ends[:, 1] - ends[:, 0]) * rng.uniform(-0.2, 1.2, n)).astype(np.float32)
    rows = [(str(i), *each, x[i]) for i, each in enumerate(ends)]
    table = pq.calculate(rows, dtype=dtype, scheme=scheme, convention="pytorch").table
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch announces that qint8 tensors will go
        observer = observers.PerChannelMinMaxObserver(
            ch_axis=0, dtype=getattr(torch, dtype), qscheme=getattr(torch, f"per_channel_{scheme}")
        )
        observer(torch.from_numpy(ends))
        scale, zero_point = observer.calculate_qparams()
    back = torch.fake_quantize_per_channel_affine(
        torch.from_numpy(x[:, None]), scale, zero_point.int(), 0, observer.quant_min, observer.quant_max
    ).numpy()[:, 0]
    assert np.array_equal(table["scale"].to_numpy(np.float32).view(np.int32), scale.numpy().view(np.int32))
    assert np.array_equal(table["zero_point"].to_numpy(), zero_point.numpy())
    assert np.array_equal(table["dequantized"].to_numpy(np.float32), back)


def test_manual_parameters() -> None:
    report = pq.calculate(EXAMPLE_PARAMS, mode="params")
    row = report.table.iloc[0]
    assert (row["scale"], row["zero_point"], row["quantized"]) == (0.00862745, 11, 96)
    assert row["min"] == pytest.approx((-128 - 11) * 0.00862745)  # what the parameters can represent
    assert row["max"] == pytest.approx((127 - 11) * 0.00862745)


def test_bad_lines_are_listed_and_good_ones_computed() -> None:
    report = pq.calculate("a,-1,1,0.5\nb,-1,1\nc,2,1,0\na,-1,1,0\n# note\n\nd,-1,1,x")
    assert report.table["channel"].tolist() == ["a"]
    assert [(error.line, error.text) for error in report.errors] == [
        (2, "b,-1,1"), (3, "c,2,1,0"), (4, "a,-1,1,0"), (7, "d,-1,1,x"),
    ]  # fmt: skip
    assert all(error.reason for error in report.errors)


def test_no_good_line_raises_with_the_whole_list() -> None:
    with pytest.raises(pq.LinesError, match="line 2") as caught:
        pq.calculate("a,1\nb,2")
    assert [error.line for error in caught.value.errors] == [1, 2]


def test_zero_point_outside_the_codes() -> None:
    """The calculator's own rule can make one, so there it is a finding; a runtime would refuse it."""
    ours = pq.calculate("a,2,5,3", dtype="qint8")
    assert ours.table["zero_point"].tolist() == [-298]
    assert "zero-off-grid" in [finding.rule for finding in ours.findings]
    typed = "a,0.1,300,3\nb,0.1,3,3"
    (finding,) = [each for each in pq.calculate(typed, mode="params").findings if each.rule == "zero-off-grid"]
    assert (finding.channel, finding.value) == ("a", 300)
    runtime = pq.calculate(typed, mode="params", convention="pytorch")
    assert runtime.table["channel"].tolist() == ["b"]
    assert "zero_point must lie in -128..127" in runtime.errors[0].reason


def test_symmetric_with_a_typed_zero_point() -> None:
    typed = "a,0.1,11,3\nb,0.1,0,3"
    report = pq.calculate(typed, mode="params", scheme="symmetric")
    assert report.table["zero_point"].tolist() == [11, 0]
    assert [finding.rule for finding in report.findings] == ["not-symmetric"]
    runtime = pq.calculate(typed, mode="params", scheme="symmetric", convention="pytorch")
    assert "choose scheme 'affine' or write 0" in runtime.errors[0].reason
    with pytest.raises(pq.LinesError, match="write 128"):
        pq.calculate("a,0.1,0,3", mode="params", scheme="symmetric", convention="pytorch", dtype="quint8")


@pytest.mark.parametrize("convention", ["calculator", "pytorch"])
def test_zero_width_is_computed_and_flagged(convention: str) -> None:
    report = pq.calculate("flat,3,3,3\nzero,0,0,0", convention=convention)
    assert len(report.table) == 2
    assert {finding.channel for finding in report.findings if finding.rule == "zero-width"} == {"flat", "zero"}
    assert report.table["scale"].iloc[1] == 2.0**-23
    if convention == "pytorch":
        assert report.table["scale"].iloc[0] == np.float32(3) / np.float32(255)


def test_numbers_beyond_the_runtime_are_line_errors() -> None:
    report = pq.calculate("a,-1,1,0.5\nb,-1e39,1,0\nc,-3e38,3e38,0", convention="pytorch")
    assert "beyond float32" in report.errors[0].reason
    assert "scale must be finite" in report.errors[1].reason
    assert len(pq.calculate("b,-1e39,1,0", convention="calculator").table) == 1


def test_a_zero_point_too_large_to_hold_is_a_line_error() -> None:
    with pytest.raises(pq.LinesError, match="widen it"):
        pq.calculate("a,1e20,1.00000000000000000001e20,1")


def test_summary_counts_infinite_percentages_apart() -> None:
    summary = pq.calculate("a,-1,1,0.3\nb,2,4,0").summary
    assert summary["channels"] == 2
    assert summary["infinite_pct_errors"] == 1
    assert math.isfinite(summary["mean_pct_error"])
    assert summary["clipped_channels"] == 1
    assert summary["worst_channel"] == "b"
    assert summary["worst_sqnr_db"] == -math.inf


def test_exact_values_have_infinite_sqnr() -> None:
    table = pq.calculate("a,-128,127,5\nb,-128,127,0").table
    assert table["sqnr_db"].tolist() == [math.inf, math.inf]
    assert table["pct_error"].tolist() == [0.0, 0.0]


def test_labels_and_keywords() -> None:
    report = pq.calculate(EXAMPLE_LINES, tensor_name="conv1.weight", ch_axis=1)
    assert report.name == "conv1.weight"
    assert "conv1.weight" in report.caption
    assert "ch_axis 1" in report.caption
    with pytest.raises(TypeError, match="did you mean 'reduce_range'"):
        pq.calculate(EXAMPLE_LINES, reduced_range=True)
    with pytest.raises(pq.QuantTypeError, match="ch_axis must be an integer"):
        pq.calculate(EXAMPLE_LINES, ch_axis="0")
    with pytest.raises(pq.QuantTypeError, match="tensor_name must be a text"):
        pq.calculate(EXAMPLE_LINES, tensor_name=3)


def test_codes_of_the_samples() -> None:
    report = pq.calculate(EXAMPLE_LINES)
    assert report.codes().tolist() == report.table["quantized"].tolist()
    assert report.codes().dtype == np.int8
    np.testing.assert_allclose(report.dequantized(), report.table["dequantized"], rtol=1e-15)


def test_the_report_keeps_what_was_typed() -> None:
    typed = "# from the log\na,-1,1,0.5\nbad"
    assert pq.calculate(typed).lines == typed
    assert "bad" in pq.calculate(typed).document()["reproduce"]


@pytest.mark.parametrize("convention", ["calculator", "pytorch"])
def test_an_extreme_line_spoils_no_other(convention) -> None:
    lines = "ok,-1,1,.5\nfar,-1,0,3e38\ntiny,0,1e-300,1e300\nsmall,-1e-200,1e-200,0.3e-200"
    report = pq.calculate(lines, convention=convention)
    left_out = ["tiny"] if convention == "pytorch" else []  # its sample is beyond float32
    assert report.table["channel"].tolist() == [name for name in ("ok", "far", "tiny", "small") if name not in left_out]
    assert len(report.errors) == len(left_out)
    assert report.table["raw_quantized"].dtype == np.int64
    assert report.table["quantized"].iloc[1] == 127
    report.document()


def test_overall_sqnr_of_numbers_whose_squares_leave_float64() -> None:
    huge = pq.calculate("a,-1e200,1e200,1e200\nb,-1e199,1e200,3e200").summary["sqnr_db"]
    assert huge == pytest.approx(pq.calculate("a,-1,1,1\nb,-0.1,1,3").summary["sqnr_db"], rel=1e-12)
    small = pq.calculate("a,-1e-200,1e-200,0.3e-200").summary["sqnr_db"]
    assert small == pytest.approx(43.69382861635198, rel=1e-12)


def test_a_clipped_sample_is_not_told_to_narrow_its_range() -> None:
    assert [finding.rule for finding in pq.calculate("a,-1,1,5").findings] == ["clipped"]
    assert [finding.rule for finding in pq.calculate("a,-1,1,0.003").findings] == ["low-sqnr"]


LINES = "wide,-3,2,0.3\nbeyond,-0.5,1,7\nzero,-1,1,0\nsmall,-1e-3,4e-3,-2e-4\n"


def as_lines() -> list[QuantScheme]:
    """The schemes that the calculator can be asked for, but its own."""
    plain = [each for each in allowed_schemes() if not (each.narrow_range or each.quant_range)]
    return [
        each
        for each in plain
        if each.granularity == "channel"
        and each.convention != "calculator"
        and each.scale_rule == settled(each.dtype, each.scheme, "channel", each.convention).scale_rule
    ]


@pytest.mark.parametrize("scheme", as_lines(), ids=label)
def test_lines_of_every_format_equal_the_tensor_functions(scheme) -> None:
    settings = {name: getattr(scheme, name) for name in ("dtype", "scheme", "convention", "reduce_range")}
    table = pq.calculate(LINES, **settings).table
    low, high, x = np.array([line.split(",")[1:] for line in LINES.splitlines()], np.float32).T
    qparams = pq.choose_qparams(low, high, **settings)
    codes = pq.quantize(x[:, None], qparams)
    assert np.array_equal(table["scale"], qparams.scale.astype(np.float64))
    assert np.array_equal(table["quantized"], codes[:, 0].astype(np.float64))
    assert np.array_equal(table["dequantized"], pq.dequantize(codes, qparams)[:, 0].astype(np.float64))
    assert (table["quantized"].dtype.kind == "f") == (scheme.family == "float")


def test_a_float_format_s_line_reads_well() -> None:
    report = pq.calculate(LINES, dtype="float8_e4m3fn", scheme="symmetric", convention="pytorch")
    row = report.table.iloc[0]
    assert (row["quantized"], row["raw_quantized"], row["clipped"]) == (44.0, 44.0, False)
    assert report.table["clipped"].tolist() == [False, True, False, False]
    clipped = next(finding for finding in report.findings if finding.rule == "clipped")
    assert clipped.channel == "beyond"
    assert clipped.value > 1  # in steps at the format's end
    document = report.document()
    shown = document["display_rows"][0]
    assert shown[document["columns"].index("quantized")] == "44"
    assert "bits 0x63" in report.explain(0).to_text()
