from __future__ import annotations

import math
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from networks import Kernel, Network

from neural_kernels import architectures as arch
from neural_kernels.engines import Kind, jax_engine


def test_each_layer_agrees_with_reference(layer_network: Network, compute: Kernel, reference: Kernel) -> None:
    network = layer_network
    for kind in ("nngp", "ntk"):
        expected = reference(network.architecture, kind, network.x1, network.x2)
        found = compute(jax_engine, network.architecture, kind, network.x1, network.x2)
        np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_named_architectures_agree_with_reference_in_both_precisions(
    named_network: Network, compute: Kernel, reference: Kernel
) -> None:
    network = named_network
    expected = reference(network.architecture, "ntk", network.x1, network.x2)
    found = compute(jax_engine, network.architecture, "ntk", network.x1, network.x2)
    single = compute(jax_engine, network.architecture, "ntk", network.x1, network.x2, "float32")
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, expected, rtol=1e-4)


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_random_networks_agree_with_reference(
    data: st.DataObject, random_networks: st.SearchStrategy[Network], compute: Kernel, reference: Kernel
) -> None:
    network = data.draw(random_networks)
    kind = data.draw(st.sampled_from(["nngp", "ntk"]))
    expected = reference(network.architecture, kind, network.x1, network.x2)
    found = compute(jax_engine, network.architecture, kind, network.x1, network.x2)
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-13 * np.abs(expected).max())


@pytest.mark.parametrize("activation", [arch.Relu(), arch.Erf(), arch.Gelu(), arch.ExpNormalized()], ids=repr)
def test_degenerate_images_agree_with_reference(
    activation: arch.Activation,
    degenerate_images: dict[str, tuple[np.ndarray, np.ndarray]],
    compute: Kernel,
    reference: Kernel,
) -> None:
    layers = (arch.Conv(3, 1.4, 0.0), activation) * 2
    network = arch.Architecture("degenerate", (*layers, arch.Flatten(), arch.Dense(1.4, 0.0)))
    left, right = (np.concatenate([pair[side] for pair in degenerate_images.values()]) for side in (0, 1))
    expected = reference(network, "ntk", left, right)
    found = compute(jax_engine, network, "ntk", left, right)
    assert np.isfinite(found).all()
    # The reference loses half its digits near c = 1 and -1, relative to the examples' own sizes.
    own = (np.diag(compute(jax_engine, network, "ntk", x)) for x in (left, right))
    close = np.abs(found - expected) <= 1e-8 * np.sqrt(np.outer(*own)) + 1e-14
    known = np.isfinite(expected)
    assert known.any()
    assert close[known].all()


@pytest.mark.parametrize("kind", ["nngp", "ntk"])
def test_identical_images_have_correlation_one(kind: Kind, compute: Kernel) -> None:
    # For ReLU at c = 1, NNGP and NTK after each layer follow in closed form from the input's variance.
    x = np.random.default_rng(0).standard_normal((50, 12))
    found = np.diag(compute(jax_engine, arch.build("FC3"), kind, x, x.copy()))
    K = np.mean(x**2, axis=1)
    T = np.zeros_like(K)
    for layer in range(4):
        K = 2 * K + 0.01
        T = 2 * T + K
        if layer < 3:
            K, T = K / 2, T / 2
    np.testing.assert_allclose(found, K if kind == "nngp" else T, rtol=1e-14)


def test_symmetric_call_is_exactly_symmetric_and_equals_the_general_one(compute: Kernel) -> None:
    network = arch.build("Myrtle", convs_per_pool=[1, 1])
    x = np.random.default_rng(3).standard_normal((11, 4, 4, 3))
    symmetric = compute(jax_engine, network, "ntk", x)
    assert (symmetric == symmetric.T).all()
    np.testing.assert_allclose(symmetric, compute(jax_engine, network, "ntk", x, x), rtol=1e-12)


def test_entries_do_not_depend_on_the_tiles(monkeypatch: pytest.MonkeyPatch, compute: Kernel) -> None:
    network = arch.build("Myrtle", convs_per_pool=[1, 1])
    random = np.random.default_rng(4)
    x1, x2 = random.standard_normal((7, 4, 4, 3)), random.standard_normal((5, 4, 4, 3))
    whole = compute(jax_engine, network, "ntk", x1, x2)
    monkeypatch.setattr(jax_engine, "_tile", lambda *_: jax_engine._Tile(2, 2))
    np.testing.assert_allclose(compute(jax_engine, network, "ntk", x1, x2), whole, rtol=1e-13)
    symmetric = compute(jax_engine, network, "ntk", x1)
    np.testing.assert_allclose(symmetric[:2], compute(jax_engine, network, "ntk", x1[:2], x1), rtol=1e-13)


