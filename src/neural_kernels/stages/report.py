"""From scores to the report of scaling: the stages of the rules collect_metrics and report_scaling."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from neural_kernels.metrics import table as metrics_table
from neural_kernels.reports import one_sentence, ridge_sweep, scaling
from neural_kernels.reports.convergence import COLUMNS
from neural_kernels.reports.predicted_curves import COLUMNS as PREDICTED_COLUMNS
from neural_kernels.reports.scaling_summary import task_of
from neural_kernels.solvers import solved_size
from neural_kernels.stages import findings, test_examples
from neural_kernels.storage import sealed_parquet
from neural_kernels.storage.files import write_atomically
from neural_kernels.study import folders
from neural_kernels.study.folders import at, metrics_file, open_features_folder, solution_folder
from neural_kernels.study.study import Study


def collect_metrics(study: Study, results: Path) -> None:
    """Every number of the study in one table, ``metrics.parquet``."""
    paths = [
        metrics_file(study, results, kernel, n)
        for kernel in study.kernels
        for n in study.training_sizes(kernel)
    ]
    table = metrics_table.concat(metrics_table.read(path) for path in paths)
    metrics_table.write(table, at(results, folders.METRICS, study=study.name))
    histories = _histories(study, results)
    sealed_parquet.write(at(results, folders.CONVERGENCE, study=study.name), histories)
    sealed_parquet.write(at(results, folders.RIDGES, study=study.name), _ridges(study, results))


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


def _ridges(study: Study, results: Path) -> pd.DataFrame:
    """What each candidate of the ridge was worth in every solve, and what made it shorter."""
    return ridge_sweep.as_table(
        row
        for kernel in study.kernels
        for n in study.training_sizes(kernel)
        for draw, solved in enumerate(
            solved_size.read(solution_folder(study, results, kernel, n), study.draws(n, kernel))["draws"]
        )
        for row in ridge_sweep.rows(kernel, n, draw, solved)
    )


def report_scaling(study: Study, results: Path) -> None:
    """Fits, figure and PDF of the study, all drawn from ``metrics.parquet``."""

    def path(pattern: str) -> Path:
        return at(results, pattern, study=study.name)

    histories = sealed_parquet.read(path(folders.CONVERGENCE))
    table = metrics_table.read(path(folders.METRICS))
    fits = scaling.fits_table(table, study)
    predicted = _predicted(study, results)
    baselines = read_baselines(study, results)
    scaling.write_scaling_figure(table, study, path(folders.figure("scaling")), predicted, baselines)
    ridges = sealed_parquet.read(path(folders.RIDGES))
    scaling.write_scaling_report(
        table,
        study,
        path(folders.report("scaling")),
        histories,
        predicted,
        ridges,
        _tested(study, results, table),
        baselines,
    )
    write_table(path(folders.FITS), fits)
    write_table(path(folders.FINAL), scaling.final_table(table, study))
    write_table(path(folders.PREDICTED), scaling.predicted_table(table, study, predicted))
    sentence = one_sentence.of_scaling(table, study)
    findings.keep(path(folders.report("scaling")), "scaling", study.name, sentence)


def read_baselines(study: Study, results: Path) -> pd.DataFrame | None:
    """Scores of the simple methods; None where the study fits none, or they are not there."""
    return _read(study, results, folders.BASELINES)


def _read(study: Study, results: Path, pattern: str) -> pd.DataFrame | None:
    path = at(results, pattern, study=study.name)
    if not study.sections.baselines.examples or not path.exists():
        return None
    found = sealed_parquet.read(path)
    return found if len(found) else None


def _tested(study: Study, results: Path, metrics: pd.DataFrame) -> scaling.Tested:
    """Test examples of the largest n of each kernel, those that are there.

    Scores of tasks, of which each example has many, have a report of their own. Results of an earlier version have no
    such rows.
    """
    task = task_of(metrics)
    if task == "multilabel":
        return scaling.Tested()
    found = {}
    for kernel in study.kernels:
        path = test_examples.path_of(study, results, kernel, study.training_sizes(kernel)[-1])
        if path is not None and path.exists():
            found[kernel] = sealed_parquet.read(path)
    classes = None
    if task == "classification" and found:
        features = open_features_folder(study, results, next(iter(study.kernels.values())))
        count = features.summary["outputs"]
        classes = list(features.summary["class_names"]) or [str(number) for number in range(count)]
    others, names = (_read(study, results, pattern) for pattern in (folders.BASELINE_EXAMPLES, folders.NAMES))
    return scaling.Tested(found, classes, others, names)


def _predicted(study: Study, results: Path) -> pd.DataFrame:
    """The learning curves that were predicted, those that are there: one by hand is no condition of a report."""
    paths = [at(results, folders.LEARNING_CURVE, study=study.name, kernel=kernel) for kernel in study.kernels]
    tables = [sealed_parquet.read(path) for path in paths if path.exists()]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=list(PREDICTED_COLUMNS))


def write_table(path: Path, table: pd.DataFrame) -> None:
    """``table`` as CSV, whole or not at all."""
    write_atomically(path, lambda file: file.write(table.to_csv(index=False).encode()))
