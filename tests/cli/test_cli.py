"""The command from outside: outputs, files, exit codes, and endings that must stay quiet."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import ml_dtypes
import numpy as np
import pandas as pd
import pytest

from perchq_widget.cli import main

MODEL = Path(__file__).parents[2] / "notebooks" / "models" / "digits.safetensors"
EXAMPLE = "filter_0,-1.2,1,0.73\nfilter_1,-0.8,0.9,-0.21\nfilter_2,-1.5,1.7,1.11\nfilter_3,-0.45,0.6,0.18\n"


class Run:
    """Exit code and output of one call of main()."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err


class Caller:
    def __init__(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self.capsys, self.monkeypatch = capsys, monkeypatch

    def __call__(self, *arguments: object, stdin: str | bytes = "") -> Run:
        data = stdin.encode() if isinstance(stdin, str) else stdin
        self.monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data), encoding="utf-8"))
        code = main([str(argument) for argument in arguments])
        return Run(code, *self.capsys.readouterr())


@pytest.fixture
def perchq(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Caller:
    monkeypatch.chdir(tmp_path)
    return Caller(capsys, monkeypatch)


def row_of(out: str, channel: str) -> list[str]:
    """The cells of a channel's row in the printed table."""
    line = next(line for line in out.splitlines() if line[3:].startswith(f"{channel} "))
    return line[3:].split()


def test_calc_reads_standard_input(perchq: Caller) -> None:
    run = perchq("calc", stdin=EXAMPLE)
    assert run.code == 0
    header = run.out.splitlines()[2].split()
    row = dict(zip(header, row_of(run.out, "filter_1"), strict=True))
    assert (row["scale"], row["zero_point"], row["quantized"]) == ("0.00666667", "-8", "-40")
    assert row["dequantized"] == "-0.21333333"
    assert run.err == ""


def test_calc_reads_a_file_as_the_same(perchq: Caller) -> None:
    Path("lines.csv").write_text(f"channel,min,max,sample\n{EXAMPLE}", encoding="utf-8")
    assert perchq("calc", "lines.csv").out == perchq("calc", "-", stdin=EXAMPLE).out


def test_calc_options_reach_the_calculator(perchq: Caller) -> None:
    run = perchq(
        "calc", "--dtype", "quint8", "--scheme", "symmetric", "--convention", "pytorch", "--tensor-name", "act",
        "--ch-axis", "1", "--json", "r.json", stdin="a,-1,1,0.5\n",
    )  # fmt: skip
    assert run.code == 0
    document = json.loads(Path("r.json").read_text(encoding="utf-8"))
    settings = document["settings"]
    assert (settings["dtype"], settings["scheme"], settings["convention"]) == ("quint8", "symmetric", "pytorch")
    assert (document["tensor"]["name"], document["tensor"]["ch_axis"]) == ("act", 1)
    assert "128" in row_of(run.out, "a")
    assert perchq("calc", "--reduce-range", stdin="a,-1,1,2\n").out.count("63") >= 1


def test_calc_params_mode(perchq: Caller) -> None:
    run = perchq("calc", "--mode", "params", stdin="a,0.5,3,2\n")
    assert run.code == 0
    assert row_of(run.out, "a")[4:6] == ["0.5", "3"]


def test_bad_lines_are_listed_and_the_others_computed(perchq: Caller) -> None:
    run = perchq("calc", stdin="good,-1,1,0.5\nswapped,2,1,0.5\nshort,1\n")
    assert run.code == 1
    assert row_of(run.out, "good")
    assert "line 2: " in run.err
    assert "swapped,2,1,0.5" in run.err
    assert "line 3: missing field" in run.err
    assert "2 lines were left out" in run.err


def test_no_good_line_is_an_error(perchq: Caller) -> None:
    run = perchq("calc", stdin="a\nb,2,1,x\n")
    assert run.code == 2
    assert run.out == ""
    assert "line 1: " in run.err
    assert "line 2: " in run.err


def test_nothing_at_all_is_an_error(perchq: Caller) -> None:
    run = perchq("calc", stdin="")
    assert run.code == 2
    assert run.err.startswith("perchq: error: ")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["calc", "no-such-file.csv"], "no such file"),
        (["calc", "--dtype", "qint9"], "dtype"),
        (["calc", "--scheme", "asymmetric"], "scheme"),
        (["calc", "--convention", "tensorflow"], "convention"),
        (["calc", "--mode", "range"], "mode"),
        (["analyze", "no-such-file.npy"], "no such file"),
        (["analyze", "lines.txt"], "lines.txt"),
        (["analyze", MODEL, "--tensor", "conv9.weight"], "conv9.weight"),
        (["analyze", MODEL, "--tensor", "conv1.weight", "--ch-axis", "7"], "ch_axis"),
        (["analyze", MODEL, "--tensor", "conv1.weight", "--granularity", "row"], "granularity"),
        (["analyze", MODEL, "--tensor", "conv1.weight", "--narrow-range", "--dtype", "quint8"], "narrow_range"),
    ],
)
def test_errors_are_one_line(perchq: Caller, arguments: list[object], said: str) -> None:
    Path("lines.txt").write_text(EXAMPLE, encoding="utf-8")
    run = perchq(*arguments, stdin=EXAMPLE)
    assert run.code == 2
    assert run.out == ""
    assert run.err.startswith("perchq: error: ")
    assert said in run.err
    assert run.err.count("\n") == 1


