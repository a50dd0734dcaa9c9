"""Kernel and dual coefficients of training examples, in memory, or in a folder of blocks that outlives a kill."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from neural_kernels.blocks import Grid, KernelStore, declare_store, read_block, read_submatrix, write_block
from neural_kernels.blocks import computation as block_computation
from neural_kernels.errors import UserError
from neural_kernels.estimators.features import CHUNK, NeuralFeatures, SummedFeatures
from neural_kernels.estimators.weights import By, examples_for
from neural_kernels.estimators.weights import chosen as weighed
from neural_kernels.graphs import Examples, Graphs
from neural_kernels.machine.memory import gibibytes
from neural_kernels.machine.threads import thread_count
from neural_kernels.metrics.losses import mean_squared_error
from neural_kernels.progress import progress
from neural_kernels.solvers import CheckpointSettings, Settings, Solution, Validation, criteria, solve_system
from neural_kernels.solvers import cholesky as direct
from neural_kernels.solvers import inverse as inverses
from neural_kernels.solvers.criteria import VALIDATION, Criterion, InverseFacts
from neural_kernels.solvers.definiteness import NotAKernel, NotPositiveDefinite
from neural_kernels.solvers.quadratic_forms import Forms
from neural_kernels.solvers.ridge import Judgement, select_ridge
from neural_kernels.solvers.settings import PreconditionerSettings

log = logging.getLogger(__name__)

AnyFeatures = NeuralFeatures | SummedFeatures

EDGE = 2048
"""Of the blocks in a store."""

DIRECT_UP_TO = 8192
"""Training examples that are solved by Cholesky where their kernel is in a store."""

COLUMNS = 64
"""Right-hand sides that share a pass over a store."""


@dataclass(frozen=True)
class Choice:
    """How the ridge is chosen among ``ridges``; by validation, on the last ``held_out`` examples."""

    ridges: Sequence[float]
    criterion: Criterion
    held_out: int = 0


@dataclass(frozen=True, eq=False)
class System:
    """What is solved, and how.

    Attributes:
        targets: (n, C) float64, NaN where a label is missing.
        budget: bytes.
        seed: of random columns and pivots, and of the examples that weights are chosen on.
        weighing: what chooses the weights of a sum of kernels; None where they are given.
    """

    targets: np.ndarray
    choice: Choice
    budget: int
    seed: int = 0
    weighing: By | None = None

    @property
    def gaps(self) -> bool:
        """Whether a label is missing."""
        return bool(np.isnan(self.targets).any())

    def weights(self, kernels: Sequence[np.ndarray], places: np.ndarray) -> tuple[float, ...]:
        """Weights of kernels (m, m) of the examples ``places``."""
        assert self.weighing is not None
        return weighed(kernels, self.targets[places], self.choice.ridges, self.weighing)


@dataclass(eq=False)
class Training:
    """A solved system.

    Attributes:
        matrix: K, (n, n) float64, or None where it is in a store.
        inverse: what criteria need of A^-1; None where it was not factorised.
        seed: of random columns and pivots.
        precision: in which the kernel's entries were computed.
    """

    matrix: np.ndarray | None
    store: KernelStore | None
    targets: np.ndarray
    solution: Solution
    inverse: InverseFacts | None
    budget: int
    seed: int = 0
    precision: str = "float64"
    _factors: dict[bytes, np.ndarray] = field(default_factory=dict)

    @property
    def n(self) -> int:
        return len(self.targets)

    @property
    def shift(self) -> float:
        """What was added to the diagonal of K."""
        return self.solution.record.shift

    @property
    def direct(self) -> bool:
        """Whether the kernel is in memory, or small enough to be read from its store."""
        return self.store is None or self.matrix is not None or _fits(self.targets, self.budget)

    def _matrix(self) -> np.ndarray:
        if self.matrix is None:
            assert self.store is not None
            self.matrix = read_submatrix(self.store, (0, self.n), (0, self.n), np.float64)
        return self.matrix

    def facts(self) -> InverseFacts | None:
        """What criteria need of A^-1, factorised now where it was not; None where the kernel is too large for that."""
        if self.inverse is None and self.direct:
            ridge = self.solution.record.ridge
            solved = direct.solve_cholesky(
                self._matrix(), self.targets, ridge, precision=self.precision, judged=True
            )
            assert isinstance(solved.inverse, InverseFacts)
            self.inverse = solved.inverse
        return self.inverse

    def solve(self, known: np.ndarray, right: np.ndarray) -> np.ndarray:
        """(K + shift I)^-1 B on the labelled examples: ``known`` is (n,) bool, B (labelled, k) float64.

        Raises:
            UserError: labels are missing and the kernel is in a store.
        """
        if self.direct:
            key = known.tobytes()
            if key not in self._factors:
                self._factors.clear()  # its memory goes first
                part = np.ascontiguousarray(self._matrix()[np.ix_(known, known)])
                ridge = self.solution.record.ridge
                self._factors[key], _ = direct.factorise(part, self.shift, ridge, self.precision)
            return direct.solve_factorised(self._factors[key], right)
        if not known.all():
            raise UserError(
                f"labels are missing and {self.n} examples are more than are solved directly in a store, "
                f"{DIRECT_UP_TO}: expected predictions without their spread"
            )
        return self._iterated(right)

    def forms(self, rows: np.ndarray, prior: np.ndarray, directory: Path) -> Callable[[np.ndarray], Forms]:
        """What gives k^T (K + shift I)^-1 k of many new inputs, of a kernel too large to factorise.

        Args:
            rows: (n, m) of the kernel, of m of these inputs drawn at random.
            prior: (m,) the kernel of each with itself.
            directory: where a Krylov space is kept meanwhile.
        """
        assert self.store is not None
        explained = np.einsum("ij,ij->j", rows, self._iterated(rows))
        return inverses.forms_of_store(
            self.store,
            self.solution.record,
            self._settings(),
            (rows, explained),
            prior - explained,
            directory,
            self.store.fingerprint,
        )

    def _settings(self) -> Settings:
        return _settings(Choice((self.solution.record.ridge,), VALIDATION), self.budget, self.seed)

    def _iterated(self, right: np.ndarray) -> np.ndarray:
        assert self.store is not None
        record, settings = self.solution.record, self._settings()
        solved, residuals = inverses.inverse_of_store(self.store, record, settings, COLUMNS)(right)
        tolerance = settings.stopping.tolerance
        if (residuals > tolerance).any():
            log.warning(
                "%d of %d posterior variances: the solve did not converge, largest residual %.1e",
                int((residuals > tolerance).sum()), len(residuals), residuals.max(),
            )  # fmt: skip
        return solved

    def without_factors(self) -> Training:
        """The same, to be kept: factors are made again when they are needed."""
        return replace(self, _factors={})


def memory_budget(memory: float | None) -> int:
    """Bytes for a solve: ``memory`` in GiB, or half of what the machine has where None.

    Raises:
        ValueError: not a positive number.
    """
    if memory is None:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    if not memory > 0:
        raise ValueError(f"memory is {memory!r}, expected a positive number of GiB or None")
    return int(memory * 2**30)


def solve_in_memory(features: AnyFeatures, x: Any, system: System) -> tuple[AnyFeatures, Training]:
    """Compute the kernel of ``x`` and solve; the features come back with the weights that were chosen, if any were.

    Raises:
        UserError: too little memory, or no ridge can be used.
    """
    if not isinstance(features, SummedFeatures):
        check_memory(system.targets, system.budget)
        return features, solve_matrix(features.kernel(x), system, features.precision)
    check_memory(system.targets, system.budget, len(features.parts))
    kernels = [part.kernel(one) for part, one in zip(features.parts, x.parts, strict=True)]
    if system.weighing is not None:
        places = examples_for(len(x), system.gaps, system.seed)
        few = [kernel[np.ix_(places, places)] for kernel in kernels]
        features = replace(features, weights=system.weights(few, places))
    matrix = features.total(kernels)
    del kernels
    return features, solve_matrix(matrix, system, features.parts[0].precision)


def solve_matrix(
    matrix: np.ndarray, system: System, precision: str = "float64", foreign: bool = False
) -> Training:
    """Solve with a kernel in memory, by Cholesky.

    Args:
        matrix: (n, n) float64, C-contiguous and symmetric.
        precision: in which the kernel's entries were computed.
        foreign: whether the matrix is somebody's own, which may be indefinite: ridges that leave it so are passed over.

    Raises:
        UserError: too little memory, or no ridge can be used.
    """
    targets, choice = system.targets, system.choice
    check_memory(targets, system.budget)
    ridges, fit = choice.ridges, len(targets) - choice.held_out

    def judged(solution: Solution) -> Judgement:
        facts = solution.inverse
        assert isinstance(facts, InverseFacts)
        return Judgement(
            criteria.judge(choice.criterion, targets, solution.coefficients, facts, mean_squared_error)
        )

    def solve(ridge: float, _: np.ndarray | None = None) -> Solution:
        return _solved(matrix, targets, ridge, precision, foreign, judged=True)

    if len(ridges) == 1:
        solution = solve(ridges[0])
    elif choice.criterion == VALIDATION:
        cross, part = matrix[fit:, :fit], np.ascontiguousarray(matrix[:fit, :fit])
        chosen = select_ridge(
            lambda ridge, _: _solved(part, targets[:fit], ridge, precision, foreign, judged=False),
            ridges,
            Validation(lambda coefficients: cross @ coefficients, targets[fit:]).judge,
        )
        solution = _with_choice(solve(chosen.record.ridge), chosen)
    else:
        solution = select_ridge(solve, ridges, judged, choice.criterion)
    facts = solution.inverse
    assert isinstance(facts, InverseFacts)
    solution = replace(solution, inverse=None)
    return Training(matrix, None, targets, solution, facts, system.budget, system.seed, precision)


def _with_choice(solution: Solution, chosen: Solution) -> Solution:
    """Of all examples, with what its ridge was chosen by on some of them."""
    details = solution.record.details | {"ridge_choice": chosen.record.details["ridge_choice"]}
    record = replace(solution.record, details=details, validation_loss=chosen.record.validation_loss)
    return replace(solution, record=record)


def _solved(
    matrix: np.ndarray, targets: np.ndarray, ridge: float, precision: str, foreign: bool, judged: bool
) -> Solution:
    try:
        return direct.solve_cholesky(matrix, targets, ridge, precision=precision, judged=judged)
    except NotAKernel as error:
        if foreign:
            raise NotPositiveDefinite(str(error)) from None
        raise


def _fits(targets: np.ndarray, budget: int) -> bool:
    """Whether a kernel in a store is read and solved as in memory."""
    return len(targets) <= DIRECT_UP_TO and _needed_bytes(targets, kernels=1) <= budget


def _needed_bytes(targets: np.ndarray, kernels: int) -> int:
    (n, columns), gaps = targets.shape, bool(np.isnan(targets).any())
    # A factor stays beside the matrix.
    return max(direct.working_bytes(n, columns, gaps, judged=True), 8 * n * n * kernels) + 8 * n * n


def check_memory(targets: np.ndarray, budget: int, kernels: int = 1) -> None:
    """Raise UserError where a solve for targets (n, C) in memory takes more than the budget.

    Args:
        kernels: that are added up.
    """
    needed = _needed_bytes(targets, kernels)
    if needed > budget:
        raise UserError(
            f"a fit of {len(targets)} examples in memory takes {gibibytes(needed)}, memory allows {gibibytes(budget)}: "
            "raise memory, or give a folder as store, from which larger kernels are solved out of memory"
        )


# ----------------------------------------------------------------------------- a folder of blocks


def solve_in_store(
    folder: Path, features: AnyFeatures, x: Any, system: System
) -> tuple[AnyFeatures, Training]:
    """Compute the kernel of ``x`` block by block in ``folder``, where an interrupted fit goes on, and solve.

    Up to ``DIRECT_UP_TO`` examples that fit into the budget it is read and solved as in memory; more are solved out
    of memory, by conjugate gradients with checkpoints. Of a sum, each kernel has blocks of its own beside the sum's.

    Returns:
        The features, with the weights that were chosen if any were, and what was solved.

    Raises:
        UserError: the folder holds another kernel, or as ``solve_system``.
    """
    n, targets, choice, budget, seed = len(x), system.targets, system.choice, system.budget, system.seed
    if isinstance(features, SummedFeatures):
        pairs = zip(features.parts, x.parts, strict=True)
        stores = [_computed(folder / f"kernel-{k}", *pair) for k, pair in enumerate(pairs)]
        if system.weighing is not None:
            places = examples_for(n, system.gaps, seed)
            few = [_read_places(store, places) for store in stores]
            features = replace(features, weights=system.weights(few, places))
        precision = features.parts[0].precision
        store = _summed(folder, stores, features.weights)
    else:
        precision = features.precision
        store = _computed(folder / "kernel", features, x)
    if _fits(targets, budget):
        matrix = read_submatrix(store, (0, n), (0, n), np.float64)
        solved = solve_matrix(matrix, system, precision)
        return features, replace(solved, store=store)
    checkpoints = CheckpointSettings(folder / "checkpoints")
    settings, part = _settings(choice, budget, seed), None
    if choice.criterion == VALIDATION and len(choice.ridges) > 1:
        fit = n - choice.held_out
        validation = Validation(_rows_times(store, (fit, n), fit), targets[fit:])
        part = solve_system(store, (0, fit), targets[:fit], settings, validation, checkpoints=checkpoints)
        settings = replace(settings, ridges=[part.record.ridge])
    solution = solve_system(store, (0, n), targets, settings, checkpoints=checkpoints)
    solution = solution if part is None else _with_choice(solution, part)
    return features, Training(None, store, targets, solution, None, budget, seed, precision)


def _settings(choice: Choice, budget: int, seed: int) -> Settings:
    return Settings(
        ridges=list(choice.ridges),
        choose_by=choice.criterion,
        direct_up_to=0,
        preconditioner=PreconditionerSettings(seed=seed),
        memory_budget=budget,
        threads=thread_count(),
    )


def _computed(directory: Path, features: NeuralFeatures, x: Examples) -> KernelStore:
    description = {
        "architecture": features.architecture.describe(),
        "kind": features.kind,
        "examples": _hash(x),
    }
    grid = Grid(len(x), len(x), min(EDGE, len(x)), symmetric=True)
    store = declare_store(directory, grid, features.precision, description)
    wanted = list(grid.blocks())
    for i, j in progress(wanted, total=len(wanted), description="kernel blocks"):
        block_computation.compute_block(
            store, i, j, features.architecture, x, x, kind=features.kind, engine=features.engine
        )
    return store


def _summed(folder: Path, stores: Sequence[KernelStore], weights: Sequence[float]) -> KernelStore:
    """The store of a weighted sum, a folder of its own for other weights."""
    description = {
        "sum": [[weight, store.fingerprint] for weight, store in zip(weights, stores, strict=True)]
    }
    name = hashlib.sha256(json.dumps(description).encode()).hexdigest()[:12]
    store = declare_store(folder / f"sum-{name}", stores[0].grid, stores[0].dtype.name, description)
    wanted = list(store.grid.blocks())
    for i, j in progress(wanted, total=len(wanted), description="sums of blocks"):
        if not block_computation.adopt(store, i, j):
            total = sum(
                weight * read_block(part, i, j)
                for weight, part in zip(weights, stores, strict=True)
                if weight
            )
            write_block(store, i, j, np.asarray(total, store.dtype), {})
    return store


def _read_places(store: KernelStore, places: np.ndarray) -> np.ndarray:
    """Entries between examples at ascending ``places``, (m, m) float64, in one reading of the blocks that have some."""
    grid, out = store.grid, np.empty((len(places), len(places)))
    for i, j in grid.blocks():
        rows, columns = (
            np.flatnonzero((places >= span[0]) & (places < span[1]))
            for span in (grid.row_range(i), grid.column_range(j))
        )
        if len(rows) and len(columns):
            first = grid.row_range(i)[0], grid.column_range(j)[0]
            part = read_block(store, i, j)[np.ix_(places[rows] - first[0], places[columns] - first[1])]
            out[np.ix_(rows, columns)] = part
            out[np.ix_(columns, rows)] = part.T
    return out


def _hash(x: Examples) -> str:
    arrays = [x.nodes, x.node_offsets, x.edges, x.edge_offsets] if isinstance(x, Graphs) else [x]
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _rows_times(store: KernelStore, rows: tuple[int, int], n: int) -> Callable[[np.ndarray], np.ndarray]:
    """K(rows, first n) times coefficients, a strip of columns at a time."""

    def product(coefficients: np.ndarray) -> np.ndarray:
        out = np.zeros((rows[1] - rows[0], coefficients.shape[1]))
        for first in range(0, n, CHUNK):
            last = min(first + CHUNK, n)
            out += read_submatrix(store, rows, (first, last), np.float64) @ coefficients[first:last]
        return out

    return product
