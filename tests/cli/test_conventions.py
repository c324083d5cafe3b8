"""``perchq conventions``, ``perchq diff``, and the settings that analyze and diff share."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import perchq_widget as pq
from perchq_widget.cli import main
from perchq_widget.core.conventions import CONVENTIONS, conventions_with

MODEL = Path(__file__).parents[2] / "notebooks" / "models" / "digits.safetensors"
CONV2 = (MODEL, "--tensor", "conv2.weight")
FC1 = (MODEL, "--tensor", "fc1.weight")


class Perchq:
    """Runs main() in an empty folder; keeps the code and both outputs of the last call."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys
        self.code, self.out, self.err = -1, "", ""

    def __call__(self, *arguments: object) -> Perchq:
        self.code = main([str(argument) for argument in arguments])
        self.out, self.err = self.capsys.readouterr()
        return self


@pytest.fixture
def perchq(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Perchq:
    monkeypatch.chdir(tmp_path)
    return Perchq(capsys)


def settings(path: str = "r.json") -> dict[str, object]:
    found: dict[str, object] = json.loads(Path(path).read_text(encoding="utf-8"))["settings"]
    return found


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ([], {"dtype": "qint8", "scheme": "affine", "granularity": "channel", "convention": "pytorch"}),
        (["--dtype", "int4", "--group-size", "128", "--convention", "torchao"],
         {"dtype": "int4", "granularity": "group", "group_size": 128, "convention": "torchao"}),
        (["--dtype", "int4", "--group-size", "32"], {"granularity": "group", "convention": "torchao"}),
        (["--quant-range", "-100", "100", "--clip-ratio", "0.9"],
         {"quant_min": -100, "quant_max": 100, "clip_ratio": 0.9}),
        (["--group-size", "16x64", "--scheme", "symmetric"], {"granularity": "block", "group_size": [16, 64]}),
        (["--dtype", "float8_e4m3fn"], {"scheme": "symmetric", "granularity": "channel", "convention": "pytorch"}),
        (["--granularity", "token"], {"granularity": "token", "convention": "torchao"}),
        (["--dtype", "uint16"], {"convention": "onnxruntime"}),
        (["--dtype", "mxfp4", "--scale-rule", "even"], {"convention": "ocp", "scale_rule": "even", "group_size": 32}),
        (["--dtype", "nf4"], {"convention": "bitsandbytes"}),
        (["--dtype", "q4_1"], {"convention": "gguf"}),
    ],
    ids=str,
)  # fmt: skip
def test_analyze_takes_every_setting(perchq: Perchq, options: list[str], wanted: dict[str, object]) -> None:
    assert perchq("analyze", *FC1, *options, "--json", "r.json").code == 0
    assert wanted.items() <= settings().items()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["analyze", *FC1, "--dtype", "int4", "--group-size", "100"], "group_size must divide"),
        (["analyze", *FC1, "--quant-range", "5", "3"], "quant_range must lie in -128..127"),
        (["analyze", *FC1, "--group-size", "32", "--convention", "pytorch"], "no granularity 'group'"),
        (["analyze", *FC1, "--scale-rule", "up", "--dtype", "mxfp4"], "scale_rule"),
        (["analyze", *FC1, "--dtype", "mxfp4", "--convention", "pytorch"], "pytorch has no mxfp4"),
        (["analyze", *FC1, "--granularity", "group"], "group_size"),
        (["diff", *FC1, "pytorch", "pytorch"], "both 'pytorch'"),
        (["diff", *FC1, "pytorch", "pytroch"], "did you mean 'pytorch'"),
        (["diff", *FC1, "pytorch", "gguf"], "convention 'gguf' does not have this combination"),
        (["diff", *FC1, "pytorch", "torchao", "--group-size", "32"], "convention 'pytorch' does not have"),
        (["diff", "none.npy", "pytorch", "torchao"], "no such file"),
        (["diff", MODEL, "--tensor", "fc9", "pytorch", "torchao"], "no tensor 'fc9'"),
        (["conventions", "--dtype", "int9"], "dtype must be one of"),
    ],
    ids=str,
)
def test_errors_are_one_line(perchq: Perchq, arguments: list[object], said: str) -> None:
    run = perchq(*arguments)
    assert (run.code, run.out) == (2, "")
    assert run.err.startswith("perchq: error: ")
    assert said in run.err
    assert run.err.count("\n") == 1


