"""Every element kernel, in numbers and in words: the formulas that explain it give the numbers that it computes."""

import ml_dtypes
import numpy as np
import pytest
from study.schemes import allowed_schemes, options, weights

import perchq_widget as pq
from perchq_widget.core.codec import Parameters
from perchq_widget.core.conventions import CONVENTIONS
from perchq_widget.core.elements import levels_of
from perchq_widget.core.kernels import Expanded, Formula, Kernel
from perchq_widget.core.layouts import Units

N = 10_000
DTYPES = (np.dtype(np.float32), np.dtype(ml_dtypes.bfloat16), np.dtype(np.float16))


def parameters() -> dict[str, Parameters]:
    """One set of parameters for each kernel, decoder, format's kind and working dtype that some convention has."""
    found: dict[str, Parameters] = {}
    for scheme in allowed_schemes():
        if scheme.reduce_range or scheme.narrow_range or scheme.quant_range:
            continue
        for dtype in DTYPES:
            if dtype != np.float32 and dtype not in CONVENTIONS[scheme.convention].dtypes:
                continue
            key = f"{scheme.convention}-{scheme.family}-{scheme.scheme}-{dtype.name}"
            key += f"-{scheme.dtype}" if scheme.family == "block" else ""
            key += "-tensor" if scheme.granularity == "tensor" else ""
            if key not in found and scheme.dtype not in ("bfloat16", "float16"):
                found[key] = pq.analyze(weights(2, dtype)[:, :64], **options(scheme)).qparams
    return found


PARAMETERS = parameters()


def one(qparams: Parameters, n: int) -> Expanded:
    """The parameters of the unit of that number, of shape (1, 1)."""
    where = tuple(slice(int(at), int(at) + 1) for at in np.unravel_index(n, qparams.scale.shape))
    return qparams.expand(Units(where, (1, 1)), 0)


def values(qparams: Parameters, params: Expanded) -> np.ndarray:
    """(1, N): a third on ties or a step of the working dtype beside, some beyond the ends, zeros of both signs."""
    rng = np.random.default_rng(0)
    step, shift = (0.0 if each is None else float(each.ravel()[0]) for each in (params.scale, params.origin))
    bottom, top = float(params.low.ravel()[0]), float(params.high.ravel()[0])
    beyond = 2 * qparams.grid.top_step
    level = rng.uniform(bottom - beyond, top + beyond, N)
    level[::3] = np.floor(level[::3]) + 0.5
    x = (level * step + shift).astype(np.float32)
    x[::6] = np.nextafter(x[::6], np.float32(np.inf))
    x[:4] = 0.0, -0.0, shift, -shift
    return x.astype(qparams.working_dtype)[None]


def by_formulas(formulas: tuple[Formula, ...], x: np.ndarray, known: dict[str, object]) -> np.ndarray:
    out = []
    with np.errstate(all="ignore"):
        for value in x.ravel():
            names = known | {"x": value}
            for formula in formulas:
                names[formula.name] = formula.compute(names)
            out.append(float(names[formulas[-1].name]))
    return np.array(out)


def known(qparams: Parameters, params: Expanded) -> dict[str, object]:
    names = ("scale", "inverse", "multiplier", "minimum", "origin")
    arrays = {name: getattr(params, name) for name in names if getattr(params, name) is not None}
    numbers = {name: qparams.working_dtype.type(array.ravel()[0]) for name, array in arrays.items()}
    return {**numbers, "zero_point": int(params.zero.ravel()[0]), "grid": params.grid}


@pytest.mark.parametrize("name", [name for name in PARAMETERS if not name.startswith("calculator")])
def test_formulas_equal_the_kernel(name: str) -> None:
    qparams = PARAMETERS[name]
    params = one(qparams, qparams.scale.size // 2)
    x = values(qparams, params)
    want = levels_of(x, qparams, params).ravel().astype(np.float64)
    got = by_formulas(qparams.kernel.formulas, x, known(qparams, params))
    inside = (want >= params.low.ravel()) & (want <= params.high.ravel())
    assert np.array_equal(got[inside], want[inside])
    assert inside.mean() > 0.5
    clamped = np.clip(got, params.low.ravel(), params.high.ravel())
    assert np.array_equal(clamped, np.clip(want, params.low.ravel(), params.high.ravel()))


@pytest.mark.parametrize("name", PARAMETERS)
def test_the_decoder_s_formula_equals_the_decoder(name: str) -> None:
    qparams = PARAMETERS[name]
    params = one(qparams, qparams.scale.size // 2)
    levels = np.clip(levels_of(values(qparams, params), qparams, params), params.low, params.high)
    want = np.empty_like(levels)
    qparams.decoder.values(levels, params, want)
    formula, names = qparams.decoder.formula, known(qparams, params)
    given = (names | {"clamped": level} for level in levels.astype(qparams.working_dtype).ravel()[::10])
    got = [float(formula.compute(each)) for each in given]
    assert np.array_equal(got, want.ravel()[::10].astype(np.float64))
    assert formula.name == "dequantized"


def kernels() -> dict[str, Kernel]:
    return {f"{name}: {q.kernel.name}": q.kernel for name, q in PARAMETERS.items()}


@pytest.mark.parametrize("name", kernels())
def test_formulas_end_in_a_level_and_name_what_is_known(name: str) -> None:
    formulas = kernels()[name].formulas
    assert [each.name for each in formulas].count("level") == 1
    assert formulas[-1].name == "level"
    assert kernels()[name].rounding
