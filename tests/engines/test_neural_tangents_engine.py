from __future__ import annotations

import importlib.util
import sys

import numpy as np
import pytest
from networks import Kernel

from neural_kernels import architectures as arch
from neural_kernels.engines import neural_tangents_engine, neural_tangents_import
from neural_kernels.errors import UserError

pytestmark = pytest.mark.skipif(
    neural_tangents_engine.unavailable() is not None, reason=str(neural_tangents_engine.unavailable())
)


def test_import_brings_no_tensorflow_and_leaves_jax_as_it_was() -> None:
    import jax.core
    import jax.interpreters.ad

    before = set(vars(jax.core)), set(vars(jax.interpreters.ad))
    module = neural_tangents_import.import_neural_tangents()
    assert module.__version__ == "0.6.5"
    assert callable(module.stax.Relu)
    assert (set(vars(jax.core)), set(vars(jax.interpreters.ad))) == before
    for name in ("tensorflow", "jax.util", "neural_tangents.experimental"):
        assert name not in sys.modules


def test_names_of_older_jax_are_there_during_the_import_only() -> None:
    import jax.core

    with neural_tangents_import._names_of_older_jax():
        from jax.util import safe_map, safe_zip

        assert vars(jax.core)["Primitive"] is jax.extend.core.Primitive
        assert safe_map(max, [1, 5], [4, 2]) == [4, 5]
        with pytest.raises(ValueError, match="shorter"):
            safe_zip([1, 2], [1])
    assert not hasattr(jax.core, "Primitive")


def test_absent_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name: None if name == "frozendict" else found(name),
    )
    monkeypatch.delitem(sys.modules, "neural_tangents", raising=False)
    assert "frozendict is not installed" in (neural_tangents_engine.unavailable() or "")
    with pytest.raises(UserError, match="frozendict is not installed"):
        neural_tangents_import.import_neural_tangents()


def test_one_hidden_relu_layer_is_the_arc_cosine_kernel(compute: Kernel) -> None:
    # Cho & Saul 2009, order 1 (NNGP) and order 0 (its derivative).
    W, b = 1.3, 0.4
    network = arch.build("FC", depth=1, W_std=W, b_std=b)
    x = np.random.default_rng(0).standard_normal((6, 5))
    first = W**2 * x @ x.T / 5 + b**2
    p = np.sqrt(np.outer(np.diag(first), np.diag(first)))
    theta = np.arccos(np.clip(first / p, -1, 1))
    features = p * (np.sin(theta) + (np.pi - theta) * np.cos(theta)) / (2 * np.pi)
    slopes = (np.pi - theta) / (2 * np.pi)
    nngp = W**2 * features + b**2
    ntk = nngp + W**2 * slopes * first
    np.testing.assert_allclose(compute(neural_tangents_engine, network, "nngp", x), nngp, rtol=1e-7)
    np.testing.assert_allclose(compute(neural_tangents_engine, network, "ntk", x), ntk, rtol=1e-7)
    off_diagonal = ~np.eye(6, dtype=bool)
    found = compute(neural_tangents_engine, network, "ntk", x)
    np.testing.assert_allclose(found[off_diagonal], ntk[off_diagonal], rtol=1e-13)


def test_tiles_and_symmetry_do_not_change_the_kernel(
    monkeypatch: pytest.MonkeyPatch, compute: Kernel
) -> None:
    network = arch.build("CV8", activation="erf")
    x = np.random.default_rng(1).standard_normal((5, 4, 4, 2))
    whole = compute(neural_tangents_engine, network, "ntk", x, x)
    monkeypatch.setattr(neural_tangents_engine, "LARGEST_TILE_EDGE", 2)
    symmetric = compute(neural_tangents_engine, network, "ntk", x)
    assert (symmetric == symmetric.T).all()
    np.testing.assert_allclose(symmetric, whole, rtol=1e-12)
    np.testing.assert_allclose(
        compute(neural_tangents_engine, network, "ntk", x[:3], x), whole[:3], rtol=1e-12
    )


def test_precision_is_that_of_the_result(compute: Kernel) -> None:
    x = np.random.default_rng(2).standard_normal((3, 5))
    double = compute(neural_tangents_engine, arch.build("FC3"), "nngp", x)
    single = compute(neural_tangents_engine, arch.build("FC3"), "nngp", x, precision="float32")
    assert (double.dtype, single.dtype) == (np.dtype(np.float64), np.dtype(np.float32))
    np.testing.assert_allclose(single, double, rtol=1e-3)
    assert (single != double).any()


def test_what_it_lacks_is_said() -> None:
    bare = arch.Architecture("bare", (arch.Relu(), arch.Dense()))
    assert "layer 1, Relu" in (neural_tangents_engine.uncovered(bare, (3,)) or "")
    flat = arch.Architecture("flat", (arch.Conv(), arch.Flatten(), arch.Erf(), arch.Dense()))
    assert "layer 3, Erf" in (neural_tangents_engine.uncovered(flat, (4, 4, 3)) or "")
