"""The ridge, chosen among candidates: on validation data, or by what the training examples say of themselves."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from neural_kernels.errors import UserError
from neural_kernels.metrics.losses import mean_squared_error
from neural_kernels.solvers.criteria import TITLES, VALIDATION, Criterion
from neural_kernels.solvers.definiteness import NotPositiveDefinite
from neural_kernels.solvers.solution import Solution

log = logging.getLogger(__name__)


class Judgement(NamedTuple):
    """What a candidate is worth, lower being better, and how far off an estimate of that may be; None of none."""

    loss: float
    error: float | None = None


@dataclass(frozen=True)
class Validation:
    """What a candidate is judged by.

    Attributes:
        predict: from dual coefficients (n, C) to predictions (m, C) on the validation examples.
        targets: (m, C) float64; NaN where a label is missing.
        loss: of predictions and targets; lower is better.
    """

    predict: Callable[[np.ndarray], np.ndarray]
    targets: np.ndarray
    loss: Callable[[np.ndarray, np.ndarray], float] = mean_squared_error

    def judge(self, solution: Solution) -> Judgement:
        """Validation loss of a solution."""
        return Judgement(float(self.loss(self.predict(solution.coefficients), self.targets)))


def select_ridge(
    solve: Callable[[float, np.ndarray | None], Solution],
    candidates: Sequence[float],
    judge: Callable[[Solution], Judgement],
    criterion: Criterion = VALIDATION,
) -> Solution:
    """The solution that ``judge`` finds best, of equals that with the larger ridge.

    Each candidate is solved in full, so that the answer for the chosen one is there already. (One
    tridiagonal reduction of the matrix would serve every candidate of a direct solve, but runs at
    the speed of memory and costs as much as dozens of Cholesky factorisations at n = 8,192.)

    Args:
        solve: from a ridge and a first guess, the coefficients of the candidate before, to a solution.
        candidates: ridges relative to the mean diagonal; tried from the largest down, the easiest first.
        judge: of a solution; lower is better.
        criterion: what the judge goes by, for the record.

    Returns:
        The chosen solution; ``record.details["ridge_choice"]`` says what it was chosen by, and lists every candidate
        with its loss or why it failed, those that were ``passed_over`` because the kernel is singular to rounding
        there, and whether the choice lies at an end of the sweep.

    Raises:
        UserError: every candidate failed.
        NotAKernel: by ``solve``, where rounding does not explain a failure: no ridge makes that right.
    """
    best: Solution | None = None
    best_loss = math.inf
    previous: np.ndarray | None = None
    tried: list[dict[str, Any]] = []
    passed_over: list[float] = []
    ordered = sorted(map(float, candidates), reverse=True)
    for ridge in ordered:
        try:
            solution = solve(ridge, previous)
        except NotPositiveDefinite as error:
            log.warning("ridge %g is passed over: %s", ridge, error)
            passed_over.append(ridge)
            tried.append(
                {"ridge": ridge, "loss": None, "error": None, "converged": False, "failed": str(error)}
            )
            continue
        previous = solution.coefficients
        loss, uncertainty = judge(solution)
        entry: dict[str, Any] = {
            "ridge": ridge,
            "loss": loss,
            "error": uncertainty if uncertainty is None or math.isfinite(uncertainty) else None,
            "converged": solution.record.converged,
            "failed": None,
        }
        if not math.isfinite(loss):
            entry |= {"loss": None, "failed": f"{TITLES[criterion]} is {loss}"}
        elif loss < best_loss:
            best, best_loss = solution, loss
        tried.append(entry)
    if best is None:
        raise UserError(
            f"no ridge of the {len(ordered)} candidates can be used; the largest: {tried[0]['failed']}"
        )
    at_edge = len(ordered) > 1 and best.record.ridge in (ordered[0], ordered[-1])
    if at_edge:
        log.warning(
            "n = %d: the best ridge, %g, is at the end of the sweep from %g to %g: widen it",
            best.record.n, best.record.ridge, ordered[-1], ordered[0],
        )  # fmt: skip
    choice = {
        "by": criterion,
        "candidates": tried,
        "passed_over": passed_over,
        "ridge_at_edge": at_edge,
    }
    details = best.record.details | {"ridge_choice": choice}
    validation_loss = best_loss if criterion == VALIDATION else None
    return replace(best, record=replace(best.record, validation_loss=validation_loss, details=details))
