from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from neural_kernels.errors import UserError
from neural_kernels.metrics.losses import mean_squared_error
from neural_kernels.solvers.definiteness import NotPositiveDefinite
from neural_kernels.solvers.ridge import Judgement, Validation, select_ridge
from neural_kernels.solvers.solution import Record, Solution


def solution(ridge: float) -> Solution:
    return Solution(np.full((2, 1), ridge), Record("cholesky", 2, ridge, ridge, [0], [0.0], ["direct"], 0.0))


def select(losses: dict[float, float], failing: Sequence[float] = ()) -> tuple[Solution, list[float | None]]:
    starts: list[float | None] = []

    def solve(ridge: float, start: np.ndarray | None) -> Solution:
        starts.append(None if start is None else float(start[0, 0]))
        if ridge in failing:
            raise NotPositiveDefinite(f"no good at {ridge:g}")
        return solution(ridge)

    return select_ridge(solve, list(losses), lambda s: Judgement(losses[s.record.ridge])), starts


def test_smallest_loss_wins_and_everything_is_recorded() -> None:
    chosen, starts = select({0.1: 3.0, 1.0: 1.0, 10.0: 2.0})
    assert chosen.record.ridge == 1.0
    assert chosen.record.validation_loss == 1.0
    choice = chosen.record.details["ridge_choice"]
    assert [(c["ridge"], c["loss"]) for c in choice["candidates"]] == [(10.0, 2.0), (1.0, 1.0), (0.1, 3.0)]
    assert choice["ridge_at_edge"] is False
    assert starts == [None, 10.0, 1.0], "each candidate starts from the one before"


def test_of_equals_the_larger_ridge() -> None:
    assert select({0.1: 1.0, 1.0: 1.0, 10.0: 2.0})[0].record.ridge == 1.0


def test_the_end_of_the_sweep_is_said() -> None:
    assert select({0.1: 1.0, 1.0: 2.0})[0].record.details["ridge_choice"]["ridge_at_edge"] is True
    assert select({0.1: 1.0})[0].record.details["ridge_choice"]["ridge_at_edge"] is False


def test_failed_candidates_are_recorded_and_never_chosen() -> None:
    chosen, starts = select({0.01: 0.0, 0.1: 0.0, 1.0: 5.0, 10.0: 6.0}, failing=(0.01, 0.1))
    assert chosen.record.ridge == 1.0
    candidates = chosen.record.details["ridge_choice"]["candidates"]
    assert [c["failed"] for c in candidates] == [None, None, "no good at 0.1", "no good at 0.01"]
    assert starts[-1] == 1.0


def test_a_loss_that_is_not_finite_is_never_chosen() -> None:
    assert select({0.1: np.nan, 1.0: 4.0})[0].record.ridge == 1.0


def test_all_failing_is_an_error() -> None:
    with pytest.raises(
        UserError, match="no ridge of the 2 candidates can be used; the largest: no good at 1"
    ):
        select({0.1: 1.0, 1.0: 1.0}, failing=(0.1, 1.0))


def test_missing_validation_labels_do_not_count() -> None:
    predictions, targets = np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[1.0, np.nan], [5.0, 4.0]])
    assert mean_squared_error(predictions, targets) == pytest.approx(4 / 3)
    validation = Validation(lambda x: 2 * x, np.ones((2, 1)))
    assert validation.judge(solution(1.0)).loss == 1.0
