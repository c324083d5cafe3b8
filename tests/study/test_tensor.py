"""Real tensors: the table's columns against whole-tensor arithmetic, inputs of every kind, memory."""

import math
import tracemalloc

import ml_dtypes
import numpy as np
import pytest
from needs import oracle

import perchq_widget as pq

RNG = np.random.default_rng(11)
WEIGHT = RNG.standard_normal((12, 5, 3, 3)).astype(np.float32)


@pytest.mark.parametrize("ch_axis", [0, 1, -1])
@pytest.mark.parametrize("granularity", ["channel", "tensor"])
@pytest.mark.parametrize("scheme", ["affine", "symmetric"])
def test_every_column(ch_axis: int, granularity: str, scheme: str) -> None:
    report = pq.analyze(WEIGHT, ch_axis=ch_axis, granularity=granularity, scheme=scheme, name="conv")
    table = report.table
    x = np.moveaxis(WEIGHT, ch_axis, 0).reshape(WEIGHT.shape[ch_axis], -1).astype(np.float64)
    back = np.moveaxis(report.dequantized(), ch_axis, 0).reshape(x.shape).astype(np.float64)
    e = back - x
    want = {
        "min": x.min(1), "max": x.max(1), "n": np.full(len(x), x.shape[1]), "max_abs_error": np.abs(e).max(1),
        "mean_abs_error": np.abs(e).mean(1), "pct_error": 100 * np.abs(e).sum(1) / np.abs(x).sum(1),
        "mse": (e * e).mean(1), "sqnr_db": 10 * np.log10((x * x).sum(1) / (e * e).sum(1)),
        "cosine": (x * back).sum(1) / np.sqrt((x * x).sum(1) * (back * back).sum(1)),
        "zeroed_pct": 100 * ((back == 0) & (x != 0)).mean(1),
    }  # fmt: skip
    for name, values in want.items():
        np.testing.assert_allclose(table[name], values, rtol=3e-6, err_msg=name)
    assert report.summary["sqnr_db"] == pytest.approx(10 * math.log10((x * x).sum() / (e * e).sum()), rel=1e-6)
    assert report.summary["pct_error"] == pytest.approx(100 * np.abs(e).sum() / np.abs(x).sum(), rel=1e-6)
    assert report.summary["worst_channel"] == table["channel"].iloc[int(np.argmin(want["sqnr_db"]))]
    assert report.codes().shape == WEIGHT.shape
    if granularity == "tensor":
        assert table["scale"].nunique() == 1
        assert report.qparams.scale.shape == ()


def test_columns_are_the_documented_ones() -> None:
    documented = (
        "channel min max n scale zero_point clipped clipped_pct zeroed_pct max_abs_error mean_abs_error pct_error mse "
        "sqnr_db cosine findings"
    )
    assert list(pq.analyze(WEIGHT).table.columns) == documented.split()


def test_calculator_convention_on_a_tensor() -> None:
    x = np.array([[-0.8, 0.9, -0.21], [-1.2, 1.0, 0.73]])
    report = pq.analyze(x, convention="calculator")
    assert report.codes()[:, 2].tolist() == [-40, 96]
    assert report.table["zero_point"].tolist() == [-8, 11]
    assert report.dequantized().dtype == np.float64


@pytest.mark.parametrize("dtype", [np.float16, np.float64, ml_dtypes.bfloat16, ">f4"])
def test_other_dtypes_compute_in_float32(dtype) -> None:
    x = WEIGHT.astype(dtype)
    left, right = pq.analyze(x).table, pq.analyze(x.astype(np.float32)).table
    assert left.equals(right)


def test_memory_stays_small() -> None:
    x = RNG.standard_normal((4096, 4096), dtype=np.float32)
    pq.analyze(x[:8])  # imports
    for ch_axis in (0, -1):
        tracemalloc.start()
        pq.analyze(x, ch_axis=ch_axis)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 64 * 2**20


