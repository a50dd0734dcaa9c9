"""What no float can hold is refused, by its row or column, and never comes out finite and wrong."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mpmath as mp
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mpmath_reference import Example, bounds

from neural_kernels import architectures as arch
from neural_kernels.blocks import Grid, declare_store
from neural_kernels.blocks.computation import compute_block
from neural_kernels.engines import Precision, kernel_matrix, native_engine, variances
from neural_kernels.engines.native_engine import Prepared
from neural_kernels.engines.representable import rounded, untrusted
from neural_kernels.errors import UserError
from neural_kernels.graphs import stack

ENGINES = {
    name: importlib.import_module(f"neural_kernels.engines.{name}_engine")
    for name in ("native", "jax", "neural_tangents")
}
every_engine = pytest.mark.parametrize(
    "engine",
    [
        pytest.param(
            name, marks=pytest.mark.skipif(module.unavailable() is not None, reason=str(module.unavailable()))
        )
        for name, module in ENGINES.items()
    ],
)
both_precisions = pytest.mark.parametrize("precision", ["float64", "float32"])
needs_library = pytest.mark.skipif(native_engine.unavailable() is not None, reason="native engine not built")
ACTIVATIONS = ["relu", "leaky_relu", "abs", "erf", "gelu", "sigmoid_like", "exp_normalized"]
# Exponents of ten with which the square, the product of two squares, or the number itself leaves a float's range.
EXPONENTS = {
    "float64": (-320, -200, -170, -160, -120, 0, 70, 80, 150, 155, 200),
    "float32": (-44, -30, -20, -17, -12, 0, 9, 12, 17, 20, 30, 50),
}


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def entries(engine: str, network: arch.Architecture, kind: Any, x: Any, y: Any, precision: Any) -> np.ndarray:
    module = ENGINES[engine]
    with np.errstate(all="ignore"):
        return module.kernel(
            network,
            kind,
            module.prepare(network, x, precision),
            module.prepare(network, y, precision),
            precision,
        )


@every_engine
@both_precisions
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_an_entry_is_right_or_not_finite_at_any_scale(
    activation: str, precision: Precision, engine: str
) -> None:
    exponents = EXPONENTS[precision]
    x = np.array([normal(3) * 10.0**exponent for exponent in exponents])
    eps, tiny = float(np.finfo(precision).eps), float(np.finfo(precision).tiny)
    nudge = 16 * eps
    for b_std in (0.0,) if engine == "neural_tangents" else (0.0, 0.1):
        network = arch.build("FC", depth=1, b_std=b_std, activation=activation)
        found = entries(engine, network, "ntk", x, x, precision)
        ordinary = exponents.index(0)
        assert np.isfinite(found[ordinary, ordinary])
        assert not np.isfinite(found[-1]).any()
        for i, j in zip(*np.nonzero(np.isfinite(found)), strict=True):
            left, right = Example(x[i]), Example(x[j])
            exact, spread = bounds(network.layers, left, right, nudge)
            # Numbers below the smallest normal one are absolute errors.
            allowed = 64 * eps * exact.ntk_magnitude + spread["ntk"] + tiny
            assert abs(mp.mpf(float(found[i, j])) - exact.ntk) <= allowed, (
                exponents[i],
                exponents[j],
                found[i, j],
            )


@every_engine
@both_precisions
@pytest.mark.parametrize("exponent", ["largest", "smallest"])
def test_the_example_at_fault_is_named_and_the_others_are_as_without_it(
    exponent: str, precision: Precision, engine: str
) -> None:
    network = arch.build("FC", depth=2, b_std=0.0, activation="relu")
    factor = 10.0 ** {"largest": EXPONENTS[precision][-1], "smallest": EXPONENTS[precision][1]}[exponent]
    x, y = normal(5, 3), normal(4, 3, seed=1)
    expected = entries(engine, network, "ntk", x, y, precision)
    x[3] *= factor
    found = entries(engine, network, "ntk", x, y, precision)
    assert not np.isfinite(found[3]).any()
    np.testing.assert_array_equal(np.delete(found, 3, axis=0), np.delete(expected, 3, axis=0))
    options: Any = {"engine": engine, "precision": precision}
    with np.errstate(all="ignore"):
        with pytest.raises(UserError, match=f"row 3 with every column is not finite; expected .*{precision}"):
            kernel_matrix(network, x, y, **options)
        with pytest.raises(UserError, match="column 3 with every row is not finite"):
            kernel_matrix(network, y, x, **options)
        with pytest.raises(UserError, match="row 3 with column 0 is not finite"):
            variances(network, x, **options)


@pytest.mark.parametrize("engine", [name for name in ENGINES if ENGINES[name].unavailable() is None])
def test_a_small_example_is_no_mistake_beside_a_bias(engine: str) -> None:
    network = arch.build("FC", depth=1, b_std=0.1)
    x = np.concatenate([normal(2, 3), 1e-200 * normal(1, 3), np.zeros((1, 3))])
    found = kernel_matrix(network, x, engine=engine)
    np.testing.assert_array_equal(found[2], found[3])


@needs_library
@both_precisions
def test_letters_whose_squares_are_lost_are_refused(precision: Precision) -> None:
    network = arch.build("Conv1D", b_std=0.0)
    sequences = np.eye(5)[np.random.default_rng(0).integers(0, 5, (6, 12))]
    sequences[2] *= 10.0 ** EXPONENTS[precision][1]
    prepared = native_engine.prepare(network, sequences, precision)
    assert isinstance(prepared, Prepared)
    assert prepared.letters is not None
    with pytest.raises(UserError, match="row 2 with every column is not finite"):
        kernel_matrix(network, sequences, engine="native", precision=precision)


@every_engine
@both_precisions
def test_graphs_whose_variances_cannot_be_held_are_refused(precision: Precision, engine: str) -> None:
    network = arch.build("SimpleGNN", depth=2, b_std=0.0, activation="gelu")
    edges = np.array([[0, 1], [1, 0]])
    nodes = [normal(3, 2, seed=seed) for seed in range(3)]
    ordinary = kernel_matrix(network, stack(nodes, [edges] * 3), engine=engine, precision=precision)
    assert np.isfinite(ordinary).all()
    exponents = EXPONENTS[precision][-1], *([EXPONENTS[precision][1]] if engine != "neural_tangents" else [])
    for exponent in exponents:
        changed = [nodes[0], nodes[1] * 10.0**exponent, nodes[2]]
        with np.errstate(all="ignore"), pytest.raises(UserError, match="row 1 with every column"):
            kernel_matrix(network, stack(changed, [edges] * 3), engine=engine, precision=precision)


@pytest.mark.parametrize("engine", [name for name in ENGINES if ENGINES[name].unavailable() is None])
def test_an_exponential_that_overflows_is_refused(engine: str) -> None:
    layers = (arch.Dense(), arch.ExpNormalized(gamma=500.0, shift=1.0), arch.Dense())
    with np.errstate(all="ignore"), pytest.raises(UserError, match="row 0 with column 0 is not finite"):
        kernel_matrix(arch.Architecture("steep", layers), normal(3, 4), engine=engine)


def test_a_block_names_the_example_by_its_place_among_all(tmp_path: Path) -> None:
    network = arch.build("FC", depth=1)
    x = normal(12, 3)
    x[8] *= 1e200
    store = declare_store(
        tmp_path, Grid(12, 12, 6, symmetric=True), "float64", {"architecture": network.describe()}
    )
    with (
        np.errstate(all="ignore"),
        pytest.raises(UserError, match=r"block 0-1 .* column 8 with every row of this tile"),
    ):
        compute_block(store, 0, 1, network, x, x, kind="ntk", tile=2)
    assert not store.block_path(0, 1).exists()


@needs_library
@pytest.mark.parametrize("precision", ["float64", "float32"])
def test_every_instruction_set_refuses_the_same_examples(
    precision: Precision, instruction_sets: Callable[[], Iterator[str]]
) -> None:
    x = np.array([normal(3) * 10.0**exponent for exponent in EXPONENTS[precision]])
    for activation in ACTIVATIONS:
        network = arch.build("FC", depth=2, b_std=0.0, activation=activation)
        finite = [np.isfinite(entries("native", network, "ntk", x, x, precision)) for _ in instruction_sets()]
        for found in finite[1:]:
            np.testing.assert_array_equal(found, finite[0])


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(value=st.floats(allow_nan=False, allow_infinity=False))
def test_only_zero_is_rounded_to_zero(value: float) -> None:
    found = rounded(np.array([value]), "float32")
    assert found.dtype == np.float32
    assert (found[0] == 0) == (value == 0)
    if float(np.finfo(np.float32).tiny) <= abs(value) <= float(np.finfo(np.float32).max):
        assert found[0] == np.float32(value)


def test_a_sentence_names_the_row_the_column_or_the_pair() -> None:
    entries = np.ones((3, 4))
    assert untrusted(entries) is None
    entries[1, 2] = np.inf
    assert untrusted(entries) == "row 1 with column 2"
    entries[:, 2] = np.nan
    assert untrusted(entries, 10, 20) == "column 22 with every row"
    entries[2] = np.nan
    assert untrusted(entries, 10, 20) == "row 12 with every column"