def test_unknown_options_are_usage_errors(perchq: Caller) -> None:
    with pytest.raises(SystemExit) as ending:
        perchq("calc", "--frobnicate")
    assert ending.value.code == 2


def test_bytes_that_are_no_text_are_an_error(perchq: Caller) -> None:
    run = perchq("calc", stdin=b"\xff\xfe\x00\x80\xff")
    assert run.code == 2
    assert run.err.count("\n") == 1


def test_a_listing_where_the_tensor_is_open(perchq: Caller) -> None:
    run = perchq("analyze", MODEL)
    assert run.code == 2
    assert run.out.splitlines()[0].split()[:2] == ["conv1.bias", "float32"] or "conv1.weight" in run.out
    assert "(32, 16, 3, 3)" in run.out
    assert "--tensor NAME" in run.err


def test_an_endless_name_does_not_widen_the_listing(perchq: Caller) -> None:
    np.savez("w.npz", **{"x" * 500: np.ones(2), "short": np.ones(2), "\x1b[2J": np.ones(2)})
    lines = perchq("analyze", "w.npz").out.splitlines()
    assert sorted(map(len, lines))[-2] < 120 < len(max(lines, key=len))
    assert all(line.isprintable() for line in lines)


def test_analyze_prints_table_summary_and_findings(perchq: Caller) -> None:
    run = perchq("analyze", MODEL, "--tensor", "conv2.weight", "--csv", "c.csv")
    assert run.code == 0
    frame = pd.read_csv("c.csv")
    assert len(frame) == 32
    assert f"{frame['sqnr_db'].min():.2f}" in row_of(run.out, str(frame["sqnr_db"].idxmin()))
    assert "conv2.weight" in run.out.splitlines()[0]
    assert "wrote c.csv" in run.err


def test_analyze_takes_the_scheme_options(perchq: Caller) -> None:
    options = ["--granularity", "tensor", "--scheme", "symmetric", "--narrow-range", "--ch-axis", "-1"]
    run = perchq("analyze", MODEL, "--tensor", "fc2.weight", *options, "--json", "r.json")
    assert run.code == 0
    settings = json.loads(Path("r.json").read_text(encoding="utf-8"))["settings"]
    assert (settings["granularity"], settings["scheme"], settings["narrow_range"]) == ("tensor", "symmetric", True)
    assert settings["quant_min"] == -127
    assert "of 64 channels" in run.out


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_analyze_reads_npy(perchq: Caller, dtype: str) -> None:
    np.save("w.npy", np.linspace(-1, 1, 24, dtype=dtype).reshape(4, 6))
    run = perchq("analyze", "w.npy")
    assert run.code == 0
    assert dtype in run.out.splitlines()[0]