@pytest.mark.parametrize("size", ["many", "0", "12x", "-4", "1.5", ""])
@pytest.mark.parametrize("command", [["analyze", "w.npy"], ["diff", "w.npy", "pytorch", "torchao"]])
def test_what_is_no_group_size_is_a_usage_error(
    command: list[str], size: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ending:
        main([*command, f"--group-size={size}"])
    assert ending.value.code == 2
    assert "--group-size" in capsys.readouterr().err


def test_conventions_are_listed_with_users_formats_and_checks(perchq: Perchq) -> None:
    run = perchq("conventions")
    assert (run.code, run.err) == (0, "")
    words = " ".join(run.out.split())
    for rules in CONVENTIONS.values():
        assert f"{rules.name}: {rules.title}" in run.out
        for text in (rules.used_by, rules.checked, " ".join(rules.formats)):
            assert " ".join(text.split()) in words
    assert max(map(len, run.out.splitlines())) <= 100


@pytest.mark.parametrize("dtype", ["int4", "uint8", "mxfp4", "nf4"])
def test_conventions_of_a_format(perchq: Perchq, dtype: str) -> None:
    run = perchq("conventions", "--dtype", dtype)
    heads = [line.partition(":")[0] for line in run.out.splitlines() if line and not line.startswith(" ")]
    assert heads == list(conventions_with({"uint8": "quint8"}.get(dtype, dtype)))


def test_diff_prints_channels_summary_and_rules(perchq: Perchq) -> None:
    run = perchq("diff", *CONV2, "pytorch", "onnxruntime", "--scheme", "symmetric", "--csv", "d.csv", "--rows", "3")
    assert run.code == 0
    lines = run.out.splitlines()
    found = pq.convention_diff(pq.open_source(MODEL)["conv2.weight"], "pytorch", "onnxruntime", scheme="symmetric")
    assert lines[0] == found.caption
    assert lines[1] == "a is pytorch, b is onnxruntime"
    assert lines[3].split() == list(found.table.columns)
    worst = found.table.sort_values("codes_differ_pct", ascending=False, kind="stable")["channel"].head(3)
    assert [line.split()[0] for line in lines[4:7]] == worst.tolist()
    assert "the 3 of 32 channels that differ most" in lines[7]
    for label, text in found.summary_rows():
        assert any(line.startswith(label) and line.endswith(text) for line in lines)
    assert "value to code" in lines
    assert "wrote d.csv" in run.err
    assert len(pd.read_csv("d.csv")) == 32


def test_diff_takes_the_settings(perchq: Perchq) -> None:
    pair = ("torchao", "compressed-tensors")
    run = perchq("diff", *FC1, *pair, "--dtype", "int4", "--group-size", "32", "--ch-axis", "1")
    assert run.code == 0
    assert "ch_axis 1 · int4 affine, per group of 32" in run.out.splitlines()[0]
    assert "of 512 channels" in run.out
    run = perchq("diff", *FC1, *pair, "--group-size", "16x64", "--scheme", "symmetric")
    assert run.code == 0
    assert "per block of 16x64" in run.out.splitlines()[0]


def test_diff_lists_the_tensors_where_the_choice_is_open(perchq: Perchq) -> None:
    run = perchq("diff", MODEL, "pytorch", "torchao")
    assert run.code == 2
    assert "conv1.weight" in run.out
    assert "--tensor NAME" in run.err


def test_diff_leaves_existing_files_and_says_so_before_the_work(perchq: Perchq) -> None:
    Path("d.csv").write_text("kept", encoding="utf-8")
    run = perchq("diff", *FC1, "pytorch", "torchao", "--csv", "d.csv")
    assert (run.code, run.out) == (2, "")
    assert "--overwrite" in run.err
    assert Path("d.csv").read_text(encoding="utf-8") == "kept"
    assert perchq("diff", *FC1, "pytorch", "torchao", "--csv", "d.csv", "--overwrite").code == 0


def test_diff_fits_a_narrow_terminal(perchq: Perchq, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    run = perchq("diff", *CONV2, "pytorch", "onnxruntime", "--scheme", "symmetric", "--rows", "2")
    table = run.out.splitlines()[3:6]
    assert all(len(line) <= 80 for line in table)
    assert "codes_differ_pct" in table[0]
    assert "no room for" in run.out
    assert "scale_a" in run.out.partition("no room for")[2]


def test_names_cannot_drive_the_terminal(perchq: Perchq) -> None:
    header = json.dumps({"\x1b[31mw": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}}).encode()
    values = np.array([1, -2, 3, 4], np.float32).tobytes()
    Path("m.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + values)
    run = perchq("diff", "m.safetensors", "pytorch", "calculator")
    assert run.code == 0
    assert all(line.isprintable() for line in run.out.splitlines())


@pytest.mark.parametrize("command", ["conventions", "diff"])
def test_the_help_names_the_exit_codes(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ending:
        main([command, "--help"])
    assert ending.value.code == 0
    assert "exit codes:" in capsys.readouterr().out
