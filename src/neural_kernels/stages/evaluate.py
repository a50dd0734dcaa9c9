"""From dual coefficients to scores of test sets: the stage of the rule evaluate_predictions."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from neural_kernels import blocks, solvers
from neural_kernels.blocks import fingerprints
from neural_kernels.blocks.cross_product import predict
from neural_kernels.graphs import Examples
from neural_kernels.metrics import table as metrics_table
from neural_kernels.metrics import task_scores
from neural_kernels.metrics.evaluation import evaluate as score
from neural_kernels.solvers import Record, solved_size
from neural_kernels.stages import test_examples
from neural_kernels.storage import locks, sealed_parquet
from neural_kernels.study.folders import (
    metrics_file,
    open_features_folder,
    solution_folder,
    store_folder,
    task_scores_file,
)
from neural_kernels.study.study import Kernel, Study, check_size, kernel_named

log = logging.getLogger(__name__)


def evaluate_predictions(study: Study, results: Path, kernel_name: str, n: int) -> None:
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
    tasks_path = task_scores_file(study, results, kernel_name, n)
    examples_path = test_examples.path_of(study, results, kernel_name, n)
    made = [path, tasks_path] if study.has_tasks else [path]
    made += [] if examples_path is None else [examples_path]
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
    first: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for part, (store, targets, labels) in parts.items():
        predictions = predict(store, len(labels), windows, [solution.coefficients for solution in solutions])
        first[part] = (predictions[0], labels)
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
    if examples_path is not None:
        stores = {part: found.store for part, found in parts.items()}
        stores["train"] = blocks.open_store(store_folder(study, results, kernel_name, "train"))
        sizes = study.evaluation_sizes(kernel_name) | {"train": n}

        def examples(part: str) -> Examples:
            return features.examples(f"{part}.npy", (0, sizes[part]))[: sizes[part]]

        table = test_examples.table(
            study,
            kernel,
            solutions[0],
            lambda: (features.load("train_targets.npy", n), features.load("train_labels.npy", n)),
            stores,
            examples,
            first,
            data,
        )
        sealed_parquet.write(examples_path, table, problem)
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
        "precision": study.precision,
        "engine": ", ".join(sorted(engines_used)),
        "preprocessing": kernel.preprocessing,
    }
