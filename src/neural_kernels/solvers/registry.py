"""Solvers by name, the one that a record gives, and which of them solves a system."""

from __future__ import annotations

from neural_kernels.solvers.cholesky import Cholesky
from neural_kernels.solvers.iterative import ConjugateGradients
from neural_kernels.solvers.settings import AUTO
from neural_kernels.solvers.system import Solver, System

DIRECT, ITERATIVE, BLOCK_ITERATIVE = "cholesky", "conjugate_gradients", "block_conjugate_gradients"

SOLVERS: dict[str, Solver] = {
    DIRECT: Cholesky(),
    ITERATIVE: ConjugateGradients(block=False),
    BLOCK_ITERATIVE: ConjugateGradients(block=True),
}


def solver_of_size(n: int, direct_up_to: int) -> Solver:
    """What solves training size ``n`` of a study, in the form that each column of B has to itself."""
    return SOLVERS[_name_of_size(n, direct_up_to)]


def solver_of(system: System) -> Solver:
    """What the settings choose; conjugate gradients in the form that they ask for."""
    settings, name = system.settings, system.settings.method
    if name == AUTO:
        name = _name_of_size(system.n, settings.direct_up_to)
    return SOLVERS[BLOCK_ITERATIVE if name == ITERATIVE and settings.block else name]


def _name_of_size(n: int, direct_up_to: int) -> str:
    return DIRECT if n <= direct_up_to else ITERATIVE
