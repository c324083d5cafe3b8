"""Checkpoints are read by torch, weights only; what it should not see is refused before, and nothing is run."""

from __future__ import annotations

import builtins
import os
import pickle
import struct
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import needs
import numpy as np
import pytest
from sources import torch_checkpoints as made

import perchq_widget as pq
from perchq_widget.core.errors import MissingExtra, QuantValueError
from perchq_widget.sources.base import TensorSource
from perchq_widget.sources.opening import open_source

pytestmark = pytest.mark.oracle
torch = needs.oracle("torch")


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {path.name: path for path in made.seeds(tmp_path_factory.mktemp("checkpoints"))}


@pytest.fixture(scope="module", params=["archive.pt", "old.pth"])
def source(request: pytest.FixtureRequest, checkpoints: dict[str, Path]) -> TensorSource:
    return open_source(checkpoints[request.param])


def test_nested_tensors_are_listed_by_dotted_names_and_other_values_left_out(source: TensorSource) -> None:
    names = list(source)
    assert names[:3] == ["state_dict.weight", "state_dict.tied", "state_dict.view"]
    assert {"optimizer.state.0.exp_avg", "parts.0", "parts.1.inner.x"} <= set(names)
    assert not [name for name in names if name.startswith(("epoch", "note", "optimizer.param_groups"))]
    assert all(record.source == source.name for record in source.values())


def test_values_are_torchs_own(source: TensorSource) -> None:
    expected = made.contents()["state_dict"]
    for name in ("weight", "tied", "view", "half", "brain", "parameter", "tensor_codes", "channel_codes"):
        tensor = expected[name].detach()
        floats = tensor.dequantize() if tensor.is_quantized else tensor.float()
        assert np.array_equal(source[f"state_dict.{name}"].read().astype(np.float32), floats.numpy()), name
    assert np.array_equal(source["parts.1.inner.x"].read(), expected["weight"][1].numpy())
    assert source["state_dict.steps"].raw().tolist() == [0, 1, 2, 3, 4]
    assert source["state_dict.view"].rows(1, 9).shape == (2, 4)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("steps", "has integers"), ("mask", "bool"), ("sparse", "to_dense"), ("meta", "no data"), ("scalar", "rank 0"),
        ("empty", "no elements"),
    ],
)  # fmt: skip
def test_what_cannot_be_analysed_is_listed_with_the_reason(source: TensorSource, name: str, words: str) -> None:
    record = source[f"state_dict.{name}"]
    assert words in str(record.not_applicable)
    with pytest.raises(QuantValueError, match=f"tensor 'state_dict.{name}' cannot be analysed"):
        record.read()


def test_stored_codes_are_measured_as_they_are(source: TensorSource) -> None:
    for name in ("tensor_codes", "channel_codes"):
        record = source[f"state_dict.{name}"]
        assert np.array_equal(pq.analyze(record).codes(), record.stored().codes)


def test_float8_comes_through_its_bits(checkpoints: dict[str, Path]) -> None:
    assert open_source(checkpoints["floats.pt"])["w"].read().view(np.uint8).tolist() == [[0x38] * 4] * 3


def test_a_lone_tensor_is_named_after_its_file_and_a_list_counts(tmp_path: Path) -> None:
    torch.save(torch.ones(3, 2), tmp_path / "gate.pt")
    assert list(open_source(tmp_path / "gate.pt")) == ["gate"]
    torch.save([torch.ones(2), (torch.ones(2), {"x": torch.ones(3)})], tmp_path / "list.pt")
    assert list(open_source(tmp_path / "list.pt")) == ["0", "1.0", "1.1.x"]
    torch.save(
        {"a": {"b": torch.ones(2)}, "a.b": torch.ones(3), 1: torch.ones(4), (1, 2): torch.ones(5)}, tmp_path / "k.pt"
    )
    shapes = {name: record.shape for name, record in open_source(tmp_path / "k.pt").items()}
    assert shapes == {"a.b": (2,), r"a\.b": (3,), "1": (4,), "(1, 2)": (5,)}


def test_a_file_that_changed_since_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "m.pt"
    torch.save({"w": torch.ones(8)}, path)
    record = open_source(path)["w"]
    os.utime(path, ns=(1, 1))
    with pytest.raises(QuantValueError, match="has changed since"):
        record.read()


