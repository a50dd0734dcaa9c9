"""The stages of a study of approximations (paper, Fig. 1), one function each, after those of ``stages``.

They read the kernel's blocks and the metrics of the full solution, and write

    approximations/<kernel>/<method>/size<size>.parquet    every number of one approximation
    approximations/<kernel>/<method>/size<size>.queries/   kernels among test examples, until the numbers are there
    approximations.parquet                                 the tidy table, with the full solution
    approximations.png                                     its figure; the report is <study>_approximations.pdf
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from neural_kernels import blocks, engines
from neural_kernels.blocks import computation as block_computation
from neural_kernels.blocks import fingerprints
from neural_kernels.errors import UserError
from neural_kernels.graphs import Examples
from neural_kernels.machine.threads import thread_limit
from neural_kernels.metrics import table as metrics_table
from neural_kernels.metrics.evaluation import evaluate
from neural_kernels.progress import progress
from neural_kernels.solvers.approximations.problem import Attempt, Problem
from neural_kernels.solvers.approximations.query_chunks import Queries
from neural_kernels.solvers.approximations.selection import approximate as solve_approximately
from neural_kernels.stages.evaluate import kernel_facts
from neural_kernels.stages.solve import solver_settings
from neural_kernels.storage import locks, sealed_parquet
from neural_kernels.study import folders
from neural_kernels.study.folders import (
    approximation_file,
    at,
    metrics_file,
    open_features_folder,
    store_folder,
)
from neural_kernels.study.study import Kernel, Study, kernel_named

log = logging.getLogger(__name__)


def approximate(
    study: Study, results: Path, kernel_name: str, method: str, size: int, threads: int | None = None
) -> None:
    """Approximate the full solution at the kernel's largest training size, for every draw; write its metrics.

    Ridge and jitter are chosen on the validation set, for each draw of the random subset on its own.

    Raises:
        UserError: the study has no such approximation, or see ``approximations.approximate``.
    """
    _check_asked(study, method, size)
    kernel_named(study, kernel_name)
    path = approximation_file(study, results, kernel_name, method, size)
    with locks.alone(path.with_suffix(".lock"), str(path)):
        _approximate(study, results, kernel_name, method, size, threads, path)


def _approximate(
    study: Study, results: Path, kernel_name: str, method: str, size: int, threads: int | None, path: Path
) -> None:
    kernel = study.kernels[kernel_name]
    n = study.training_sizes(kernel_name)[-1]
    own_kernels = path.with_suffix(".queries")
    problem = _problem(study, results, kernel, n, own_kernels, threads)
    features = open_features_folder(study, results, kernel)
    facts = kernel_facts(study, results, kernel, problem.window)
    task = features.summary["task"]
    settings = solver_settings(study, study.ridge_candidates(), threads)
    answers = {
        part: tuple(features.load(f"{part}_{name}.npy", queries.size) for name in ("targets", "labels"))
        for part, queries in problem.queries.items()
    }
    draws = _draws(study)
    chosen_by = [draws, study.seed, study.jitter_candidates(), task]
    asked = [method, size, facts, chosen_by, asdict(replace(settings, threads=1, memory_budget=0))]
    identity = _identity(problem, asked, answers)
    if sealed_parquet.has_problem(path, identity):
        train = problem.train
        blocks.check_changed_since(train, train.grid.window_blocks(*problem.window), path)
        for queries in problem.queries.values():
            needed = queries.store.grid.blocks(queries.size, problem.window[1])
            blocks.check_changed_since(queries.store, needed, path)
        log.info("%s is there already, whole: nothing to approximate", path)
        shutil.rmtree(own_kernels, ignore_errors=True)
        return
    tables = []
    for draw in range(draws):
        seed = study.seed + draw
        chosen = solve_approximately(problem, method, size, seed, settings, study.jitter_candidates())
        log.info("%s of size %d, draw %d: chosen %s", method, size, draw, _hyperparameters(chosen))
        row = facts | {
            "solver": method,
            "n": n,
            "size": size,
            "draw": draw,
            "ridge": chosen.ridge,
            "stopped_by": chosen.stopped_by,
            "converged": chosen.converged,
        }
        values = {"seconds": chosen.seconds, **chosen.facts}
        if chosen.jitter is not None:
            values["jitter"] = chosen.jitter
        tables.append(metrics_table.rows(row, metrics_table.TRAIN, values))
        for part, (targets, labels) in answers.items():
            scores = evaluate(chosen.predict(part), targets, labels, task)
            tables.append(metrics_table.rows(row, part, scores))
    metrics_table.write(metrics_table.concat(tables), path, identity)
    shutil.rmtree(own_kernels, ignore_errors=True)


def _identity(problem: Problem, asked: list[Any], answers: Mapping[str, tuple[np.ndarray, ...]]) -> str:
    """Fingerprint of everything that the numbers of an approximation follow from."""
    train, end = problem.train, problem.window[1]
    content = [fingerprints.content(train, train.grid.window_blocks(*problem.window))]
    for queries in problem.queries.values():
        content.append(fingerprints.content(queries.store, queries.store.grid.blocks(queries.size, end)))
    arrays = [array for pair in answers.values() for array in pair]
    return fingerprints.problem(
        [asked, list(answers), content], problem.targets, problem.validation_targets, *arrays
    )


def _check_asked(study: Study, method: str, size: int) -> None:
    asked = study.approximations()
    if not asked:
        raise UserError(
            f"config/{study.name}.yaml has no section approximations, expected one that lists methods and sizes"
        )
    if (method, size) not in asked:
        known = ", ".join(f"{method} {size}" for method, size in asked)
        raise UserError(f"study {study.name} has no {method} of size {size}, expected one of {known}")


def _hyperparameters(chosen: Attempt) -> str:
    jitter = "" if chosen.jitter is None else f", jitter {chosen.jitter:g}"
    return f"ridge {chosen.ridge:g}{jitter}"


def _problem(
    study: Study, results: Path, kernel: Kernel, n: int, own_kernels: Path, threads: int | None
) -> Problem:
    """``own_kernels`` is where kernels among queries are kept."""
    features, window = open_features_folder(study, results, kernel), (0, n)
    train = blocks.open_store(store_folder(study, results, kernel.name, "train"))
    blocks.set_aside_faulty(train, train.grid.window_blocks(*window))
    queries = {}
    for part, size in study.evaluation_sizes(kernel.name).items():
        store = blocks.open_store(store_folder(study, results, kernel.name, part))
        blocks.set_aside_faulty(store, store.grid.blocks(size, n))

        def variances(part: str = part, size: int = size) -> np.ndarray:
            return engines.variances(
                kernel.architecture,
                features.examples(f"{part}.npy", (0, size))[:size],
                kind=kernel.kind,
                engine=study.engine,
                precision=study.precision,
            ).astype(np.float64)

        def among(
            edge: int, part: str = part, size: int = size, cross: blocks.KernelStore = store
        ) -> blocks.KernelStore:
            x = features.examples(f"{part}.npy", (0, size))[:size]
            folder = own_kernels / f"{part}-{size}-{edge}"
            with thread_limit(threads):
                return _kernel_among(study, kernel, x, cross, folder, edge)

        queries[part] = Queries(store, size, variances, among)
    targets, validation = (
        features.load(f"{part}_targets.npy", size)
        for part, size in (("train", n), ("validation", queries["validation"].size))
    )
    return Problem(train, window, targets, queries, validation)


def _kernel_among(
    study: Study, kernel: Kernel, x: Examples, cross: blocks.KernelStore, folder: Path, edge: int
) -> blocks.KernelStore:
    """The diagonal blocks of the kernel of examples x with themselves; blocks and tiles that are there are kept.

    Args:
        cross: the store of the same examples against the training set.
        folder: of the new store.
    """
    grid = blocks.Grid(len(x), len(x), edge, symmetric=True)
    description = cross.description | {"columns": cross.description["rows"]}
    store = blocks.declare_store(folder, grid, study.precision, description)
    count = grid.block_rows
    for i in progress(range(count), total=count, description=f"kernel among {folder.name}"):
        # Also one of a folder that a kill left half removed.
        if blocks.block_fault(store, i, i) is not None:
            block_computation.compute_block(
                store,
                i,
                i,
                kernel.architecture,
                x,
                x,
                kind=kernel.kind,
                engine=study.engine,
                tile=study.blocks.tile,
            )
    return store


def _draws(study: Study) -> int:
    section = study.sections.approximations
    assert section is not None, "a method and a size were asked for"
    return section.draws


def collect_approximations(study: Study, results: Path) -> None:
    """Every approximation and the full solutions in one table, ``approximations.parquet``."""
    paths = [
        metrics_file(study, results, kernel, study.training_sizes(kernel)[-1]) for kernel in study.kernels
    ]
    paths += [
        approximation_file(study, results, kernel, method, size)
        for kernel in study.kernels
        for method, size in study.approximations()
    ]
    table = metrics_table.concat(metrics_table.read(path) for path in paths)
    metrics_table.write(table, at(results, folders.APPROXIMATIONS, study=study.name))


def report_approximations(study: Study, results: Path) -> None:
    """Figure and PDF of the study, drawn from ``approximations.parquet``."""
    from neural_kernels.reports import approximations, one_sentence
    from neural_kernels.stages import findings

    table = metrics_table.read(at(results, folders.APPROXIMATIONS, study=study.name))
    figure = at(results, folders.figure("approximations"), study=study.name)
    pdf = at(results, folders.report("approximations"), study=study.name)
    approximations.write_approximations_figure(table, study, figure)
    approximations.write_approximations_report(table, study, pdf)
    findings.keep(pdf, "approximations", study.name, one_sentence.of_approximations(table, study))