def test_given_ranges_and_parameters() -> None:
    low, high = WEIGHT.min((1, 2, 3)), WEIGHT.max((1, 2, 3))
    plain = pq.analyze(WEIGHT)
    assert pq.analyze(WEIGHT, ranges=(low, high)).table.equals(plain.table)
    again = pq.analyze(WEIGHT, qparams=plain.qparams)
    assert again.table.equals(plain.table)
    assert again.scheme.scheme == "affine"
    symmetric = pq.analyze(WEIGHT, scheme="symmetric", narrow_range=True)
    given = pq.analyze(WEIGHT, qparams=symmetric.qparams)
    assert given.scheme.scheme == "symmetric"
    assert (given.scheme.quant_min, given.scheme.quant_max) == (-127, 127)
    tight = pq.analyze(WEIGHT, ranges=(-1.0, 1.0))
    assert tight.summary["clipped"] == int((np.abs(WEIGHT) > 1.0 + 0.5 * 2 / 255).sum())
    assert tight.table["scale"].nunique() == 1
    assert pq.analyze(WEIGHT, clip_ratio=0.5).table["scale"].iloc[0] == pytest.approx(plain.table["scale"].iloc[0] / 2)
    assert pq.analyze(WEIGHT, quant_range=(-8, 7)).codes().min() == -8


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ch_axis": 4}, r"ch_axis must lie in -4..3"),
        ({"ch_axis": 1.5}, "ch_axis must be an integer"),
        ({"granularity": "row"}, "granularity must be one of"),
        ({"observer": "entrpy"}, "observer must be one of.*did you mean 'entropy'"),
        ({"clip_ratio": 2}, "clip_ratio must be above 0 and at most 1"),
        ({"channel_names": ["a"]}, "channel_names must have 12 names"),
        ({"channel_names": ["a"] * 12}, "more than once"),
        ({"ranges": (0, "x")}, "ranges must be"),
        ({"ranges": (2, 1)}, "min_val <= max_val"),
        ({"ranges": (np.zeros(3), np.ones(3))}, "ranges must be"),
        ({"qparams": pq.choose_qparams(-1, 1), "scheme": "affine"}, "qparams already says what scheme would"),
        ({"qparams": pq.choose_qparams(-1, 1), "dtype": "quint8"}, "qparams already says what dtype would"),
        ({"qparams": pq.choose_qparams([0], [1])}, "the tensor has 12 channels on axis 0 but scale has 1"),
        ({"dtype": "quint8", "narrow_range": True}, "not allowed"),
    ],
)
def test_bad_options_are_named(options, message) -> None:
    with pytest.raises(pq.QuantError, match=message):
        pq.analyze(WEIGHT, **options)


def test_unknown_keywords_name_the_nearest() -> None:
    with pytest.raises(TypeError, match="did you mean 'ch_axis'"):
        pq.analyze(WEIGHT, ch_axes=0)


@pytest.mark.parametrize("shape", [(0,), (3, 0), ()])
def test_sizes_that_cannot_be_analysed_say_their_shape(shape) -> None:
    with pytest.raises(pq.QuantValueError, match=r"shape|0-d|scalar"):
        pq.analyze(np.zeros(shape, np.float32))


def test_findings() -> None:
    x = WEIGHT.reshape(12, -1).copy()
    x[0, 0], x[1], x[2], x[3], x[4, 3] = 500.0, 0.0, 7.0, np.nan, np.inf
    x[5] = np.abs(x[5]) + 1
    x[6] *= 1e-9
    report = pq.analyze(x, scheme="symmetric")
    rules = {(finding.rule, finding.channel) for finding in report.findings}
    assert {("low-sqnr", "6"), ("all-zero", "1"), ("zero-width", "2"), ("empty", "3"), ("non-finite", "4"),
            ("one-sided", "5"), ("scale-floor", "6")} <= rules  # fmt: skip
    listed = report.table["findings"]
    assert listed[6] == "scale-floor; low-sqnr; zeroed"
    assert listed[7] == ""
    assert all(finding.next_step for finding in report.findings)
    assert np.isnan(report.table["min"][3])
    assert report.summary["non_finite"] == 46


def test_outliers_are_named() -> None:
    x = RNG.standard_normal((3, 1000)).astype(np.float32)
    x[1, 17] = 100.0
    assert [(finding.rule, finding.channel) for finding in pq.analyze(x).findings] == [("outlier", "1")]
    assert "the step for all others" in pq.analyze(x).findings[0].next_step
    found = {finding.rule: finding.next_step for finding in pq.analyze(x, dtype="int4", group_size=50).findings}
    assert "the step for the others of its group" in found["outlier"]


