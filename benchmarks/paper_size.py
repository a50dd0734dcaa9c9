"""The solver at the paper's n on this machine, on a matrix whose product is cheap and whose solution is known.

    python benchmarks/paper_size.py                               n = 1,000,000: some ten minutes, 8 GB of disk
    python benchmarks/paper_size.py --n 50000 --processes 1 2     smaller; one process and two that MPI started

The matrix is a positive diagonal plus a product U diag(v) U^T of low rank, v falling as the leading eigenvalues of the
matrix of a convolutional kernel do; the solution of every ridge is known in closed form (Woodbury). Everything else is
what a study runs: random columns, the Krylov basis on disk where memory ends, a checkpoint after each pass, a run that
is ended in the middle and goes on to the same bits, leave-one-out by estimates. Prints the peak of memory beside what
``plan`` says, and writes results/benchmarks/paper_size.json. Exits with 1 where a solution is not the closed form's, a
resumed run has other bits, or memory goes beyond its budget.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from neural_kernels.metrics.losses import mean_squared_error
from neural_kernels.solvers import (
    CheckpointSettings,
    Settings,
    Stopping,
    krylov_checkpoint,
    krylov_sweep,
    mpi,
)
from neural_kernels.solvers.block_lanczos import KrylovSpace
from neural_kernels.solvers.communicator import Communicator, SerialCommunicator, row_range
from neural_kernels.solvers.estimates import LEAST_COLUMNS, InverseSums, judge_estimated
from neural_kernels.solvers.krylov_sweep import Sweep, working_bytes
from neural_kernels.solvers.random_columns import gaussian_columns
from neural_kernels.solvers.ridge import Judgement, select_ridge
from neural_kernels.solvers.solution import Solution

ROOT = Path(__file__).parent.parent
COLUMNS, RANK = 10, 48
RIDGES = (1e-3, 1e-2, 1e-1)
TOLERANCE = 1e-8
ENDED_AFTER = 3
BASIS_MEMORY = 2**30


@dataclass(frozen=True)
class LowRankPlusDiagonal:
    """K = diag(d) + U diag(v) U^T; own rows of d and U."""

    n: int
    communicator: Communicator
    d: np.ndarray
    u: np.ndarray
    v: np.ndarray

    @property
    def rows(self) -> tuple[int, int]:
        return row_range(self.n, self.communicator.rank, self.communicator.size)

    def matmul(self, vectors: np.ndarray) -> np.ndarray:
        projected = self.v[:, None] * self.communicator.sum(self.u.T @ vectors)
        return self.d[:, None] * vectors + self.u @ projected

    def diagonal(self) -> np.ndarray:
        own = self.d + (self.u**2) @ self.v
        return np.ascontiguousarray(self.communicator.gather_rows(own[:, None], self.n)[:, 0])

    def columns(self, indices: np.ndarray) -> np.ndarray:
        raise NotImplementedError("a space without a preconditioner reads no columns")

    def solution(self, shift: float, targets: np.ndarray) -> np.ndarray:
        """Own rows of (K + shift I)^-1 B, from own rows of B."""
        scaled = targets / (self.d + shift)[:, None]
        middle = np.diag(1 / self.v) + self.communicator.sum((self.u.T / (self.d + shift)) @ self.u)
        correction = np.linalg.solve(middle, self.communicator.sum(self.u.T @ scaled))
        return scaled - (self.u @ correction) / (self.d + shift)[:, None]


@dataclass(frozen=True)
class Problem:
    """See ``krylov_sweep.Problem``."""

    targets: np.ndarray
    settings: Settings
    checkpoints: CheckpointSettings | None
    communicator: Communicator


class Ended(Exception):
    """Stands for a kill between two passes."""


def matrix(n: int, communicator: Communicator) -> LowRankPlusDiagonal:
    first, last = row_range(n, communicator.rank, communicator.size)
    rng = np.random.default_rng(0)
    # All rows are drawn, so that any number of processes has the same matrix; a stripe at a time, for the memory.
    u, d = np.empty((last - first, RANK)), np.empty(last - first)
    for begin in range(0, n, 10_000):
        end = min(begin + 10_000, n)
        rows, diagonal = rng.standard_normal((end - begin, RANK)), 0.1 + 0.05 * rng.random(end - begin)
        own = slice(max(begin, first), min(end, last))
        if own.start < own.stop:
            u[own.start - first : own.stop - first] = rows[own.start - begin : own.stop - begin]
            d[own.start - first : own.stop - first] = diagonal[own.start - begin : own.stop - begin]
    return LowRankPlusDiagonal(n, communicator, d, u, 0.3 * np.arange(1, RANK + 1) ** -1.3)


def solve(
    operator: LowRankPlusDiagonal, targets: np.ndarray, folder: Path, ended_after: int | None = None
) -> Solution:
    """The sweep over all ridges by leave-one-out, and the chosen one to the tolerance."""
    settings = Settings(RIDGES, choose_by="loo", stopping=Stopping(TOLERANCE), random_columns=LEAST_COLUMNS)
    saved = CheckpointSettings(folder, 0.0)
    problem = Problem(targets, settings, saved, operator.communicator)
    sweep = Sweep(problem, operator, "low rank plus diagonal", LEAST_COLUMNS, BASIS_MEMORY)
    save = krylov_checkpoint.KrylovCheckpoint.save

    def ending(self: krylov_checkpoint.KrylovCheckpoint, space: KrylovSpace, facts: dict[str, Any]) -> None:
        save(self, space, facts)
        if space.passes == ended_after:
            raise Ended

    def judge(solution: Solution) -> Judgement:
        assert isinstance(solution.inverse, InverseSums)
        found = judge_estimated("loo", targets, solution.coefficients, solution.inverse, mean_squared_error)
        return Judgement(*operator.communicator.gather(found)[0])

    krylov_checkpoint.KrylovCheckpoint.save = ending  # type: ignore[method-assign]
    try:
        chosen = sweep.finish(select_ridge(sweep.solve, RIDGES, judge, "loo"))
    finally:
        krylov_checkpoint.KrylovCheckpoint.save = save  # type: ignore[method-assign]
    return chosen


def worker(n: int, processes: int, folder: Path, out: Path) -> None:
    """One process of a run: solve in one go, then ended in the middle and resumed; the first writes what it found."""
    communicator: Communicator = SerialCommunicator() if processes == 1 else mpi.world(expected=processes)
    begun = time.perf_counter()
    operator = matrix(n, communicator)
    first, last = operator.rows
    weights = np.random.default_rng(1).standard_normal((RANK, COLUMNS)) * np.sqrt(operator.v)[:, None]
    noise = gaussian_columns(operator.rows, COLUMNS, seed=2)
    targets = communicator.gather_rows(operator.u @ weights + 0.3 * noise, n)
    data = resident()
    solution = solve(operator, targets, folder / "whole")
    seconds = time.perf_counter() - begun
    expected = operator.solution(solution.record.shift, targets[first:last])
    error = np.abs(solution.coefficients[first:last] - expected).max(initial=0.0)
    scale = np.abs(expected).max(initial=0.0)
    peak = resident() - data
    try:
        solve(operator, targets, folder / "ended", ENDED_AFTER)
    except Ended:
        resumed = solve(operator, targets, folder / "ended")
    same = bool((resumed.coefficients == solution.coefficients).all())
    same = same and resumed.record.details["resumed_at_iteration"] == ENDED_AFTER
    errors = communicator.gather((float(error), float(scale), peak, same))
    if communicator.rank == 0:
        choice = solution.record.details["ridge_choice"]["candidates"]
        facts = {
            "n": n,
            "processes": processes,
            "passes": solution.record.iterations,
            "seconds": seconds,
            "ridge": solution.record.ridge,
            "residual": solution.record.residual,
            "converged": solution.record.converged,
            "error": max(each[0] for each in errors) / max(each[1] for each in errors),
            "same_bits_after_resume": all(each[3] for each in errors),
            "peak_bytes": max(each[2] for each in errors),
            "leave_one_out": {f"{entry['ridge']:g}": [entry["loss"], entry["error"]] for entry in choice},
        }
        out.write_text(json.dumps(facts))


def resident() -> int:
    """The most bytes that this process has had in memory."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--n", type=int, default=1_000_000)
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--scratch", type=Path, help="folder for the basis and checkpoints")
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "benchmarks" / "paper_size.json")
    parser.add_argument("--worker", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        worker(options.n, int(options.worker[0]), Path(options.worker[1]), Path(options.worker[2]))
        return 0
    n = options.n
    planned = krylov_sweep.KrylovSweep().working_bytes(n, COLUMNS, 0, 0, len(RIDGES))
    budget = working_bytes(n, COLUMNS, len(RIDGES), LEAST_COLUMNS) + BASIS_MEMORY
    print(f"n = {n:,}, {COLUMNS} right-hand sides, {LEAST_COLUMNS} random columns, {len(RIDGES)} ridges")
    print(
        f"plan: {planned / 2**30:.2f} GiB of vectors; with random columns and basis {budget / 2**30:.2f} GiB"
    )
    rows, failed = [], False
    for processes in options.processes:
        with tempfile.TemporaryDirectory(dir=options.scratch) as scratch:
            out = Path(scratch) / "found.json"
            command = [sys.executable, __file__, "--n", n, "--worker", processes, scratch, out]
            if processes > 1:
                command = [Path(sys.executable).parent / "mpiexec", "-n", processes, *command]
            threads = max(1, (os.cpu_count() or 1) // processes)
            environment = os.environ | {"OPENBLAS_NUM_THREADS": str(threads)}
            subprocess.run([str(part) for part in command], check=True, env=environment)
            found = json.loads(out.read_text())
        found |= {"planned_bytes": planned, "budget_bytes": budget}
        rows.append(found)
        good = found["converged"] and found["error"] < 1e-5 and found["same_bits_after_resume"]
        failed |= not (good and found["peak_bytes"] <= budget)
        print(
            f"{processes} processes: {found['passes']} passes, {found['seconds']:.0f} s, error {found['error']:.1e}, "
            f"residual {found['residual']:.1e}, peak {found['peak_bytes'] / 2**30:.2f} GiB a process, "
            f"{'the same' if found['same_bits_after_resume'] else 'OTHER'} bits after the resume",
            flush=True,
        )
        for ridge, (loss, error) in found["leave_one_out"].items():
            print(f"    ridge {ridge}: leave-one-out loss {loss:.4f} +- {error:.4f}")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(rows, indent=2) + "\n")
    print(options.out)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
