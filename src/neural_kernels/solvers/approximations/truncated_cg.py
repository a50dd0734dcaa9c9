"""Truncated conjugate gradients: the iterative solver, stopped after some iterations."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace

from neural_kernels.solvers import iterative
from neural_kernels.solvers.approximations.problem import (
    Approximation,
    Asked,
    Attempt,
    Problem,
    descending,
    from_coefficients,
    operator_of,
)
from neural_kernels.solvers.definiteness import NotPositiveDefinite

log = logging.getLogger(__name__)


def _truncated(problem: Problem, asked: Asked, passed_over: list[float]) -> Iterator[Attempt]:
    settings = asked.settings
    rank = settings.preconditioner.used_rank
    working = iterative.working_bytes(problem.n, problem.targets.shape[1], rank)
    solve = iterative.solver(
        operator_of(problem, settings, working),
        problem.train.fingerprint,
        problem.targets,
        settings.preconditioner,
        replace(settings.stopping, max_iterations=asked.size),
        threads=settings.threads,
        block=settings.block,
        precision=problem.train.dtype,
    )
    for ridge in descending(settings.ridges):
        try:
            # From zero each time: a first guess would be iterations that are not counted.
            solution = solve(ridge, None)
        except NotPositiveDefinite as error:
            log.warning("ridge %g is passed over: %s", ridge, error)
            passed_over.append(ridge)
            continue
        record = solution.record
        stopped_by = "truncated" if record.stopped_by == "max_iterations" else record.stopped_by
        yield Attempt(
            ridge,
            None,
            from_coefficients(problem, solution.coefficients),
            record.seconds + record.details.get("preconditioner_seconds", 0.0),
            stopped_by,
            record.converged,
            {"iterations": record.iterations, "residual": record.residual},
        )


TRUNCATED_CG = Approximation("Truncated CG", _truncated)