def test_one_sided_values_waste_codes_of_integers_and_not_of_floats() -> None:
    x = np.abs(WEIGHT) + 1
    assert "one-sided" in {finding.rule for finding in pq.analyze(x, scheme="symmetric").findings}
    assert "one-sided" not in {finding.rule for finding in pq.analyze(x, dtype="float8_e4m3fn").findings}


def test_a_tie_at_the_end_is_no_finding_but_counted() -> None:
    report = pq.analyze(RNG.standard_normal((64, 100)).astype(np.float32), scheme="symmetric")
    assert report.summary["clipped"] > 0
    assert "clipped" not in {finding.rule for finding in report.findings}
    clipped = pq.analyze(WEIGHT, clip_ratio=0.5)
    assert "clipped" in {finding.rule for finding in clipped.findings}


def test_many_channels_with_one_finding_are_summed_up() -> None:
    report = pq.analyze(WEIGHT, clip_ratio=0.1)
    (finding,) = [each for each in report.findings if each.rule == "clipped"]
    assert finding.message.startswith("12 channels")


def test_codes_used() -> None:
    x = np.array([[0.0, 1.0, 2.0, 255.0], [0.0, 0.0, 255.0, 255.0]])
    assert pq.analyze(x, dtype="quint8").codes_used().tolist() == [4, 2]


@pytest.mark.oracle
def test_torch_tensors() -> None:
    torch = oracle("torch")
    want = pq.analyze(WEIGHT).table
    tensor = torch.from_numpy(WEIGHT)
    assert pq.analyze(tensor).table.equals(want)
    assert pq.analyze(torch.nn.Parameter(tensor.clone())).table.equals(want)
    assert pq.analyze(tensor.permute(1, 0, 2, 3), ch_axis=1).table.drop(columns="findings").shape == (12, 15)
    half = pq.analyze(tensor.to(torch.bfloat16))
    assert half.table.equals(pq.analyze(tensor.to(torch.bfloat16).float()).table)


@pytest.mark.oracle
@pytest.mark.parametrize(
    ("make", "hint"),
    [
        (lambda torch: torch.ones(2, 3).to_sparse(), "to_dense"),
        (lambda torch: torch.ones(2, 3, device="meta"), "meta"),
        (lambda torch: torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8), "dequantize"),
    ],
)
@pytest.mark.filterwarnings("ignore")  # torch announces that quantized tensors will go
def test_torch_tensors_that_need_a_step_first(make, hint) -> None:
    torch = oracle("torch")
    with pytest.raises(pq.QuantError, match=hint):
        pq.analyze(make(torch))


def test_a_tensor_from_a_file_is_found_again(tmp_path) -> None:
    np.save(tmp_path / "weight.npy", WEIGHT)
    with pq.open_source(tmp_path / "weight.npy") as source:
        (record,) = source.values()
    code = pq.analyze(record).document()["reproduce"]
    scope: dict[str, object] = {}
    exec(code, scope)
    assert scope["report"].table.equals(pq.analyze(WEIGHT).table)  # type: ignore[attr-defined]
    assert "ASSIGN" in pq.analyze(record, name="another").document()["reproduce"]


@pytest.mark.parametrize(
    "options", [{}, {"granularity": "tensor"}, {"scheme": "symmetric"}, {"convention": "calculator"}]
)
def test_a_channel_without_a_finite_value_is_shown_and_is_the_worst(options) -> None:
    x = np.array([[1.0, 2.0, 3.0], [np.nan] * 3, [0.5, 0.25, 4.0]], np.float32)
    report = pq.analyze(x, **options)
    assert report.summary["worst_channel"] == "1"
    assert report.table["sqnr_db"][1] == -math.inf
    assert "no value is finite" in report.explain(1).to_text()
    assert "SQNR" not in report.explain(1).to_text()
    assert report.histogram(1).n_nonfinite == 3
    assert "empty" in report._repr_html_()
    others = pq.analyze(x[[0, 2]], **options).table
    assert report.table["scale"][[0, 2]].tolist() == others["scale"].tolist()
    nothing = pq.analyze(x[1:2], **options)
    assert nothing.summary["sqnr_db"] == -math.inf
    nothing.document()


