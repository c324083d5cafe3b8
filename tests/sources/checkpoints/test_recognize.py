"""Quantized layers among other tensors: in files, in folders, beside what is damaged, and what only looks like them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from sources.checkpoint_files import write_safetensors
from sources.checkpoints.folding import check_weight, fold
from sources.checkpoints.seeds import STEM, seed_checkpoints

import perchq_widget as pq
from perchq_widget.core.errors import QuantValueError

SEEDS = seed_checkpoints()
ONLY_READ = {"experts", "fp4"}
SORTED = {"gptq_desc_act", "packed8"}


@pytest.mark.parametrize("name", SEEDS)
def test_every_layout_is_one_weight(name: str) -> None:
    tensors, config = SEEDS[name]
    (record,) = fold(tensors, config).values()
    assert record.name.startswith(STEM)
    assert record.quantized == (name not in ONLY_READ)
    assert record.n_bytes == sum(array.nbytes for array in tensors.values())
    if record.quantized:
        check_weight(record, record.read(), in_order=name not in SORTED)
    else:
        assert record.note


@pytest.mark.parametrize("name", ["gptq3", "nf4_nested", "deepseek", "modelopt_nvfp4"])
def test_files_and_folders(name: str, tmp_path: Path) -> None:
    tensors, config = SEEDS[name]
    (expected,) = fold(tensors, config).values()
    more = {"norm.weight": np.ones(8, np.float32), **tensors, "scales": np.ones((2, 3), np.float32)}
    path = write_safetensors(tmp_path / "model.safetensors", more)
    (tmp_path / "config.json").write_text(json.dumps(config))
    for opened in (path, tmp_path):
        source = pq.open_source(opened)
        assert list(source) == ["norm.weight", expected.name, "scales"]
        record = source[expected.name]
        assert record.source == str(opened)
        check_weight(record, expected.read())
        assert record.stored_as in repr(source)
    report = pq.analyze(record)
    assert report.study.range_from == "the parameters in the file"
    assert pq.analyze(record, dtype="int4").study.range_from != report.study.range_from


def test_one_damaged_layer_leaves_the_others_alone() -> None:
    good, config = SEEDS["gptq4"]
    bad = {name.replace(".0.", ".1."): array for name, array in good.items() if not name.endswith("scales")}
    records = fold({**bad, **good, "bias": np.ones(3, np.float32)}, config)
    assert list(records) == [*bad, STEM + "weight", "bias"]
    assert records[STEM + "weight"].quantized
    for name in bad:
        assert "not unpacked" in records[name].note
        with pytest.raises(QuantValueError, match="not unpacked"):
            records[name].read()


def test_methods_that_are_not_known_are_named() -> None:
    tensors = {"a.W_q": np.zeros((4, 4), np.uint8), "a.scale": np.ones(4, np.float32), "ids": np.arange(3)}
    records = fold(tensors, {"quantization_config": {"quant_method": "hqq"}})
    assert "'hqq', a layout that is not known" in records["a.W_q"].note
    assert records["a.W_q"].raw() is tensors["a.W_q"]
    assert not records["a.scale"].note
    assert not records["ids"].note


def test_a_changed_part_is_refused(tmp_path: Path) -> None:
    tensors, _ = SEEDS["int8"]
    path = write_safetensors(tmp_path / "model.safetensors", tensors)
    record = pq.open_source(path)[STEM + "weight"]
    path.write_bytes(path.read_bytes() + b" ")
    for read in (record.read, record.stored, record.raw, lambda: record.rows(0, 1)):
        with pytest.raises(QuantValueError, match="has changed since"):
            read()
