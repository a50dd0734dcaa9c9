"""Solvers by name, the one that a record gives, and which of them solves a system."""

from __future__ import annotations

from neural_kernels.solvers import many_masks
from neural_kernels.solvers.cholesky import Cholesky
from neural_kernels.solvers.iterative import ConjugateGradients
from neural_kernels.solvers.krylov_sweep import KrylovSweep
from neural_kernels.solvers.many_masks import ManyMasks
from neural_kernels.solvers.settings import AUTO, NO_PRECONDITIONER
from neural_kernels.solvers.system import Solver, System

DIRECT, ITERATIVE, BLOCK_ITERATIVE = "cholesky", "conjugate_gradients", "block_conjugate_gradients"
SWEEP, MANY_MASKS = "block_lanczos", "cholesky_or_conjugate_gradients"

SOLVERS: dict[str, Solver] = {
    DIRECT: Cholesky(),
    ITERATIVE: ConjugateGradients(block=False),
    BLOCK_ITERATIVE: ConjugateGradients(block=True),
    SWEEP: KrylovSweep(),
    MANY_MASKS: ManyMasks(),
}


def solver_of_size(n: int, direct_up_to: int, sweeps: bool) -> Solver:
    """What solves training size ``n`` of a study: conjugate gradients in the form that each column of B has to itself,
    unless the study ``sweeps``."""
    if n <= direct_up_to:
        return SOLVERS[DIRECT]
    return SOLVERS[SWEEP if sweeps else ITERATIVE]


def sweeps(ridges: int, block: bool, preconditioner: str, masks: int) -> bool:
    """Whether so many candidates are judged in one space.

    A preconditioner that is asked for makes another space for each ridge, and so does each right-hand side with labels
    of its own missing or directions of its own: then one candidate is solved after the other.
    """
    return ridges > 1 and block and masks <= 1 and preconditioner in (AUTO, NO_PRECONDITIONER)


def solver_of(system: System) -> Solver:
    """What the settings choose; conjugate gradients in the form that they ask for."""
    settings, name = system.settings, system.settings.method
    if name == AUTO:
        direct = MANY_MASKS if many_masks.serves(system) else DIRECT
        name = direct if system.n <= settings.direct_up_to else ITERATIVE
    if name == ITERATIVE and settings.block:
        name = BLOCK_ITERATIVE
        if sweeps(len(settings.ridges), settings.block, settings.preconditioner.method, system.masks):
            name = SWEEP
    return SOLVERS[name]