def test_pickles_are_not_opened(perchq: Caller) -> None:
    np.save("w.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    run = perchq("analyze", "w.npy")
    assert run.code == 2
    assert run.err.count("\n") == 1


def test_all_files_in_one_call(perchq: Caller) -> None:
    names = {"csv": "r.csv", "json": "r.json", "pdf": "r.pdf", "html": "r.html"}
    options = [text for name, path in names.items() for text in (f"--{name}", path)]
    assert perchq("calc", *options, stdin=EXAMPLE).code == 0
    assert Path("r.pdf").read_bytes().startswith(b"%PDF-")
    assert len(pd.read_csv("r.csv")) == 4
    assert json.loads(Path("r.json").read_text(encoding="utf-8"))["schema"] == "perchq.report/1"
    assert "filter_3" in Path("r.html").read_text(encoding="utf-8")


def test_files_are_replaced_only_when_asked(perchq: Caller) -> None:
    Path("r.csv").write_text("kept", encoding="utf-8")
    refused = perchq("calc", "--csv", "r.csv", "--json", "r.json", stdin=EXAMPLE)
    assert refused.code == 2
    assert "--overwrite" in refused.err
    assert Path("r.csv").read_text(encoding="utf-8") == "kept"
    assert not Path("r.json").exists()
    assert perchq("calc", "--csv", "r.csv", "--overwrite", stdin=EXAMPLE).code == 0
    assert Path("r.csv").read_text(encoding="utf-8") != "kept"


@pytest.mark.parametrize("same", ["same", "./same", "sub/../same"])
def test_one_file_cannot_take_two_formats(perchq: Caller, same: str) -> None:
    Path("sub").mkdir()
    run = perchq("calc", "--csv", "same", "--json", same, "--overwrite", stdin=EXAMPLE)
    assert run.code == 2
    assert "--csv and --json both name" in run.err
    assert run.out == ""
    assert not Path("same").exists()


@pytest.mark.parametrize("arguments", [["calc", "--csv", ""], ["analyze", ""], ["calc", " "], ["demo", "--out", ""]])
def test_an_empty_name_is_no_name(perchq: Caller, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ending:
        perchq(*arguments)
    assert ending.value.code == 2
    assert "must be the name of a file" in capsys.readouterr().err


def test_paths_that_cannot_be_written_are_refused_before_the_work(perchq: Caller) -> None:
    for path in ("a\0b", "x" * 300):
        run = perchq("calc", "--csv", path, stdin=EXAMPLE)
        assert (run.code, run.out) == (2, "")
        assert run.err.startswith("perchq: error: ")
        assert ".tmp" not in run.err
        assert run.err.count("\n") == 1


def test_a_missing_extra_is_an_error_before_the_work(perchq: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    run = perchq("calc", "--csv", "r.csv", "--pdf", "r.pdf", stdin=EXAMPLE)
    assert run.code == 2
    assert 'pip install "perchq_widget[pdf]"' in run.err
    assert not Path("r.csv").exists()


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("conv3.weight", "did you mean 'conv2.weight' or 'conv1.weight'"),
        ("C", "did you mean 'conv1.bias' or 'conv1.weight' or 'conv2.bias'?"),
        ("zzz", "without --tensor its 8 are listed"),
    ],
)
def test_an_unknown_tensor_is_answered_with_names(perchq: Caller, typed: str, said: str) -> None:
    run = perchq("analyze", MODEL, "--tensor", typed)
    assert run.code == 2
    assert said in run.err
    assert "list(source)" not in run.err


def test_what_was_wrong_with_standard_input_is_not_called_an_upload(perchq: Caller) -> None:
    assert "upload" not in perchq("calc", stdin=b"\xff,0,1,2").err


def test_a_missing_folder_is_an_error_before_the_work(perchq: Caller) -> None:
    run = perchq("calc", "--csv", "no/such/r.csv", stdin=EXAMPLE)
    assert run.code == 2
    assert run.out == ""


def test_rows_keep_the_worst_channels(perchq: Caller) -> None:
    run = perchq("analyze", MODEL, "--tensor", "fc1.weight", "--rows", "3", "--csv", "c.csv")
    worst = set(pd.read_csv("c.csv").nsmallest(3, "sqnr_db").index.astype(str))
    assert {line[3:].split()[0] for line in run.out.splitlines()[3:6]} == worst
    assert "the worst 3 of 64 channels, worst first" in run.out


@pytest.mark.parametrize(("rows", "printed"), [(0, 300), (300, 300), (250, 250), (150, 150), (7, 7)])
def test_rows_are_as_many_as_asked_for(perchq: Caller, rows: int, printed: int) -> None:
    np.save("w.npy", np.random.default_rng(5).normal(size=(300, 4)).astype(np.float32))
    lines = perchq("analyze", "w.npy", "--rows", rows).out.splitlines()
    table = lines[3 : lines.index("", 2)]
    assert [line for line in table if "of 300 channels" in line] == table[printed:]
    assert len(table) == printed + (printed < 300)


@pytest.mark.parametrize("count", ["-1", "many", "1.5"])
def test_rows_must_be_a_count(perchq: Caller, count: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        perchq("calc", f"--rows={count}")
    assert "whole number" in capsys.readouterr().err


def test_marks_name_clipped_and_noisy_rows(perchq: Caller) -> None:
    lines = perchq("calc", stdin="good,-1,1,0.5\ncut,-1,1,2\nnoisy,-1,1,0.004\n").out.splitlines()
    marks = {line[3:].split()[0]: line[:3] for line in lines[3:6]}
    assert marks == {"good": "   ", "cut": "▲▼ ", "noisy": " ▼ "}


@pytest.mark.parametrize("name", ["\x1b[31mred", "\u202eevil", "bell\x07"])
def test_names_from_files_cannot_drive_the_terminal(perchq: Caller, name: str) -> None:
    run = perchq("calc", stdin=f"{name},-1,1,5\n{name},-1,1,0.5\n{name}bad,1\n")
    assert run.code == 1
    for text in (run.out, run.err):
        assert all(line.isprintable() for line in text.splitlines())
        assert text


def test_names_in_a_tensor_file_cannot_drive_the_terminal(perchq: Caller) -> None:
    header = json.dumps({
        f"\x1b[31m{i}": {"dtype": "F32", "shape": [2], "data_offsets": [8 * i, 8 * i + 8]} for i in range(2)
    }).encode()  # fmt: skip
    Path("m.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(16))
    run = perchq("analyze", "m.safetensors")
    assert all(line.isprintable() for line in run.out.splitlines())
    assert "U+001B" in run.out


def test_bfloat16_from_safetensors(perchq: Caller) -> None:
    values = np.linspace(-1, 1, 8).astype(ml_dtypes.bfloat16)
    header = json.dumps({"w": {"dtype": "BF16", "shape": [2, 4], "data_offsets": [0, 16]}}).encode()
    Path("m.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + values.tobytes())
    run = perchq("analyze", "m.safetensors")
    assert run.code == 0
    assert "bfloat16" in run.out.splitlines()[0]


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "perchq_widget", *arguments]


def test_the_help_names_the_exit_codes() -> None:
    for arguments in ([], ["calc"], ["analyze"], ["demo"], ["lab"]):
        done = subprocess.run(command(*arguments, "--help"), capture_output=True, text=True, check=True)
        assert "exit codes:" in done.stdout
        assert "some lines of the input were bad" in done.stdout
        assert "141" in done.stdout


def test_the_version() -> None:
    done = subprocess.run(command("--version"), capture_output=True, text=True, check=True)
    assert done.stdout == "perchq 0.1.0\n"


def test_help_is_quick_and_loads_nothing_heavy() -> None:
    code = "import sys; from perchq_widget.cli.parser import build_parser; build_parser(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"pandas", "bqplot", "nbconvert", "typst"} & set(done.stdout.split())


def test_a_pipe_without_our_characters_gets_escapes() -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(
        command("calc"), input="naïve,-1,1,2\n".encode(), env=environment, capture_output=True, check=True
    )
    assert b"^" in done.stdout
    assert b"na\\xefve" in done.stdout


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_a_reader_that_leaves_early_is_no_trouble() -> None:
    lines = "".join(f"channel_{i},-1,1,0.5\n" for i in range(150))
    with subprocess.Popen(
        command("calc", "--rows", "0"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        # Closed before anything is written: every write of the command fails.
        process.stdout.close()
        process.stdin.write(lines.encode())
        process.stdin.close()
        assert process.stderr.read() == b""
        assert process.wait() == 141


@pytest.mark.skipif(os.name == "nt", reason="POSIX pipes")
def test_files_and_bad_lines_do_not_depend_on_the_reader(tmp_path: Path) -> None:
    # A pipe without a reader: the first write to it fails.
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            command("calc", "--csv", "r.csv", "--json", "r.json"), input=f"{EXAMPLE}bad,1\n".encode(),
            stdout=writing, stderr=subprocess.PIPE, cwd=tmp_path, check=False,
        )  # fmt: skip
    finally:
        os.close(writing)
    assert done.returncode == 141
    assert len(pd.read_csv(tmp_path / "r.csv")) == 4
    assert (tmp_path / "r.json").exists()
    assert done.stderr.decode().splitlines()[:2] == ["perchq: wrote r.csv", "perchq: wrote r.json"]
    assert b"line 5: " in done.stderr
    assert b"Traceback" not in done.stderr


@pytest.mark.skipif(os.name == "nt", reason="the redirections are a POSIX shell's")
@pytest.mark.parametrize(
    ("redirection", "code", "said"),
    [
        (">&-", 0, "perchq: wrote r.csv\n"),
        (">&- 2>&-", 0, ""),
        ("<&-", 2, "perchq: error: standard input is closed; name a file or give it lines: perchq calc < lines.csv\n"),
        ("2>&-", 0, ""),
    ],
)
def test_closed_streams_are_no_trouble(tmp_path: Path, redirection: str, code: int, said: str) -> None:
    line = f'"{sys.executable}" -m perchq_widget calc --csv r.csv {redirection}'
    done = subprocess.run(["sh", "-c", line], input=EXAMPLE, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert (done.returncode, done.stderr) == (code, said)
    assert (tmp_path / "r.csv").exists() == (code == 0)
    assert ("filter_3" in done.stdout) == (redirection == "2>&-")
    assert "wrote" not in done.stdout


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_behind_the_output_is_one_line() -> None:
    line = f'"{sys.executable}" -m perchq_widget calc > /dev/full'
    done = subprocess.run(["sh", "-c", line], input=EXAMPLE, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "No space left" in done.stderr


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_control_c_is_one_line() -> None:
    # The prompt for the keyboard shows that the command waits for input; a pseudo-terminal makes it appear.
    import pty

    def heed() -> None:  # a runner that was started in the background ignores interrupts, and its children with it
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    leader, follower = pty.openpty()
    pipes = {"stdin": follower, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command("calc"), **pipes, preexec_fn=heed) as process:
        assert process.stderr is not None
        assert b"keyboard" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
        assert process.wait() == 130
    os.close(leader)
    os.close(follower)
    assert rest == b"perchq: interrupted\n"


def test_the_script_is_installed() -> None:
    script = shutil.which("perchq", path=str(Path(sys.executable).parent))
    assert script is not None
    done = subprocess.run([script, "calc"], input=EXAMPLE, capture_output=True, text=True, check=True)
    assert "filter_3" in done.stdout
