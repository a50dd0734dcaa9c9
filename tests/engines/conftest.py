"""What the tests of all engines share: networks to compare on, and the reference to compare with.

Fixtures:
    layer_network: all activations, three at a time, with convolutions, poolings and layer normalisation.
    named_network: each named architecture in turn, on images of (8, 8, 3) or sequences.
    degenerate_images: pairs of examples at the edge of what the formulas allow.
    random_networks: a hypothesis strategy of :class:`Network`, to draw from with ``st.data()``.
    reference: kernel of a network by Neural Tangents; skips the test where it is not installed.
    compute: kernel of a network by any engine module.
    instruction_sets: iterates over those that this processor can run, each in force in turn.
    molecules: the first graphs of ogbg-molbace, one-hot node features; skips the test where it is absent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import strategies as st
from networks import Kernel, Network, examples

from neural_kernels import architectures as arch
from neural_kernels.engines import Engine, Kind, Precision, native_engine
from neural_kernels.graphs import Graphs, stack

TUNED: tuple[arch.Activation, ...] = (
    arch.Relu(),
    arch.Erf(),
    arch.Gelu(),
    arch.LeakyRelu(0.2),
    arch.SigmoidLike(),
    arch.ExpNormalized(gamma=0.7),
    arch.Abs(),
    arch.Identity(),
    arch.ExpNormalized(gamma=1.3, shift=-0.5),
)
# And every further one that a config can name.
ACTIVATIONS = (*TUNED, *(kind() for kind in arch.ACTIVATIONS.values() if kind not in map(type, TUNED)))
TRIPLES = [(*ACTIVATIONS, *ACTIVATIONS)[first : first + 3] for first in range(0, len(ACTIVATIONS), 3)]
NAMED: tuple[arch.Architecture, ...] = (
    arch.build("FC3"),
    arch.build("CV8"),
    arch.build("Myrtle10"),
    arch.build(
        "Myrtle",
        convs_per_pool=[1, 1],
        first_filter_size=5,
        activation="exp_normalized",
        layer_norm=True,
        global_average_pooling=False,
        dense_layers=1,
    ),
    arch.build("Conv1D", filter_size=5, activation="erf", pooling="sum"),
)


@pytest.fixture(params=TRIPLES, ids=repr)
def layer_network(request: pytest.FixtureRequest) -> Network:
    first, second, third = request.param
    layers = (
        arch.Conv(3, 1.2, 0.3),
        first,
        arch.AvgPool(2),
        arch.Conv(5, 0.9, 0.0),
        arch.LayerNorm(),
        second,
        arch.Dense(1.3, 0.1),
        third,
        arch.GlobalAvgPool(),
        arch.Dense(1.3, 0.1),
    )
    return Network(arch.Architecture("layers", layers), *examples((6, 2)))


@pytest.fixture(params=NAMED, ids=lambda architecture: architecture.name)
def named_network(request: pytest.FixtureRequest) -> Network:
    shape = (10, 4) if request.param.name == "Conv1D" else (8, 8, 3)
    return Network(request.param, *examples(shape))


@pytest.fixture(scope="session")
def degenerate_images() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """By name, two sets of the same number of images (n, 4, 4, 2), row against row."""
    x, y = (np.random.default_rng(seed).standard_normal((2, 4, 4, 2)) for seed in (1, 2))
    blank_half = x.copy()
    blank_half[:, :2] = 0
    return {
        "both zero": (0 * x, 0 * y),
        "one zero": (0 * x, y),
        "half zero": (blank_half, y),
        "opposite": (x, -x),
        "constant": (np.ones_like(x), np.full_like(x, 3.0)),
        "huge": (1e6 * x, 1e6 * y),
        "tiny": (1e-5 * x, 1e-5 * y),
        "huge and tiny": (1e6 * x, 1e-5 * y),
    }


@st.composite
def _networks(draw: st.DrawFn) -> Network:
    space = draw(st.sampled_from([(), (6,), (9,), (4, 4), (8, 8)]))
    width = st.floats(0.5, 2.0)
    bias = st.sampled_from([0.0, 0.1, 0.7])
    filters = st.sampled_from([1, 3, 5, 11])
    # Of one number alone every two are collinear, where the reference knows their angle to 1e-8 only.
    shape = (*space, draw(st.integers(2, 3)))
    layers: list[arch.Layer] = []
    for _ in range(draw(st.integers(1, 3))):
        affine = arch.Conv(draw(filters), draw(width), draw(bias)) if space else None
        layers.append(affine or arch.Dense(draw(width), draw(bias)))
        if draw(st.booleans()):
            layers.append(arch.LayerNorm())
        layers.append(draw(st.sampled_from(ACTIVATIONS)))
        if space and space[0] % 2 == 0 and draw(st.booleans()):
            layers.append(arch.AvgPool(2))
            space = tuple(size // 2 for size in space)
    layers.append(draw(st.sampled_from([arch.Flatten(), arch.GlobalAvgPool(), arch.GlobalSumPool()])))
    if draw(st.booleans()):
        layers += [arch.Dense(draw(width), draw(bias)), draw(st.sampled_from(ACTIVATIONS))]
    layers.append(arch.Dense(draw(width), draw(bias)))
    return Network(arch.Architecture("random", tuple(layers)), *examples(shape, draw(st.integers(0, 99))))


@pytest.fixture(scope="session")
def random_networks() -> st.SearchStrategy[Network]:
    return _networks()


@pytest.fixture(scope="session")
def compute() -> Kernel:
    """``compute(engine, architecture, kind, x1, x2=None, precision="float64")``."""

    def kernel(
        engine: Engine,
        architecture: arch.Architecture,
        kind: Kind,
        x1: np.ndarray,
        x2: np.ndarray | None = None,
        precision: Precision = "float64",
    ) -> np.ndarray:
        assert engine.uncovered(architecture, x1.shape[1:]) is None
        left = engine.prepare(architecture, x1, precision)
        right = None if x2 is None else engine.prepare(architecture, x2, precision)
        return engine.kernel(architecture, kind, left, right, precision)

    return kernel


@pytest.fixture(scope="session")
def reference(compute: Kernel) -> Kernel:
    """``reference(architecture, kind, x1, x2=None, precision="float64")``."""
    from neural_kernels.engines import neural_tangents_engine

    reason = neural_tangents_engine.unavailable()
    if reason is not None:
        pytest.skip(reason)
    return lambda architecture, kind, *rest, **options: compute(
        neural_tangents_engine, architecture, kind, *rest, **options
    )


@pytest.fixture
def molecules(shared_data: Callable[[str], Path]) -> Callable[[int], Graphs]:
    """``molecules(count)``: undirected bonds, and each of the nine atom features one-hot."""
    folder = shared_data("ogb/ogbg_molbace/raw")

    def table(name: str) -> np.ndarray:
        return pd.read_csv(folder / f"{name}.csv.gz", header=None).to_numpy()

    def first(count: int) -> Graphs:
        node_cuts = np.cumsum(table("num-node-list")[:count, 0])
        edge_cuts = np.cumsum(table("num-edge-list")[:count, 0])
        atoms, bonds = table("node-feat"), table("edge")[: edge_cuts[-1]]
        one_hot = np.concatenate([np.eye(column.max() + 1)[column] for column in atoms.T], axis=1)
        return stack(
            np.split(one_hot[: node_cuts[-1]], node_cuts[:-1]),
            [np.concatenate([pairs, pairs[:, ::-1]]) for pairs in np.split(bonds, edge_cuts[:-1])],
        )

    return first


@pytest.fixture
def instruction_sets(monkeypatch: pytest.MonkeyPatch) -> Callable[[], Iterator[str]]:
    """Each of the native engine's instruction sets, in force."""
    best = native_engine.instruction_set()

    def force() -> Iterator[str]:
        for name in native_engine.INSTRUCTIONS[: native_engine.INSTRUCTIONS.index(best) + 1]:
            monkeypatch.setenv("NEURAL_KERNELS_INSTRUCTIONS", name)
            yield name

    return force
