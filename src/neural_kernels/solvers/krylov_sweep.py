"""Every ridge of a sweep from one Krylov space, at a size that is too large to factorise: the solver.

One set of passes over the matrix makes the space (``block_lanczos``); each candidate then has its solution in it, and
the criteria that need no validation set their estimates from the random columns that began it. The space grows until
all candidates can be judged, and from there on until the chosen one is solved to the tolerance; its residual is then
recomputed from the matrix.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from neural_kernels.errors import UserError
from neural_kernels.progress import progress
from neural_kernels.solvers import acceleration, block_lanczos, checkpoint
from neural_kernels.solvers.acceleration import COUNTS, ROWS_A_COLUMN, Acceleration, Room
from neural_kernels.solvers.block_lanczos import KrylovSpace
from neural_kernels.solvers.communicator import Communicator
from neural_kernels.solvers.criteria import VALIDATION
from neural_kernels.solvers.definiteness import NotPositiveDefinite, explained_by_rounding, not_a_kernel
from neural_kernels.solvers.estimates import LEAST_COLUMNS, InverseSums, group_means, group_sums
from neural_kernels.solvers.iteration import History
from neural_kernels.solvers.iterative import chosen_by_one
from neural_kernels.solvers.krylov_basis import KrylovBasis
from neural_kernels.solvers.krylov_checkpoint import KrylovCheckpoint
from neural_kernels.solvers.operator import Operator, RidgeSystem, positive_diagonal
from neural_kernels.solvers.random_columns import gaussian_columns
from neural_kernels.solvers.rounding import refused
from neural_kernels.solvers.settings import FLOAT32, NO_PRECONDITIONER, CheckpointSettings, Settings
from neural_kernels.solvers.solution import Record, Solution, StoppedBy
from neural_kernels.solvers.store_operator import StoreOperator
from neural_kernels.solvers.system import Opened, System

log = logging.getLogger(__name__)

JUDGED = 1e-3
"""Relative residual at which a candidate is judged: losses of candidates differ by more."""

PATIENCE = 3
"""A candidate that takes more passes than this times those of the median one is judged as it stands."""


@dataclass(frozen=True)
class KrylovSweep:
    """The solver for ``registry``."""

    title = "Exact (block Lanczos to tolerance)"
    iterates = True
    thrift = "lower solver.random_columns"

    def working_bytes(self, n: int, columns: int, rank: int, masks: int, ridges: int) -> int:
        """See ``Solver.working_bytes``; entries of the matrix are the operator's, and the basis may be on disk."""
        return working_bytes(n, columns, ridges, 0)

    def open(self, system: System) -> Opened:
        """The operator, with as much of the matrix in memory as fits; see ``Solver.open``."""
        settings, n = system.settings, system.n
        if settings.panels == FLOAT32 and system.store.dtype == np.float64:
            raise refused(f"one Krylov space serves {len(settings.ridges)} ridges")
        identity = f"{system.store.fingerprint} {system.window[0]} {system.window[1]}"
        estimates = settings.choose_by != VALIDATION
        least = settings.random_columns or 0
        if estimates:
            least = max(least, min(LEAST_COLUMNS, n))
        operator = StoreOperator(
            system.store,
            system.window,
            memory_budget=_left(system, least),
            vectors=system.columns + least,
            threads=settings.threads,
            communicator=system.communicator,
        )
        chosen = _random_columns(system, least, operator, identity)
        beside = chosen.random_columns
        left = _left(system, beside)
        # A quarter for the basis, unless the whole matrix takes less than the rest.
        spare = left - operator.streaming_bytes(system.columns + beside)
        matrix = 8 * n * (n + 1) // 2 // system.communicator.size
        basis_memory = max(spare // 4, spare - matrix, 0)
        operator.place(left - basis_memory, system.columns + beside)
        sweep = Sweep(system, operator, identity, beside, basis_memory, system.store.dtype)
        return Opened(
            sweep.solve,
            lambda: {"acceleration": chosen.reason, **operator.placement(), **sweep.facts()},
            sweep.finish,
        )


def working_bytes(n: int, columns: int, ridges: int, beside: int) -> int:
    """Bytes of vectors: solutions and targets, and what a pass holds of the block that it multiplies."""
    return 8 * n * (columns * (ridges + 6) + 8 * (columns + beside))


def _left(system: System, beside: int) -> int:
    """Bytes that the vectors leave for the matrix and the basis."""
    n, budget, ridges = system.n, system.settings.memory_budget, len(system.settings.ridges)
    taken = working_bytes(n, system.columns, ridges, beside)
    if taken >= budget:
        raise UserError(
            f"the vectors of n = {n} for {ridges} ridges and {beside} random columns alone take "
            f"{taken / 2**30:.2f} GiB, the memory budget leaves {budget / 2**30:.2f} GiB: raise solver.memory_gib or "
            "give fewer ridges"
        )
    return budget - taken


def _random_columns(system: System, least: int, operator: StoreOperator, identity: str) -> Acceleration:
    """How many columns begin the space beside the targets: at least so many, and those that cost nothing."""
    settings, n = system.settings, system.n
    none = replace(settings.preconditioner, method=NO_PRECONDITIONER)
    why = "one space for every ridge has no preconditioner"

    def decide() -> Acceleration:
        if settings.random_columns is not None:
            return Acceleration(none, least, f"{why}; random columns as the config has them")
        spare = max(0, _left(system, least) - operator.streaming_bytes(system.columns))
        a_column = working_bytes(n, 0, 0, 1) + operator.product_bytes(1)
        most = min(n // ROWS_A_COLUMN, COUNTS[-1], spare // 4 // a_column)
        count, because = acceleration.columns_for(system.columns, most, operator.measured_cost)
        if count >= least:
            return Acceleration(none, count, f"{why}; {because}")
        return Acceleration(
            none, least, f"{why}; {least} random columns for the estimates of {settings.choose_by}"
        )

    problem = [identity, "sweep", settings.choose_by, settings.random_columns]
    return chosen_by_one(system, problem, Room(n, 0), decide)


class Problem(Protocol):
    """What a sweep reads of a ``System``."""

    @property
    def targets(self) -> np.ndarray: ...

    @property
    def settings(self) -> Settings: ...

    @property
    def checkpoints(self) -> CheckpointSettings | None: ...

    @property
    def communicator(self) -> Communicator: ...


@dataclass
class Sweep:
    """The space of one system, and what it says of each ridge.

    Attributes:
        operator: K, of which ``identity`` is the fingerprint.
        beside: random columns at the start of the space.
        basis_memory: bytes of the basis that stay in memory.
        precision: in which the entries of K were computed.
    """

    system: Problem
    operator: Operator
    identity: str
    beside: int
    basis_memory: int
    precision: npt.DTypeLike = np.float64
    _space: KrylovSpace | None = None
    _times: list[float] = field(default_factory=list)
    _resumed: int | None = None
    _judged: bool = False
    _nodes: tuple[int, np.ndarray, np.ndarray] | None = None

    def __post_init__(self) -> None:
        targets, communicator = self.system.targets, self.system.communicator
        first, last = self.operator.rows
        known = ~np.isnan(targets[first:last, :1])
        self._known = None if not np.isnan(targets).any() else known
        self._own_targets = np.nan_to_num(targets[first:last], nan=0.0)
        squares = communicator.sum(np.einsum("ik,ik->k", self._own_targets, self._own_targets))
        self._zero = squares == 0
        self._sizes = np.where(self._zero, 1.0, np.sqrt(squares))
        self._diagonal = positive_diagonal(self.operator)
        self._mean_diagonal = float(self._diagonal.mean())
        problem = [self.identity, "sweep", self.beside, self.system.settings.preconditioner.seed]
        saved = self.system.checkpoints
        self._checkpoint = None
        if saved is not None:
            name = checkpoint.fingerprint(problem, targets)
            self._checkpoint = KrylovCheckpoint(saved.directory, name, saved.seconds, communicator)

    @property
    def space(self) -> KrylovSpace:
        """The space, taken up where an interrupted solve left it, or begun."""
        if self._space is None:
            saved, communicator = self.system.checkpoints, self.system.communicator

            def empty() -> KrylovBasis:
                return KrylovBasis(
                    self.basis_memory, None if saved is None else saved.directory, communicator
                )

            found = None if self._checkpoint is None else self._checkpoint.load(empty(), self.operator.rows)
            if found is None:
                block = np.hstack([self._own_targets, self._random()])
                self._space = block_lanczos.begin(block, empty(), communicator)
            else:
                self._space, facts = found
                self._resumed, self._times = self._space.passes, facts["times"]
        return self._space

    def facts(self) -> dict[str, Any]:
        """What the record says of the space."""
        basis = self.space.basis
        on_disk = sum(self.system.communicator.gather(basis.bytes_on_disk))
        return {
            "preconditioner": NO_PRECONDITIONER,
            "random_columns": self.beside,
            "krylov_columns": basis.columns,
            "krylov_bytes_on_disk": on_disk,
            "passes": self.space.passes,
        }

    def solve(self, ridge: float, start: np.ndarray | None) -> Solution:
        """The candidate's solution in the space, once all candidates can be judged; see ``Opened.solve``."""
        if not self._judged:
            self._extend_until_judged()
            self._judged = True
        course = self._course(ridge)
        if course is None:
            raise self._refusal(ridge)
        record = self._record(ridge, course[-1], JUDGED)
        inverse = None if self.system.settings.choose_by == VALIDATION else self._inverse_sums(ridge)
        return Solution(self._coefficients(ridge), record, inverse=inverse)

    def finish(self, chosen: Solution) -> Solution:
        """The chosen solution to the tolerance, its residual from the matrix."""
        ridge, tolerance = chosen.record.ridge, self.system.settings.stopping.tolerance
        # Half of it: rounding lies between the residual in the space and that of the matrix.
        self._extend(lambda: self._largest(ridge), tolerance / 2, "Krylov space, the chosen ridge")
        begun, before = time.perf_counter(), self._seconds
        coefficients = self._coefficients(ridge)
        first, last = self.operator.rows
        own = coefficients[first:last]
        matrix = RidgeSystem(self.operator, ridge * self._mean_diagonal, self._known)
        residual = self._own_targets - matrix.apply(own, np.zeros(own.shape[1], np.intp))
        squares = self.system.communicator.sum(np.einsum("ik,ik->k", residual, residual))
        true, seconds = np.sqrt(squares) / self._sizes, before + time.perf_counter() - begun
        record = self._record(ridge, true, tolerance, seconds)
        if not record.converged:
            log.warning(
                "n = %d, ridge %g: not converged, largest residual %.1e after %d passes (%s)",
                record.n, ridge, record.residual, self.space.passes, record.stopped_by,
            )  # fmt: skip
        record = replace(
            record,
            validation_loss=chosen.record.validation_loss,
            details=chosen.record.details | record.details,
        )
        return Solution(coefficients, record, self._history(ridge, true, seconds), chosen.inverse)

    def _history(self, ridge: float, true: np.ndarray, seconds: float) -> History:
        """The residuals in the space after each pass, and at last the true ones."""
        course = self._course(ridge)
        assert course is not None
        rows = [
            (passes, column, float(value), False, at)
            for passes, (at, residuals) in enumerate(zip([0.0, *self._times], course, strict=True))
            for column, value in enumerate(residuals)
        ]
        return rows + [
            (self.space.passes, column, float(value), True, seconds) for column, value in enumerate(true)
        ]

    # ------------------------------------------------------------------------------------ the space

    def _extend_until_judged(self) -> None:
        ridges = list(map(float, self.system.settings.ridges))
        solved_at: dict[float, int] = {}

        def left() -> float:
            residuals = {ridge: self._largest(ridge) for ridge in ridges}
            for ridge, residual in residuals.items():
                if residual <= JUDGED:
                    solved_at.setdefault(ridge, self.space.passes)
            half = (len(ridges) + 1) // 2
            waited = (
                len(solved_at) >= half and self.space.passes > PATIENCE * sorted(solved_at.values())[half - 1]
            )
            return 0.0 if waited else max(residuals.values())

        self._extend(left, JUDGED, "Krylov space, every ridge")

    def _extend(self, left: Callable[[], float], goal: float, description: str) -> None:
        """Pass after pass until ``left``, a residual, is at the goal, or until no more may be made."""
        settings, space, communicator = self.system.settings, self.space, self.system.communicator
        matrix = RidgeSystem(self.operator, 0.0, self._known)
        with progress(total=100, description=description) as bar:
            while (residual := left()) > goal and space.passes < settings.stopping.max_iterations:
                share = math.log10(max(residual, goal)) / math.log10(goal)
                bar.set_postfix(passes=space.passes, residual=f"{residual:.1e}", refresh=False)
                bar.update(max(0, int(100 * min(max(share, 0.0), 1.0)) - bar.n))
                if space.exhausted:
                    break
                begun, before = time.perf_counter(), self._seconds
                block_lanczos.extend(space, matrix, communicator)
                self._times.append(before + time.perf_counter() - begun)
                if self._checkpoint is not None:
                    self._checkpoint.keep(space, {"times": self._times})
        if self._checkpoint is not None:
            self._checkpoint.save(space, {"times": self._times})

    @property
    def _seconds(self) -> float:
        return self._times[-1] if self._times else 0.0

    def _course(self, ridge: float) -> np.ndarray | None:
        """(passes + 1, C) relative residuals in the space; None where K + shift I is indefinite on it."""
        space, count = self.space, len(self._sizes)
        if not space.basis.columns:
            return np.zeros((1, count))
        before = np.where(self._zero, 0.0, 1.0)[None]
        if not space.passes:
            return before
        norms = block_lanczos.residual_norms(space, ridge * self._mean_diagonal, space.start[:, :count])
        course = None if norms is None else np.vstack([before, norms / self._sizes])
        # Every process has computed the same, but only one machine's last bits may decide.
        return self.system.communicator.gather(course)[0]

    def _largest(self, ridge: float) -> float:
        course = self._course(ridge)
        # One that is refused is not waited for.
        return 0.0 if course is None else float(course[-1].max(initial=0.0))

    def _refusal(self, ridge: float) -> Exception:
        """The error for a candidate at which the matrix is not positive definite."""
        least = float(np.linalg.eigvalsh(block_lanczos.tridiagonal(self.space))[0])
        mean = self._mean_diagonal
        met = (
            f"with ridge {ridge:g} a Krylov space of {self.space.basis.columns} columns met an eigenvalue of "
            f"{least / mean:.1e} of the"
        )
        if -least > explained_by_rounding(self._diagonal, self.precision):
            return not_a_kernel(self._diagonal, self.precision, f"{met} mean diagonal")
        return NotPositiveDefinite(
            f"the kernel of {self.operator.n} examples is not positive definite to working precision ({met} mean "
            "diagonal): choose a larger ridge, or look for duplicate examples"
        )

    # --------------------------------------------------------------------------------- what it says

    def _record(
        self, ridge: float, residuals: np.ndarray, tolerance: float, seconds: float | None = None
    ) -> Record:
        space, count = self.space, len(residuals)
        ended: StoppedBy = "max_iterations"
        if space.exhausted and (residuals > tolerance).any():
            ended = "stagnation"
        return Record(
            solver="block_lanczos",
            n=self.operator.n,
            ridge=ridge,
            shift=ridge * self._mean_diagonal,
            column_iterations=[space.passes] * count,
            column_residuals=residuals.tolist(),
            column_stops=["tolerance" if value <= tolerance else ended for value in residuals],
            seconds=self._seconds if seconds is None else seconds,
            tolerance=tolerance,
            details={"resumed_at_iteration": self._resumed},
        )

    def _weights(self, ridge: float, columns: slice) -> np.ndarray:
        found = block_lanczos.weights(self.space, ridge * self._mean_diagonal, self.space.start[:, columns])
        assert found is not None
        return np.asarray(self.system.communicator.gather(found)[0])

    def _coefficients(self, ridge: float) -> np.ndarray:
        """All rows, on every process."""
        outputs = len(self._sizes)
        own = np.zeros(self._own_targets.shape)
        if self.space.passes:
            own = block_lanczos.combine(self.space, len(own), self._weights(ridge, slice(0, outputs)))
        return self.system.communicator.gather_rows(own, self.operator.n)

    def _random(self) -> np.ndarray:
        drawn = gaussian_columns(self.operator.rows, self.beside, self.system.settings.preconditioner.seed)
        return drawn if self._known is None else drawn * self._known

    def _inverse_sums(self, ridge: float) -> InverseSums:
        space, communicator, outputs = self.space, self.system.communicator, len(self._sizes)
        shift = ridge * self._mean_diagonal
        random = self._random()
        solved = block_lanczos.combine(
            space, len(random), self._weights(ridge, slice(outputs, outputs + self.beside))
        )
        sums = group_sums(random, solved)
        products, squares = (communicator.gather_rows(own, self.operator.n) for own in sums)
        return InverseSums(
            products,
            squares,
            log_determinants=self._log_determinants(shift),
            least=1 / (self._diagonal + shift),
            outputs=outputs,
        )

    def _log_determinants(self, shift: float) -> np.ndarray:
        """What each group of random columns w gives for log det A: n w^T log(A) w / w^T w, by quadrature.

        NaN where no criterion asks for it: the eigenvectors of T take longer than all else that is estimated.
        """
        if self.system.settings.choose_by != "likelihood":
            return group_means(np.full(self.beside, np.nan))
        known = self.operator.n
        if self._known is not None:
            known = int(self.system.communicator.sum(np.array([self._known.sum()], float))[0])
        values, heads = self._quadrature()
        start = self.space.start[:, len(self._sizes) :]
        shares = (heads.T @ start) ** 2 / (start**2).sum(axis=0)
        means = group_means(known * (np.log(values + shift) @ shares))
        return np.asarray(self.system.communicator.gather(means)[0])

    def _quadrature(self) -> tuple[np.ndarray, np.ndarray]:
        """Eigenvalues of T, and the leading rows of its eigenvectors, those of the space's first block."""
        if self._nodes is None or self._nodes[0] != self.space.passes:
            values, vectors = np.linalg.eigh(block_lanczos.tridiagonal(self.space))
            self._nodes = (self.space.passes, values, vectors[: self.space.basis.widths[0]].copy())
        return self._nodes[1], self._nodes[2]
