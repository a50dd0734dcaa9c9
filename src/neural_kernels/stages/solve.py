"""From blocks to dual coefficients: the stage of the rules solve_directly and solve_iteratively."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from neural_kernels import blocks, solvers
from neural_kernels.blocks import fingerprints
from neural_kernels.errors import UserError
from neural_kernels.machine import memory
from neural_kernels.metrics.objectives import Objective, ridge_objective
from neural_kernels.planning import costs as planning
from neural_kernels.solvers import Record, checkpoint, criteria, mpi, solved_size
from neural_kernels.solvers.communicator import Communicator, SerialCommunicator
from neural_kernels.storage import locks
from neural_kernels.study.folders import open_features_folder, solution_folder, store_folder
from neural_kernels.study.study import Kernel, Study, check_size, kernel_named

log = logging.getLogger(__name__)


def solve(
    study: Study, results: Path, kernel_name: str, n: int, threads: int | None = None, tasks: int = 1
) -> None:
    """Solve for every draw of training size ``n``, the ridge chosen as the study says.

    Args:
        tasks: processes that MPI has started to solve together, of which this is one.
    """
    kernel_named(study, kernel_name)
    check_size(study, kernel_name, n)
    if tasks == 1:
        _solve_draws(study, results, kernel_name, n, threads, SerialCommunicator())
        return
    communicator = mpi.world(tasks)
    if communicator.rank > 0:
        # One process speaks for all.
        logging.getLogger().setLevel(logging.WARNING)
    mpi.together(communicator, lambda: _solve_draws(study, results, kernel_name, n, threads, communicator))


def _solve_draws(
    study: Study,
    results: Path,
    kernel_name: str,
    n: int,
    threads: int | None,
    communicator: Communicator,
) -> None:
    """Solve the draws that an earlier run, or another one at this moment, does not leave finished."""
    folder = solution_folder(study, results, kernel_name, n)
    with _alone(folder, f"the solution of n = {n} in {folder}", communicator):
        ridges = study.ridge_candidates()
        windows = study.windows(n, kernel_name)
        for draw, window in enumerate(windows):
            _solve_draw(
                study, results, study.kernels[kernel_name], draw, window, ridges, threads, communicator
            )
        if communicator.rank == 0:
            facts = {"kernel": kernel_name, "n": n, "ridge_source": _ridge_source(study)}
            solved_size.write(folder, facts, windows)


def _solve_draw(
    study: Study,
    results: Path,
    kernel: Kernel,
    draw: int,
    window: tuple[int, int],
    ridges: list[float],
    threads: int | None,
    communicator: Communicator,
) -> None:
    n, first_process = window[1] - window[0], communicator.rank == 0
    folder = solution_folder(study, results, kernel.name, n)
    own_folder, checkpoints = solved_size.draw_folder(folder, draw), ""
    targets = open_features_folder(study, results, kernel).load("train_targets.npy", window[1])
    own_targets = targets[window[0] :].copy()
    train = blocks.open_store(store_folder(study, results, kernel.name, "train"))
    settings = solver_settings(study, ridges, threads)
    there = None
    if first_process:
        blocks.set_aside_faulty(train, train.grid.window_blocks(*window))
        problem = _problem(study, results, kernel, train, window, own_targets, settings)
        there, checkpoints = solved_size.finished(folder, draw, problem), problem[:16]
        if there is not None:
            _check_touched(
                study, results, kernel, train, window, solved_size.record_path(folder, draw), settings
            )
        # Checkpoints are of one problem, which the names of its blocks alone don't make.
        checkpoint.discard(own_folder / "checkpoint", but=None if there else checkpoints)
    is_there, checkpoints = communicator.gather((there is not None, checkpoints))[0]
    if is_there:
        log.info("n = %d, draw %d is there already, whole: nothing to solve", n, draw)
        return
    if first_process:
        iterative = study.method(n) == "iterative"
        saved = planning.checkpoint_bytes(study, n, targets.shape[1]) if iterative else 0
        planning.check_room(
            folder, own_targets.nbytes + saved, f"the solution of n = {n} and its checkpoints"
        )
    validation = _validation(study, results, kernel, window) if _validates(settings) else None
    # After what is in memory already: the validation set's kernel rows may be large.
    settings = solver_settings(study, ridges, threads)
    solution = solvers.solve_system(
        train,
        window,
        own_targets,
        settings,
        validation,
        loss=_objective(study, results, kernel).loss,
        checkpoints=solvers.CheckpointSettings(
            own_folder / "checkpoint" / checkpoints, 60 * study.solver.checkpoint_minutes
        ),
        communicator=communicator,
    )
    log.info("n = %d, draw %d: ridge %g, %s", n, draw, solution.record.ridge, _outcome(solution.record))
    if first_process:
        (folder / solved_size.SOLVED).unlink(missing_ok=True)
        solution.save(own_folder, problem)
        checkpoint.discard(own_folder / "checkpoint")


def _check_touched(
    study: Study,
    results: Path,
    kernel: Kernel,
    train: blocks.KernelStore,
    window: tuple[int, int],
    record: Path,
    settings: solvers.Settings,
) -> None:
    """Look at the blocks behind a solution that is taken over, those that are newer than its ``record``."""
    blocks.check_changed_since(train, train.grid.window_blocks(*window), record)
    if _validates(settings):
        store = blocks.open_store(store_folder(study, results, kernel.name, "validation"))
        size = study.evaluation_sizes(kernel.name)["validation"]
        blocks.check_changed_since(store, store.grid.blocks(size, window[1]), record)


@contextlib.contextmanager
def _alone(folder: Path, what: str, communicator: Communicator) -> Iterator[None]:
    """``locks.alone``, held by the first process for all."""
    with contextlib.ExitStack() as held:
        if communicator.rank == 0:
            held.enter_context(locks.alone(folder / "solve.lock", what))
        communicator.gather(None)
        yield


def _problem(
    study: Study,
    results: Path,
    kernel: Kernel,
    train: blocks.KernelStore,
    window: tuple[int, int],
    targets: np.ndarray,
    settings: solvers.Settings,
) -> str:
    """Fingerprint of everything that a solution follows from but how it is computed."""
    chosen = asdict(replace(settings, threads=1, memory_budget=0))
    facts = [list(window), chosen, fingerprints.content(train, train.grid.window_blocks(*window))]
    if len(settings.ridges) == 1:
        return fingerprints.problem(facts, targets)
    if not _validates(settings):
        return fingerprints.problem([*facts, study.ridge.plain()], targets)
    store = blocks.open_store(store_folder(study, results, kernel.name, "validation"))
    size = study.evaluation_sizes(kernel.name)["validation"]
    blocks.set_aside_faulty(store, store.grid.blocks(size, window[1]))
    validation = open_features_folder(study, results, kernel).load("validation_targets.npy", size)
    facts += [study.ridge.plain(), fingerprints.content(store, store.grid.blocks(size, window[1]))]
    return fingerprints.problem(facts, targets, validation)


def _validates(settings: solvers.Settings) -> bool:
    """Whether the validation set chooses the ridge."""
    return len(settings.ridges) > 1 and settings.choose_by == criteria.VALIDATION


def _outcome(record: Record) -> str:
    direct = record.stopped_by == "direct"
    end = "solved directly" if direct else f"after {record.iterations} iterations"
    reason = "" if direct else f" ({record.stopped_by})"
    state = "converged" if record.converged else f"NOT converged{reason}"
    passed_over = len(record.ridges_passed_over)
    others = f", {passed_over} smaller ridges passed over" if passed_over else ""
    return f"{state}, {end}, residual {record.residual:.1e}{others}"


def solver_settings(study: Study, ridges: list[float], threads: int | None) -> solvers.Settings:
    """The study's solver section as the solvers take it, its memory without what this process holds by now."""
    section = study.solver
    settings = solvers.Settings(
        ridges=ridges,
        choose_by=study.ridge.choose_by,
        direct_up_to=section.direct_up_to,
        stopping=solvers.Stopping(
            tolerance=section.tolerance,
            max_iterations=section.max_iterations,
            residual_every=section.residual_every,
        ),
        random_columns=section.random_columns,
        block=section.block,
        panels=section.panels,
        preconditioner=solvers.PreconditionerSettings(
            section.preconditioner.method, section.preconditioner.rank, seed=study.seed
        ),
        memory_budget=memory.left(section.memory_gib),
    )
    return settings if threads is None else replace(settings, threads=min(threads, settings.threads))


