"""Features that differ by rounding are known again, and no others."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neural_kernels.graphs import Examples, Graphs, made_up
from neural_kernels.preprocessing import sketch
from neural_kernels.preprocessing.sketch import LARGEST_TOLERANCE, LEAST_TOLERANCE, Sketching, difference

RNG = np.random.default_rng(0)
IMAGES = RNG.normal(size=(30, 6, 6, 3))
GRAPHS = made_up(12, 4, RNG, mean_nodes=6)


def sketch_of(x: Examples, batch: int = 1000) -> np.ndarray:
    sketching, rows = Sketching(x), x.nodes if isinstance(x, Graphs) else x
    for start in range(0, len(rows), batch):
        sketching.add(rows[start : start + batch])
    return sketching.sketch()


@pytest.mark.parametrize("x", [IMAGES, GRAPHS], ids=["images", "graphs"])
@pytest.mark.parametrize("batch", [1, 7])
def test_batches_do_not_matter(x: Examples, batch: int) -> None:
    assert difference(sketch_of(x), sketch_of(x, batch)) < LEAST_TOLERANCE / 100


def test_rounding_is_below_the_tolerance() -> None:
    rounded = IMAGES * (1 + 5e-13 * RNG.normal(size=IMAGES.shape))
    assert 0 < difference(sketch_of(IMAGES), sketch_of(rounded)) < sketch.tolerance(0.1, 3072)
    rounded = IMAGES * (1 + 2**-52)
    assert difference(sketch_of(IMAGES), sketch_of(rounded)) < LEAST_TOLERANCE


def changed(change: Any) -> np.ndarray:
    images = IMAGES.copy()
    change(images)
    return images


@pytest.mark.parametrize(
    "other",
    [
        changed(lambda x: x.__setitem__([3, 4], x[[4, 3]])),
        changed(lambda x: x.__setitem__(29, x[29, :, ::-1])),
        changed(lambda x: x.__setitem__(7, np.roll(x[7], 1, axis=0))),
        changed(lambda x: x.__setitem__(7, -x[7])),
        changed(lambda x: x.__setitem__(7, x[7] * (1 + 1e-8))),
        changed(lambda x: x.__setitem__(7, x[7].astype(np.float32))),
        changed(lambda x: x.__setitem__((0, 0, 0, 0), np.nan)),
        IMAGES.astype(np.float32).astype(np.float64),
        IMAGES[::-1],
    ],
)
def test_what_is_more_than_rounding_in_one_example_is_noticed(other: np.ndarray) -> None:
    assert not difference(sketch_of(IMAGES), sketch_of(other)) <= LARGEST_TOLERANCE


@settings(max_examples=200, deadline=None)
@given(
    place=st.tuples(st.integers(0, 29), st.integers(0, 5), st.integers(0, 5), st.integers(0, 2)),
    other=st.tuples(st.integers(0, 5), st.integers(0, 5), st.integers(0, 2)),
    size=st.floats(1e-6, 1e3),
)
def test_two_entries_that_change_by_opposite_amounts_are_noticed(
    place: tuple[int, ...], other: tuple[int, int, int], size: float
) -> None:
    images = IMAGES.copy()
    images[place] += size
    if other != place[1:]:
        images[(place[0], *other)] -= size
    assert difference(sketch_of(IMAGES), sketch_of(images)) > LARGEST_TOLERANCE


def test_nodes_that_change_places_are_noticed() -> None:
    nodes = GRAPHS.nodes.copy()
    nodes[[1, 2]] = nodes[[2, 1]]
    other = Graphs(nodes, GRAPHS.node_offsets, GRAPHS.edges, GRAPHS.edge_offsets)
    assert GRAPHS.node_offsets[1] > 2
    found = np.abs(sketch_of(GRAPHS) - sketch_of(other)).max(axis=1)
    assert found[0] > 1e-3
    assert not found[1:].any()


def test_structure_is_of_shapes_and_edges() -> None:
    edges = GRAPHS.edges.copy()
    edges[0] = edges[0, ::-1]
    other = Graphs(GRAPHS.nodes, GRAPHS.node_offsets, edges, GRAPHS.edge_offsets)
    assert sketch.structure(other) != sketch.structure(GRAPHS)
    assert sketch.structure(GRAPHS[:]) == sketch.structure(GRAPHS)
    assert sketch.structure(IMAGES) != sketch.structure(IMAGES.reshape(30, 6, 18))


def test_examples_of_zeros_are_the_same_and_differ_from_others() -> None:
    zeros = np.zeros((2, 5))
    assert difference(sketch_of(zeros), sketch_of(zeros)) == 0
    assert difference(sketch_of(zeros), sketch_of(zeros + 1e-300)) >= 1
    assert difference(sketch_of(zeros[:0]), sketch_of(zeros[:0])) == 0


def test_weak_whitening_allows_more_but_never_float32() -> None:
    assert sketch.tolerance(None, 3072) == LEAST_TOLERANCE
    assert LEAST_TOLERANCE < sketch.tolerance(0.1, 3072) < 1e-10
    assert sketch.tolerance(1e-3, 3072) > sketch.tolerance(0.1, 3072)
    assert sketch.tolerance(0.0, 3072) == sketch.tolerance(1e-12, 3072) == LARGEST_TOLERANCE


def test_directions_are_the_same_for_ever() -> None:
    drawn = sketch._directions("features", 1000)
    assert drawn[0].tolist() == [
        -0.4617959534676903,
        0.27745727811369014,
        -0.14877902199302984,
        -0.6559929593051765,
    ]
    assert np.abs(drawn).max() < 1
    assert abs(drawn.mean()) < 0.05
    assert abs(drawn.std() - 3**-0.5) < 0.02
