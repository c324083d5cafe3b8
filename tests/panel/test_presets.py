"""Presets by deployment target: allowed, applied in one go, told apart, and what the real tools say."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest
from panel.samples import weight

import perchq_widget as pq
from perchq_widget.core.conventions import why_not
from perchq_widget.core.errors import QuantError
from perchq_widget.core.grids import INTEGER_DTYPES
from perchq_widget.panel.app import QuantPanel
from perchq_widget.panel.moves import SCHEME_NAMES
from perchq_widget.panel.targets import PRESETS, Preset, presets_for

X = weight(128, 256)
pytestmark = pytest.mark.usefixtures("alive")


@pytest.fixture(scope="module")
def reports() -> dict[str, Any]:
    return {name: pq.analyze(X, **each.settings) for name, each in PRESETS.items()}


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_allowed_and_analyzes_a_tensor(name: str, reports: dict[str, Any]) -> None:
    preset = PRESETS[name]
    assert why_not(preset.scheme) is None
    report = reports[name]
    assert report.scheme == preset.scheme
    assert report.summary["sqnr_db"] > 10
    assert report.qparams.convention == preset.settings["convention"]


def test_presets_are_complete_frozen_and_told_apart() -> None:
    assert len({each.scheme for each in PRESETS.values()}) == len(PRESETS)
    assert len({each.title for each in PRESETS.values()}) == len(PRESETS)
    targets = ("torch", "ONNX Runtime CPU", "LiteRT", "TensorRT", "llama.cpp", "vLLM")
    assert all(any(each.title.startswith(target) for each in PRESETS.values()) for target in targets)
    for each in PRESETS.values():
        assert tuple(sorted(each.settings)) == tuple(sorted(SCHEME_NAMES))
        assert each.why.endswith(".")
        assert each.source
        assert "\n" not in each.source
        with pytest.raises(TypeError):
            each.settings["dtype"] = "int4"  # type: ignore[index]


@pytest.mark.parametrize("name", PRESETS)
def test_using_one_is_seen_in_one_piece(name: str) -> None:
    """No half-moved settings are evaluated, and the panel tells whose they are."""
    panel = pq.show(X, dtype="int4", group_size=64, clip_ratio=0.9)
    panel.state.narrow_range = True
    schemes: list[Any] = []
    report = panel._subject.report

    def counted(intent: Any) -> Any:
        found = report(intent)
        schemes.append(found.scheme)
        return found

    panel._subject.report = counted
    panel.use(name)
    assert set(schemes) == {PRESETS[name].scheme}
    assert panel.view.problem is None
    assert panel.report.scheme == PRESETS[name].scheme
    assert panel.presets.field.value == name
    assert PRESETS[name].source in panel.presets.note.value.replace("&#x27;", "'").replace("&#39;", "'")
    panel.state.clip_ratio = 0.5
    assert panel.presets.field.value == ""
    assert panel.presets.note.value == ""


def test_the_picker_sets_and_follows() -> None:
    panel = pq.show(X)
    field = panel.presets.field
    assert field.options[0] == ("custom", "")
    assert field.value == ""
    field.value = "vllm-w4a16"
    assert (panel.state.dtype, panel.state.group_size, panel.state.convention) == ("int4", 128, "compressed-tensors")
    field.value = ""  # custom is what settings become
    assert field.value == "vllm-w4a16"
    panel.state.group_size = 64
    assert field.value == ""
    panel.state.group_size = 128
    assert field.value == "vllm-w4a16"
    panel.reset()
    assert panel.state.dtype == "qint8"
    assert field.value == ""


def test_a_preset_forgets_what_was_typed_and_is_none() -> None:
    panel = pq.show(X, dtype="int4", group_size=128)
    panel.controls.fields["group_size"].value = "many"
    assert panel.view.problem is not None
    panel.use("vllm-w4a16")
    assert panel.view.problem is None
    assert panel.controls.fields["group_size"].value == "128"


def test_a_tensor_that_does_not_fit_is_said_beside_the_control() -> None:
    panel = pq.show(weight(4, 40))
    panel.use("vllm-w4a16")
    assert panel.presets.field.value == "vllm-w4a16"
    assert "must divide" in panel.controls.notes["group_size"].value
    panel.use("llama.cpp-q4_0")
    problem = panel.view.problem
    assert problem is not None
    place = panel.controls._places[problem.about]
    assert "perchq-hidden" not in place._dom_classes  # an error is seen even where the setting offers no choice
    panel.use("torch-x86-weights")
    assert panel.view.problem is None


@pytest.mark.parametrize("name", ["vllm-w4a17", "", 3, None, "custom"])
def test_a_name_that_is_none_raises_and_changes_nothing(name: Any) -> None:
    panel = pq.show(X)
    before = panel.state.intent()
    with pytest.raises(QuantError, match="preset"):
        panel.use(name)
    assert panel.state.intent() == before


def test_lines_have_the_presets_whose_settings_all_apply(panel: QuantPanel) -> None:
    presets = presets_for("calculator")
    assert [value for _, value in panel.presets.field.options[1:]] == [each.name for each in presets]
    assert {"torch-x86-weights", "vllm-w8a8"} <= {each.name for each in presets}
    for each in presets:
        assert each.settings["dtype"] in INTEGER_DTYPES
        panel.use(each.name)
        assert panel.view.problem is None
        assert panel.report.scheme == each.scheme
        assert panel.presets.field.value == each.name
    with pytest.raises(QuantError, match="preset"):
        panel.use("llama.cpp-q4_0")


def observed(observer: Any, preset: Preset) -> None:
    """A torch observer's dtype, mapping and codes are the preset's."""
    dtype, scheme = str(observer.dtype).removeprefix("torch."), str(observer.qscheme)
    assert dtype == preset.settings["dtype"]
    assert ("symmetric" in scheme) == (preset.settings["scheme"] == "symmetric")
    assert ("channel" in scheme) == (preset.settings["granularity"] == "channel")
    assert (observer.quant_min, observer.quant_max) == (preset.scheme.quant_min, preset.scheme.quant_max)


@pytest.mark.oracle
@pytest.mark.filterwarnings("ignore:Please use quant_min")
def test_torch_has_these_defaults() -> None:
    ao = pytest.importorskip("torch.ao.quantization")
    for backend in ("x86", "fbgemm"):
        default = ao.get_default_qconfig(backend)
        observed(default.weight(), PRESETS["torch-x86-weights"])
        observed(default.activation(), PRESETS["torch-x86-activations"])
    observed(ao.default_dynamic_qconfig.weight(), PRESETS["torch-dynamic-weights"])
    dynamic = pytest.importorskip("torch.ao.nn.quantized.dynamic")
    assert "reduce_range=True" in inspect.getsource(dynamic.Linear.forward)


@pytest.mark.oracle
def test_onnxruntime_has_these_defaults() -> None:
    tool = pytest.importorskip("onnxruntime.quantization")
    static = {name: each.default for name, each in inspect.signature(tool.quantize_static).parameters.items()}
    assert (str(static["weight_type"]), str(static["activation_type"])) == ("QInt8", "QInt8")
    assert (static["per_channel"], static["reduce_range"]) == (False, False)
    assert static["calibrate_method"] == tool.CalibrationMethod.MinMax


@pytest.mark.oracle
@pytest.mark.parametrize(
    ("recipe", "part", "name"),
    [
        ("static_wi8_ai8", "weight", "litert-weights"), ("dynamic_wi8_afp32", "weight", "litert-weights"),
        ("static_wi8_ai8", "activation", "litert-activations"), ("dynamic_wi4_afp32", "weight", "litert-int4"),
        ("static_wi8_ai16", "activation", "litert-activations-int16"),
        ("dynamic_wi4b32_afp32", "weight", "litert-int4-blocks"),
    ],
)  # fmt: skip
def test_ai_edge_has_these_recipes(recipe: str, part: str, name: str) -> None:
    recipes = pytest.importorskip("ai_edge_quantizer.recipe")
    found = getattr(recipes, recipe)()[0]["op_config"][f"{part}_tensor_config"]
    settings = PRESETS[name].settings
    units = {"CHANNELWISE": "channel", "TENSORWISE": "tensor", "BLOCKWISE_32": "group"}
    assert found["num_bits"] == INTEGER_DTYPES[settings["dtype"]][0]
    assert found["symmetric"] == (settings["scheme"] == "symmetric")
    assert units[found["granularity"].value] == settings["granularity"]


@pytest.mark.oracle
@pytest.mark.parametrize("name", [name for name in PRESETS if name.startswith("vllm")])
def test_compressed_tensors_has_these_schemes(name: str) -> None:
    schemes = pytest.importorskip("compressed_tensors.quantization.quant_scheme").PRESET_SCHEMES
    preset = PRESETS[name]
    key, part = preset.source.split("'")[1], preset.source.rpartition(", ")[2]
    found, settings = schemes[key][part], preset.settings
    size = tuple(found.block_structure) if found.block_structure else found.group_size
    bits = INTEGER_DTYPES.get(settings["dtype"], ({"float8_e4m3fn": 8, "nvfp4": 4, "mxfp4": 4}.get(settings["dtype"]),))
    assert found.num_bits == bits[0]
    assert (found.type == "int") == (settings["dtype"] in INTEGER_DTYPES)
    assert found.symmetric == (settings["scheme"] == "symmetric")
    assert size == settings["group_size"]
    assert str(getattr(found.strategy, "value", found.strategy)).removeprefix("tensor_") == settings["granularity"]


@pytest.mark.oracle
@pytest.mark.parametrize(
    ("config", "part", "name"),
    [
        ("INT8_DEFAULT_CFG", "weight", "tensorrt-int8-weights"),
        ("INT8_DEFAULT_CFG", "input", "tensorrt-int8-activations"),
        ("FP8_DEFAULT_CFG", "weight", "tensorrt-fp8"), ("INT4_AWQ_CFG", "weight", "tensorrt-int4"),
        ("NVFP4_DEFAULT_CFG", "weight", "tensorrt-nvfp4"),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore")
def test_model_optimizer_has_these_configurations(config: str, part: str, name: str) -> None:
    library = pytest.importorskip("modelopt.torch.quantization")
    found = next(
        each["cfg"] for each in getattr(library, config)["quant_cfg"] if each["quantizer_name"] == f"*{part}_quantizer"
    )
    settings = PRESETS[name].settings
    bits = {"qint8": 8, "int4": 4, "float8_e4m3fn": (4, 3), "nvfp4": (2, 1)}
    assert found["num_bits"] == bits[settings["dtype"]]
    assert found.get("block_sizes", {}).get(-1) == settings["group_size"]
    if settings["group_size"] is None:
        assert (found["axis"] == 0) == (settings["granularity"] == "channel")


@pytest.mark.oracle
@pytest.mark.parametrize("name", [name for name in PRESETS if name.startswith("llama.cpp")])
def test_gguf_has_these_blocks(name: str) -> None:
    gguf = pytest.importorskip("gguf")
    kind = getattr(gguf.GGMLQuantizationType, PRESETS[name].title.removeprefix("llama.cpp "))
    assert gguf.GGML_QUANT_SIZES[kind][0] == PRESETS[name].settings["group_size"]


def test_settings_given_to_show_are_recognised() -> None:
    panel = pq.show(np.ones((2, 4), np.float32), **PRESETS["tensorrt-fp8"].settings)
    assert panel.presets.field.value == "tensorrt-fp8"