def _validation(study: Study, results: Path, kernel: Kernel, window: tuple[int, int]) -> solvers.Validation:
    store = blocks.open_store(store_folder(study, results, kernel.name, "validation"))
    size = study.evaluation_sizes(kernel.name)["validation"]
    blocks.set_aside_faulty(store, store.grid.blocks(size, window[1]))
    n = window[1] - window[0]
    needed, free = size * n * store.dtype.itemsize, memory.left(study.solver.memory_gib)
    if needed + 2 * store.largest_block_bytes > free:
        raise UserError(
            f"the kernel rows of {size} validation examples with n = {n} take "
            f"{(needed + 2 * store.largest_block_bytes) / 2**30:.2f} GiB, solver.memory_gib leaves {free / 2**30:.2f}: "
            "raise it, or take fewer validation examples"
        )
    cross = blocks.read_submatrix(store, (0, size), window)
    features = open_features_folder(study, results, kernel)
    targets = features.load("validation_targets.npy", size)
    objective = _objective(study, results, kernel)
    if not np.isfinite(objective.loss(np.zeros_like(targets), targets)):
        raise UserError(
            f"{features.summary_file.parent}: none of the tasks has both labels among the {size} validation examples, "
            f"expected one for ridge.objective {objective.name}: take more examples, or mse"
        )
    return solvers.Validation(lambda coefficients: cross @ coefficients, targets, objective.loss)


def _objective(study: Study, results: Path, kernel: Kernel) -> Objective:
    task = open_features_folder(study, results, kernel).summary["task"]
    return ridge_objective(study.ridge.objective, task)


def _ridge_source(study: Study) -> str:
    """Where the ridge comes from, for people."""
    if len(study.ridge_candidates()) == 1:
        return "config"
    criterion = study.ridge.choose_by
    return "validation set" if criterion == criteria.VALIDATION else criteria.TITLES[criterion]
