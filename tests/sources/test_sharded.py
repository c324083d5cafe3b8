"""Sharded checkpoints: a bad shard spoils only its tensors, and no name leads out of the folder."""

from __future__ import annotations

import json
from pathlib import Path

import needs
import numpy as np
import pytest
from sources.checkpoint_files import write_index, write_safetensors

from perchq_widget.core.errors import QuantValueError
from perchq_widget.sources.opening import open_source

INDEX = "model.safetensors.index.json"
A, B = np.arange(6, dtype=np.float32).reshape(2, 3), np.ones((4, 2), np.float16)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_safetensors(tmp_path / "model-00001-of-00002.safetensors", {"a": A})
    write_safetensors(tmp_path / "model-00002-of-00002.safetensors", {"b": B})
    write_index(tmp_path / INDEX, {"b": "model-00002-of-00002.safetensors", "a": "model-00001-of-00002.safetensors"})
    return tmp_path


def test_an_index_opens_its_shards_in_its_order(folder: Path) -> None:
    source = open_source(folder / INDEX)
    assert list(source) == ["b", "a"]
    assert np.array_equal(source["a"].read(), A)
    assert np.array_equal(source["b"].rows(1, 3), B[1:3])
    assert {record.source for record in source.values()} == {str(folder / INDEX)}
    assert np.array_equal(open_source(source["a"].source)["a"].read(), A)


def test_shards_may_be_links_into_a_download_cache(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    blobs = tmp_path_factory.mktemp("blobs")
    for path in list(folder.iterdir()):
        path.rename(blobs / path.name[::-1])
        path.symlink_to(blobs / path.name[::-1])
    assert np.array_equal(open_source(folder / INDEX)["a"].read(), A)
    assert list(open_source(folder)) == ["b", "a"]


@pytest.mark.parametrize(
    ("shard", "words"),
    [
        ("gone.safetensors", "its shard 'gone.safetensors' is missing from the folder"),
        ("../model-00001-of-00002.safetensors", "is no plain name"),
        ("/etc/passwd", "is no plain name"),
        ("sub\\x.safetensors", "is no plain name"),
        ("C:x.safetensors", "is no plain name"),
        ("..", "is no plain name"),
        ("", "is no plain name"),
        ("a\0b.safetensors", "is no plain name"),
        ("x" * 5000, "is no plain name"),
        ("notes.txt", "none of the kinds that are read"),
        ("folder.safetensors", "is missing from the folder"),
        ("damaged.safetensors", "its shard 'damaged.safetensors' cannot be read: .*longer than the file"),
        ("loop.safetensors", "is missing|cannot be read"),
        ("model-00001-of-00002.safetensors", "its shard 'model-00001-of-00002.safetensors' does not hold it"),
        (3, "the index names no file for it"),
    ],
)
def test_a_bad_shard_spoils_only_its_tensors(folder: Path, shard: object, words: str) -> None:
    (folder / "folder.safetensors").mkdir()
    (folder / "damaged.safetensors").write_bytes(b"12345678901")
    (folder / "loop.safetensors").symlink_to(folder / "loop.safetensors")
    write_index(folder / INDEX, {"a": "model-00001-of-00002.safetensors", "lost": shard})
    source = open_source(folder / INDEX)
    assert [record.name for record in source.applicable()] == ["a"]
    with pytest.raises(QuantValueError, match=words):
        source["lost"].read()
    with pytest.raises(QuantValueError, match=words):
        source["lost"].raw()
    assert len(str(source["lost"].not_applicable)) < 400


def test_what_the_index_does_not_name_is_listed_with_a_note(folder: Path) -> None:
    write_index(folder / INDEX, {"b": "model-00002-of-00002.safetensors", "c": "model-00001-of-00002.safetensors"})
    source = open_source(folder / INDEX)
    assert list(source) == ["b", "c", "a"]
    assert source["a"].note == "in 'model-00001-of-00002.safetensors'; the index does not name it"
    assert np.array_equal(source["a"].read(), A)


def test_a_name_in_two_shards_is_not_guessed(folder: Path) -> None:
    text = '{"weight_map": {"a": "model-00001-of-00002.safetensors", "a": "x.safetensors", "b": "x", "b": "x"}}'
    (folder / INDEX).write_text(text.replace('"x"', '"model-00002-of-00002.safetensors"'))
    source = open_source(folder / INDEX)
    assert [record.name for record in source.applicable()] == ["b"]
    assert "in 'model-00001-of-00002.safetensors' and in 'x.safetensors'" in str(source["a"].not_applicable)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is not a JSON object"),
        ("[]", "is not a JSON object"),
        ("{}", "has no weight_map"),
        ('{"weight_map": []}', "is not a JSON object"),
        ('{"weight_map": {}, "weight_map": {}}', "has two weight_maps"),
        ('{"weight_map": {"a": ' + "[" * 60_000, "nested too deeply"),
        ("[" * 1_000_000, "is not a JSON object"),
        ('{"metadata": [' + "0," * 100_000, "a value of more than 65536 characters"),
        (json.dumps({"weight_map": {str(name): 0 for name in range(1001)}}), "more than 1000 malformed entries"),
        ('{"weight_map": {"a": "gone.safetensors"}}', "cannot read its only shard: .*is missing"),
        ('{"weight_map": {"a": "gone.safetensors", "b": "x.bin"}}', "cannot read any of its 2 shards"),
        ('{"weight_map": {"a": "\xff', "is not JSON"),
    ],
)
def test_a_bad_index_is_refused_by_name(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / INDEX
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(QuantValueError, match=words) as caught:
        open_source(path)
    assert str(path) in str(caught.value)


def test_an_index_beyond_the_limit_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / INDEX
    with path.open("wb") as file:
        file.truncate(100_000_001)
    with pytest.raises(QuantValueError, match="up to 100000000 are read"):
        open_source(path)


@pytest.mark.oracle
def test_torch_shards_of_a_real_save(tmp_path: Path) -> None:
    torch = needs.oracle("torch")
    torch.save({"a": torch.from_numpy(A)}, tmp_path / "pytorch_model-00001-of-00002.bin")
    torch.save({"b": torch.from_numpy(B)}, tmp_path / "pytorch_model-00002-of-00002.bin")
    shards = {"a": "pytorch_model-00001-of-00002.bin", "b": "pytorch_model-00002-of-00002.bin"}
    index = write_index(tmp_path / "pytorch_model.bin.index.json", shards)
    for given in (index, tmp_path):
        source = open_source(given)
        assert np.array_equal(source["a"].read(), A)
        assert np.array_equal(source["b"].read(), B)
        assert source["b"].source == str(given)
    index.unlink()
    assert set(open_source(tmp_path)) == {"a", "b"}
