"""The stages of a study from its kernels to its report, one function each, after those of ``stages``.

solutions/<kernel>/<method>/n<n>/    solved.json, draw<d>/ with the dual coefficients
metrics/<kernel>/n<n>.parquet        every number of one training size
metrics/<kernel>/n<n>.tasks.parquet  scores of each task, in a study with the section tasks
metrics.parquet                      the tidy table
convergence.parquet                  residuals of every iterative solve
fits.csv, final.csv                  the power laws, the numbers at the largest n
tasks.png                            mean scores against n; the report is results/<study>.pdf
augmentation.png                     accuracy against the augmentation factor; the report is results/<study>.pdf
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from neural_kernels import (
    blocks,
    fingerprints,
    locks,
    memory,
    metrics_table,
    planning,
    sealed_arrays,
    sealed_parquet,
    solved_size,
    solvers,
    task_scores,
)
from neural_kernels.comparison import load_table
from neural_kernels.datasets import COPIES_FILE
from neural_kernels.errors import UserError
from neural_kernels.evaluation import evaluate as score
from neural_kernels.files import write_atomically
from neural_kernels.prediction import predict
from neural_kernels.reports import augmentation, comparison, scaling, tasks
from neural_kernels.reports.contact_sheet import MOST_COPIES, ContactSheet
from neural_kernels.reports.convergence import COLUMNS
from neural_kernels.solvers import Record, checkpoint, mpi
from neural_kernels.solvers.communicator import Communicator, SerialCommunicator
from neural_kernels.stages import (
    data_folder,
    kernel_named,
    open_features_folder,
    solution_folder,
    store_folder,
)
from neural_kernels.study import Kernel, Study
from neural_kernels.tuning.objectives import ridge_objective

log = logging.getLogger(__name__)

SHEET_IMAGES = 20
"""Images that a contact sheet may show, of which it takes as many as a page holds."""


def solve(
    study: Study, results: Path, kernel_name: str, n: int, threads: int | None = None, tasks: int = 1
) -> None:
    """Solve for every draw of training size ``n``, the ridge chosen on the validation set.

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
        ridges, source = _ridge_candidates(study, results, kernel_name, n)
        windows = study.windows(n, kernel_name)
        for draw, window in enumerate(windows):
            _solve_draw(
                study, results, study.kernels[kernel_name], draw, window, ridges, threads, communicator
            )
        if communicator.rank == 0:
            facts = {"kernel": kernel_name, "n": n, "ridge_source": source}
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
        saved = 2 * planning.checkpoint_bytes(n, targets.shape[1]) if study.method(n) == "iterative" else 0
        planning.check_room(
            folder, own_targets.nbytes + saved, f"the solution of n = {n} and its checkpoints"
        )
    validation = _validation(study, results, kernel, window) if len(ridges) > 1 else None
    # After what is in memory already: the validation set's kernel rows may be large.
    settings = solver_settings(study, ridges, threads)
    solution = solvers.solve_system(
        train,
        window,
        own_targets,
        settings,
        validation,
        checkpoints=solvers.CheckpointSettings(
            own_folder / "checkpoint" / checkpoints, 60 * study.config["solver"]["checkpoint_minutes"]
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
    if len(settings.ridges) > 1:
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
    store = blocks.open_store(store_folder(study, results, kernel.name, "validation"))
    size = study.evaluation_sizes(kernel.name)["validation"]
    blocks.set_aside_faulty(store, store.grid.blocks(size, window[1]))
    validation = open_features_folder(study, results, kernel).load("validation_targets.npy", size)
    facts += [study.config["ridge"], fingerprints.content(store, store.grid.blocks(size, window[1]))]
    return fingerprints.problem(facts, targets, validation)


def _outcome(record: Record) -> str:
    direct = record.solver == "cholesky"
    end = "solved directly" if direct else f"after {record.iterations} iterations"
    reason = "" if direct else f" ({record.stopped_by})"
    state = "converged" if record.converged else f"NOT converged{reason}"
    passed_over = len(record.ridges_passed_over)
    others = f", {passed_over} smaller ridges passed over" if passed_over else ""
    return f"{state}, {end}, residual {record.residual:.1e}{others}"


def solver_settings(study: Study, ridges: list[float], threads: int | None) -> solvers.Settings:
    """The config's solver section as the solvers take it, its memory without what this process holds by now."""
    options = study.config["solver"]
    settings = solvers.Settings(
        ridges=ridges,
        direct_up_to=options["direct_up_to"],
        stopping=solvers.Stopping(
            tolerance=options["tolerance"],
            max_iterations=options["max_iterations"],
            residual_every=options["residual_every"],
        ),
        block=options["block"],
        preconditioner=solvers.PreconditionerSettings(**options["preconditioner"], seed=study.config["seed"]),
        memory_budget=memory.left(options["memory_gib"]),
    )
    return settings if threads is None else replace(settings, threads=min(threads, settings.threads))


def _validation(study: Study, results: Path, kernel: Kernel, window: tuple[int, int]) -> solvers.Validation:
    store = blocks.open_store(store_folder(study, results, kernel.name, "validation"))
    size = study.evaluation_sizes(kernel.name)["validation"]
    blocks.set_aside_faulty(store, store.grid.blocks(size, window[1]))
    n = window[1] - window[0]
    needed, free = size * n * store.dtype.itemsize, memory.left(study.config["solver"]["memory_gib"])
    if needed + 2 * store.largest_block_bytes > free:
        raise UserError(
            f"the kernel rows of {size} validation examples with n = {n} take "
            f"{(needed + 2 * store.largest_block_bytes) / 2**30:.2f} GiB, solver.memory_gib leaves {free / 2**30:.2f}: "
            "raise it, or take fewer validation examples"
        )
    cross = blocks.read_submatrix(store, (0, size), window)
    features = open_features_folder(study, results, kernel)
    targets = features.load("validation_targets.npy", size)
    objective = ridge_objective(study.config["ridge"], features.summary["task"])
    if not np.isfinite(objective.loss(np.zeros_like(targets), targets)):
        raise UserError(
            f"{features.summary_file.parent}: none of the tasks has both labels among the {size} validation examples, "
            f"expected one for ridge.objective {objective.name}: take more examples, or mse"
        )
    return solvers.Validation(lambda coefficients: cross @ coefficients, targets, objective.loss)


def _ridge_candidates(study: Study, results: Path, kernel: str, n: int) -> tuple[list[float], str]:
    """What the ridge is chosen from, and where that comes from."""
    below = study.ridge_source(n, kernel)
    if below is None:
        candidates = study.ridge_candidates()
        return candidates, "validation set" if len(candidates) > 1 else "config"
    solved = solved_size.read(solution_folder(study, results, kernel, below))
    return [solved["draws"][0]["ridge"]], f"validation set at n = {below}"


def evaluate(study: Study, results: Path, kernel_name: str, n: int) -> None:
    """Predict the validation and test sets with every draw's coefficients; write the metrics of size ``n``."""
    kernel_named(study, kernel_name)
    check_size(study, kernel_name, n)
    path = metrics_file(study, results, kernel_name, n)
    with locks.alone(path.with_suffix(".lock"), str(path)):
        _evaluate(study, results, kernel_name, n, path)


def _evaluate(study: Study, results: Path, kernel_name: str, n: int, path: Path) -> None:
    kernel = study.kernels[kernel_name]
    features = open_features_folder(study, results, kernel)
    data, task = features.summary, features.summary["task"]
    windows = study.windows(n, kernel_name)
    solutions = solved_size.load(solution_folder(study, results, kernel_name, n), len(windows))
    facts = [_facts(study, results, kernel, window, draw, solution.record)
             for draw, (window, solution) in enumerate(zip(windows, solutions, strict=True))]  # fmt: skip
    parts = {
        part: _Evaluated(
            blocks.open_store(store_folder(study, results, kernel_name, part)),
            *(features.load(f"{part}_{name}.npy", size) for name in ("targets", "labels")),
        )
        for part, size in study.evaluation_sizes(kernel_name).items()
    }
    problem = _evaluation_problem(facts, windows, solutions, parts, data)
    tasks_path = path.with_suffix(".tasks.parquet")
    made = [path, tasks_path] if study.has_tasks else [path]
    if all(sealed_parquet.has_problem(file, problem) for file in made):
        for store, targets, _ in parts.values():
            needed = store.grid.blocks(len(targets), windows[-1][1])
            blocks.check_changed_since(store, needed, path)
        log.info("%s is there already, whole: nothing to evaluate", path)
        return
    tables, scores_of_tasks = [], []
    for solution, row in zip(solutions, facts, strict=True):
        record = solution.record
        values = {
            "iterations": record.iterations,
            "residual": record.residual,
            "seconds": record.seconds,
            "ridges_passed_over": len(record.ridges_passed_over),
        }
        tables.append(metrics_table.rows(row, metrics_table.TRAIN, values))
    for part, (store, targets, labels) in parts.items():
        predictions = predict(store, len(labels), windows, [solution.coefficients for solution in solutions])
        for prediction, row in zip(predictions, facts, strict=True):
            values = score(prediction, targets, labels, task)
            if study.has_tasks:
                named = {key: row[key] for key in ("kernel", "n", "draw")} | {"split": part}
                found = task_scores.rows(
                    named, data["class_names"], prediction, labels, task, data["target_scaling"]
                )
                scores_of_tasks.append(found)
                if task == "regression":
                    values["rmse"] = float(found["rmse"].mean())
            tables.append(metrics_table.rows(row, part, values))
    if study.has_tasks:
        task_scores.write(scores_of_tasks, tasks_path, problem)
    metrics_table.write(metrics_table.concat(tables), path, problem)


class _Evaluated(NamedTuple):
    """A part that is predicted: its kernel rows, and what its predictions are compared with."""

    store: blocks.KernelStore
    targets: np.ndarray
    labels: np.ndarray


def _evaluation_problem(
    facts: list[dict[str, object]],
    windows: list[tuple[int, int]],
    solutions: list[solvers.Solution],
    parts: Mapping[str, _Evaluated],
    data: Mapping[str, Any],
) -> str:
    """Fingerprint of everything that the metrics follow from."""
    end = max(window[1] for window in windows)
    content = [
        (part, fingerprints.content(found.store, found.store.grid.blocks(len(found.labels), end)))
        for part, found in parts.items()
    ]
    described = [data.get(key) for key in ("task", "class_names", "target_scaling")]
    records = [solution.record.as_json() for solution in solutions]
    arrays = [array for found in parts.values() for array in (found.targets, found.labels)]
    coefficients = [solution.coefficients for solution in solutions]
    return fingerprints.problem([facts, windows, records, content, described], *coefficients, *arrays)


def metrics_file(study: Study, results: Path, kernel: str, n: int) -> Path:
    return results / study.name / "metrics" / kernel / f"n{n}.parquet"


def _facts(
    study: Study, results: Path, kernel: Kernel, window: tuple[int, int], draw: int, record: Record
) -> dict[str, object]:
    return {
        **kernel_facts(study, results, kernel, window),
        "solver": record.solver,
        "n": record.n,
        "size": 0,
        "draw": draw,
        "ridge": record.ridge,
        "stopped_by": record.stopped_by,
        "converged": record.converged,
    }


def kernel_facts(study: Study, results: Path, kernel: Kernel, window: tuple[int, int]) -> dict[str, object]:
    """The columns of the metrics table that say which kernel matrix a number comes from."""
    store = blocks.open_store(store_folder(study, results, kernel.name, "train"))
    engines_used = {store.read_record(i, j)["engine"] for i, j in store.grid.window_blocks(*window)}
    return {
        "study": study.name,
        "kernel": kernel.name,
        "architecture": kernel.architecture.name,
        "kind": kernel.kind,
        "precision": study.config["precision"],
        "engine": ", ".join(sorted(engines_used)),
        "preprocessing": kernel.preprocessing,
    }


def collect_metrics(study: Study, results: Path) -> None:
    """Every number of the study in one table, ``metrics.parquet``."""
    folder = results / study.name / "metrics"
    paths = [
        folder / kernel / f"n{n}.parquet" for kernel in study.kernels for n in study.training_sizes(kernel)
    ]
    table = metrics_table.concat(metrics_table.read(path) for path in paths)
    metrics_table.write(table, results / study.name / "metrics.parquet")
    histories = _histories(study, results)
    sealed_parquet.write(results / study.name / "convergence.parquet", histories)


def _histories(study: Study, results: Path) -> pd.DataFrame:
    """Residuals of every iterative solve, a row for each iteration and right-hand side."""
    tables = [
        history.assign(kernel=kernel, n=n, draw=draw)
        for kernel in study.kernels
        for n in study.training_sizes(kernel)
        if study.method(n) == "iterative"
        for draw, history in enumerate(
            solved_size.histories(solution_folder(study, results, kernel, n), study.draws(n, kernel))
        )
    ]
    empty = pd.DataFrame(columns=list(COLUMNS))
    return pd.concat(tables, ignore_index=True)[list(COLUMNS)] if tables else empty


def report_scaling(study: Study, results: Path) -> None:
    """Fits, figure and PDF of the study, all drawn from ``metrics.parquet``."""
    histories = sealed_parquet.read(results / study.name / "convergence.parquet")
    table = metrics_table.read(results / study.name / "metrics.parquet")
    config = {"study": study.name, **study.config}
    fits = scaling.fits_table(table, config)
    scaling.write_scaling_figure(table, config, results / study.name / "scaling.png")
    scaling.write_scaling_report(table, config, results / f"{study.name}_scaling.pdf", histories)
    write_table(results / study.name / "fits.csv", fits)
    write_table(results / study.name / "final.csv", scaling.final_table(table, config))
    log.info("%s", results / f"{study.name}_scaling.pdf")


def report_augmentation(study: Study, results: Path) -> None:
    """Figure and PDF of accuracy against the augmentation factor, drawn from ``metrics.parquet`` and the images.

    Raises:
        UserError: a training size is not a whole number of copies of all images.
    """
    for kernel in study.kernels:
        study.augmentation_factors(kernel)
    histories = sealed_parquet.read(results / study.name / "convergence.parquet")
    table = metrics_table.read(results / study.name / "metrics.parquet")
    config = {"study": study.name, **study.config}
    tested = {kernel: study.evaluation_sizes(kernel) for kernel in study.kernels}
    augmented = augmentation.Augmented(study.images, tested, _contact_sheet(study, results))
    augmentation.write_augmentation_figure(
        table, config, augmented, results / study.name / "augmentation.png"
    )
    augmentation.write_augmentation_report(table, config, augmented, results / f"{study.name}.pdf", histories)
    log.info("%s", results / f"{study.name}.pdf")


def report_tasks(study: Study, results: Path) -> None:
    """Figure and PDF of the scores of each task, and their means beside published ones."""
    histories = sealed_parquet.read(results / study.name / "convergence.parquet")
    table = metrics_table.read(results / study.name / "metrics.parquet")
    config = {"study": study.name, **study.config}
    scores = task_scores.read(
        metrics_file(study, results, kernel, n).with_suffix(".tasks.parquet")
        for kernel in study.kernels
        for n in study.training_sizes(kernel)
    )
    tasks.write_tasks_figure(table, scores, config, results / study.name / "tasks.png")
    tasks.write_tasks_report(table, scores, config, results / f"{study.name}.pdf", histories)
    log.info("%s", results / f"{study.name}.pdf")


def _contact_sheet(study: Study, results: Path) -> ContactSheet | None:
    """The first training images and their copies, None where they are no pictures of 8 bits."""
    raw = sealed_arrays.open_folder(data_folder(study, results) / "data.json")
    data = raw.summary
    x, y, copies = (raw.array(name) for name in ("train_x.npy", "train_y.npy", COPIES_FILE))
    if x.array.dtype != np.uint8 or x.array.shape[-1] not in (1, 3):
        return None
    count, factor = min(study.images, SHEET_IMAGES), data["augmentation_factor"]
    places = np.arange(count)[:, np.newaxis] + study.images * np.arange(min(factor, MOST_COPIES))
    for place in places.flat:
        x.check(place, place + 1)
        copies.check(place, place + 1)
    labels = [str(label) for label in y.rows(0, count)] if data["task"] == "classification" else [""] * count
    names = [data["class_names"][int(label)] for label in labels] if data["class_names"] else labels
    operations = [[data["copies"][copies.array[place]] for place in row] for row in places]
    return ContactSheet(np.asarray(x.array[places]), operations, names, factor)


def report_comparison(path: Path, results: Path) -> None:
    """The table in ``path``, config/tables/<table>.yaml, of the studies that have been run, as PDF and Markdown.

    Raises:
        UserError: see ``load_table`` and ``comparison.lines``.
    """
    asked = load_table(path)
    run = {
        name: (asked.study(name), metrics_table.read(file))
        for name, file in asked.metrics_files(results).items()
    }
    pdf = results / f"{asked.name}.pdf"
    comparison.write_comparison(asked, comparison.lines(asked, run), pdf, results / f"{asked.name}.md")
    log.info("%s, from %s", pdf, ", ".join(run) or "no study: none of its studies has been run")


def write_table(path: Path, table: pd.DataFrame) -> None:
    """``table`` as CSV, whole or not at all."""
    write_atomically(path, lambda file: file.write(table.to_csv(index=False).encode()))


def check_size(study: Study, kernel: str, n: int) -> None:
    """Raise UserError where ``n`` is not a training size of the kernel."""
    sizes = study.training_sizes(kernel)
    if n not in sizes:
        raise UserError(
            f"training size {n} is not on the ladder of kernel {kernel}, expected one of {', '.join(map(str, sizes))}"
        )
