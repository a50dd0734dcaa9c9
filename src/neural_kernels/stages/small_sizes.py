"""The sizes of a ladder that take seconds, in one job: the stages of the rules solve_small_sizes and
evaluate_small_sizes.

Each size is solved and evaluated as by a job of its own, into the same files: what is finished is taken over, so that a
kill costs the size in work. What is written last, ``small_sizes.json``, names the file of each size by its checksum: it
stays the same, and nothing behind it is out of date, as long as these do.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from neural_kernels.planning.small_sizes import some_small_sizes
from neural_kernels.solvers.solved_size import SOLVED
from neural_kernels.stages.evaluate import evaluate_predictions
from neural_kernels.stages.solve import solve
from neural_kernels.storage import checksums
from neural_kernels.storage.files import write_json
from neural_kernels.study import folders
from neural_kernels.study.folders import metrics_file, solution_folder
from neural_kernels.study.study import Study


def solve_small_sizes(study: Study, results: Path, kernel_name: str, threads: int | None = None) -> None:
    """``solve`` for each of the kernel's small sizes, ascending."""

    def solved(n: int) -> Path:
        solve(study, results, kernel_name, n, threads)
        return solution_folder(study, results, kernel_name, n) / SOLVED

    _each(study, results, kernel_name, folders.SMALL_SOLVED, solved)


def evaluate_small_sizes(study: Study, results: Path, kernel_name: str) -> None:
    """``evaluate_predictions`` for each of the kernel's small sizes, ascending."""

    def evaluated(n: int) -> Path:
        evaluate_predictions(study, results, kernel_name, n)
        return metrics_file(study, results, kernel_name, n)

    _each(study, results, kernel_name, folders.SMALL_EVALUATED, evaluated)


def _each(study: Study, results: Path, kernel: str, written: str, made: Callable[[int], Path]) -> None:
    """Make the file of each small size, then the one that vouches for all."""
    sizes = [{"n": n, "checksum": checksums.of_file(made(n))} for n in some_small_sizes(study, kernel)]
    write_json(
        folders.at(results, written, study=study.name, kernel=kernel), {"kernel": kernel, "sizes": sizes}
    )