class Runs:
    """Its pickle would make a file."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> Any:
        return Path.touch, (self.trace,)


def test_nothing_is_run(tmp_path: Path) -> None:
    trace, path = tmp_path / "was run", tmp_path / "m.pt"
    for archived in (True, False):
        torch.save({"w": torch.ones(2), "x": Runs(trace)}, path, _use_new_zipfile_serialization=archived)
        with pytest.raises(QuantValueError, match=r"m\.pt: holds objects of .*pathlib.*where you trust the file"):
            open_source(path)
    for protocol, words in ((0, "no torch checkpoint"), (2, "a pickle that torch.save did not write"), (5, "a pickle")):
        path.write_bytes(pickle.dumps(Runs(trace), protocol=protocol))
        with pytest.raises(QuantValueError, match=words):
            open_source(path)
    assert not trace.exists()
    pickle.loads(pickle.dumps(Runs(trace)))  # a pickle that is not a blank
    assert trace.exists()


def test_a_whole_module_is_refused_by_the_name_of_its_class(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(2, 2), tmp_path / "m.pt")
    with pytest.raises(QuantValueError, match=r"torch\.nn\.modules\.linear\.Linear.*model\.state_dict\(\)"):
        open_source(tmp_path / "m.pt")


def test_a_class_that_the_user_let_torch_make_is_let_in(tmp_path: Path) -> None:
    torch.save({"w": torch.ones(2), "when": builtins.slice(1, 2)}, tmp_path / "m.pt")
    with pytest.raises(QuantValueError, match="slice"):
        open_source(tmp_path / "m.pt")
    with torch.serialization.safe_globals([slice, (slice, "__builtin__.slice"), (slice, "__builtin__.xrange")]):
        assert list(open_source(tmp_path / "m.pt")) == ["w"]


OTHER_FILES: dict[str, tuple[bytes, str]] = {
    "empty.bin": (b"", "is empty"),
    "lfs.bin": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n", "Git LFS pointer.*git lfs pull"),
    "page.pt": (b"\n<!DOCTYPE html><html>404</html>", "web page"),
    "safe.bin": (b"\x0a" + bytes(7) + b'{"a": {}} ', r"\.safetensors file; rename"),
    "gguf.bin": (b"GGUF\x03\0\0\0", r"GGUF file; rename"),
    "array.bin": (b"\x93NUMPY\x01\0", r"\.npy file; rename"),
    "packed.pt": (b"\x1f\x8b\x08\0", "compressed; unpack"),
    "old.tar.pt": (bytes(257) + b"ustar", "tar archive"),
    "text.bin": (b"hello", "neither an archive nor a pickle"),
    "end.pt": (b"PK\x03\x04" + bytes(100), "does not end as one.*get it again"),
}


@pytest.mark.parametrize("name", OTHER_FILES)
def test_other_files_are_named(tmp_path: Path, name: str) -> None:
    data, words = OTHER_FILES[name]
    (tmp_path / name).write_bytes(data)
    with pytest.raises(QuantValueError, match=words) as caught:
        open_source(tmp_path / name)
    assert name in str(caught.value)


def test_other_archives_are_named(tmp_path: Path) -> None:
    script = tmp_path / "script.pt"
    with zipfile.ZipFile(script, "w") as file:
        for name in ("m/data.pkl", "m/code/__torch__.py", "m/constants.pkl"):
            file.writestr(name, b"")
    with pytest.raises(QuantValueError, match=r"TorchScript.*torch\.jit\.load\(path\)\.state_dict\(\)"):
        open_source(script)
    with (tmp_path / "arrays.pt").open("wb") as file:
        np.savez(file, a=np.ones(2))
    with pytest.raises(QuantValueError, match=r"\.npz archive"):
        open_source(tmp_path / "arrays.pt")


def resized(data: bytes, name: bytes, size: int) -> bytes:
    """The archive with another size of a member in its directory."""
    entry = data.rindex(b"PK\x01\x02", 0, data.rindex(name))
    return data[: entry + 20] + struct.pack("<II", size, size) + data[entry + 28 :]


def test_archives_that_somebody_changed(tmp_path: Path) -> None:
    good, path = made.mapping(w=made.tensor()), tmp_path / "m.pt"
    data = made.archive(path, good).read_bytes()
    assert open_source(path)["w"].shape == (2, 3)
    for words, changed in {
        "compressed or encrypted": made.archive(path, good, compression=zipfile.ZIP_DEFLATED).read_bytes(),
        "not where its archive's directory says": data.replace(b"m/data/0", b"m/data/1", 1),
        "does not end as one": data[:-30],
        "does not begin with its first member": b"PK\x03\x04" + data,
        "share bytes": resized(data, b"m/data/0", 40),
        "would take 90000 bytes": resized(data, b"m/data/0", 90_000),
    }.items():
        path.write_bytes(changed)
        with pytest.raises(QuantValueError, match=words):
            open_source(path)
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("m/data.pkl", b"\x80\x02N.")
        with pytest.warns(UserWarning, match="Duplicate"):
            file.writestr("m/data.pkl", b"\x80\x02N.")
    with pytest.raises(QuantValueError, match="two members of one name"):
        open_source(path)


NESTED = b"(K\x01K\x02tq\x00" + b"".join(b"h" + bytes([k]) + b"\x86q" + bytes([k + 1]) for k in range(60))
CASES: dict[str, tuple[bytes, str]] = {
    "claims too much": (made.mapping(a=made.tensor(data=made.storage(n=2**40))), "claims 4398046511104 bytes.*has 24"),
    "no such storage": (made.mapping(a=made.tensor(data=made.storage(key="../x"))), "'../x', which is not in"),
    "negative strides": (made.mapping(a=made.tensor(stride=(-3, 1), offset=3)), "torch cannot read it"),
    "out of storage": (made.mapping(a=made.tensor(size=(2, 4), stride=(4, 1))), "torch cannot read it"),
    "overflow": (made.mapping(a=made.tensor(size=(2**62, 4))), "overflow"),
    "offset that wraps": (made.mapping(a=made.tensor(offset=2**61)), "torch cannot read it"),
    "tuples in tuples": (b"}" + NESTED + b"K\x01s", "unfold to more than 10000 parts"),
    "a huge tensor made": (made.mapping(a=made.made_by("torch.FloatTensor", made.number(2**40))), "with a size"),
    "a huge buffer made": (made.mapping(a=made.made_by("__builtin__.bytearray", made.number(2**40))), "bytearray"),
    "a codec": (made.mapping(a=made.made_by("_codecs.encode", made.text("a"), made.text("idna"))), "encodes text"),
    "a function of torch": (made.mapping(a=made.made_by("torch.load", made.text("x"))), r"objects of torch\.load"),
    "another function": (made.mapping(a=made.made_by("torch.hub.load", made.text("x"))), r"torch\.hub\.load"),
    "within itself": (b"}q\x00" + made.text("a") + b"h\x00s" + made.text("t") + made.tensor() + b"s", "holds itself"),
    "deep": (b"}" + (made.text("k") + b"}") * 300 + b"s" * 300, "100 levels"),
    "no tensors": (made.mapping(a=made.number(3)), "holds no tensors"),
    "no operand": (b"}(u.", "holds no tensors"),
    "cut": (b"}(", "makes no sense"),
    "nothing on the stack": (b"\x85", "makes no sense"),
    "an escape in a name": (b"ctorch\n\\q\n.", "objects of torch"),
    "an escape in a number": (b"I\\z\n.", "instruction INT"),
    "a name that is cut": (b"ctorch", "name of a class is cut"),
    "no such instruction": (b"\xff", "instruction 0xff"),
    "no end": (b"}", "holds no tensors"),
    "an unknown instruction": (b"\x95" + bytes(8), "pickle_protocol, 2"),
}


@pytest.mark.parametrize("case", CASES)
def test_malformed_contents_are_refused_with_the_reason(tmp_path: Path, case: str) -> None:
    value, words = CASES[case]
    path = made.archive(tmp_path / "m.pt", value)
    with pytest.raises(QuantValueError, match=words) as caught:
        open_source(path)
    assert str(path) in str(caught.value)
    assert len(str(caught.value)) < 600


def test_a_tiny_storage_expanded_to_exabytes_is_listed(tmp_path: Path) -> None:
    huge = made.tensor(size=(2**31, 2**31), stride=(0, 0))
    source = open_source(made.archive(tmp_path / "m.pt", made.mapping(huge=huge, good=made.tensor())))
    assert "repeats a few values to 18446744073709551616 bytes" in str(source["huge"].not_applicable)
    assert source["good"].read().shape == (2, 3)


def test_names_are_kept_and_told_apart(tmp_path: Path) -> None:
    surrogate = b"X\x03\x00\x00\x00\xed\xa0\x80"
    value = b"}(" + made.text("a\x1b\n../") + made.tensor() + surrogate + made.tensor() + b"K\x01" + made.tensor()
    value += made.text("1") + made.tensor() + b"u"
    assert list(open_source(made.archive(tmp_path / "m.pt", value))) == ["a\x1b\n../", r"\ud800", "[1]", "1"]


def test_every_cut_of_the_old_format_is_refused(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    data, path = checkpoints["old.pth"].read_bytes(), tmp_path / "m.pt"
    for end in range(0, len(data), 97):
        path.write_bytes(data[:end])
        with pytest.raises(QuantValueError, match=r"m\.pt"):
            open_source(path)


def test_without_torch_one_is_told_what_to_install(
    checkpoints: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtra, match=r'pip install "perchq_widget\[torch\]"'):
        open_source(checkpoints["archive.pt"])


MAPPED = """
import sys, torch
from perchq_widget.sources.opening import open_source
resident = lambda: int(open("/proc/self/statm").read().split()[1]) * 4096 / 2**20
open_source(sys.argv[1])  # imports what is needed
before = resident()
source = open_source(sys.argv[2])
opened = resident()
source["b"].read().sum()
print(opened - before, resident() - opened)
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="resident memory is read from /proc")
def test_a_large_archive_is_mapped(tmp_path: Path) -> None:
    small, large = tmp_path / "small.pt", tmp_path / "large.pt"
    torch.save({"a": torch.ones(2)}, small)
    torch.save({name: torch.ones(2048, 2048) for name in "abcd"}, large)
    ran = subprocess.run([sys.executable, "-c", MAPPED, small, large], capture_output=True, text=True, check=True)
    opened, one_read = map(float, ran.stdout.split())
    assert opened < 8
    assert one_read < 1.5 * 16