def test_entries_do_not_depend_on_other_examples(compute: Kernel) -> None:
    network = arch.build("CV8", W_std=1.2)
    x1, x2 = np.random.default_rng(5).standard_normal((2, 4, 4, 4, 3))
    alone = compute(jax_engine, network, "ntk", x1[:1], x2[:1])
    x1[1:] *= 1e9
    x2[1:] = 0
    np.testing.assert_allclose(compute(jax_engine, network, "ntk", x1, x2)[:1, :1], alone, rtol=1e-13)


def test_memory_does_not_grow_with_the_call() -> None:
    from neural_kernels.engines.jax_offsets import values_per_lane

    for size in (32, 64):
        tile = jax_engine._tile(arch.build("Myrtle10"), (size, size), 3, "float64")
        lane = values_per_lane(arch.build("Myrtle10"), (size, size), 3) * 8
        assert tile.columns * lane <= jax_engine.CPU_TILE_BYTES


def test_arcsin_is_exact_to_rounding() -> None:
    import jax

    from neural_kernels.engines.jax_layers import arcsin

    x = np.concatenate([np.linspace(-1, 1, 100_001), np.geomspace(1e-300, 1, 1000), [0.5, -0.5]])
    with jax.enable_x64(True):
        found = np.asarray(arcsin(jax.numpy.asarray(x)))
    # Against extended precision: NumPy's own arcsine may be a rounding off.
    np.testing.assert_allclose(found.astype(np.longdouble), np.arcsin(x.astype(np.longdouble)), rtol=6e-16)
    single = np.asarray(arcsin(jax.numpy.asarray(x, "float32")))
    np.testing.assert_allclose(single, np.arcsin(x.astype("float32")), rtol=4e-7, atol=1e-37)
    assert math.isclose(found[100_000], math.pi / 2)


def test_activation_without_affine_layer_is_not_covered() -> None:
    twice = arch.Architecture("twice", (arch.Dense(), arch.Relu(), arch.Relu(), arch.Dense()))
    assert "layer 3, Relu" in (jax_engine.uncovered(twice, (5,)) or "")


def test_without_accelerator_jax_is_not_imported() -> None:
    code = (
        "import sys; from neural_kernels.engines import jax_engine; "
        "sys.exit(jax_engine.has_accelerator() or 'jax' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "JAX_PLATFORMS": "cpu"})


# ---------------------------------------------------------------------------------------- pieces of a kernel


@pytest.mark.parametrize("widths", [(4096, 1024), (64, 16), (8,)])
@pytest.mark.parametrize("upper", [False, True])
@pytest.mark.parametrize("n", [1, 8, 300, 5000])
def test_pieces_have_every_entry_once(n: int, upper: bool, widths: tuple[int, ...]) -> None:
    covered = np.zeros((n, n + 5000), int)
    for i, j, width in jax_engine.pieces(n, n, 256, widths, upper):
        covered[i : i + 256, j : j + width] += 1
    needed = covered[:, :n]
    assert needed.max() == 1
    assert (np.triu(needed) == np.triu(np.ones((n, n)))).all() if upper else needed.all()


def test_little_of_an_accelerators_block_is_computed_for_nothing() -> None:
    def entries(upper: bool) -> int:
        return sum(256 * width for _, _, width in jax_engine.pieces(5000, 5000, 256, (4096, 1024), upper))

    assert entries(upper=False) < 1.06 * 5000**2
    assert entries(upper=True) < 1.3 * 5000**2 / 2


@pytest.mark.parametrize("shape", [(5,), (4, 4, 1)])
def test_narrow_pieces_beside_wide_ones_change_no_entry(
    shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch, compute: Kernel
) -> None:
    network = arch.build("FC", depth=1) if len(shape) == 1 else arch.build("CNNVec", depth=1)
    x = np.random.default_rng(0).standard_normal((43, *shape))
    plain = compute(jax_engine, network, "ntk", x), compute(jax_engine, network, "ntk", x, x[:30])
    monkeypatch.setattr(jax_engine, "_widths", lambda tile: (tile.columns, 8))
    monkeypatch.setattr(jax_engine, "_shrunk", lambda *_: jax_engine._Tile(16, 32))
    cut = compute(jax_engine, network, "ntk", x), compute(jax_engine, network, "ntk", x, x[:30])
    for whole, parts in zip(plain, cut, strict=True):
        np.testing.assert_allclose(parts, whole, rtol=1e-14)
