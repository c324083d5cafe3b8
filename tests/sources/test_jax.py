"""JAX's arrays and pytrees: the same bits, in shared memory."""

from __future__ import annotations

import needs
import numpy as np
import pytest

from perchq_widget.core.errors import QuantError
from perchq_widget.sources.memory import as_array
from perchq_widget.sources.opening import open_source

pytestmark = pytest.mark.oracle
jax = needs.oracle("jax")
jnp = jax.numpy


@pytest.mark.parametrize(
    "name", ["float32", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2", "float8_e4m3b11fnuz"]
)
def test_every_float_type_keeps_its_bits_and_its_memory(name: str) -> None:
    array = jnp.linspace(-4, 4, 24).reshape(4, 6).astype(name)
    taken = as_array(array)
    assert taken.dtype.name == name
    assert np.array_equal(taken.astype(np.float32), np.asarray(array.astype("float32")))
    assert taken.ctypes.data == array.unsafe_buffer_pointer()


def test_a_pytree_of_parameters() -> None:
    tree = {"params": {"Dense_0": {"kernel": jnp.ones((3, 4)), "bias": jnp.zeros(4)}}, "step": jnp.int32(3)}
    source = open_source(tree)
    assert list(source) == ["params.Dense_0.kernel", "params.Dense_0.bias", "step"]
    assert source["params.Dense_0.kernel"].shape == (3, 4)
    assert "integers (int32)" in str(source["step"].not_applicable)


def test_what_has_no_data_is_refused() -> None:
    gone = jnp.ones(3)
    gone.delete()
    key = jax.random.key(0)
    abstract = jax.ShapeDtypeStruct((2, 3), "float32")
    source = open_source({"gone": gone, "key": key, "abstract": abstract, "int4": jnp.ones(3, "int4")})
    assert [bool(record.not_applicable) for record in source.values()] == [True] * 4
    assert "has been deleted" in str(source["gone"].not_applicable)
    with pytest.raises(QuantError):
        as_array(gone)
