"""One candidate on given examples: its kernel, the ridge, and what the objective makes of its predictions."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from neural_kernels import engines
from neural_kernels.engines import common_windows, rate
from neural_kernels.errors import UserError
from neural_kernels.metrics import evaluation
from neural_kernels.metrics.objectives import Objective
from neural_kernels.preprocessing.features import Part
from neural_kernels.solvers.cholesky import solve_cholesky
from neural_kernels.solvers.criteria import InverseFacts, leave_one_out_predictions
from neural_kernels.solvers.ridge import Judgement, Validation, select_ridge
from neural_kernels.solvers.solution import Solution
from neural_kernels.tuning.candidate import Candidate

log = logging.getLogger(__name__)

RATE_SECONDS = 1.0
"""Time for measuring how fast a kernel is, where its cost is limited."""


class Unusable(Exception):
    """The candidate has no value; the message says why."""


class TooCostly(Unusable):
    """The candidate would take longer than allowed."""


@dataclass(frozen=True)
class Computation:
    """How kernels are computed: as the keys engine and precision of a study, and its ridge candidates.

    ``largest_seconds``: of one candidate's kernel, None where it may take any time.
    """

    engine: str
    precision: engines.Precision
    ridges: Sequence[float]
    largest_seconds: float | None = None


@dataclass(frozen=True)
class Assessment:
    """What came out.

    Attributes:
        value: of the objective on what judges, the validation examples or those left out, with the best ridge.
        ridge: relative to the mean diagonal; ``ridge_at_edge`` where it is the smallest or largest candidate.
        scores: metrics of the validation set and of every other part that was predicted.
        engine: that computed the kernel.
        seconds: of kernel and solves.
        residual: the largest true relative residual of the solve with the best ridge; None in earlier records.
        converged: whether it is at most the solvers' default tolerance.
        ridges_passed_over: candidates at which the kernel is singular to rounding.
    """

    value: float
    ridge: float
    ridge_at_edge: bool
    scores: dict[str, dict[str, float]]
    engine: str
    seconds: float
    residual: float | None = None
    converged: bool = True
    ridges_passed_over: int = 0


def assess(
    candidate: Candidate,
    parts: Mapping[str, Part],
    objective: Objective,
    computation: Computation,
    judge_by: Literal["validation", "loo"] = "validation",
) -> Assessment:
    """Train ``candidate`` on the part "train" and judge it on "validation"; predict every other part as well.

    Every ridge is tried on the one kernel, and the objective on the validation part chooses: it is a
    hyperparameter that costs no further kernel entries. Other parts have no influence on anything. Judged by "loo",
    the objective is of what each training example is predicted by all others, and the validation part has none either.

    Raises:
        TooCostly: the kernel would take longer than allowed.
        Unusable: no engine covers the candidate, its kernel is not finite, no ridge makes it positive definite, or
            it is no kernel: the engine is wrong at these hyperparameters.
    """
    started = time.monotonic()
    train, validation = parts["train"], parts["validation"]
    try:
        architecture = candidate.build()
        name, engine = engines.select(computation.engine, architecture, train.features.shape[1:])
    except UserError as error:
        raise Unusable(str(error)) from None
    precision, kind = computation.precision, candidate.kind
    sets = [part.features for part in parts.values()]
    engine = common_windows.cheapest(engine, architecture, kind, precision, sets, _pairs(parts))
    if computation.largest_seconds is not None:
        shape = train.features.shape[1:]
        pairs_a_second = rate.measure_rate(
            engine, architecture, kind, precision, shape, RATE_SECONDS, train.features
        )
        _check_cost(_pairs(parts) / pairs_a_second, computation.largest_seconds)
    left = engine.prepare(architecture, train.features, precision)
    kernel = _finite(engine.kernel(architecture, kind, left, None, precision))

    def cross(part: Part) -> np.ndarray:
        rows = engine.prepare(architecture, part.features, precision)
        return _finite(engine.kernel(architecture, kind, rows, left, precision))

    rows = cross(validation)
    left_out = judge_by == "loo"

    def solve(ridge: float, _: np.ndarray | None) -> Solution:
        return solve_cholesky(kernel, train.targets, ridge, precision=precision, judged=left_out)

    on_validation = Validation(lambda coefficients: rows @ coefficients, validation.targets, objective.loss)

    def by_leaving_out(solution: Solution) -> Judgement:
        return Judgement(objective.loss(_left_out(solution, train.targets), train.targets))

    try:
        judge = by_leaving_out if left_out else on_validation.judge
        solution = select_ridge(solve, computation.ridges, judge, judge_by)
    except UserError as error:
        raise Unusable(str(error)) from None
    coefficients, record = solution.coefficients, solution.record
    predictions = rows @ coefficients
    scores = {"validation": _scores(predictions, validation, objective)}
    value = objective.value(predictions, validation.targets)
    if left_out:
        value = objective.value(_left_out(solution, train.targets), train.targets)
    for part in parts.keys() - {"train", "validation"}:
        scores[part] = _scores(cross(parts[part]) @ coefficients, parts[part], objective)
    return Assessment(
        value=value,
        ridge=record.ridge,
        ridge_at_edge=record.details["ridge_choice"]["ridge_at_edge"],
        scores=scores,
        engine=name,
        seconds=round(time.monotonic() - started, 3),
        residual=record.residual,
        converged=record.converged,
        ridges_passed_over=len(record.ridges_passed_over),
    )


def _left_out(solution: Solution, targets: np.ndarray) -> np.ndarray:
    """Predictions of each training example by all others, (n, C)."""
    facts = solution.inverse
    assert isinstance(facts, InverseFacts)
    return leave_one_out_predictions(targets, solution.coefficients, facts.diagonal)


def _pairs(parts: Mapping[str, Part]) -> int:
    n = len(parts["train"].features)
    others = sum(len(part.features) for name, part in parts.items() if name != "train")
    return n * (n + 1) // 2 + n * others


def _check_cost(seconds: float, largest: float) -> None:
    if seconds > largest:
        raise TooCostly(
            f"its kernel would take {seconds:,.0f} s here, more than tuning.largest_seconds, {largest:g}"
        )
    log.info("about %.0f s", seconds)


def _finite(entries: np.ndarray) -> np.ndarray:
    """Kernel entries in float64, C-contiguous."""
    if not np.isfinite(entries).all():
        raise Unusable("its kernel is not finite: a float cannot hold these covariances")
    return np.ascontiguousarray(entries, np.float64)


def _scores(predictions: np.ndarray, part: Part, objective: Objective) -> dict[str, float]:
    labels = None if objective.task == "regression" else part.labels
    return evaluation.evaluate(predictions, part.targets, labels, objective.task)
