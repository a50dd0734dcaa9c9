"""The CUDA kernel's own source, compiled for this processor over vectors of 32 lanes, against the native engine.

What this does not exercise: races, barriers, and a card's own root of 20 bits, for which a rougher one stands.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import cuda_stub
import numpy as np
import pytest
from networks import POOL_FIRST, WINDOWS_OF_THREE, Kernel, Network

from neural_kernels import architectures as arch
from neural_kernels.engines import cuda_engine, cuda_mixed_engine, native_engine
from neural_kernels.engines.cuda.specialisation import Specialisation, specialise

pytestmark = pytest.mark.skipif(
    native_engine.unavailable() is not None, reason=f"native engine: {native_engine.unavailable()}"
)


def network(*layers: arch.Layer) -> arch.Architecture:
    return arch.Architecture("test", layers)


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


@pytest.fixture(autouse=True, scope="module")
def _stub() -> Iterator[None]:
    with cuda_stub.installed(cards=2):
        yield


THREE_RESOLUTIONS = network(
    arch.Conv(3, 1.2, 0.3),
    arch.Relu(),
    arch.Conv(3, 1.3, 0.0),
    arch.Relu(),
    arch.AvgPool(2),
    arch.Conv(5, 1.4, 0.1),
    arch.Erf(),
    arch.AvgPool(2),
    arch.Conv(3, 1.3, 0.1),
    arch.LeakyRelu(0.2),
    arch.GlobalAvgPool(),
    arch.Dense(1.3, 0.1),
    arch.Gelu(),
    arch.Dense(),
)
FLATTENED = network(arch.Conv(), arch.Relu(), arch.Conv(), arch.Gelu(), arch.Flatten(), arch.Dense())
SHAPES = {
    "three resolutions": (THREE_RESOLUTIONS, (8, 8, 3)),
    "windows of three, equal positions after them": (
        WINDOWS_OF_THREE,
        (12, 6, 2),
    ),
    "odd sizes and a filter wider than the image": (
        network(
            arch.Conv(3),
            arch.LayerNorm(),
            arch.Gelu(),
            arch.Conv(9),
            arch.Abs(),
            arch.GlobalSumPool(),
            arch.Dense(),
        ),
        (5, 7, 2),
    ),
    "equal positions, several pairs a warp": (FLATTENED, (4, 4, 2)),
    "equal positions, columns that do not divide": (
        network(
            arch.Conv(3), arch.ExpNormalized(), arch.Conv(5), arch.SigmoidLike(), arch.Flatten(), arch.Dense()
        ),
        (3, 35, 2),
    ),
    "64 columns": (
        network(
            arch.Conv(3),
            arch.SigmoidLike(),
            arch.AvgPool(4),
            arch.Conv(3),
            arch.LeakyRelu(0.2),
            arch.GlobalSumPool(),
            arch.Dense(),
        ),
        (4, 64, 1),
    ),
    "pool first, affine layers side by side": (
        POOL_FIRST,
        (6, 4, 2),
    ),
    "a single position left": (
        network(
            arch.Conv(), arch.Relu(), arch.AvgPool(4), arch.Conv(), arch.Erf(), arch.Flatten(), arch.Dense()
        ),
        (4, 4, 2),
    ),
    "a long filter on sequences, many channels": (
        network(
            arch.Conv(11),
            arch.Relu(),
            arch.AvgPool(5),
            arch.Conv(3),
            arch.Erf(),
            arch.GlobalAvgPool(),
            arch.Dense(),
        ),
        (40, 130),
    ),
    "fully connected": (arch.build("FC", depth=2, activation="gelu"), (10, 5, 3)),
    "equal positions of sequences": (
        network(
            arch.Conv(5),
            arch.Relu(),
            arch.Conv(3),
            arch.ExpNormalized(1.3, -0.5),
            arch.Flatten(),
            arch.Dense(),
        ),
        (37, 3),
    ),
}


@pytest.mark.parametrize("name", SHAPES)
def test_every_shape_agrees_with_the_native_engine(name: str, compute: Kernel) -> None:
    architecture, shape = SHAPES[name]
    x, y = normal(3, *shape), normal(5, *shape, seed=1)
    y[0], y[1] = x[1], -x[2]
    expected = compute(native_engine, architecture, "ntk", x, y)
    found = compute(cuda_engine, architecture, "ntk", x, y)
    np.testing.assert_allclose(found, expected, rtol=1e-13, atol=1e-14 * np.abs(expected).max())
    assert found.dtype == np.float64


def test_every_activation_agrees_with_the_native_engine(layer_network: Network, compute: Kernel) -> None:
    given = layer_network
    expected = compute(native_engine, given.architecture, "ntk", given.x1, given.x2)
    found = compute(cuda_engine, given.architecture, "ntk", given.x1, given.x2)
    single = compute(cuda_engine, given.architecture, "ntk", given.x1, given.x2, "float32")
    np.testing.assert_allclose(found, expected, rtol=1e-13)
    np.testing.assert_allclose(single, expected, rtol=1e-4)
    assert single.dtype == np.float32


def test_precisions_have_the_errors_that_are_stated(compute: Kernel) -> None:
    architecture = arch.build("Myrtle5")
    x = normal(5, 8, 8, 3)
    x[4] = x[0] + 1e-3 * x[1]
    different = np.s_[:4, :4]
    expected = compute(native_engine, architecture, "ntk", x)
    found = compute(cuda_engine, architecture, "ntk", x)
    single = compute(cuda_engine, architecture, "ntk", x, None, "float32")
    mixed = compute(cuda_mixed_engine, architecture, "ntk", x)
    np.testing.assert_allclose(found, expected, rtol=1e-11)
    np.testing.assert_allclose(found[different], expected[different], rtol=1e-14)
    # Of two images that nearly are the same, the tangent kernel sees the angle, that is the root of a rounding.
    np.testing.assert_allclose(single, expected, rtol=2e-4)
    np.testing.assert_allclose(mixed, expected, rtol=2e-4)
    np.testing.assert_allclose(single[different], expected[different], rtol=1e-6)
    np.testing.assert_allclose(mixed[different], expected[different], rtol=5e-7)
    assert mixed.dtype == np.float64
    assert np.abs(mixed / expected - 1).max() > 1e-12
    covariance = compute(cuda_engine, architecture, "nngp", x)
    np.testing.assert_allclose(covariance, compute(native_engine, architecture, "nngp", x), rtol=1e-13)


@pytest.mark.parametrize("activation", [arch.Relu(), arch.Gelu()], ids=repr)
def test_degenerate_images_agree_with_the_native_engine(
    activation: arch.Activation, degenerate_images: dict[str, tuple[np.ndarray, np.ndarray]], compute: Kernel
) -> None:
    layers = (arch.Conv(3, 1.4, 0.0), activation) * 2
    architecture = network(*layers, arch.Flatten(), arch.Dense(1.4, 0.0))
    left, right = (np.concatenate([pair[side] for pair in degenerate_images.values()]) for side in (0, 1))
    expected = compute(native_engine, architecture, "ntk", left, right)
    found = compute(cuda_engine, architecture, "ntk", left, right)
    # Of numbers that are nearly nothing beside the largest, the sums' roundings are left.
    scale = np.sqrt(
        np.outer(*(np.diag(compute(native_engine, architecture, "ntk", side)) for side in (left, right)))
    )
    np.testing.assert_allclose(
        found / np.where(scale, scale, 1), expected / np.where(scale, scale, 1), atol=1e-14
    )
    assert np.isfinite(found).all()


# -------------------------------------------------------------------------- one value whatever the company


COMPANIES = ["three resolutions", "equal positions, several pairs a warp", "fully connected"]


@pytest.mark.parametrize("name", COMPANIES)
def test_entries_are_the_same_bits_in_every_call_and_on_any_number_of_cards(
    name: str, compute: Kernel
) -> None:
    architecture, shape = SHAPES[name]
    x = normal(150 if name == "fully connected" else 11, *shape)
    whole = compute(cuda_engine, architecture, "ntk", x)
    np.testing.assert_array_equal(whole, whole.T)
    np.testing.assert_array_equal(
        np.triu(compute(cuda_engine, architecture, "ntk", x, x.copy())), np.triu(whole)
    )
    np.testing.assert_array_equal(compute(cuda_engine, architecture, "ntk", x[:3], x[4:9]), whole[:3, 4:9])
    for cards in (1, 3):
        with cuda_stub.installed(cards) as stub:
            np.testing.assert_array_equal(compute(cuda_engine, architecture, "ntk", x), whole)
            assert all(stub.stub_launches(card) for card in range(cards))


@pytest.mark.parametrize("name", COMPANIES)
@pytest.mark.parametrize("factor", [1e200, 1e-170])
def test_an_example_that_cannot_be_held_spoils_its_own_entries_only(
    name: str, factor: float, compute: Kernel
) -> None:
    architecture, shape = SHAPES[name]
    if factor < 1:
        architecture = network(
            *(
                dataclasses.replace(layer, b_std=0.0) if isinstance(layer, arch.Conv | arch.Dense) else layer
                for layer in architecture.layers
            )
        )
    x, y = normal(5, *shape), normal(3, *shape, seed=1)
    expected = compute(cuda_engine, architecture, "ntk", x, y)
    x[3] *= factor
    with np.errstate(all="ignore"):
        for found in (
            compute(cuda_engine, architecture, "ntk", x, y),
            compute(cuda_engine, architecture, "ntk", y, x).T,
        ):
            assert not np.isfinite(found[3]).any()
            others = np.delete(found, 3, axis=0)
            np.testing.assert_allclose(others, np.delete(expected, 3, axis=0), rtol=1e-13)
        again = compute(cuda_engine, architecture, "ntk", x, y)
    np.testing.assert_array_equal(np.delete(again, 3, axis=0), np.delete(expected, 3, axis=0))


# ------------------------------------------------------------------------------------------- what is made of it


def specialised(architecture: arch.Architecture, shape: tuple[int, ...]) -> Specialisation:
    made = specialise(architecture, shape, "ntk", "float64", 232_448)
    assert isinstance(made, Specialisation)
    return made


def test_numbers_of_an_architecture_are_no_part_of_what_is_compiled() -> None:
    one, other = (
        specialised(
            network(arch.Conv(3, width, 0.1), arch.ExpNormalized(width), arch.Flatten(), arch.Dense()),
            (8, 8, 3),
        )
        for width in (1.0, 1.3)
    )
    assert one.header == other.header
    assert not np.array_equal(one.numbers, other.numbers)


def test_offsets_that_no_entry_needs_are_not_computed() -> None:
    layers = (arch.Conv(), arch.Relu(), arch.AvgPool(2)) * 2
    pooled = specialised(network(*layers, arch.GlobalAvgPool(), arch.Dense()), (16, 16, 3))
    flattened = specialised(network(*layers, arch.Flatten(), arch.Dense()), (16, 16, 3))
    assert [stage.counts for stage in pooled.stages] == [(8, 8), (4, 4), (4, 4)]
    assert [stage.counts for stage in flattened.stages] == [(5, 5), (2, 2), (1, 1)]


@pytest.mark.parametrize(
    ("architecture", "shape", "reason"),
    [
        (arch.build("SimpleGNN"), (None, 5), "graphs"),
        (arch.build("CV8"), (8, 65, 3), "images of more than 64 columns"),
        (network(*(arch.Conv(), arch.Relu()) * 81, arch.Flatten()), (4, 4, 1), "more than 80 layers"),
        (network(arch.Dense(), arch.Relu(), arch.Relu(), arch.Flatten()), (4, 4, 1), "Relu without"),
    ],
)
def test_what_is_not_covered_is_named(
    architecture: arch.Architecture, shape: tuple[int, ...], reason: str
) -> None:
    assert reason in str(cuda_engine.uncovered(architecture, shape))
