"""Tasks that lack labels each in its own way, at a size that can be factorised: for each ridge the cheaper of two ways.

A direct solve factorises once a mask; conjugate gradients serve all tasks with each product. They are tried first, for
as many products as cost what the factorisations would, so that the worst case takes twice the cheaper one.
"""

from __future__ import annotations

import functools
import logging
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from neural_kernels.solvers import cholesky, iterative
from neural_kernels.solvers.cholesky import Cholesky, solve_cholesky
from neural_kernels.solvers.criteria import VALIDATION
from neural_kernels.solvers.definiteness import NotPositiveDefinite
from neural_kernels.solvers.operator import DenseOperator
from neural_kernels.solvers.settings import AUTO, PreconditionerSettings
from neural_kernels.solvers.solution import Solution
from neural_kernels.solvers.system import Opened, System

log = logging.getLogger(__name__)

PRODUCT = 2.0
"""How many times slower a flop of a product with a few vectors is than one of a factorisation."""

FEWEST_PRODUCTS = 4
"""With fewer nothing is solved, so that making a preconditioner for them is in vain."""

RANKS_A_ROW = 8
"""Examples for each rank of the preconditioner, at least."""


@dataclass(frozen=True)
class ManyMasks:
    """The solver for ``registry``; its records name the one that solved."""

    title = "Exact (the cheaper of Cholesky and CG)"
    iterates = False
    thrift = "lower solver.direct_up_to"

    def working_bytes(self, n: int, columns: int, rank: int, masks: int, ridges: int) -> int:
        """See ``Solver.working_bytes``; conjugate gradients take what a factorisation does not need yet."""
        return Cholesky().working_bytes(n, columns, rank, masks, ridges)

    def open(self, system: System) -> Opened:
        """The matrix, read; see ``Solver.open``."""
        kernel = cholesky.read_matrix(system)
        settings, store = system.settings, system.store
        preconditioner = preconditioner_within(system)
        products = affordable_products(system)
        solved: dict[str, int] = {}

        @functools.cache
        def iterate() -> Any:
            return iterative.solver(
                DenseOperator(kernel, threads=settings.threads),
                store.fingerprint,
                system.targets,
                preconditioner,
                replace(settings.stopping, max_iterations=min(settings.stopping.max_iterations, products)),
                threads=settings.threads,
                block=False,
                tentative=True,
                precision=store.dtype,
            )

        def solve(ridge: float, start: np.ndarray | None) -> Solution:
            # Ridges come from the largest down: where one took too long, those below it would as well.
            if products > 0 and "cholesky" not in solved:
                try:
                    solution: Solution = iterate()(ridge, start)
                except NotPositiveDefinite as error:
                    log.info("ridge %g: %s; factorising instead", ridge, error)
                else:
                    if solution.record.converged:
                        solved["conjugate_gradients"] = solved.get("conjugate_gradients", 0) + 1
                        return solution
                    log.info("ridge %g: not solved in %d products; factorising instead", ridge, products)
                iterate.cache_clear()  # its memory goes before the factorisation's comes
            solved["cholesky"] = solved.get("cholesky", 0) + 1
            return solve_cholesky(
                kernel, system.targets, ridge, tolerance=settings.stopping.tolerance, precision=store.dtype
            )

        return Opened(solve, lambda: {"affordable_products": products, "ridges_solved_by": dict(solved)})


def serves(system: System) -> bool:
    """Whether there is a choice: several masks, and no criterion that takes a factorisation."""
    settings = system.settings
    return system.masks > 1 and (settings.choose_by == VALIDATION or len(settings.ridges) == 1)


def affordable_products(system: System) -> int:
    """Products with all tasks at a time that cost what the factorisations of one ridge do; 0 where these are few."""
    known = ~np.isnan(system.targets)
    factorising = sum(int(mask.sum()) ** 3 / 3 for mask, _ in cholesky.tasks_by_mask(known))
    products = int(factorising / (PRODUCT * 2 * system.n**2 * system.columns))
    return products if products >= FEWEST_PRODUCTS else 0


def preconditioner_within(system: System) -> PreconditionerSettings:
    """What the settings ask for; of "auto", a rank that costs less than factorising and fits beside the matrix."""
    asked = system.settings.preconditioner
    if asked.method != AUTO:
        return asked
    room = system.settings.memory_budget - 8 * system.n**2
    rank = min(asked.rank, system.n // RANKS_A_ROW)
    while rank > 0 and iterative.working_bytes(system.n, system.columns, rank, system.masks) > room:
        rank //= 2
    return replace(asked, method="random" if rank else "none", rank=rank)
