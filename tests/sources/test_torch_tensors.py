"""torch tensors share their memory; what has no plain memory is refused with the call that helps."""

from __future__ import annotations

import warnings
from typing import Any

import needs
import numpy as np
import pytest

from perchq_widget.core.errors import QuantError
from perchq_widget.sources.memory import as_array
from perchq_widget.sources.opening import open_source

pytestmark = pytest.mark.oracle
torch = needs.oracle("torch")


def bits(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.ascontiguousarray(array).view(f"u{array.dtype.itemsize}")


@pytest.mark.parametrize(
    "name",
    ["float16", "bfloat16", "float32", "float64", "float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz"],
)
def test_every_float_type_keeps_its_bits_and_its_memory(name: str) -> None:
    tensor = torch.linspace(-4, 4, 24).reshape(4, 6).to(getattr(torch, name))
    for view in (tensor, tensor.t(), tensor[1:, ::2], torch.nn.Parameter(tensor), tensor.expand(2, 4, 6)):
        array = as_array(view)
        assert array.dtype.name == name
        assert array.shape == tuple(view.shape)
        assert array.__array_interface__["data"][0] == view.data_ptr()
        assert np.array_equal(array.astype(np.float32), view.detach().float().numpy())


def test_writes_to_the_tensor_are_seen() -> None:
    tensor = torch.zeros(2, 3, dtype=torch.bfloat16)
    array = as_array(tensor.t())
    tensor[1, 2] = 7
    assert float(array[2, 1]) == 7


def test_gradients_and_negated_views_are_taken_as_values() -> None:
    leaf = torch.ones(3, requires_grad=True)
    assert as_array(leaf * 2).tolist() == [2, 2, 2]
    view = torch.tensor([1 + 2j]).conj().imag
    assert view.is_neg()
    assert as_array(view).tolist() == [-2]


def refused() -> list[tuple[str, Any, str]]:
    dense = torch.eye(3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns about the age or the youth of these
        csr = dense.to_sparse_csr()
        quantized = torch.quantize_per_tensor(dense, 0.1, 0, torch.qint8)
        nested = torch.nested.nested_tensor([dense, dense[:2]])
    return [
        ("sparse", dense.to_sparse(), r"layout sparse_coo; call tensor\.to_dense\(\)"),
        ("csr", csr, r"call tensor\.to_dense\(\)"),
        ("quantized", quantized, r"call tensor\.dequantize\(\)"),
        ("nested", nested, r"tensor\.unbind\(\)"),
        ("meta", dense.to("meta"), "no data"),
        ("int8", dense.to(torch.int8), r"integers \(int8\).*tensor\.float\(\)"),
        ("bool", dense > 0, r"bool.*tensor\.float\(\)"),
        ("complex", dense.cfloat(), r"complex.*tensor\.real"),
        ("rank 0", dense.sum(), "rank 0"),
        ("empty", dense[:0], r"no elements \(shape \(0, 3\)\)"),
        ("list", [dense.requires_grad_()], "makes no array"),
        ("module", torch.nn.Linear(2, 2), "give one of its tensors"),
    ]


@pytest.mark.parametrize(("obj", "words"), [case[1:] for case in refused()], ids=[case[0] for case in refused()])
def test_the_rest_is_refused_with_the_call_that_helps(obj: Any, words: str) -> None:
    with pytest.raises(QuantError, match=words):
        as_array(obj)


def test_another_device_is_refused() -> None:
    class Elsewhere(torch.Tensor):  # type: ignore[misc]
        device = torch.device("cuda:1")

    with pytest.raises(QuantError, match=r"on the device cuda:1; call tensor\.cpu\(\)"):
        as_array(torch.ones(2).as_subclass(Elsewhere))


def test_a_tensor_without_real_storage_is_refused() -> None:
    from torch._subclasses import FakeTensorMode

    with FakeTensorMode():
        fake = torch.ones(2, 3)
    with pytest.raises(QuantError, match=r"FakeTensor.*plain tensor"):
        as_array(fake)


def test_a_module_lists_parameters_and_buffers_with_their_channel_axes() -> None:
    model = torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.ConvTranspose2d(4, 2, 3), torch.nn.Linear(5, 3)
    )
    source = open_source(model)
    assert list(source)[:3] == ["0.weight", "0.bias", "1.weight"]
    assert {name: source[name].ch_axis for name in ("0.weight", "2.weight", "3.weight")} == {
        "0.weight": 0,
        "2.weight": 1,
        "3.weight": 0,
    }
    assert "ConvTranspose2d" in source["2.weight"].ch_axis_reason
    assert source["1.running_mean"].shape == (4,)
    counter = source["1.num_batches_tracked"]
    assert counter.dtype == "int64"
    assert "integers" in str(counter.not_applicable)
    assert np.shares_memory(source["0.weight"].read(), model[0].weight.detach().numpy())
    assert list(open_source(model.state_dict()))
    assert "num_batches_tracked" in repr(source)


def test_a_lone_transposed_convolution() -> None:
    assert open_source(torch.nn.ConvTranspose1d(4, 2, 3))["weight"].ch_axis == 1


class Odd(torch.Tensor):  # type: ignore[misc]
    """Answers nothing."""

    @classmethod
    def __torch_function__(cls, function: Any, kinds: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise ValueError("no answer")


def test_what_cannot_be_viewed_is_listed_beside_the_rest() -> None:
    tensors = {name: obj for name, obj, _ in refused() if name not in ("list", "module")}
    source = open_source({**tensors, "odd": torch.eye(3).as_subclass(Odd), "good": torch.eye(3)})
    unusable = [name for name, record in source.items() if record.not_applicable]
    assert set(unusable) == {*tensors, "odd"} - {"quantized"}  # that one brings its codes
    assert source["sparse"].shape == source["meta"].shape == (3, 3)
    assert source["nested"].shape == ()  # it has none that holds for all parts
    assert "no answer" in str(source["odd"].not_applicable)
    for name in unusable:
        with pytest.raises(QuantError):
            source[name].read()
    assert source["int8"].raw().dtype == np.int8
    assert source["complex"].raw().dtype == np.complex64
