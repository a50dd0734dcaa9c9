"""Simple methods: what they predict is scikit-learn's or can be said by hand; nothing is chosen on test examples."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.metrics import pairwise_distances
from sklearn.model_selection import LeaveOneOut, cross_val_predict
from sklearn.neighbors import KNeighborsRegressor

from neural_kernels.baselines import circular, methods
from neural_kernels.baselines.neighbours import COUNTS, Neighbours
from neural_kernels.graphs import Graphs, stack

RANDOM = np.random.default_rng(0)
X, NEW = RANDOM.normal(size=(60, 4)), RANDOM.normal(size=(30, 4))
Y = np.stack([np.sin(X).sum(axis=1), X[:, 0]], axis=1)


def by_name(found: list[methods.Fitted], start: str) -> methods.Fitted:
    return next(fitted for fitted in found if fitted.name.startswith(start))


def fitted(
    kind: methods.Kind | None = "numbers", y: np.ndarray = Y, classes: bool = False
) -> list[methods.Fitted]:
    return list(methods.fit_all(kind, X, y, {"test": NEW}, classes))


def test_the_mean_is_what_an_unknown_kind_has_alone() -> None:
    (mean,) = fitted(None)
    np.testing.assert_allclose(mean.predictions["test"], np.tile(Y.mean(axis=0), (30, 1)))


def test_ridge_regression_is_that_of_the_ridge_with_the_least_leave_one_out_error() -> None:
    y = Y[:, :1]
    scaled = (X - X.mean(axis=0)) / X.std(axis=0)
    errors = {
        alpha: np.mean((cross_val_predict(Ridge(alpha), scaled, y[:, 0], cv=LeaveOneOut()) - y[:, 0]) ** 2)
        for alpha in methods.RIDGES
    }
    best = Ridge(min(errors, key=errors.__getitem__)).fit(scaled, y)
    expected = best.predict((NEW - X.mean(axis=0)) / X.std(axis=0)).reshape(-1, 1)
    np.testing.assert_allclose(by_name(fitted(y=y), "Ridge").predictions["test"], expected, rtol=1e-8)


def test_neighbours_are_those_of_scikit_learn_and_as_many_as_leave_one_out_likes() -> None:
    found = Neighbours(X, Y, tanimoto=False)
    errors = {
        count: np.mean((cross_val_predict(KNeighborsRegressor(count), X, Y, cv=LeaveOneOut()) - Y) ** 2)
        for count in COUNTS
    }
    assert found.count == min(errors, key=errors.__getitem__)
    expected = KNeighborsRegressor(found.count).fit(X, Y).predict(NEW)
    np.testing.assert_allclose(found.predict(NEW), expected)


def test_tanimoto_is_one_less_jaccards_distance() -> None:
    x = (RANDOM.random((40, 30)) < 0.3) * RANDOM.random((40, 30))
    found = Neighbours(x, Y[:40], tanimoto=True)
    far = pairwise_distances(x[:7] != 0, x != 0, metric="jaccard")
    np.testing.assert_allclose(found._distances((x[:7] != 0).astype(float)), far, atol=1e-12)


def test_a_missing_value_is_no_neighbour() -> None:
    y = np.array([[0.0], [np.nan], [2.0], [4.0]])
    found = Neighbours(np.array([[0.0], [1.0], [2.0], [30.0]]), y, tanimoto=False)
    found.count = 1
    assert found.predict(np.array([[1.1]])) == 2
    found.count = 3
    assert found.predict(np.array([[1.1]])) == 2
    gaps = np.where(RANDOM.random(Y.shape) < 0.3, np.nan, Y)
    for method in fitted(y=gaps):
        assert np.isfinite(method.predictions["test"]).all()


def test_a_forest_of_classes_gives_shares_and_each_method_beats_the_mean() -> None:
    labels = (X[:, 0] > 0).astype(int) + (X[:, 1] > 1)
    targets = np.eye(3)[labels] - 1 / 3
    truth = (NEW[:, 0] > 0).astype(int) + (NEW[:, 1] > 1)
    mean, *others = fitted(y=targets, classes=True)
    forest = by_name(others, "Random").predictions["test"] + 1 / 3
    np.testing.assert_allclose(forest.sum(axis=1), 1)
    for method in others:
        right = (method.predictions["test"].argmax(axis=1) == truth).mean()
        assert right > (mean.predictions["test"].argmax(axis=1) == truth).mean(), method.name


def test_examples_that_are_all_alike_have_the_mean_alone() -> None:
    found = list(methods.fit_all("letters", np.ones((20, 3, 2)), Y[:20], {"test": np.ones((2, 3, 2))}, False))
    assert [method.name for method in found] == [methods.MEAN]


def graph(order: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A path of four atoms, the last another one, its nodes in ``order``."""
    nodes = np.array([[1, 0], [1, 0], [1, 0], [0, 1]], np.uint8)
    path = [(0, 1), (1, 2), (2, 3)]
    place = np.argsort(order)
    edges = [(place[a], place[b]) for one in path for a, b in (one, one[::-1])]
    return nodes[order], np.array(edges, np.int32)


def test_a_fingerprint_does_not_depend_on_the_order_of_nodes() -> None:
    parts = [graph(order) for order in (np.arange(4), np.array([2, 0, 3, 1]))]
    first, second = circular.fingerprints(stack(*zip(*parts, strict=True)))
    np.testing.assert_array_equal(first, second)
    # Four atoms at each of three radii.
    assert np.expm1(first).sum() == pytest.approx(4 * (circular.RADIUS + 1))
    # Two kinds of atoms; by their neighbours four kinds; by those of these, four.
    assert np.count_nonzero(first) == 2 + 4 + 4


def test_graphs_are_told_apart_by_their_edges_alone() -> None:
    nodes, edges = graph(np.arange(4))
    ring = np.concatenate([edges, [[3, 0], [0, 3]]]).astype(np.int32)
    first, second = circular.fingerprints(stack([nodes, nodes], [edges, ring]))
    assert (first != second).any()
    assert isinstance(stack([nodes], [edges]), Graphs)
