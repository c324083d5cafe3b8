"""Mappings and lists inside one another become names, and what cannot be is refused with a QuantError."""

from __future__ import annotations

from collections import OrderedDict, namedtuple
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest

from perchq_widget.core.errors import QuantTypeError, QuantValueError
from perchq_widget.report.reproduce import readable_file
from perchq_widget.sources.opening import open_source

W = np.ones((2, 3), np.float32)
State = namedtuple("State", "mu nu")


@pytest.mark.parametrize(
    ("tree", "names"),
    [
        ({"params": {"Dense_0": {"kernel": W, "bias": W[0]}}}, ["params.Dense_0.kernel", "params.Dense_0.bias"]),
        ({"layers": [{"w": W}, {"w": W}]}, ["layers.0.w", "layers.1.w"]),
        ({"pair": (W, W), "numbers": [1.0, 2.0], "rows": [[1, 2], [3, 4]]}, ["pair.0", "pair.1", "numbers", "rows"]),
        ({"opt": State(W, {"x": W})}, ["opt.0", "opt.1.x"]),
        ({"deep": [[[W]], []], "none": {}}, ["deep.0.0.0", "deep.1"]),
        ({0: {1: W}}, ["0.1"]),
        (MappingProxyType({"a": OrderedDict(b=W)}), ["a.b"]),
        ({"conv1.weight": W, "a/b": W}, ["conv1.weight", "a/b"]),
        ({"a": {"b": W}, "a.b": W, "c.d": W}, ["a.b", r"a\.b", "c.d"]),
        ({"a": {"b": W}, "a.b": W, r"a\.b": W}, ["a.b", r"a\.b", r"a\\\.b"]),
        ({"l": [W], "l.0": W}, ["l.[0]", r"l\.0"]),
        ({1: W, "1": W, "[1]": W}, None),
        ({"\ud800": W, r"\ud800": W}, None),
    ],
)
def test_names_say_the_way_and_are_all_different(tree: Any, names: list[str] | None) -> None:
    source = open_source(tree)
    assert len(set(source)) == (len(tree) if names is None else len(names))
    assert names is None or list(source) == names
    assert all(name.encode() for name in source)


def test_values_are_the_same_objects_memory() -> None:
    assert np.shares_memory(open_source({"a": {"b": [W]}})["a.b.0"].read(), W)


class Keyless(Mapping[str, Any]):
    def __getitem__(self, key: str) -> Any:
        raise RuntimeError("gone")

    def __iter__(self) -> Iterator[str]:
        raise OSError("no keys today")

    def __len__(self) -> int:
        return 1


class Reluctant(Keyless):
    def __iter__(self) -> Iterator[str]:
        return iter(["a"])


class Endless(Keyless):
    def __iter__(self) -> Iterator[str]:
        return iter(lambda: "a", None)

    def __getitem__(self, key: str) -> Any:
        return 1.0


def circle() -> dict[str, Any]:
    tree: dict[str, Any] = {"a": {}}
    tree["a"]["b"] = tree
    return tree


def well() -> dict[str, Any]:
    tree: dict[str, Any] = {"w": W}
    for _ in range(200):
        tree = {"a": tree}
    return tree


def unfolding() -> dict[str, Any]:
    tree: dict[str, Any] = {"w": W}
    for _ in range(40):
        tree = {"a": tree, "b": tree}
    return tree


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (circle, QuantValueError, "'a.b' holds itself"),
        (well, QuantValueError, "100 levels"),
        (Keyless, QuantTypeError, "gives no keys.*no keys today"),
        (lambda: {"a": {(1, 2): W}}, QuantTypeError, "'a' has a key of type tuple"),
        (lambda: {True: W}, QuantTypeError, "key of type bool"),
        (lambda: {10**5000: W}, QuantTypeError, "key of type int"),
    ],
)
def test_what_is_no_tree_of_names_is_refused(make: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words) as caught:
        open_source(make())
    assert str(caught.value).startswith("source: ")


def test_more_values_than_one_can_list_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("perchq_widget.sources.nested.MAX_VALUES", 1000)
    for make in (unfolding, Endless):
        with pytest.raises(QuantValueError, match="holds more than 1000 values"):
            open_source(make())


def test_a_value_that_is_not_given_out_spoils_only_itself() -> None:
    source = open_source({"good": W, "bad": Reluctant()})
    assert "cannot be taken out of its Reluctant (RuntimeError: gone)" in str(source["bad.a"].not_applicable)
    assert source["good"].read() is W
    with pytest.raises(QuantValueError, match="gone"):
        source["bad.a"].raw()


def test_lists_inside_themselves_are_no_tensor() -> None:
    ring: list[Any] = []
    ring += [ring, ring]
    shared: list[Any] = [1.0]
    for _ in range(45):
        shared = [shared, shared]
    source = open_source({"ring": ring, "shared": shared})
    assert "lists inside one another" in str(source["ring"].not_applicable)
    assert "lists inside one another" in str(source["shared"].not_applicable)


def test_the_source_of_a_record_in_memory_is_no_path(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("dict", "ndarray"):
        (tmp_path / name).mkdir()
    for record in (open_source({"w": W})["w"], open_source(W)["tensor"]):
        assert record.source.endswith(" in memory")
        assert readable_file(record.source) is None
