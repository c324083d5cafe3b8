"""The stored model is what its card says."""

from __future__ import annotations

import csv
import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import perchq_widget as pq

MODELS = Path(__file__).parents[1] / "notebooks" / "models"


@pytest.fixture(scope="module")
def forward() -> ModuleType:
    spec = importlib.util.spec_from_file_location("digits_forward", MODELS / "digits_forward.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def card() -> dict[str, Any]:
    return dict(json.loads((MODELS / "digits.json").read_text(encoding="utf-8")))


@pytest.fixture(scope="module")
def weights() -> dict[str, Any]:
    """The tensors as the package reads them."""
    source = pq.open_source(MODELS / "digits.safetensors")
    return {name: np.array(source[name].read()) for name in source}


def test_shapes_are_the_cards(weights: dict[str, Any], card: dict[str, Any]) -> None:
    assert {name: list(value.shape) for name, value in weights.items()} == card["layers"]
    assert all(value.dtype == np.float32 for value in weights.values())


def test_accuracy_is_the_cards_and_at_least_97_percent(
    forward: ModuleType, weights: dict[str, Any], card: dict[str, Any]
) -> None:
    x_train, x_test, y_train, y_test = forward.load_split(card["split"]["seed"])
    assert len(x_test) == card["split"]["test"]
    test, train = forward.accuracy(weights, x_test, y_test), forward.accuracy(weights, x_train, y_train)
    assert test == pytest.approx(card["accuracy"]["test"], abs=5e-5)
    assert train == pytest.approx(card["accuracy"]["train"], abs=5e-5)
    assert test >= 0.97


def test_ranges_are_those_of_the_training_images(
    forward: ModuleType, weights: dict[str, Any], card: dict[str, Any]
) -> None:
    x_train, x_test, *_ = forward.load_split(card["split"]["seed"])
    seen, new = forward.conv_outputs(weights, x_train), forward.conv_outputs(weights, x_test)
    with (MODELS / "digits_ranges.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["channel"] for row in rows] == [f"{n}.{i}" for n in seen for i in range(seen[n].shape[1])]
    low = np.concatenate([values.min(axis=(0, 2, 3)) for values in seen.values()])
    high = np.concatenate([values.max(axis=(0, 2, 3)) for values in seen.values()])
    largest = np.concatenate([np.abs(values).max(axis=(0, 2, 3)) for values in new.values()])
    np.testing.assert_allclose([float(row["min"]) for row in rows], low, rtol=2e-5, atol=1e-5)
    np.testing.assert_allclose([float(row["max"]) for row in rows], high, rtol=2e-5, atol=1e-5)
    np.testing.assert_allclose([abs(float(row["sample"])) for row in rows], largest, rtol=2e-5, atol=1e-5)


def test_the_file_is_small() -> None:
    assert (MODELS / "digits.safetensors").stat().st_size < 300_000
