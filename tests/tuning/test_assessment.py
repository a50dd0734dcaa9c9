"""A candidate's value against the same computed directly."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from neural_kernels.architectures import build
from neural_kernels.engines import Precision, kernel_matrix, rate
from neural_kernels.metrics.objectives import OBJECTIVES, objective_named
from neural_kernels.preprocessing.features import Part
from neural_kernels.preprocessing.targets import one_hot
from neural_kernels.tuning.assessment import Computation, TooCostly, Unusable, assess
from neural_kernels.tuning.candidate import Candidate

RIDGES = (1e-6, 1e-3, 1e-1, 10.0)


def part(n: int, seed: int, shift: float = 0.0) -> Part:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, n)
    features = rng.normal(size=(n, 4, 4, 2)) + labels[:, None, None, None] * 0.5 + shift
    return Part(features, one_hot(labels, 3), labels)


PARTS = {"train": part(24, 0), "validation": part(15, 1), "held_out": part(11, 2)}
CANDIDATE = Candidate(
    {"name": "Myrtle", "convs_per_pool": [1, 1], "activation": "gelu"}, "nngp", {"method": "none"}
)


def predictions(ridge: float, precision: Precision = "float64", parts: Any = PARTS) -> Iterator[np.ndarray]:
    """On validation and held_out, with dense NumPy."""
    architecture, x = build(**CANDIDATE.architecture), parts["train"].features
    kernel = kernel_matrix(architecture, x, kind="nngp", precision=precision).astype(np.float64)
    kernel += ridge * np.mean(np.diag(kernel)) * np.eye(len(x))
    solved = np.linalg.solve(kernel, parts["train"].targets)
    for name in ("validation", "held_out"):
        rows = kernel_matrix(architecture, parts[name].features, x, kind="nngp", precision=precision)
        yield rows.astype(np.float64) @ solved


@pytest.mark.parametrize("precision", ["float64", "float32"])
@pytest.mark.parametrize("name", ["loss", "accuracy"])
def test_the_best_ridge_by_the_objective_and_what_it_predicts(name: str, precision: Precision) -> None:
    found = assess(CANDIDATE, PARTS, OBJECTIVES[name], Computation("auto", precision, RIDGES))
    values = {}
    for ridge in RIDGES:
        rows, _ = predictions(ridge, precision)
        targets, labels = PARTS["validation"].targets, PARTS["validation"].labels
        accuracy = np.mean(rows.argmax(axis=1) == labels)
        values[ridge] = accuracy if name == "accuracy" else np.mean((rows - targets) ** 2)
    best = max(values.values()) if name == "accuracy" else min(values.values())
    assert found.value == pytest.approx(best, rel=1e-4 if precision == "float32" else 1e-9)
    # Of equals the larger ridge.
    assert found.ridge == max(
        ridge for ridge, value in values.items() if value == pytest.approx(best, rel=1e-6)
    )
    assert found.ridge_at_edge == (found.ridge in (RIDGES[0], RIDGES[-1]))
    assert found.scores["validation"][name] == found.value
    _, held_out = predictions(found.ridge, precision)
    expected = np.mean((held_out - PARTS["held_out"].targets) ** 2)
    assert found.scores["held_out"]["loss"] == pytest.approx(
        expected, rel=1e-3 if precision == "float32" else 1e-9
    )
    assert found.engine in ("native", "jax")


@pytest.mark.parametrize("name", ["loss", "accuracy"])
def test_leaving_out_judges_by_refits_without_the_validation_examples(name: str) -> None:
    found = assess(CANDIDATE, PARTS, OBJECTIVES[name], Computation("auto", "float64", RIDGES), "loo")
    other = PARTS | {"validation": part(15, 9)}
    again = assess(CANDIDATE, other, OBJECTIVES[name], Computation("auto", "float64", RIDGES), "loo")
    assert (again.value, again.ridge) == (found.value, found.ridge)
    x, targets, labels = PARTS["train"].features, PARTS["train"].targets, PARTS["train"].labels
    kernel = kernel_matrix(build(**CANDIDATE.architecture), x, kind="nngp")
    values = {}
    for ridge in RIDGES:
        shifted = kernel + ridge * np.mean(np.diag(kernel)) * np.eye(24)
        rows = np.empty((24, 3))
        for i in range(24):
            others = np.arange(24) != i
            rows[i] = kernel[i, others] @ np.linalg.solve(shifted[np.ix_(others, others)], targets[others])
        accuracy = np.mean(rows.argmax(axis=1) == labels)
        values[ridge] = accuracy if name == "accuracy" else np.mean((rows - targets) ** 2)
    best = max(values.values()) if name == "accuracy" else min(values.values())
    assert found.value == pytest.approx(best)
    assert found.ridge == max(ridge for ridge, value in values.items() if value == pytest.approx(best))
    assert set(found.scores) == {"validation", "held_out"}


def test_a_regression_is_judged_by_its_mean_squared_error() -> None:
    def values(name: str) -> np.ndarray:
        x = PARTS[name].features
        assert isinstance(x, np.ndarray)
        return np.stack([x.sum(axis=(1, 2, 3)), x[:, 0, 0, 0]], axis=1) / 10

    parts = {name: Part(one.features, values(name), values(name)) for name, one in PARTS.items()}
    found = assess(CANDIDATE, parts, OBJECTIVES["mse"], Computation("auto", "float64", RIDGES))
    direct = {
        ridge: np.mean((next(predictions(ridge, parts=parts)) - parts["validation"].targets) ** 2)
        for ridge in RIDGES
    }
    assert found.value == pytest.approx(min(direct.values()), rel=1e-9)
    assert found.ridge == min(direct, key=lambda ridge: direct[ridge])
    assert "spearman" in found.scores["held_out"]


def test_what_is_only_predicted_changes_nothing() -> None:
    objective, computation = OBJECTIVES["loss"], Computation("auto", "float64", RIDGES)
    alone = assess(CANDIDATE, {k: v for k, v in PARTS.items() if k != "held_out"}, objective, computation)
    other = assess(CANDIDATE, {**PARTS, "held_out": part(9, 7, shift=100.0)}, objective, computation)
    assert (alone.value, alone.ridge) == (other.value, other.ridge)
    assert alone.scores["validation"] == other.scores["validation"]


@pytest.mark.parametrize(
    ("candidate", "features", "ridges", "sentence"),
    [
        ({"name": "Myrtle", "convs_per_pool": [1, 1, 1, 1]}, 1.0, RIDGES, "does not divide"),
        ({"name": "Myrtle", "convs_per_pool": [1]}, 1e200, RIDGES, "not finite"),
        ({"name": "Myrtle", "convs_per_pool": [1], "b_std": 0.0}, 0.0, RIDGES, "not positive definite"),
        ({"name": "SimpleGNN"}, 1.0, RIDGES, "Aggregate needs the nodes of graphs"),
    ],
)
def test_a_candidate_without_a_value_says_why(
    candidate: dict[str, Any], features: float, ridges: tuple[float, ...], sentence: str
) -> None:
    scaled = {
        name: Part(np.asarray(part.features) * features, part.targets, part.labels)
        for name, part in PARTS.items()
    }
    with pytest.raises(Unusable, match=sentence), np.errstate(all="ignore"):
        assess(
            Candidate(candidate, "ntk", {"method": "none"}), scaled, OBJECTIVES["loss"],
            Computation("auto", "float64", ridges),
        )  # fmt: skip


def test_a_costly_candidate_is_not_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    # 24 * 25 / 2 + 24 * (15 + 11) pairs at 10 pairs a second.
    monkeypatch.setattr(rate, "measure_rate", lambda *_: 10.0)
    objective = OBJECTIVES["loss"]
    assess(CANDIDATE, PARTS, objective, Computation("auto", "float64", RIDGES, largest_seconds=92.5))
    with pytest.raises(TooCostly, match=r"would take 92 s here, more than tuning\.largest_seconds, 92"):
        assess(CANDIDATE, PARTS, objective, Computation("auto", "float64", RIDGES, largest_seconds=92))


# -------------------------------------------------------------------------------------- objectives


def test_objectives_of_predictions() -> None:
    targets = one_hot(np.array([0, 1, 2, 2]), 3)
    predictions = targets.copy()
    predictions[0] = predictions[0][::-1]
    assert OBJECTIVES["accuracy"].value(predictions, targets) == 0.75
    assert OBJECTIVES["accuracy"].loss(predictions, targets) == -0.75
    assert OBJECTIVES["loss"].value(predictions, targets) == pytest.approx(2 / 12)
    assert OBJECTIVES["loss"].loss(predictions, targets) == pytest.approx(2 / 12)


def test_predictions_that_are_no_numbers_are_never_right() -> None:
    targets = one_hot(np.array([0, 1]), 2)
    for objective in OBJECTIVES.values():
        if objective.task == "classification":
            assert not np.isfinite(objective.loss(np.full((2, 2), np.inf), targets))
    assert np.isnan(OBJECTIVES["accuracy"].value(np.full((2, 2), np.nan), targets))


def test_an_objective_belongs_to_a_task() -> None:
    from neural_kernels.errors import UserError

    assert objective_named("mse", "regression").direction == "minimize"
    with pytest.raises(
        UserError, match="'mse', but the data is a classification: expected one of loss, accuracy"
    ):
        objective_named("mse", "classification")
