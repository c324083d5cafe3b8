"""A source is a mapping of records, whatever it was opened from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sources.gguf_files import IDS, build, info

from perchq_widget.core.errors import QuantTypeError, QuantValueError
from perchq_widget.sources.base import TensorSource, near_names
from perchq_widget.sources.opening import open_source

KINDS = ("npz", "gguf")
MODEL = {
    "conv1.weight": np.ones((16, 1, 3, 3), np.float32),
    "steps": np.array(3),
    "codes": np.ones((2, 2), np.int8),
    "bias": np.zeros(16, np.float16),
    "note": "text",
}


def test_a_mapping_lists_all_and_marks_what_cannot_be_analysed() -> None:
    source = open_source(MODEL)
    assert list(source) == list(MODEL)
    assert [record.name for record in source.applicable()] == ["conv1.weight", "bias"]
    record = source["conv1.weight"]
    assert (record.shape, record.dtype, record.n_bytes, record.ch_axis) == ((16, 1, 3, 3), "float32", 576, 0)
    assert "output channels" in record.ch_axis_reason
    assert source["bias"].ch_axis_reason == "the only axis"
    assert record.read() is MODEL["conv1.weight"]
    assert source["codes"].shape == (2, 2)
    with pytest.raises(QuantValueError, match=r"dict in memory: tensor 'codes' cannot be analysed: it has integers"):
        source["codes"].read()
    assert "must be an array" in str(source["note"].not_applicable)


def test_the_repr_lists_the_tensors_and_stays_short() -> None:
    text = repr(open_source(MODEL))
    assert "'conv1.weight'  float32 (16, 1, 3, 3)  ch_axis 0" in text
    assert "'codes'  int8 (2, 2)  [it has integers" in text
    many = repr(open_source({f"layer{place}": np.ones(2) for place in range(50)}))
    assert many.count("\n") == 21
    assert many.endswith("and 30 more")


def test_the_repr_shows_no_control_characters_and_no_endless_names(tmp_path: Path) -> None:
    path = tmp_path / "\x1b[2J\n.npy"
    np.save(path, np.ones(2))
    source = open_source({"x" * 10_000: np.ones(2), "\x1b[2J": np.ones(2)})
    for shown in (repr(open_source(path)), repr(source), repr(TensorSource([], name=str(path), kind="evil"))):
        assert all(line.isprintable() and len(line) < 400 for line in shown.split("\n"))


def test_only_so_many_short_names_are_compared_with_an_unknown_one() -> None:
    many = [f"layer{place}" for place in range(3000)]
    assert near_names("laye7", many, 1) == ["layer7"]
    assert near_names("layr2999", many, 9) != []
    assert "layer2999" not in near_names("layr2999", many, 3000)
    assert near_names("y" * 10_000, ["y" * 9_999], 1) == []


def test_an_unknown_name_suggests_one_and_is_a_key_error() -> None:
    source = open_source(MODEL)
    assert "conv2.weight" not in source
    assert source.get("conv2.weight") is None
    with pytest.raises(
        QuantValueError, match=r"no tensor 'conv1\.weigth' in dict; did you mean 'conv1\.weight'\?"
    ) as caught:
        source["conv1.weigth"]
    assert isinstance(caught.value, KeyError)


def test_a_closed_source_says_so() -> None:
    with open_source(MODEL) as source:
        record = source["bias"]
    source.close()
    assert repr(source) == "<TensorSource dict (closed)>"
    assert record.read().shape == (16,)
    for use in (len, list, TensorSource.__enter__):
        with pytest.raises(QuantValueError, match="closed; open it again"):
            use(source)  # type: ignore[operator]


def test_a_source_and_a_single_array() -> None:
    source = open_source(np.ones((2, 3)))
    assert open_source(source) is source
    assert list(source) == ["tensor"]
    with pytest.raises(QuantValueError, match="no elements"):
        open_source(np.ones((2, 0)))
    with pytest.raises(QuantTypeError, match="got int"):
        open_source(3)
    with pytest.raises(QuantTypeError, match=r"names must be text, or whole numbers.*it has a key of type float"):
        open_source({1.5: np.ones(2)})


def test_files_that_are_missing_or_of_another_kind(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no such file: .*model\.safetensors"):
        open_source(tmp_path / "model.safetensors")
    with pytest.raises(QuantValueError, match=r"no such file: weights \(in "):
        open_source("weights")
    with pytest.raises(QuantValueError, match="holds no file that is read"):
        open_source(tmp_path)
    for name, words in {"m.pt": "is empty", "m.h5": r"\.npy, \.npz, \.safetensors, \.index\.json"}.items():
        path = tmp_path / name
        path.touch()
        with pytest.raises(QuantValueError, match=words):
            open_source(path)


def test_one_record_is_a_source_of_itself() -> None:
    record = open_source(MODEL)["conv1.weight"]
    source = open_source(record)
    assert dict(source) == {"conv1.weight": record}
    assert source["conv1.weight"].read() is MODEL["conv1.weight"]


@pytest.mark.parametrize("ends", [(0, 0), (5, 2), (2, 99), (-3, -1), (-99, 2), (50, 60), (0, 99)])
def test_ends_of_rows_are_those_of_a_slice(ends: tuple[int, int], tmp_path: Path) -> None:
    """Of a reader that decodes the rows asked for, too, which cannot decode nothing."""
    array = np.arange(12, dtype=np.float32).reshape(6, 2)
    np.savez(tmp_path / "w.npz", w=array)
    (tmp_path / "w.gguf").write_bytes(build([info("w", (32, 6), IDS["Q4_0"], 0)], data=bytes(range(108)) + bytes(20)))
    for record in (open_source({"w": array})["w"], *(open_source(tmp_path / f"w.{kind}")["w"] for kind in KINDS)):
        rows, expected = record.rows(*ends), record.read()[slice(*ends)]
        assert (rows.shape, rows.dtype) == (expected.shape, expected.dtype)
        assert rows.tobytes() == expected.tobytes()


@pytest.mark.parametrize("nothing", [None, "", "  ", b"weights"], ids=repr)
def test_what_is_no_source_is_not_the_working_folder(nothing: object) -> None:
    with pytest.raises(QuantTypeError, match="source must be a path, an array, a module or a mapping"):
        open_source(nothing)