def test_parameters_of_another_axis_are_refused() -> None:
    x = RNG.standard_normal((4, 4)).astype(np.float32)
    qparams = pq.choose_qparams(x.min(0), x.max(0), ch_axis=1)
    with pytest.raises(pq.QuantValueError, match="qparams are for ch_axis 1, but ch_axis is 0"):
        pq.analyze(x, qparams=qparams)
    assert pq.analyze(x, qparams=qparams, ch_axis=1).summary["sqnr_db"] > 40
    assert pq.analyze(x, qparams=qparams, ch_axis=1).table.equals(pq.analyze(x, ch_axis=-1).table)


def test_defaults_are_told_from_the_same_values_given() -> None:
    qparams = pq.choose_qparams(-1, 1, dtype="quint8")
    assert pq.analyze(WEIGHT, qparams=qparams).scheme.dtype == "quint8"
    assert pq.analyze(WEIGHT, qparams=qparams, dtype="uint8").scheme.dtype == "quint8"
    with pytest.raises(pq.QuantValueError, match="qparams already says what dtype would"):
        pq.analyze(WEIGHT, qparams=qparams, dtype="qint8")


def test_a_record_s_axis_is_taken_unless_another_is_given(tmp_path) -> None:
    from dataclasses import replace

    with pq.open_source({"deconv": WEIGHT}) as source:
        record = replace(source["deconv"], ch_axis=1)
    assert len(pq.analyze(record).table) == 5
    assert len(pq.analyze(record, ch_axis=0).table) == 12


def test_schemes_are_read_off_given_parameters() -> None:
    middle = pq.choose_qparams(-1, 1, dtype="quint8", scheme="symmetric", quant_range=(0, 127))
    assert int(middle.zero_point) == 63
    assert pq.analyze(WEIGHT, qparams=middle).scheme.scheme == "symmetric"
    off = pq.QParams(0.1, 64, dtype="quint8", convention="pytorch", quant_max=127)
    assert pq.analyze(WEIGHT, qparams=off).scheme.scheme == "affine"


def test_zero_width_is_about_the_range_in_use() -> None:
    flat = np.full((2, 5), 3.0, np.float32)
    assert {finding.rule for finding in pq.analyze(flat).findings} == {"zero-width"}
    assert "zero-width" not in {finding.rule for finding in pq.analyze(flat, ranges=(2.0, 4.0)).findings}
    assert "zero-width" in {finding.rule for finding in pq.analyze(WEIGHT, ranges=(4.0, 4.0)).findings}


def test_zeroed_counts_among_the_non_zero_values() -> None:
    x = np.array([[0.0, 0.0, 0.0, 0.0, 0.001, 0.001, 1.0, 1.0]], np.float32)
    assert pq.analyze(x, quant_range=(-8, 7)).table["zeroed_pct"].tolist() == [50.0]


def test_values_beyond_the_convention_s_dtype_are_called_that() -> None:
    report = pq.analyze(np.array([[1e39, 1.0, 2.0]]))
    assert "beyond float32: 1" in report.findings[0].message
    assert pq.analyze(np.array([[1e39, 1.0, 2.0]]), convention="calculator").table["max"].tolist() == [1e39]
    with pytest.raises(pq.QuantValueError, match="rescale the tensor"):
        pq.analyze(np.array([[1e200, 1.0]]), convention="calculator")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": 5}, "name must be a text"),
        ({"channel_names": "abcdefghijkl"}, "channel_names must be a list of texts"),
        ({"channel_names": 5}, "channel_names must be a list of texts"),
        ({"channel_names": [None] * 12}, "channel_names must be a list of texts"),
        ({"qparams": 0.1}, "qparams must be a QParams"),
        ({"ch_axis": True}, "ch_axis must be an integer"),
    ],
)
def test_arguments_of_the_wrong_kind_are_named(options, message) -> None:
    with pytest.raises(pq.QuantTypeError, match=message):
        pq.analyze(WEIGHT, **options)


def test_numpy_scalars_are_fine() -> None:
    report = pq.analyze(WEIGHT, ch_axis=np.int64(1), clip_ratio=np.float32(0.5), reduce_range=np.bool_(True))
    assert report.scheme.reduce_range is True
    assert len(report.table) == 5


def test_an_observer_beside_given_ranges_is_refused() -> None:
    with pytest.raises(pq.QuantValueError, match="ranges already says what observer 'mse' would find"):
        pq.analyze(np.ones((2, 3), np.float32), observer="mse", ranges=(-1.0, 1.0))
